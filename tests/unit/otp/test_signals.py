"""The verbs on a plain thread and with bad input: the message names the value and what is allowed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from otpq import otp
from otpq.otp import (
    Exit,
    Failure,
    Kill,
    Killed,
    NoProc,
    Normal,
    NoSuchProcess,
    NotRegistered,
    Pid,
    ProcessExit,
    Registry,
    Shutdown,
    UsageError,
    attach,
)
from otpq.otp.signals import check_seconds, resolve

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.otp.process import Process

BAD_SECONDS = [-1, -0.001, -math.inf, math.nan, "5", None, True, [1]]


@pytest.fixture
def pid(make: Callable[..., Process]) -> Pid:
    return make("till").pid


@pytest.mark.parametrize("seconds", [0, 0.5, 7, math.inf])
def test_seconds_are_a_number_from_zero_on(seconds: float) -> None:
    assert check_seconds("timeout", seconds) == seconds


@pytest.mark.parametrize("seconds", BAD_SECONDS)
def test_other_seconds_are_refused_by_name(seconds: Any) -> None:
    with pytest.raises(UsageError) as caught:
        check_seconds("timeout", seconds)
    expected = f"timeout={seconds!r} is not allowed: seconds, 0 or more (math.inf waits for ever)"
    assert str(caught.value) == expected


@pytest.mark.parametrize("seconds", BAD_SECONDS)
def test_send_after_refuses_a_bad_time(pid: Pid, seconds: Any) -> None:
    with pytest.raises(UsageError, match=r"seconds=.* is not allowed: seconds, 0 or more"):
        otp.send_after(seconds, pid, "late")


@pytest.mark.parametrize("reason", ["boom", None, 0, ValueError("x"), Shutdown])
def test_exit_wants_a_reason(pid: Pid, reason: Any) -> None:
    with pytest.raises(UsageError) as caught:
        otp.exit(pid, reason)
    assert f"reason={reason!r} is not allowed: a Reason, such as Shutdown() or Failure(" in str(caught.value)
    assert otp.is_alive(pid)


@pytest.mark.parametrize("server", [None, 7, b"till", ["till"]])
def test_a_server_is_a_pid_or_a_name(server: Any) -> None:
    verbs: list[Callable[[Any], object]] = [
        resolve,
        otp.stop,
        otp.info,
        otp.state,
        otp.tree,
        lambda to: otp.send(to, "x"),
        lambda to: otp.cast(to, "x"),
        lambda to: otp.call(to, "x"),
    ]
    for verb in verbs:
        with pytest.raises(UsageError) as caught:
            verb(server)
        assert str(caught.value) == f"{server!r} is not a process: a Pid, a registered name or (name, node) is"


@pytest.mark.parametrize("server", [None, 7, ["till"]])
def test_send_after_wants_a_pid_or_a_name(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otpq.otp.signals.call_later", lambda _seconds, _function: None)
    with attach(), pytest.raises(UsageError, match="a Pid, or a name of this node"):
        otp.send_after(0, server, "x")


@pytest.mark.parametrize("value", ["till", None, 7])
def test_what_wants_a_pid_a_monitor_or_a_timer_says_so(value: Any) -> None:
    attempts: list[Callable[[], object]] = [
        lambda: otp.exit(value, Shutdown()),
        lambda: otp.link(value),
        lambda: otp.unlink(value),
        lambda: otp.is_alive(value),
        lambda: otp.register("till", value),
        lambda: otp.demonitor(value),
        lambda: otp.cancel_timer(value),
        lambda: otp.reply(value, "x"),
    ]
    with attach():
        for attempt in attempts:
            with pytest.raises(UsageError) as caught:
                attempt()
            assert repr(value) in str(caught.value)


def test_a_name_needs_a_registry_to_be_looked_up_in() -> None:
    attempts: list[tuple[str, Callable[[], object]]] = [
        ("to look a name up", lambda: otp.call("till", "x")),
        ("to look a name up", lambda: otp.cast("till", "x")),
        ("to look a name up", lambda: otp.send("till", "x")),
        ("to look a name up", lambda: otp.stop("till")),
        ("to look a name up", lambda: otp.info("till")),
        ("send_after to a name", lambda: otp.send_after(0, "till", "x")),
        ("whereis", lambda: otp.whereis("till")),
        ("unregister", lambda: otp.unregister("till")),
    ]
    for what, attempt in attempts:
        with pytest.raises(UsageError) as caught:
            attempt()
        expected = f"{what} needs a registry: use the Registry itself, or do it in `with attach(registry=...):`"
        assert str(caught.value) == expected


def test_registering_needs_a_registry_too(pid: Pid) -> None:
    with pytest.raises(UsageError, match="register needs a registry: use the Registry itself"):
        otp.register("till", pid)


def test_what_only_a_process_can_do_is_refused_to_a_plain_thread(pid: Pid) -> None:
    attempts: list[tuple[str, Callable[[], object]]] = [
        ("self_pid()", otp.self_pid),
        ("link", lambda: otp.link(pid)),
        ("unlink", lambda: otp.unlink(pid)),
        ("monitor", lambda: otp.monitor(pid)),
        ("demonitor", lambda: otp.demonitor(otp.MonitorRef(None))),
        ("trap_exit", lambda: otp.trap_exit(on=True)),
    ]
    for what, attempt in attempts:
        with pytest.raises(UsageError) as caught:
            attempt()
        expected = f"{what} needs a process to do it: inside a server, or in `with attach() as me:`"
        assert str(caught.value) == expected


def test_sending_to_a_name_that_nobody_holds_is_an_error() -> None:
    with attach(), pytest.raises(NotRegistered, match="no process is registered as 'till'"):
        otp.send("till", "x")


def test_sending_to_the_dead_is_not(pid: Pid) -> None:
    pid.process.die(Normal())
    otp.send(pid, "x")
    assert not otp.is_alive(pid)


def test_names_belong_to_the_registry_of_the_process(registry: Registry) -> None:
    with attach(registry=registry) as me:
        otp.register("me", me.pid)
        assert otp.whereis("me") is registry.whereis("me") is me.pid
        otp.send("me", "hello")
        assert me.receive(0) == "hello"
        otp.unregister("me")
        assert otp.whereis("me") is None


def test_a_process_that_ends_itself_comes_no_further() -> None:
    with pytest.raises(ProcessExit) as caught, attach() as me:
        otp.exit(me.pid, Failure("enough"))
    assert caught.value.reason == Failure("enough")


def test_a_trapping_process_hears_its_own_signal() -> None:
    with attach(trap_exit=True) as me:
        otp.exit(me.pid, Failure("enough"))
        assert me.receive(0) == Exit(me.pid, Failure("enough"))


def test_a_link_to_the_dead_is_an_error_to_one_that_does_not_trap(pid: Pid) -> None:
    pid.process.die(Failure("boom"))
    with attach() as me:
        with pytest.raises(NoSuchProcess) as caught:
            otp.link(pid)
        assert caught.value.pid is pid
        assert str(caught.value) == f"{pid!r} is dead"
        assert otp.is_alive(me.pid)


def test_a_link_to_the_dead_is_an_exit_to_one_that_traps(pid: Pid) -> None:
    pid.process.die(Failure("boom"))
    with attach(trap_exit=True) as me:
        otp.link(pid)
        assert me.receive(0) == Exit(pid, NoProc())


def test_a_link_to_itself_is_none() -> None:
    with attach() as me:
        otp.link(me.pid)
        assert otp.info(me.pid).links == ()


def test_the_signal_of_a_plain_thread_has_a_sender_that_is_dead(make: Callable[..., Process]) -> None:
    process = make(trap_exit=True)
    otp.exit(process.pid, Failure("boom"))
    signal: Any = process.actor_inbox.get()
    assert signal.reason == Failure("boom")
    assert not otp.is_alive(signal.pid)


def test_a_plain_thread_may_kill(pid: Pid) -> None:
    otp.exit(pid, Kill())
    assert otp.info(pid).exit_reason == Killed()
