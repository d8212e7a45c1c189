"""Who is to come and to go, as a value."""

from __future__ import annotations

from otpq.core.events import Failed, Succeeded
from otpq.worker.sizing import Sizing
from otpq.worker.staff import Staff, Tally

OLD, NEW = {"a": b"1", "b": b""}, {"a": b"2", "c": b""}


def staff_of(count: int, *, places: int = 8) -> Staff:
    staff = Staff(Sizing(count, count, 30.0), places)
    for slot in staff.wanted():
        ready(staff, slot)
    return staff


def ready(staff: Staff, slot: int, handlers: dict[str, bytes] | None = None) -> None:
    staff.seats[slot].child = 1000 + slot
    staff.seats[slot].handlers = OLD if handlers is None else handlers


def test_those_that_are_missing_take_the_lowest_free_seats() -> None:
    staff = staff_of(3)
    assert sorted(staff.seats) == [0, 1, 2]
    staff.gone(1)
    assert staff.wanted() == [1]
    assert staff.wanted() == []


def test_only_idle_ones_are_too_many_and_the_latest_first() -> None:
    staff = staff_of(4)
    staff.sizing.fix(1)
    assert staff.too_many({0, 3}) == [3, 0]
    assert staff.too_many({0}) == [0]
    assert staff.too_many(()) == []
    assert staff.too_many({0}, at_once=True) == [0, 3, 2]


def test_one_without_a_child_is_idle() -> None:
    staff = staff_of(2)
    staff.seats[0].child = None
    staff.sizing.fix(1)
    assert staff.too_many(()) == [0]


def test_a_reload_replaces_one_after_the_other() -> None:
    staff = staff_of(2)
    staff.reload()
    left = []
    while staff.is_reloading:
        slot = staff.next_replacement()
        assert slot is not None
        assert staff.next_replacement() is None, "one at a time"
        assert staff.wanted() == []
        assert staff.too_many({0, 1}) == [], "a replacement is not one too many"
        ready(staff, slot, NEW)
        old = staff.replaced(staff.seats[slot])
        assert old is not None
        staff.seats[old].is_leaving = True
        left.append(old)
    assert left == [0, 1]
    assert staff.reloaded == 2
    assert sorted(slot for slot, seat in staff.seats.items() if seat.is_staying) == [2, 3]


def test_a_reload_that_is_given_up_leaves_the_rest() -> None:
    staff = staff_of(2)
    staff.reload()
    slot = staff.next_replacement()
    assert slot == 2
    staff.give_up_reload()
    assert not staff.is_reloading
    assert staff.too_many({2}) == [2]


def test_one_that_is_gone_before_it_is_replaced_is_no_trouble() -> None:
    staff = staff_of(1)
    staff.reload()
    slot = staff.next_replacement()
    assert slot is not None
    staff.gone(0)
    assert staff.replaced(staff.seats[slot]) is None
    assert not staff.is_reloading


def test_what_is_told_is_what_every_child_has_as_the_latest_declares_it() -> None:
    staff = staff_of(2)
    assert staff.known_to_all() == OLD
    staff.reload()
    slot = staff.next_replacement()
    assert slot is not None
    ready(staff, slot, NEW)
    assert staff.known_to_all() == {"a": b"2"}
    staff.seats[0].is_leaving = staff.seats[1].is_leaving = True
    assert staff.known_to_all() == NEW
    staff.clear()
    assert staff.known_to_all() is None


def test_a_tally_tells_how_runs_ended_and_how_long_they_took() -> None:
    tally = Tally()
    assert tally.facts() == {"done": 0, "failed": 0, "retried": 0, "mean": 0.0, "max": 0.0}
    tally.count([Succeeded(1, None, 1.0, 2.0), Failed(2, "error", None, 1.0, 4.0)], 1)
    assert tally.facts() == {"done": 2, "failed": 1, "retried": 1, "mean": 2.0, "max": 3.0}
