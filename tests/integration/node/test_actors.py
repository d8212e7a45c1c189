"""The small actors of a node: the one that calls management functions, and the one that removes old files."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from otpq.errors import OtpqError, UsageError
from otpq.node.rpc import AT_ONCE, Rpc
from otpq.node.sweeper import Sweeper
from otpq.otp import Attached, Distribution, GenServer, Kill, Reply, attach, call, exit, send_request

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otpq.otp import Caller

LONG = 30.0


@pytest.fixture
def me() -> Iterator[Attached]:
    with attach(trap_exit=True) as me:
        Distribution("a@h", me.registry, lambda _node, _signal: False)
        yield me
        for pid in me.registry.processes():
            if pid is not me.pid:
                exit(pid, Kill())


class Functions:
    def __init__(self) -> None:
        self.gate = threading.Event()

    def __call__(self, name: str, arguments: dict[str, Any]) -> Any:
        match name:
            case "add":
                return arguments["a"] + arguments["b"]
            case "wait":
                assert self.gate.wait(LONG)
                return "waited"
            case "fail":
                return 1 // arguments["by"]
            case _:
                raise UsageError(f"no function {name!r}")


def test_a_function_is_called_for_any_process(me: Attached) -> None:
    Rpc.start(Functions(), name="rpc", registry=me.registry)
    assert Rpc.call("a@h", "add", a=1, b=2) == 3
    with pytest.raises(OtpqError, match="a@h: no function 'sub'"):
        Rpc.call("a@h", "sub")


def test_a_function_that_has_a_bug_is_told_and_logged_and_the_process_lives(
    me: Attached, caplog: pytest.LogCaptureFixture
) -> None:
    pid = Rpc.start(Functions(), name="rpc", registry=me.registry)
    with pytest.raises(OtpqError, match="fail failed: ZeroDivisionError"):
        Rpc.call("a@h", "fail", by=0)
    assert "fail failed" in caplog.text
    assert call(pid, "no call") == ("error", "a call is (function, arguments)")


def test_functions_that_wait_hold_nobody_up_until_there_are_too_many(me: Attached) -> None:
    functions = Functions()
    pid = Rpc.start(functions, name="rpc", registry=me.registry)
    for place in range(AT_ONCE - 1):
        send_request(pid, ("wait", {}), place)
    assert Rpc.call("a@h", "add", a=1, b=2) == 3
    send_request(pid, ("wait", {}), AT_ONCE)
    send_request(pid, ("wait", {}), "one more")
    refused = me.receive(LONG)
    assert (refused.label, refused.value[0]) == ("one more", "error")
    functions.gate.set()
    assert {me.receive(LONG).value for _ in range(AT_ONCE)} == {("ok", "waited")}


class Books(GenServer):
    """Stands for the queue server."""

    def init(self, answers: list[Any]) -> None:
        self._answers = answers

    def handle_call(self, request: Any, caller: Caller) -> Reply:  # noqa: ARG002
        assert request == ("holders",)
        return Reply(self._answers.pop(0))


def test_files_are_removed_with_the_holders_of_leases_in_view(me: Attached) -> None:
    removed: list[frozenset[str]] = []
    done = threading.Event()

    def remove(holders: frozenset[str]) -> None:
        removed.append(holders)
        done.set()

    Books.start([None, ["i1", "i2"]], name="queue_server", registry=me.registry)
    sweeper = Sweeper.start("queue_server", remove, 0.01, registry=me.registry)
    assert done.wait(LONG)
    assert removed == [frozenset({"i1", "i2"})], "not while nobody can say who holds what"
    assert sweeper in me.registry.processes()


def test_a_disk_that_refuses_or_a_queue_server_that_is_away_is_tried_again(
    me: Attached, caplog: pytest.LogCaptureFixture
) -> None:
    tries = threading.Semaphore(0)

    def remove(_holders: frozenset[str]) -> None:
        tries.release()
        raise OSError(30, "Read-only file system")

    sweeper = Sweeper.start("queue_server", remove, 0.01, registry=me.registry)
    Books.start([()] * 1000, name="queue_server", registry=me.registry)
    assert tries.acquire(timeout=LONG)
    assert tries.acquire(timeout=LONG)
    assert sweeper in me.registry.processes()
    assert "Read-only file system" in caplog.text
