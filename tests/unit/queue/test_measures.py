"""Rates, waits and run times over time: held against what a list of everything would say."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otpq.core.effects import Outcome, Runs
from otpq.core.records import TaskRow
from otpq.queue.measures import MOST_HANDLERS, OTHER, RELATIVE_ERROR, WINDOWS, Cells, Measures

durations = st.one_of(st.floats(2**-20, 2**25), st.floats(0.001, 10.0), st.sampled_from([1.0, 1.0625, 2.0, 0.3]))


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def row(name: str = "mail", queue: str = "q", state: str = "queued") -> TaskRow:
    return TaskRow(
        seq=1,
        id=bytes(16),
        name=name,
        queue=queue,
        partition="",
        priority=5,
        state=state,
        due=0.0,
        expires=None,
        created=0.0,
        updated=0.0,
        options=b"",
        payload=b"",
    )


def ran(*seconds: float, wait: float = 1.0, name: str = "mail", queue: str = "q") -> Outcome:
    rows = [row(name, queue, "succeeded") for _ in seconds]
    return Outcome(rows, [], [Runs(queue, name, list(seconds), [wait] * len(seconds), len(seconds))])


def exact(seconds: list[float], percent: int) -> float:
    return sorted(seconds)[math.ceil(len(seconds) * percent / 100) - 1]


@given(st.lists(durations, min_size=1, max_size=300))
def test_a_percentile_is_near_the_exact_one(seconds: list[float]) -> None:
    cells = Cells()
    for begin in range(0, len(seconds), 7):
        cells.put(seconds[begin : begin + 7])
    told = cells.percentiles()
    assert told.pop("count") == len(seconds)
    for percent in (50, 95, 99):
        right = exact(seconds, percent)
        assert abs(told[f"p{percent}"] - right) <= right * (RELATIVE_ERROR + 0.0006)  # what is told has four digits


def test_of_nothing_there_are_no_percentiles_and_what_is_no_duration_counts_as_none() -> None:
    assert Cells().percentiles() == {"count": 0, "p50": None, "p95": None, "p99": None}
    cells = Cells()
    cells.put([-5.0, 0.0, -0.0, 1e-9, float("nan"), float("inf")])
    told = cells.percentiles()
    assert (told["count"], told["p50"]) == (6, 0.0)
    assert told["p99"] < 2**26


class Everything:
    """The model: all that was told, with its time."""

    def __init__(self, born: float) -> None:
        self.born = born
        self.told: list[tuple[float, str, float]] = []

    def window(self, name: str, now: float) -> dict[str, Any]:
        width, most = WINDOWS[name]
        since = max(self.born, now // width * width - most * width)
        mine = [
            (kind, seconds) for at, kind, seconds in self.told if at // 10 * 10 >= now // width * width - most * width
        ]
        runs = [seconds for kind, seconds in mine if kind == "run"]
        rate = sum(kind == "submitted" for kind, _ in mine) / max(1.0, now - since)
        return {"runs": runs, "rate": rate}


steps = st.lists(
    st.one_of(
        st.tuples(st.just("submitted"), st.integers(1, 9)),
        st.tuples(st.just("run"), durations),
        st.tuples(st.just("pass"), st.one_of(st.floats(0.0, 30.0), st.floats(30.0, 4000.0), st.just(90_000.0))),
        st.tuples(st.just("read"), st.none()),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(steps)
def test_each_window_tells_of_what_came_in_it(course: list[tuple[str, Any]]) -> None:
    clock = Clock()
    measures, model = Measures(clock), Everything(clock.now)
    for step, value in [*course, ("read", None)]:
        match step:
            case "pass":
                clock.now += value
            case "submitted":
                measures.submitted([row()] * value)
                model.told += [(clock.now, step, 0.0)] * value
            case "run":
                measures.ended(ran(value))
                model.told.append((clock.now, step, value))
            case _:
                check(measures.queues().get("q"), model, clock.now)
                check(measures.handlers().get("mail"), model, clock.now)


def check(told: dict[str, Any] | None, model: Everything, now: float) -> None:
    if told is None:
        assert not model.told
        return
    for name in WINDOWS:
        right = model.window(name, now)
        assert told["run"][name]["count"] == told["wait"][name]["count"] == len(right["runs"])
        assert told["rates"][name]["submitted"] == pytest.approx(right["rate"], rel=0.001)
        if right["runs"]:
            p95 = exact(right["runs"], 95)
            assert told["run"][name]["p95"] == pytest.approx(p95, rel=RELATIVE_ERROR + 0.0006)


def test_queues_and_handlers_are_told_apart_and_every_kind_is_counted() -> None:
    clock = Clock()
    measures = Measures(clock)
    measures.submitted([row("a", "x"), row("b", "x"), row("a", "y")])
    measures.ended(ran(2.0, 2.0, wait=0.5, name="a", queue="x"))
    ended = [row("a", "x", state) for state in ("failed", "failed", "expired", "cancelled", "cancelled", "cancelled")]
    measures.ended(Outcome(ended, [row("b", "x", "retrying")] * 4))
    clock.now += 10.0
    queues, handlers = measures.queues(), measures.handlers()
    assert {name: of["rates"]["1m"]["submitted"] for name, of in queues.items()} == {"x": 0.2, "y": 0.1}
    assert {name: of["rates"]["1m"]["submitted"] for name, of in handlers.items()} == {"a": 0.2, "b": 0.1}
    rates = {"submitted": 0.2, "succeeded": 0.2, "failed": 0.2, "retried": 0.4, "cancelled": 0.3, "expired": 0.1}
    assert queues["x"]["rates"]["15m"] == rates
    assert (handlers["a"]["wait"]["24h"]["count"], handlers["b"]["wait"]["24h"]["count"]) == (2, 0)
    assert handlers["a"]["wait"]["1m"]["p50"] == pytest.approx(0.5, rel=RELATIVE_ERROR)


def test_names_beyond_the_bound_are_summed_up_until_others_are_a_day_old() -> None:
    clock = Clock()
    measures = Measures(clock)
    for n in range(MOST_HANDLERS + 5):
        measures.submitted([row(f"f{n}")])
    handlers = measures.handlers()
    assert len(handlers) == MOST_HANDLERS + 1
    assert handlers[OTHER]["rates"]["1m"]["submitted"] == 5.0
    clock.now += 100_000.0
    measures.submitted([row("new")])
    assert set(measures.handlers()) == {"new"}
