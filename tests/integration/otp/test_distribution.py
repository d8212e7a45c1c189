"""Processes of two nodes in one interpreter: each signal is carried at once, until the connection is cut."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from otpq import otp
from otpq.otp import (
    Attached,
    CallFailed,
    CallTimeout,
    Distribution,
    Down,
    Failure,
    Killed,
    NoConnection,
    NodeDown,
    NodeUp,
    NoProc,
    Normal,
    Registry,
    Reply,
    Response,
    Signal,
    UsageError,
    attach,
)
from tests.integration.otp.support import HANG, Puppet, do, end_of, nothing_more

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from otpq.otp import Caller, NoReply, Pid

THERE = ("shop", "b@h")


class Shop(Puppet):
    """Answers plain requests from afar."""

    from_afar = frozenset({"call", "cast", "info"})

    def handle_call(self, request: Any, caller: Caller) -> Any:
        if callable(request):
            return super().handle_call(request, caller)
        self.log.append(("call", self.label, request))
        return otp.NoReply() if request == "later" else Reply(request)

    def handle_cast(self, request: Any) -> NoReply | None:
        if callable(request):
            return super().handle_cast(request)  # type: ignore[no-any-return]
        self.log.append(("cast", self.label, request))
        return None


class Wire:
    """Between a@h, the test's node, and b@h."""

    def __init__(self, here: Registry, there: Registry) -> None:
        self.is_cut = False
        self.sent: list[Signal] = []
        self.a = Distribution("a@h", here, lambda _node, signal: self._carry(lambda: self.b, "a@h", signal))
        self.b = Distribution("b@h", there, lambda _node, signal: self._carry(lambda: self.a, "b@h", signal))
        self.a.node_up("b@h")
        self.b.node_up("a@h")

    def _carry(self, to: Callable[[], Distribution], source: str, signal: Signal) -> bool:
        if signal.body is Ellipsis:
            raise UsageError("... cannot travel")
        self.sent.append(signal)
        if not self.is_cut:
            to().deliver(source, signal)
        return True


@pytest.fixture
def other(registry: Registry) -> Iterator[Registry]:  # noqa: ARG001 - its end waits for the threads of this one, too
    """The registry of b@h; its processes end with the test."""
    other = Registry()
    yield other
    with attach("teardown", trap_exit=True) as me:
        for pid in other.processes():
            otp.exit(pid, otp.Kill())
            end_of(me, pid)


@pytest.fixture
def me(registry: Registry, other: Registry) -> Iterator[Attached]:  # noqa: ARG001 - it goes after this one
    """The test's thread as a process that traps exits, at a@h."""
    with attach("test", registry=registry, trap_exit=True) as me:
        yield me


@pytest.fixture
def wire(me: Attached, other: Registry) -> Wire:
    return Wire(me.registry, other)


@pytest.fixture
def shop(wire: Wire, other: Registry) -> Pid:  # noqa: ARG001 - it is reached over it
    return Shop.start(name="shop", registry=other)


def test_a_process_of_another_node_is_called_by_its_name(wire: Wire, shop: Pid) -> None:
    assert otp.is_alive(shop)
    assert otp.call(THERE, ("price", 3)) == ("price", 3)
    assert otp.node() == "a@h"
    assert otp.nodes() == ["b@h"]
    assert [signal.kind for signal in wire.sent] == ["call", "reply"]


def test_a_name_at_the_own_node_is_the_process_here(me: Attached, wire: Wire) -> None:
    Shop.start(name="stall", registry=me.registry)
    assert otp.call(("stall", "a@h"), 1) == 1
    assert wire.sent == []


def test_casts_and_messages_arrive_in_their_order(shop: Pid, wire: Wire) -> None:  # noqa: ARG001
    otp.cast(THERE, 1)
    otp.send(THERE, 2)
    otp.cast(THERE, 3)
    assert otp.call(THERE, 4) == 4
    assert do(shop, lambda puppet: [entry[::2] for entry in puppet.log[1:]]) == [
        ("cast", 1), ("info", 2), ("cast", 3), ("call", 4),
    ]  # fmt: skip


def test_where_there_is_no_such_process_or_node_it_is_told_at_once(me: Attached, wire: Wire) -> None:
    assert wire.a.nodes() == ["b@h"]
    for server, reason in (("nobody", "b@h"), NoProc()), (("shop", "c@h"), NoConnection()):
        with pytest.raises(CallFailed) as caught:
            otp.call(server, 1)
        assert caught.value.reason == reason
        otp.cast(server, 1)
        ref = otp.monitor(server)
        assert me.receive(0) == Down(ref, server, reason)


def test_a_server_that_is_not_written_for_it_gets_nothing_from_afar(wire: Wire, other: Registry) -> None:
    private = Puppet.start(name="private", registry=other)
    with pytest.raises(CallFailed) as caught:
        otp.call(("private", "b@h"), 1)
    assert caught.value.reason == Failure("takes_no_call_from_afar")
    otp.cast(("private", "b@h"), 1)
    otp.send(("private", "b@h"), 1)
    assert do(private, lambda puppet: puppet.log) == [("init", "puppet")]
    assert len(wire.sent) == 4


def test_a_call_whose_server_ends_has_its_reason(shop: Pid, wire: Wire) -> None:
    otp.send_request(THERE, "later", "mine")
    otp.exit(shop, otp.Kill())
    assert wire.sent[-1] == Signal("down", 1, body=Killed())
    assert otp.info(shop).exit_reason == Killed()


def test_a_request_is_answered_by_a_message(me: Attached, shop: Pid, wire: Wire) -> None:
    otp.send_request(THERE, 7, "mine")
    assert me.receive(HANG) == Response("mine", 7)
    otp.send_request(THERE, "later", "lost")
    otp.exit(shop, otp.Kill())
    assert me.receive(HANG) == Response("lost", None, Killed())
    otp.send_request("nobody", 1, "here")
    assert me.receive(0) == Response("here", None, NoProc())
    with pytest.raises(UsageError, match="cannot travel"):
        otp.send_request(THERE, ..., "never")
    assert nothing_more(me)
    assert [signal.kind for signal in wire.sent] == ["call", "reply", "call", "down"]


def test_a_late_answer_is_dropped(shop: Pid, wire: Wire) -> None:
    with pytest.raises(CallTimeout):
        otp.call(THERE, "later", timeout=0)
    do(shop, lambda puppet: otp.reply(puppet.caller, "late") if puppet.caller else None)
    assert otp.call(THERE, "next") == "next"
    assert wire.sent[0].number != wire.sent[-1].number


def test_what_cannot_travel_is_refused_at_the_caller_and_told_of_by_the_server(shop: Pid, wire: Wire) -> None:  # noqa: ARG001
    with pytest.raises(UsageError, match="cannot travel"):
        otp.call(THERE, ...)
    wire.b.answer("a@h", Signal("reply", 99, body=...))
    assert wire.sent[-1] == Signal("down", 99, body=Failure("... cannot travel"))


def test_a_monitor_tells_of_the_end_and_is_gone_with_its_owner(me: Attached, shop: Pid, wire: Wire) -> None:
    ref, unwanted = otp.monitor(THERE), otp.monitor(THERE)
    otp.demonitor(unwanted)
    otp.stop(shop, timeout=HANG)
    assert me.receive(HANG) == Down(ref, THERE, Normal())
    assert nothing_more(me)
    ref = otp.monitor(THERE)
    assert me.receive(HANG) == Down(ref, THERE, NoProc())
    assert [signal.kind for signal in wire.sent] == ["watch", "watch", "unwatch", "down", "watch", "down"]


def test_a_process_that_ends_takes_its_monitors_back(me: Attached, shop: Pid, wire: Wire) -> None:
    watcher = Puppet.start(registry=me.registry)
    do(watcher, lambda _puppet: otp.monitor(THERE))
    otp.exit(watcher, otp.Kill())
    end_of(me, watcher)
    assert [signal.kind for signal in wire.sent] == ["watch", "unwatch"]
    assert otp.is_alive(shop)


def test_a_node_that_goes_down_fires_monitors_and_ends_calls(me: Attached, shop: Pid, wire: Wire) -> None:  # noqa: ARG001
    otp.monitor_nodes()
    ref = otp.monitor(THERE)
    otp.send_request(THERE, "later", "mine")
    wire.is_cut = True
    wire.a.node_down("b@h")
    wire.b.node_down("a@h")
    heard = [me.receive(HANG) for _ in range(3)]
    assert heard == [Down(ref, THERE, NoConnection()), Response("mine", None, NoConnection()), NodeDown("b@h")]
    with pytest.raises(CallFailed) as caught:
        otp.call(THERE, 1)
    assert caught.value.reason == NoConnection()
    wire.is_cut = False
    wire.a.node_up("b@h")
    wire.b.node_up("a@h")
    assert me.receive(HANG) == NodeUp("b@h")
    assert otp.call(THERE, 1) == 1
    otp.monitor_nodes(on=False)
    wire.a.all_down()
    assert nothing_more(me)


def test_the_monitors_of_a_node_that_is_gone_are_forgotten_here(shop: Pid, wire: Wire) -> None:
    otp.monitor(THERE)
    wire.b.node_down("a@h")
    sent = len(wire.sent)
    otp.exit(shop, otp.Kill())
    assert len(wire.sent) == sent


def test_nobody_answers_for_another_node(me: Attached, wire: Wire) -> None:
    wire.is_cut = True
    otp.send_request(THERE, 1, "mine")
    wire.a.node_up("c@h")
    wire.a.deliver("c@h", Signal("reply", 1, body="forged"))
    assert nothing_more(me)
    wire.a.deliver("b@h", Signal("reply", 1, body="real"))
    assert me.receive(HANG) == Response("mine", "real")
    wire.a.deliver("b@h", Signal("reply", 1, body="again"))
    assert nothing_more(me)


def test_a_mailbox_that_is_full_is_told(wire: Wire, other: Registry) -> None:
    class Small(Shop):
        mailbox_limit = 0

    small = Small.start(name="shop", registry=other)
    with pytest.raises(CallFailed) as caught:
        otp.call(THERE, 1)
    assert caught.value.reason == Failure("mailbox_full")
    assert wire.sent[-1].kind == "down"
    assert otp.is_alive(small)


def test_what_reaches_processes_here_alone_says_so(wire: Wire, shop: Pid) -> None:  # noqa: ARG001
    with pytest.raises(UsageError, match="is of another node"):
        otp.stop(THERE)
    with pytest.raises(UsageError, match="is of another node"):
        otp.info(THERE)
    with pytest.raises(UsageError, match="a Pid, or a name of this node"):
        otp.send_after(1, THERE, "x")


def test_without_a_node_around_a_far_name_cannot_be_reached(me: Attached) -> None:
    assert otp.node() is None
    assert otp.nodes() == []
    with pytest.raises(UsageError, match="of no node that has a name"):
        otp.call(THERE, 1)
    with pytest.raises(UsageError, match=r"\(name, node\)"):
        otp.call(("shop", "b@h", "x"), 1)  # type: ignore[arg-type]
    assert nothing_more(me)
