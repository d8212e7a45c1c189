from __future__ import annotations

import dataclasses

import pytest

from otpq.otp import (
    Crash,
    FailedToStartChild,
    Failure,
    Kill,
    Killed,
    NoConnection,
    NoProc,
    Normal,
    Reason,
    Shutdown,
    TimedOut,
    is_clean,
)

ABNORMAL = [Kill(), Killed(), NoProc(), NoConnection(), TimedOut(), Failure("boom"), Crash(ValueError("x"))]


@pytest.mark.parametrize("reason", [Normal(), Shutdown(), Shutdown("done"), Shutdown(Failure("even this"))])
def test_normal_and_every_shutdown_are_clean(reason: Reason) -> None:
    assert is_clean(reason)


@pytest.mark.parametrize("reason", ABNORMAL, ids=repr)
def test_every_other_reason_is_abnormal(reason: Reason) -> None:
    assert not is_clean(reason)


def test_reasons_are_compared_by_value_and_by_kind() -> None:
    reasons: list[Reason] = [Shutdown("a"), Shutdown("b"), Shutdown(), Failure("a"), Normal(), Killed()]
    again: list[Reason] = [Shutdown("a"), Shutdown("b"), Shutdown(), Failure("a"), Normal(), Killed()]
    assert reasons == again
    assert len({*reasons, *again}) == len(reasons)


def test_two_crashes_are_equal_only_if_they_hold_the_same_error() -> None:
    error = ValueError("x")
    assert Crash(error) == Crash(error)
    assert Crash(error) != Crash(ValueError("x"))


def test_a_reason_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Shutdown("a").detail = "b"  # type: ignore[misc]


def test_a_crash_words_its_error() -> None:
    assert str(Crash(ValueError("no such shop"))) == "ValueError: no such shop"


def test_failed_to_start_child_is_a_detail_and_no_reason() -> None:
    detail = FailedToStartChild("till", Failure("boom"))
    assert not isinstance(detail, Reason)
    assert is_clean(Shutdown(detail))
    assert detail == FailedToStartChild("till", Failure("boom"))


@pytest.mark.parametrize("reason", [Normal(), Shutdown(), *ABNORMAL], ids=repr)
def test_every_reason_is_a_reason_and_no_exception(reason: Reason) -> None:
    assert isinstance(reason, Reason)
    assert not isinstance(reason, BaseException)
