"""What the clients make of the functions of nodes: the same, blocking and awaited."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from otpq.client.aio import connect_async
from otpq.client.calls import Call
from otpq.client.errors import NotAnswered
from otpq.client.touching import SILENCE
from otpq.errors import UsageError
from otpq.wire import verbs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from otpq.client.client import Client
    from tests.integration.client.fake_server import FakeServer

    Both = Callable[..., Any]

ID = "0123456789abcdef" * 2


@pytest.fixture(params=["blocking", "awaited"])
def both(request: pytest.FixtureRequest, client: Client, server: FakeServer, cookie_file: Path) -> Both:
    """Calls a method of either client; all that an iterator gives, as a list."""

    def blocking(name: str, *args: Any, **kwargs: Any) -> Any:
        answer = getattr(client, name)(*args, **kwargs)
        return list(answer) if name == "trace" else answer

    def awaited(name: str, *args: Any, **kwargs: Any) -> Any:
        async def main() -> Any:
            async with connect_async(server.name, cookie_file=cookie_file) as other:
                answer = getattr(other, name)(*args, **kwargs)
                return [each async for each in answer] if name == "trace" else await answer

        return asyncio.run(main(), debug=True)

    return blocking if request.param == "blocking" else awaited


def called(server: FakeServer) -> list[tuple[str, str, dict[str, Any]]]:
    return [(body.node, body.function, body.arguments) for verb, body in server.asked if verb == "rpc"]


def test_each_is_a_function_of_the_node_that_is_meant(both: Both, server: FakeServer) -> None:
    server.returns = {"tree": [{"id": None}], "state": [[1]], "stacks": [{"MainThread": "x"}]}
    assert both("tree") == {"id": None}
    assert both("info", "queue_server", "b@127.0.0.2:25000") == {}
    assert both("state", 7, node="b@127.0.0.2") == [1]
    assert both("kill", "<x#1>") == {}
    assert both("stacks") == both("stacks", "default/0", "no node") == {"MainThread": "x"}
    assert called(server) == [
        ("fake@127.0.0.1", "tree", {}),
        ("b@127.0.0.2", "info", {"pid": "queue_server"}),
        ("b@127.0.0.2", "state", {"pid": 7}),
        ("fake@127.0.0.1", "kill", {"pid": "<x#1>"}),
        ("fake@127.0.0.1", "stacks", {}),
        ("no node", "stacks", {"worker": "default/0"}),
    ]


def test_the_stacks_of_a_task_are_asked_for_where_it_runs(both: Both, server: FakeServer) -> None:
    server.returns = {"why": [verbs.Reason("assigned", {"node": "b@127.0.0.2"})]}
    both("stacks", ID)
    both("stacks", ID, "c@127.0.0.3")
    assert [(node, arguments) for node, _, arguments in called(server)] == [
        ("b@127.0.0.2", {"worker": ID}),
        ("c@127.0.0.3", {"worker": ID}),
    ]


@pytest.mark.parametrize(
    ("why", "words"),
    [
        (None, f"task {ID} has ended"),
        (verbs.Reason("paused", {}), f"task {ID} does not run, so it has no stacks: paused"),
    ],
)
def test_a_task_that_does_not_run_has_no_stacks(
    both: Both, server: FakeServer, why: verbs.Reason | None, words: str
) -> None:
    server.returns = {"why": [why]}
    with pytest.raises(UsageError, match=words):
        both("stacks", ID)


def test_the_messages_of_a_process_come_until_it_ends(both: Both, server: FakeServer) -> None:
    one, two = ({"time": 1.0, "kind": "receive", "peer": None, "message": text, "dropped": 0} for text in ("a", "b"))
    server.returns = {
        "trace_start": [{"pid": "<x#7>", "after": 3}],
        "trace_read": [
            {"messages": [one], "after": 4, "ended": None},
            {"messages": [], "after": 4, "ended": None},
            {"messages": [two], "after": 5, "ended": None},
            {"messages": [], "after": 5, "ended": "Killed()"},
        ],
    }
    end = {"time": None, "kind": "ended", "peer": None, "message": "Killed()", "dropped": 0}
    assert both("trace", "x") == [one, two, end]
    assert [arguments for _, _, arguments in called(server)] == [
        {"pid": "x"},
        *({"pid": "<x#7>", "after": after} for after in (3, 4, 4, 5)),
    ]


def test_a_blocking_trace_begins_when_it_is_asked_for(client: Client, server: FakeServer) -> None:
    server.returns = {"trace_start": [{"pid": "<x#7>", "after": 3}]}
    client.trace("x")
    assert called(server) == [("fake@127.0.0.1", "trace_start", {"pid": "x"})]


def test_the_trace_of_a_task_is_its_log(both: Both, client: Client, server: FakeServer) -> None:
    handle = client.submit(Call("ok"))
    handle.get()
    server.log = [1, 2, 3]
    messages = both("trace", handle.id)
    assert [each["message"] for each in messages] == ["line 1", "line 2", "line 3"]
    assert messages[0] == {
        "time": 1.0, "kind": "out", "level": "info", "message": "line 1", "fields": {"n": 1}, "dropped": 0,
    }  # fmt: skip
    assert called(server) == []


DRAINED = {"node": "b@127.0.0.2", "incarnation": "i1", "leads": False, "grace": 30.0, "running": 0}


def node(state: str, incarnation: str = "i1") -> dict[str, Any]:
    return {"node": "b@127.0.0.2", "incarnation": incarnation, "state": state}


@pytest.mark.parametrize("last", [[], [node("down")], [node("up", "i2")]])
def test_a_drain_is_waited_for_until_the_node_is_out(both: Both, server: FakeServer, last: list[Any]) -> None:
    server.returns = {"drain": [DRAINED], "nodes": [[node("up")], [node("suspected")], last]}
    assert both("drain", "b@127.0.0.2", wait=True) == DRAINED
    assert [verb for verb, _ in server.asked] == ["rpc", *["nodes"] * 3]


def test_a_drain_that_takes_too_long_goes_on(both: Both, server: FakeServer) -> None:
    server.returns = {"drain": [DRAINED], "nodes": [[node("up")]]}
    assert both("drain", "b@127.0.0.2") == DRAINED
    with pytest.raises(NotAnswered, match=r"the end of b@127\.0\.0\.2 was not answered"):
        both("drain", "b@127.0.0.2", wait=True, timeout=0.0)


@pytest.mark.parametrize("leads", [True, False])
def test_a_node_that_leads_and_was_drained_is_out_when_nobody_answers(
    both: Both, server: FakeServer, monkeypatch: pytest.MonkeyPatch, *, leads: bool
) -> None:
    for module in ("client", "aio"):
        monkeypatch.setattr(f"otpq.client.{module}.SILENCE", SILENCE / 10)
    server.returns = {"drain": [{**DRAINED, "leads": leads}]}
    server.unanswered = {"nodes"}
    if leads:
        assert both("drain", "b@127.0.0.2", wait=True)["leads"]
    else:
        with pytest.raises(NotAnswered):
            both("drain", "b@127.0.0.2", wait=True)
