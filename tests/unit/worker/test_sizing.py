"""How many workers a pool is to have, second by second."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from otpq.worker.sizing import GROW_AFTER, Sizing


def test_it_grows_by_half_while_all_are_full() -> None:
    sizing = Sizing(1, 10, idle=30.0)
    targets = [sizing.look(float(second), idle=0, is_full=True) for second in range(12)]
    assert targets == [1, 2, 2, 3, 3, 4, 4, 6, 6, 9, 9, 10]


def test_a_burst_that_is_over_at_the_next_look_starts_nobody() -> None:
    sizing = Sizing(1, 4, idle=30.0)
    assert sizing.look(0.0, idle=0, is_full=True) == 1
    assert sizing.look(GROW_AFTER / 2, idle=0, is_full=True) == 1
    assert sizing.look(1.0, idle=1, is_full=False) == 1
    assert sizing.look(2.0, idle=0, is_full=True) == 1


def test_it_shrinks_by_those_that_were_idle_all_the_while() -> None:
    sizing = Sizing(1, 8, idle=10.0)
    sizing.target = 8
    for second in range(10):
        assert sizing.look(float(second), idle=3 if second == 5 else 5, is_full=False) == 8
    assert sizing.look(10.0, idle=6, is_full=False) == 5
    assert sizing.look(19.0, idle=4, is_full=False) == 5
    assert sizing.look(29.0, idle=4, is_full=False) == 1


def test_a_moment_without_idle_workers_begins_the_while_anew() -> None:
    sizing = Sizing(1, 4, idle=10.0)
    sizing.target = 4
    sizing.look(0.0, idle=1, is_full=False)
    sizing.look(9.0, idle=0, is_full=False)
    assert sizing.look(11.0, idle=1, is_full=False) == 4
    assert sizing.look(21.0, idle=1, is_full=False) == 3


def test_an_order_fixes_the_number() -> None:
    sizing = Sizing(1, 4, idle=1.0)
    sizing.fix(3)
    assert [sizing.look(float(at), idle=3, is_full=False) for at in range(5)] == [3] * 5
    assert [sizing.look(float(at), idle=0, is_full=True) for at in range(5, 9)] == [3] * 4


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(0, 9), st.booleans())), st.integers(0, 3), st.integers(0, 5))
def test_it_stays_within_its_bounds(looks: list[tuple[float, int, bool]], least: int, more: int) -> None:
    sizing, now = Sizing(least, least + more, idle=5.0), 0.0
    for step, idle, is_full in looks:
        now += step
        assert least <= sizing.look(now, idle=idle, is_full=is_full) <= least + more
