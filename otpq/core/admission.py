"""Submissions: what comes in, what was there before, and what cannot be right.

A submission is accepted or refused as a whole, and before the commit: one wrong task never fails a batch of others.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import msgspec

from otpq.core.catalogue import NotKnown, completed, line_of
from otpq.core.effects import Accepted, Refusal, Refused
from otpq.core.flaws import ID_BYTES, flaw_of
from otpq.core.records import TaskRow
from otpq.core.state import PENDING, QUEUED

if TYPE_CHECKING:
    from otpq.core.events import NewTask, Submit
    from otpq.core.lanes import LaneKey
    from otpq.core.state import State

__all__ = ["Draft", "NotAdmitted", "admit", "discard", "draw_up", "overfull", "submit", "take_in"]

UNKNOWN: Final = "unknown_handler"


def submit(state: State, event: Submit) -> None:
    """Take in the tasks of `event`, all or none."""
    draft = Draft()
    draw_up(state, event, draft)
    refusals = draft.refusals or overfull(state, event, draft.rows)
    if refusals:
        _refuse(state, event, draft, refusals)
    else:
        _accept(state, event, draft)


def admit(state: State, new: NewTask) -> TaskRow:
    """Take in one task that the core makes itself, as if it had been submitted.

    Raises:
        NotAdmitted: It is not taken in: its queue is full, or its times cannot be.
    """
    new, line = completed(state, new)
    try:
        _check(state, new)
        due, expires = _times(new, state.now.wall)
    except _Wrong as wrong:
        raise NotAdmitted(*wrong.args) from None
    row = _row(state.next_seq, new, line, state.now.wall, due, expires)
    limit = state.lanes.queue(row.queue).max_size
    if limit is not None and state.waiting(row.queue) >= limit:
        raise NotAdmitted("queue_full", f"queue {row.queue!r} may hold {limit} tasks that have not ended")
    state.next_seq += 1
    state.ledger.inserts.append(row)
    state.ledger.fresh[row.id] = row
    state.ledger.count(row.queue, row.state, 1)
    if row.state == QUEUED:
        state.lanes.put(row)
    else:
        state.wait_for_due(row)
    return row


class NotAdmitted(Exception):
    """A task that is not taken in; with a refusal's code and message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Draft:
    """What would come of a submission."""

    __slots__ = ("duplicates", "ids", "later", "refusals", "rows", "runs", "warnings")

    def __init__(self) -> None:
        self.rows: list[TaskRow] = []
        self.runs: list[list[TaskRow]] = []
        """The rows that are due now, lane by lane as they came."""
        self.later: list[TaskRow] = []
        self.ids: list[bytes] = []
        self.duplicates: list[int] = []
        self.refusals: list[Refusal] = []
        self.warnings: dict[str, Refusal] = {}
        """By the handler that is not known."""


class _Wrong(Exception):
    """A task that cannot be right; with code and message."""


def draw_up(state: State, event: Submit, draft: Draft) -> None:  # noqa: C901 - a call for each part would cost a tenth
    """Make a row of each task that is new and right. One pass, the hot path of a submission."""
    fresh, lanes, wall = state.ledger.fresh, state.lanes.lanes, state.now.wall
    said: tuple[str | None, str, str | None, int | None] | None = None
    line: LaneKey = ("", "", "", 0)
    last: LaneKey | None = None
    is_more = False
    run: list[TaskRow] = []
    for index, sent in enumerate(event.tasks):
        new = sent
        id = new.id
        is_named = new.key is not None
        if is_named or event.resent or id in fresh:
            twin = _twin(state, new)
            if twin is not None:
                draft.ids.append(twin.id)
                draft.duplicates.append(index)
                continue
        names = (new.queue, new.name, new.partition, new.priority)
        if names != said:
            said = names
            line, is_more = line_of(state, new)
        due, expires = wall, None
        try:
            if len(id) != ID_BYTES or new.options or is_named or (line != last and line not in lanes):
                _check(state, new)
            if is_more:
                new, line = _completed(state, draft, index, new)
            if new.delay or new.eta is not None or new.expires_in is not None or new.expires_at is not None:
                due, expires = _times(new, wall)
        except _Wrong as wrong:
            draft.refusals.append(Refusal(index, *wrong.args))
            continue
        row = _row(state.next_seq + len(draft.rows), new, line, wall, due, expires)
        draft.rows.append(row)
        draft.ids.append(id)
        fresh[id] = row
        if is_named:
            state.ledger.keys[new.key or ""] = row
        if due > wall:
            draft.later.append(row)
        elif line == last:
            run.append(row)
        else:
            last, run = line, [row]
            draft.runs.append(run)


def _completed(state: State, draft: Draft, index: int, new: NewTask) -> tuple[NewTask, LaneKey]:
    """A task with what its handler declares of it; what its client is to be warned of is noted."""
    try:
        new, line = completed(state, new)
    except NotKnown as unknown:
        raise _Wrong(UNKNOWN, str(unknown)) from None
    handlers = state.handlers
    is_odd = handlers.known and handlers.is_all_told and new.name not in handlers.known
    if is_odd and new.name not in draft.warnings:
        draft.warnings[new.name] = Refusal(index, UNKNOWN, handlers.unknown(new.name))
    return new, line


def _row(  # noqa: PLR0917 - keywords would cost a tenth of it
    seq: int, new: NewTask, line: LaneKey, wall: float, due: float, expires: float | None
) -> TaskRow:
    queue, name, partition, priority = line
    return TaskRow(  # positional: the keywords would cost a third of a submission
        seq,
        new.id,
        name,
        queue,
        partition,
        priority,
        QUEUED if due <= wall else PENDING,
        due,
        expires,
        wall,
        wall,
        new.options,
        new.payload,
        new.key,
        new.parent,
        new.tags or "",
        new.title or None,
    )


def take_in(state: State, draft: Draft, client: str) -> None:
    """Put what was drawn up into its lines, and have it made durable."""
    ledger = state.ledger
    first = state.next_seq
    state.next_seq += len(draft.rows)
    ledger.inserts += draft.rows
    for run in draft.runs:
        ledger.count(run[0].queue, QUEUED, len(run))
        state.lanes.put_run(run)
    for row in draft.later:
        ledger.count(row.queue, PENDING, 1)
        state.wait_for_due(row)
    state.story.tell(state.now.wall, "submitted", range(first, state.next_seq), client)


def _accept(state: State, event: Submit, draft: Draft) -> None:
    take_in(state, draft, event.client)
    state.stats.duplicates += len(draft.duplicates)
    duplicates = tuple(draft.duplicates)
    state.ledger.acks.append(
        Accepted(
            client=event.client,
            request=event.request,
            ids=draft.ids,
            duplicates=duplicates,
            warnings=list(draft.warnings.values()),
        )
    )


def discard(state: State, draft: Draft) -> None:
    """Forget what was drawn up: it is refused."""
    for row in draft.rows:
        del state.ledger.fresh[row.id]
        if row.key is not None:
            del state.ledger.keys[row.key]
    state.stats.refused += 1


def _refuse(state: State, event: Submit, draft: Draft, refusals: list[Refusal]) -> None:
    discard(state, draft)
    state.ledger.acks.append(Refused(client=event.client, request=event.request, refusals=refusals))


def _twin(state: State, new: NewTask) -> TaskRow | None:
    """The task that is there already with this id or idempotency key.

    One that this very step deletes counts too: its id and key are free from the next commit on.
    """
    ledger, loaded = state.ledger, state.loaded
    twin = ledger.fresh.get(new.id) or loaded.by_id.get(new.id)
    if twin is None and new.key is not None:
        twin = ledger.keys.get(new.key) or loaded.by_key.get(new.key)
    return twin


def _times(new: NewTask, wall: float) -> tuple[float, float | None]:
    """When a task is due, and when it expires."""
    delay = new.delay or 0.0
    if delay and new.eta is not None:
        raise _Wrong("bad_time", "delay and eta together; give one of them")
    expires_at = None if new.expires_at == math.inf else new.expires_at
    numbers = (delay, new.eta or 0.0, new.expires_in or 0.0, expires_at or 0.0)
    if not all(map(math.isfinite, numbers)) or delay < 0 or (new.expires_in or 0.0) < 0:
        raise _Wrong("bad_time", "times must be finite, delays not negative")
    due = wall + delay if new.eta is None else max(wall, new.eta)
    expires = expires_at if new.expires_in is None else wall + new.expires_in
    if expires is not None and expires < due and due > wall:
        raise _Wrong("bad_time", "it would expire before it is due")
    return due, expires


def _check(state: State, new: NewTask) -> None:
    """Raise for the first thing about a task that cannot be right."""
    flaw = flaw_of(new)
    if flaw is not None:
        raise _Wrong(*flaw)
    if new.options:
        try:
            state.unpack(b"", new.options)
        except (msgspec.MsgspecError, ValueError) as error:
            raise _Wrong("bad_options", str(error)) from None


def overfull(state: State, event: Submit, rows: list[TaskRow]) -> list[Refusal]:
    """A refusal if these rows are more than a queue may hold."""
    for name in dict.fromkeys(row.queue for row in rows) if _has_limits(state) else ():
        limit = state.lanes.queue(name).max_size
        count = sum(row.queue == name for row in rows)
        if limit is not None and state.waiting(name) + count > limit:
            ids = {row.id for row in rows if row.queue == name}
            index = next(index for index, new in enumerate(event.tasks) if new.id in ids)
            return [Refusal(index, "queue_full", f"queue {name!r} may hold {limit} tasks that have not ended")]
    return []


def _has_limits(state: State) -> bool:
    return any(queue.max_size is not None for queue in state.lanes.queues.values())
