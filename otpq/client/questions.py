"""What can be asked of a queue server, as values: both clients put the same ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from otpq.client.ids import id_bytes
from otpq.client.views import task_of
from otpq.errors import BadOption, ProtocolError, UsageError
from otpq.task import Task, TaskState
from otpq.wire import verbs
from otpq.wire.codec import Fault, decode_body, encode
from otpq.wire.messages import MAX_TASKS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["Page", "Question", "Selector"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Question(Generic[T]):
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

    `before` is an aware time of creation; `ids` are at most 1,000.
    """

    state: TaskState | str | None = None
    name: str | None = None
    queue: str | None = None
    tag: str | None = None
    before: datetime | None = None
    ids: Sequence[str] | None = None

    def on_the_wire(self) -> verbs.Selector:
        """The selector as it travels.

        Raises:
            UsageError: It has an unknown state, a time without zone or too many ids.
            TaskNotFound: One of the ids cannot be one.
        """
        if self.state is not None and self.state not in set(TaskState):
            raise UsageError(f"{self.state!r} is no state; states are {', '.join(TaskState)}")
        if self.before is not None and (not isinstance(self.before, datetime) or self.before.utcoffset() is None):
            raise UsageError(
                "before= is no time, or a time without zone; use datetime.now(UTC), or .replace(tzinfo=...)"
            )
        if self.ids is not None and len(self.ids) > MAX_TASKS:
            raise UsageError(f"ids= has {len(self.ids):,} ids; it may have {MAX_TASKS:,}")
        return verbs.Selector(
            state=None if self.state is None else str(self.state),
            name=self.name,
            queue=self.queue,
            tag=self.tag,
            before=None if self.before is None else self.before.timestamp(),
            ids=None if self.ids is None else [id_bytes(one) for one in self.ids],
        )


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


def cancel(id: bytes, grace: float) -> Question[str]:
    """'cancelled', 'cancelling' or 'too_late'."""
    if isinstance(grace, bool) or not isinstance(grace, int | float) or not 0 <= grace < math.inf:
        raise BadOption("grace", grace, "seconds, 0 or more")
    return Question("cancel", verbs.CancelTask(id, grace), str)


def why(id: bytes) -> Question[dict[str, Any] | None]:
    """{"code", "facts"}; None: it has ended."""
    return Question(
        "why", verbs.TaskRef(id), lambda why: None if why is None else {"code": why.code, "facts": why.facts}
    )


def affected(verb: str, selector: Selector) -> Question[int]:
    """How many tasks `verb` was done to."""
    return Question(verb, selector.on_the_wire(), lambda answer: int(answer.count))


def queue(verb: str, name: str) -> Question[int]:
    """How many tasks of a queue `verb` was done to."""
    return Question(verb, verbs.QueueName(name), lambda answer: int(answer.count))


def facts(verb: str) -> Question[Any]:
    """What a verb without a body tells."""
    return Question(verb, None, lambda answer: answer)


def _all_states(answer: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    return {name: {str(state): of.get(state, 0) for state in TaskState} for name, of in answer.items()}
