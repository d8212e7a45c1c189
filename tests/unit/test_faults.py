"""Fault points: what can be asked for, and what happens when."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from otpq import faults
from otpq.errors import UsageError
from otpq.faults import InjectedFault, arm, hit

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    arm("")


def test_a_point_fails_once_at_the_time_that_was_asked_for() -> None:
    arm("commit.before:2:error,send.after:1:error")
    hit("commit.before")
    hit("commit.after")
    with pytest.raises(InjectedFault, match=r"commit\.before"):
        hit("commit.before")
    hit("commit.before")
    with pytest.raises(InjectedFault, match=r"send\.after"):
        hit("send.after")


def test_a_point_can_take_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("otpq.faults.time.sleep", slept.append)
    arm("dispatch.before:1:delay")
    hit("dispatch.before")
    hit("dispatch.before")
    assert slept == [faults.DELAY]


@pytest.mark.parametrize(
    "text", ["commit:1:kill", "commit.before:1:burn", "commit.before:x:kill", "commit.before:kill"]
)
def test_what_cannot_be_armed_is_refused_with_what_can(text: str) -> None:
    with pytest.raises(
        UsageError, match=r"is not allowed: point:nth:what, with a point of answers\.before, .* kill, error"
    ):
        arm(f"send.before:1:delay,{text}")
