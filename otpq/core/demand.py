"""What the pools ask for, in absolute numbers: a lost message is made good by the next one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from otpq.core.events import Demand, SessionOpened
    from otpq.core.leases import NodeId

__all__ = ["Session"]


class Session:
    """One pool's open line to this core."""

    __slots__ = (
        "asked",
        "handlers",
        "id",
        "idle",
        "memory",
        "node",
        "parallel",
        "pool",
        "queues",
        "running",
        "sent",
        "served",
        "turn",
    )

    def __init__(self, opened: SessionOpened) -> None:
        self.id = opened.session
        self.node: NodeId = (opened.node, opened.incarnation)
        self.pool = opened.pool
        self.queues = opened.queues
        self.parallel = max(1, opened.parallel)
        self.handlers = None if opened.handlers is None else frozenset(opened.handlers)
        """What it can run; None: not known yet."""
        self.memory = opened.memory
        """MiB that tasks on its node may have reserved; None: no bound."""
        self.asked = 0
        self.idle = 0
        """Workers that have nothing to do, as the pool said last, but for those that were thought of since."""
        self.sent: int | None = None
        """Number of the last batch sent. Unknown until the pool has told what it has received."""
        self.turn = 0
        """Which of its queues is served next: they take turns, batch by batch."""
        self.served = 0
        """When it was last served, as a count of all batches: the session that waited longest goes first."""
        self.running: frozenset[int] = frozenset()

    @property
    def open(self) -> int:
        """How many batches it waits for."""
        return 0 if self.sent is None else max(0, self.asked - self.sent)

    def hear(self, demand: Demand, last_sent: int) -> None:
        """Take in what the pool says of itself; `last_sent` is the highest number among the leases that stay open."""
        self.asked, self.idle = demand.asked, demand.idle
        if self.sent is None:
            self.sent = max(demand.received, last_sent)

    def next_number(self) -> int:
        """The number of the next batch, which now counts as sent."""
        self.sent = (self.sent or 0) + 1
        return self.sent
