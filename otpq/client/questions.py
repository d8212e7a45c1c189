"""What can be asked of a queue server, as values: both clients put the same ones.

What a single question needs is imported when it is put: `otpq queues` would wait for it at each start.
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

import msgspec

from otpq.client.ids import id_bytes
from otpq.client.views import log_line_of, task_of
from otpq.errors import BadOption, ProtocolError, UsageError
from otpq.task import LogLine, Task, TaskState
from otpq.wire import verbs
from otpq.wire.codec import Fault, decode_body, encode
from otpq.wire.messages import MAX_TASKS
from otpq.wire.node_name import BadNodeName, NodeName

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import TypeAlias

    from otpq.client.events import EventPage
    from otpq.client.flow_views import WorkflowPage
    from otpq.core.events import NodeLost

    _Asking: TypeAlias = Callable[[str | None], "Question[Part]"]

__all__ = ["LogPage", "Page", "Part", "Question", "Selector", "Wanted", "who"]

T = TypeVar("T")


class Question(msgspec.Struct, Generic[T], frozen=True):
    """A verb with its body, and how to read the answer."""

    verb: str
    body: object
    read: Callable[[Any], T]

    def packed(self) -> bytes:
        """The body as it travels."""
        return encode(self.body)

    def answer(self, body: bytes) -> T:
        """The answer that `body` is.

        Raises:
            ProtocolError: It is not what this verb is answered with.
        """
        answer: Any = decode_body(body, verbs.VERBS[self.verb].answers)
        if isinstance(answer, Fault):
            raise ProtocolError(f"the answer to {self.verb!r} cannot be read: {answer.text}")
        return self.read(answer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """Which tasks: those for which all that is given holds.

    `name` is a handler's name; with a `*` (any characters) or a `?` (any one) in it, a pattern: 'email.*'. In a pattern `[ab]`
    is one of these characters, so `[*]`, `[?]` and `[[]` are those themselves. `before` is an aware time of creation, or an
    age as a `timedelta`; `ids` are at most 1,000.
    """

    state: TaskState | str | None = None
    name: str | None = None
    queue: str | None = None
    tag: str | None = None
    before: datetime | timedelta | None = None
    ids: Sequence[str] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether it selects all tasks there are."""
        return self == _ALL

    def on_the_wire(self) -> verbs.Selector:
        """The selector as it travels.

        Raises:
            UsageError: It has an unknown state, a time without zone or too many ids.
            TaskNotFound: One of the ids cannot be one.
        """
        if self.state is not None and self.state not in set(TaskState):
            raise UsageError(f"{self.state!r} is no state; states are {', '.join(TaskState)}")
        if self.ids is not None and len(self.ids) > MAX_TASKS:
            raise UsageError(f"ids= has {len(self.ids):,} ids; it may have {MAX_TASKS:,}")
        return verbs.Selector(
            state=None if self.state is None else str(self.state),
            name=self.name,
            queue=self.queue,
            tag=self.tag,
            before=None if self.before is None else _time_of(self.before),
            ids=None if self.ids is None else [id_bytes(one) for one in self.ids],
        )


_ALL: Final = Selector()


def _time_of(before: object) -> float:
    """A time, or an age, in seconds since the epoch."""
    if isinstance(before, timedelta):
        before = datetime.now(UTC) - before
    if not isinstance(before, datetime) or before.utcoffset() is None:
        raise UsageError(
            "before= is no time, or a time without zone; use datetime.now(UTC), .replace(tzinfo=...), or an age as timedelta(hours=1)"
        )
    return before.timestamp()


class Part(NamedTuple):
    """What was done so far of what is done in parts."""

    done: int
    next: str | None
    """Where to go on; None: that was all."""


ROUNDS: Final = 2
"""Rounds of a thousand tasks that are asked for at a time: far below what an answer is waited for, on a busy machine too."""


class LogPage(list[LogLine]):
    """Lines of a log, and `next`: what to give as `after` for those that follow, now or later."""

    def __init__(self, lines: Iterable[LogLine], following: str, *, more: bool, ended: bool) -> None:
        super().__init__(lines)
        self.next = following
        self.more = more
        """Whether more is there already."""
        self.ended = ended
        """Whether the task has ended: without `more`, this was all."""


class Page(list[Task]):
    """Tasks, and `next`: what to give as `after=` for the page that follows; None on the last."""

    def __init__(self, tasks: Iterable[Task], following: str | None) -> None:
        super().__init__(tasks)
        self.next = following


def tasks(selector: Selector, limit: int, after: str | None) -> Question[Page]:
    """A page of tasks, the newest first."""
    if not 1 <= limit <= verbs.MAX_PAGE:
        raise UsageError(f"limit={limit} is not allowed: 1 to {verbs.MAX_PAGE}; iter_tasks walks all")
    body = verbs.ListTasks(selector.on_the_wire(), limit, after)
    return Question("list", body, lambda page: Page(map(task_of, page.tasks), page.next))


def get(ids: Sequence[bytes]) -> Question[list[Task]]:
    """Those tasks of `ids` that exist, in that order."""
    return Question("get", verbs.GetTasks(list(ids)), lambda views: [task_of(view) for view in views])


def counts(queue: str | None) -> Question[dict[str, dict[str, int]]]:
    """{queue: {state: n}}, all eight states present."""
    return Question("counts", verbs.CountsOf(queue), _all_states)


def cancel(what: Any, grace: float) -> Question[str]:
    """'cancelled', 'cancelling' or 'too_late'."""
    _check_grace(grace)
    if hasattr(what, "workflow"):  # the handle of one
        return cancel_workflow(what, grace)
    id = what if isinstance(what, str) else getattr(what, "id", None)
    if not isinstance(id, str):
        raise UsageError(f"{what!r} cannot be cancelled: give a task's id, its handle, or a Selector")
    return Question("cancel", verbs.CancelTask(id_bytes(id), grace), str)


def cancel_all(selector: Selector, grace: float) -> _Asking:
    """How many were or are being cancelled."""
    _check_grace(grace)
    return _in_parts("cancel_all", verbs.CancelAll(**_fields(selector), rounds=ROUNDS, grace=grace))


def _check_grace(grace: object) -> None:
    if isinstance(grace, bool) or not isinstance(grace, int | float) or not 0 <= grace < math.inf:
        raise BadOption("grace", grace, "seconds, 0 or more")


def _fields(selector: Selector) -> dict[str, Any]:
    return msgspec.structs.asdict(selector.on_the_wire())


def logs(id: bytes, after: str | None) -> Question[LogPage]:
    """A page of a task's log."""
    return Question(
        "logs",
        verbs.LogsOf(id, after),
        lambda page: LogPage(map(log_line_of, page.lines), page.next, more=page.more, ended=page.ended),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which events: those for which all that is given holds. One word, or several."""

    kinds: str | Iterable[str] | None = None
    name: str | None = None
    queue: str | None = None
    ids: str | Iterable[str] | None = None
    node: str | None = None

    def on_the_wire(self) -> verbs.EventsOf:
        """As it travels.

        Raises:
            UsageError: There are too many ids.
            TaskNotFound: One of the ids cannot be one.
        """
        kinds, ids = _several(self.kinds), _several(self.ids)
        if ids is not None and len(ids) > MAX_TASKS:
            raise UsageError(f"ids= has {len(ids):,} ids; it may have {MAX_TASKS:,}")
        packed = None if ids is None else [id_bytes(one) for one in ids]
        return verbs.EventsOf(kinds=kinds, name=self.name, queue=self.queue, ids=packed, node=self.node)


def _several(words: str | Iterable[str] | None) -> list[str] | None:
    return None if words is None else [words] if isinstance(words, str) else list(words)


def events(after: str | None, wanted: verbs.EventsOf) -> Question[EventPage]:
    """A page of what happened in the cluster."""
    from otpq.client.events import events_of

    return Question("events", msgspec.structs.replace(wanted, after=after), events_of)


def submit_workflow(workflow: verbs.NewWorkflow) -> Question[verbs.Made]:
    """That it is made."""
    return Question("submit_workflow", workflow, lambda made: made)


def workflow(id: bytes, after: int, limit: int) -> Question[verbs.WorkflowView]:
    """A workflow and some of its members."""
    return Question("workflow", verbs.WorkflowOf(id, after, limit), lambda view: view)


def workflows(limit: int, after: int | None) -> Question[WorkflowPage]:
    """A page of workflows, the newest first."""
    if not 1 <= limit <= verbs.MAX_PAGE:
        raise UsageError(f"limit={limit} is not allowed: 1 to {verbs.MAX_PAGE}; go on with after=")
    from otpq.client.flow_views import WorkflowPage, status_of

    body = verbs.ListWorkflows(limit, after)
    return Question("workflows", body, lambda page: WorkflowPage(map(status_of, page.workflows), page.next))


def cancel_workflow(what: Any, grace: float) -> Question[str]:
    """'cancelling' or 'too_late'."""
    _check_grace(grace)
    return Question("cancel_workflow", verbs.CancelTask(_workflow_id(what), grace), str)


def retry_workflow(what: Any) -> Question[str]:
    """'retried', 'too_early', 'too_late' or 'incomplete'."""
    return Question("retry_workflow", verbs.TaskRef(_workflow_id(what)), str)


def _workflow_id(what: Any) -> bytes:
    id = what if isinstance(what, str) else getattr(what, "workflow", None)
    if not isinstance(id, str):
        raise UsageError(f"{what!r} is no workflow: give its id or its handle, or the id of one of its tasks")
    return id_bytes(id)


def why(id: bytes) -> Question[dict[str, Any] | None]:
    """{"code", "facts"}; None: it has ended."""
    return Question(
        "why", verbs.TaskRef(id), lambda why: None if why is None else {"code": why.code, "facts": why.facts}
    )


def affected(verb: str, selector: Selector) -> _Asking:
    """How many tasks `verb` was done to."""
    return _in_parts(verb, verbs.Many(**_fields(selector), rounds=ROUNDS))


def count(selector: Selector, to: str | None) -> _Asking:
    """How many tasks there are of those."""
    return _in_parts("count", verbs.CountTasks(**_fields(selector), rounds=ROUNDS, to=to))


def purge(name: str) -> _Asking:
    """How many tasks of a queue were thrown away."""
    return _in_parts("purge", verbs.PurgeQueue(name, ROUNDS))


def _in_parts(verb: str, body: Any) -> _Asking:
    """The question for each part, from where to go on."""

    def part(after: str | None) -> Question[Part]:
        asked = body if after is None else msgspec.structs.replace(body, after=after)
        return Question(verb, asked, lambda answer: Part(answer.count, answer.next))

    return part


def pause(verb: str, queue: str | None, handler: str | None, why: str = "") -> Question[None]:
    """Nothing but that it is done."""
    if queue is None and handler is None:
        raise UsageError(f"{verb}() is told what: a queue, or handler=, or both")
    return Question(verb, verbs.PauseOf(queue, handler, who() if verb == "pause" else "", why), lambda _done: None)


def scale(pool: str, workers: int) -> Question[list[dict[str, Any]]]:
    """What each pool of that name answers."""
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 0:
        raise BadOption("n", workers, "a whole number of workers, 0 or more")
    return Question("scale", verbs.ScalePool(pool, workers), lambda answer: answer)


def reload(pool: str | None) -> Question[list[dict[str, Any]]]:
    """What each pool of that name, or of any, answers."""
    return Question("reload", verbs.PoolName(pool), lambda answer: answer)


def who() -> str:
    """Who asks: user@host."""
    from getpass import getuser

    try:
        user = getuser()
    except (KeyError, ImportError, OSError):  # no name, as in many containers
        user = f"uid {os.getuid()}" if hasattr(os, "getuid") else "unknown"
    return f"{user}@{socket.gethostname()}"


def rpc(node: str, function: str, arguments: dict[str, Any]) -> Question[Any]:
    """What a management function of a node returns; its name may have a port, as an address has."""
    with contextlib.suppress(BadNodeName):  # the server says which there are
        node = NodeName.parse(node).plain
    return Question("rpc", verbs.CallNode(node, function, arguments), lambda answer: answer)


def node_lost(death: NodeLost) -> Question[str]:
    """'noted'."""
    started = None if death.started is None else sorted(death.started)
    body = verbs.NodeDeath(death.node, death.incarnation, started, death.fenced, death.is_complete)
    return Question("node_lost", body, str)


def health(node: str | None) -> Question[dict[str, Any]]:
    """How a node is, or the cluster."""
    return Question("health", None if node is None else verbs.NodeOf(node), lambda answer: answer)


def facts(verb: str) -> Question[Any]:
    """What a verb without a body tells."""
    return Question(verb, None, lambda answer: answer)


def _all_states(answer: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    return {name: {str(state): of.get(state, 0) for state in TaskState} for name, of in answer.items()}
