from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from otpq import otp
from otpq.otp import CallFailed, Failure, NoProc, Registry, Traced, UsageError, attach
from otpq.otp.process import enter

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.otp.process import Process


def test_info_shows_what_a_process_notes_about_itself(make: Callable[..., Process], registry: Registry) -> None:
    process, other = make("till", trap_exit=True), make("desk")
    registry.register("shop", process.pid)
    process.link(other)
    process.put("x")
    process.pending.append("y")
    info = otp.info(process.pid)
    assert info.pid is process.pid
    assert info.name == "shop"
    assert (info.status, info.callback, info.callback_seconds) == ("waiting", None, None)
    assert info.mailbox == 2
    assert info.links == (other.pid,)
    assert info.trap_exit
    assert info.exit_reason is None
    assert info.parent is None


def test_the_status_follows_the_callback_and_the_end(make: Callable[..., Process]) -> None:
    process = make()
    process.callback, process.callback_since = "handle_call", 0.0
    info = otp.info(process.pid)
    assert (info.status, info.callback) == ("running", "handle_call")
    assert info.callback_seconds is not None
    process.die(Failure("boom"))
    info = otp.info(process.pid)
    assert (info.status, info.exit_reason) == ("zombie", Failure("boom"))
    process.callback = None
    assert otp.info(process.pid).status == "dead"


def test_a_name_is_looked_up_and_an_unknown_one_is_noproc(make: Callable[..., Process], registry: Registry) -> None:
    process = make()
    registry.register("till", process.pid)
    with attach(registry=registry):
        assert otp.info("till").pid is process.pid
        for look in (otp.info, otp.state, otp.tree, otp.untrace):
            with pytest.raises(CallFailed) as caught:
                look("nobody")
            assert caught.value.reason == NoProc()


def test_a_process_that_is_no_supervisor_is_a_tree_of_one(make: Callable[..., Process]) -> None:
    pid = make().pid
    node = otp.tree(pid)
    assert (node.id, node.pid, node.type, node.restarts, node.strategy, node.children) == (
        None,
        pid,
        "worker",
        0,
        None,
        (),
    )


def test_the_dead_have_no_tree(make: Callable[..., Process]) -> None:
    process = make()
    process.die(Failure("boom"))
    with pytest.raises(CallFailed) as caught:
        otp.tree(process.pid)
    assert caught.value.reason == NoProc()


def test_only_a_server_has_a_state(make: Callable[..., Process]) -> None:
    pid = make().pid
    with pytest.raises(UsageError) as caught:
        otp.state(pid)
    assert str(caught.value) == f"{pid!r} is no server: its state cannot be asked for"


def test_what_a_traced_process_sends_is_shown_until_untrace(make: Callable[..., Process]) -> None:
    process, peer = make("till"), make("desk")
    seen: list[Traced] = []
    otp.trace(process.pid, seen.append)
    enter(process)
    otp.send(peer.pid, "hello")
    otp.cast(peer.pid, "there")
    otp.untrace(process.pid)
    otp.send(peer.pid, "unseen")
    assert [(traced.pid, traced.kind, traced.message, traced.peer) for traced in seen] == [
        (process.pid, "send", "hello", peer.pid),
        (process.pid, "cast", "there", peer.pid),
    ]


@pytest.mark.parametrize("to", ["till", None, 7])
def test_a_trace_goes_to_a_process_or_a_function(make: Callable[..., Process], to: Any) -> None:
    process = make()
    with pytest.raises(UsageError) as caught:
        otp.trace(process.pid, to)
    assert repr(to) in str(caught.value)


def test_a_trace_may_go_to_a_process(make: Callable[..., Process]) -> None:
    process, peer = make("till"), make("desk")
    with attach() as me:
        otp.trace(process.pid, me.pid)
        process.trace("receive", "hello", None)
        assert me.receive(0).message == "hello"
    enter(process)
    otp.send(peer.pid, "there")
    assert process.tracer is not None
