"""Measures: how many tasks a second, how long they waited and ran, per queue and per handler, over time. A value.

Fed batch by batch with what was committed, which waits here until it is worth counting. A duration is counted in the *cell* of its size: a sixteenth of a power of two, so a
percentile is within 1/32 (3.2 %) of the exact one, whatever the durations are. Cells are added up in *slots* of time: of ten
seconds for the last minute, of a minute for the last quarter of an hour, of an hour for the last day. A window is its slots and
the one that is being filled, and so up to a slot longer than its name says; rates are per second of what it covers.

What is kept is bounded: `MOST_QUEUES` and `MOST_HANDLERS` names, the others summed up as `OTHER`; of each name 45 closed slots, packed.
A name that works all day takes 60 kB if its durations spread over one power of ten, 100 kB over six: some 40 MB with as many names
as there may be. To tell of a name takes a third of a millisecond.
"""

from __future__ import annotations

import math
import struct
import sys
import zlib
from array import array
from bisect import bisect_left
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from itertools import accumulate
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, Self

from otpq.core.state import CANCELLED, EXPIRED, FAILED, SUCCEEDED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from otpq.core.effects import Outcome
    from otpq.core.records import TaskRow

__all__ = [
    "MOST_HANDLERS",
    "MOST_QUEUES",
    "NOTHING",
    "OTHER",
    "RELATIVE_ERROR",
    "WINDOWS",
    "Cells",
    "Measures",
    "Series",
]

RELATIVE_ERROR: Final = 1 / 32
"""Of a percentile, at most; of durations between a microsecond and a year."""
WINDOWS: Final = {"1m": (10.0, 6), "15m": (60.0, 15), "24h": (3600.0, 24)}
"""By name, the seconds of a slot and how many closed ones are kept."""
COUNTED: Final = ("submitted", SUCCEEDED, FAILED, "retried", CANCELLED, EXPIRED)
MOST_QUEUES: Final = 100
MOST_HANDLERS: Final = 300
OTHER: Final = "(other)"
"""The name of all that is beyond the bound."""
_SUCCEEDED: Final = COUNTED.index(SUCCEEDED)
_KEY: Final = attrgetter("queue", "name")
_PERCENTS: Final = (50, 95, 99)
_SLOT: Final = 10.0
_DAY: Final = 90_000.0
"""Seconds after which nothing is left of a name that is not heard of."""
_LOOK_EVERY: Final = 60.0
_MANY: Final = 4_096
"""Runs, or names, that wait to be counted."""
_HIGH: Final = 3 if sys.byteorder == "little" else 0
"""Of the four 16-bit words of a float, the one with its exponent and the first four bits of its fraction."""


def _cell(seconds: float) -> int:
    return int(struct.unpack(">H", struct.pack(">d", seconds)[:2])[0])


_LEAST: Final = _cell(2**-20)
_MOST: Final = _cell(2.0**25)
_LANES: Final = _MOST - _LEAST + 2
"""One for each cell, and the first for no time at all."""
_SIGN: Final = 0x8000
"""From here on are the durations below 0: two clocks disagree, and it was no time at all."""


# ------------------------------------------------------------------- durations


class Cells:
    """How many durations are in each cell: one large number of 64-bit lanes, so that to add up is one addition."""

    __slots__ = ("value",)

    def __init__(self, value: int = 0) -> None:
        self.value = value

    def put(self, seconds: Sequence[float]) -> None:
        """Count durations, a tenth of a microsecond each."""
        if not seconds:
            return
        # A cell is the upper 16 bits of the float: nothing is worked out for any single one.
        cells = Counter(memoryview(array("d", seconds)).cast("B").cast("H")[_HIGH::4].tolist())
        lanes = array("Q", bytes(8 * _LANES))
        for cell, count in cells.items():
            lanes[0 if cell < _LEAST or cell >= _SIGN else min(cell, _MOST) - _LEAST + 1] += count
        self.value += int.from_bytes(lanes.tobytes(), sys.byteorder)

    def packed(self) -> bytes:
        """The same in little room: most cells are empty."""
        return zlib.compress(self._bytes(), 1)

    @classmethod
    def unpacked(cls, packed: bytes) -> Self:
        """What `packed` gave."""
        return cls(int.from_bytes(zlib.decompress(packed), sys.byteorder))

    def percentiles(self) -> dict[str, Any]:
        """`count`, and `p50`, `p95` and `p99`: seconds that so many percent did not exceed; None where there are none."""
        sums = list(accumulate(array("Q", self._bytes()))) if self.value else [0]
        count = sums[-1]
        found: dict[str, Any] = {"count": count}
        for percent in _PERCENTS:
            rank = math.ceil(count * percent / 100)
            found[f"p{percent}"] = _middle(bisect_left(sums, rank)) if count else None
        return found

    def _bytes(self) -> bytes:
        return self.value.to_bytes(8 * _LANES, sys.byteorder)


def _middle(lane: int) -> float:
    if not lane:
        return 0.0
    cell = lane + _LEAST - 1
    low, high = (struct.unpack(">d", struct.pack(">Hxxxxxx", each))[0] for each in (cell, cell + 1))
    return _shown((low + high) / 2)


def _shown(number: float) -> float:
    return float(f"{number:.4g}")


# ------------------------------------------------------------------------- time


@dataclass(slots=True)
class _Slot:
    begin: float
    counts: list[int] = field(default_factory=lambda: [0] * len(COUNTED))
    wait: Cells = field(default_factory=Cells)
    run: Cells = field(default_factory=Cells)

    def add(self, other: _Slot) -> None:
        self.counts = [mine + more for mine, more in zip(self.counts, other.counts, strict=True)]
        self.wait.value += other.wait.value
        self.run.value += other.run.value

    def take(self, other: _Closed) -> None:
        """Take away what was added before."""
        self.counts = [mine - less for mine, less in zip(self.counts, other.counts, strict=True)]
        self.wait.value -= other.wait.value
        self.run.value -= other.run.value


class _Closed:
    """A slot that gets no more."""

    __slots__ = ("_run", "_wait", "begin", "counts")

    def __init__(self, slot: _Slot) -> None:
        self.begin = slot.begin
        self.counts = tuple(slot.counts)
        self._wait, self._run = slot.wait.packed(), slot.run.packed()

    @property
    def wait(self) -> Cells:
        """As it was."""
        return Cells.unpacked(self._wait)

    @property
    def run(self) -> Cells:
        """As it was."""
        return Cells.unpacked(self._run)


class _Ring:
    """The slots of one window."""

    __slots__ = ("_closed", "_filling", "_most", "_summed", "_width")

    def __init__(self, width: float, most: int) -> None:
        self._width, self._most = width, most
        self._closed: deque[_Closed] = deque()
        self._summed = _Slot(0.0)
        """The closed ones together: to add them up takes a millisecond, and dashboards ask often."""
        self._filling: _Slot | None = None

    def add(self, slot: _Slot) -> None:
        begin = slot.begin // self._width * self._width
        filling = self._filling
        if filling is None or filling.begin != begin:
            if filling is not None:
                self._closed.append(_Closed(filling))
                self._summed.add(filling)
            self._drop(begin)
            filling = self._filling = _Slot(begin)
        filling.add(slot)

    def since(self, now: float) -> float:
        """When what is told of at `now` begins."""
        return now // self._width * self._width - self._most * self._width

    def _drop(self, now: float) -> None:
        since = self.since(now)
        while self._closed and self._closed[0].begin < since:
            self._summed.take(self._closed.popleft())

    def sum(self, now: float, open_: _Slot) -> _Slot:
        """All of the window, with a slot that is in no ring yet."""
        self._drop(now)
        since, found = self.since(now), _Slot(0.0)
        found.add(self._summed)
        for slot in filter(None, (self._filling, open_)):
            if slot.begin >= since:
                found.add(slot)
        return found


class Series:
    """What is measured under one name."""

    __slots__ = ("_open", "_rings")

    def __init__(self, begin: float) -> None:
        """`begin`: of the slot that is being filled; see `begin_of`."""
        self._open = _Slot(begin)
        self._rings = {name: _Ring(*ring) for name, ring in WINDOWS.items()}

    @property
    def heard(self) -> float:
        """When the slot began in which something was last put in."""
        return self._open.begin

    def add(self, slot: _Slot) -> None:
        """Count what came in a slot; slots come in their order."""
        if slot.begin != self._open.begin:
            for ring in self._rings.values():
                ring.add(self._open)
            self._open = _Slot(slot.begin)
        self._open.add(slot)

    def told(self, now: float, born: float) -> dict[str, dict[str, dict[str, Any]]]:
        """`rates` (a second; nothing was counted before `born`), `wait` and `run` (seconds), each by window."""
        found: dict[str, dict[str, dict[str, Any]]] = {"rates": {}, "wait": {}, "run": {}}
        for name, ring in self._rings.items():
            total = ring.sum(now, self._open)
            # No rate is told of less than a second: one task in the first millisecond is not a thousand a second.
            seconds = max(1.0, now - max(born, ring.since(now)))
            found["rates"][name] = {kind: _shown(n / seconds) for kind, n in zip(COUNTED, total.counts, strict=True)}
            found["wait"][name], found["run"][name] = total.wait.percentiles(), total.run.percentiles()
        return found


class _Family:
    """Series by name, not more than so many."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._series: dict[str, Series] = {}
        self._look_at = float("-inf")

    def add(self, name: str, slot: _Slot) -> None:
        series = self._series.get(name)
        if series is None:
            series = self._new(name, slot.begin)
        series.add(slot)

    def _new(self, name: str, begin: float) -> Series:
        if len(self._series) >= self._most and begin >= self._look_at:
            self._look_at = begin + _LOOK_EVERY
            self._series = {name: of for name, of in self._series.items() if begin - of.heard < _DAY}
        if len(self._series) >= self._most:
            name = OTHER
        return self._series.setdefault(name, Series(begin))

    def told(self, now: float, born: float) -> dict[str, dict[str, Any]]:
        return {name: series.told(now, born) for name, series in self._series.items()}


# --------------------------------------------------------------- what it is fed


@dataclass(slots=True)
class _New:
    """What came of one handler's tasks in one queue, and is yet to be counted."""

    counts: list[int] = field(default_factory=lambda: [0] * len(COUNTED))
    waits: list[float] = field(default_factory=list)
    runs: list[float] = field(default_factory=list)

    def slot(self, begin: float) -> _Slot:
        slot = _Slot(begin, self.counts)
        slot.wait.put(self.waits)
        slot.run.put(self.runs)
        return slot


class Measures:
    """See the module."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` gives seconds, and never goes back."""
        self._clock = clock
        self._born = clock()
        self._begin = self._born // _SLOT * _SLOT
        self._queues = _Family(MOST_QUEUES)
        self._handlers = _Family(MOST_HANDLERS)
        self._new: defaultdict[tuple[str, str], _New] = defaultdict(_New)
        self._uncounted = 0

    def submitted(self, rows: Sequence[TaskRow]) -> None:
        """These tasks are new."""
        if rows:
            self._look()
            self._count(rows, "submitted")

    def ended(self, outcome: Outcome) -> None:
        """These tasks have ended, or a run of them has."""
        self._look()
        for runs in outcome.runs:
            new = self._new[runs.queue, runs.name]
            new.waits += runs.waits
            new.runs += runs.seconds
            new.counts[_SUCCEEDED] += runs.succeeded
            self._uncounted += len(runs.seconds)
        by_state: dict[str, list[TaskRow]] = {}
        are_all_counted = len(outcome.tasks) == sum(runs.succeeded for runs in outcome.runs)
        for row in () if are_all_counted else outcome.tasks:
            if row.state != SUCCEEDED:  # those are counted
                by_state.setdefault(row.state, []).append(row)
        for state, rows in by_state.items():
            self._count(rows, state)
        if outcome.retried:
            self._count(outcome.retried, "retried")

    def _count(self, rows: Sequence[TaskRow], kind: str) -> None:
        place = COUNTED.index(kind)
        if len({row.name for row in rows}) == len({row.queue for row in rows}) == 1:  # as most batches are
            self._new[rows[0].queue, rows[0].name].counts[place] += len(rows)
        else:
            for key, count in Counter(map(_KEY, rows)).items():
                self._new[key].counts[place] += count

    def _look(self) -> None:
        """Count what waits if a new slot has begun, or it is much."""
        begin = self._clock() // _SLOT * _SLOT
        if begin != self._begin or self._uncounted >= _MANY or len(self._new) >= _MANY:
            self._take_in()
            self._begin = begin

    def _take_in(self) -> None:
        for (queue, name), new in self._new.items():
            slot = new.slot(self._begin)
            self._queues.add(queue, slot)
            self._handlers.add(name, slot)
        self._new.clear()
        self._uncounted = 0

    def queues(self) -> dict[str, dict[str, Any]]:
        """What is known of each queue: `rates`, `wait` and `run`, each for the windows 1m, 15m and 24h.

        Rates are of what is submitted, succeeded, failed, retried, cancelled and expired, a second; `wait` is from when a task was
        due until its run began, and `run` how long that took, in percentiles.

        Of runs that a child has told of, those that were followed by another included. A wait is the difference of two nodes'
        clocks where another node leads than runs.
        """
        self._look()
        self._take_in()
        return self._queues.told(self._clock(), self._born)

    def handlers(self) -> dict[str, dict[str, Any]]:
        """The same by handler."""
        self._look()
        self._take_in()
        return self._handlers.told(self._clock(), self._born)


NOTHING: Final = Series(0.0).told(0.0, 0.0)
"""What is told of a name of which nothing was measured."""
