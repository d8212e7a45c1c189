"""What one child puts out beside its answers: the lines of its tasks, what C code and sub-programs write, collected in passing.

Nothing here waits, neither for the child nor for more: the worker looks now and then, and before it answers for a task. At
each look the ring is emptied and a bounded piece of each pipe is read.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import sys
import threading
from typing import TYPE_CHECKING, Final, TypeAlias

from otpq.worker.raw_lines import RawLines, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from otpq.core.events import Logged
    from otpq.worker.log_ring import LogRing
    from otpq.worker.task_log import RawStream, TaskLog

__all__ = ["ChildOutput", "Owner", "log_pipe"]

_LOOK_BYTES: Final = 256 * 1024
"""Of each pipe, at a look; it holds no more."""
_FULL: Final = 60 * 1024
"""Bytes in a pipe behind which somebody may wait: about what it holds where it could not be made larger."""

_PATIENCE: Final = 1.0
"""Seconds that `close` waits for a look that is under way; nothing in it waits but the node's own standard error."""

_PASSED_ON: Final = 1000
"""Lines that are nobody's and come in one piece: as many go to the node's standard error."""

Owner: TypeAlias = "tuple[int, int] | None"
"""Whose raw output it is, by lease and seq; None: nobody's that could be told."""


def log_pipe() -> tuple[int, int]:
    """A pipe whose reading end never waits, and which holds as much as a look reads, where the system grants that."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with contextlib.suppress(OSError):  # this user has too many pipes of that size
            fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, _LOOK_BYTES)
    return read, write


class _Pipe:
    """One of the two, and to whom its unfinished line belongs."""

    def __init__(self, stream: RawStream) -> None:
        self.stream: RawStream = stream
        self.lines = RawLines()
        self.owner: Owner = None


class ChildOutput:
    """The output of one child, from its start to its end."""

    def __init__(self, pipes: tuple[int, int], ring: LogRing, log: TaskLog, label: str) -> None:
        """The descriptors stay the caller's; `label` stands before what goes to the node's own standard error."""
        self._ring = ring
        self._log = log
        self._label = label
        self._pipes = {pipes[0]: _Pipe("out"), pipes[1]: _Pipe("err")}
        self._poll = select.poll()
        for descriptor in pipes:
            self._poll.register(descriptor, select.POLLIN)
        self._lock = threading.Lock()  # a dead worker's thread may be at it still when the descriptors are closed
        self._is_closed = False
        self.is_full = False
        """Whether a pipe was full at the last look: its writers wait for the next one."""

    def collect(self, owner_of: Callable[[], Owner], now: float) -> list[Logged]:
        """Read what is there, and tell what is due.

        Args:
            owner_of: Whose the raw output is; asked if there is any. What is nobody's goes to the node's standard error.
            now: Wall clock.
        """
        with self._lock:
            if not self._is_closed:
                self._collect(owner_of, now)
        return self._log.tell(now)

    def _collect(self, owner_of: Callable[[], Owner], now: float) -> None:
        if self._ring.has_news:
            self._log.put(self._ring.take())
        self.is_full = False
        for descriptor, _ in self._poll.poll(0):
            self._read(descriptor, owner_of(), now)

    def _read(self, descriptor: int, owner: Owner, now: float) -> None:
        pipe = self._pipes[descriptor]
        try:
            data = os.read(descriptor, _LOOK_BYTES)
        except BlockingIOError:
            return
        if not data:  # the child and all that it started have closed it
            self._poll.unregister(descriptor)
        self.is_full |= len(data) >= _FULL
        if owner != pipe.owner:
            self._put(pipe, pipe.lines.end(), now)
            pipe.owner = owner
        self._put(pipe, pipe.lines.feed(data), now)

    def _put(self, pipe: _Pipe, block: bytes, now: float) -> None:
        if not block:
            return
        if pipe.owner is None:
            self._pass_on(block)
        else:
            self._log.put_raw(pipe.owner, pipe.stream, block, now)

    def _pass_on(self, block: bytes) -> None:
        *lines, rest = block.split(b"\n", _PASSED_ON)
        words = [f"{self._label}: {text_of(line)}\n" for line in lines]
        if rest:
            count = rest.count(b"\n")
            words.append(f"{self._label}: ({count} more lines are left out)\n")
        with contextlib.suppress(OSError, ValueError):  # nobody is there to read it
            sys.stderr.write("".join(words))
            sys.stderr.flush()

    def end(self, lease: int, seqs: Iterable[int], now: float) -> list[Logged]:
        """The last of these runs, `collect`ed before; what they left unfinished is a line."""
        seqs = list(seqs)
        for pipe in self._pipes.values():
            if pipe.owner is not None and pipe.owner[0] == lease and pipe.owner[1] in seqs:
                self._put(pipe, pipe.lines.end(), now)
                pipe.owner = None
        return self._log.end(lease, seqs, now)

    def end_all(self, owner: Owner, now: float) -> list[Logged]:
        """The last of all, when the child is gone."""
        found = self.collect(lambda: owner, now)
        for pipe in self._pipes.values():
            self._put(pipe, pipe.lines.end(), now)
        for lease, seq in self._log.runs:
            found += self._log.end(lease, (seq,), now)
        return found

    def close(self) -> None:
        """Read no more: when this returns, the descriptors may be closed. For any thread."""
        is_mine = self._lock.acquire(timeout=_PATIENCE)
        self._is_closed = True
        if is_mine:
            self._lock.release()
