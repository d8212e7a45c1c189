from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from otpq import otp
from otpq.otp import (
    Crash,
    Down,
    Exit,
    Failure,
    Kill,
    Killed,
    NoProc,
    Normal,
    NoSuchProcess,
    ProcessExit,
    Reason,
    Registry,
    Shutdown,
    attach,
)
from tests.integration.otp.support import (
    HANG,
    Block,
    Puppet,
    answers,
    crash,
    do,
    end_of,
    exit_from,
    nothing_more,
    thread_of,
)

if TYPE_CHECKING:
    from otpq.otp import Attached

ABNORMAL = [Shutdown(), Shutdown("x"), Failure("boom"), Killed(), NoProc()]


@pytest.mark.parametrize("reason", ABNORMAL, ids=repr)
def test_an_exit_signal_ends_a_server_without_terminate(me: Attached, reason: Reason) -> None:
    log: list[Any] = []
    pid = Puppet.start("till", log)
    otp.exit(pid, reason)
    assert not otp.is_alive(pid)
    assert end_of(me, pid) == reason
    assert log == [("init", "till")]


@pytest.mark.usefixtures("me")
def test_the_signal_normal_is_ignored() -> None:
    pid = Puppet.start()
    otp.exit(pid, Normal())
    assert answers(pid)


def test_a_server_that_traps_exits_gets_the_signals_of_strangers_as_messages(me: Attached) -> None:
    pid = Puppet.start(traps=True)
    signals = [*ABNORMAL, Normal()]
    for reason in signals:
        otp.exit(pid, reason)
    log = do(pid, lambda puppet: puppet.log)
    assert [entry[2] for entry in log[1:]] == [Exit(me.pid, reason) for reason in signals]


def test_trapping_may_be_switched_while_it_runs(me: Attached) -> None:
    pid = Puppet.start()
    do(pid, lambda _puppet: otp.trap_exit(on=True))
    otp.exit(pid, Failure("first"))
    assert answers(pid)
    do(pid, lambda _puppet: otp.trap_exit(on=False))
    otp.exit(pid, Failure("second"))
    assert end_of(me, pid) == Failure("second")


@pytest.mark.parametrize("traps", [False, True])
def test_kill_ends_every_server_without_terminate(me: Attached, *, traps: bool) -> None:
    log: list[Any] = []
    pid = Puppet.start_link("till", log, traps=traps)
    otp.exit(pid, Kill())
    assert exit_from(me, pid) == Killed()
    assert log == [("init", "till")]


def test_a_busy_server_is_dead_when_exit_returns(me: Attached, block: Block) -> None:
    pid = Puppet.start_link(name="till")
    otp.cast(pid, block)
    block.wait_entered()
    otp.exit(pid, Shutdown())
    assert not otp.is_alive(pid)
    assert otp.whereis("till") is None
    assert me.receive(0) == Exit(pid, Shutdown())


def test_linked_servers_end_together_and_a_trapping_one_is_told(me: Attached) -> None:
    first, second, trapping = Puppet.start(), Puppet.start(), Puppet.start(traps=True)
    do(first, lambda _puppet: otp.link(second))
    do(trapping, lambda _puppet: otp.link(second))
    crash(first)
    reason = end_of(me, first)
    assert isinstance(reason, Crash)
    assert end_of(me, second) == reason
    assert do(trapping, lambda puppet: puppet.log[-1]) == ("info", "puppet", Exit(second, reason))


def test_a_normal_end_is_survived_by_the_linked(me: Attached) -> None:
    first, second = Puppet.start(), Puppet.start()
    do(first, lambda _puppet: otp.link(second))
    otp.stop(first, timeout=HANG)
    assert answers(second)
    assert otp.info(second).links == ()
    assert nothing_more(me)


def test_unlinked_servers_end_apart(me: Attached) -> None:
    first, second = Puppet.start(), Puppet.start()
    do(first, lambda _puppet: otp.link(second))
    do(second, lambda _puppet: otp.unlink(first))
    crash(first)
    end_of(me, first)
    assert answers(second)


def test_a_link_to_the_dead_is_an_error_or_an_exit_message(me: Attached) -> None:
    dead, plain, trapping = Puppet.start(), Puppet.start(), Puppet.start(traps=True)
    otp.exit(dead, Kill())
    do(trapping, lambda _puppet: otp.link(dead))
    assert do(trapping, lambda puppet: puppet.log[-1]) == ("info", "puppet", Exit(dead, NoProc()))
    otp.cast(plain, lambda _puppet: otp.link(dead))
    reason = end_of(me, plain)
    assert isinstance(reason, Crash)
    assert isinstance(reason.error, NoSuchProcess)


def test_an_exit_that_the_server_sends_itself_ends_it_there(me: Attached) -> None:
    log: list[Any] = []
    pid = Puppet.start("till", log)

    def leave(puppet: Puppet) -> None:
        otp.exit(puppet.pid, Failure("enough"))
        puppet.log.append("never reached")

    otp.cast(pid, leave)
    assert end_of(me, pid) == Failure("enough")
    assert log == [("init", "till")]


def test_a_chain_of_servers_falls_as_one(me: Attached) -> None:
    chain = [Puppet.start() for _ in range(300)]
    for left, right in pairwise(chain):
        do(left, lambda _puppet, right=right: otp.link(right))  # type: ignore[misc]
    otp.exit(chain[0], Failure("boom"))
    assert {otp.info(pid).exit_reason for pid in chain} == {Failure("boom")}
    assert me.registry.processes() == [me.pid]


# --- parents -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("traps", [False, True])
def test_the_end_of_its_parent_ends_a_server(registry: Registry, *, traps: bool) -> None:
    log: list[Any] = []
    with attach(registry=registry) as parent:
        pid = Puppet.start_link("till", log, traps=traps)
    with attach(registry=registry) as me:
        assert end_of(me, pid) == Shutdown()
    assert otp.info(pid).parent is parent.pid
    assert log[1:] == ([("terminate", "till", Shutdown())] if traps else [])


def test_a_trapping_server_obeys_its_parents_signal_whatever_the_reason(me: Attached) -> None:
    for reason in (Normal(), Shutdown("x"), Failure("boom")):
        log: list[Any] = []
        pid = Puppet.start_link("till", log, traps=True)
        otp.exit(pid, reason)
        assert exit_from(me, pid) == reason
        assert log == [("init", "till"), ("terminate", "till", reason)]


def test_the_process_that_does_not_trap_ends_with_its_child(registry: Registry) -> None:
    with attach(registry=registry) as me:
        pid = Puppet.start_link()
        with pytest.raises(ProcessExit) as caught:
            otp.exit(pid, Failure("boom"))
        with pytest.raises(ProcessExit):
            me.receive(HANG)
    assert caught.value.reason == Failure("boom")
    assert otp.info(me.pid).exit_reason == Failure("boom")


def test_a_wait_ends_with_the_process_that_waits(registry: Registry, block: Block) -> None:
    with attach(registry=registry) as me:
        busy, killer = Puppet.start(), Puppet.start()
        otp.cast(busy, block)

        def kill_the_caller(_puppet: Puppet) -> None:
            block.wait_entered()
            otp.exit(me.pid, Kill())

        otp.cast(killer, kill_the_caller)
        with pytest.raises(ProcessExit) as caught:
            otp.call(busy, "never handled", timeout=HANG)
    assert caught.value.reason == Killed()


# --- monitors ----------------------------------------------------------------------------------------------------------


def test_a_monitor_tells_of_the_end_and_does_not_share_it(me: Attached) -> None:
    pid = Puppet.start(name="till")
    first, second = otp.monitor(pid), otp.monitor("till")
    otp.exit(pid, Failure("boom"))
    assert me.receive(HANG) == Down(first, pid, Failure("boom"))
    assert me.receive(HANG) == Down(second, "till", Failure("boom"))
    assert nothing_more(me)


def test_the_down_of_one_that_was_busy_comes_at_once(me: Attached, block: Block) -> None:
    pid = Puppet.start()
    otp.cast(pid, block)
    block.wait_entered()
    ref = otp.monitor(pid)
    otp.exit(pid, Kill())
    assert me.receive(0) == Down(ref, pid, Killed())


def test_demonitor_takes_back_the_down_that_waits_already(me: Attached) -> None:
    watching, watched = Puppet.start(), Puppet.start()
    otp.exit(watched, Failure("early"))

    def look_away(_puppet: Puppet) -> None:
        otp.demonitor(otp.monitor(watched))

    do(watching, look_away)
    assert do(watching, lambda puppet: puppet.log) == [("init", "puppet")]
    ref = otp.monitor(watched)
    otp.demonitor(ref)
    assert nothing_more(me)


def test_servers_hear_of_the_end_of_what_they_monitor(me: Attached) -> None:
    watching, watched = Puppet.start(), Puppet.start()
    ref = do(watching, lambda _puppet: otp.monitor(watched))
    crash(watched)
    reason = end_of(me, watched)
    down = Down(ref, watched, reason)
    assert do(watching, lambda puppet: puppet.log[-1]) == ("info", "puppet", down)


def test_a_down_may_be_passed_on(me: Attached) -> None:
    watching, watched = Puppet.start(), Puppet.start()

    def pass_on(message: Any) -> None:
        otp.send(me.pid, message)

    def set_up(puppet: Puppet) -> None:
        puppet.handle_info = pass_on  # type: ignore[method-assign]
        otp.monitor(watched)

    do(watching, set_up)
    otp.exit(watched, Failure("boom"))
    assert answers(watching)
    assert me.receive(0).reason == Failure("boom")


@pytest.mark.usefixtures("me")
def test_the_monitors_of_the_dead_are_forgotten_by_what_they_watched() -> None:
    watched = Puppet.start()
    for _ in range(10):
        watching = Puppet.start()
        do(watching, lambda _puppet: otp.monitor(watched))
        thread = thread_of(watching)
        otp.exit(watching, Kill())
        thread.join(HANG)
    assert watched.process._watchers == {}
