"""A way to wake a thread that waits in `poll`: one file descriptor, and a flag that saves most of the system calls."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Waker"]


class Waker:
    """`wake` makes `fd` readable, from any thread; the waiting thread calls `clear`, and then looks at what there is.

    `wake` after putting the work where it is found, `clear` before looking for it: then no work is left lying. If the flag is
    up already, the waiting thread has not cleared it yet, so it will still look, and a second write would tell it nothing.
    """

    __slots__ = ("_is_set", "_writer", "fd")

    def __init__(self) -> None:
        if sys.platform == "linux":
            self.fd = self._writer = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        else:
            self.fd, self._writer = os.pipe()
            os.set_blocking(self.fd, False)
            os.set_blocking(self._writer, False)
        self._is_set = False

    def wake(self) -> None:
        """Make `fd` readable."""
        if not self._is_set:
            self._is_set = True
            with contextlib.suppress(BlockingIOError, OSError):  # full: it is readable; closed: nobody waits any more
                os.write(self._writer, b"\x01\0\0\0\0\0\0\0" if self._writer == self.fd else b"\x01")

    def clear(self) -> None:
        """Take the mark away; what was put before this call is there to be seen."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.fd, 4096)
        # After reading: in the other order a `wake` between the two would have its write read away with its flag left up,
        # and no later one would write. One that comes before this line writes nothing, but what it put is there to be seen.
        self._is_set = False

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        # By its default, since at the end of the interpreter this module's names may be gone.
        # No `close`: another thread could be about to write, and the descriptor be another file's by then. Where nobody
        # holds this object any more, nobody writes.
        for fd in {self.fd, self._writer}:
            close(fd)
