"""What a child runs now: its Python stacks, which it writes itself at a signal, whatever it is doing.

It is asked twice. At the first signal Python itself has them written, between two instructions of the main thread: that is safe at
any moment, and answers from an endless loop and from every wait of Python's own. Where the main thread does not come to it, since
it is in C code or waits for the interpreter lock that C code of another thread keeps, the second signal has faulthandler's handler
do it, in C, without that lock. That alone would do; but it reads frames that may be changing, and one in a thousand of such looks
ended a busy child. Behind C code they stand still.

It is written into a nameless file that the node has made and reads; a child that nobody asks pays nothing. The signals are
real-time ones, which nobody else uses. They end a program that does not expect them, and the file's descriptor may lead elsewhere
by now: a handler may have closed all, or become another program. So the kernel is asked before. Where it does not tell
(`portable`), there is no second signal: Python looks at the descriptor before it writes, and faulthandler cannot. C code that
sleeps may wake early, as at any signal.
"""

from __future__ import annotations

import os
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from otpq.worker.child import ASK, INSIST, STACKS, WRITER, WRITTEN
from otpq.worker.log_ring import nameless_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.worker.warden_client import Running

__all__ = ["ChildStacks", "NoStacks", "threads_of"]

MOST: Final = 256 * 1024
"""Bytes of stacks that are read: more than a hundred threads mostly need."""

PATIENCE: Final = 0.6
"""Seconds in which Python must have written: milliseconds, unless the main thread is held up."""
INSISTENCE: Final = 0.3
"""The same from the second signal on."""
_FIRST_PAUSE: Final = 0.0005
_LONGEST_PAUSE: Final = 0.02


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

    def read(self, child: Running) -> str:
        """What the threads of `child`, which has inherited the file, run now, as faulthandler writes it; within a second.

        Raises:
            NoStacks: It cannot, or does not, say so.
        """
        if not self._lock.acquire(timeout=PATIENCE + INSISTENCE):
            raise NoStacks("somebody else is looking at it; ask again")
        try:
            if self._is_closed or child.exit is not None:
                raise NoStacks("its child has ended")
            return self._ask(child, None if self._portable else _Kernel(child.pid, self.descriptor))
        finally:
            self._lock.release()

    def _ask(self, child: Running, kernel: _Kernel | None) -> str:
        if ASK is None:
            raise NoStacks("this system has no signal that could be used for it")
        if kernel is not None:
            kernel.check()
        os.ftruncate(self.descriptor, 0)
        child.signal(ASK)
        written = self._await(child, PATIENCE, self._has_said_so)
        if not written and INSIST is not None and kernel is not None:
            child.signal(INSIST)
            written = self._await(child, INSISTENCE, partial(self._is_out, kernel))
        if not written:
            why = ": it may be in C code" if kernel is None else kernel.why_not()
            raise NoStacks(f"its child (pid {child.pid}) does not write them{why}")
        return written

    def _await(self, child: Running, seconds: float, is_whole: Callable[[str], bool]) -> str:
        """What it has written when that is whole; nothing if it is not in time."""
        deadline, pause = time.monotonic() + seconds, _FIRST_PAUSE
        while time.monotonic() < deadline:
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            if child.exit is not None:
                raise NoStacks("its child has ended meanwhile")
            written = os.pread(self.descriptor, MOST, 0).decode("utf-8", "backslashreplace")
            if written and (len(written) >= MOST or is_whole(written)):
                return written
        return ""

    @staticmethod
    def _has_said_so(written: str) -> bool:
        return WRITTEN in written

    @staticmethod
    def _is_out(kernel: _Kernel, _written: str) -> bool:
        return not kernel.is_at_it()


class _Kernel:
    """What Linux says of one child and the two signals."""

    def __init__(self, pid: int, descriptor: int) -> None:
        self._pid = pid
        self._place = Path(f"/proc/{pid}")
        self._descriptor = descriptor
        self._blocked = set(self._blocking())

    def check(self) -> None:
        """Raises `NoStacks` if the signal would do anything but have the stacks written."""
        caught = _mask(self._place / "status", "SigCgt")
        if not (caught & _bit(ASK) and caught & _bit(INSIST)):
            raise NoStacks(f"its child (pid {self._pid}) is starting, or has taken the signals for it away")
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
        return bool(_mask(self._place / "status", "ShdPnd") & _bit(INSIST))

    def why_not(self) -> str:
        """Why nothing came, as far as can be told."""
        state = _word(self._place / "status", "State")
        if state[:1] in {"T", "t", "D"}:
            return f": its state is {state}"
        return (
            ": it holds the signals for it back" if self._is_pending() else ": other handlers take the signals for it"
        )

    def _blocking(self) -> list[str]:
        try:
            threads = list((self._place / "task").iterdir())
        except OSError:
            return []
        return [each.name for each in threads if _mask(each / "status", "SigBlk") & _bit(INSIST)]


def _bit(number: int | None) -> int:
    return 0 if number is None else 1 << (number - 1)


def _mask(status: Path, name: str) -> int:
    return int(_word(status, name) or "0", 16)


def _word(status: Path, name: str) -> str:
    """What one line of a process's status says; empty if there is none (any more)."""
    try:
        lines = status.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(f"{name}:")), "")


def threads_of(written: str) -> dict[str, str]:
    """What a child has written, by thread, the most recent call last, as Python's own tracebacks have it."""
    threads: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in written.partition(WRITTEN)[0].splitlines():
        if line.startswith(("Thread ", "Current thread ")):
            lines = threads[line.partition(" (")[0]] = []
        elif line.strip() and not line.endswith(f" in {WRITER}"):
            lines.append(line)
    return {thread: "\n".join(reversed(lines)) for thread, lines in threads.items()}
