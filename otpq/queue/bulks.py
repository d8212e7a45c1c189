"""Bulks: what is done to many tasks, a thousand at a time. A value; it says what to select next and when all is done.

Each thousand is selected after the one before it was decided, so that nothing grows with the number of tasks, and others
get their turn in between. Selection goes from the newest down and never back: what is submitted meanwhile is not touched.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from otpq.core import events as ev
from otpq.task import TaskState
from otpq.wire import verbs

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.queue.looking import Selected

__all__ = ["Bulk", "bulk_of"]

_WAITING: Final = (TaskState.PENDING, TaskState.RETRYING, TaskState.QUEUED)
"""In this order a task that becomes due between two walks is met all the same."""


@dataclass(slots=True)
class Bulk:
    """One request about many tasks."""

    event: Callable[..., ev.Event]
    """What is done to them, from `client`, `request` and `ids`."""
    selectors: deque[verbs.Selector]
    """What is left to walk, the one under way first."""
    after: int | None = None
    missing: int = 0
    """Answers of the core that are still to come."""
    affected: int = 0
    happening: tuple[str, verbs.Facts] | None = None
    """What is noted when it is done: the kind of event, and its facts."""

    def selected(self, selected: Selected) -> None:
        """Note where to go on, and how many answers to wait for."""
        self.after = selected.next
        self.missing = len(selected.ids)
        if selected.next is None:
            self.selectors.popleft()

    def replied(self, answer: str) -> None:
        """The core has decided about one task."""
        self.missing -= 1
        self.affected += answer not in {"not_found", "too_late", "too_early"}


def bulk_of(verb: str, body: Any) -> Bulk:
    """What a verb about many tasks does.

    Args:
        verb: cancel_all, retry, delete or purge.
        body: As the verb takes it.
    """
    if verb == "purge":
        return Bulk(_forget_waiting, deque(verbs.Selector(queue=body.queue, state=state) for state in _WAITING))
    event: Callable[..., ev.Event] = _EVENTS[verb]
    return Bulk(partial(event, grace=body.grace) if verb == "cancel_all" else event, deque([body]))


def _forget_waiting(**fields: Any) -> ev.Delete:
    return ev.Delete(waiting=True, **fields)


_EVENTS: Final[dict[str, Callable[..., ev.Cancel | ev.Retry | ev.Delete]]] = {
    "cancel_all": ev.Cancel,
    "retry": ev.Retry,
    "delete": ev.Delete,
}
