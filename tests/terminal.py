"""`otpq shell` in a real terminal: what is typed, and what stands there then, without the terminal's own signs."""

from __future__ import annotations

import re
import signal
import sys
from typing import TYPE_CHECKING, Final, Self

import pexpect

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["CTRL_C", "CTRL_D", "ENTER", "TAB", "UP", "Terminal"]

CTRL_C: Final = "\x03"
CTRL_D: Final = "\x04"
ENTER: Final = "\r"
TAB: Final = "\t"
UP: Final = "\x1b[A"

_LONG: Final = 60.0
_COLUMNS: Final = 120
_SIGNS: Final = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[=>]|\r")
_READS: Final = r"\x1b\[\?2004h"
"""What a prompt tells the terminal when it begins to read: pasted text is to be marked."""
_HAS_READ: Final = r"\x1b\[\?2004l"


class Terminal:
    """A shell in a terminal of 120 columns."""

    def __init__(self, home: Path, environment: Mapping[str, str], *words: str) -> None:
        self._process = pexpect.spawn(
            sys.executable,
            ["-W", "error", "-W", "default::UserWarning", "-m", "otpq", "shell", *words],
            env={**environment, "TERM": "xterm", "COLUMNS": str(_COLUMNS), "PROMPT_TOOLKIT_NO_CPR": "1"},
            cwd=str(home),
            dimensions=(40, _COLUMNS),
            encoding="utf-8",
            timeout=_LONG,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._process.close(force=True)

    def types(self, keys: str) -> None:
        self._process.send(keys)

    def sees(self, text: str) -> None:
        """Wait until the text stands there. What is typed is drawn bit by bit, so this is for what is printed, and prompts."""
        self._process.expect_exact(text)

    def prompt(self, node: str, number: int) -> None:
        """Wait until the prompt of that number reads."""
        self._process.expect(_READS)
        self.sees(f"otpq({node}){number}>")

    def run(self, text: str) -> str:
        """Type an input at a prompt that reads; what is printed until the next one reads."""
        self.types(text.replace("\n", ENTER) + ENTER)
        self._process.expect(_HAS_READ)
        self._process.expect(_READS)
        return _SIGNS.sub("", self._process.before).strip("\n")

    def hangs_up(self) -> None:
        """Close the terminal."""
        self._process.kill(signal.SIGHUP)

    def leave(self) -> int:
        """Ctrl-D, and the exit code."""
        self.types(CTRL_D)
        return self.end()

    def end(self) -> int:
        """Wait for the end; the exit code."""
        self._process.expect(pexpect.EOF)
        self._process.close()
        return int(self._process.exitstatus)
