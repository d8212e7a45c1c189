"""Slots: a **rule**, tasks that are made because it is their time; each slot of each schedule makes one, once.

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
from otpq.core.effects import Scheduled
from otpq.core.pauses import paused
from otpq.core.schedule import SchedulerSettings, unpack
from otpq.task import ENDED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from otpq.core.events import ChangeSchedule, NewTask, Now
    from otpq.core.records import Needs, ScheduleRow, TaskRow
    from otpq.core.schedule import Definition
    from otpq.core.state import State

__all__ = ["FIRINGS", "Entry", "Schedules", "make", "run_id", "waiting"]

FIRINGS: Final = 100
"""Tasks that schedules make in one step at most: ten thousand that are due at one minute must not hold up the others."""
_JITTERED: Final = 8
"""Slots, the newest, that may be put off still though their time has come."""
_STALE: Final = 64
"""Places in the heap that may be of schedules which have been put elsewhere meanwhile."""

_encode: Final = msgspec.msgpack.Encoder().encode
_slots: Final = msgspec.msgpack.Decoder(list[float]).decode


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
            entry = self.by_name[row.name] = Entry(row, unpack(row.definition))
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
    queued = [*waiting(row), *slots]
    if definition.overlap == "skip":
        if not _is_busy(state, row):
            _fire(state, row, definition, queued.pop(0))
        for slot in queued:
            _note(state, "schedule_missed", row, slot=slot, why="overlap")
        return
    for slot in queued[: -definition.max_catch_up]:
        _note(state, "schedule_missed", row, slot=slot, why="overlap")
    _keep_waiting(state, row, queued[-definition.max_catch_up :])
    _serve(state, entry)


def _serve(state: State, entry: Entry) -> None:
    """Fire the first slot that waits, unless the task of the one before has not ended: then await its end."""
    row = entry.row
    while waiting(row):
        before = None if row.task is None else state.task(row.task)
        if before is not None and before.state not in ENDED:
            state.schedules.awaited[before.seq] = row.name
            return
        _fire_waiting(state, entry)


def _serve_ended(state: State, entry: Entry) -> None:
    """The same, where it is known that this task has ended."""
    if entry.is_enabled and waiting(entry.row):
        if state.schedules.is_idle:
            state.schedules.unsure.add(entry.row.name)
            return
        _fire_waiting(state, entry)
        _serve(state, entry)


def _fire_waiting(state: State, entry: Entry) -> None:
    slot, *rest = waiting(entry.row)
    _keep_waiting(state, entry.row, rest)
    _fire(state, entry.row, entry.definition, slot)


def waiting(row: ScheduleRow) -> list[float]:
    """The slots that wait until the task of the one before has ended, in their order."""
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
        task = make(state, row, definition.task, slot, id)
    if task is not None:
        row.task, row.last, row.runs = id, slot, row.runs + 1
        state.ledger.schedules[row.name] = row
        _note(state, "schedule_fired", row, slot=slot, id=id.hex(), name=task.name)


def make(state: State, row: ScheduleRow, template: NewTask, slot: float, id: bytes) -> TaskRow | None:
    """Make the task of a slot under this id; None: it was not admitted, and that is noted."""
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


def run_id(row: ScheduleRow, event: ChangeSchedule) -> bytes:
    """The id of the task of a run beside the slots."""
    words = f"{row.name}:{row.added!r}:{event.client}:{event.request}"
    return _hashed(row.added, words.encode("utf-8", "surrogatepass"))


def _hashed(time: float, words: bytes) -> bytes:
    milliseconds = max(0, int(time * 1_000)) & 0xFFFFFFFFFFFF
    return milliseconds.to_bytes(6, "big") + blake2b(words, digest_size=10, person=b"schedule").digest()


def _note(state: State, kind: str, row: ScheduleRow, **facts: str | float) -> None:
    state.ledger.acks.append(Scheduled(kind, {"schedule": row.name, **facts}))
