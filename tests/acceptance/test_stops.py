"""Hundreds of tasks while processes are stopped and go on, and while actors inside the node crash."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from otpq.client.calls import Call
from otpq.store.check import check
from otpq.task import TaskState
from tests.acceptance.test_crashes import LONG, OFTEN, children_of, descendants, overlaps, runs_of, wardens_of
from tests.acceptance.test_node import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.conftest import RunningNode, Stage

TASKS = 500
STOPPED = 1.5
"""Seconds; less than a child may be silent, so nobody is to be blamed."""


def node_of(node: RunningNode) -> list[psutil.Process]:
    return [psutil.Process(node.process.pid)]


def all_of(node: RunningNode) -> list[psutil.Process]:
    return [*node_of(node), *wardens_of(node), *children_of(node)]


def run_through(stage: Stage, node: RunningNode, disturb: Callable[[], None]) -> list[Any]:
    """Run tasks, do something to the node in their middle, and check what always holds; the tasks as they ended."""
    marks = stage.home / "marks"
    with stage.connect() as client:
        handles = client.submit_many(Call("marked", (number, 0.004), {}, **OFTEN) for number in range(TASKS))
        wait_until(lambda: marks.exists() and marks.read_text().count("start") > 20)
        disturb()
        tasks = client.wait(handles, timeout=LONG)
    assert {task.state for task in tasks} == {TaskState.SUCCEEDED}
    assert [task.result for task in tasks] == list(range(TASKS))
    runs = runs_of(marks)
    assert sorted(runs) == list(range(TASKS))
    for number, seen in runs.items():
        assert "end" in [what for _, _, what in seen], number
        assert not overlaps(seen), (number, seen)
    below = descendants(node.process.pid)
    assert node.terminate() == 0
    assert [process.pid for process in below if psutil.pid_exists(process.pid)] == []
    assert check(stage.store) == []
    return tasks


@pytest.mark.parametrize(
    "who",
    [
        lambda node: [*children_of(node)[:1], *node_of(node)],
        lambda node: [*wardens_of(node), *children_of(node)[:1]],
        all_of,
    ],
    ids=["a child and the node", "the warden and a child", "all"],
)
def test_what_was_stopped_goes_on_and_nothing_is_lost_or_run_twice_at_once(
    stage: Stage, who: Callable[[RunningNode], list[psutil.Process]]
) -> None:
    node = stage.node()

    def stop_and_continue() -> None:
        pids = [process.pid for process in who(node)]
        assert len(pids) >= 2
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(STOPPED)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)

    tasks = run_through(stage, node, stop_and_continue)
    assert {task.attempt for task in tasks} == {1}


@pytest.mark.parametrize("nth", [1, 6])
@pytest.mark.parametrize("point", ["work.before", "answers.before"])
def test_a_crash_of_an_actor_in_the_middle_of_a_run_loses_nothing(stage: Stage, point: str, nth: int) -> None:
    stage.environment["OTPQ_FAULT"] = f"{point}:{nth}:error"
    node = stage.node()
    tasks = run_through(stage, node, lambda: None)
    assert any("InjectedFault" in line for line in node.err)
    assert max(task.attempt for task in tasks) <= 2
    assert sum(task.attempt > 1 for task in tasks) <= 2  # at most what a child was running when its worker fell


def test_crashes_of_all_actors_and_kills_of_their_processes_at_once(stage: Stage) -> None:
    stage.environment["OTPQ_FAULT"] = (
        "work.before:4:error,answers.before:5:error,commit.after:12:error,send.after:40:error"
    )
    node = stage.node()

    def kill_a_child_and_the_warden() -> None:
        for process in (*children_of(node)[:1], *wardens_of(node)[:1]):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    run_through(stage, node, kill_a_child_and_the_warden)
    assert sum("InjectedFault" in line for line in node.err) >= 4
