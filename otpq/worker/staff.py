"""A pool's workers, as a value: who sits where, who is to come and to go, what each has done.

A *seat* is a place on the blackboard with a worker in it. A worker that is *leaving* gets nothing new; it ends what it runs
and is then gone for good. Replacing the children of a pool (a *reload*, for new code) is a worker more for each, one after the
other: the old one leaves when the new one's child has loaded the app. If it cannot, the old ones stay.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from otpq.core.events import Succeeded

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from otpq.core.events import Result
    from otpq.otp import MonitorRef, Pid
    from otpq.worker.sizing import Sizing

__all__ = ["Seat", "Staff", "Tally"]


@dataclass(slots=True)
class Tally:
    """What a worker has done."""

    done: int = 0
    failed: int = 0
    retried: int = 0
    """Runs that were not their task's first."""
    seconds: float = 0.0
    longest: float = 0.0

    def count(self, results: Sequence[Result], retried: int) -> None:
        """Take in how some runs ended."""
        self.done += len(results)
        self.failed += sum(type(each) is not Succeeded for each in results)
        self.retried += retried
        times = [each.finished - each.started for each in results]
        self.seconds += sum(times)
        self.longest = max(self.longest, *times)

    def facts(self) -> dict[str, Any]:
        """Of how many runs, and how long they took."""
        mean = self.seconds / self.done if self.done else 0.0
        return {
            "done": self.done,
            "failed": self.failed,
            "retried": self.retried,
            "mean": round(mean, 6),
            "max": round(self.longest, 6),
        }


@dataclass(slots=True)
class Seat:
    """A place, and the worker in it."""

    slot: int
    pid: Pid | None = None
    """None before it has come up."""
    ref: MonitorRef | None = None
    child: int | None = None
    """Its pid, while it is ready."""
    handlers: dict[str, bytes] = field(default_factory=dict)
    """What its child has told last."""
    replaces: int | None = None
    """The seat whose worker is to leave as soon as this one's child is ready."""
    starts: int = 0
    error: str = ""
    is_failing: bool = False
    """Whether no child of it became ready at the last try."""
    is_leaving: bool = False
    is_over: bool = False
    """Whether it starts no other child."""
    tally: Tally = field(default_factory=Tally)

    @property
    def is_staying(self) -> bool:
        """Whether it counts as one of those that the pool is to have."""
        return not self.is_leaving and self.replaces is None


class Staff:
    """All seats of a pool. It decides; the pool carries out."""

    def __init__(self, sizing: Sizing, places: int) -> None:
        self.sizing = sizing
        self.places = places
        self.seats: dict[int, Seat] = {}
        self._to_replace: list[int] = []
        self._replaced = 0

    # --- how many ---------------------------------------------------------------------------------------------------

    def wanted(self) -> list[int]:
        """Takes seats for those that are missing; their slots. A worker is to be started for each."""
        missing = self.sizing.target - sum(seat.is_staying for seat in self.seats.values())
        return [seat.slot for _ in range(missing) if (seat := self._take_seat()) is not None]

    def too_many(self, idle: Collection[int], *, at_once: bool = False) -> list[int]:
        """The slots of those that are to leave. Only such as have nothing, unless `at_once`; the latest to come first."""
        staying = [seat for seat in self.seats.values() if seat.is_staying]
        count = len(staying) - self.sizing.target
        if count <= 0:
            return []
        ready = [seat.slot for seat in staying if seat.child is None or seat.slot in idle]
        others = [seat.slot for seat in staying if seat.slot not in ready] if at_once else []
        return [*sorted(ready, reverse=True), *sorted(others, reverse=True)][:count]

    def _take_seat(self, replaces: int | None = None) -> Seat | None:
        slot = next((slot for slot in range(self.places) if slot not in self.seats), None)
        if slot is None:
            return None
        seat = self.seats[slot] = Seat(slot, replaces=replaces)
        return seat

    # --- a reload ---------------------------------------------------------------------------------------------------

    @property
    def is_reloading(self) -> bool:
        """Whether children are being replaced."""
        return bool(self._to_replace)

    def reload(self) -> None:
        """Have all that are here now replaced. Said again meanwhile, it begins anew."""
        for seat in self.seats.values():
            seat.replaces = None
        self._to_replace = [seat.slot for seat in self.seats.values() if not seat.is_leaving]
        self._replaced = 0

    def next_replacement(self) -> int | None:
        """Takes a seat for the next worker of a reload, if it is time for one; its slot."""
        if not self._to_replace or any(seat.replaces is not None for seat in self.seats.values()):
            return None
        seat = self._take_seat(self._to_replace[0])
        return None if seat is None else seat.slot

    def replaced(self, seat: Seat) -> int | None:
        """The child of a worker that came to replace another is ready; the slot of the one that is to leave now."""
        old, seat.replaces = seat.replaces, None
        if old in self._to_replace:
            self._to_replace.remove(old)
            self._replaced += 1
        there = None if old is None else self.seats.get(old)
        return None if there is None or there.is_leaving else there.slot

    def give_up_reload(self) -> None:
        """Leave the rest as it is; who came to replace another is one too many now."""
        self._to_replace.clear()
        for seat in self.seats.values():
            seat.replaces = None

    @property
    def reloaded(self) -> int:
        """How many were replaced by the last reload."""
        return self._replaced

    # --- who is here ------------------------------------------------------------------------------------------------

    def of(self, ref: MonitorRef) -> list[Seat]:
        """The seat of the worker that is monitored by `ref`, if there is one."""
        return [seat for seat in self.seats.values() if seat.ref is ref]

    def gone(self, slot: int) -> Seat | None:
        """Frees a seat for good."""
        return self.seats.pop(slot, None)

    def clear(self) -> list[Seat]:
        """Frees all, since their supervisor is gone."""
        seats, self.seats = list(self.seats.values()), {}
        self._to_replace.clear()
        return seats

    def known_to_all(self) -> dict[str, bytes] | None:
        """The handlers that every child which takes tasks has, as the latest of them declare; None: no child has told.

        While children are replaced, some may not have what others have; what is handed to the pool, any of them may get.
        """
        ready = [seat for seat in self.seats.values() if seat.child is not None and not seat.is_leaving]
        if not ready:
            return None
        latest = max(ready, key=lambda seat: (seat.replaces is not None, seat.slot))
        common = set(latest.handlers).intersection(*(seat.handlers for seat in ready))
        return {name: packed for name, packed in latest.handlers.items() if name in common}

    def facts(self) -> Iterable[Seat]:
        """All, by slot."""
        return (seat for _, seat in sorted(self.seats.items()))
