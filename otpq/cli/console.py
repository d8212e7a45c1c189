"""How a node writes to its terminal. Of the standard library alone: a node has no use for the rest of the command line."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from otpq.node.console_lines import Line

__all__ = ["write_lines"]

_COLOURS: Final = {"failure": "\x1b[31m", "retry": "\x1b[33m"}
"""Red and yellow."""
_PLAIN: Final = "\x1b[0m"


def write_lines(lines: Iterable[Line]) -> None:
    """Write a node's lines to its terminal, in colours unless `NO_COLOR` is set.

    Past `sys.stdout`: a thread that a stopped terminal (Ctrl-S) holds up must hold no lock of it.

    Raises:
        OSError: The terminal is gone.
    """
    colours = {} if "NO_COLOR" in os.environ else _COLOURS
    texts = (f"{colours[tone]}{text}{_PLAIN}" if tone in colours else text for text, tone in lines)
    left = "".join(f"{text}\n" for text in texts).encode(sys.stdout.encoding, "replace")
    while left:
        left = left[os.write(sys.stdout.fileno(), left) :]
