"""A frame of `otpq top`, from two looks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from otpq.cli.top import Look, facts, frame


def measured(p95: float | None) -> dict[str, Any]:
    percents = {"count": 0 if p95 is None else 7, "p50": 0.5, "p95": p95, "p99": 9.0}
    rates = {"submitted": 2.0, "succeeded": 1.5, "failed": 0.25, "retried": 0.0, "cancelled": 0.0, "expired": 0.0}
    return {
        what: dict.fromkeys(("1m", "15m", "24h"), of)
        for what, of in (("rates", rates), ("wait", percents), ("run", percents))
    }


def worker(number: int, task: str | None = None, seconds: float | None = None, **more: Any) -> dict[str, Any]:
    state = "idle" if task is None else "active"
    told = {"node": "a@h", "pool": "cpu", "worker": number, "state": state, "task": task, "seconds": seconds}
    return {**told, "done": 7, "age": 0.5, "error": "", **more}


BEFORE = Look(
    at=10.0,
    counters={"submitted": 100, "succeeded": 50, "failed": 5, "retried": 1},
    queues={
        "mail": {
            "queued": 4,
            "running": 2,
            "pending": 1,
            "retrying": 0,
            "slots_in_use": 2,
            "slots_available": 1,
            **measured(3.25),
        },
        "q": {"queued": 0, "running": 0, "pending": 0, "retrying": 9, "slots_in_use": None, "slots_available": None},
    },
    handlers={"scan": measured(7.5), "mail.send": measured(8.5), "idle": measured(None)},
    workers=[
        worker(0, "mail.send", 1.0),
        worker(1),
        worker(2, "scan", 70.0),
        worker(3, state="offline", error="no app"),
    ],
    nodes=[{"node": "a@h", "state": "up", "leads": True}, {"node": "b@h", "state": "down", "leads": False}],
    health={"ok": True, "problems": []},
)
NOW = replace(BEFORE, at=12.0, counters={"submitted": 300, "succeeded": 51, "failed": 5, "retried": 1})


def test_rates_are_what_was_counted_between_two_looks() -> None:
    rates = facts(BEFORE, NOW)["rates"]
    assert rates == {"submitted": 100.0, "succeeded": 0.5, "failed": 0.0, "retried": 0.0}
    assert frame(BEFORE, NOW, 200, 50)[0].startswith("otpq top   submitted 100.0/s   succeeded 0.5/s   failed 0.0/s")


def test_a_queue_server_that_counts_anew_makes_no_negative_rate() -> None:
    assert set(facts(NOW, replace(NOW, at=13.0, counters={}))["rates"].values()) == {0.0}
    assert set(facts(NOW, NOW)["rates"].values()) == {0.0}


def test_those_that_run_for_longest_come_first_by_what_has_passed_since_they_were_told_of() -> None:
    slowest = facts(BEFORE, NOW)["slowest"]
    assert [(of["task"], of["seconds"]) for of in slowest] == [("scan", 70.5), ("mail.send", 1.5)]


def test_the_slowest_handlers_come_first_and_those_without_runs_not_at_all() -> None:
    assert [of["handler"] for of in facts(BEFORE, NOW)["handlers"]] == ["mail.send", "scan"]
    assert facts(BEFORE, NOW)["handlers"][1]["run"]["p95"] == 7.5


def test_nodes_have_their_workers_by_state() -> None:
    up, down = facts(BEFORE, NOW)["nodes"]
    assert up["workers"] == {"active": 2, "idle": 1, "starting": 0, "offline": 1}
    assert set(down["workers"].values()) == {0}


def test_a_frame_shows_each_of_them() -> None:
    text = "\n".join(frame(BEFORE, NOW, 100, 50))
    for part in (
        "all is well",
        "mail   4",
        "2 of 3",
        "a@h   up",
        "b@h   down",
        "scan       70.5 s",
        "no app",
        "8.5 s",
        "3.25 s",
    ):
        assert part in text


def test_what_is_wrong_stands_on_top() -> None:
    ill = replace(NOW, health={"ok": False, "why": "the disk is full", "problems": ["worker cpu/3: no app"]})
    assert frame(BEFORE, ill, 100, 50)[1] == "the disk is full; worker cpu/3: no app"


@pytest.mark.parametrize("width", [1, 20, 40, 60, 80, 200])
@pytest.mark.parametrize("height", [0, 1, 5, 50])
def test_a_frame_fits_its_terminal(width: int, height: int) -> None:
    lines = frame(BEFORE, NOW, width, height)
    assert len(lines) <= height
    assert all(len(line) <= width for line in lines)


def test_a_frame_without_anything_is_no_error() -> None:
    empty = Look(at=0.0, counters={}, queues={}, handlers={}, workers=[], nodes=[], health={})
    assert frame(empty, empty, 80, 24)[1] == "all is well"
