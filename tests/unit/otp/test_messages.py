from __future__ import annotations

import dataclasses

import pytest

from otpq.otp import TIMEOUT, Continue, NoReply, Normal, Ok, Reply, Stop


def test_a_stop_knows_whether_it_carries_a_reply() -> None:
    assert not Stop(Normal()).has_reply
    assert Stop(Normal(), "value").has_reply


def test_none_is_a_reply_too() -> None:
    assert Stop(Normal(), None).has_reply


def test_answers_have_no_action_unless_given_one() -> None:
    assert (Ok().action, Reply().action, NoReply().action) == (None, None, None)
    assert Reply().value is None
    assert Reply(1, 0.5) == Reply(1, action=0.5)
    assert NoReply(Continue("x")).action == Continue("x")


def test_answers_are_values_that_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Reply(1).value = 2  # type: ignore[misc]
    assert Stop(Normal(), 1) == Stop(Normal(), 1)
    assert Stop(Normal(), 1) != Stop(Normal())


def test_timeout_is_one_value_of_its_own() -> None:
    assert TIMEOUT is type(TIMEOUT)("timeout")
    assert not isinstance(TIMEOUT, str)
