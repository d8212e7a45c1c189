"""An exclusive lock on a file beside a database, which says who holds it."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FileLock", "LockHeld"]


class LockHeld(Exception):
    """Somebody has it: process `pid`, or None where it has not said so yet."""

    def __init__(self, pid: int | None) -> None:
        super().__init__(f"held by process {pid}")
        self.pid = pid


class FileLock:
    """A lock held from construction to `release`, or to the end of the process.

    The kernel frees it when the process ends, however it ends, so no lock is ever stale. The file stays: if holders removed
    it, two could hold locks on two files of one name. The descriptor is not inherited by programs the process executes;
    a plain fork does inherit it, and keeps the lock (nodes never fork, see the warden).

    Raises:
        LockHeld: Another process has it, or another FileLock of this one.
        OSError: The file cannot be made or opened.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # Not a POSIX record lock: that one is gone as soon as anything in this process closes the same file.
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError:
            text = os.pread(self._descriptor, 32, 0).strip()
            os.close(self._descriptor)
            raise LockHeld(int(text) if text.isdigit() else None) from None
        except OSError:
            os.close(self._descriptor)
            raise

    def release(self) -> None:
        """Free it; at most once."""
        os.close(self._descriptor)
