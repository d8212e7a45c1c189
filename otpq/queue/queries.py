"""The verbs of `Query`, answered: what is asked of the store is read here, what changes something goes through the core."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from otpq.core import events as ev
from otpq.core.history import CANCELLING, history_of
from otpq.store.protocol import Filters
from otpq.task import ENDED, TaskState
from otpq.wire import messages as wire
from otpq.wire import verbs
from otpq.wire.codec import Fault, decode_body, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from otpq.core.records import TaskRow
    from otpq.store.protocol import Reading

__all__ = ["BULK", "BadQuery", "answer", "decode", "matching", "page_of", "problems_of", "view_of"]

BULK: Final[dict[str, Callable[..., ev.Cancel | ev.Retry | ev.Delete]]] = {
    "cancel_all": ev.Cancel,
    "retry": ev.Retry,
    "delete": ev.Delete,
}
"""Verbs that take a selector, and the event that each becomes."""


class BadQuery(Exception):
    """A query that cannot be answered, with the wire's code and words for it."""

    def __init__(self, code: str, text: str, field: str = "") -> None:
        super().__init__(text)
        self.code = code
        self.field = field


def decode(query: wire.Query) -> Any:
    """The body of a query, as its verb wants it.

    Raises:
        BadQuery: There is no such verb, or its body is wrong.
    """
    verb = verbs.VERBS.get(query.verb)
    if verb is None:
        raise BadQuery("unknown_verb", f"this node does not know {query.verb!r}")
    if verb.takes is None:
        return None
    body = decode_body(query.body, verb.takes)
    if isinstance(body, Fault):
        raise BadQuery("invalid", f"{query.verb}: {body.text}")
    return body


def filters_of(selector: verbs.Selector) -> Filters:
    """What a store understands of a selector. `running` is `queued` to it (see `TaskRow`)."""
    state = "queued" if selector.state == TaskState.RUNNING else selector.state
    return Filters(
        state=state,
        name=selector.name,
        queue=selector.queue,
        tag=selector.tag,
        before=selector.before,
        ids=None if selector.ids is None else tuple(selector.ids),
    )


def matching(reading: Reading, selector: verbs.Selector) -> Iterator[list[bytes]]:
    """The ids of all tasks that a selector selects, in pages."""
    after = None
    while True:
        page = reading.tasks(filters_of(selector), limit=1000, after=after)
        if page.rows:
            yield [row.id for row in page.rows]
        if page.next is None:
            return
        after = page.next


def page_of(reading: Reading, ask: verbs.ListTasks, running: frozenset[int]) -> verbs.TaskPage:
    """A page of tasks, newest first."""
    try:
        after = None if ask.after is None else int(ask.after)
    except ValueError:
        raise BadQuery("invalid", f"after={ask.after!r} is not the `next` of a page", "after") from None
    rows: list[TaskRow] = []
    wanted = ask.selector.state
    while True:
        page = reading.tasks(filters_of(ask.selector), limit=ask.limit - len(rows), after=after)
        rows += [row for row in page.rows if _is_wanted(row, wanted, running)]
        after = page.next
        if after is None or len(rows) >= ask.limit:
            break
    views = [view_of(row, running, whole=False) for row in rows]
    return verbs.TaskPage(views, None if after is None else str(after))


def _is_wanted(row: TaskRow, wanted: str | None, running: frozenset[int]) -> bool:
    if wanted == TaskState.RUNNING:
        return row.seq in running
    return wanted != TaskState.QUEUED or row.seq not in running


def view_of(row: TaskRow, running: frozenset[int], *, whole: bool = True) -> verbs.TaskView:
    """The task of a row, as it travels; `whole` with its payload and its life."""
    return verbs.TaskView(
        id=row.id,
        name=row.name,
        state=TaskState.RUNNING if row.seq in running and row.state not in ENDED else row.state,
        queue=row.queue,
        priority=row.priority,
        created=row.created,
        updated=row.updated,
        due=row.due,
        started=row.started,
        finished=row.finished,
        expires=row.expires,
        attempt=row.attempt,
        interruptions=row.interruptions,
        reason=None if row.reason == CANCELLING else row.reason,
        tags=[tag for tag in row.tags.split(",") if tag],
        title=row.title,
        key=row.key,
        parent=row.parent,
        payload=row.payload if whole else b"",
        options=row.options if whole else b"",
        result=row.result if whole and len(row.result or b"") <= wire.FETCH_ABOVE else None,
        error=row.error,
        history=encode(history_of(row)) if whole else b"",
        partition=row.partition,
    )


def problems_of(workers: Iterable[Mapping[str, Any]]) -> list[str]:
    """What is wrong with workers, of which `PoolFacts` tells: those whose children do not come to be ready."""
    return [f"worker {each['pool']}/{each['worker']}: {each['error']}" for each in workers if each["failing"]]


def answer(number: int, value: object) -> wire.Answer:
    """The message that answers a query."""
    return wire.Answer(number, msgspec.Raw(encode(value)))
