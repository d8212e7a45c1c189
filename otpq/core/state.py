"""All that the core holds in memory, and the few moves that every rule is made of.

Memory does not grow with the backlog: windows are bounded, leased rows are as many as the pools asked for, and the rest are
numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from otpq.core.effects import Reply
from otpq.core.events import Now
from otpq.core.handlers import Handlers
from otpq.core.history import CANCELLING, note
from otpq.core.lanes import MAX_WINDOW, Lanes
from otpq.core.leases import LeaseBook
from otpq.core.ledger import Ledger
from otpq.core.memory import Reservations, needed
from otpq.core.story import Story
from otpq.core.window import Room, Window
from otpq.errors import InvalidTransition, InvariantBroken
from otpq.task import DEFAULTS, ENDED, TRANSITIONS, Options, TaskState

if TYPE_CHECKING:
    from otpq.core.demand import Session
    from otpq.core.leases import Lease
    from otpq.core.records import Loaded, Recovered, TaskRow, WorkflowRow
    from otpq.core.workflows import Sweep

__all__ = ["CANCELLED", "EXPIRED", "FAILED", "PENDING", "QUEUED", "RETRYING", "RUNNING", "SUCCEEDED", "Config", "State"]

# As rows keep them: plain texts.
PENDING: Final = TaskState.PENDING.value
QUEUED: Final = TaskState.QUEUED.value
RUNNING: Final = TaskState.RUNNING.value
RETRYING: Final = TaskState.RETRYING.value
SUCCEEDED: Final = TaskState.SUCCEEDED.value
FAILED: Final = TaskState.FAILED.value
CANCELLED: Final = TaskState.CANCELLED.value
EXPIRED: Final = TaskState.EXPIRED.value

_ALLOWED: Final = {
    source.value: frozenset(target.value for target in targets) for source, targets in TRANSITIONS.items()
}

MAX_KNOWN_OPTIONS = 4096


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers that a core is made with."""

    epoch: int = 1
    lease: float = 30.0
    """Seconds that a node's leases last after its last heartbeat, as the node counts them."""
    lease_margin: float = 2.0
    """Seconds that the core waits longer than the node, so that it never gives out what may still run."""
    max_window: int = MAX_WINDOW
    """Rows that one lane may hold."""
    max_rows: int = 32_768
    """Rows that all windows together may hold."""
    max_bytes: int = 32 << 20
    """Payload that all windows together may hold."""
    notes: int = 4_096
    """How many events back a task's story goes."""
    tape: int = 0
    """How many steps are kept to be played again."""
    handlers: dict[str, bytes] = {}
    """What the cluster's file says of handlers, by name, as `pack_said` packs it: over what apps declare, under the rest."""
    queues: dict[str, int] = {}
    """How many tasks a queue may hold, by the cluster's file."""


class Stats(msgspec.Struct):
    """Plain counters since the start, for a collector to read."""

    duplicates: int = 0
    """Submitted tasks that were there before."""
    refused: int = 0
    """Submissions."""
    stale_results: int = 0
    hand_backs: int = 0
    interruptions: int = 0
    pruned: int = 0
    """Ended tasks that were forgotten after their retention."""
    charges: int = 0
    """Runs that count against their tasks because a child or a node died."""
    resent_batches: int = 0
    vanished_leases: int = 0
    """Leases that a pool had received and knew nothing of: a bug of the pool's."""


class State:
    """The memory of the core."""

    def __init__(self, recovered: Recovered, config: Config) -> None:
        self.config = config
        self.now = Now(float("-inf"), float("-inf"))
        self.next_seq = recovered.next_seq
        self.next_lease = recovered.next_lease
        self.counts: dict[tuple[str, str], int] = dict(recovered.counts)
        """By (queue, state), as in the store: what is in a lease counts as queued."""
        self.handlers = Handlers()
        self.room = Room(config.max_rows, config.max_bytes)
        self.lanes = Lanes(self.room, self.handlers, config.max_window, config.queues)
        self.lanes.restore(recovered.lanes)
        self.due = Window(self.room, sum(n for (_, state), n in self.counts.items() if state in {PENDING, RETRYING}))
        """Tasks that are pending or retrying, of all queues, by due time."""
        self.leases = LeaseBook(config.lease, config.lease_margin)
        self.reservations = Reservations()
        self.sessions: dict[str, Session] = {}
        self.cancels: dict[int, list[tuple[str, int, bytes]]] = {}
        """Who waits to hear what became of the cancelling of a leased task: (client, request, id)."""
        self.sweeps: dict[int, Sweep] = {}
        """What is being done to all members of workflows, by their numbers."""
        self.batches = 0
        self.balance_at = float("-inf")
        """When `balance.py` looks again, by the steady clock."""
        self.has_late_member = False
        """Whether dispatch found a member of a workflow that has expired: what waits for it must be read before it may end."""
        self.is_hungry = False
        """Whether something could be handed out if only it were read."""
        self.moves: dict[tuple[str, str], int] = {}
        """How often each transition was made; a hand-back of a task that was not started is none."""
        self.stats = Stats()
        self.story = Story(config.notes, config.tape)
        self.ledger = Ledger()
        self.loaded: Loaded
        self._options: dict[tuple[bytes, bytes], Options] = {}

    # ------------------------------------------------------------------ looking

    def options(self, row: TaskRow) -> Options:
        """The options in force for a task: its handler's, and over them what its caller said."""
        of_handler = self.handlers[row.name].in_force
        return self.unpack(of_handler, row.options) if of_handler or row.options else DEFAULTS

    def memory(self, row: TaskRow) -> float:
        """MiB that a task needs; 0: none that is known of."""
        return (self.options(row).memory or 0.0) if row.options or self.handlers[row.name].is_special else 0.0

    def unpack(self, of_handler: bytes, said: bytes) -> Options:
        """Options from their packed forms. Tasks share few sets of them, so each is opened once.

        Raises:
            msgspec.MsgspecError: These are no options.
        """
        packed = (of_handler, said)
        options = self._options.get(packed)
        if options is None:
            if len(self._options) >= MAX_KNOWN_OPTIONS:
                self._options.clear()
            options = self._options[packed] = Options.unpack(*packed)
        return options

    def task(self, id: bytes) -> TaskRow | None:
        """The one live row of a task, for a request that named it: as this step has left it so far."""
        fresh = self.ledger.fresh.get(id)
        if fresh is not None:
            return fresh
        loaded = self.loaded.by_id.get(id)
        return None if loaded is None or loaded.seq in self.ledger.deletes else self.live(loaded)

    def member(self, seq: int) -> TaskRow:
        """The one live row of a member of a workflow whose row, or one that it waits for, was asked for.

        Raises:
            InvariantBroken: It is not in the store.
        """
        fresh = self.ledger.members.get(seq)
        if fresh is not None:
            return fresh
        loaded = self.loaded.by_seq.get(seq)
        if loaded is None:
            raise InvariantBroken(f"task {seq} of a workflow was not read")
        return self.live(loaded)

    def workflow(self, number: int) -> WorkflowRow | None:
        """The workflow of a row that was asked for, as this step has left it so far."""
        changed = self.ledger.workflows
        return changed[number] if number in changed else self.loaded.workflows.get(number)

    def live(self, loaded: TaskRow) -> TaskRow:
        """The row that the core already holds for a loaded one, or that one."""
        seq = loaded.seq
        touched = self.ledger.touched.get(seq) or self.ledger.succeeded.get(seq)
        if touched is not None:
            return touched
        lease = self.leases.by_seq.get(seq)
        if lease is not None:
            return lease.rows[seq]
        if loaded.state == QUEUED:
            return self.lanes.find(loaded) or loaded
        return self.due.find(loaded.due, seq) or loaded

    def waiting(self, queue: str) -> int:
        """How many tasks of a queue have not ended, this step's changes included."""
        counts, changes = self.counts, self.ledger.counts
        return sum(counts.get((queue, s), 0) + changes.get((queue, s), 0) for s in (PENDING, QUEUED, RETRYING))

    # ------------------------------------------------------------------- moving

    def touch(self, row: TaskRow) -> None:
        """Have a changed row made durable with this step."""
        row.updated = self.now.wall
        if row.id not in self.ledger.fresh:
            self.ledger.touched[row.seq] = row
            self.ledger.succeeded.pop(row.seq, None)

    def move(self, row: TaskRow, source: str, target: str) -> None:
        """Bring a task into another state, by the table.

        Args:
            row: Already out of the line or lease that it was in.
            source: The state it is in; `running` where the row says queued and a child had started it.
            target: The state that follows.

        Raises:
            InvalidTransition: The table has no such step. Nothing is changed.
        """
        if target not in _ALLOWED[source]:
            raise InvalidTransition(row.seq, source, target, [str(one) for one in self.story.of(row.seq)])
        if row.state != target:
            self.ledger.count(row.queue, row.state, -1)
            self.ledger.count(row.queue, target, 1)
            row.state = target
        self.moves[source, target] = self.moves.get((source, target), 0) + 1
        self.touch(row)
        if target in ENDED:
            row.finished = self.now.wall if source != RUNNING else row.finished or self.now.wall
            self.ledger.ended.append(row)

    def succeed(self, rows: list[TaskRow]) -> None:
        """`move` for the tasks of one batch, and so of one queue, from running to succeeded: always allowed."""
        queue = rows[0].queue
        wall = self.now.wall
        for row in rows:
            row.state = SUCCEEDED
            row.updated = wall
        self.ledger.count(queue, QUEUED, -len(rows))
        self.ledger.count(queue, SUCCEEDED, len(rows))
        self.moves[RUNNING, SUCCEEDED] = self.moves.get((RUNNING, SUCCEEDED), 0) + len(rows)
        self.ledger.succeed(rows)
        self.ledger.ended += rows

    def leave_line(self, row: TaskRow) -> None:
        """Take a task that waits, for its turn or for its time, out of its line."""
        if row.state == QUEUED:
            self.lanes.remove(row)
        else:
            self.due.remove(row)

    def wait_for_due(self, row: TaskRow) -> None:
        """Put a pending or retrying task in the line of those that wait for their time."""
        self.due.add(row, self.config.max_window)

    def expire(self, row: TaskRow) -> None:
        """End a task, out of its line, that has not started in time."""
        note(row, self.now.wall, row.state, EXPIRED)
        self.move(row, row.state, EXPIRED)

    def cancel(self, row: TaskRow, source: str) -> None:
        """End a task, out of its line or lease, because somebody wished so."""
        row.reason = None
        if source != RUNNING:  # of a run, `note_run` tells
            note(row, self.now.wall, source, CANCELLED)
        self.move(row, source, CANCELLED)
        self.answer_cancel(row, "cancelled")

    def answer_cancel(self, row: TaskRow, answer: str) -> None:
        """Tell those who wait for it what became of their cancelling."""
        for client, request, id in self.cancels.pop(row.seq, ()):
            self.ledger.acks.append(Reply(client=client, request=request, id=id, answer=answer))

    # ------------------------------------------------------------------- leases

    def let_go(self, lease: Lease, seq: int) -> TaskRow | None:
        """Take one task out of a lease; `settle` is to follow, once for all of them."""
        row = lease.rows.pop(seq, None)
        if row is not None:
            del self.leases.by_seq[seq]
        return row

    def settle(self, lease: Lease) -> None:
        """Make durable what is left of a lease, and give back the slots it no longer takes."""
        self.ledger.leases[lease.id] = lease
        if lease.slots:
            self.take_slots(lease)
        if lease.reserved:
            self.reserve(lease)
        self.leases.close_empty(lease)

    def take_slots(self, lease: Lease) -> None:
        """Count the slots of a lease as its open tasks need them: of each handler the smaller of n and the batch."""
        for name, slots in lease.slots.items():
            self.handlers[name].used -= slots
        lease.slots = {
            name: count if lease.parallel is None else min(count, lease.parallel)
            for name, count in lease.count().items()
            if self.handlers[name].limit is not None
        }
        for name, slots in lease.slots.items():
            self.handlers[name].used += slots

    def reserve(self, lease: Lease) -> None:
        """Reserve on its node what the open tasks of a lease need."""
        self.reservations.put(lease, needed(map(self.memory, lease.rows.values()), lease.parallel))

    def is_bounded(self, node: str) -> bool:
        """Whether a node has a bound on the memory that its tasks may reserve; else nothing is counted."""
        return any(session.memory is not None and session.node[0] == node for session in self.sessions.values())

    def put_back(self, row: TaskRow) -> None:
        """Put a task that was in a lease back to its place, uncharged, or end it if it was to be cancelled."""
        if row.reason == CANCELLING:
            self.cancel(row, QUEUED)
        else:
            self.lanes.put(row)
