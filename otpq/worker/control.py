"""Control: what the node tells a child while it runs tasks: that one is to end, that all are, that a checkpoint is durable.

There is no thread that reads. Whoever wants to know looks, and whoever waits reads for all: a handler that asks whether it was
cancelled or waits for its checkpoint, the child's loop when it has nothing to do, an event loop that has a reader on the
socket. Each look takes a lock for as long as it takes to read what is there, and notes whatever comes, for whom it may be.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from typing import TYPE_CHECKING, Final, Self

import msgpack

from otpq.worker.soft_timeout import uninterrupted

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator

    from otpq.worker.frames import FrameReader

__all__ = ["Control", "Kept"]

_SLICE_MS: Final = 100
"""A thread that waits wakes up so often, so that an exception that was raised in it from outside finds it."""

_REMEMBERED: Final = 1000
"""Cancelled tasks that are kept in mind; more can only be of a node that cancels what is not here."""


class Control:
    """The child's ear. For any thread, and for signal handlers."""

    def __init__(self, reader: FrameReader, descriptor: int, on_end: Callable[[], None]) -> None:
        """`on_end` is called when the node is gone."""
        self._reader = reader
        self._descriptor = descriptor
        self._on_end = on_end
        self._lock = threading.RLock()
        self._is_reading = False
        self._cancelled: dict[tuple[int, int], None] = {}
        self._watchers: dict[tuple[int, int], Callable[[], object]] = {}
        self._expected: dict[int, Callable[[], object]] = {}
        self._loops: dict[asyncio.AbstractEventLoop, int] = {}
        self.is_draining = False
        """Whether everything here is to end soon."""

    def fileno(self) -> int:
        """To wait for news with `poll`."""
        return self._descriptor

    def look(self) -> None:
        """Read what has come, without waiting."""
        # What has been read is in a buffer and nowhere else: an exception from outside in between would lose it.
        with uninterrupted, self._lock:
            if self._is_reading:  # we are a signal handler in the middle of a look
                return
            self._is_reading = True
            try:
                for content in self._reader.receive(wait=False):
                    self._take(content)
            finally:
                self._is_reading = False
        if self._reader.closed:
            self._on_end()

    def _take(self, content: bytes) -> None:
        kind, *rest = msgpack.unpackb(content)
        callback: Callable[[], object] | None = None
        if kind == "cancel":
            key = (rest[0], rest[1])
            if len(self._cancelled) >= _REMEMBERED:
                del self._cancelled[next(iter(self._cancelled))]
            self._cancelled[key] = None
            callback = self._watchers.get(key)
        elif kind == "kept":
            callback = self._expected.pop(rest[1], None)
        elif kind == "drain":
            self.is_draining = True
        if callback is not None:
            callback()

    # --- cancelling -------------------------------------------------------------------------------------------------

    @property
    def has_cancelled(self) -> bool:
        """Whether any task is, of those that have not ended."""
        return bool(self._cancelled)

    def is_cancelled(self, lease: int, seq: int) -> bool:
        """Whether this task is to end, as far as was heard."""
        return (lease, seq) in self._cancelled

    @contextlib.contextmanager
    def watched(self, lease: int, seq: int, callback: Callable[[], object]) -> Iterator[None]:
        """Have `callback` called when this task is to end, by whichever thread hears of it; at once if it has been heard."""
        key = (lease, seq)
        with self._lock:
            self._watchers[key] = callback
            if key in self._cancelled:
                callback()
        try:
            yield
        finally:
            with self._lock:
                del self._watchers[key]

    def forget(self, lease: int, seq: int) -> None:
        """This task has ended."""
        if self._cancelled:
            with self._lock:
                self._cancelled.pop((lease, seq), None)

    # --- checkpoints ------------------------------------------------------------------------------------------------

    def expect(self, number: int, callback: Callable[[], object]) -> None:
        """Have `callback` called when this checkpoint is durable, by whichever thread hears of it."""
        with self._lock:
            self._expected[number] = callback

    def expect_no_more(self, number: int) -> None:
        """From here on it is not called."""
        with self._lock:
            self._expected.pop(number, None)

    # --- event loops ------------------------------------------------------------------------------------------------

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have this event loop look when there is news; as often as `detach` will be called."""
        with self._lock:
            self._loops[loop] = self._loops.get(loop, 0) + 1
            if self._loops[loop] == 1:
                loop.add_reader(self._descriptor, self.look)

    def detach(self, loop: asyncio.AbstractEventLoop) -> None:
        """No longer."""
        with self._lock:
            self._loops[loop] -= 1
            if not self._loops[loop]:
                del self._loops[loop]
                loop.remove_reader(self._descriptor)


class Kept:
    """A context manager for a thread that waits for a checkpoint: enter it, send, `wait`."""

    def __init__(self, control: Control, number: int) -> None:
        self._control = control
        self._number = number
        self._is_kept = False

    def __enter__(self) -> Self:
        self._read, self._write = os.pipe()  # another thread may hear of it while this one waits for the socket
        self._control.expect(self._number, self._note)
        return self

    def __exit__(self, *_exc: object) -> None:
        self._control.expect_no_more(self._number)  # so that nobody writes to what is closed now
        os.close(self._read)
        os.close(self._write)

    def _note(self) -> None:
        self._is_kept = True
        os.write(self._write, b"k")

    def wait(self) -> None:
        """Until it is durable."""
        poll = select.poll()
        poll.register(self._control.fileno(), select.POLLIN)
        poll.register(self._read, select.POLLIN)
        while True:
            self._control.look()
            if self._is_kept:
                return
            poll.poll(_SLICE_MS)
