from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from otpq import otp
from otpq.otp import (
    Call,
    Cast,
    Crash,
    Exit,
    Failure,
    Kill,
    Killed,
    NoProc,
    ProcessExit,
    Registry,
    Shutdown,
    UsageError,
    attach,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.otp.process import Process


def test_the_thread_is_a_process_within_the_block_and_plain_after_it() -> None:
    with attach("prompt") as me:
        assert otp.self_pid() is me.pid
        assert me.pid.label == "prompt"
        assert me.registry.processes() == [me.pid]
    assert otp.info(me.pid).exit_reason == Shutdown()
    with pytest.raises(UsageError):
        otp.self_pid()


def test_a_thread_is_one_process_at_a_time() -> None:
    with attach() as me, pytest.raises(UsageError) as caught, attach():
        pass
    assert str(caught.value) == f"this thread is the process {me.pid!r} already"


def test_it_gets_what_is_sent_in_order() -> None:
    with attach() as me:
        otp.send(me.pid, "hello")
        otp.cast(me.pid, "there")
        assert me.receive(0) == "hello"
        assert me.receive(0) == Cast("there")


def test_it_gets_a_call_and_may_answer_it(make: Callable[..., Process]) -> None:
    with attach() as me:
        caller = otp.Caller(me.pid.process, make().pid)
        me.pid.process.add_caller(caller.future)
        otp.send(me.pid, Call("price?", caller))
        message = me.receive(0)
        assert message.request == "price?"
        otp.reply(message.caller, 7)
        assert caller.future.get(timeout=0) == 7


def test_an_empty_mailbox_times_out() -> None:
    with attach() as me, pytest.raises(TimeoutError, match="no message within 0 s"):
        me.receive(0)


@pytest.mark.parametrize("timeout", [-1, math.nan, "5", None, True])
def test_receive_refuses_a_bad_timeout(timeout: Any) -> None:
    with attach() as me, pytest.raises(UsageError) as caught:
        me.receive(timeout)
    assert f"timeout={timeout!r} is not allowed: seconds, 0 or more" in str(caught.value)


def test_receive_may_wait_for_ever() -> None:
    with attach() as me:
        otp.send(me.pid, "hello")
        assert me.receive(math.inf) == "hello"


def test_the_down_of_a_monitor_that_was_taken_back_is_not_received(make: Callable[..., Process]) -> None:
    with attach() as me:
        first, second = make(), make()
        taken_back, kept = otp.monitor(first.pid), otp.monitor(second.pid)
        first.die(Failure("boom"))
        second.die(Failure("boom"))
        otp.demonitor(taken_back)
        otp.demonitor(taken_back)
        assert me.receive(0).ref is kept
        with pytest.raises(TimeoutError):
            me.receive(0)


def test_the_monitor_of_an_unknown_name_brings_noproc() -> None:
    with attach() as me:
        ref = otp.monitor("nobody")
        down = me.receive(0)
        assert (down.ref, down.pid, down.reason) == (ref, "nobody", NoProc())
        otp.demonitor(ref)


def test_what_is_linked_hears_of_the_end_of_the_block(make: Callable[..., Process]) -> None:
    linked = make(trap_exit=True)
    with attach() as me:
        otp.link(linked.pid)
    assert linked.inbox.get() == Exit(me.pid, Shutdown())


def test_an_exception_that_leaves_the_block_is_the_reason_and_goes_on() -> None:
    error = ValueError("x")
    with pytest.raises(ValueError, match="x") as caught, attach() as me:
        raise error
    assert caught.value is error
    assert otp.info(me.pid).exit_reason == Crash(error)


def test_a_process_exit_ends_the_block_with_its_reason() -> None:
    with pytest.raises(ProcessExit), attach() as me:
        raise ProcessExit(Failure("enough"))
    assert otp.info(me.pid).exit_reason == Failure("enough")


def test_an_untrapped_signal_shows_at_the_next_use() -> None:
    with attach() as me:
        me.pid.process.receive_exit(me.pid, Kill())
        with pytest.raises(ProcessExit) as caught:
            me.receive(0)
    assert caught.value.reason == Killed()


def test_two_blocks_belong_to_two_registries_unless_told_otherwise(registry: Registry) -> None:
    with attach() as first:
        pass
    with attach() as second:
        assert second.registry is not first.registry
    with attach(registry=registry) as third:
        assert third.registry is registry
        assert registry.processes() == [third.pid]
    assert registry.processes() == []
