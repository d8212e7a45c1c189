"""Results on their way from a child to its worker: collected, and sent in batches."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgpack

from otpq.worker.frames import frame
from otpq.worker.packets import Outcome, pack_results

if TYPE_CHECKING:
    import socket

__all__ = ["Outbox"]

_LINGER_NS = 1_000_000
"""A result waits this long at most for company, except behind a task that was expected to be quick and is not. What waits here
dies with the child, and runs again; what has reached the node is safe, and waits there (`queue/pace.py`)."""

_MANY_BYTES = 256 * 1024


class Outbox:
    """Results of one lease after the other. Whoever runs tasks adds to it and says when it is a good moment to send."""

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
        self._socket.sendall(data)

    def _close_frame(self) -> None:
        if self._results:
            self._frames.append(frame(pack_results(self._lease, self._results, len(self._results))))
            self._results.clear()
