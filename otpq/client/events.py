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
    """By the leader's clock; of a run that was told of only when it had ended, its begin by its node's. Aware, UTC."""
    kind: str
    """Of tasks `submitted`, `started`, `progress`, `succeeded`, `failed`, `retried` (a run failed, and will be followed by
    another), `cancelled`, `expired`; of the cluster `worker_offline`, `node_up`, `node_suspected`, `node_down`, `paused`, `resumed`,
    `scaled`, `reloaded`, `schedule_fired`, `schedule_missed`, `schedule_refused`, `store_trouble`, `store_well`; `gap`. There may be
    more."""
    facts: Mapping[str, Any]
    """Of a task `id`, `name`, `queue`, `attempt` (which run, from 1; 0: none yet), and if there are any `node`, `reason` and
    `error`, a line; of `progress` also `fraction` and `message`. Of `worker_offline` `node`, `pool`, `worker` and `why`: `node_down`,
    or `no_child`. Of a `gap` `why` events are missing: `unwatched` (nobody had asked, `since` when), `overrun` (so many are
    `missed`), `restarted` (the queue server)."""
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
    number, noted = happening.number, datetime.fromtimestamp(happening.time, UTC)
    if not happening.tasks:
        yield Event(number, noted, happening.kind, happening.facts, f"{term}.{number}")
    for nth, task in enumerate(happening.tasks, number):
        time = noted if task.time is None else datetime.fromtimestamp(task.time, UTC)
        yield Event(nth, time, happening.kind, {**happening.facts, **_facts(task)}, f"{term}.{nth}")


def _facts(task: verbs.TaskHappening) -> dict[str, Any]:
    facts: dict[str, Any] = {"id": task.id.hex(), "name": task.name, "queue": task.queue, "attempt": task.attempt}
    if task.node is not None:
        facts["node"] = task.node
    if task.reason is not None:
        facts["reason"] = task.reason
    if task.error is not None:
        facts["error"] = task.error
    if task.progress is not None:
        facts["fraction"], facts["message"] = task.progress
    return facts
