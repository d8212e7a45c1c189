"""What a node knows of its handlers, seen from outside: by names alone, as from another program or the command line."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from typing import TYPE_CHECKING

import pytest

import otpq
from otpq.client.calls import Call
from otpq.task import TaskState

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.conftest import Stage

LONG = 60.0

APP = """
import os, time
from pathlib import Path
import otpq

app = otpq.App("jobs")
place = Path(os.environ["JOBS_PLACE"])


def note(line):
    with open(place / "notes", "a") as file:
        file.write(line + "\\n")


@app.task(name="once", retries=0)
def once():
    note("once")
    raise ValueError("no")


@app.task(name="alone", max_concurrency=1, queue="narrow", priority="high", tags=["a"])
def alone(n):
    started = time.monotonic()
    time.sleep(0.02)
    return [started, time.monotonic(), os.getpid()]


class Odd(ConnectionError):
    pass


@app.task(name="net", retries=2, retry_delay=0.01, retry_on=OSError)
def net(kind):
    note(kind)
    raise {"odd": Odd, "value": ValueError, "reset": ConnectionResetError}[kind]("no")


@app.task(name="now")
def now():
    return 1


@app.default
def rest(payload):
    return payload
"""


def write(stage: Stage, source: str = APP) -> None:
    stage.app.write_text(source)


def notes(stage: Stage) -> list[str]:
    return (stage.home / "notes").read_text().split()


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_handler_declared_not_to_be_retried_runs_once_by_its_name_alone(stage: Stage) -> None:
    write(stage)
    stage.node()
    said = stage.otpq("submit", "once", "--wait")
    assert said.returncode == 1
    assert notes(stage) == ["once"]
    more = stage.otpq("submit", "once", "-o", "retries=1", "-o", "retry_delay=0.01", "--wait")
    assert more.returncode == 1
    assert notes(stage) == ["once"] * 3


def test_show_has_the_options_in_force_whoever_said_them(stage: Stage) -> None:
    write(stage)
    stage.node()
    with stage.connect() as client:
        client.submit_task("now").get(LONG)
        handle = client.submit(Call("net", ("odd",), delay=3600, timeout=7))
        options = handle.task().options
        assert (options["retries"], options["retry_on"], options["timeout"]) == (2, ("OSError",), 7.0)
        assert "retries: 2" in stage.otpq("show", handle.id).stdout


def test_a_limit_in_the_decorator_holds_between_two_workers(stage: Stage) -> None:
    write(stage)
    stage.node("--queues", "default,narrow")
    with stage.connect() as client:
        client.submit_task("now").get(LONG)
        handles = client.submit_many([Call("alone", (n,)) for n in range(30)])
        runs = sorted(handle.get(LONG) for handle in handles)
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(runs))
        task = client.get_task_status(handles[0].id)
        assert (task.queue, task.priority, task.tags) == ("narrow", 8, ("a",))
        facts = {each["handler"]: each for each in client.handlers()}
    assert facts["alone"]["limit"] == 1
    assert facts["alone"]["options"]["max_concurrency"] == 1
    assert facts["alone"]["runs"] == 30
    assert facts["alone"]["mean"] >= 0.02
    assert len(facts["alone"]["pools"]) == 1
    assert (facts["now"]["limit"], facts["now"]["known"]) == (None, True)


def test_a_task_that_nobody_can_run_waits_says_so_and_runs_when_somebody_can(stage: Stage) -> None:
    write(stage)
    node = stage.node()
    with stage.connect() as client:
        client.submit_task("now").get(LONG)
        with pytest.warns(otpq.UnknownHandlerWarning, match="no handler 'later' is known"):
            waiting = client.submit_task("later", 3)
        client.submit_task("later", 4)  # it warns once a name
        assert client.submit_task("now").get(LONG) == 1
        shown = stage.otpq("show", waiting.id).stdout
        assert "no_handler" in shown
        assert "later" in shown
        assert waiting.state == TaskState.QUEUED
        assert node.terminate() == 0

        write(stage, APP + "\n\n@app.task(name='later')\ndef later(n):\n    return n\n")
        stage.node()
        assert waiting.get(LONG) == 3
        (task,) = client.wait([waiting], LONG)
        assert task.attempt == 1
        assert client.why(waiting.id) is None


def test_a_task_is_placed_as_its_handler_wants_before_any_child_of_a_new_start_is_up(stage: Stage) -> None:
    write(stage)
    node = stage.node()
    with stage.connect() as client:
        client.submit_task("now").get(LONG)
        assert node.terminate() == 0
        write(stage, "import no_such_module_at_all\n")
        stage.node()
        task = client.get_task_status(client.submit_task("alone", 1).id)
        assert (task.queue, task.priority, task.tags) == ("narrow", 8, ("a",))


def test_a_misspelt_name_is_warned_of_or_refused(stage: Stage) -> None:
    write(stage)
    stage.node()
    assert stage.otpq("submit", "now", "--wait", "--strict").stdout == "1\n"
    warned = stage.otpq("submit", "onec")
    assert warned.returncode == 0
    assert warned.stderr == "otpq: no handler 'onec' is known; did you mean 'once'?\n"
    refused = stage.otpq("submit", "onec", "--strict")
    assert refused.returncode == 2
    assert refused.stderr == "otpq: the task was refused: no handler 'onec' is known; did you mean 'once'?\n"
    with stage.connect() as client:
        with pytest.raises(otpq.UnknownHandler, match="did you mean 'now'") as caught:
            client.submit_many(["now", "nwo"], strict=True)
        assert caught.value.code == "unknown_handler"
        assert client.counts()["default"]["queued"] == 1

    async def ask() -> None:
        cookie_file = stage.home / ".otpq" / "cookie"
        async with otpq.connect_async(stage.name, timeout=LONG, cookie_file=cookie_file) as client:
            with pytest.raises(otpq.UnknownHandler, match="did you mean 'now'"):
                await client.submit(Call("nwo"), strict=True)
            with pytest.warns(otpq.UnknownHandlerWarning, match="did you mean 'now'"):
                await client.submit(Call("nwo"))

    asyncio.run(ask())


def test_a_map_for_a_job_that_nobody_knows_goes_to_the_default_handler_whole(stage: Stage) -> None:
    write(stage)
    stage.node()
    with stage.connect() as client:
        client.submit_task("now").get(LONG)
        given = {"job": "nobody", "params": [1, 2], "priority": "high"}
        handle = client.submit_task(given)
        assert handle.get(LONG) == given
        task = client.get_task_status(handle.id)
        assert (task.name, task.priority) == ("@default", 8)
        assert client.submit_task({"job": "now"}).get(LONG) == 1


def test_an_error_is_retried_by_the_classes_that_it_is_of(stage: Stage) -> None:
    write(stage)
    stage.node()
    with stage.connect() as client:
        ends = [client.submit_task("net", "odd"), client.submit_task("net", "value")]
        ends.append(client.submit(Call("net", ("reset",), no_retry_on=[ConnectionError])))
        attempts = [task.attempt for task in client.wait(ends, LONG)]
    assert attempts == [3, 1, 1]


def test_a_pool_whose_children_cannot_load_the_app_is_seen_in_health(stage: Stage) -> None:
    write(stage, "import no_such_module_at_all\n")
    stage.node()

    def is_seen() -> bool:
        return bool(json.loads(stage.otpq("health", "--json").stdout)["problems"])

    wait_until(is_seen)
    said = stage.otpq("health")
    assert said.returncode == 1
    assert "ok: false" in said.stdout
    assert "worker default/" in said.stdout
    assert "no_such_module_at_all" in said.stdout
    write(stage)
    with stage.connect() as client:
        client.submit_task("now").get(LONG)
        wait_until(lambda: client.health()["ok"])
