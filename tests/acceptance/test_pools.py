"""Several pools in one node, and new code without a pause."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

import otpq
from tests.acceptance.conftest import LONG

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.client.client import Client
    from tests.acceptance.conftest import Stage


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end, "never"
        time.sleep(0.02)


def workers(client: Client, pool: str) -> list[dict[str, object]]:
    return [each for each in client.workers() if each["pool"] == pool and each["child"] is not None]


def test_each_pool_serves_its_queues(stage: Stage) -> None:
    stage.node("--pool", "mail:queues=mail|post,tags=slow,min=1")
    with stage.connect() as client:
        calls = {queue: otpq.Call("add", (1, 1), queue=queue) for queue in ("default", "mail", "post")}
        ran = {queue: client.wait([client.submit(call)], LONG)[0] for queue, call in calls.items()}
        where = {queue: str(task.history[-1].worker).split("/")[0] for queue, task in ran.items()}
        assert where == {"default": "default", "mail": "mail", "post": "mail"}
        until(lambda: len(workers(client, "mail")) == 1)
        assert workers(client, "mail")[0]["tags"] == ["slow"]
        assert len(workers(client, "default")) == 2


def test_no_pool_waits_for_another_to_end(stage: Stage) -> None:
    node = stage.node("--pool", "mail:queues=mail,min=1", "--grace", "1")
    with stage.connect() as client:
        handles = [client.submit(otpq.Call("wait_for", (queue,), queue=queue)) for queue in ("default", "mail")]
        until(lambda: all((stage.home / f"{queue}.begun").exists() for queue in ("default", "mail")))
    assert node.terminate() == 0
    for queue in ("default", "mail"):
        (stage.home / queue).touch()
    stage.node("--pool", "mail:queues=mail,min=1")
    with stage.connect() as client:
        for task in client.wait([client.handle(handle.id) for handle in handles], LONG):
            assert (task.state, task.attempt, task.interruptions) == ("succeeded", 1, 0)


def test_a_hangup_brings_new_code_under_load_and_nobody_notices(stage: Stage) -> None:
    node = stage.node()
    code = stage.app.read_text()
    with stage.connect() as client:
        done = client.submit(otpq.Call("wait_for", ("gate",)))
        until((stage.home / "gate.begun").exists)
        handles = []
        for edition in range(3):
            # Each of another size: bytecode is told from its source by size and second, and all are written in one second.
            stage.app.write_text(code.replace("return a + b", f"return a + b + {1000 * (edition + 1)}{' ' * edition}"))
            os.kill(node.process.pid, signal.SIGHUP)
            end = time.monotonic() + LONG
            while (seen := client.submit(otpq.Call("add", (1, 1))).get(LONG)) < 1000 * (edition + 1):
                assert time.monotonic() < end, seen
                handles += client.submit_many([otpq.Call("add", (n, 1)) for n in range(50)])
        tasks = client.wait(handles, LONG)
        assert {(task.state, task.attempt, task.interruptions) for task in tasks} == {("succeeded", 1, 0)}
        (stage.home / "gate").touch()
        assert done.get(LONG) == "gate"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--pool", "io:executor=fiber"), "executor='fiber' is not allowed"),
        (("--pool", "io:excutor=thread"), "did you mean 'executor'?"),
        (("--script-dir", "nowhere"), "absolute paths of directories that are there"),
        (("--memory", "much"), "memory='much' is not allowed"),
    ],
)
def test_what_cannot_be_right_is_one_line(stage: Stage, words: tuple[str, ...], said: str) -> None:
    ended = stage.otpq("node", "--name", stage.name, *words)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
