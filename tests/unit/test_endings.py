"""What a handler may raise on purpose."""

import pickle
from datetime import timedelta

import pytest

import otpq


def test_delays_are_seconds_or_a_timedelta() -> None:
    assert otpq.Retry().delay is None
    assert otpq.Retry(delay=2).delay == 2.0
    assert otpq.Retry("closed", delay=timedelta(minutes=1)).delay == 60.0
    assert otpq.Snooze(0.5).delay == 0.5
    assert otpq.Snooze(timedelta(hours=1)).delay == 3600.0


def test_messages_are_those_of_exceptions() -> None:
    assert str(otpq.Retry("closed")) == "closed"
    assert str(otpq.Discard("no such order")) == "no such order"
    assert str(otpq.Cancel()) == ""
    assert str(otpq.Snooze(30)) == "for 30"


@pytest.mark.parametrize("delay", [-1, float("nan"), float("inf"), 1e11, timedelta(seconds=-1)])
def test_a_delay_that_cannot_be_is_told_at_once(delay: float | timedelta) -> None:
    for make in (lambda: otpq.Retry(delay=delay), lambda: otpq.Snooze(delay)):
        with pytest.raises(ValueError, match=r"delay=.* is not allowed: seconds, 0 or more \(up to 100 years\)"):
            make()


def test_they_are_no_errors_of_otpqs() -> None:
    for kind in (otpq.Retry, otpq.Snooze, otpq.Cancel, otpq.Discard):
        assert issubclass(kind, Exception)
        assert not issubclass(kind, otpq.OtpqError)
    assert isinstance(pickle.loads(pickle.dumps(otpq.Discard("no"))), otpq.Discard)  # noqa: S301 - our own
