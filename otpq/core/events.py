"""What the core can be told. A closed union; nothing else changes its state.

Payloads, results and errors are bytes that the core passes on unopened. Events are checked by type where they arrive (the
wire); what only the core can judge, it refuses with an effect.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

__all__ = [
    "Cancel",
    "CancelWorkflow",
    "Cancelled",
    "Cancelling",
    "Checkpointed",
    "Delete",
    "Demand",
    "Discarded",
    "Event",
    "Failed",
    "HandedBack",
    "HandedOver",
    "Heartbeat",
    "LimitHandler",
    "LimitQueue",
    "Logged",
    "NewTask",
    "NodeLost",
    "Now",
    "Pause",
    "Progressed",
    "Prune",
    "Result",
    "Results",
    "Retry",
    "RetryLater",
    "RetryWorkflow",
    "Running",
    "SessionClosed",
    "SessionOpened",
    "Snoozed",
    "Submit",
    "SubmitWorkflow",
    "Succeeded",
    "Tick",
]


class Now(msgspec.Struct, frozen=True, gc=False):
    """The time of a step, by two clocks."""

    wall: float
    """Seconds since the epoch (UTC): due times, expiry, what users see."""
    mono: float
    """Seconds by a clock that never jumps (CLOCK_BOOTTIME): lease terms."""


# ---------------------------------------------------------------- from clients


class NewTask(msgspec.Struct, gc=False, kw_only=True):
    """A task to be, as its client made it."""

    id: bytes
    """16 bytes, time-ordered, unique."""
    name: str
    payload: bytes
    """MessagePack of [args, kwargs]."""
    queue: str | None = None
    """Here and below, None: as its handler declares, else as `Options` has it."""
    partition: str | None = None
    priority: int | None = None
    delay: float | None = None
    """Seconds from its acceptance, by the leader's clock."""
    eta: float | None = None
    """Instead of a delay: seconds since the epoch."""
    expires_in: float | None = None
    """Seconds from its acceptance."""
    expires_at: float | None = None
    """Infinite: never, whatever its handler declares."""
    options: bytes = b""
    """As `pack_said` gives them."""
    key: str | None = None
    """Idempotency key: while a task with this key is in the store, no other is made."""
    parent: bytes | None = None
    tags: str | None = None
    """Between separators: ",a,b,"; empty: none."""
    title: str | None = None
    """Empty: none."""
    whole: bytes | None = None
    """The payload for the default handler, if this one is not known: of a task that was submitted as a map."""
    strict: bool = False
    """Whether it is to be refused if its handler is not known."""


class Submit(msgspec.Struct, kw_only=True):
    """Accept these tasks, all or none. Answered by `Accepted` or `Refused`."""

    client: str
    request: int
    tasks: list[NewTask]
    resent: bool = False
    """Whether an earlier sending of the same may have arrived. Only then are the ids looked up."""


class SubmitWorkflow(msgspec.Struct, kw_only=True):
    """Accept these tasks, which depend on each other, all or none. Answered by `WorkflowMade` or `WorkflowRefused`."""

    client: str
    request: int
    id: bytes
    """16 bytes, unique; a workflow that is there already is not made again."""
    tasks: list[NewTask]
    after: list[list[int]]
    """For each task the places of those that it waits for, all lower than its own."""
    takes: list[bytes | None]
    """For each task what it takes from them, as in `Link`; nobody opens it here."""
    on_failure: str = "fail"
    title: str | None = None


class CancelWorkflow(msgspec.Struct, kw_only=True):
    """Cancel all members that have not ended; by the workflow's id or a member's. Answers: cancelling, too_late or not_found."""

    client: str
    request: int
    id: bytes
    grace: float = 5.0


class RetryWorkflow(msgspec.Struct, kw_only=True):
    """Start all members again that did not succeed; by the workflow's id or a member's.

    Answers: retried, too_early (it has not ended), too_late (all have succeeded), incomplete (some are forgotten) or not_found.
    """

    client: str
    request: int
    id: bytes


class Cancel(msgspec.Struct, kw_only=True):
    """Cancel tasks. Each id is answered by a `Reply`: cancelled, cancelling, too_late or not_found."""

    client: str
    request: int
    ids: tuple[bytes, ...]
    grace: float = 5.0
    """Seconds that a running task has to end by itself."""


class Retry(msgspec.Struct, kw_only=True):
    """Start ended tasks again, at attempt 1. Each id is answered: retried, too_early, too_late (succeeded), not_found."""

    client: str
    request: int
    ids: tuple[bytes, ...]


class Delete(msgspec.Struct, kw_only=True):
    """Forget ended tasks, or with `waiting` also those that wait (a purge). Answers: deleted, too_early or not_found."""

    client: str
    request: int
    ids: tuple[bytes, ...]
    waiting: bool = False


class Prune(msgspec.Struct, kw_only=True):
    """Forget tasks that ended long ago. No answer; who has not ended, or ended anew since it was found, stays."""

    tasks: tuple[tuple[bytes, float], ...]
    """(id, when it had ended)."""


# -------------------------------------------------------------- from operators


class Pause(msgspec.Struct, kw_only=True):
    """Hold back, or release, what waits in a queue or for a handler. Durable; answered 'done'."""

    client: str
    request: int
    queue: str | None = None
    handler: str | None = None
    """Either of the two, or both."""
    paused: bool = True
    by: str = ""
    """Who wishes it; kept with the pause, as `why`."""
    why: str = ""


class LimitHandler(msgspec.Struct, kw_only=True):
    """Set how many children of the whole cluster may run a handler at a time; None: no limit. Answered 'done'."""

    client: str
    request: int
    handler: str
    max_concurrency: int | None


class LimitQueue(msgspec.Struct, kw_only=True):
    """Set how many tasks may wait in a queue; None: no limit. Answered 'done'."""

    client: str
    request: int
    queue: str
    max_size: int | None


# -------------------------------------------------------------- from the pools


class SessionOpened(msgspec.Struct, kw_only=True):
    """A pool of a node will ask for work. Said again it replaces what was said; its demand starts anew."""

    session: str
    """Never used before by another pool, incarnation or start."""
    node: str
    incarnation: str
    queues: tuple[str, ...]
    parallel: int = 1
    """How many tasks one of its children runs at a time."""
    handlers: dict[str, bytes] | None = None
    """The handlers it can run, each with what its app declares of it, as `Options.pack` gives it; None: not known yet, and
    so it is handed nothing."""
    pool: str = "default"
    tags: tuple[str, ...] = ()
    memory: float | None = None
    """MiB that tasks of the whole node may have reserved at a time, the same from each of its pools; None: no bound."""
    script_dirs: tuple[str, ...] = ()
    """Directories of whose scripts it runs any."""


class SessionClosed(msgspec.Struct, kw_only=True):
    """A pool asks for nothing more. What it holds, it still resolves or hands back."""

    session: str


class Demand(msgspec.Struct, kw_only=True):
    """All that a pool asks for, in absolute numbers, so that a lost message corrects itself with the next."""

    session: str
    asked: int
    """Batches asked for since the session was opened."""
    received: int = 0
    """The number of the last batch that arrived."""
    held: tuple[int, ...] = ()
    """Leases of which it runs something, or keeps results that are not committed."""
    idle: int = 0
    """Workers that have nothing to do, or a child with room for more at a time."""


class Running(msgspec.Struct, kw_only=True):
    """What the blackboards of a pool's children say: all that runs now. For counts and `why` only."""

    session: str
    seqs: frozenset[int]


class Succeeded(msgspec.Struct, gc=False, tag=True):
    """The handler returned."""

    seq: int
    result: bytes | None
    started: float
    finished: float
    ran: bytes | None = None
    """MessagePack [node, incarnation, worker, pid]."""


class Failed(msgspec.Struct, gc=False, tag=True):
    """A run that was started and went wrong."""

    seq: int
    reason: str
    """A `Reason`: error, timeout, crashed or memory."""
    error: bytes | None
    """MessagePack [type, message, traceback]."""
    started: float
    finished: float
    ran: bytes | None = None
    types: tuple[str, ...] = ()
    """Names of the error's type and its bases, for `retry_on`."""


class RetryLater(msgspec.Struct, gc=False, tag=True):
    """The handler raised `Retry`: like an error, but after `delay` seconds if it is not None, whatever `retry_on` says."""

    seq: int
    delay: float | None
    error: bytes | None
    started: float
    finished: float
    ran: bytes | None = None


class Snoozed(msgspec.Struct, gc=False, tag=True):
    """The handler raised `Snooze`: again after `delay` seconds; the run does not count."""

    seq: int
    delay: float
    started: float
    finished: float
    ran: bytes | None = None


class Cancelled(msgspec.Struct, gc=False, tag=True):
    """The handler raised `Cancel`, or was ended because it was to be cancelled."""

    seq: int
    started: float
    finished: float
    ran: bytes | None = None


class Discarded(msgspec.Struct, gc=False, tag=True):
    """The handler raised `Discard`: failed, with no retry."""

    seq: int
    error: bytes | None
    started: float
    finished: float
    ran: bytes | None = None


class HandedOver(msgspec.Struct, gc=False, tag=True):
    """The handler was asked to end, had kept a checkpoint, and left: the task goes back to its place, uncharged."""

    seq: int
    started: float
    finished: float
    ran: bytes | None = None


Result: TypeAlias = Succeeded | Failed | RetryLater | Snoozed | Cancelled | Discarded | HandedOver
"""How one run ended, by what the child or its blackboard says."""


class Results(msgspec.Struct, kw_only=True):
    """What became of tasks of one lease. Answered by `Committed`, or by `Stale` where the lease is not open to them."""

    session: str
    lease: int
    results: list[Result]


class HandedBack(msgspec.Struct, kw_only=True):
    """These tasks of a lease were not started and will not be. They go back to their places, uncharged."""

    session: str
    lease: int
    seqs: tuple[int, ...]


class Cancelling(msgspec.Struct, kw_only=True):
    """The task that was to be cancelled had been started; it is being ended."""

    session: str
    lease: int
    seq: int


class Progressed(msgspec.Struct, kw_only=True):
    """How far a running task has come. No answer; one of a task that is not in the lease is dropped."""

    session: str
    lease: int
    seq: int
    fraction: float
    message: str = ""


class Checkpointed(msgspec.Struct, kw_only=True):
    """What a running task wants to find in its next attempt. Answered by `Kept`, or by `Stale`."""

    session: str
    lease: int
    seq: int
    number: int
    """The child's, repeated in the answer."""
    value: bytes
    """MessagePack that nobody but the child opens."""


class Logged(msgspec.Struct, kw_only=True):
    """Lines of a running task's log. No answer; those of a task that is not in the lease are dropped."""

    session: str
    lease: int
    seq: int
    first: int
    """The number of the first line, counted from 1 in each run; numbers that are missing are of lines that were dropped."""
    last: int
    lines: bytes
    """MessagePack list of [number, time, stream, level, text, fields], in order."""
    forget: tuple[int, int] | None = None
    """Numbers, the first and the last, of lines that are to be forgotten for these: a log is bounded, and keeps its beginning
    and its end."""


# ----------------------------------------------- from the membership, and time


class Heartbeat(msgspec.Struct, kw_only=True):
    """A node lives: its leases have a full term from now on."""

    node: str
    incarnation: str


class NodeLost(msgspec.Struct, kw_only=True):
    """The death of a node's incarnation is proven: nothing of it runs any more. Its leases end at once."""

    node: str
    incarnation: str
    started: frozenset[int] | None
    """What its blackboards name as started; None: none is left to ask."""
    fenced: bool = False
    """Whether the started tasks were ended by a drain or a fence, and so through no fault of theirs."""
    is_complete: bool = True
    """Whether `started` also names runs that had ended and whose results were not committed. Blackboards alone show what
    was running; then a task that may run at most once is lost unless it is put back by who knows."""


class Tick(msgspec.Struct):
    """Nothing but the time has changed."""


Event: TypeAlias = (
    Submit
    | Results
    | Demand
    | HandedBack
    | Cancelling
    | Progressed
    | Checkpointed
    | Logged
    | Running
    | Heartbeat
    | SubmitWorkflow
    | CancelWorkflow
    | RetryWorkflow
    | Cancel
    | Retry
    | Delete
    | Prune
    | Pause
    | LimitHandler
    | LimitQueue
    | SessionOpened
    | SessionClosed
    | NodeLost
    | Tick
)
"""All that can be told."""
