"""What happened in a cluster, as users see it: from the pages that travel to events, one for each task."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from otpq.wire import verbs

__all__ = ["Event", "EventPage", "events_of"]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in the cluster."""

    number: int
    """Its place in the order of events; a new queue server begins at 1 again."""
    time: datetime
    """By the leader's clock; aware, UTC."""
    kind: str
    """`node_up`, `node_suspected`, `node_down`; `paused`, `resumed`, `scaled`, `reloaded`; `store_trouble`, `store_well`;
    of tasks `submitted`, `succeeded`, `failed`, `retrying`, `cancelled`, `expired`; `gap`. There may be more."""
    facts: Mapping[str, Any]
    """Of a task `id`, `name`, `queue`, `attempt`, and if there are any `reason` and `error`, a line. Of a `gap` `why` events are
    missing: `unwatched` (nobody had asked, `since` when), `overrun` (so many are `missed`), `restarted` (the queue server)."""
    cursor: str
    """What to give as `after` to go on behind it."""


class EventPage(list[Event]):
    """Events, and `next`: what to give as `after` for those that follow, now or later."""

    def __init__(self, events: Iterable[Event], following: str, *, more: bool) -> None:
        super().__init__(events)
        self.next = following
        self.more = more
        """Whether more is there already."""


def events_of(page: verbs.EventPage) -> EventPage:
    """The events of a page, each task's its own."""
    events = (event for happening in page.happenings for event in _events(page.term, happening))
    return EventPage(events, page.next, more=page.more)


def _events(term: str, happening: verbs.Happening) -> Iterator[Event]:
    time = datetime.fromtimestamp(happening.time, UTC)
    facts = [{**happening.facts, **_facts(task)} for task in happening.tasks] or [happening.facts]
    for number, of in enumerate(facts, happening.number):
        yield Event(number, time, happening.kind, of, f"{term}.{number}")


def _facts(task: verbs.TaskHappening) -> dict[str, Any]:
    facts: dict[str, Any] = {"id": task.id.hex(), "name": task.name, "queue": task.queue, "attempt": task.attempt}
    if task.reason is not None:
        facts["reason"] = task.reason
    if task.error is not None:
        facts["error"] = task.error
    return facts
