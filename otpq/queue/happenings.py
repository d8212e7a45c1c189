"""Happenings: what happened in the cluster of late, for whoever wants to know. A value; time is asked of its clock.

A bounded ring in memory; a new queue server begins a new one. Of the cluster all is noted. Of tasks it is noted only while
somebody has asked within the last `WATCHED` seconds, and then batch by batch: while nobody looks, a commit pays a comparison.
Whoever reads is told where something is missing by an event of the kind `gap`.

That a run has begun is known from what pools show of their children, ten times a second. One that ended before it was ever shown
has its `started` just before its end, with the time that its child told; so each end of a run follows its begin.
"""

from __future__ import annotations

from collections import deque
from itertools import groupby
from typing import TYPE_CHECKING, Final

import msgspec

from otpq.core.history import error_line, retry_reason
from otpq.core.state import FAILED, SUCCEEDED
from otpq.queue.queries import BadQuery
from otpq.queue.wanted import GAP, Wanted
from otpq.wire.verbs import EventPage, EventsOf, Facts, Happening, TaskHappening

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from otpq.core.effects import Outcome
    from otpq.core.events import Now, Progressed, Running
    from otpq.core.records import TaskRow

__all__ = ["GAP", "KEPT", "PAGE", "WATCHED", "Happenings"]

KEPT: Final = 10_000
"""Events that the ring has room for."""
PAGE: Final = 1_000
"""Events in one answer."""
WATCHED: Final = 30.0
"""Seconds after a question for which what happens to tasks is noted."""


class Happenings:
    """See the module."""

    def __init__(
        self, clock: Callable[[], Now], noted: Callable[[str, Facts], object] = lambda _kind, _facts: None
    ) -> None:
        """`noted` is told of each thing that happens to the cluster."""
        self._clock = clock
        self._noted = noted
        self._unkept_since = clock().wall
        """From when on nothing of tasks is noted, unless somebody asks before."""
        self._term = format(int(self._unkept_since * 1e6), "x")
        self._watched_until: float | None = None
        """By the steady clock; None: nobody looks."""
        self._ring: deque[Happening] = deque()
        self._next = 1
        self._shown: dict[int, str] = {}
        """The seqs that are shown as running, with their sessions."""

    # --- noting -----------------------------------------------------------------------------------------------------

    def note(self, kind: str, facts: Facts) -> None:
        """Something happened in the cluster."""
        self._add(kind, facts, [])
        self._noted(kind, facts)

    def submitted(self, rows: Sequence[TaskRow]) -> None:
        """These tasks are new, and durable."""
        if rows and self._is_watched():
            self._add_tasks("submitted", [TaskHappening(row.id, row.name, row.queue) for row in rows])

    def scheduled(self, kind: str, facts: Facts) -> None:
        """What became of a slot. That it made its task is usual, and noted as what happens to tasks is."""
        if kind != "schedule_fired" or self._is_watched():
            self._add(kind, facts, [])
        self._noted(kind, facts)

    def shown(self, running: Running, rows_of: Callable[[str, Iterable[int]], list[TaskRow]]) -> None:
        """A pool shows what runs in it; `rows_of` gives those of these seqs that a session holds.

        To be called after the step that takes it in: what the pool has told before it has ended by then.
        """
        session, seqs = running.session, running.seqs
        rows = rows_of(session, sorted(seqs.difference(self._shown)))
        for seq in [seq for seq, of in self._shown.items() if of == session and seq not in seqs]:
            del self._shown[seq]
        self._shown.update({row.seq: session for row in rows})
        if self._is_watched():
            self._started(rows, _node_of(session))

    def gone(self, session: str) -> None:
        """A pool shows nothing any more."""
        self._shown = {seq: of for seq, of in self._shown.items() if of != session}

    def progressed(self, events: Sequence[Progressed], rows_of: Callable[[str, Iterable[int]], list[TaskRow]]) -> None:
        """Tasks have told how far they are: call it before the step that takes it in, which may end them."""
        if not events or not self._is_watched():
            return
        for session, several in groupby(events, lambda event: event.session):
            told = {event.seq: event for event in several}  # of several of one task, the last
            rows = rows_of(session, told)
            self._started([row for row in rows if row.seq not in self._shown], _node_of(session))
            self._shown.update({row.seq: session for row in rows})
            self._add_tasks("progress", [_progressed(row, told[row.seq]) for row in rows])

    def _started(self, rows: Sequence[TaskRow], node: str) -> None:
        self._add_tasks(
            "started", [TaskHappening(row.id, row.name, row.queue, row.attempt + 1, node=node) for row in rows]
        )

    def ended(self, outcome: Outcome) -> None:
        """These tasks have ended, or will run again."""
        if not self._is_watched():
            return
        ran = [row for row in outcome.tasks if row.state in {SUCCEEDED, FAILED}] + outcome.retried
        self._add_tasks(
            "started", [_began(row) for row in ran if row.seq not in self._shown and row.started is not None]
        )
        for row in ran:
            self._shown.pop(row.seq, None)
        by_state: dict[str, list[TaskRow]] = {}
        for row in outcome.tasks:
            by_state.setdefault(row.state, []).append(row)
        for state, rows in by_state.items():
            self._add_tasks(state, [_ended(row) for row in rows])
        self._add_tasks("retried", [_retried(row) for row in outcome.retried])

    def _is_watched(self) -> bool:
        if self._watched_until is None:
            return False
        if self._clock().mono >= self._watched_until:
            self._watched_until = None
        return self._watched_until is not None

    def _add_tasks(self, kind: str, tasks: list[TaskHappening]) -> None:
        """Of no task nothing is to be told."""
        if tasks:
            self._add(kind, {}, tasks)

    def _add(self, kind: str, facts: Facts, tasks: list[TaskHappening]) -> None:
        self._ring.append(Happening(self._next, self._clock().wall, kind, facts, tasks))
        self._next += len(tasks) or 1
        while self._next - self._first > KEPT and len(self._ring) > 1:
            self._ring.popleft()

    @property
    def _first(self) -> int:
        """The number of the oldest event that is kept, or of the next one."""
        return self._ring[0].number if self._ring else self._next

    # --- reading ----------------------------------------------------------------------------------------------------

    def read(self, asked: EventsOf) -> EventPage:
        """A page of what is wanted of what followed `asked.after`, the `next` of a page; None: of all that is kept.

        Raises:
            BadQuery: `after` is no such thing, or there is no such kind.
        """
        wanted = Wanted(asked)
        last, found = self._begin(asked.after)
        self._watch()
        left = PAGE
        for happening in self._beyond(last):
            for part in wanted.parts_of(_part(happening, last)):
                told = _most(part, left)
                found.append(told)
                left -= _count(told)
                if not left:
                    return self._page(found, _last(told))
            last = _last(happening)
        return self._page(found, last)

    def _page(self, found: list[Happening], last: int) -> EventPage:
        return EventPage(self._term, found, f"{self._term}.{last}", last < self._next - 1)

    def _begin(self, after: str | None) -> tuple[int, list[Happening]]:
        """The number after which to go on, and what to tell first of those that are missing."""
        oldest = self._first - 1
        if after is None:
            return oldest, []
        term, number = _place(after)
        if term != self._term or number >= self._next:
            return oldest, [self._gap(oldest, {"why": "restarted"})]
        if number < oldest:
            return oldest, [self._gap(oldest, {"why": "overrun", "missed": oldest - number})]
        return number, []

    def _gap(self, number: int, facts: Facts) -> Happening:
        return Happening(number, self._clock().wall, GAP, facts)

    def _watch(self) -> None:
        """Somebody looks: from now on, and for a while, all is noted; that it was not before is noted too."""
        if not self._is_watched():
            self._add(GAP, {"why": "unwatched", "since": self._unkept_since}, [])
        now = self._clock()
        self._watched_until, self._unkept_since = now.mono + WATCHED, now.wall + WATCHED

    def _beyond(self, number: int) -> Sequence[Happening]:
        """Those with an event after `number`. Looked for from the end, since most readers are near it."""
        found: deque[Happening] = deque()
        for happening in reversed(self._ring):
            if _last(happening) <= number:
                break
            found.appendleft(happening)
        return found


def _place(after: str) -> tuple[str, int]:
    """Term and number of a `next`."""
    term, dot, number = after.partition(".")
    if not dot or not number.isdecimal():
        raise BadQuery("invalid", f"after={after!r} is not the `cursor` of an event", "after")
    return term, int(number)


def _count(happening: Happening) -> int:
    return len(happening.tasks) or 1


def _last(happening: Happening) -> int:
    return happening.number + _count(happening) - 1


def _part(happening: Happening, last: int) -> Happening:
    """Those of its events that come after `last`."""
    skipped = last + 1 - happening.number
    return happening if skipped <= 0 else _cut(happening, skipped, None)


def _most(happening: Happening, most: int) -> Happening:
    """The first of its events."""
    return happening if len(happening.tasks) <= most else _cut(happening, 0, most)


def _cut(happening: Happening, begin: int, end: int | None) -> Happening:
    tasks = happening.tasks[begin:end]
    return Happening(happening.number + begin, happening.time, happening.kind, happening.facts, tasks)


def _node_of(session: str) -> str:
    return session.partition("/")[0]


def _node_that_ran(row: TaskRow) -> str | None:
    return None if row.ran is None else msgspec.msgpack.decode(row.ran)[0]


def _began(row: TaskRow) -> TaskHappening:
    return TaskHappening(row.id, row.name, row.queue, row.attempt, node=_node_that_ran(row), time=row.started)


def _progressed(row: TaskRow, event: Progressed) -> TaskHappening:
    progress = (event.fraction, event.message)
    return TaskHappening(row.id, row.name, row.queue, row.attempt + 1, node=_node_of(event.session), progress=progress)


def _ended(row: TaskRow) -> TaskHappening:
    """A copy of what is told: to keep rows would be to keep their payloads."""
    error = error_line(row.error) if row.state == FAILED and row.error is not None else None
    return TaskHappening(row.id, row.name, row.queue, row.attempt, row.reason, error, _node_that_ran(row))


def _retried(row: TaskRow) -> TaskHappening:
    error = None if row.error is None else error_line(row.error)
    return TaskHappening(row.id, row.name, row.queue, row.attempt, retry_reason(row), error, _node_that_ran(row))
