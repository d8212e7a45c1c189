"""Handlers that end their run on purpose, on a whole node."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

import otpq
from otpq.client.calls import Call
from otpq.task import TaskState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.acceptance.conftest import Stage

LONG = 60.0

APP = """
import asyncio, os, time
from pathlib import Path
import otpq

app = otpq.App("jobs")
place = Path(os.environ["JOBS_PLACE"])


def runs(name):
    with open(place / name, "a") as file:
        file.write("x")
    return (place / name).stat().st_size


class Odd(otpq.Retry):
    def __init__(self):
        pass  # forgets its parent's


@app.task(name="again", retries=2, retry_delay=3600, retry_on=OSError)
def again(name, times):
    n = runs(name)
    if n <= times:
        raise otpq.Retry("not yet", delay=0.01) from ValueError("busy")
    return n


@app.task(name="odd", retries=1, retry_delay=0.01)
def odd():
    if runs("odd") == 1:
        raise Odd
    return "done"


@app.task(name="nap", retries=0)
def nap(times):
    n = runs("nap")
    if n <= times:
        raise otpq.Snooze(0.01)
    return n


@app.task(name="async_cancel")
async def async_cancel():
    raise otpq.Cancel("sold out")


@app.task(name="hungry", retries=1, retry_delay=0.01, memory="150M")
def hungry(mebibytes):
    runs("hungry")
    kept = [bytes([1]) * 2**20 for _ in range(mebibytes)]
    time.sleep(60 if mebibytes > 200 else 0.2)
    return len(kept)


@app.task(name="slow", retries=0, soft_timeout=0.1)
def slow(how):
    try:
        while True:
            time.sleep(0.01)
    except otpq.SoftTimeout:
        if how == "tidy":
            return "tidied"
        raise


@app.task(name="async_slow", retries=0)
async def async_slow():
    await asyncio.sleep(60)


@app.task(name="discard", retries=5)
def discard():
    runs("discard")
    raise otpq.Discard("no such order")
"""


@pytest.fixture(scope="module")
def client(shared_stage: Stage) -> Iterator[otpq.Client]:
    """Of one node for all: each task here is its test's own, and so is what it leaves behind."""
    shared_stage.app.write_text(APP, encoding="utf-8")
    shared_stage.node("--workers", "1")
    with shared_stage.connect() as client:
        yield client


def test_a_handler_asks_for_another_attempt_when_it_wants_it(client: otpq.Client) -> None:
    handle = client.submit(Call("again", ("twice", 2)))
    assert handle.get(LONG) == 3
    task = handle.task()
    assert (task.state, task.attempt) == (TaskState.SUCCEEDED, 3)
    assert [entry.target for entry in task.history].count(TaskState.RETRYING) == 2


def test_the_attempt_that_is_asked_for_counts(client: otpq.Client) -> None:
    handle = client.submit(Call("again", ("ever", 9)))
    with pytest.raises(otpq.TaskFailed, match="not yet") as failed:
        handle.get(LONG)
    assert "ValueError: busy" in str(failed.value)
    assert handle.task().attempt == 3


def test_a_class_of_the_users_own_may_forget_its_delay(client: otpq.Client) -> None:
    assert client.submit(Call("odd")).get(LONG) == "done"


def test_a_snoozed_run_does_not_count(client: otpq.Client) -> None:
    handle = client.submit(Call("nap", (3,)))
    assert handle.get(LONG) == 4
    task = handle.task()
    assert task.attempt == 1
    assert [entry.target for entry in task.history].count(TaskState.PENDING) == 3


def test_a_handler_cancels_its_task(client: otpq.Client) -> None:
    handle = client.submit(Call("async_cancel"))
    with pytest.raises(otpq.TaskCancelled):
        handle.get(LONG)
    assert handle.state is TaskState.CANCELLED


def test_a_soft_timeout_lets_a_handler_put_its_things_in_order(client: otpq.Client) -> None:
    assert client.submit(Call("slow", ("tidy",))).get(LONG) == "tidied"
    assert client.submit(Call("slow", ("tidy",), soft_timeout=0.02)).get(LONG) == "tidied"


@pytest.mark.parametrize(
    "call", [Call("slow", ("not",)), Call("async_slow", soft_timeout=0.05)], ids=["function", "coroutine"]
)
def test_a_soft_timeout_that_is_not_caught_fails_the_attempt_and_the_child_lives_on(
    client: otpq.Client, call: Call
) -> None:
    handle = client.submit(call)
    with pytest.raises(otpq.TaskFailed, match="its soft timeout of"):
        handle.get(LONG)
    task = handle.task()
    assert (task.reason, task.attempt) == ("timeout", 1)
    (after,) = client.wait([client.submit(Call("slow", ("tidy",)))], LONG)
    assert after.result == "tidied"
    assert len({entry.pid for each in (task, after) for entry in each.history if entry.pid}) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="the memory of a child is read from /proc")
def test_a_task_that_takes_too_much_memory_is_ended_and_its_neighbours_are_not_charged(client: otpq.Client) -> None:
    handle = client.submit(Call("hungry", (400,)))
    small = client.submit_many(Call("hungry", (20,)) for _ in range(3))
    with pytest.raises(otpq.TaskFailed, match=r"150 are allowed|for want of memory"):
        handle.get(LONG)
    task = handle.task()
    assert (task.reason, task.attempt) == ("memory", 2)
    assert [one.get(LONG) for one in small] == [20, 20, 20]
    assert {one.task().attempt for one in small} == {1}


def test_a_discarded_task_has_no_other_attempt(client: otpq.Client, shared_stage: Stage) -> None:
    handle = client.submit(Call("discard"))
    with pytest.raises(otpq.TaskFailed, match="no such order"):
        handle.get(LONG)
    assert (handle.task().attempt, (shared_stage.home / "discard").read_text("ascii")) == (1, "x")
