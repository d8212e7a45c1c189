"""What a child runs now: its Python stacks, which it writes itself at a signal, whatever it is doing.

The handler of the signal is faulthandler's, in C. It needs no interpreter lock and runs no Python, so it answers from an endless
loop, and from C code that never returns. It writes into a nameless file that the node has made and reads. A child that is told
nothing pays nothing for it.

The signal is a real-time one, which nobody else uses. It ends a program that does not expect it, and the file's descriptor may
lead elsewhere by now: a handler may have closed all descriptors, or become another program. So the kernel is asked before. Where
it does not tell (`portable`), a child that has loaded its app is trusted. C code that sleeps may wake early, as at any signal.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from otpq.worker.child import STACKS, STACKS_SIGNAL
from otpq.worker.log_ring import nameless_file

if TYPE_CHECKING:
    from otpq.worker.warden_client import Running

__all__ = ["ChildStacks", "NoStacks", "threads_of"]

MOST: Final = 256 * 1024
"""Bytes of stacks that are read: more than a hundred threads mostly need."""

PATIENCE: Final = 0.8
"""Seconds in which a child must have written: milliseconds, unless it is starved of the processor."""
_FIRST_PAUSE: Final = 0.0005
_LONGEST_PAUSE: Final = 0.02
_QUIET: Final = 0.1
"""Seconds without a further word after which the stacks are taken to be whole, where the kernel does not tell."""


class NoStacks(Exception):
    """There are none to be had now; the message says why, in words that go on behind the worker's name."""


class ChildStacks:
    """The file of one child, and how to have it written. For any thread."""

    def __init__(self, *, portable: bool) -> None:
        """`portable`: the kernel is not to be asked about the child."""
        import fcntl

        self.descriptor = nameless_file("otpq-stacks")
        """For the child to inherit."""
        # Of the open file, which both sides share: what the child writes stands at its beginning after it was emptied.
        fcntl.fcntl(self.descriptor, fcntl.F_SETFL, fcntl.fcntl(self.descriptor, fcntl.F_GETFL) | os.O_APPEND)
        self._portable = portable
        self._lock = threading.Lock()
        self._is_closed = False

    def close(self) -> None:
        """Let go of it. Whoever reads now notices the child's end first, and is not waited for longer than that takes."""
        with self._lock:
            self._is_closed = True
            os.close(self.descriptor)

    def read(self, child: Running, timeout: float = PATIENCE) -> str:
        """What the child's threads run now, as faulthandler writes it.

        Args:
            child: The one that has inherited the file.
            timeout: Seconds to wait for it.

        Raises:
            NoStacks: It cannot, or does not, say so.
        """
        deadline = time.monotonic() + timeout
        if not self._lock.acquire(timeout=timeout):
            raise NoStacks("somebody else is looking at it; ask again")
        try:
            if self._is_closed or child.exit is not None:
                raise NoStacks("its child has ended")
            return self._ask(child, None if self._portable else _Kernel(child.pid, self.descriptor), deadline)
        finally:
            self._lock.release()

    def _ask(self, child: Running, kernel: _Kernel | None, deadline: float) -> str:
        if STACKS_SIGNAL is None:
            raise NoStacks("this system has no signal that could be used for it")
        if kernel is not None:
            kernel.check()
        os.ftruncate(self.descriptor, 0)
        child.signal(STACKS_SIGNAL)
        began, pause = time.monotonic(), _FIRST_PAUSE
        while time.monotonic() < deadline:
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            if child.exit is not None:
                raise NoStacks("its child has ended meanwhile")
            if self._is_whole(kernel):
                return os.pread(self.descriptor, MOST, 0).decode("utf-8", "backslashreplace")
        seconds = f"within {deadline - began:.1f} s"
        raise NoStacks(f"its child (pid {child.pid}) wrote none {seconds}{'' if kernel is None else kernel.why_not()}")

    def _is_whole(self, kernel: _Kernel | None) -> bool:
        stat = os.fstat(self.descriptor)
        if not stat.st_size:
            return False
        return time.time() - stat.st_mtime > _QUIET if kernel is None else not kernel.is_at_it()


class _Kernel:
    """What Linux says of one child and the signal."""

    def __init__(self, pid: int, descriptor: int) -> None:
        self._pid = pid
        self._place = Path(f"/proc/{pid}")
        self._descriptor = descriptor
        self._bit = 1 << ((STACKS_SIGNAL or 1) - 1)
        self._blocked = set(self._blocking())

    def check(self) -> None:
        """Raises `NoStacks` if the signal would do anything but have the stacks written."""
        if not self._is_in(self._place / "status", "SigCgt"):
            raise NoStacks(f"its child (pid {self._pid}) is starting, or has taken the signal for it away")
        ours = os.fstat(self._descriptor)
        try:
            theirs = (self._place / "fd" / str(STACKS)).stat()
        except OSError:
            theirs = None
        if theirs is None or (theirs.st_dev, theirs.st_ino) != (ours.st_dev, ours.st_ino):
            raise NoStacks(f"its child (pid {self._pid}) has closed the descriptor for it ({STACKS})")

    def is_at_it(self) -> bool:
        """Whether the handler has yet to begin, or to return: the thread that is in it has the signal blocked."""
        return self._is_pending() or any(thread not in self._blocked for thread in self._blocking())

    def _is_pending(self) -> bool:
        return self._is_in(self._place / "status", "ShdPnd")

    def why_not(self) -> str:
        """Why nothing came, as far as can be told."""
        state = _word(self._place / "status", "State")
        if state[:1] in {"T", "t", "D"}:
            return f": its state is {state}"
        return ": it holds the signal for it back" if self._is_pending() else ": another handler took the signal for it"

    def _blocking(self) -> list[str]:
        try:
            threads = list((self._place / "task").iterdir())
        except OSError:
            return []
        return [each.name for each in threads if self._is_in(each / "status", "SigBlk")]

    def _is_in(self, status: Path, mask: str) -> bool:
        return bool(int(_word(status, mask) or "0", 16) & self._bit)


def _word(status: Path, name: str) -> str:
    """What one line of a process's status says; empty if there is none (any more)."""
    try:
        lines = status.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(f"{name}:")), "")


def threads_of(written: str) -> dict[str, str]:
    """What faulthandler has written, by thread, the most recent call last, as Python's own tracebacks have it."""
    threads: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in written.splitlines():
        if line.startswith(("Thread ", "Current thread ")):
            lines = threads.setdefault(line.partition(" (")[0], [])
        elif line.strip():
            lines.append(line)
    return {thread: "\n".join(reversed(lines)) for thread, lines in threads.items()}
