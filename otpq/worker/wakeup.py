"""Wait for descriptors and for signals at once, in a process of one thread. Of the standard library alone."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["HANGUP", "READABLE", "Waiter"]

READABLE = select.POLLIN
HANGUP = 0
"""Wait only for the other side's end: `poll` reports that without being asked."""


def _note(_number: int, _frame: FrameType | None) -> None:
    """A handler that does nothing: what counts is that the signal writes a byte to the wakeup pipe."""


class Waiter:
    """`poll`, which the death of a child process ends too.

    Signals that a terminal or a service manager sends to everybody (INT, TERM, HUP) are taken and disregarded: the
    warden ends with its node, not before.
    """

    def __init__(self) -> None:
        self._poll = select.poll()
        self._read, self._write = os.pipe()
        for end in (self._read, self._write):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # A handler, not SIG_IGN: ignored children are not to be waited for, and exec would pass SIG_IGN on.
            signal.signal(number, _note)
        self._poll.register(self._read, READABLE)

    def watch(self, descriptor: int, events: int) -> None:
        """From now on `wait` tells of it."""
        self._poll.register(descriptor, events)

    def forget(self, descriptor: int) -> None:
        """No longer."""
        self._poll.unregister(descriptor)

    def wait(self, seconds: float | None) -> dict[int, int]:
        """The descriptors of which there is news, and what; empty after `seconds`, or when a signal came."""
        news = dict(self._poll.poll(None if seconds is None else max(0, int(seconds * 1000) + 1)))
        if news.pop(self._read, None):
            with contextlib.suppress(BlockingIOError):
                os.read(self._read, 4096)
        return news
