"""How far something is: on a terminal one line that changes, elsewhere a line now and then."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Progress"]

_WIDTH: Final = 40
_SECONDS: Final = 2.0
"""Between two lines where there is no terminal."""


class Progress:
    """Shows how many of `size` are done."""

    def __init__(self, size: int, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._size = size
        self._stream = stream
        self._clock = clock
        self._is_live = stream.isatty()
        self._said = clock()
        self._is_open = False

    def show(self, done: int) -> None:
        """So many are done."""
        if self._is_live:
            filled = _WIDTH * done // max(self._size, 1)
            self._write(f"\r[{'#' * filled}{'.' * (_WIDTH - filled)}] {done}/{self._size}")
            self._is_open = True
        elif self._clock() - self._said >= _SECONDS:
            self._said = self._clock()
            self._write(f"{done}/{self._size}\n")

    def say(self, text: str) -> None:
        """A line of its own."""
        self.end()
        self._write(f"{text}\n")

    def end(self) -> None:
        """Leave the line that changes, if there is one."""
        if self._is_open:
            self._is_open = False
            self._write("\n")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
