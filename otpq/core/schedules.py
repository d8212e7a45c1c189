"""Schedules: a **rule**, tasks that are made because it is their time; each slot of each schedule makes one, once.

A *slot* is a time at which a schedule is due. Its task is inserted in the commit that moves the schedule's row on to its next
slot, and the task's id follows from the schedule, its incarnation and the slot: so a slot fires at most once, however often
the queue server dies and whatever its clock does. All schedules are in memory, in a heap by their next slot; a step without a
slot that is due pays one comparison.
"""

from __future__ import annotations

import math
from hashlib import blake2b
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

from otpq.core import admission, cron
from otpq.core.cron import Timing
from otpq.core.effects import Reply, Scheduled
from otpq.core.events import NewTask
from otpq.core.pauses import Pausable, paused
from otpq.core.records import ScheduleRow
from otpq.errors import BadOption
from otpq.task import ENDED, Options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from otpq.core.events import AddSchedule, ChangeSchedule, Now, PauseSchedules
    from otpq.core.records import Needs, TaskRow
    from otpq.core.state import State

__all__ = [
    "MISFIRES",
    "OVERLAPS",
    "SETTING",
    "Definition",
    "Schedules",
    "add",
    "change",
    "check",
    "check_packed",
    "declare",
    "facts",
    "of_settings",
    "pause",
    "run_ids",
]

MISFIRES: Final = ("skip", "once", "all")
OVERLAPS: Final = ("allow", "skip", "queue")
FIRINGS: Final = 100
"""Tasks that schedules make in one step at most: ten thousand that are due at one minute must not hold up the others."""
MOST_CATCH_UP: Final = 1_000
SETTING: Final = "scheduler"
"""The name of the setting that keeps whether all schedules are paused."""
_JITTERED: Final = 8
"""Slots, the newest, that may be put off still though their time has come."""
_STALE: Final = 64
"""Places in the heap that may be of schedules which have been put elsewhere meanwhile."""
BY_FILE: Final = "file"
BY_HAND: Final = "set"
BY_APP: Final = "app:"
"""Where a schedule comes from; the app's reference follows."""
_TEXT_BYTES: Final = 255
_SHOWN: Final = 1_000
"""Bytes of packed arguments that a list shows."""

_encode: Final = msgspec.msgpack.Encoder().encode
_slots: Final = msgspec.msgpack.Decoder(list[float]).decode


class Definition(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a schedule is, as somebody wrote it."""

    timing: Timing
    task: NewTask
    """What each slot makes; its id is of no meaning."""
    enabled: bool = True
    """Until somebody says otherwise at run time."""
    misfire: str = "once"
    """What becomes of slots that were missed. `once`: one run makes up for them all. `skip`: nothing. `all`: each runs."""
    misfire_grace: float = 60.0
    """Seconds by which a slot may be late and is not missed: more than the restart of a node takes. Only `skip` heeds it."""
    max_catch_up: int = 100
    """How many missed slots `all` makes up for, and how many `queue` lets wait: the newest."""
    overlap: str = "allow"
    """When the task of an earlier slot has not ended. `skip`: this slot makes none. `queue`: it does when that one has."""
    jitter: float = 0.0
    """Seconds by which a slot is put off at most. How much follows from the schedule's name and the slot."""


class SchedulerSettings(Pausable, frozen=True, omit_defaults=True):
    """What operators set of all schedules together."""

    until: float | None = None
    """When the last pause ended: slots up to then were held back on purpose, and are not made up for."""


class Declared(msgspec.Struct, frozen=True):
    """What a handler's declaration may hold beside its options."""

    schedule: DeclaredSchedule | None = None


class DeclaredSchedule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The schedule of a handler, as its app tells it."""

    payload: bytes
    """MessagePack of [args, kwargs]."""
    cron: str | None = None
    every: float | None = None
    timezone: str = "UTC"
    misfire: str = "once"
    misfire_grace: float = 60.0
    max_catch_up: int = 100
    overlap: str = "allow"
    jitter: float = 0.0

    def definition(self, name: str) -> Definition:
        """That of the schedule which has the handler's name."""
        return Definition(
            timing=Timing(self.cron, self.every, self.timezone),
            task=NewTask(id=bytes(16), name=name, payload=self.payload),
            misfire=self.misfire,
            misfire_grace=self.misfire_grace,
            max_catch_up=self.max_catch_up,
            overlap=self.overlap,
            jitter=self.jitter,
        )


_definition: Final = msgspec.msgpack.Decoder(Definition).decode
_declared: Final = msgspec.msgpack.Decoder(Declared).decode


def check(name: str, definition: Definition) -> None:
    """Return if this can be a schedule.

    Raises:
        BadOption: It cannot; the message says what would be right.
    """
    if not isinstance(name, str) or not name or not name.isprintable() or len(name.encode()) > _TEXT_BYTES:
        raise BadOption("name", name, f"printable text of 1 to {_TEXT_BYTES} bytes")
    cron.check(definition.timing)
    for option, is_right, allowed in _RULES:
        value = getattr(definition, option)
        if not is_right(value):
            raise BadOption(option, value, allowed)
    _check_task(definition.task)


def check_packed(name: str, packed: bytes) -> Definition:
    """The definition that a store has kept of this schedule.

    Raises:
        BadOption: It cannot be one; see `check`.
        msgspec.MsgspecError: It cannot be read.
    """
    definition = _definition(packed)
    check(name, definition)
    return definition


def _check_task(task: NewTask) -> None:
    if task.eta is not None:
        raise BadOption("eta", task.eta, "a schedule says when; to put its tasks off, give delay=")
    if task.expires_at not in {None, math.inf}:
        raise BadOption("expires", task.expires_at, "seconds after the slot: a schedule's tasks are many")
    if task.key is not None:
        raise BadOption("idempotency_key", task.key, "none: only the first slot would make a task")
    if task.options:
        try:
            Options.unpack(task.options)
        except msgspec.MsgspecError as error:
            raise BadOption("options", task.options, str(error)) from None


def _is_seconds(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 86_400 * 366


_RULES: Final[tuple[tuple[str, Callable[[Any], bool], str], ...]] = (
    ("enabled", lambda value: isinstance(value, bool), "true or false"),
    ("misfire", lambda value: value in MISFIRES, "skip, once or all"),
    ("misfire_grace", _is_seconds, "seconds, 0 or more"),
    (
        "max_catch_up",
        lambda value: isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_CATCH_UP,
        f"1 to {MOST_CATCH_UP:,} slots",
    ),
    ("overlap", lambda value: value in OVERLAPS, "allow, skip or queue"),
    ("jitter", _is_seconds, "seconds, 0 or more"),
)


class Entry:
    """A schedule in memory."""

    __slots__ = ("adder", "at", "definition", "following", "row", "slots")

    def __init__(self, row: ScheduleRow, definition: Definition) -> None:
        self.row = row
        self.definition = definition
        self.at = math.inf
        """When its next slot fires: the slot, and its jitter."""
        self.slots: list[float] = []
        """Those whose turn has come, and that this step is to decide about."""
        self.following: float | None = None
        """The slot behind them."""
        self.adder: tuple[str, int] | None = None
        """Whose request added it, which may be sent again."""

    @property
    def is_enabled(self) -> bool:
        """As somebody has set it at run time, else as it is defined."""
        return self.definition.enabled if self.row.enabled is None else self.row.enabled

    def next_after(self, time: float) -> float | None:
        """Its first slot after `time`; None: there is none, or this machine knows none: it may lack the zone."""
        try:
            return cron.next_time(self.definition.timing, time, self.row.added)
        except (LookupError, ValueError):
            return None

    def fires_at(self, slot: float) -> float:
        """When a slot fires: put off by the same every time that it is asked."""
        jitter = self.definition.jitter
        if not jitter:
            return slot
        digest = blake2b(f"{self.row.name}:{slot!r}".encode(), digest_size=7).digest()
        return slot + jitter * int.from_bytes(digest, "big") / (1 << 56)


_Taken: TypeAlias = "tuple[Entry, Definition, float | None]"
"""A schedule, with its definition and its next slot when it was chosen."""


class Schedules:
    """All schedules, by name and by the next slot."""

    def __init__(self, rows: Iterable[ScheduleRow], *, is_enabled: bool) -> None:
        self.by_name: dict[str, Entry] = {}
        self.settings = SchedulerSettings()
        self.awaited: dict[int, str] = {}
        """By the seq of a task that has not ended: the schedule of which a slot waits for that."""
        self.unsure: set[str] = set()
        """Schedules with slots that wait, for nobody knows what: the task is to be looked up."""
        self.is_filed = False
        """Whether what the cluster's file says of schedules has been taken in."""
        self._is_enabled = is_enabled
        self._heap: list[tuple[float, str]] = []
        self._taken: list[_Taken] = []
        """Those that are out of the heap, to be decided about in this step."""
        self._looked_up: list[str] = []
        """Those of the unsure of which this step knows the task."""
        for found in rows:
            row = msgspec.structs.replace(found)  # it will change
            entry = self.by_name[row.name] = Entry(row, _definition(row.definition))
            if row.next is not None:
                entry.at = entry.fires_at(row.next)
                self._heap.append((entry.at, row.name))
            if row.waiting:
                self.unsure.add(row.name)
        heapify(self._heap)

    @property
    def is_idle(self) -> bool:
        """Whether none is to fire, whatever the time."""
        return not self._is_enabled or self.settings.paused

    @property
    def held(self) -> dict[str, Any]:
        """Whether all are held back, and by whom."""
        if not self._is_enabled:
            return {"paused": True, "by": "", "why": "scheduler: {enabled: false}", "since": None}
        return dict(paused(self.settings))

    def place(self, entry: Entry) -> None:
        """Have it fire at its row's next slot."""
        entry.at = math.inf if entry.row.next is None else entry.fires_at(entry.row.next)
        if entry.row.next is not None:
            heappush(self._heap, (entry.at, entry.row.name))
        if len(self._heap) > 2 * len(self.by_name) + _STALE:
            self._heap = [(each.at, name) for name, each in self.by_name.items() if each.at < math.inf]
            heapify(self._heap)

    def seconds_until(self, now: Now) -> float:
        """How long nothing is due."""
        if self.is_idle:
            return math.inf
        if self.unsure:
            return 0.0
        return self._heap[0][0] - now.wall if self._heap else math.inf

    def ask(self, now: Now, needs: Needs) -> None:
        """Choose whose turn has come, and add what must be seen of them."""
        if self._taken or self._looked_up:  # of a step that was never taken
            for chosen, _, _ in self._taken:
                self.place(chosen)
            self._taken, self._looked_up = [], []
        is_due = self.unsure or (self._heap and self._heap[0][0] <= now.wall)
        if is_due and not self.is_idle:
            self._take(now, needs)

    def _take(self, now: Now, needs: Needs) -> None:
        left = FIRINGS
        while self._heap and self._heap[0][0] <= now.wall and left > 0:
            at, name = heappop(self._heap)
            entry = self.by_name.get(name)
            if entry is None or entry.at != at:
                continue  # it was put elsewhere meanwhile
            entry.at = math.inf
            _choose(entry, now.wall, left)
            left -= len(entry.slots)
            self._taken.append((entry, entry.definition, entry.row.next))
            needs.ids.update(_id(entry.row, slot) for slot in entry.slots)
            if entry.definition.overlap != "allow" and entry.row.task is not None:
                needs.ids.add(entry.row.task)
        self._looked_up = sorted(self.unsure)[:FIRINGS]
        tasks = [self.by_name[name].row.task for name in self._looked_up]
        needs.ids.update(task for task in tasks if task is not None)

    def fire(self, state: State) -> None:
        """Make the tasks of the slots that are due, and of those that waited for a task which has ended."""
        if not self.is_filed:
            self.is_filed = True
            _file(state)
        if self.awaited:
            self._let_go(state)
        if self._taken or self._looked_up:
            self._fire_taken(state)

    def _fire_taken(self, state: State) -> None:
        taken, self._taken = self._taken, []
        looked_up, self._looked_up = self._looked_up, []
        for chosen, definition, first in taken:
            if self.by_name.get(chosen.row.name) is not chosen:
                continue
            # What an event of this step has changed is decided about in the next.
            if chosen.definition is definition and chosen.row.next == first and not self.is_idle:
                _decide(state, chosen)
            self.place(chosen)
        for name in looked_up if not self.is_idle else ():
            if name in self.unsure:
                self.unsure.discard(name)
                _serve(state, self.by_name[name])

    def _let_go(self, state: State) -> None:
        """Note whose wait is over: the task has ended, or has been forgotten."""
        ledger, awaited = state.ledger, self.awaited
        for seq in [*(row.seq for row in ledger.ended), *ledger.deletes]:
            name = awaited.pop(seq, None)
            if name is not None and name in self.by_name:
                _serve_ended(state, self.by_name[name])

    def forget(self, name: str) -> None:
        """Let a schedule go, and whatever waits for it."""
        entry = self.by_name.pop(name)
        entry.at = math.inf
        self.wait_no_more(name)

    def wait_no_more(self, name: str) -> None:
        """Nothing of it waits."""
        self.unsure.discard(name)
        for seq in [seq for seq, other in self.awaited.items() if other == name]:
            del self.awaited[seq]


# ---------------------------------------------------------------------- what is due


def _choose(entry: Entry, wall: float, most: int) -> None:
    """Note which slots are due, oldest first: of many the newest that its policy can be about, but no more than `most`."""
    first = entry.row.next
    assert first is not None  # noqa: S101 - it was in the heap
    entry.slots, entry.following = [first], entry.next_after(first)
    if entry.following is None or entry.following > wall:
        return
    definition = entry.definition
    count = definition.max_catch_up if definition.misfire == "all" else 1
    found = cron.last_times(definition.timing, first, wall, count + _JITTERED, entry.row.added)
    due = [slot for slot in found if entry.fires_at(slot) <= wall][-count:]
    if due:
        entry.slots = due[:most]
        entry.following = entry.next_after(entry.slots[-1])


def _decide(state: State, entry: Entry) -> None:
    """Fire what its policies say of the slots that are due, and move on behind them."""
    row, definition, wall = entry.row, entry.definition, state.now.wall
    slots, first, newest = entry.slots, row.next, entry.slots[-1]
    row.next = entry.following
    state.ledger.schedules[row.name] = row
    until = state.schedules.settings.until
    chosen = [slot for slot in slots if until is None or slot > until]
    if not chosen:
        return
    if definition.misfire == "skip" and wall - entry.fires_at(newest) > definition.misfire_grace:
        _note(state, "schedule_missed", row, slot=newest, why="late")
        return
    if first is not None and first < slots[0]:
        _note(state, "schedule_missed", row, slot=first, why="superseded", by=slots[0])
    if definition.overlap == "allow":
        for slot in chosen:
            _fire(state, row, definition, slot)
    else:
        _queue(state, entry, chosen)


def _queue(state: State, entry: Entry, slots: list[float]) -> None:
    """Fire a slot if the task of the one before has ended; else skip it, or have it wait."""
    row, definition = entry.row, entry.definition
    waiting = [*_waiting(row), *slots]
    if definition.overlap == "skip":
        if not _is_busy(state, row):
            _fire(state, row, definition, waiting.pop(0))
        for slot in waiting:
            _note(state, "schedule_missed", row, slot=slot, why="overlap")
        return
    for slot in waiting[: -definition.max_catch_up]:
        _note(state, "schedule_missed", row, slot=slot, why="overlap")
    _keep_waiting(state, row, waiting[-definition.max_catch_up :])
    _serve(state, entry)


def _serve(state: State, entry: Entry) -> None:
    """Fire the first slot that waits, unless the task of the one before has not ended: then await its end."""
    row = entry.row
    while _waiting(row):
        before = None if row.task is None else state.task(row.task)
        if before is not None and before.state not in ENDED:
            state.schedules.awaited[before.seq] = row.name
            return
        _fire_waiting(state, entry)


def _serve_ended(state: State, entry: Entry) -> None:
    """The same, where it is known that this task has ended."""
    if entry.is_enabled and _waiting(entry.row):
        if state.schedules.is_idle:
            state.schedules.unsure.add(entry.row.name)
            return
        _fire_waiting(state, entry)
        _serve(state, entry)


def _fire_waiting(state: State, entry: Entry) -> None:
    slot, *rest = _waiting(entry.row)
    _keep_waiting(state, entry.row, rest)
    _fire(state, entry.row, entry.definition, slot)


def _waiting(row: ScheduleRow) -> list[float]:
    return _slots(row.waiting) if row.waiting else []


def _keep_waiting(state: State, row: ScheduleRow, slots: list[float]) -> None:
    row.waiting = _encode(slots) if slots else b""
    state.ledger.schedules[row.name] = row


def _is_busy(state: State, row: ScheduleRow) -> bool:
    """Whether the task of its latest slot has not ended."""
    task = None if row.task is None else state.task(row.task)
    return task is not None and task.state not in ENDED


# ---------------------------------------------------------------------- firing


def _fire(state: State, row: ScheduleRow, definition: Definition, slot: float) -> None:
    """Make the task of a slot, unless it was made before."""
    id = _id(row, slot)
    task = state.task(id)
    if task is None:
        task = _make(state, row, definition.task, slot, id)
    if task is not None:
        row.task, row.last, row.runs = id, slot, row.runs + 1
        state.ledger.schedules[row.name] = row
        _note(state, "schedule_fired", row, slot=slot, id=id.hex(), name=task.name)


def _make(state: State, row: ScheduleRow, template: NewTask, slot: float, id: bytes) -> TaskRow | None:
    new = msgspec.structs.replace(template, id=id, options=_with_slot(template.options, slot), strict=False)
    try:
        return admission.admit(state, new)
    except admission.NotAdmitted as wrong:
        _note(state, "schedule_missed", row, slot=slot, why=wrong.code, message=str(wrong))
        return None


def _with_slot(options: bytes, slot: float) -> bytes:
    """The options of a task with its slot among them: those that read options leave it, the child finds it there."""
    said = msgspec.msgpack.decode(options) if options else {}
    return _encode({**said, "slot": slot})


def _id(row: ScheduleRow, slot: float) -> bytes:
    """The id of a slot's task: always the same. It begins with the time, as all do (`client/ids.py`)."""
    return _hashed(slot, f"{row.name}:{row.added!r}:{slot!r}".encode())


def run_ids(state: State, event: ChangeSchedule) -> list[bytes]:
    """The id of the task that an event makes, if any: it may have made it already."""
    entry = state.schedules.by_name.get(event.name)
    return [_run_id(entry.row, event)] if event.what == "run" and entry is not None else []


def _run_id(row: ScheduleRow, event: ChangeSchedule) -> bytes:
    """The id of the task of a run beside the slots."""
    words = f"{row.name}:{row.added!r}:{event.client}:{event.request}"
    return _hashed(row.added, words.encode("utf-8", "surrogatepass"))


def _hashed(time: float, words: bytes) -> bytes:
    milliseconds = max(0, int(time * 1_000)) & 0xFFFFFFFFFFFF
    return milliseconds.to_bytes(6, "big") + blake2b(words, digest_size=10, person=b"schedule").digest()


def _note(state: State, kind: str, row: ScheduleRow, **facts: str | float) -> None:
    state.ledger.acks.append(Scheduled(kind, {"schedule": row.name, **facts}))


# ---------------------------------------------------------------------- at run time


def add(state: State, event: AddSchedule) -> None:
    """Add a schedule; one that is there stays, unless it is to be replaced."""
    there = state.schedules.by_name.get(event.name)
    definition = _definition(event.definition)
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
            id = _run_id(entry.row, event)
            made = state.task(id) or _make(state, entry.row, entry.definition.task, state.now.wall, id)
            answer = id.hex() if made is not None else "not_made"
        case what:
            _enable(state, entry, is_enabled=what == "enable")
    _reply(state, event, answer)


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


def of_settings(packed: bytes) -> SchedulerSettings:
    """What the store has kept of `SETTING`."""
    return msgspec.msgpack.decode(packed, type=SchedulerSettings)


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
    declared = {name: found for name, packed in told.items() if (found := _declared_of(packed)) is not None}
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


def _declared_of(packed: bytes) -> DeclaredSchedule | None:
    return _declared(packed).schedule if packed else None


def _file(state: State) -> None:
    """Take in what the cluster's file says, which is read at each start; what it said before and says no more goes."""
    filed = state.config.schedules
    for name, entry in list(state.schedules.by_name.items()):
        if entry.row.source == BY_FILE and name not in filed:
            _remove(state, name)
    for name, packed in filed.items():
        _put(state, name, _definition(packed), BY_FILE)


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
        "waiting": len(_waiting(row)),
        "payload": payload if len(payload) <= _SHOWN else None,
    }
