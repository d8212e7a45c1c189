"""Handing out work: which session, which queue, which tasks, how many.

A batch holds about `BATCH_SECONDS` of work by the handlers' recent mean run times, at most `BATCH_BYTES`, and no more than
the limits allow; one task where a handler has no history, and then at most as many as it has shown runs, so that a batch
grows by doubling. A child that runs n tasks at a time may get n, whatever they are: none of them waits for another. The tasks
go in the order that `lanes.py` tells. Sessions whose workers have nothing are served first, then those that wait longest, one
batch a round; what waits is shared out among all open demand, unless it is too little to be worth a second message.

On a node with a bound on memory (`memory.py`), a lane whose head does not fit now waits, and is passed over for others, the
next of the same handler first; its turn is kept for it. A task that is larger than all that a node has is passed over there, so
far as the lane's window goes: it hides nobody.
"""

from __future__ import annotations

import math
from heapq import heapify, heappop, heapreplace, nlargest
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeAlias

from otpq.core.effects import Dispatch
from otpq.core.lanes import LOOK_AHEAD
from otpq.core.leases import Lease
from otpq.core.memory import needed

if TYPE_CHECKING:
    from otpq.core.demand import Session
    from otpq.core.handlers import Handler
    from otpq.core.lanes import Group, Lane, Queue
    from otpq.core.records import Key, TaskRow
    from otpq.core.state import State
    from otpq.task import Options

__all__ = ["dispatch"]

BATCH_SECONDS: Final = 0.020
BATCH_BYTES: Final = 1 << 20
BATCH_TASKS: Final = 500
"""As many as a commit holds: beyond it only latency grows."""
PACKET_SECONDS: Final = 0.001
PACKET_TASKS: Final = 32
"""A packet of a hundred would be hardly cheaper, and keeps more behind a task that takes longer than was to be expected."""
SHARED_SECONDS: Final = 0.001
"""Less work than this is not split among several sessions."""
STEP_TASKS: Final = 1_000
"""What one step hands out at most; the next one goes on."""

Head: TypeAlias = "tuple[float, int, Group]"


class Batch:
    """A batch while it is being filled."""

    __slots__ = (
        "counts",
        "free",
        "is_alone",
        "is_closed",
        "is_new",
        "memories",
        "rows",
        "seconds",
        "session",
        "share",
        "size",
    )

    def __init__(self, session: Session, share: int, free: float | None) -> None:
        self.session = session
        self.share = share
        """Its part of what waits."""
        self.free = free
        """MiB that it may reserve; None: as much as it likes."""
        self.memories: list[float] = []
        """What the largest of its tasks need, as many as run at a time."""
        self.rows: list[TaskRow] = []
        self.counts: dict[str, int] = {}
        """Tasks by handler."""
        self.seconds = 0.0
        self.size = 0
        self.is_alone = False
        self.is_closed = False
        self.is_new = False
        """Whether it has a task of a handler without history."""

    @property
    def packet(self) -> int:
        """How many of its tasks go to a child at a time."""
        if self.is_new:
            return 1
        if not self.seconds:
            return PACKET_TASKS
        return max(1, min(PACKET_TASKS, int(PACKET_SECONDS * len(self.rows) / self.seconds)))

    def may_start(self, handler: Handler) -> bool:
        """Whether a task of `handler` may go in, as far as pauses and slots are concerned."""
        if handler.paused or handler.name not in (self.session.handlers or ()):
            return False
        return handler.limit is None or self._slots_left(handler) > 0

    def room_for(self, handler: Handler) -> int:
        """How many more tasks of `handler` may go in; 0: the batch is full."""
        at_once = self.session.parallel - len(self.rows)
        if not handler.runs or self.is_new:
            most = min(at_once, self.share - len(self.rows))
        else:
            has = self.counts.get(handler.name, 0)
            mean = max(handler.mean, 1e-6)
            by_time = int((BATCH_SECONDS * self.session.parallel - self.seconds) / mean)
            share = max(self.share, int(SHARED_SECONDS / mean)) - len(self.rows)
            most = min(max(min(by_time, handler.runs - has), at_once), share, BATCH_TASKS - len(self.rows))
        if handler.limit is not None:
            most = min(most, self._slots_left(handler))
        return max(most, 0 if self.rows else 1)

    def takes(self, options: Options) -> bool:
        """Whether a task with these options may go in with others; what it needs is then reserved."""
        if options.at_most_once or not self.has_room(options.memory or 0.0):
            return False
        self.reserve(options.memory or 0.0)
        return True

    def has_room(self, memory: float) -> bool:
        """Whether a task that needs so many MiB still fits."""
        if self.free is None or not memory:
            return True
        return needed([*self.memories, memory], self.session.parallel) <= self.free

    def reserve(self, memory: float) -> None:
        """Count what a task needs."""
        if self.free is not None and memory:
            self.memories = nlargest(self.session.parallel, [*self.memories, memory])

    def _slots_left(self, handler: Handler) -> int:
        """How many more tasks may go in until a slot is missing."""
        has = self.counts.get(handler.name, 0)
        slots = self.session.parallel
        free = (handler.limit or 0) - handler.used
        return BATCH_TASKS if free >= slots else max(0, free - has)

    def add(self, rows: list[TaskRow], size: int, handler: Handler) -> None:
        """Put rows in that were found to fit."""
        self.rows += rows
        self.size += size
        self.seconds += handler.mean * len(rows)
        self.counts[handler.name] = self.counts.get(handler.name, 0) + len(rows)
        self.is_new |= not handler.runs


def dispatch(state: State) -> None:
    """Answer the open demand with what may run, until one of the two is used up."""
    state.is_hungry = False
    waiting = [session for session in state.sessions.values() if session.open and state.leases.is_trusted(session.node)]
    waiting.sort(key=lambda session: (not session.idle, session.served))
    wanted = sum(session.open for session in waiting)
    given = 0
    while waiting:
        still = []
        for session in waiting:
            if given >= STEP_TASKS:
                state.is_hungry = True
                return
            batch = _next_batch(state, session, wanted)
            if batch is None:
                continue
            given += len(batch.rows)
            wanted -= 1
            _grant(state, session, batch)
            if session.open:
                still.append(session)
        waiting = still


def _next_batch(state: State, session: Session, wanted: int) -> Batch | None:
    """The next batch for a session, from the first of its queues, in turn, that has any."""
    queues = session.queues
    free = None if session.memory is None else session.memory - state.reservations.of(session.node[0])
    for offset in range(len(queues)):
        turn = (session.turn + offset) % len(queues)
        queue = state.lanes.queues.get(queues[turn])
        if queue is None or queue.paused or not queue.waiting:
            continue
        batch = Batch(session, -(-queue.waiting // max(1, wanted)), free)
        _fill(state, queue, batch)
        if batch.rows:
            session.turn = turn + 1
            return batch
    return None


def _fill(state: State, queue: Queue, batch: Batch) -> None:
    """Fill a batch from a queue, the most urgent priority first."""
    for groups in queue.groups:
        if groups and not _fill_from(state, list(groups.values()), batch):
            return


def _fill_from(state: State, groups: list[Group], batch: Batch) -> bool:
    """Fill a batch from the groups of one priority, oldest head first; whether a lower priority may follow."""
    heads: list[Head] = []
    for group in groups:
        if batch.may_start(group.handler):
            lane, head = _next(state, group, batch)
            if head is not None:
                heads.append((head.due, head.seq, group))
            elif lane is not None:
                state.is_hungry = True
                return False
    heapify(heads)
    while heads:
        group = heads[0][2]
        if not batch.may_start(group.handler):
            heappop(heads)
            continue
        rival = min(heads[1:3], default=None, key=_head_key)
        _take(state, group, batch, None if rival is None else _head_key(rival))
        if batch.is_closed:
            return False
        lane, head = _next(state, group, batch)
        if head is not None:
            heapreplace(heads, (head.due, head.seq, group))
        elif lane is None:
            heappop(heads)
        else:
            state.is_hungry = True
            return False
    return True


def _next(state: State, group: Group, batch: Batch) -> tuple[Lane | None, TaskRow | None]:
    """The lane of `group` that is in turn and its head; where that one waits for memory, of the next that does not.

    A lane without a head must be read first.
    """
    lane = state.lanes.front(group)
    if lane is None or not lane.rows:
        return lane, None
    if batch.free is None:
        return lane, lane.rows[0]
    head = _head(state, lane, batch)
    return (lane, head) if head is not None else _pass_over(state, group, batch, batch.free)


def _pass_over(state: State, group: Group, batch: Batch, free: float) -> tuple[Lane | None, TaskRow | None]:
    """The first lane of which something fits, or that must be read."""
    capacity = batch.session.memory or 0.0
    if group.least is not None and group.least[0] == capacity and group.least[1] > free:
        return None, None
    least = math.inf
    for lane in islice(group.ring, LOOK_AHEAD):
        if not lane.waiting:
            continue
        if not lane.rows:
            return lane, None
        row = _possible(state, lane, capacity)
        if row is not None and batch.has_room(state.memory(row)):
            return lane, row
        least = min(least, math.inf if row is None else state.memory(row))
    group.least = (capacity, least)
    return None, None


def _head(state: State, lane: Lane, batch: Batch) -> TaskRow | None:
    """What is first in a lane for this batch; None: it waits for memory."""
    if batch.free is None:
        return lane.rows[0]
    row = _possible(state, lane, batch.session.memory or 0.0)
    return row if row is not None and batch.has_room(state.memory(row)) else None


def _possible(state: State, lane: Lane, capacity: float) -> TaskRow | None:
    """The first row of a lane's window that is not larger than all that a node has."""
    return next((row for row in lane.rows if state.memory(row) <= capacity), None)


def _head_key(head: Head) -> Key:
    return head[:2]


def _take(state: State, group: Group, batch: Batch, rival: Key | None) -> None:
    """Move tasks of `group` into the batch, in its order, while they come before `rival`'s head and there is room."""
    ring = group.ring
    lane: Lane | None = ring[0] if batch.free is None else _next(state, group, batch)[0]
    while lane is not None and not batch.is_closed:
        room = batch.room_for(group.handler)
        if room == 0:
            batch.is_closed = True
            return
        if lane is not ring[0]:  # it goes before those that wait for memory, which so keep their turns
            ring.remove(lane)
            ring.appendleft(lane)
        count = _take_run(state, lane, batch, room if len(ring) == 1 else 1, rival)
        if count and lane.waiting:
            ring.rotate(-1)  # the others' turn; of no effect where there are none
        lane, head = _next(state, group, batch)
        if head is None or not batch.may_start(group.handler) or (rival is not None and (head.due, head.seq) > rival):
            return


def _take_run(state: State, lane: Lane, batch: Batch, most: int, rival: Key | None) -> int:
    """Move at most `most` tasks from the head of a lane into the batch; how many left the lane."""
    wall = state.now.wall
    size = batch.size
    is_special = lane.group.handler.is_special
    count = 0
    for row in lane.rows[:most]:
        if (row.expires is not None and row.expires <= wall) or (rival is not None and (row.due, row.seq) > rival):
            break
        if row.interruptions:
            break
        size += len(row.payload)
        if size > BATCH_BYTES and (count or batch.rows):
            batch.is_closed = True
            size -= len(row.payload)
            break
        if (row.options or is_special) and not batch.takes(state.options(row)):
            size -= len(row.payload)
            break
        count += 1
    if count:
        taken = lane.take(count, size - batch.size)
        batch.add(taken, size - batch.size, lane.group.handler)
    else:
        count = _take_odd(state, lane, batch)
    if count:
        state.lanes.shrink(lane.group, count)
    return count


def _take_odd(state: State, lane: Lane, batch: Batch) -> int:
    """Deal with a head that cannot go in like others: it has expired, travels alone, or stands behind one that is too large."""
    row = _head(state, lane, batch)
    if row is None:
        return 0
    if row.expires is not None and row.expires <= state.now.wall:
        if row.workflow is not None:
            state.has_late_member = batch.is_closed = True
            return 0
        lane.remove(row)
        state.expire(row)
        return 1
    options = state.options(row)
    is_lone = row.interruptions > 0 or options.at_most_once
    if batch.is_closed or (batch.rows and (is_lone or batch.size + len(row.payload) > BATCH_BYTES)):
        batch.is_closed = True
        return 0
    lane.remove(row)
    batch.reserve(options.memory or 0.0)
    batch.add([row], len(row.payload), lane.group.handler)
    batch.is_alone = row.interruptions > 0
    batch.is_closed |= is_lone
    return 1


def _grant(state: State, session: Session, batch: Batch) -> None:
    """Open a lease for a batch and send it, once the lease is durable."""
    rows = batch.rows
    number = session.next_number()
    lease = Lease(
        state.next_lease,
        session.id,
        session.node,
        {row.seq: row for row in rows},
        epoch=state.config.epoch,
        granted=state.now.wall,
        alone=batch.is_alone,
        number=number,
        parallel=session.parallel,
        sent=state.now.mono,
    )
    state.next_lease += 1
    state.batches += 1
    session.served = state.batches
    session.idle = max(0, session.idle - 1)
    state.leases.grant(lease)
    state.ledger.leases[lease.id] = lease
    if any(state.handlers[name].limit is not None for name in batch.counts):
        state.take_slots(lease)
    if batch.memories:
        state.reserve(lease)
    state.story.tell(state.now.wall, "leased", lease.rows, f"lease {lease.id} {session.id}")
    dispatch = Dispatch(
        session=session.id,
        lease=lease.id,
        number=number,
        rows=rows,
        packet=batch.packet,
        alone=batch.is_alone,
        declared=state.handlers.declared_of(batch.counts),
    )
    state.ledger.sends.append(dispatch)
