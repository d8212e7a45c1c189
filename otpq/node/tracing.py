"""Traces of processes: the latest messages of each, kept for whoever asks for them now and then.

A process is traced from when somebody begins until nobody has read for ten seconds. It notices that itself, at its next message,
so a reader that is gone leaves nothing behind. What is kept is text, bounded in all ways: a traced queue server goes on working.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from otpq.errors import UsageError
from otpq.node.showing import line
from otpq.otp import trace, untrace

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.otp import Pid, Traced

__all__ = ["Ring", "Traces"]

KEPT: Final = 1_000
"""Messages of a process that wait to be read; the oldest give way."""
A_READING: Final = 200
"""Messages that are given at a time."""
SHOWN_A_SECOND: Final = 1_000
"""Messages that are shown; each costs the traced process some 30 us. The others are counted."""
UNREAD: Final = 10.0
"""Seconds without a reader after which a trace ends."""
MOST: Final = 16
"""Processes that are traced at a time."""


class Ring:
    """The latest messages of one process, numbered; a value with the time as a parameter."""

    def __init__(self, now: float) -> None:
        self._kept: deque[tuple[int, dict[str, Any]]] = deque(maxlen=KEPT)
        self._number = 0
        self._read_at = now
        self._second = 0.0
        self._shown = 0
        self._lock = threading.Lock()

    def put(self, traced: Traced, now: float) -> None:
        """Keep a message, or no more than that there was one."""
        with self._lock:
            self._number += 1
            if now - self._second >= 1.0:
                self._second, self._shown = now, 0
            self._shown += 1
            if self._shown > SHOWN_A_SECOND:
                return
            peer = None if traced.peer is None else repr(traced.peer)
            shown = {"time": traced.time, "kind": traced.kind, "peer": peer, "message": line(traced.message)}
            self._kept.append((self._number, shown))

    def read(self, after: int, now: float) -> tuple[list[dict[str, Any]], int]:
        """The messages behind number `after`, and the number to go on from; `dropped` of each says how many are missing before it."""
        with self._lock:
            self._read_at = now
            found: list[dict[str, Any]] = []
            for number, shown in self._kept:
                if number > after and len(found) < A_READING:
                    found.append({**shown, "dropped": number - after - 1})
                    after = number
            return found, after

    @property
    def number(self) -> int:
        """That of the latest message."""
        return self._number

    def is_unread(self, now: float) -> bool:
        """Whether nobody has asked for long enough."""
        return now - self._read_at > UNREAD


class Traces:
    """Those of one node."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rings: dict[Pid, Ring] = {}

    def start(self, pid: Pid) -> int:
        """Trace a process from now on; the number after which to read. Of one that is traced already, the same trace.

        Raises:
            UsageError: So many are traced already.
        """
        now = self._clock()
        self._sweep(now)
        ring = self._rings.get(pid)
        if ring is None:
            if len(self._rings) >= MOST:
                raise UsageError(
                    f"{MOST} processes are traced already; a trace ends {UNREAD:g} s after it was last read"
                )
            ring = self._rings[pid] = Ring(now)
            trace(pid, self._tracer(pid, ring))
        ring.read(ring.number, now)
        return ring.number

    def _tracer(self, pid: Pid, ring: Ring) -> Callable[[Traced], None]:
        def put(traced: Traced) -> None:
            now = self._clock()
            if ring.is_unread(now):
                self._end(pid)
            else:
                ring.put(traced, now)

        return put

    def read(self, shown: str, after: int) -> dict[str, Any]:
        """What came since of a process, by its printed pid: `messages`, and `after` for the next time; `ended`: why no more comes.

        Raises:
            UsageError: This process is not traced (any more).
        """
        pid = next((pid for pid in list(self._rings) if repr(pid) == shown), None)
        ring = None if pid is None else self._rings.get(pid)
        if pid is None or ring is None:
            raise UsageError(f"{shown} is not traced; a trace ends {UNREAD:g} s after it was last read")
        reason = pid.process.exit_reason  # before the reading: what it did last is in it
        messages, following = ring.read(after, self._clock())
        is_over = reason is not None and not messages
        if is_over:
            self._rings.pop(pid, None)
        return {"messages": messages, "after": following, "ended": repr(reason) if is_over else None}

    def _sweep(self, now: float) -> None:
        for pid, ring in list(self._rings.items()):
            if ring.is_unread(now):
                self._end(pid)

    def _end(self, pid: Pid) -> None:
        self._rings.pop(pid, None)
        untrace(pid)
