"""A cluster.yaml: a node of it by `otpq node --config`, and all that live here by `otpq up`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import psutil
import pytest

from otpq.cli.up import is_here
from otpq.client.calls import Call
from otpq.client.client import connect
from otpq.client.errors import NodeUnreachable, QueueFull
from otpq.wire.cookie import Cookie
from tests.acceptance.conftest import LONG, RunningNode, Stage, reserve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from otpq.client.client import Client


@pytest.fixture
def other() -> Iterator[str]:
    """The name of a second node, on an address of its own."""
    name, held = reserve()
    yield f"{name}@127.0.0.2"
    held.close()


@pytest.fixture
def file(stage: Stage, other: str) -> Path:
    (stage.home / ".otpq").mkdir()
    Cookie.new().write(stage.home / ".otpq" / "cookie", replace=True)  # there before the nodes: a test may be faster
    path = stage.home / "cluster.yaml"
    path.write_text(
        f"nodes:\n"
        f"  {stage.name}:\n    pools: {{default: {{queues: [near], max: 1}}}}\n"
        f"  {other}:\n    pools: {{default: {{queues: [far], max: 1}}}}\n"
        f"  z@192.0.2.1:\n"  # kept for documentation (RFC 5737): nobody's
        f"app: jobs.py:app\n"
        f"handlers: {{add: {{max_concurrency: 3}}}}\n"
        f"queues: {{near: {{max_size: 1}}}}\n"
    )
    return path


def limit_of(client: Client, handler: str) -> tuple[int | None, str]:
    (facts,) = [each for each in client.handlers() if each["handler"] == handler]
    return facts["limit"], facts["limit_from"]


def add(queue: str) -> Call:
    return Call("add", (1, 2), queue=queue)


def test_a_node_is_what_the_file_says_of_it(stage: Stage, file: Path) -> None:
    node = RunningNode(stage.popen("node", "--config", str(file), "--name", stage.name))
    try:
        node.wait_ready()
        with stage.connect() as client:
            assert client.submit(add("near")).get(LONG) == 3
            assert limit_of(client, "add") == (3, "file")
            client.submit(add("far"))  # nobody serves it: the other node is not there
            client.pause("near")
            client.submit(add("near"))
            with pytest.raises(QueueFull, match="near"):
                client.submit(add("near"))
            limits = {(of["of"], of["name"], of["limit"]): of for of in client.limits()}
            slots, size = limits["handler", "add", "max_concurrency"], limits["queue", "near", "max_size"]
            assert (slots["value"], slots["from"], slots["available"]) == (3, "file", 3)
            assert (size["value"], size["from"], size["used"], size["available"]) == (1, "file", 1, 0)
            assert limits["handler", "wait_for", "timeout"]["from"] == "default"
            assert limits["node", stage.name, "memory"]["from"] == "node"
            assert limits["retention", "all", "failed"]["value"] == 30 * 86_400
        said = stage.otpq("limits", "--node", stage.name).stdout.splitlines()
        assert [line.split() for line in said if " max_" in line and "none" not in line] == [
            ["handler", "add", "max_concurrency", "3", "0", "3", "leader's", "file"],
            ["queue", "near", "max_size", "1", "1", "0", "leader's", "file"],
        ]
    finally:
        assert node.terminate() == 0, "".join(node.err)


def test_a_wrong_file_is_one_line(stage: Stage, file: Path) -> None:
    file.write_text(file.read_text() + "graze: 3\n")
    ended = stage.otpq("node", "--config", str(file), "--name", stage.name)
    assert ended.returncode == 2
    assert ended.stderr == "otpq: unknown key 'graze' in cluster.yaml, line 10; did you mean 'grace'?\n"


@pytest.mark.skipif(not is_here("127.0.0.2"), reason="this system has one loopback address")
def test_up_runs_the_nodes_of_this_host_until_it_is_told_to_end(stage: Stage, file: Path, other: str) -> None:
    up = RunningNode(stage.popen("up", "--config", str(file)))
    try:
        with stage.connect() as client:
            handles = [client.submit(add(queue)) for queue in ("near", "far")]
            assert [task.result for task in client.wait(handles, LONG)] == [3, 3]
            ran = [client.get_task_status(handle.id).history[-1].node for handle in handles]
            assert ran == [stage.name, other]
    finally:
        code = up.terminate()
    assert code == 0, "".join(up.out)
    drained = [line.partition(" |")[0].strip() for line in up.out if "draining" in line]
    assert drained == [other, stage.name]  # the node that leads last: it takes back what the other cannot end
    named = {line.partition(" |")[0].strip() for line in up.out}
    assert named == {stage.name, other}  # and not the one of another host
    assert not any("\033" in line for line in up.out)  # it is no terminal
    with pytest.raises(NodeUnreachable):
        connect(stage.name, 0.1, cookie_file=stage.home / ".otpq" / "cookie")


@pytest.mark.skipif(not is_here("127.0.0.2"), reason="this system has one loopback address")
def test_up_says_that_a_node_ended_and_goes_on_with_the_others(stage: Stage, file: Path, other: str) -> None:
    file.write_text(file.read_text().replace(f"  {other}:\n", f"  {other}:\n    script_dirs: [none]\n"))
    up = RunningNode(stage.popen("up", "--config", str(file)))
    try:
        with stage.connect() as client:
            assert client.submit(add("near")).get(LONG) == 3
        _until(lambda: any("ended with exit code 2" in line for line in up.out))
        with stage.connect() as client:
            assert client.health()["ok"]
    finally:
        code = up.terminate()
    assert code == 2, "".join(up.out)


@pytest.mark.skipif(not is_here("127.0.0.2"), reason="this system has one loopback address")
def test_no_node_outlives_up(stage: Stage, file: Path) -> None:
    up = RunningNode(stage.popen("up", "--config", str(file)))
    with stage.connect() as client:
        assert client.submit(add("far")).get(LONG) == 3
        nodes = psutil.Process(up.process.pid).children()
    assert len(nodes) == 2
    up.kill()
    assert psutil.wait_procs(nodes, LONG)[1] == []


def _until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)
