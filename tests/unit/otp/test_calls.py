from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pykka
import pytest

from otpq.otp import (
    Call,
    Caller,
    CallFailed,
    CallTimeout,
    Cast,
    Crash,
    Failure,
    MailboxFull,
    NoProc,
    Normal,
    Pid,
    UsageError,
    attach,
    call,
    cast,
    reply,
    stop,
)
from otpq.otp.calls import ask, cause
from otpq.otp.process import Ended

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.otp.process import Process


@pytest.fixture
def process(make: Callable[..., Process]) -> Process:
    """Nobody reads its mailbox."""
    return make("till")


@pytest.mark.parametrize("timeout", [-1, math.nan, "5", None, True])
def test_call_and_stop_refuse_a_bad_timeout_before_anything_is_sent(process: Process, timeout: Any) -> None:
    for attempt in (lambda: call(process.pid, "x", timeout), lambda: stop(process.pid, timeout=timeout)):
        with pytest.raises(UsageError) as caught:
            attempt()
        assert f"timeout={timeout!r} is not allowed: seconds, 0 or more" in str(caught.value)
    assert process.mailbox_length() == 0


@pytest.mark.parametrize("reason", ["boom", 0, ValueError("x"), Normal])
def test_stop_wants_a_reason(process: Process, reason: Any) -> None:
    with pytest.raises(UsageError) as caught:
        stop(process.pid, reason, timeout=0)
    assert f"reason={reason!r} is not allowed" in str(caught.value)


def test_a_call_to_the_dead_or_to_nobody_fails_with_noproc(process: Process) -> None:
    process.die(Failure("boom"))
    with attach():
        servers: tuple[Pid | str, ...] = (process.pid, "nobody")
        for server in servers:
            for attempt in (lambda: call(server, "x"), lambda: stop(server)):  # noqa: B023 - it is called at once
                with pytest.raises(CallFailed) as caught:
                    attempt()
                assert caught.value.reason == NoProc()
                assert caught.value.server == server


def test_a_cast_to_the_dead_or_to_nobody_is_lost_without_a_word(process: Process) -> None:
    process.die(Failure("boom"))
    with attach():
        cast(process.pid, "x")
        cast("nobody", "x")


def test_a_call_puts_a_call_and_gives_up_after_its_timeout(process: Process) -> None:
    with pytest.raises(CallTimeout, match=r"call to <till#\d+> was not answered within 0 s"):
        call(process.pid, "price?", timeout=0)
    message = process.inbox.get()
    assert isinstance(message, Call)
    assert message.request == "price?"
    assert message.caller.pid is None


def test_the_late_reply_to_a_call_that_gave_up_is_dropped(process: Process) -> None:
    with attach() as me:
        with pytest.raises(CallTimeout):
            call(process.pid, "price?", timeout=0)
        message = process.inbox.get()
        assert message.caller.pid is me.pid
        assert repr(message.caller) == f"Caller({me.pid!r})"
        reply(message.caller, 7)
        with pytest.raises(pykka.Timeout):
            message.caller.future.get(timeout=0)
        with pytest.raises(TimeoutError):
            me.receive(0)


def test_a_caller_is_answered_once(process: Process) -> None:
    caller = Caller(process, None)
    process.add_caller(caller.future)
    reply(caller, "first")
    reply(caller, "second")
    assert caller.future.get(timeout=0) == "first"


def test_a_reply_after_the_servers_end_is_dropped(process: Process) -> None:
    caller = Caller(process, None)
    process.add_caller(caller.future)
    process.die(Failure("boom"))
    reply(caller, "late")
    assert isinstance(caller.future.get(timeout=0), Ended)


def test_an_answer_that_comes_at_the_last_moment_is_taken(process: Process) -> None:
    class LastMoment(pykka.ThreadingFuture[str]):
        """Set just when the wait for it has timed out."""

        def get(self, *, timeout: float | None = None) -> Any:
            if timeout is not None:
                assert process.drop_caller(self)
                self.set("just in time")
                raise pykka.Timeout
            return super().get()

    assert ask(process, "till", LastMoment(), lambda: None, timeout=1) == "just in time"


def test_a_cast_puts_a_cast(process: Process) -> None:
    cast(process.pid, "price!")
    assert process.inbox.get() == Cast("price!")


def test_a_full_mailbox_refuses_call_and_cast_and_keeps_no_caller(process: Process) -> None:
    process.mailbox_limit = 1
    cast(process.pid, "first")
    with pytest.raises(MailboxFull):
        cast(process.pid, "second")
    with pytest.raises(MailboxFull):
        call(process.pid, "second")
    assert process._callers == set()


def test_a_process_that_calls_or_stops_itself_is_told_so() -> None:
    with attach() as me:
        for attempt in (lambda: call(me.pid, "x"), lambda: stop(me.pid)):
            with pytest.raises(CallFailed) as caught:
                attempt()
            assert caught.value.reason == Failure("calling_self")


def test_the_cause_of_a_crash_is_its_error() -> None:
    error = ValueError("x")
    assert cause(Crash(error)) is error
    assert cause(Failure(error)) is None
