"""What the core and a store say to each other: rows, what to load, what to make durable. Values only.

A store keeps rows and answers questions; it decides nothing. The core decides and never touches a store: it names what it
must see (`Needs`), gets it (`Loaded`), and gives back what is to become durable (`Changes`).

The row of a task that is in an open lease still says `queued`: the lease's row is the only thing written when a batch is
handed out (one row per batch, not one per task), so *running* is what an open lease and the child's blackboard say.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

__all__ = [
    "Changes",
    "DueRange",
    "ExpiryRange",
    "Key",
    "LaneId",
    "LaneRange",
    "LaneSummary",
    "LeaseRow",
    "Link",
    "Loaded",
    "LogChunk",
    "Member",
    "Needs",
    "Recovered",
    "ScheduleRow",
    "Success",
    "TaskRow",
    "TaskUpdate",
    "WorkflowRow",
]

Key: TypeAlias = tuple[float, int]
"""The order within a lane: (due, seq)."""


class LaneId(msgspec.Struct, frozen=True, order=True, gc=False):
    """One line of tasks that are equal but for their order. A queue serves its lanes by priority, then by `Key`."""

    queue: str
    name: str
    """The handler."""
    partition: str
    priority: int
    """0 to 9, 9 first."""


class Member(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What a task that is a member of a workflow keeps of its place in it."""

    followers: list[int] = []
    """The places of those that wait for it."""
    delay: float = 0.0
    """Seconds from when nothing is left that it waits for until it is due."""
    eta: float | None = None
    """Instead: when it is due, or later if it still waits for others then."""


class TaskRow(msgspec.Struct, gc=False):
    """One task, as a store keeps it. Times are seconds since the epoch (UTC)."""

    seq: int
    """The leader's number for it: the order of equals, never reused; the row's primary key."""
    id: bytes
    """16 bytes, time-ordered, made by the client, so that a re-sent submission makes no second task. Unique."""
    name: str
    queue: str
    partition: str
    priority: int
    state: str
    """A `TaskState`; never `running` (see above)."""
    due: float
    """When it may start; of an immediate task, when it was accepted."""
    expires: float | None
    created: float
    updated: float
    options: bytes
    """MessagePack map of the options that its caller named, which count more than what its handler declares."""
    payload: bytes
    """MessagePack of [args, kwargs]; opened by the child alone."""
    key: str | None = None
    """Idempotency key. Unique where it is not None."""
    parent: bytes | None = None
    tags: str = ""
    """Tags, each between two separators: ",a,b,", so that one can be searched for."""
    title: str | None = None
    attempt: int = 0
    """Runs that count, so far."""
    interruptions: int = 0
    """Runs that ended through no known fault of the task's."""
    started: float | None = None
    """Begin of the latest run."""
    finished: float | None = None
    result: bytes | None = None
    error: bytes | None = None
    """MessagePack [type, message, traceback]."""
    reason: str | None = None
    ran: bytes | None = None
    """MessagePack [node, incarnation, worker, pid] of the latest run."""
    history: bytes = b""
    """MessagePack maps, one after the other: the transitions that the columns do not tell (see `task.py`)."""
    progress: bytes | None = None
    """MessagePack [fraction, message], as its handler told last."""
    checkpoint: bytes | None = None
    """MessagePack of what its handler kept last, for the next attempt. None from its success on."""
    workflow: int | None = None
    """The number of the workflow that it is a member of: the seq of its first. The others' follow, so seq - workflow is its
    place."""
    member: bytes | None = None
    """Of a member: a packed `Member`."""
    waits: int | None = None
    """Of a member: how many of those that it waits for have not ended. While there are any it is pending, and due never."""
    told: bool = False
    """Whether a member has ended without success, and those that wait for it have been told all the same: they hear nothing more,
    should it be started again."""

    @property
    def followers(self) -> list[int]:
        """The seqs of the tasks that wait for it."""
        if self.workflow is None or self.member is None:
            return []
        return [self.workflow + place for place in _decode_member(self.member).followers]

    @property
    def lane(self) -> LaneId:
        """The line it stands in."""
        return LaneId(self.queue, self.name, self.partition, self.priority)

    @property
    def order(self) -> Key:
        """Its place in that line."""
        return (self.due, self.seq)


_decode_member = msgspec.msgpack.Decoder(Member).decode


class TaskUpdate(msgspec.Struct, gc=False):
    """The columns of one task that can change, all of them, as they are from now on."""

    seq: int
    state: str
    due: float
    updated: float
    attempt: int
    interruptions: int
    started: float | None
    finished: float | None
    result: bytes | None
    error: bytes | None
    reason: str | None
    ran: bytes | None
    history: bytes
    expires: float | None = None
    """An operator's retry clears it."""
    progress: bytes | None = None
    checkpoint: bytes | None = None
    waits: int | None = None
    told: bool = False


class Success(msgspec.Struct, gc=False):
    """The columns of one task that change when it ends well, as most do. Its error, reason and checkpoint are none from then."""

    seq: int
    updated: float
    attempt: int
    started: float | None
    finished: float | None
    result: bytes | None
    ran: bytes | None


class LeaseRow(msgspec.Struct, frozen=True):
    """A node's right to run one batch: the ids still open. With none open the row goes."""

    lease: int
    """Never reused."""
    node: str
    incarnation: str
    session: str
    """The pool that asked."""
    epoch: int
    """The term in which it was granted."""
    granted: float
    """Wall clock, for show; expiry is never stored."""
    open: tuple[int, ...]
    """The seqs not yet resolved, in the order of the batch."""
    alone: bool = False
    """Whether the batch is one task that travels alone after an interruption."""


class LogChunk(msgspec.Struct, frozen=True):
    """Some lines of a task's log, of one run: what `Logged` tells, but for the session."""

    seq: int
    lease: int
    """The run: leases grow, so the chunks of a task are in order by (lease, first)."""
    first: int
    last: int
    lines: bytes
    forget: tuple[int, int] | None = None
    """With this chunk, those of the same run that lie between these two lines are forgotten."""


class ScheduleRow(msgspec.Struct):
    """A schedule, as a store keeps it. Times are seconds since the epoch (UTC)."""

    name: str
    added: float
    """Its incarnation: when it was added, or got another timing. Intervals count from here."""
    source: str
    """Who says that there is such a schedule."""
    definition: bytes
    """MessagePack of the core's `Definition`; opaque to a store."""
    enabled: bool | None = None
    """What was said at run time; None: it is as defined."""
    next: float | None = None
    """The slot that is due next. It moves on in the commit that inserts a slot's task."""
    last: float | None = None
    """The latest slot that made a task."""
    task: bytes | None = None
    """The id of that task."""
    runs: int = 0
    """Slots that made a task."""
    waiting: bytes = b""
    """MessagePack list of slots that wait until that task has ended; empty: none."""


class WorkflowRow(msgspec.Struct):
    """Tasks that depend on each other, and how many of them have ended."""

    number: int
    """The seq of its first member."""
    id: bytes
    """16 bytes, made by the client. Unique."""
    total: int
    """How many members it was made with."""
    on_failure: str
    """fail, continue or collect: what a member that does not succeed means for those that wait for it."""
    title: str | None
    created: float
    kept: int
    """Members that have not been forgotten."""
    ended: int = 0
    failed: int = 0
    """Of those that have ended, the ones without success."""
    cancelled: bool = False
    """Whether somebody wished it to end."""
    sweep: str | None = None
    """What is being done to all members, some at a time: cancel or retry. `cancel` stays until all have ended."""
    mark: int = 0
    """How many members the sweep has passed."""
    finished: float | None = None
    """When the last member ended."""


class Link(msgspec.Struct, frozen=True, gc=False):
    """What a member waits for, and what it takes from it; kept apart from its row, which is written again and again."""

    seq: int
    after: bytes
    """MessagePack list of places."""
    takes: bytes | None
    """MessagePack of a place, or of a list of these, and so on; None: its arguments are all that it gets."""


class Changes(msgspec.Struct):
    """What one commit makes durable, all or none."""

    inserts: list[TaskRow] = msgspec.field(default_factory=list)
    updates: list[TaskUpdate] = msgspec.field(default_factory=list)
    """At most one a task."""
    successes: list[Success] = msgspec.field(default_factory=list)
    """Tasks whose only change is that they have succeeded; none of them is among the updates."""
    leases: list[LeaseRow] = msgspec.field(default_factory=list)
    """Each as it is from now on; one without open ids is removed. At most one entry a lease."""
    counts: dict[tuple[str, str], int] = msgspec.field(default_factory=dict)
    """(queue, state) to the difference; kept in the same commit so that nothing ever counts rows."""
    deletes: list[int] = msgspec.field(default_factory=list)
    """Seqs of tasks to forget."""
    settings: dict[str, bytes | None] = msgspec.field(default_factory=dict)
    """What operators set (pauses, limits) and apps declare, by name; None removes it. Opaque to a store."""
    logs: list[LogChunk] = msgspec.field(default_factory=list)
    """Of tasks that exist, and are not among the deletes."""
    schedules: dict[str, ScheduleRow | None] = msgspec.field(default_factory=dict)
    """By name, each as it is from now on; None removes it."""
    workflows: dict[int, WorkflowRow | None] = msgspec.field(default_factory=dict)
    """By number, each as it is from now on; None removes it."""
    links: list[Link] = msgspec.field(default_factory=list)
    """Of members among the inserts. They go with their tasks."""

    def __bool__(self) -> bool:
        """Whether there is anything to commit."""
        return bool(
            self.inserts
            or self.updates
            or self.successes
            or self.leases
            or self.counts
            or self.deletes
            or self.settings
            or self.logs
            or self.schedules
            or self.workflows
        )


class LaneRange(msgspec.Struct, frozen=True):
    """A question: the first `limit` queued tasks of a lane after `after`, in order."""

    lane: LaneId
    after: Key
    limit: int


class DueRange(msgspec.Struct, frozen=True):
    """A question: the first `limit` tasks after `after` in due order that are pending or retrying."""

    after: Key
    limit: int


class ExpiryRange(msgspec.Struct, frozen=True):
    """A question: the first `limit` tasks, not ended, whose `expires` is at or before `until`, in expiry order."""

    until: float
    limit: int


class Needs(msgspec.Struct):
    """What the core must see before it decides: a few indexed reads."""

    ids: set[bytes] = msgspec.field(default_factory=set)
    seqs: set[int] = msgspec.field(default_factory=set)
    keys: set[str] = msgspec.field(default_factory=set)
    """Idempotency keys."""
    workflows: set[bytes] = msgspec.field(default_factory=set)
    """Ids."""
    numbers: set[int] = msgspec.field(default_factory=set)
    """Of workflows of which members may end that the core has, and that need not be read."""
    followers: set[int] = msgspec.field(default_factory=set)
    """Seqs of the tasks that wait for these."""
    lanes: list[LaneRange] = msgspec.field(default_factory=list)
    due: DueRange | None = None
    expiry: ExpiryRange | None = None

    def __bool__(self) -> bool:
        """Whether anything must be read."""
        return bool(
            self.ids
            or self.seqs
            or self.keys
            or self.workflows
            or self.numbers
            or self.lanes
            or self.due
            or self.expiry
        )


class Loaded(msgspec.Struct):
    """The answers to a `Needs`; what does not exist is absent.

    With each task that was asked for by id or seq, or that expires, come its workflow and the tasks that wait for it: whatever
    ends it must see them.
    """

    by_id: dict[bytes, TaskRow] = msgspec.field(default_factory=dict)
    by_seq: dict[int, TaskRow] = msgspec.field(default_factory=dict)
    """Those asked for, and those that wait for any of them or of the others."""
    by_key: dict[str, TaskRow] = msgspec.field(default_factory=dict)
    lanes: list[list[TaskRow]] = msgspec.field(default_factory=list)
    """In the order of `Needs.lanes`; fewer rows than the limit means that the lane has no more."""
    due: list[TaskRow] = msgspec.field(default_factory=list)
    expiry: list[TaskRow] = msgspec.field(default_factory=list)
    workflows: dict[int, WorkflowRow] = msgspec.field(default_factory=dict)
    """By number."""


class LaneSummary(msgspec.Struct, frozen=True):
    """A lane that has queued tasks in the store, and how many."""

    lane: LaneId
    queued: int


class Recovered(msgspec.Struct):
    """What a new queue server starts from."""

    next_seq: int = 1
    next_lease: int = 1
    lanes: list[LaneSummary] = msgspec.field(default_factory=list)
    leases: list[LeaseRow] = msgspec.field(default_factory=list)
    counts: dict[tuple[str, str], int] = msgspec.field(default_factory=dict)
    settings: dict[str, bytes] = msgspec.field(default_factory=dict)
    schedules: list[ScheduleRow] = msgspec.field(default_factory=list)
    sweeping: list[WorkflowRow] = msgspec.field(default_factory=list)
    """Those with a sweep that has not passed all members."""
