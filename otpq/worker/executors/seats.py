"""Seats: the slots of a child that runs several tasks at a time, and which tasks sit in them.

A task begins, for the blackboard, in the child's main thread and in the order of receipt: so those that have begun are always
the first of those that were received.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from otpq.worker.backing import RunContext
from otpq.worker.deadline import boottime_ns
from otpq.worker.packets import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otpq.worker.backing import Means
    from otpq.worker.blackboard import Slot
    from otpq.worker.executors.calling import Ended
    from otpq.worker.packets import Item, Packet

__all__ = ["Seat", "Seats"]


class Seat(NamedTuple):
    """One running task."""

    context: RunContext
    slot: Slot
    started: float
    since_ns: int


class Seats:
    """For the main thread."""

    def __init__(self, slots: Sequence[Slot], means: Means) -> None:
        self._free = list(reversed(slots))
        self._count = len(slots)
        self._means = means
        self._waiting: deque[tuple[int, Item]] = deque()

    @property
    def has_room(self) -> bool:
        """Whether another packet may be received: a slot is free and nothing that was received waits.

        And always where the child is to finish: what waits in front of it goes back.
        """
        return self._means.is_finishing or (bool(self._free) and not self._waiting)

    @property
    def is_empty(self) -> bool:
        """Whether nothing runs, and nothing waits."""
        return len(self._free) == self._count and not self._waiting

    def put(self, packet: Packet) -> None:
        """Take what was received."""
        self._waiting.extend((packet.lease, item) for item in packet.items)

    def next(self) -> Seat | None:
        """Begin the next task, if there is one and a slot for it. Where the child is to finish, those that wait are handed back."""
        if self._means.is_finishing:
            while self._waiting:
                lease, item = self._waiting.popleft()
                self._means.outbox.add(lease, item.seq, Outcome.RETURNED, b"", 0.0, 0.0, boottime_ns())
        if not self._free or not self._waiting:
            return None
        lease, item = self._waiting.popleft()
        slot, started, now_ns = self._free.pop(), time.time(), boottime_ns()
        slot.begin(item.seq, lease, item.id, item.attempt, started, now_ns)
        return Seat(RunContext(self._means, lease, item), slot, started, now_ns)

    def end(self, seat: Seat, ended: Ended) -> None:
        """A task has ended: its slot is free, and its result goes to the outbox."""
        context, slot, started, now_ns = seat
        context.is_over = True
        lease, seq = context.lease, context.item.seq
        self._means.close(lease, seq)
        slot.end()
        self._free.append(slot)
        outcome, value, delay = ended
        self._means.outbox.add(lease, seq, outcome, value, started, time.time(), now_ns, delay)
