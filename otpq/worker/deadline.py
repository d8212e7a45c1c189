"""Until when a node may run tasks: one word of shared memory, which outlives a stopped or killed node.

The node writes it (from the sending of its last acknowledged heartbeat, plus the lease), the warden reads it. The clock is
CLOCK_BOOTTIME: it counts while the machine is suspended, and nobody can set it. Of the standard library alone.
"""

from __future__ import annotations

import mmap
import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["NEVER", "Deadline", "boottime_ns"]

NEVER = 0
"""The value of a word that was never set: no lease, no deadline."""

# macOS has no CLOCK_BOOTTIME; its CLOCK_MONOTONIC counts during sleep.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_WORD = 8


def boottime_ns() -> int:
    """Nanoseconds since the machine was started, suspended time included."""
    return time.clock_gettime_ns(_CLOCK)


class Deadline:
    """One aligned 8-byte word in a file that node and warden map.

    Torn values cannot be read: a store through a memoryview of format "q" is one `memcpy` of 8 constant bytes, one move
    instruction on every 64-bit machine, and aligned moves are atomic there. (`struct.pack_into` with "<q" would write byte
    by byte.) The page is shared, so it needs no write to disk to be seen, and survives everybody's SIGKILL.
    """

    def __init__(self, path: Path) -> None:
        """Maps the word in `path`, which is made, holding `NEVER`, if it is not there."""
        self.path = path
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(descriptor).st_size < _WORD:
                os.ftruncate(descriptor, _WORD)
            self._map = mmap.mmap(descriptor, _WORD)
        finally:
            os.close(descriptor)
        self._word = memoryview(self._map).cast("q")

    @classmethod
    def of(cls, directory: Path, incarnation: str) -> Deadline:
        """That of one incarnation: a file each, since an old one's warden may still be at work beside the new one's."""
        return cls(directory / f"deadline.{incarnation}")

    def set(self, at_ns: int) -> None:
        """From now on the node may run tasks until `at_ns` of `boottime_ns`. It must only move forward."""
        self._word[0] = at_ns

    def get(self) -> int:
        """The moment, in `boottime_ns`; `NEVER` if it was not set."""
        return self._word[0]

    def remaining(self) -> float | None:
        """Seconds until it is over, negative after; None if there is no deadline."""
        at_ns = self._word[0]
        return None if at_ns == NEVER else (at_ns - boottime_ns()) / 1e9

    def close(self) -> None:
        """Unmap it; the file stays."""
        self._word.release()
        self._map.close()
