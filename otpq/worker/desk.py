"""A pool's books, as a value: what it holds, what it keeps until it is committed, what it asks for.

A lease's tasks are *open* while a worker has them. Then each is *kept*, as a result, or *returned*, until the queue server
says that this is durable; or it is *interrupted*: nobody knows how it ended, and nothing is said of it. The core finds such
a task by its absence: a lease that the pool held and holds no more is ended as one of which nobody can say what was started
(uncharged at first, and right for at-most-once).

A lease is held as long as anything of it is open, kept or returned. Batches are numbered by the queue server, and the
numbers go on when the session is opened again: `received` tells a new one where to go on.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final, TypeAlias

from otpq.core.events import Checkpointed, Demand, HandedBack, Logged, Progressed, Results

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from otpq.core.effects import Dispatch
    from otpq.core.events import Result
    from otpq.worker.orders import Job

__all__ = ["BATCHES", "Desk", "Said"]

Said: TypeAlias = Results | HandedBack | Progressed | Checkpointed | Logged
"""What a pool says of its tasks."""

BATCHES: Final = 2
"""How many batches a worker may have: one that runs and one in front of it, so that no child waits for the queue server. A
child that runs n tasks at a time may have as many tasks as twice n, in whatever batches."""

_REMEMBERED: Final = 10_000
"""Leases that are over and still known, so that a batch which is sent twice is not run twice."""


class _Lease:
    """What the pool has of one batch."""

    __slots__ = ("id", "kept", "open", "returned", "slot")

    def __init__(self, id: int, slot: int | None, jobs: Iterable[Job]) -> None:
        self.id = id
        self.slot = slot
        self.open = {job.seq: job for job in jobs}
        self.kept: dict[int, Result] = {}
        self.returned: set[int] = set()

    @property
    def is_over(self) -> bool:
        return not (self.open or self.kept or self.returned)


class Desk:
    """The books. Nothing here waits, sends or looks at a clock; what is to be said gathers in `flush`."""

    def __init__(self, session: str, parallel: int = 1) -> None:
        """`parallel`: how many tasks a child runs at a time."""
        self.session = session
        self._parallel = parallel
        self.is_closed = False
        """Whether it asks for nothing any more."""
        self.is_paused = False
        """Whether it asks for nothing for now; what it has goes on."""
        self._received = 0
        self._leases: dict[int, _Lease] = {}
        self._loads: dict[int, dict[int, None]] = {}
        """Of each worker whose child is ready, the leases of which it has open tasks, the oldest first."""
        self._over: dict[int, None] = {}
        self._ghosts: set[int] = set()
        """Leases that are over here and open at the queue server: to be held for one demand, and then no more."""
        self._asked = 0
        """As said last."""
        self._has_news = False
        """Whether the core is to hear what is held: something of it vanished, or came although it was over."""
        self._outbox: list[Said] = []
        self._checkpoints: dict[tuple[int, int], Checkpointed] = {}
        """By lease and task, what is not durable yet: the child waits for it."""

    # --- the workers ------------------------------------------------------------------------------------------------

    def worker_ready(self, slot: int) -> None:
        """A worker's child takes tasks."""
        self._loads.setdefault(slot, {})

    def worker_paused(self, slot: int) -> None:
        """A worker's child takes none now. What it had has been answered for, or will be."""
        self._loads.pop(slot, None)

    def worker_gone(self, slot: int, running: Collection[int]) -> None:
        """A worker ended and can answer no more; `running` is what its blackboard names.

        Those are interrupted. What may run at most once is as well, since it may have run; the rest is handed back.
        """
        self.worker_paused(slot)
        for lease in [lease for lease in self._leases.values() if lease.slot == slot and lease.open]:
            seqs = [job.seq for job in lease.open.values() if job.seq in running or job.at_most_once]
            self.interrupted(lease.id, seqs)
            self.returned(lease.id, list(lease.open))

    # --- batches, and what becomes of them --------------------------------------------------------------------------

    def take(self, dispatch: Dispatch, jobs: Iterable[Job]) -> int | None:
        """Enter a batch. The worker that is to run it; None if nothing of it is to be run.

        It is not run if it came before, nor if there is no child for it now; then it is handed back.
        """
        id = dispatch.lease
        self._received = max(self._received, dispatch.number)
        if id in self._leases:
            return None
        if id in self._over:
            self._ghosts.add(id)
            self._has_news = True
            return None
        slot = None if self.is_closed else min(self._loads, key=self._weight, default=None)
        lease = self._leases[id] = _Lease(id, slot, jobs)
        if slot is None:
            self.returned(id, list(lease.open))
        else:
            self._loads[slot][id] = None
        return slot

    def done(self, id: int, results: Sequence[Result]) -> None:
        """Keep results. Those of tasks that are not open (any more) are a zombie's, and dropped."""
        lease = self._leases.get(id)
        if lease is None:
            return
        open_ = lease.open
        fresh = [each for each in results if open_.pop(each.seq, None) is not None]
        if fresh:
            lease.kept.update({each.seq: each for each in fresh})
            self._outbox.append(Results(session=self.session, lease=id, results=fresh))
            self._settle(lease)

    def retries_among(self, id: int, results: Sequence[Result]) -> int:
        """How many of these runs were not their task's first."""
        lease = self._leases.get(id)
        if lease is None:
            return 0
        jobs = lease.open
        return sum(each.seq in jobs and jobs[each.seq].attempt > 1 for each in results)

    def tell(self, events: Iterable[Progressed | Checkpointed | Logged]) -> None:
        """Pass on what tasks tell while they run, before what is said of them later."""
        for event in events:
            self._outbox.append(event)
            if isinstance(event, Checkpointed):
                self._checkpoints[event.lease, event.seq] = event

    def kept(self, id: int, seq: int, number: int) -> None:
        """A checkpoint is durable."""
        waiting = self._checkpoints.get((id, seq))
        if waiting is not None and waiting.number == number:
            del self._checkpoints[id, seq]

    def returned(self, id: int, seqs: Sequence[int]) -> None:
        """Hand back tasks that were not started."""
        lease = self._leases.get(id)
        fresh = [] if lease is None else [seq for seq in seqs if lease.open.pop(seq, None) is not None]
        if lease is not None and fresh:
            lease.returned.update(fresh)
            self._outbox.append(HandedBack(session=self.session, lease=id, seqs=tuple(fresh)))
            self._settle(lease)

    def interrupted(self, id: int, seqs: Iterable[int]) -> None:
        """Let go of tasks of which nobody can tell how they ended."""
        lease = self._leases.get(id)
        if lease is not None:
            for seq in seqs:
                lease.open.pop(seq, None)
            self._has_news = True
            self._settle(lease)

    def committed(self, id: int, seqs: Collection[int]) -> None:
        """What became of these is durable."""
        lease = self._leases.get(id)
        if lease is not None:
            for seq in seqs:
                lease.kept.pop(seq, None)
            lease.returned.difference_update(seqs)
            self._settle(lease)

    def stale(self, id: int, seqs: Sequence[int] = ()) -> tuple[int, ...]:
        """The lease is not open to us for these tasks (none named: for all). Those that a worker has, and is to end."""
        lease = self._leases.get(id)
        if lease is None:
            return ()
        dropped = set(seqs) or {*lease.open, *lease.kept, *lease.returned}
        at_work = tuple(seq for seq in lease.open if seq in dropped)
        for seq in dropped:
            lease.open.pop(seq, None)
        self.committed(id, dropped)
        return at_work

    def _settle(self, lease: _Lease) -> None:
        if not lease.open and lease.slot is not None:
            self._loads.get(lease.slot, {}).pop(lease.id, None)
        if lease.is_over and self._leases.pop(lease.id, None) is not None:
            self._over[lease.id] = None
            if len(self._over) > _REMEMBERED:
                del self._over[next(iter(self._over))]

    # --- what is said -----------------------------------------------------------------------------------------------

    def flush(self) -> list[Said]:
        """What is to be said of tasks since the last call, in its order."""
        outbox, self._outbox = self._outbox, []
        return outbox

    def repeat(self) -> list[Said]:
        """All that is kept, to be said again: whoever listened may have forgotten it."""
        fresh = [said for said in self.flush() if isinstance(said, Progressed | Logged)]
        self._checkpoints = {key: said for key, said in self._checkpoints.items() if self.job(*key) is not None}
        again: list[Said] = [*fresh, *self._checkpoints.values()]
        for lease in self._leases.values():
            if lease.kept:
                again.append(Results(session=self.session, lease=lease.id, results=list(lease.kept.values())))
            if lease.returned:
                again.append(HandedBack(session=self.session, lease=lease.id, seqs=tuple(lease.returned)))
        return again

    def demand(self, *, again: bool = False) -> Demand | None:
        """What the pool asks for, if it asks for more than it said last, has news, or `again`. Nothing once it is closed.

        That a batch has arrived, or is over, is no news: the next demand says so too.
        """
        if self.is_closed:
            return None
        asked = self._received + (0 if self.is_paused else sum(map(self._wanted, self._loads)))
        if asked == self._asked and not (again or self._has_news):
            return None
        held = (*self._leases, *self._ghosts)
        self._asked, self._has_news = asked, False
        self._ghosts.clear()
        idle = 0 if self.is_paused else sum(self._weight(slot) < self._parallel for slot in self._loads)
        return Demand(session=self.session, asked=asked, received=self._received, held=held, idle=idle)

    def _wanted(self, slot: int) -> int:
        """How many batches a worker has room for. One of n tasks fills a child that runs n at a time."""
        n = self._parallel
        if n == 1:
            return max(0, BATCHES - len(self._loads[slot]))
        return max(0, -(-(BATCHES * n - self._weight(slot)) // n))

    def _weight(self, slot: int) -> int:
        """How much a worker has, to be compared with others: batches or, of a child that runs several tasks at a time, tasks."""
        load = self._loads[slot]
        return len(load) if self._parallel == 1 else sum(len(self._leases[id].open) for id in load)

    # --- looking in -------------------------------------------------------------------------------------------------

    @property
    def is_saturated(self) -> bool:
        """Whether every worker has as much as it may have: more work waits, for all that the pool can know."""
        return bool(self._loads) and not any(map(self._wanted, self._loads))

    @property
    def idle(self) -> list[int]:
        """The workers that take tasks and have none."""
        return [slot for slot, load in self._loads.items() if not load]

    @property
    def held(self) -> tuple[int, ...]:
        """The leases of which something is open, kept or returned."""
        return tuple(self._leases)

    @property
    def is_empty(self) -> bool:
        """Whether everything is durable, or nobody's."""
        return not self._leases

    def surplus(self) -> dict[int, tuple[int, tuple[int, ...]]]:
        """Batches that wait behind another while workers have nothing: by lease, the worker and its open tasks.

        As many as there are such workers at most. A batch was put where there was room; what runs before it may take longer
        than anybody could know.
        """
        n = self._parallel
        idle = len(self.idle)
        behind = [
            (next(reversed(load)), slot)
            for slot, load in self._loads.items()
            if len(load) > 1 and (n == 1 or self._weight(slot) > n)
        ]
        return {id: (slot, tuple(self._leases[id].open)) for id, slot in behind[:idle]}

    def slot_of(self, id: int) -> int | None:
        """The worker that has the lease's open tasks, if there are any."""
        lease = self._leases.get(id)
        return lease.slot if lease is not None and lease.open else None

    def job(self, lease: int, seq: int) -> Job | None:
        """An open task."""
        entry = self._leases.get(lease)
        return None if entry is None else entry.open.get(seq)

    def leases_of(self, slot: int) -> list[int]:
        """The leases of which a worker has open tasks, the oldest first."""
        return list(self._loads.get(slot, ()))

    def open_by_slot(self) -> dict[int, set[int]]:
        """The open tasks of each worker."""
        found: defaultdict[int, set[int]] = defaultdict(set)
        for lease in self._leases.values():
            if lease.slot is not None:
                found[lease.slot].update(lease.open)
        return found
