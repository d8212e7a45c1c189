"""Two thousand tasks while children, warden and node are killed: none lost, one outcome each, no two runs at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections import defaultdict
from random import Random
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from otpq.client.calls import Call
from otpq.client.errors import NodeUnreachable, NotAnswered
from otpq.store.check import check
from otpq.task import TaskState
from otpq.wire.cookie import Cookie

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.conftest import RunningNode, Stage

TASKS = 2_000
KILLS = 24
LONG = 90.0
OFTEN: dict[str, Any] = {"retries": 1000, "retry_delay": 0.0}


def descendants(pid: int) -> list[psutil.Process]:
    found: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        found += psutil.Process(pid).children(recursive=True)
    return found


def children_of(node: RunningNode) -> list[psutil.Process]:
    """The processes that run handlers."""
    found = []
    for process in descendants(node.process.pid):
        with contextlib.suppress(psutil.Error):
            if "otpq.worker.child" in " ".join(process.cmdline()):
                found.append(process)
    return found


def is_at_work(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def wardens_of(node: RunningNode) -> list[psutil.Process]:
    """Both halves of the warden."""
    found = []
    for process in descendants(node.process.pid):
        with contextlib.suppress(psutil.Error):
            if "otpq.worker.child" not in " ".join(process.cmdline()):
                found.append(process)
    return found


def runs_of(marks: Path) -> dict[int, list[tuple[int, int, str]]]:
    """Of each task its marks: (time, pid, start or end), in the order of time."""
    runs: dict[int, list[tuple[int, int, str]]] = defaultdict(list)
    for line in marks.read_text().splitlines():
        what, number, pid, at = line.split()
        runs[int(number)].append((int(at), int(pid), what))
    return {number: sorted(marks) for number, marks in runs.items()}


def overlaps(marks: list[tuple[int, int, str]]) -> bool:
    """Whether a process wrote of a task after another process had begun it: then two runs were under way at once."""
    begun: list[int] = []
    for _, pid, what in marks:
        if pid in begun[:-1]:
            return True
        if what == "start" and begun[-1:] != [pid]:
            begun.append(pid)
    return False


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [1])
def test_killed_from_all_sides_nothing_is_lost_and_nothing_runs_twice_at_once(stage: Stage, seed: int) -> None:
    random = Random(seed)  # noqa: S311 - no secret
    node = stage.node("--workers", "2")
    kills: dict[str, int] = defaultdict(int)
    with stage.connect() as client:
        handles = client.submit_many(Call("marked", (number, 0.004), {}, **OFTEN) for number in range(TASKS))
        for _ in range(KILLS):
            time.sleep(random.uniform(0.05, 0.4))
            victim = random.choice(["child", "child", "every child", "warden", "node"])
            kills[victim] += 1
            if victim == "node":
                node.kill()
                node = stage.node("--workers", "2")
                continue
            victims = wardens_of(node)[:1] if victim == "warden" else children_of(node)
            for process in victims[:1] if victim == "child" else victims:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGKILL)
        deadline = time.monotonic() + LONG
        tasks: list[Any] = []
        while time.monotonic() < deadline and not tasks:
            with contextlib.suppress(NodeUnreachable, NotAnswered):
                tasks = client.wait(handles, timeout=deadline - time.monotonic())
    assert sum(kills.values()) >= 20
    assert {task.state for task in tasks} == {TaskState.SUCCEEDED}
    assert sorted(task.result for task in tasks) == list(range(TASKS))
    runs = runs_of(stage.home / "marks")
    assert sorted(runs) == list(range(TASKS))
    for number, marks in runs.items():
        ends = [at for at, _, what in marks if what == "end"]
        assert ends, number
        assert not overlaps(marks), (number, marks)
    below = descendants(node.process.pid)
    assert node.terminate() == 0
    assert [process.pid for process in below if psutil.pid_exists(process.pid)] == []
    assert check(stage.home / ".otpq" / stage.name / "store.db") == []


def test_a_poison_task_fails_after_its_runs_and_its_neighbours_lose_no_attempt(stage: Stage) -> None:
    stage.node("--workers", "1")
    with stage.connect() as client:
        neighbours = client.submit_many(Call("add", (n, 1)) for n in range(50))
        poison = client.submit(Call("die", (), {}, retries=2, retry_delay=0.0))
        neighbours += client.submit_many(Call("add", (n, 1)) for n in range(50))
        (poisoned, *rest) = client.wait([poison, *neighbours], timeout=LONG)
    assert (poisoned.state, poisoned.reason, poisoned.attempt) == (TaskState.FAILED, "crashed", 3)
    assert poisoned.error is not None
    assert "SIGKILL" in poisoned.error.message
    assert {(task.state, task.attempt) for task in rest} == {(TaskState.SUCCEEDED, 1)}


def test_a_stopped_child_is_replaced_and_its_task_runs_again(stage: Stage) -> None:
    node = stage.node("--workers", "1")
    with stage.connect() as client:
        handle = client.submit(Call("wait_for", ("gate",), {}, **OFTEN))
        while not (stage.home / "gate.begun").exists():
            time.sleep(0.01)
        (child,) = children_of(node)
        os.kill(child.pid, signal.SIGSTOP)
        (stage.home / "gate").touch()
        assert handle.get(timeout=LONG) == "gate"
        assert handle.task().attempt == 2


def test_a_node_that_is_back_before_its_old_warden_is_done_hears_of_that_later(stage: Stage) -> None:
    node = stage.node("--workers", "1")
    with stage.connect() as client:
        handle = client.submit(Call("wait_for", ("gate",)))
        while not (stage.home / "gate.begun").exists():
            time.sleep(0.01)
        wardens, (child,) = wardens_of(node), children_of(node)
        for process in wardens:
            process.send_signal(signal.SIGSTOP)
        try:
            node.process.kill()  # not `node.kill`: its pipes stay open as long as those who were stopped
            node.process.wait()
            stage.node("--workers", "1")
        finally:
            for process in wardens:
                with contextlib.suppress(psutil.NoSuchProcess):  # the first to go on may have ended the other
                    process.send_signal(signal.SIGCONT)
        while is_at_work(child):  # a run that ended before its warden came to it would be charged to nobody
            time.sleep(0.01)
        (stage.home / "gate").touch()
        (task,) = client.wait([handle], timeout=LONG)
    # Had its lease come to its term, nobody could have said what had been started: an interruption, and no charge.
    assert (task.result, task.attempt, task.interruptions) == ("gate", 2, 0)


def test_a_stopped_node_goes_on_where_it_was(stage: Stage) -> None:
    node = stage.node("--workers", "2")
    with stage.connect() as client:
        handles = client.submit_many(Call("marked", (number, 0.01), {}, **OFTEN) for number in range(100))
        node.process.send_signal(signal.SIGSTOP)
        time.sleep(1.0)
        node.process.send_signal(signal.SIGCONT)
        tasks = client.wait(handles, timeout=LONG)
    assert {(task.state, task.attempt) for task in tasks} == {(TaskState.SUCCEEDED, 1)}


def test_a_node_that_is_stopped_for_longer_than_its_lease_is_fenced_and_goes_on(stage: Stage) -> None:
    """Its warden ends what runs, within the lease; when it goes on, all runs again, no two runs at once, none charged."""
    node = stage.node("--workers", "2", "--lease", "1.0")
    with stage.connect() as client:
        handles = client.submit_many(Call("marked", (number, 0.1), {}, **OFTEN) for number in range(60))
        for seconds in (3.5, 2.0):  # longer than what the queue server waits, and shorter
            client.wait(handles[:10], timeout=LONG)
            before = children_of(node)
            assert len(before) == 2
            node.process.send_signal(signal.SIGSTOP)
            time.sleep(seconds)
            while any(is_at_work(child) for child in before):
                time.sleep(0.01)
            node.process.send_signal(signal.SIGCONT)
            handles += client.submit_many(
                Call("marked", (number, 0.1), {}, **OFTEN) for number in range(len(handles), 90)
            )
            eventually_two = time.monotonic() + LONG
            while len(children_of(node)) < 2:
                assert time.monotonic() < eventually_two, "".join(node.err)
                time.sleep(0.05)
        tasks = client.wait(handles, timeout=LONG)
        assert client.stats()["charges"] == 0
    assert {(task.state, task.attempt) for task in tasks} == {(TaskState.SUCCEEDED, 1)}
    runs = runs_of(stage.home / "marks")
    assert sorted(runs) == list(range(len(handles)))
    assert [number for number, marks in runs.items() if overlaps(marks)] == []
    assert node.terminate() == 0
    assert check(stage.home / ".otpq" / stage.name / "store.db") == []


@pytest.mark.parametrize("nth", [1, 2, 4])
@pytest.mark.parametrize("point", ["commit.before", "commit.after", "send.before", "send.after", "dispatch.after"])
@pytest.mark.parametrize("what", ["kill", "error"])
def test_a_fault_around_a_commit_or_a_send_loses_nothing(stage: Stage, point: str, nth: int, what: str) -> None:
    Cookie.ensure(stage.home / ".otpq" / "cookie")
    stage.environment["OTPQ_FAULT"] = f"{point}:{nth}:{what}"
    fragile = stage.popen("node", "--name", stage.name, "--app", f"{stage.app}:app", "--workers", "1")
    del stage.environment["OTPQ_FAULT"]

    def succeed_it() -> None:
        fragile.communicate()
        stage.node("--workers", "1")

    successor = threading.Thread(target=succeed_it, daemon=True)
    if what == "kill":
        successor.start()
    try:
        with stage.connect() as client:
            receipts = [client.submit_soon(Call("add", (n, 1))) for n in range(30)]
            tasks = client.wait([receipt.handle(timeout=LONG) for receipt in receipts], timeout=LONG)
            counts = client.counts()["default"]
    finally:
        fragile.kill()
        if what == "kill":
            successor.join(LONG)
        else:
            fragile.communicate()
    assert [task.result for task in tasks] == [n + 1 for n in range(30)]
    assert counts["succeeded"] == 30
