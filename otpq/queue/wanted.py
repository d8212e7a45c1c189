"""Wanted: which events somebody asks for, judged where they are kept, so that the rest does not travel. Pure."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Final

from otpq.core.patterns import is_named
from otpq.errors import did_you_mean
from otpq.queue.queries import BadQuery
from otpq.wire.verbs import EVENT_KINDS, Happening

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otpq.wire.verbs import EventsOf, TaskHappening

__all__ = ["GAP", "Wanted"]

GAP: Final = "gap"
"""The kind of event that tells that others are missing; everybody is told."""


class Wanted:
    """Those events for which all holds that was asked for.

    Raises:
        BadQuery: There is no such kind.
    """

    def __init__(self, asked: EventsOf) -> None:
        for kind in asked.kinds or ():
            if kind not in EVENT_KINDS:
                near = did_you_mean(kind, EVENT_KINDS) or f"; kinds are {', '.join(EVENT_KINDS)}"
                raise BadQuery("invalid", f"{kind!r} is no kind of event{near}", "kinds")
        self._kinds = None if asked.kinds is None else frozenset(asked.kinds)
        self._asked = asked
        self._ids = None if asked.ids is None else frozenset(asked.ids)
        self._is_any = asked.name is None and asked.queue is None and asked.ids is None and asked.node is None

    def parts_of(self, happening: Happening) -> Iterator[Happening]:
        """What is wanted of it, in parts, each of events that follow each other."""
        if happening.kind != GAP and self._kinds is not None and happening.kind not in self._kinds:
            return
        if self._is_any or happening.kind == GAP:
            yield happening
        elif not happening.tasks:
            if self._is_wanted(happening):
                yield happening
        else:
            yield from self._runs_of(happening)

    def _runs_of(self, happening: Happening) -> Iterator[Happening]:
        numbered = enumerate(happening.tasks, happening.number)
        for is_wanted, several in groupby(numbered, lambda each: self._is_task_wanted(each[1])):
            if is_wanted:
                found = list(several)
                tasks = [task for _, task in found]
                yield Happening(found[0][0], happening.time, happening.kind, happening.facts, tasks)

    def _is_task_wanted(self, task: TaskHappening) -> bool:
        asked = self._asked
        return (
            (asked.name is None or is_named(task.name, asked.name))
            and asked.queue in (None, task.queue)
            and asked.node in (None, task.node)
            and (self._ids is None or task.id in self._ids)
        )

    def _is_wanted(self, happening: Happening) -> bool:
        """Of what happened to no task in particular, or to one that its facts name."""
        asked, facts = self._asked, happening.facts
        return (
            (asked.name is None or is_named(facts.get("handler") or facts.get("name") or "", asked.name))
            and (asked.queue is None or facts.get("queue") == asked.queue)
            and (asked.node is None or facts.get("node") == asked.node)
            and (self._ids is None or facts.get("id") in {id.hex() for id in self._ids})
        )
