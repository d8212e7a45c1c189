"""What a child sends to its worker: results, collected and sent in batches; and what tasks tell meanwhile, at once."""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

import msgpack

from otpq.worker.frames import frame
from otpq.worker.packets import Outcome, pack_results
from otpq.worker.soft_timeout import uninterrupted

if TYPE_CHECKING:
    import socket

__all__ = ["Outbox"]

_LINGER_NS = 1_000_000
"""A result waits this long at most for company, except behind a task that was expected to be quick and is not: there it waits
until the worker sees that (`packets.HURRY`). What waits here dies with the child, and runs again; what has reached the node is
safe, and waits there (`queue/pace.py`)."""

_MANY_BYTES = 256 * 1024


class Outbox:
    """Results of one lease after the other. Whoever runs tasks adds to it and says when it is a good moment to send.

    `add`, `is_due` and `flush` are for one thread; `tell` is for all, and for signal handlers.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._packer = msgpack.Packer()
        self._owner = os.getpid()
        self._lease = 0
        self._results: list[bytes] = []
        self._frames: list[bytes] = []
        self._bytes = 0
        self._since_ns = 0
        """When the first task of those that wait was begun, which is before its result was added."""
        # A stream that is torn in the middle of a frame is of no use to anybody: so threads take turns, and what a signal
        # handler says in the middle of a frame waits for its end.
        self._lock = threading.RLock()
        self._leaving: deque[bytes] = deque()
        self._is_sending = False
        self._framed = 0

    @property
    def unsent(self) -> int:
        """How many results wait, or were lost when they could not be sent."""
        return self._framed + len(self._results)

    def add(  # noqa: PLR0917 - keywords would cost a tenth of it, every task
        self,
        lease: int,
        seq: int,
        outcome: Outcome,
        value: bytes,
        started: float,
        finished: float,
        now_ns: int,
        delay: float | None = None,
    ) -> None:
        """Note what became of a task that was begun at `now_ns` (boottime)."""
        if lease != self._lease:
            self._close_frame()
            self._lease = lease
        if not self._bytes:
            self._since_ns = now_ns
        result = self._packer.pack((seq, outcome, value, started, finished, delay))
        self._results.append(result)
        self._bytes += len(result)

    def is_due(self, now_ns: int) -> bool:
        """Whether the results that wait, if any, have waited long enough or are many."""
        return self._bytes > 0 and (now_ns - self._since_ns >= _LINGER_NS or self._bytes >= _MANY_BYTES)

    def flush(self) -> None:
        """Send all, waiting for room. A process that some handler forked, unseen by Python, ends here instead.

        Raises:
            OSError: The node is gone.
        """
        if not self._bytes:
            return
        if os.getpid() != self._owner:
            os._exit(0)
        self._close_frame()
        data = b"".join(self._frames)
        self._frames.clear()
        self._bytes = 0
        self._send(data)
        self._framed = 0

    def tell(self, kind: str, *words: Any) -> None:
        """Send a frame that does not wait for company. In a process that some handler forked it does nothing.

        Raises:
            OSError: The node is gone.
        """
        if os.getpid() == self._owner:
            data = frame(msgpack.packb((kind, *words)))
            with uninterrupted:  # handlers call this
                self._send(data)

    def _send(self, data: bytes) -> None:
        with self._lock:
            if self._is_sending:
                self._leaving.append(data)
                return
            self._is_sending = True
            try:
                self._socket.sendall(data)
                while self._leaving:
                    self._socket.sendall(self._leaving.popleft())
            finally:
                self._is_sending = False

    def _close_frame(self) -> None:
        if self._results:
            self._frames.append(frame(pack_results(self._lease, self._results, len(self._results))))
            self._framed += len(self._results)
            self._results.clear()
