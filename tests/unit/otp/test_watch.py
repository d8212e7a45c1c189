"""The marks of the watch, looked at by hand with a clock of the test's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from otpq.otp import Normal
from otpq.otp.watch import EVERY, keep_looking, look

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.otp.process import Process


@pytest.fixture
def process(make: Callable[..., Process]) -> Process:
    process = make("till")
    process.mailbox_mark = 3
    process.callback_mark = 5.0
    return process


@pytest.fixture(autouse=True)
def warnings_only(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("WARNING", logger="otpq.otp")


def fill(process: Process, messages: int) -> None:
    for number in range(messages):
        process.put(number)


def drain(process: Process) -> None:
    while process.mailbox_length():
        process.actor_inbox.get()


def test_a_healthy_process_is_not_mentioned(process: Process, caplog: pytest.LogCaptureFixture) -> None:
    fill(process, 3)
    process.callback, process.callback_since = "handle_call", 100.0
    look([process], 105.0)
    assert caplog.messages == []


def test_a_mailbox_past_its_mark_is_logged_with_the_name(process: Process, caplog: pytest.LogCaptureFixture) -> None:
    fill(process, 4)
    look([process], 0.0)
    assert caplog.messages == [f"{process.pid} has 4 messages in its mailbox (mark: 3)"]


def test_it_is_logged_once_until_the_mailbox_is_short_again(process: Process, caplog: pytest.LogCaptureFixture) -> None:
    fill(process, 4)
    look([process], 0.0)
    fill(process, 4)
    look([process], 1.0)
    assert len(caplog.messages) == 1
    drain(process)
    look([process], 2.0)
    fill(process, 4)
    look([process], 3.0)
    look([process], 4.0)
    assert len(caplog.messages) == 2


def test_drained_but_unhandled_messages_count(process: Process, caplog: pytest.LogCaptureFixture) -> None:
    fill(process, 2)
    process.pending.extend(["a", "b"])
    look([process], 0.0)
    assert len(caplog.messages) == 1


def test_a_callback_past_its_mark_is_logged_with_its_name(process: Process, caplog: pytest.LogCaptureFixture) -> None:
    process.callback, process.callback_since = "handle_cast", 100.0
    look([process], 105.5)
    assert caplog.messages == [f"{process.pid} has been in handle_cast for 5.5 s (mark: 5.0 s)"]


def test_a_long_callback_is_logged_once_and_the_next_one_again(
    process: Process, caplog: pytest.LogCaptureFixture
) -> None:
    process.callback, process.callback_since = "handle_cast", 100.0
    look([process], 106.0)
    look([process], 107.0)
    assert len(caplog.messages) == 1
    process.callback = None
    look([process], 108.0)
    process.callback, process.callback_since = "handle_cast", 109.0
    look([process], 110.0)
    assert len(caplog.messages) == 1
    look([process], 120.0)
    assert len(caplog.messages) == 2


def test_it_looks_again_as_long_as_there_are_processes(
    process: Process, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    later: list[Callable[[], None]] = []

    def call_later(seconds: float, function: Callable[[], None]) -> None:
        assert seconds == EVERY
        later.append(function)

    monkeypatch.setattr("otpq.otp.watch.call_later", call_later)
    living = [process]
    keep_looking(lambda: living)
    fill(process, 4)
    later.pop()()
    assert len(caplog.messages) == 1
    later.pop()()
    living.clear()
    later.pop()()
    assert later == []


def test_the_first_process_of_a_registry_starts_its_watch_and_the_last_ends_it(
    make: Callable[..., Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    later: list[Callable[[], None]] = []
    monkeypatch.setattr("otpq.otp.watch.call_later", lambda _seconds, function: later.append(function))
    first, second = make(), make()
    assert len(later) == 1
    first.die(Normal())
    later.pop()()
    assert len(later) == 1
    second.die(Normal())
    later.pop()()
    assert later == []
    make()
    assert len(later) == 1
