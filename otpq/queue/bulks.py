"""Bulks: what is done to many tasks, a thousand at a time. A value; it says what to select next and when all is done.

Each thousand is selected after the one before it was decided, so that nothing grows with the number of tasks, and others
get their turn in between. Selection goes from the newest down and never back: what is submitted meanwhile is not touched.

Whoever asks may have it in parts, each of so many rounds, and says where to go on. So it hears how far it is, and no answer
takes longer than it waits.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from otpq.core import events as ev
from otpq.queue.looking import Inquiry, count_tasks, select_ids
from otpq.queue.queries import BadQuery
from otpq.task import ENDED, TaskState
from otpq.wire import verbs

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.queue.looking import Selected

__all__ = ["Bulk", "bulk_of", "states_of"]

_WAITING: Final = (TaskState.PENDING, TaskState.RETRYING, TaskState.QUEUED)
"""In this order a task that becomes due between two walks is met all the same."""
_TOUCHED: Final = {
    "cancel": (*_WAITING, TaskState.RUNNING),
    "retry": (TaskState.FAILED, TaskState.CANCELLED, TaskState.EXPIRED),
    "delete": tuple(sorted(ENDED)),
    "purge": _WAITING,
}
"""The states of those to which something is done, by what that is."""


@dataclass(slots=True)
class Bulk:
    """One request about many tasks."""

    event: Callable[..., ev.Event] | None
    """What is done to them, from `client`, `request` and `ids`; None: they are counted."""
    selectors: deque[verbs.Selector]
    """What is left to walk, the one under way first."""
    after: int | None = None
    missing: int = 0
    """Answers of the core that are still to come."""
    affected: int = 0
    happening: tuple[str, verbs.Facts] | None = None
    """What is noted when it is done: the kind of event, and its facts."""
    rounds: int | None = None
    """How many thousands are left of this part; None: any number."""

    @property
    def has_ended(self) -> bool:
        """Whether all is done, or this part."""
        return not self.selectors or self.rounds == 0

    @property
    def place(self) -> str | None:
        """Where the next part goes on; None: there is none."""
        return f"{len(self.selectors)}:{'' if self.after is None else self.after}" if self.selectors else None

    def inquiry(self, running: frozenset[int]) -> Inquiry:
        """The question for the next of them."""
        question = count_tasks if self.event is None else select_ids
        return question(self.selectors[0], self.after, running)

    def selected(self, selected: Selected) -> None:
        """Note where to go on, and how many answers to wait for."""
        self.after = selected.next
        self.missing = len(selected.ids)
        self.affected += selected.counted
        if selected.next is None:
            self.selectors.popleft()
        if self.rounds is not None:
            self.rounds -= 1

    def replied(self, answer: str) -> None:
        """The core has decided about one task."""
        self.missing -= 1
        self.affected += answer not in {"not_found", "too_late", "too_early"}

    def go_on_at(self, place: str) -> None:
        """Walk on from there.

        Raises:
            BadQuery: It is no `place` of this bulk.
        """
        left, _, after = place.partition(":")
        if not left.isdecimal() or not 0 < int(left) <= len(self.selectors) or not (after.isdecimal() or not after):
            raise BadQuery("invalid", f"after={place!r} is not the `next` of an answer", "after")
        while len(self.selectors) > int(left):
            self.selectors.popleft()
        self.after = int(after) if after else None


def bulk_of(verb: str, body: Any) -> Bulk:
    """What a verb about many tasks does.

    Args:
        verb: cancel_all, retry, delete, purge or count.
        body: As the verb takes it.

    Raises:
        BadQuery: It is to count what cannot be done, or to go on where it never was.
    """
    bulk = Bulk(*_BULKS[verb](body), rounds=body.rounds)
    if body.after is not None:
        bulk.go_on_at(body.after)
    return bulk


def _purge(body: verbs.PurgeQueue) -> tuple[Callable[..., ev.Event], deque[verbs.Selector]]:
    return partial(ev.Delete, waiting=True), deque(verbs.Selector(queue=body.queue, state=state) for state in _WAITING)


def _count(body: verbs.CountTasks) -> tuple[None, deque[verbs.Selector]]:
    """Those that may be touched, by state: so that a count finds the few of them among the many that have ended."""
    if body.to is None:
        return None, deque([body])
    return None, deque(msgspec.structs.replace(body, state=state) for state in states_of(body))


def states_of(body: verbs.CountTasks) -> list[TaskState]:
    """The states that those to count may have.

    Raises:
        BadQuery: It is to count for what cannot be done.
    """
    if body.to is not None and body.to not in _TOUCHED:
        raise BadQuery("invalid", f"to={body.to!r} is none of {', '.join(_TOUCHED)}", "to")
    return [state for state in (_TOUCHED[body.to] if body.to else TaskState) if body.state in (None, state)]


_BULKS: Final[dict[str, Callable[[Any], tuple[Callable[..., ev.Event] | None, deque[verbs.Selector]]]]] = {
    "cancel_all": lambda body: (partial(ev.Cancel, grace=body.grace), deque([body])),
    "retry": lambda body: (ev.Retry, deque([body])),
    "delete": lambda body: (ev.Delete, deque([body])),
    "purge": _purge,
    "count": _count,
}
