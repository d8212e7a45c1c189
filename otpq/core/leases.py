"""Which tasks are out with which pool, and until when their nodes are trusted to live.

A task is in one open lease at most. A lease has no expiry of its own: it lives as long as its node does, and a node lives
for one term after its last heartbeat, by a clock that never jumps. Nothing of that is stored; a lease found in the store
gets one fresh full term.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from otpq.core.records import LeaseRow

if TYPE_CHECKING:
    from collections.abc import Iterable

    from otpq.core.records import TaskRow

__all__ = ["Lease", "LeaseBook", "NodeId"]

NodeId: TypeAlias = tuple[str, str]
"""(name, incarnation)."""


class Lease:
    """A node's right to run one batch."""

    __slots__ = (
        "alone",
        "epoch",
        "granted",
        "has_arrived",
        "has_members",
        "id",
        "node",
        "number",
        "parallel",
        "reserved",
        "rows",
        "sent",
        "session",
        "slots",
        "waits_since",
    )

    def __init__(
        self,
        id: int,
        session: str,
        node: NodeId,
        rows: dict[int, TaskRow],
        *,
        epoch: int,
        granted: float,
        alone: bool = False,
        number: int = 0,
        parallel: int | None = None,
        sent: float = float("-inf"),
    ) -> None:
        self.id = id
        self.session = session
        self.node = node
        self.rows = rows
        """The tasks not yet resolved, in the order of the batch."""
        self.epoch = epoch
        self.granted = granted
        self.alone = alone
        self.number = number
        """Its place among the batches of its session; 0: granted by an earlier queue server."""
        self.parallel = parallel
        """How many of its tasks run at a time; None: not known yet."""
        self.sent = sent
        """When it was last sent, by the steady clock."""
        self.waits_since = sent
        """By the steady clock: since when what is not begun of it waits, for `balance.py`."""
        self.has_members = any(row.workflow is not None for row in rows.values())
        """Whether there is a member of a workflow among them."""
        self.has_arrived = False
        """Whether the pool has told that it holds it."""
        self.slots: dict[str, int] = {}
        """Of each handler with a limit, how many slots it takes."""
        self.reserved = 0.0
        """MiB; counted only where its node has a bound."""

    def row(self) -> LeaseRow:
        """What the store keeps of it."""
        return LeaseRow(
            lease=self.id,
            node=self.node[0],
            incarnation=self.node[1],
            session=self.session,
            epoch=self.epoch,
            granted=self.granted,
            open=tuple(self.rows),
            alone=self.alone,
        )

    def count(self) -> dict[str, int]:
        """How many of its open tasks each handler has."""
        counts: dict[str, int] = {}
        for row in self.rows.values():
            counts[row.name] = counts.get(row.name, 0) + 1
        return counts


class LeaseBook:
    """All open leases, and the terms of the nodes that hold them."""

    def __init__(self, term: float, margin: float) -> None:
        self.term = term + margin
        """The node counts from the sending of its heartbeat, we from the receipt, plus a margin: it gives up first."""
        self.open: dict[int, Lease] = {}
        self.by_seq: dict[int, Lease] = {}
        self.by_session: dict[str, dict[int, Lease]] = {}
        self.deadlines: dict[NodeId, float] = {}
        self._next_deadline = float("inf")

    def grant(self, lease: Lease) -> None:
        """Open a lease."""
        self.open[lease.id] = lease
        self.by_seq.update(dict.fromkeys(lease.rows, lease))
        self.by_session.setdefault(lease.session, {})[lease.id] = lease

    def close_empty(self, lease: Lease) -> None:
        """Forget a lease if nothing of it is open."""
        if not lease.rows and self.open.pop(lease.id, None) is not None:
            of_session = self.by_session[lease.session]
            del of_session[lease.id]
            if not of_session:
                del self.by_session[lease.session]

    def of_session(self, session: str) -> list[Lease]:
        """The open leases of a session, oldest first."""
        return list(self.by_session.get(session, {}).values())

    def of_node(self, node: NodeId) -> list[Lease]:
        """The open leases of a node's incarnation, oldest first."""
        return [lease for lease in self.open.values() if lease.node == node]

    def renew(self, node: NodeId, mono: float) -> None:
        """Give a node a full term from now on."""
        self.deadlines[node] = mono + self.term
        self._next_deadline = min(self._next_deadline, mono + self.term)

    def end_term(self, node: NodeId) -> None:
        """Trust a node no longer."""
        self.deadlines.pop(node, None)

    def is_trusted(self, node: NodeId) -> bool:
        """Whether a node's term is running."""
        return node in self.deadlines

    def overdue(self, mono: float) -> list[NodeId]:
        """The nodes whose term is over; their terms end with this."""
        if mono < self._next_deadline:
            return []
        over = [node for node, deadline in self.deadlines.items() if deadline <= mono]
        for node in over:
            del self.deadlines[node]
        self._next_deadline = min(self.deadlines.values(), default=float("inf"))
        return over

    @property
    def next_deadline(self) -> float:
        """A time, by the steady clock, before which no term ends."""
        return self._next_deadline

    def holders(self) -> Iterable[NodeId]:
        """The nodes that hold a lease, each once."""
        return dict.fromkeys(lease.node for lease in self.open.values())
