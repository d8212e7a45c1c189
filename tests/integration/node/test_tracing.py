import time
from typing import Any

import pytest

from otpq.errors import UsageError
from otpq.node import tracing
from otpq.node.tracing import Ring, Traces
from otpq.otp import Cast, GenServer, Kill, Pid, Reply, Shutdown, Traced, attach, call, cast, exit, stop


class Server(GenServer):
    def handle_call(self, request: Any, caller: Any) -> Any:  # noqa: ARG002 - GenServer's signature
        return Reply(request)

    def handle_cast(self, request: Any) -> None:
        """Nothing."""


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def put(ring: Ring, numbers: range, now: float = 0.0) -> None:
    with attach() as me:
        for number in numbers:
            ring.put(Traced(time.time(), me.pid, "receive", Cast(number), None), now)


def test_a_ring_gives_what_came_since() -> None:
    ring = Ring(0.0)
    put(ring, range(3))
    messages, after = ring.read(0, 0.0)
    assert [each["message"] for each in messages] == ["Cast(request=0)", "Cast(request=1)", "Cast(request=2)"]
    assert ring.read(after, 0.0) == ([], after)
    put(ring, range(3, 4))
    assert [each["message"] for each in ring.read(after, 0.0)[0]] == ["Cast(request=3)"]


def test_the_oldest_messages_give_way_and_are_counted() -> None:
    ring = Ring(0.0)
    for second in range(3):
        put(ring, range(600), now=float(second))
    messages, after = ring.read(0, 3.0)
    assert messages[0]["dropped"] == 800
    assert {each["dropped"] for each in messages[1:]} == {0}
    assert after == 800 + len(messages)
    assert len(messages) == tracing.A_READING


def test_of_too_many_a_second_some_are_no_more_than_counted() -> None:
    ring = Ring(0.0)
    put(ring, range(tracing.SHOWN_A_SECOND + 50), now=5.0)
    put(ring, range(1), now=6.5)
    after = tracing.SHOWN_A_SECOND - 1
    messages, _ = ring.read(after, 7.0)
    assert [each["dropped"] for each in messages] == [0, 50]


def test_a_process_is_traced_until_nobody_reads(clock: Clock) -> None:
    traces = Traces(clock)
    with attach():
        pid = Server.start()
        after = traces.start(pid)
        assert traces.start(pid) == after  # a second reader has the same trace
        cast(pid, "one")
        call(pid, "two")
        read = traces.read(repr(pid), after)
        kinds = [(each["kind"], each["message"].partition(", caller")[0]) for each in read["messages"]]
        assert kinds == [("receive", "Cast(request=one)"), ("receive", "Call(request=two"), ("reply", "two")]
        assert read["ended"] is None
        clock.now += tracing.UNREAD + 1
        call(pid, "three")
        assert pid.process.tracer is None
        with pytest.raises(UsageError, match=r"is not traced; a trace ends 10 s after it was last read"):
            traces.read(repr(pid), after)
        stop(pid)


def test_the_end_of_a_process_is_the_last_that_is_told(clock: Clock) -> None:
    traces = Traces(clock)
    with attach():
        pid = Server.start()
        after = traces.start(pid)
        call(pid, "last words")
        exit(pid, Kill())
        first = traces.read(repr(pid), after)
        assert (len(first["messages"]), first["ended"]) == (2, None)
        assert traces.read(repr(pid), first["after"])["ended"] == "Killed()"
        with pytest.raises(UsageError, match="is not traced"):
            traces.read(repr(pid), after)


def test_so_many_processes_are_traced_and_no_more(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "MOST", 2)
    traces = Traces(clock)
    with attach():
        pids: list[Pid] = [Server.start() for _ in range(4)]
        traces.start(pids[0])
        traces.start(pids[1])
        with pytest.raises(UsageError, match="2 processes are traced already"):
            traces.start(pids[2])
        clock.now += tracing.UNREAD + 1  # those that nobody reads make room
        traces.start(pids[2])
        assert pids[0].process.tracer is None
        for pid in pids:
            stop(pid, Shutdown())
