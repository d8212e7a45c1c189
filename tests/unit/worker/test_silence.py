"""When a child has been still for too long."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from otpq.worker.blame import Cause, Verdict
from otpq.worker.silence import Silence

if TYPE_CHECKING:
    import pytest

SECOND = 10**9


class Watched:
    """A child of limit 5 that is looked at each second."""

    def __init__(self, state: str = "S") -> None:
        self.state = state
        self.silence = Silence(77, 5.0, lambda _: self.state)
        self.now_ns = 10 * SECOND

    def look(self, turn: int, pulse: int | None = None, *, is_running: bool, seconds: int = 1) -> Verdict | None:
        verdict = None
        for _ in range(seconds):
            verdict = verdict or self.silence.judge(turn, pulse, self.now_ns, is_running=is_running)
            self.now_ns += SECOND
        return verdict


def test_what_runs_may_take_as_long_as_it_likes() -> None:
    assert Watched().look(1, is_running=True, seconds=1000) is None


def test_one_that_begins_nothing_is_ended_after_twice_the_limit() -> None:
    child = Watched()
    assert child.look(2, is_running=False, seconds=10) is None
    verdict = child.look(2, is_running=False)
    assert verdict == Verdict(Cause.STUCK, None, "the child (pid 77) began no task for 10 s")


def test_one_that_begins_now_and_then_is_not() -> None:
    child = Watched()
    for turn in range(2, 100, 2):
        assert child.look(turn, is_running=False, seconds=9) is None


def test_one_that_is_stopped_is_ended_whatever_it_runs() -> None:
    child = Watched("T")
    assert child.look(1, is_running=True, seconds=5) is None
    verdict = child.look(1, is_running=True)
    assert verdict == Verdict(Cause.STUCK, None, "the child (pid 77) was stopped (state T) for 5 s")


def test_time_without_work_does_not_count() -> None:
    child = Watched()
    child.look(2, is_running=False, seconds=9)
    child.silence.forget()
    assert child.look(2, is_running=False, seconds=10) is None


def test_time_in_which_nobody_looked_does_not_count() -> None:
    child = Watched()
    child.look(2, is_running=False, seconds=9)
    child.now_ns += 3600 * SECOND
    assert child.look(2, is_running=False, seconds=10) is None
    assert child.look(2, is_running=False) is not None


def test_an_event_loop_that_stands_still_is_warned_of_and_then_ended(caplog: pytest.LogCaptureFixture) -> None:
    child = Watched()
    assert child.look(1, 40, is_running=True, seconds=5) is None
    assert not caplog.records
    with caplog.at_level(logging.WARNING, "otpq.worker"):
        assert child.look(1, 40, is_running=True, seconds=5) is None
    assert [record.getMessage() for record in caplog.records] == [
        "the event loop of the child (pid 77) is blocked, for 5 s now"
    ]
    verdict = child.look(1, 40, is_running=True)
    assert verdict is not None
    assert (verdict.cause, verdict.seq) == (Cause.STUCK, None)
    assert "its event loop is blocked" in verdict.detail


def test_an_event_loop_that_goes_on_or_has_nothing_to_do_is_left_alone() -> None:
    child = Watched()
    for pulse in range(0, 40, 2):
        assert child.look(1, pulse, is_running=True, seconds=9) is None
    for turn in range(2, 40, 2):
        assert child.look(turn, 40, is_running=False, seconds=9) is None
    assert child.look(1, 40, is_running=True, seconds=9) is None
