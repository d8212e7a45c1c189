"""What a shell prints: values as text or as JSON, streams as they come, errors."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from io import IOBase
from shutil import get_terminal_size
from typing import Any, Final

import msgspec

from otpq.shell.failures import failure
from otpq.shell.pretty import line, shown

__all__ = ["Output"]

_LINES: Final = 1000
"""Lines of one value that a terminal is given; so many items of a stream are kept."""


class Output:
    """Where values and errors go.

    On a terminal, tables are made to fit, and a value that is too long is cut; elsewhere nothing is.
    """

    def __init__(self, *, as_json: bool = False, is_terminal: bool = False) -> None:
        self._as_json = as_json
        self.is_terminal = is_terminal

    @property
    def width(self) -> int | None:
        """Characters of a line of the terminal; None: it is none."""
        return get_terminal_size().columns if self.is_terminal else None

    def show(self, value: Any) -> Any:
        """Print a value, and return what may be kept of it: of a stream, which is printed until Ctrl-C, its last items."""
        if isinstance(value, Iterator) and not isinstance(value, IOBase):
            return self._follow(value)
        self.say(_json(value) if self._as_json else self._fitted(value))
        return value

    def say(self, text: str) -> None:
        """Print a text on a line of its own."""
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    def fail(self, error: BaseException) -> None:
        """Print an error."""
        self.warn(failure(error))

    def warn(self, text: str) -> None:
        """Print a text on a line of its own that is no value."""
        sys.stdout.flush()  # it stands behind what was printed before it, also where both go to one file
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    def _follow(self, stream: Iterator[Any]) -> list[Any]:
        kept: deque[Any] = deque(maxlen=_LINES)
        with suppress(KeyboardInterrupt):
            for item in stream:
                self.say(_json(item) if self._as_json else line(item))
                kept.append(item)
        return [*kept]

    def _fitted(self, value: Any) -> str:
        text = shown(value, self.width)
        if not self.is_terminal:
            return text
        lines = text.split("\n", _LINES) if len(text) > _LINES else [text]
        whole = "\n".join(each if len(each) <= _LINES * 10 else f"{each[: _LINES * 10]}…" for each in lines[:_LINES])
        return whole if len(lines) <= _LINES else f"{whole}\n… and more; v() is all of it"


def _json(value: Any) -> str:
    return msgspec.json.encode(value, enc_hook=_plain).decode()


def _plain(value: Any) -> Any:
    """What stands for a value that JSON has no form for: a task for its handle."""
    if isinstance(getattr(value, "id", None), str):
        return value.id
    raise TypeError(f"{type(value).__name__} has no form in JSON; give its parts: {value!r}")
