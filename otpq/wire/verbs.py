"""The verbs of `Query`: what each takes and answers. A new verb is two types and a line in `VERBS`."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, NamedTuple, TypeAlias

import msgspec
from msgspec import Meta

from otpq.wire.messages import MAX_TASKS, Name, NewTask, Packed, Refusal, TaskId, Text

__all__ = [
    "EVENT_KINDS",
    "VERBS",
    "AddSchedule",
    "Affected",
    "CallNode",
    "CancelAll",
    "CancelTask",
    "ChangeSchedule",
    "CountTasks",
    "CountsOf",
    "EventPage",
    "EventsOf",
    "Facts",
    "GetTasks",
    "Happening",
    "ListTasks",
    "ListWorkflows",
    "LogLine",
    "LogPage",
    "LogsOf",
    "Made",
    "Many",
    "MemberView",
    "NewMember",
    "NewWorkflow",
    "NodeDeath",
    "NodeOf",
    "PauseOf",
    "PauseSchedules",
    "PoolName",
    "PurgeQueue",
    "Reason",
    "ScalePool",
    "Selector",
    "TaskHappening",
    "TaskPage",
    "TaskRef",
    "TaskView",
    "Verb",
    "WorkflowOf",
    "WorkflowPage",
    "WorkflowView",
]

MAX_PAGE: Final = 1_000
MAX_MEMBERS: Final = 20_000
"""Tasks in one workflow: they are made in one commit, which takes about 0.2 s for so many."""
MAX_DEPTH: Final = 128
"""How deep lists of results may be nested."""
MAX_TAKES: Final = 256 * 1024
"""Bytes of what one member takes: twice what 20,000 places are."""
MAX_NUMBER: Final = 2**62
"""Above every number that a workflow can have; a store's numbers have 64 bits."""
MAX_EDGES: Final = 100_000
"""How often, in one workflow, a task waits for another."""

Facts: TypeAlias = dict[str, Any]
"""Names and plain values, for eyes and dashboards; keys are only added."""


class Selector(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which tasks: those for which all that is given holds. Empty selects all."""

    state: Text | None = None
    name: Name | None = None
    """A handler's name; with a `*` (any characters) or `?` (one) in it, a pattern, where `[*]` is the character itself."""
    queue: Name | None = None
    tag: Text | None = None
    before: float | None = None
    """Created before, seconds since the epoch."""
    ids: Annotated[list[TaskId], Meta(max_length=MAX_TASKS)] | None = None


class Many(Selector, frozen=True, kw_only=True, omit_defaults=True):
    """Takes: which tasks something is done to, and how much of it before it is answered."""

    rounds: Annotated[int, Meta(ge=1)] | None = None
    """After how many thousand tasks, looked for in so many rounds, to answer what was done so far; None: when all is done."""
    after: Text | None = None
    """`Affected.next` of the answer before."""


class CountTasks(Many, frozen=True, kw_only=True, omit_defaults=True):
    """Takes: which tasks to count; with `to`, those alone that `cancel`, `retry`, `delete` or `purge` would be done to."""

    to: Text | None = None


class CancelAll(Many, frozen=True, kw_only=True, omit_defaults=True):
    """Takes: which tasks to cancel, and the seconds that those which run have to end by themselves."""

    grace: Annotated[float, Meta(ge=0)] = 5.0


class TaskView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A task as it is now: the columns of its row that users see, still packed. Sent as a map: it will grow."""

    id: TaskId
    name: Text
    state: Text
    queue: Text = "default"
    priority: int = 5
    created: float = 0.0
    updated: float = 0.0
    due: float | None = None
    started: float | None = None
    finished: float | None = None
    expires: float | None = None
    attempt: int = 0
    interruptions: int = 0
    reason: Text | None = None
    tags: list[str] = []
    title: str | None = None
    key: str | None = None
    parent: TaskId | None = None
    progress: tuple[float, str] | None = None
    """(fraction, message)."""
    payload: Packed = b""
    options: Packed = b""
    result: Packed | None = None
    error: Packed | None = None
    history: Packed = b""
    """MessagePack list of `HistoryEntry`, the whole life, oldest first; empty where only a page of many was asked for."""
    partition: Text = ""
    workflow: TaskId | None = None
    """Which one it is a member of."""
    waits: int | None = None
    """Of a member that has not begun: for how many others it waits."""


class GetTasks(msgspec.Struct, frozen=True, array_like=True):
    """Takes: up to 1,000 ids. Answered by the `TaskView`s of those that exist, in that order, without large results."""

    ids: Annotated[list[TaskId], Meta(max_length=MAX_TASKS)]


class ListTasks(msgspec.Struct, frozen=True, array_like=True):
    """Takes: a selector, and which page. Newest first."""

    selector: Selector = Selector()
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE)] = 100
    after: Text | None = None
    """`TaskPage.next` of the page before."""


class TaskPage(msgspec.Struct, frozen=True, array_like=True):
    """Answers: a page of tasks."""

    tasks: list[TaskView]
    next: Text | None = None
    """None on the last page."""


class CountsOf(msgspec.Struct, frozen=True, array_like=True):
    """Takes: a queue, or none for all. Answered by {queue: {state: n}}."""

    queue: Name | None = None


class CancelTask(msgspec.Struct, frozen=True, array_like=True):
    """Takes: a task and the seconds it has to end by itself. Answered by 'cancelled', 'cancelling' or 'too_late'."""

    id: TaskId
    grace: Annotated[float, Meta(ge=0)] = 5.0


class LogsOf(msgspec.Struct, frozen=True, array_like=True):
    """Takes: a task, and where in its log to go on. Answered by a `LogPage`."""

    id: TaskId
    after: Text | None = None
    """`LogPage.next` of the page before; None: the beginning."""


class LogLine(msgspec.Struct, frozen=True, array_like=True):
    """A line of a task's log."""

    time: float
    """Seconds since the epoch."""
    stream: str
    """`out`, `err`, `log`, or `life` for a step in the task's life."""
    level: str
    text: str
    fields: dict[str, Any] | None = None
    run: int = 0
    """Which one; it grows from one to the next. 0 of a step in its life."""
    number: int = 0
    """Its place among the lines of its run, or among the steps, from 1."""
    dropped: int = 0
    """Lines of its run that are missing before it."""


class LogPage(msgspec.Struct, frozen=True, array_like=True):
    """Answers: lines of a log, in the order of their times as far as they are known."""

    lines: list[LogLine]
    next: Text
    """Where to go on."""
    more: bool = False
    """Whether more is there already."""
    ended: bool = False
    """Whether the task has ended: without `more`, this was all."""


class CallNode(msgspec.Struct, frozen=True, array_like=True):
    """Takes: a node, one of its management functions, and plain arguments by name. Answered by what it returns."""

    node: Text
    function: Name
    arguments: dict[str, Any] = {}


class NodeDeath(msgspec.Struct, frozen=True, array_like=True):
    """Takes: the proven death of a node's incarnation, as `NodeLost` of the core. Answered by 'noted'."""

    node: Text
    incarnation: Text
    started: list[int] | None = None
    fenced: bool = False
    is_complete: bool = True


class TaskRef(msgspec.Struct, frozen=True, array_like=True):
    """Takes: a task."""

    id: TaskId


class Reason(msgspec.Struct, frozen=True, array_like=True):
    """Answers: why a task is not at work."""

    code: Text
    """`not_due`, `paused`, `handler_limit`, `no_handler`, `no_memory`, `no_worker`, `assigned`; there may be more."""
    facts: Facts


class PurgeQueue(msgspec.Struct, frozen=True, array_like=True):
    """Takes: a queue, and as `Many` how much of it before it is answered."""

    queue: Name
    rounds: Annotated[int, Meta(ge=1)] | None = None
    after: Text | None = None


class PauseOf(msgspec.Struct, frozen=True, array_like=True):
    """Takes: a queue or a handler, or both, to hold back or to let go on."""

    queue: Name | None = None
    handler: Name | None = None
    by: Text = ""
    """Who wishes it: user@host."""
    why: Text = ""


class PoolName(msgspec.Struct, frozen=True, array_like=True):
    """Takes: the pools of that name, or all."""

    pool: Name | None = None


class NodeOf(msgspec.Struct, frozen=True, array_like=True):
    """Takes: a node."""

    node: Text


class ScalePool(msgspec.Struct, frozen=True, array_like=True):
    """Takes: the pools of that name, and how many workers each is to have."""

    pool: Name
    workers: Annotated[int, Meta(ge=0)]


class Affected(msgspec.Struct, frozen=True, array_like=True):
    """Answers: how many tasks it was done to."""

    count: int
    next: Text | None = None
    """Where to go on; None: that was all."""


EVENT_KINDS: Final = (
    "submitted",
    "started",
    "progress",
    "succeeded",
    "failed",
    "retried",
    "cancelled",
    "expired",
    "worker_offline",
    "node_up",
    "node_suspected",
    "node_down",
    "paused",
    "resumed",
    "scaled",
    "reloaded",
    "schedule_fired",
    "schedule_missed",
    "schedule_refused",
    "store_trouble",
    "store_well",
    "gap",
)
"""The kinds of events, those of tasks first."""


class EventsOf(msgspec.Struct, frozen=True, array_like=True):
    """Takes: after which event to go on, and which ones are wanted: those for which all that is given holds, and each `gap`.

    Answered by an `EventPage`.
    """

    after: Text | None = None
    """`EventPage.next` of the page before; None: the oldest that is kept."""
    kinds: list[Text] | None = None
    """Of `EVENT_KINDS`; None: all."""
    name: Name | None = None
    """As in `Selector`: a handler's name, or a pattern."""
    queue: Name | None = None
    ids: Annotated[list[TaskId], Meta(max_length=MAX_TASKS)] | None = None
    node: Text | None = None


class TaskHappening(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What happened to one task; the `Happening` says what and when."""

    id: TaskId
    name: Text
    queue: Text
    attempt: int = 0
    reason: Text | None = None
    error: str | None = None
    """The type and the message, in a line."""
    node: Text | None = None
    """Where it runs, or ran."""
    progress: tuple[float, str] | None = None
    """(fraction, message)."""
    time: float | None = None
    """When it happened, by the clock of its node, if that is not when it was noted."""


class Happening(msgspec.Struct, frozen=True, array_like=True):
    """Something happened: once, or to several tasks in one commit; then it is an event for each of them."""

    number: int
    """Of the (first) event; the others' follow."""
    time: float
    kind: Text
    facts: Facts
    tasks: list[TaskHappening] = []


class EventPage(msgspec.Struct, frozen=True, array_like=True):
    """Answers: what happened, in its order."""

    term: Text
    """The life of the queue server, within which the numbers count."""
    happenings: list[Happening]
    next: Text
    """Where to go on."""
    more: bool = False
    """Whether more is there already."""


class AddSchedule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Takes: a schedule to add. Answered 'done', or with a warning that nobody knows its handler."""

    name: Name
    definition: Packed
    """MessagePack of the core's `Definition`."""
    replace: bool = False
    """Whether it takes the place of one that has the name."""
    strict: bool = False
    """Whether to refuse it if nobody knows its handler."""


class ChangeSchedule(msgspec.Struct, frozen=True, array_like=True):
    """Takes: a schedule, and what to do with it. Answered 'done'; after a run with the id of its task."""

    name: Name
    what: Literal["remove", "enable", "disable", "run"]


class PauseSchedules(msgspec.Struct, frozen=True, array_like=True):
    """Takes: whether all schedules are to be held back, or to go on. Answered 'done'."""

    paused: bool = True
    by: Text = ""
    why: Text = ""


OnFailure: TypeAlias = Literal["fail", "continue", "collect"]
"""What a member that does not succeed means: `fail`, the rest is cancelled; `continue`, what comes after it runs all the same,
with None in the place of its result; `collect`, likewise, with a map in its place: {"error", "id", "name", "state"}."""


class NewMember(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A task of a workflow to be."""

    task: NewTask
    """Without an idempotency key; its delay counts from when nothing is left that it waits for."""
    after: list[Annotated[int, Meta(ge=0)]] = []
    """For which members it waits, by their places, each once; each place is lower than its own, so there is no cycle."""
    takes: Annotated[bytes, Meta(max_length=MAX_TAKES)] | None = None
    """MessagePack of the place of the member whose result is to be its first argument, or of a list of these, and so on; all are
    among `after`. None: it takes none."""


class NewWorkflow(msgspec.Struct, frozen=True, array_like=True):
    """Takes: tasks that depend on each other, to be made all or none. Answered by `Made`, again if it was made before."""

    id: TaskId
    members: Annotated[list[NewMember], Meta(min_length=1, max_length=MAX_MEMBERS)]
    on_failure: OnFailure = "fail"
    title: Text | None = None


class Made(msgspec.Struct, frozen=True, array_like=True):
    """Answers: the workflow is durable."""

    duplicate: bool = False
    """Whether it was before."""
    warnings: list[Refusal] = []
    """As in `Accepted`."""


class WorkflowOf(msgspec.Struct, frozen=True, array_like=True):
    """Takes: a workflow by its id, or by that of one of its members, and which of its members to tell of."""

    id: TaskId
    after: Annotated[int, Meta(ge=0, le=MAX_MEMBERS)] = 0
    """The place of the first."""
    limit: Annotated[int, Meta(ge=0, le=MAX_PAGE)] = MAX_PAGE


class MemberView(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A member as it is now."""

    place: int
    id: TaskId
    name: Text
    state: Text
    title: Text | None = None
    reason: Text | None = None
    after: list[int] = []
    """The places of those that it waits for, or waited."""


class WorkflowView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Answers: a workflow as it is now. A map: it will grow."""

    id: TaskId
    title: str | None = None
    on_failure: Text = "fail"
    state: Text = "running"
    """`running`; `succeeded`, `failed` (a member did not succeed, and that stopped it), `cancelled`."""
    created: float = 0.0
    finished: float | None = None
    total: int = 0
    counts: dict[str, int] = {}
    """How many members are in which state; states without any are left out. Empty in a list."""
    ended: int = 0
    """Members that have ended, of these without success: `failed`."""
    failed: int = 0
    members: list[MemberView] = []
    next: int | None = None
    """The place to go on at; None: these were the last."""


class ListWorkflows(msgspec.Struct, frozen=True, array_like=True):
    """Takes: which page. Newest first, without members."""

    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE)] = 100
    after: Annotated[int, Meta(ge=0, le=MAX_NUMBER)] | None = None
    """`WorkflowPage.next` of the page before."""


class WorkflowPage(msgspec.Struct, frozen=True, array_like=True):
    """Answers: a page of workflows."""

    workflows: list[WorkflowView]
    next: int | None = None


class Verb(NamedTuple):
    """The types of a verb's body and of its answer's."""

    takes: Any
    answers: Any


VERBS: Final[dict[str, Verb]] = {
    "get": Verb(GetTasks, list[TaskView]),
    "list": Verb(ListTasks, TaskPage),
    "counts": Verb(CountsOf, dict[str, dict[str, int]]),
    "why": Verb(TaskRef, Reason | None),
    "logs": Verb(LogsOf, LogPage),
    "cancel": Verb(CancelTask, str),
    "cancel_all": Verb(CancelAll, Affected),
    "retry": Verb(Many, Affected),
    "delete": Verb(Many, Affected),
    "purge": Verb(PurgeQueue, Affected),
    "count": Verb(CountTasks, Affected),
    "pause": Verb(PauseOf, Affected),
    "resume": Verb(PauseOf, Affected),
    "scale": Verb(ScalePool, list[Facts]),
    "reload": Verb(PoolName, list[Facts]),
    "queues": Verb(None, list[Facts]),
    "handlers": Verb(None, list[Facts]),
    "workers": Verb(None, list[Facts]),
    "nodes": Verb(None, list[Facts]),
    "rpc": Verb(CallNode, Any),
    "node_lost": Verb(NodeDeath, str),
    "queue_stats": Verb(None, dict[str, Facts]),
    "handler_stats": Verb(None, dict[str, Facts]),
    "worker_stats": Verb(None, Facts),
    "health": Verb(NodeOf | None, Facts),
    "stats": Verb(None, Facts),
    "events": Verb(EventsOf, EventPage),
    "limits": Verb(None, list[Facts]),
    "schedules": Verb(None, list[Facts]),
    "schedule_add": Verb(AddSchedule, str),
    "schedule_change": Verb(ChangeSchedule, str),
    "schedules_pause": Verb(PauseSchedules, str),
    "submit_workflow": Verb(NewWorkflow, Made),
    "workflow": Verb(WorkflowOf, WorkflowView),
    "workflows": Verb(ListWorkflows, WorkflowPage),
    "cancel_workflow": Verb(CancelTask, str),  # 'cancelling' or 'too_late'
    "retry_workflow": Verb(TaskRef, str),  # 'retried', 'too_early' (it has not ended) or 'too_late' (it has succeeded)
}
