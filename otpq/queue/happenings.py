"""Happenings: what happened in the cluster of late, for whoever wants to know. A value; time is asked of its clock.

A bounded ring in memory; a new queue server begins a new one. Of the cluster all is noted. Of tasks it is noted only while
somebody has asked within the last `WATCHED` seconds, and then batch by batch: while nobody looks, a commit pays a comparison.
Whoever reads is told where something is missing by an event of the kind `gap`.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from otpq.core.history import error_line, retry_reason
from otpq.core.state import FAILED, RETRYING
from otpq.queue.queries import BadQuery
from otpq.wire.verbs import EventPage, Facts, Happening, TaskHappening

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from otpq.core.effects import Outcome
    from otpq.core.events import Now
    from otpq.core.records import TaskRow

__all__ = ["GAP", "KEPT", "PAGE", "WATCHED", "Happenings"]

GAP: Final = "gap"
"""The kind of event that tells that others are missing. Its `why`: `unwatched` (nobody had asked, so nothing of tasks was noted;
`since` when), `overrun` (the reader was too slow; `missed` is how many) or `restarted` (by the queue server all was forgotten)."""
KEPT: Final = 10_000
"""Events that the ring has room for."""
PAGE: Final = 1_000
"""Events in one answer."""
WATCHED: Final = 30.0
"""Seconds after a question for which what happens to tasks is noted."""


class Happenings:
    """See the module."""

    def __init__(self, clock: Callable[[], Now]) -> None:
        self._clock = clock
        self._unkept_since = clock().wall
        """From when on nothing of tasks is noted, unless somebody asks before."""
        self._term = format(int(self._unkept_since * 1e6), "x")
        self._watched_until: float | None = None
        """By the steady clock; None: nobody looks."""
        self._ring: deque[Happening] = deque()
        self._next = 1

    # --- noting -----------------------------------------------------------------------------------------------------

    def note(self, kind: str, facts: Facts) -> None:
        """Something happened in the cluster."""
        self._add(kind, facts, [])

    def submitted(self, rows: Sequence[TaskRow]) -> None:
        """These tasks are new, and durable."""
        if rows and self._is_watched():
            self._add("submitted", {}, [TaskHappening(row.id, row.name, row.queue) for row in rows])

    def scheduled(self, kind: str, facts: Facts) -> None:
        """What became of a slot. That it made its task is usual, and noted as what happens to tasks is."""
        if kind != "schedule_fired" or self._is_watched():
            self._add(kind, facts, [])

    def ended(self, outcome: Outcome) -> None:
        """These tasks have ended, or will run again."""
        if not self._is_watched():
            return
        by_state: dict[str, list[TaskRow]] = {}
        for row in outcome.tasks:
            by_state.setdefault(row.state, []).append(row)
        for state, rows in by_state.items():
            self._add(state, {}, [_ended(row) for row in rows])
        if outcome.retried:
            self._add(RETRYING, {}, [_retried(row) for row in outcome.retried])

    def _is_watched(self) -> bool:
        if self._watched_until is None:
            return False
        if self._clock().mono >= self._watched_until:
            self._watched_until = None
        return self._watched_until is not None

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

    def read(self, after: str | None) -> EventPage:
        """A page of what followed `after`, the `next` of a page; None: of all that is kept.

        Raises:
            BadQuery: `after` is no such thing.
        """
        last, found = self._begin(after)
        self._watch()
        left = PAGE
        for happening in self._beyond(last):
            part = _part(happening, last, left)
            found.append(part)
            last, left = _last(part), left - _count(part)
            if not left:
                break
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
            self.note(GAP, {"why": "unwatched", "since": self._unkept_since})
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


def _part(happening: Happening, last: int, most: int) -> Happening:
    """At most so many of its events, those after `last`."""
    skipped = max(0, last + 1 - happening.number)
    if not skipped and len(happening.tasks) <= most:
        return happening
    tasks = happening.tasks[skipped : skipped + most]
    return Happening(happening.number + skipped, happening.time, happening.kind, happening.facts, tasks)


def _ended(row: TaskRow) -> TaskHappening:
    """A copy of what is told: to keep rows would be to keep their payloads."""
    error = error_line(row.error) if row.state == FAILED and row.error is not None else None
    return TaskHappening(row.id, row.name, row.queue, row.attempt, row.reason, error)


def _retried(row: TaskRow) -> TaskHappening:
    error = None if row.error is None else error_line(row.error)
    return TaskHappening(row.id, row.name, row.queue, row.attempt, retry_reason(row), error)
