"""Looking into the store, step by step, so that a question that takes long holds up nobody for long.

A question is an `Inquiry`: a generator that says what it must see next (`Look`), is given it (`Seen`), and returns its
answer. A look is bounded, in rows and in time; it is carried out by `look`, wherever there is a `Reading`: in the Reader's
process, or in the queue server where the store is in memory and no other process can see it. `turns.py` takes them in turn.
"""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import msgspec

from otpq.core.history import CANCELLING, history_of
from otpq.queue.log_pages import Place, log_page
from otpq.queue.queries import BadQuery
from otpq.queue.workflows import page as workflow_page
from otpq.queue.workflows import workflow_view
from otpq.store.protocol import Filters
from otpq.task import ENDED, Options, TaskState
from otpq.wire import verbs
from otpq.wire.codec import encode
from otpq.wire.messages import FETCH_ABOVE, MAX_PAYLOAD

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

    from otpq.core.records import TaskRow
    from otpq.store.protocol import Reading

__all__ = [
    "PATIENCE",
    "AnyLook",
    "CountLook",
    "Inquiry",
    "LogLook",
    "Look",
    "Seen",
    "Selected",
    "count_tasks",
    "get_tasks",
    "list_tasks",
    "list_workflows",
    "look",
    "read_log",
    "read_workflow",
    "select_ids",
    "view_of",
]

PATIENCE: Final = 2.0
"""Seconds that one look may take; it is bounded by rows too, so that is a matter of a slow disk."""
ROWS: Final = 200
"""Rows that one look gives at most."""
WHOLE_ROWS: Final = 50
"""As `ROWS`, where each comes with its payload and result."""
SELECTED: Final = 1_000
"""Ids that one `Selected` has at most: one step's work."""
COUNTED: Final = 25_000
"""Rows that one `CountLook` looks at, some 10 ms."""
LOOKS: Final = 4
"""Looks for one `Selected`."""


class Look(msgspec.Struct, frozen=True, tag=True):
    """What a question must see next."""

    filters: Filters
    running: frozenset[int]
    """The seqs of the tasks that have started: no row says so."""
    limit: int = ROWS
    after: int | None = None
    views: bool = True
    """Whether to give more than the ids."""
    whole: bool = False
    """Whether a view has the payload and the life of its task too."""
    not_running: bool = False
    declared: dict[str, bytes] = msgspec.field(default_factory=dict)
    """What is declared of handlers, as `Options.pack` gives it: a row has what its caller said beyond that."""


class LogLook(msgspec.Struct, frozen=True, tag=True):
    """What a question about a task's log must see next: what follows `place` in it. Seen: (id, the packed `LogPage`)."""

    id: bytes
    place: Place


class CountLook(msgspec.Struct, frozen=True, tag=True):
    """How many match, among the next `COUNTED` rows."""

    filters: Filters
    running: frozenset[int]
    after: int | None = None
    not_running: bool = False


class WorkflowLook(msgspec.Struct, frozen=True, tag=True):
    """How a workflow stands, and some of its members. Seen: (id, the packed `WorkflowView`)."""

    ask: verbs.WorkflowOf
    running: frozenset[int]


class WorkflowsLook(msgspec.Struct, frozen=True, tag=True):
    """Which workflows there are. Seen: (nothing, the packed `WorkflowPage`)."""

    ask: verbs.ListWorkflows


AnyLook: TypeAlias = Look | LogLook | CountLook | WorkflowLook | WorkflowsLook


class Seen(msgspec.Struct, frozen=True, tag=True):
    """What was seen: (id, the packed `TaskView`), the newest first."""

    found: list[tuple[bytes, msgspec.Raw]]
    next: int | None
    """Where the next look begins; None: that was all."""
    count: int = 0
    """Of a `CountLook`: how many match."""


class Selected(NamedTuple):
    """Some of the tasks that a selector selects."""

    ids: list[bytes]
    next: int | None
    """As in `Seen`."""
    counted: int = 0
    """How many were counted, where nothing but that was asked."""


Inquiry: TypeAlias = "Generator[AnyLook, Seen, bytes | Selected]"
"""A question under way; its value is the packed answer, or what was selected."""


def look(reading: Reading, what: AnyLook) -> Seen:
    """Carry out one look.

    Raises:
        StoreError: The store cannot be read, or took too long.
    """
    if isinstance(what, LogLook):
        log = log_page(reading, what.id, what.place)
        return Seen([] if log is None else [(what.id, msgspec.Raw(encode(log)))], None)
    if isinstance(what, CountLook):
        without = what.running if what.not_running else ()
        counted = reading.count(what.filters, after=what.after, scan=COUNTED, without=without)
        return Seen([], counted.next, counted.count)
    if isinstance(what, WorkflowLook):
        view = workflow_view(reading, what.ask, what.running)
        return Seen([] if view is None else [(view.id, msgspec.Raw(encode(view)))], None)
    if isinstance(what, WorkflowsLook):
        return Seen([(b"", msgspec.Raw(encode(workflow_page(reading, what.ask.limit, what.ask.after))))], None)
    return _look_at_tasks(reading, what)


def _look_at_tasks(reading: Reading, what: Look) -> Seen:
    page = reading.tasks(what.filters, limit=what.limit, after=what.after)
    rows = [row for row in page.rows if not (what.not_running and row.seq in what.running)]
    workflows = _workflow_ids(reading, rows) if what.views else {}
    return Seen([(row.id, _packed_view(row, what, workflows) if what.views else _NOTHING) for row in rows], page.next)


def _workflow_ids(reading: Reading, rows: Iterable[TaskRow]) -> dict[int | None, bytes]:
    """The ids of the workflows that these are members of, by number."""
    numbers = {row.workflow for row in rows if row.workflow is not None}
    return {number: found.id for number in numbers if (found := reading.workflow(number)) is not None}


_NOTHING: Final = msgspec.Raw(encode(None))


def _packed_view(row: TaskRow, what: Look, workflows: dict[int | None, bytes]) -> msgspec.Raw:
    view = view_of(row, what.running, what.declared, whole=what.whole)
    workflow = workflows.get(row.workflow)
    return msgspec.Raw(encode(view if workflow is None else msgspec.structs.replace(view, workflow=workflow)))


# --- questions -------------------------------------------------------------------------------------------------------


def get_tasks(ids: Sequence[bytes], running: frozenset[int], declared: dict[str, bytes]) -> Inquiry:
    """The tasks of `ids` that exist, in that order, whole."""
    found: dict[bytes, msgspec.Raw] = {}
    size = 0
    for part in _parts(ids):
        seen = yield Look(Filters(ids=part), running, limit=len(part), whole=True, declared=declared)
        found.update(seen.found)
        size += sum(len(memoryview(view)) for _, view in seen.found)
        if size > MAX_PAYLOAD:
            text = f"these tasks are more than {MAX_PAYLOAD:,} bytes; ask for fewer at a time"
            raise BadQuery("too_large", text, "ids")
    return encode([found[id_] for id_ in ids if id_ in found])


def read_workflow(ask: verbs.WorkflowOf, running: frozenset[int]) -> Inquiry:
    """How a workflow stands."""
    seen = yield WorkflowLook(ask, running)
    if not seen.found:
        raise BadQuery("not_found", "there is no such workflow", facts={"id": ask.id.hex()})
    return bytes(seen.found[0][1])


def list_workflows(ask: verbs.ListWorkflows) -> Inquiry:
    """A page of workflows."""
    seen = yield WorkflowsLook(ask)
    return bytes(seen.found[0][1])


def read_log(ask: verbs.LogsOf) -> Inquiry:
    """A page of a task's log."""
    seen = yield LogLook(ask.id, Place.parse(ask.after))
    if not seen.found:
        raise BadQuery("not_found", "there is no such task", facts={"id": ask.id.hex()})
    return bytes(seen.found[0][1])


def _parts(ids: Sequence[bytes]) -> Iterator[tuple[bytes, ...]]:
    for begin in range(0, len(ids), WHOLE_ROWS):
        yield tuple(ids[begin : begin + WHOLE_ROWS])


def list_tasks(ask: verbs.ListTasks, running: frozenset[int]) -> Inquiry:
    """A page of tasks, the newest first; shorter than was asked for if it would be too large for a message."""
    after = _place(ask.after)
    views: list[msgspec.Raw] = []
    size = 0
    while True:
        filters = _filters(ask.selector, running)
        limit = min(ROWS, ask.limit - len(views))
        seen = yield Look(filters, running, limit, after, not_running=ask.selector.state == TaskState.QUEUED)
        views += [view for _, view in seen.found]
        size += sum(len(memoryview(view)) for _, view in seen.found)
        after = seen.next
        if after is None or len(views) >= ask.limit or size > MAX_PAYLOAD // 2:
            return encode([views, None if after is None else str(after)])


def _place(after: str | None) -> int | None:
    try:
        return None if after is None else int(after)
    except ValueError:
        raise BadQuery("invalid", f"after={after!r} is not the `next` of a page", "after") from None


def select_ids(selector: verbs.Selector, after: int | None, running: frozenset[int]) -> Inquiry:
    """Some of the tasks that a selector selects, the newest first; maybe none although more follow."""
    ids: list[bytes] = []
    for _ in range(LOOKS):
        limit = min(ROWS, SELECTED - len(ids))
        if not limit:
            break
        is_queued = selector.state == TaskState.QUEUED
        seen = yield Look(_filters(selector, running), running, limit, after, views=False, not_running=is_queued)
        ids += [id_ for id_, _ in seen.found]
        after = seen.next
        if after is None:
            break
    return Selected(ids, after)


def count_tasks(selector: verbs.Selector, after: int | None, running: frozenset[int]) -> Inquiry:
    """How many tasks a selector selects, among the next rows."""
    count = 0
    for _ in range(LOOKS):
        is_queued = selector.state == TaskState.QUEUED
        seen = yield CountLook(_filters(selector, running), running, after, not_running=is_queued)
        count += seen.count
        after = seen.next
        if after is None:
            break
    return Selected([], after, count)


def _filters(selector: verbs.Selector, running: frozenset[int]) -> Filters:
    """What a store understands of a selector. `running` is `queued` to it (see `TaskRow`)."""
    is_running = selector.state == TaskState.RUNNING
    return Filters(
        state=TaskState.QUEUED.value if is_running else selector.state,
        name=selector.name,
        queue=selector.queue,
        tag=selector.tag,
        before=selector.before,
        ids=None if selector.ids is None else tuple(selector.ids),
        seqs=tuple(running) if is_running else None,
    )


def view_of(row: TaskRow, running: frozenset[int], declared: dict[str, bytes], *, whole: bool = True) -> verbs.TaskView:
    """The task of a row, as it travels; `whole` with its payload, its life and the options in force."""
    return verbs.TaskView(
        id=row.id,
        name=row.name,
        state=TaskState.RUNNING if row.seq in running and row.state not in ENDED else row.state,
        queue=row.queue,
        priority=row.priority,
        created=row.created,
        updated=row.updated,
        due=row.due if isfinite(row.due) else None,
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
        progress=None if row.progress is None else msgspec.msgpack.decode(row.progress, type=tuple[float, str]),
        payload=row.payload if whole else b"",
        options=Options.unpack(declared.get(row.name, b""), row.options).pack() if whole else b"",
        result=row.result if whole and len(row.result or b"") <= FETCH_ABOVE else None,
        error=row.error,
        history=encode(history_of(row)) if whole else b"",
        partition=row.partition,
        waits=row.waits if row.state == TaskState.PENDING and row.waits else None,
    )
