"""Seeing and touching what runs on a node: also what is stuck, also on another node than the one that is asked."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

import otpq
from otpq.wire.cookie import Cookie
from otpq.worker.kernel import is_portable
from tests.acceptance.cluster import Cluster, until
from tests.acceptance.conftest import LONG

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from otpq.client.client import Client
    from tests.acceptance.conftest import Stage

STUCK = """

import hashlib, re

@app.task(name="loop")
def loop(name):
    place.joinpath(name).touch()
    while True:
        pass

@app.task(name="backtrack")
def backtrack(name):
    place.joinpath(name).touch()
    re.match(r"(a+)+b", "a" * 64)

@app.task(name="hash")
def hash_(name):
    place.joinpath(name).touch()
    hashlib.pbkdf2_hmac("sha256", b"x", b"y", 2_000_000_000)

@app.task(name="close_all")
def close_all(name):
    os.closerange(3, 256)
    place.joinpath(name).touch()
    time.sleep(60)
"""
"""Handlers that do not come back; each says that it has begun."""


@pytest.fixture
def cluster(stage: Stage) -> Iterator[Cluster]:
    stage.app.write_text(stage.app.read_text() + STUCK)
    cluster = Cluster(stage)
    yield cluster
    cluster.close()


def begin(client: Client, home: Path, name: str) -> otpq.TaskHandle[Any]:
    """A task that is in its handler."""
    handle = client.submit(otpq.Call(name, (f"{name}.begun",), retries=0))
    until((home / f"{name}.begun").exists)
    return handle


def processes(tree: dict[str, Any]) -> list[dict[str, Any]]:
    return [tree, *(each for child in tree["children"] for each in processes(child))]


def names(tree: dict[str, Any]) -> dict[str | None, str]:
    return {each["name"]: each["pid"] for each in processes(tree)}


def at_work(client: Client, id: str) -> str:
    """The worker that runs a task, as pool/number."""
    found: list[str] = []

    def look() -> bool:
        found[:] = [f"{of['pool']}/{of['worker']}" for of in client.workers() if of["task"]]
        return bool(found)

    until(look)
    assert client.why(id) is not None
    return found[0]


# --- what is stuck ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["loop", "backtrack", "hash"])
@pytest.mark.parametrize("place", [1, 2])
def test_a_stuck_worker_is_seen_and_its_task_cancelled(cluster: Cluster, name: str, place: int) -> None:
    cluster.start(1, workers=2 - place)
    cluster.start(2, workers=place - 1)
    node = cluster.name(place)
    with cluster.connect() as client:
        handle = begin(client, cluster.stage.home, name)
        why = client.why(handle.id)
        assert why is not None
        assert (why["code"], why["facts"]["node"]) == ("assigned", node)
        assert names(client.tree(node))["pool default"]
        worker = at_work(client, handle.id)
        function = {"loop": "loop", "backtrack": "backtrack", "hash": "hash_"}[name]
        for stacks in (client.stacks(worker, node), client.stacks(handle.id)):
            (stack,) = [stack for stack in stacks.values() if f" in {function}" in stack]
            assert "jobs.py" in stack
        assert client.cancel(handle.id, grace=0) == "cancelling"
        (task,) = client.wait([handle], LONG)
        assert task.state == "cancelled"
        assert client.submit_task("add", 1, 2).get(LONG) == 3  # the worker has another child


def test_what_a_child_cannot_say_is_one_line_and_harms_nobody(cluster: Cluster) -> None:
    cluster.start(1, workers=1)
    with cluster.connect() as client:
        handle = begin(client, cluster.stage.home, "close_all")
        worker = at_work(client, handle.id)
        pid = client.workers()[0]["child"]
        why = "does not write them" if is_portable() else "has closed the descriptor"
        with pytest.raises(otpq.QueryFailed, match=rf"{worker}: its child \(pid {pid}\) {why}"):
            client.stacks(worker)
        assert client.workers()[0]["child"] == pid
        ended = client.submit_task("add", 1, 2)
        assert client.cancel(ended) == "cancelled"
        with pytest.raises(otpq.UsageError, match="has ended"):
            client.stacks(ended.id)


# --- processes -------------------------------------------------------------------------------------------------------


def test_every_process_is_seen_and_no_secret_is_shown(cluster: Cluster) -> None:
    cluster.start(1, workers=1)
    cluster.start(2, workers=1)
    cookie = Cookie.read(cluster.stage.home / ".otpq" / "cookie")
    keys = [cookie.client_keys(), cookie.server_keys()]
    secrets = [cookie.text(), repr(cookie.secret)[2:14], *(key.secret.decode() for key in keys)]
    with cluster.connect() as client:
        client.submit_task("add", 1, 2).get(LONG)
        for node in (cluster.name(1), cluster.name(2)):
            for each in processes(client.tree(node)):
                info = client.info(each["pid"], node)
                assert (info["pid"], info["name"]) == (each["pid"], each["name"])
                shown = str(client.state(each["pid"], node))
                assert not [secret for secret in secrets if secret in shown]
        with pytest.raises(otpq.QueryFailed, match=r"did you mean 'queue_server'\?"):
            client.info("queue_sever", cluster.name(2))


def test_killed_processes_come_back_on_either_node(cluster: Cluster) -> None:
    cluster.start(1, workers=1)
    cluster.start(2, workers=1)
    with cluster.connect() as client:
        for node, name in (
            (cluster.name(2), "pool default"),
            (cluster.name(2), "queue_server"),
            (cluster.name(1), "queue_server"),
        ):
            before = names(client.tree(node))[name]
            killed = client.kill(name, node)
            assert (killed["killed"], killed["name"]) == (before, name)
            until(lambda: names_or_nothing(client, node).get(name, before) != before)  # noqa: B023 - called here
        until(lambda: {each["state"] for each in client.nodes()} == {"up"})
        assert client.submit_task("add", 1, 2).get(LONG) == 3


def names_or_nothing(client: Client, node: str) -> dict[str | None, str]:
    """Of a node that may just be on its way back into the cluster."""
    try:
        return names(client.tree(node))
    except otpq.QueryFailed:
        return {}


def test_a_traced_process_shows_its_messages_until_it_ends(cluster: Cluster) -> None:
    cluster.start(1, workers=0)
    cluster.start(2, workers=1)
    with cluster.connect() as client:
        messages = client.trace("pool default", cluster.name(2))
        payload = "tell nobody " * 100
        client.submit_task("later", payload).get(LONG)
        seen = ""
        while "Dispatch(" not in seen or "Committed(" not in seen:
            message = next(messages)
            assert message["kind"] in {"receive", "cast", "send", "call", "reply"}
            assert len(message["message"]) < 600
            seen += message["message"]
        assert "tell nobody" * 12 not in seen
        client.kill("pool default", cluster.name(2))
        assert [message["message"] for message in messages if message["kind"] == "ended"] == ["Killed()"]


def test_the_trace_of_a_task_has_its_steps_and_its_lines(cluster: Cluster) -> None:
    cluster.start(1, workers=1)
    with cluster.connect() as client:
        handle = client.submit_task("fail", "no luck")
        messages = list(client.trace(handle.id))
        assert {"life"} <= {message["kind"] for message in messages}
        assert messages[-1]["message"].startswith("failed") or "failed" in messages[-1]["message"]


def test_the_awaited_client_sees_the_same(cluster: Cluster) -> None:
    cluster.start(1, workers=1)

    async def main() -> None:
        cookie_file = cluster.stage.home / ".otpq" / "cookie"
        async with otpq.connect_async(cluster.leader, timeout=LONG, cookie_file=cookie_file) as client:
            assert await (await client.submit_task("add", 1, 2)).get(LONG) == 3
            tree = await client.tree()
            assert (await client.info("node"))["pid"] == tree["pid"]
            async for message in client.trace("queue_server"):
                assert message["peer"] is None or message["peer"].startswith("<")
                break
            assert any("serve" in stack for stack in (await client.stacks("default/0")).values())
            assert (await client.drain(cluster.leader, wait=True))["leads"]

    asyncio.run(main())
    assert cluster.nodes[cluster.leader].wait() == 0


# --- one node's pool, and its end ------------------------------------------------------------------------------------


def test_one_nodes_pool_is_scaled_and_paused_alone(cluster: Cluster) -> None:
    cluster.start(1, workers=1)
    cluster.start(2, workers=1)
    with cluster.connect() as client:
        assert client.rpc(cluster.name(2), "scale", pool="default", workers=3) == {
            "pool": "default", "workers": 3, "before": 1,
        }  # fmt: skip
        until(lambda: [each["node"] for each in client.workers() if each["child"]].count(cluster.name(2)) == 3)
        assert [each["node"] for each in client.workers()].count(cluster.name(1)) == 1
        assert client.rpc(cluster.name(2), "pause", pool="default")["paused"]
        assert client.rpc(cluster.name(2), "status")["pools"][0]["paused"]
        client.wait(
            [client.submit_task("add", n, n) for n in range(4)], LONG
        )  # what the paused one had asked for before
        tasks = client.wait(client.submit_many(otpq.Call("add", (n, n)) for n in range(50)), LONG)
        assert {task.history[-1].node for task in tasks} == {cluster.name(1)}
        assert client.rpc(cluster.name(2), "resume", pool="default") == {
            "pool": "default", "paused": False, "before": True,
        }  # fmt: skip
        assert not client.rpc(cluster.name(2), "status")["pools"][0]["paused"]


def test_a_drained_node_ends_what_runs_hands_back_the_rest_and_is_down(cluster: Cluster) -> None:
    cluster.start(1, workers=0)
    drained = cluster.start(2, workers=1)
    with cluster.connect() as client:
        running = client.submit(otpq.Call("wait_for", ("gate",)))
        until((cluster.stage.home / "gate.begun").exists)
        rest = [client.submit_task("add", n, n) for n in range(5)]
        process = cluster.stage.popen("drain", cluster.name(2), "--wait", "--node", cluster.leader)
        until(lambda: client.rpc(cluster.name(2), "status")["pools"][0]["draining"])
        drained.process.terminate()  # it is being done already, and takes back no grace
        (cluster.stage.home / "gate").touch()
        out, err = process.communicate(timeout=LONG)
        assert (process.returncode, err) == (0, "")
        assert f"node: {cluster.name(2)}" in out
        assert {each["node"]: each["state"] for each in client.nodes()}[cluster.name(2)] == "down"
        assert drained.wait() == 0
        assert running.get(LONG) == "gate"
        assert {task.attempt for task in map(client.get_task_status, (one.id for one in rest))} == {0}
        cluster.start(3, workers=1)
        assert [one.get(LONG) for one in rest] == [0, 2, 4, 6, 8]
