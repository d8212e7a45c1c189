"""The limits of time and memory on a whole node: in every executor, and with what a task has started."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from otpq.client.calls import Call
from otpq.worker.descendants import marked
from otpq.worker.kernel import is_portable
from otpq.worker.spawn import MARK
from tests.acceptance.test_crashes import runs_of
from tests.acceptance.test_misbehaviour import POOL
from tests.acceptance.test_node import wait_until
from tests.integration.worker.rounds import is_running

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import otpq
    from tests.acceptance.conftest import Stage

LONG = 60.0
LIMIT = 0.5
"""Seconds that a task may take here."""

APP = r'''
import asyncio, collections, itertools, os, signal, subprocess, sys, time
from pathlib import Path
import otpq

app = otpq.App("jobs")
place = Path(os.environ["JOBS_PLACE"])


@app.task(name="add")
def add(a, b):
    return a + b


def leave_grandchildren(name):
    """One of the child's session, and one of none of ours; who they are is written down before they are left alone."""
    kinds = {"of the session": False, "a daemon": True}
    for kind, is_daemon in kinds.items():
        if os.fork() == 0:
            try:
                for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                    signal.signal(number, signal.SIG_IGN)
                if is_daemon:
                    os.setsid()
                    if os.fork() != 0:
                        os._exit(0)
                with open(place / name, "a") as file:
                    file.write(f"{os.getpid()} ")
                os.execv("/bin/sleep", ["sleep", "600"])
            finally:
                os._exit(1)
    while not (place / name).exists() or len((place / name).read_text().split()) < len(kinds):
        time.sleep(0.005)


def block():
    """In C, with the interpreter lock, so that no signal is handled."""
    collections.deque(itertools.repeat(0), maxlen=0)


@app.task(name="block", retries=0)
def block_with_grandchildren(name):
    leave_grandchildren(name)
    block()


@app.task(name="ablock", retries=0)
async def ablock_with_grandchildren(name):
    leave_grandchildren(name)
    block()


@app.task(name="soft", retries=0, soft_timeout=0.1)
def soft(how):
    try:
        while True:
            time.sleep(0.005)
    except otpq.SoftTimeout:
        if how == "tidy":
            return "tidied"
        raise


@app.task(name="asoft", retries=0, soft_timeout=0.1)
async def asoft(how):
    try:
        await asyncio.sleep(600)
    except asyncio.CancelledError:
        if how == "tidy":
            return "tidied"
        raise


TAKE = """
import sys, time
kept = []
try:
    for _ in range(int(sys.argv[1])):
        kept.append(b"x" * (1 << 20))
        time.sleep(0.001)
except MemoryError:  # it keeps what it has got
    time.sleep(600)
print(len(kept))
"""


@app.task(name="take", retries=0)
def take(mib):
    """Hold so many MiB for a moment."""
    kept = []
    for _ in range(mib):
        kept.append(b"x" * (1 << 20))
        time.sleep(0.001)
    return len(kept)


@app.task(name="take_by_others", retries=0)
def take_by_others(mib):
    """The same in a program of its own, whose failure is the task's."""
    said = subprocess.run([sys.executable, "-c", TAKE, str(mib)], capture_output=True, text=True, check=True)
    return said.stdout


@app.task(name="hold", retries=0)
def hold(number, seconds):
    """Write down when it began and when it ended."""
    log = os.open(place / "marks", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(log, f"start {number} {os.getpid()} {time.monotonic_ns()}\n".encode())
    time.sleep(seconds)
    os.write(log, f"end {number} {os.getpid()} {time.monotonic_ns()}\n".encode())
    os.close(log)
    return number


@app.task(name="wait_for", retries=0)
def wait_for(name):
    (place / f"{name}.begun").touch()
    while not (place / name).exists():
        time.sleep(0.01)
    return name
'''

SCRIPT = """#!/bin/sh
# Deaf, blocked, and with a daemon of its own.
trap '' TERM HUP INT
setsid sh -c 'trap "" TERM HUP INT; echo $$ >> "$0"; while :; do sleep 1; done' "$1" &
echo $$ >> "$1"
echo begun
while :; do sleep 1; done
"""

linux = pytest.mark.skipif(sys.platform != "linux", reason="the memory of a process is read from /proc")


SCRIPTS = {
    "deaf": SCRIPT,
    "take.py": "import time\nkept = []\nfor _ in range(1500):\n    kept.append(b'x' * (1 << 20))\n    time.sleep(0.001)\n",
}


@pytest.fixture
def app(stage: Stage) -> None:
    stage.app.write_text(APP, encoding="utf-8")


@pytest.fixture(scope="module")
def place(shared_stage: Stage) -> Iterator[Place]:
    """A node with a pool for each executor, which serves the queue of that name by one child; it ends as it should."""
    scripts = shared_stage.home / "scripts"
    scripts.mkdir()
    for name, text in SCRIPTS.items():
        (scripts / name).write_text(text)
        (scripts / name).chmod(0o755)
    shared_stage.app.write_text(APP, encoding="utf-8")
    pools = {executor: POOL[executor].replace("queues=io", f"queues={executor}") for executor in POOL}
    pools["script"] = "executor=script,queues=script,min=1,max=1"
    words = [word for name, settings in pools.items() for word in ("--pool", f"{name}:{settings}")]
    node = shared_stage.node("--workers", "1", "--script-dir", str(scripts), *words)
    with shared_stage.connect() as client:
        place = Place(shared_stage.home, scripts, client)
        yield place
    assert node.terminate() == 0, "".join(node.err)
    assert place.incarnations
    if not is_portable():
        assert [pid for one in place.incarnations for pid in marked(f"{MARK}={one}")] == []


@dataclass
class Place:
    """The node that tests share which bring one child of it to its end."""

    home: Path
    scripts: Path
    client: otpq.Client
    incarnations: set[str] = field(default_factory=set)

    def wait(self, *handles: otpq.TaskHandle[Any]) -> list[otpq.Task]:
        """The tasks, ended."""
        tasks = self.client.wait(handles, LONG)
        self.incarnations |= {entry.incarnation for task in tasks for entry in task.history if entry.incarnation}
        return tasks


def pids_in(file: Path) -> list[int]:
    return [int(word) for word in file.read_text("ascii").split()]


def check_gone(pids: Sequence[int], tasks: Sequence[otpq.Task]) -> None:
    """What a task had started has ended with its child, daemons too, though the node goes on."""
    assert pids
    if not is_portable():
        wait_until(lambda: not any(is_running(pid) for pid in pids))
    assert {(task.state, task.attempt) for task in tasks} <= {("succeeded", 1)}


executors = pytest.mark.parametrize("executor", POOL)


@executors
@pytest.mark.parametrize("name", ["block", "ablock"], ids=["function", "coroutine"])
def test_a_task_that_blocks_in_c_ends_at_its_timeout_with_all_that_it_has_started(
    place: Place, executor: str, name: str
) -> None:
    client, pids = place.client, f"{executor}.{name}"
    neighbours = client.submit_many(Call("add", (n, 1), queue=executor) for n in range(20))
    handle = client.submit(Call(name, (pids,), queue=executor, timeout=LIMIT))
    neighbours += client.submit_many(Call("add", (n, 1), queue=executor) for n in range(20))
    task, *others = place.wait(handle, *neighbours)
    assert (task.state, task.reason, task.attempt) == ("failed", "timeout", 1), task.error
    assert task.error is not None
    assert task.error.type == "TimeoutError"
    check_gone(pids_in(place.home / pids), others)
    assert client.submit(Call("add", (20, 22), queue=executor)).get(LONG) == 42


@pytest.mark.parametrize("executor", [*POOL, "script"])
def test_a_script_that_is_deaf_ends_at_its_timeout_with_all_that_it_has_started(place: Place, executor: str) -> None:
    client, deaf, pids = place.client, place.scripts / "deaf", place.home / f"{executor}.script"
    handle = client.submit_script(deaf, [pids], queue=executor, timeout=2 * LIMIT, retries=0)
    (task,) = place.wait(handle)
    assert (task.state, task.reason, task.attempt) == ("failed", "timeout", 1), task.error
    assert "begun" in [line.text for line in client.logs(task.id) if line.stream == "out"]
    check_gone(pids_in(pids), [])
    (second,) = place.wait(client.submit_script(deaf, [pids], queue=executor, timeout=LIMIT, retries=0))
    assert (second.state, second.reason) == ("failed", "timeout")


@executors
@pytest.mark.parametrize("name", ["soft", "asoft"], ids=["function", "coroutine"])
def test_a_soft_timeout_comes_first_and_the_child_lives_on(place: Place, executor: str, name: str) -> None:
    first, second = place.wait(*place.client.submit_many(Call(name, (how,), queue=executor) for how in ("tidy", "not")))
    assert first.result == "tidied", first.error
    assert (second.state, second.reason, second.attempt) == ("failed", "timeout", 1)
    assert second.error is not None
    assert "its soft timeout of 0.1 s is over" in second.error.message
    assert len({entry.pid for task in (first, second) for entry in task.history if entry.pid}) == 1


# --- memory ---------------------------------------------------------------------------------------------------------


@linux
@executors
@pytest.mark.parametrize("name", ["take", "take_by_others"])
def test_a_task_that_takes_more_than_its_memory_is_stopped_whoever_takes_it(
    place: Place, executor: str, name: str
) -> None:
    """What the handler's own programs take is its own."""
    handle = place.client.submit(Call(name, (1500,), queue=executor, memory="200M"))
    small = place.client.submit_many(Call(name, (20,), queue=executor, memory="200M") for _ in range(4))
    task, *others = place.wait(handle, *small)
    assert (task.state, task.reason, task.attempt) == ("failed", "memory", 1), task.error or task.result
    assert [int(other.result) for other in others] == [20] * 4
    assert {other.attempt for other in others} == {1}


@linux
def test_a_script_that_takes_more_than_its_memory_is_stopped(place: Place) -> None:
    handle = place.client.submit_script(place.scripts / "take.py", queue="process", memory=200, retries=0)
    (task,) = place.wait(handle)
    assert (task.state, task.reason, task.attempt) == ("failed", "memory", 1), task.error


@pytest.mark.usefixtures("app")
@pytest.mark.parametrize("executor", ["process", "thread"])
def test_two_tasks_that_do_not_fit_into_the_node_s_memory_never_overlap(stage: Stage, executor: str) -> None:
    pool = {"process": "executor=process,queues=io,min=3,max=3", "thread": POOL["thread"]}[executor]
    stage.node("--memory", "500M", "--workers", "1", "--pool", f"io:{pool}")
    with stage.connect() as client:
        large = client.submit_many(Call("hold", (n, 0.05), queue="io", memory="300M") for n in range(8))
        light = client.submit_many(Call("hold", (100 + n, 0.05), queue="io", memory="50M") for n in range(8))
        free = client.submit_many(Call("hold", (200 + n, 0.05), queue="io") for n in range(8))
        tasks = client.wait([*large, *light, *free], LONG)
    assert {(task.state, task.attempt) for task in tasks} == {("succeeded", 1)}
    spans = spans_of(stage.home / "marks")
    assert len(spans) == 24
    for begin, _, _ in spans:
        running = [memory for first, last, memory in spans if first <= begin < last]
        assert sum(running) <= 500, spans
        assert running.count(300) <= 1


@pytest.mark.usefixtures("app")
def test_a_task_that_waits_for_memory_says_so_and_starts_when_it_is_free(stage: Stage) -> None:
    stage.node("--memory", "500M", "--workers", "2")
    with stage.connect() as client:
        holder = client.submit(Call("wait_for", ("gate",), memory="300M"))
        wait_until((stage.home / "gate.begun").exists)
        waiting = client.submit(Call("wait_for", ("other",), memory="300M"))
        nobody = client.submit(Call("add", (1, 2), memory="9G"))
        assert client.submit(Call("add", (1, 2), memory="100M")).get(LONG) == 3  # what fits overtakes
        wait_until(lambda: code_of(client.why(waiting.id)) == "no_memory")
        said = client.why(waiting.id)
        assert said is not None
        assert (said["facts"]["needs"], said["facts"]["capacity"]) == (300, 500)
        assert said["facts"]["free"] == 200
        wait_until(lambda: code_of(client.why(nobody.id)) == "no_memory")
        assert not (stage.home / "other.begun").exists()
        (stage.home / "gate").touch()
        (stage.home / "other").touch()
        assert [handle.get(LONG) for handle in (holder, waiting)] == ["gate", "other"]
        assert nobody.state == "queued"
        assert nobody.cancel() == "cancelled"


def code_of(said: dict[str, Any] | None) -> str | None:
    return None if said is None else str(said["code"])


def spans_of(marks: Path) -> list[tuple[int, int, int]]:
    """Of each task when it began, when it ended, and the MiB that it had asked for."""
    memory = {0: 300, 1: 50, 2: 0}
    return [(marks[0][0], marks[-1][0], memory[number // 100]) for number, marks in runs_of(marks).items()]
