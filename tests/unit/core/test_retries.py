"""How long a task waits after a run that went wrong."""

from __future__ import annotations

import pytest

from otpq.core.retries import wait_before_next
from otpq.task import Options

EXACT = Options(jitter=0.0, retries=4, retry_delay=2.0, backoff=3.0, max_delay=20.0)


def waits(options: Options, reason: str) -> list[float | None]:
    """After the first run, the second, and so on."""
    return [wait_before_next(options, 1, attempt, reason=reason) for attempt in range(1, options.retries + 2)]


@pytest.mark.parametrize("reason", ["error", "timeout", "memory"])
def test_what_a_task_did_itself_has_the_waits_of_the_policy(reason: str) -> None:
    assert waits(EXACT, reason) == [2.0, 6.0, 18.0, 20.0, None]


def test_the_first_run_that_crashed_is_followed_at_once_and_the_others_one_wait_sooner() -> None:
    assert waits(EXACT, "crashed") == [0.0, 2.0, 6.0, 18.0, None]


def test_a_crash_after_an_error_waits_as_the_error_did() -> None:
    assert wait_before_next(EXACT, 1, 1, reason="error") == wait_before_next(EXACT, 1, 2, reason="crashed") == 2.0


def test_a_crash_is_no_reason_to_run_more_often_than_allowed() -> None:
    assert wait_before_next(Options(retries=0), 1, 1, reason="crashed") is None
    assert wait_before_next(Options(at_most_once=True), 1, 1, reason="crashed") is None


def test_a_delay_that_the_handler_asked_for_is_kept() -> None:
    assert wait_before_next(EXACT, 1, 1, reason="error", delay=7.0, is_asked=True) == 7.0
