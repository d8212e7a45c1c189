"""Schedules: a **rule**, what operators, apps and the cluster's file say of them. What becomes of their slots: `slots.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from otpq.core.effects import Reply, Scheduled
from otpq.core.records import ScheduleRow
from otpq.core.schedule import BY_APP, BY_FILE, BY_HAND, SETTING, SchedulerSettings, check, declared_of, unpack
from otpq.core.slots import Entry, make, run_id, waiting
from otpq.errors import BadOption

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otpq.core.events import AddSchedule, ChangeSchedule, PauseSchedules
    from otpq.core.schedule import Definition
    from otpq.core.state import State

__all__ = ["add", "change", "declare", "facts", "fire", "pause", "run_ids"]

_SHOWN: Final = 1_000
"""Bytes of packed arguments that a list shows."""

_encode: Final = msgspec.msgpack.Encoder().encode


def fire(state: State) -> None:
    """Make the tasks that are due; before that, in the first step, take in what the cluster's file says."""
    schedules = state.schedules
    if not schedules.is_filed:
        schedules.is_filed = True
        _file(state)
    schedules.fire(state)


def add(state: State, event: AddSchedule) -> None:
    """Add a schedule; one that is there stays, unless it is to be replaced."""
    there = state.schedules.by_name.get(event.name)
    definition = unpack(event.definition)
    if there is None or event.replace:
        _put(state, event.name, definition, BY_HAND)
        state.schedules.by_name[event.name].adder = (event.client, event.request)
    elif there.adder != (event.client, event.request):
        _reply(state, event, "exists")
        return
    handlers = state.handlers
    name = definition.task.name
    is_odd = handlers.known and handlers.is_all_told and name not in handlers.known
    _reply(state, event, handlers.unknown(name) if is_odd else "done")


def change(state: State, event: ChangeSchedule) -> None:
    """Remove a schedule, enable or disable it, or run it now."""
    entry = state.schedules.by_name.get(event.name)
    if entry is None:
        _reply(state, event, "not_found")
        return
    answer = "done"
    match event.what:
        case "remove":
            answer = _may_be_removed(state, entry) or "done"
            if answer == "done":
                _remove(state, event.name)
        case "run":
            id = run_id(entry.row, event)
            made = state.task(id) or make(state, entry.row, entry.definition.task, state.now.wall, id)
            answer = id.hex() if made is not None else "not_made"
        case what:
            _enable(state, entry, is_enabled=what == "enable")
    _reply(state, event, answer)


def run_ids(state: State, event: ChangeSchedule) -> list[bytes]:
    """The id of the task that an event makes, if any: it may have made it already."""
    entry = state.schedules.by_name.get(event.name)
    return [run_id(entry.row, event)] if event.what == "run" and entry is not None else []


def _may_be_removed(state: State, entry: Entry) -> str | None:
    """What is against it: it would come back. None: nothing."""
    row = entry.row
    if row.source == BY_FILE:
        return "filed"
    is_told = any(entry.definition.task.name in (each.handlers or ()) for each in state.sessions.values())
    return "declared" if row.source.startswith(BY_APP) and is_told else None


def pause(state: State, event: PauseSchedules) -> None:
    """Hold back all schedules, or let them go on: with the slots that come, not with those that passed meanwhile."""
    schedules = state.schedules
    before, wall = schedules.settings, state.now.wall
    if event.paused:
        since = before.since if before.paused else wall
        settings = SchedulerSettings(paused=True, by=event.by, why=event.why, since=since, until=before.until)
    else:
        settings = SchedulerSettings(until=wall if before.paused else before.until)
    schedules.settings = settings
    state.ledger.settings[SETTING] = None if settings == SchedulerSettings() else _encode(settings)
    _reply(state, event, "done")


def _reply(state: State, event: AddSchedule | ChangeSchedule | PauseSchedules, answer: str) -> None:
    state.ledger.acks.append(Reply(client=event.client, request=event.request, id=None, answer=answer))


def _enable(state: State, entry: Entry, *, is_enabled: bool) -> None:
    """What is disabled has no next slot; enabled again, it goes on with the first that comes."""
    row = entry.row
    was_enabled = entry.is_enabled
    row.enabled = is_enabled
    state.ledger.schedules[row.name] = row
    if was_enabled == is_enabled:
        return
    row.waiting = b""
    state.schedules.wait_no_more(row.name)
    row.next = _next(entry, state.now.wall) if is_enabled else None
    state.schedules.place(entry)


def _next(entry: Entry, wall: float) -> float | None:
    """Its first slot from now on, and behind the last one that has fired: the clock may have been set back."""
    return entry.next_after(wall if entry.row.last is None else max(wall, entry.row.last))


def _remove(state: State, name: str) -> None:
    state.schedules.forget(name)
    state.ledger.schedules[name] = None


def _put(state: State, name: str, definition: Definition, source: str) -> None:
    """Add a schedule, or lay a new definition under what is known of it.

    With another timing it begins anew, with a new incarnation; what was set at run time, and what it has done, stays.
    """
    schedules, wall = state.schedules, state.now.wall
    packed = _encode(definition)
    there = schedules.by_name.get(name)
    if there is not None and (there.row.definition, there.row.source) == (packed, source):
        return
    if there is None:
        entry = Entry(ScheduleRow(name, wall, source, packed), definition)
        schedules.by_name[name] = entry
    else:
        entry = there
        if entry.definition.timing != definition.timing:
            entry.row.added, entry.row.next = wall, None
        entry.definition, entry.row.definition, entry.row.source = definition, packed, source
    row = entry.row
    if not entry.is_enabled:
        row.next = None
    elif row.next is None:
        row.next = _next(entry, wall)
    if definition.overlap != "queue":
        row.waiting = b""
        schedules.wait_no_more(name)
    state.ledger.schedules[name] = row
    schedules.place(entry)


# ---------------------------------------------------------------------- declared, and in the file


def declare(state: State, told: Mapping[str, bytes], app: str) -> None:
    """Take in the schedules that a pool's app declares of its handlers, and let those go that it has no more."""
    source = f"{BY_APP}{app}"
    declared = {name: found for name, packed in told.items() if (found := declared_of(packed)) is not None}
    for name, schedule in declared.items():
        there = state.schedules.by_name.get(name)
        if there is not None and not there.row.source.startswith(BY_APP):
            continue  # the file's, or somebody's, of the same name: it counts more
        definition = schedule.definition(name)
        try:
            check(name, definition)
        except BadOption as error:  # a zone that this machine does not have
            state.ledger.acks.append(Scheduled("schedule_refused", {"schedule": name, "why": str(error)}))
        else:
            _put(state, name, definition, source)
    gone = [
        name
        for name, entry in state.schedules.by_name.items()
        if entry.row.source.startswith(BY_APP) and name not in declared and (entry.row.source == source or name in told)
    ]
    for name in gone:
        _remove(state, name)


def _file(state: State) -> None:
    """Take in what the cluster's file says, which is read at each start; what it said before and says no more goes."""
    filed = state.config.schedules
    for name, entry in list(state.schedules.by_name.items()):
        if entry.row.source == BY_FILE and name not in filed:
            _remove(state, name)
    for name, packed in filed.items():
        _put(state, name, unpack(packed), BY_FILE)


def facts(state: State) -> list[dict[str, Any]]:
    """What is known of each schedule, by name.

    Keys: `schedule`, `task`, `cron`, `every`, `timezone`, `enabled`, `misfire`, `misfire_grace`, `max_catch_up`, `overlap`,
    `jitter`, `source` ('set', 'file' or 'app:' and its reference), `added`, `last_run` and `next_run` (slots, seconds since the
    epoch; no next one where it is disabled or all are paused), `last_task`, `runs`, `waiting` (slots), `payload` (None where it
    is large), and `paused` (all of them).
    """
    is_idle = state.schedules.is_idle
    held = state.schedules.held
    return [_facts(entry, is_idle=is_idle) | held for _, entry in sorted(state.schedules.by_name.items())]


def _facts(entry: Entry, *, is_idle: bool) -> dict[str, Any]:
    row, definition = entry.row, entry.definition
    payload = definition.task.payload
    return {
        "schedule": row.name,
        "task": definition.task.name,
        "cron": definition.timing.cron,
        "every": definition.timing.every,
        "timezone": definition.timing.timezone,
        "enabled": entry.is_enabled,
        "misfire": definition.misfire,
        "misfire_grace": definition.misfire_grace,
        "max_catch_up": definition.max_catch_up,
        "overlap": definition.overlap,
        "jitter": definition.jitter,
        "source": row.source,
        "added": row.added,
        "last_run": row.last,
        "next_run": None if is_idle else row.next,
        "last_task": None if row.task is None else row.task.hex(),
        "runs": row.runs,
        "waiting": len(waiting(row)),
        "payload": payload if len(payload) <= _SHOWN else None,
    }
