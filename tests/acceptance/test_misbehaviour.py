"""Handlers that do to their child whatever a handler can: what is recorded of each, and that nobody else suffers for it."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from otpq.client.calls import Call
from otpq.worker.descendants import marked
from otpq.worker.kernel import is_portable
from otpq.worker.spawn import MARK
from tests.acceptance.test_node import wait_until

if TYPE_CHECKING:
    import otpq
    from tests.acceptance.conftest import RunningNode, Stage

LONG = 90.0

APP = r'''
import asyncio, collections, ctypes, itertools, os, signal, subprocess, sys, threading, time
from pathlib import Path
import otpq

app = otpq.App("jobs")
place = Path(os.environ["JOBS_PLACE"])


@app.task(name="add")
def add(a, b):
    print("adding", a, b)
    return a + b


@app.task(name="leave_by_exit")
def leave_by_exit():
    sys.exit(3)


@app.task(name="leave_by_interrupt")
def leave_by_interrupt():
    raise KeyboardInterrupt("as if by Ctrl-C")


@app.task(name="leave_at_once")
def leave_at_once():
    os._exit(7)


@app.task(name="abort")
def abort():
    os.abort()


@app.task(name="segfault")
def segfault():
    ctypes.string_at(0)


@app.task(name="kill_the_group")
def kill_the_group():
    os.killpg(0, signal.SIGKILL)


@app.task(name="loop_in_c")
def loop_in_c():
    """It keeps the interpreter lock, and lets no signal be handled."""
    collections.deque(itertools.repeat(0), maxlen=0)


@app.task(name="loop_in_python")
def loop_in_python():
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass


@app.task(name="wait_for_the_deaf")
def wait_for_the_deaf():
    """For a program that ignores TERM."""
    subprocess.run(["/bin/sh", "-c", "trap '' TERM HUP INT; while :; do sleep 1; done"])


@app.task(name="ignore_signals")
def ignore_signals():
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM):
            signal.signal(number, signal.SIG_IGN)
    return "deaf"


@app.task(name="allocate")
def allocate():
    kept = []
    for _ in range(3000):  # so that a node that does not care leaves the machine alive
        kept.append(b"x" * (1 << 20))
        time.sleep(0.001)
    return len(kept)


@app.task(name="leave_daemons")
def leave_daemons():
    for _ in range(3):
        pid = os.fork()
        if pid == 0:
            try:
                os.setsid()
                if os.fork() != 0:
                    os._exit(0)
                for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                    signal.signal(number, signal.SIG_IGN)
                os.execv("/bin/sleep", ["sleep", "600"])
            finally:
                os._exit(1)
        os.waitpid(pid, 0)
    return "left"


@app.task(name="print_much")
def print_much():
    line = "x" * 1023
    for _ in range(50 * 1024):
        print(line)
        sys.stderr.write(line + "\n")
    return "printed"


@app.task(name="write_much")
def write_much():
    """Past Python, as C code does."""
    for _ in range(1600):
        os.write(1, b"x" * 65535 + b"\n")
    return "written"


@app.task(name="close_everything")
def close_everything():
    os.closerange(0, 4096)
    return "closed"


@app.task(name="close_its_output")
def close_its_output():
    sys.stdout.close()
    sys.stderr.close()
    os.close(1)
    os.close(2)
    return "closed"


@app.task(name="move")
def move():
    os.chdir("/")
    os.umask(0o777)
    os.environ.clear()
    return "moved"


@app.task(name="come_back_twice")
def come_back_twice():
    """The copy comes back out of the handler too."""
    pid = os.fork()
    if pid == 0:
        return "the copy"
    os.waitpid(pid, 0)
    return "itself"


@app.task(name="start_threads")
def start_threads():
    def run():
        while True:
            time.sleep(0.01)

    for daemon in (True, False):
        threading.Thread(target=run, daemon=daemon).start()
    return "started"


@app.task(name="give_the_unpackable")
def give_the_unpackable():
    return {"a": [1, object()]}


@app.task(name="give_a_circle")
def give_a_circle():
    circle = []
    circle.append(circle)
    return circle


class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("no words")

    __repr__ = __str__


@app.task(name="raise_the_unspeakable")
def raise_the_unspeakable():
    raise Unspeakable


@app.task(name="recurse")
def recurse():
    return recurse()
'''

POOL = {
    "process": "executor=process,queues=io,min=1,max=1",
    "thread": "executor=thread,parallel=4,queues=io,min=1,max=1",
    "async": "executor=async,parallel=4,queues=io,min=1,max=1",
}
"""One child each, so that all that is done to it is done to everybody's."""


@dataclass(frozen=True)
class End:
    """What becomes of a task; of its message and its error's type, a part that must be in it."""

    state: str = "succeeded"
    reason: str | None = None
    type: str = ""
    message: str = ""
    result: Any = None
    options: dict[str, Any] = field(default_factory=dict)

    def differs(self, task: otpq.Task) -> str | None:
        """How the task's end is not this one; None: it is."""
        error = task.error
        if (task.state.value, task.reason) != (self.state, self.reason):
            return f"{task.state} ({task.reason}), not {self.state} ({self.reason}): {error}"
        if task.attempt != 1:
            return f"attempt {task.attempt}"
        if self.state == "succeeded":
            return None if task.result == self.result else f"gave {task.result!r}, not {self.result!r}"
        if error is None or self.type not in error.type or self.message not in error.message:
            return f"{error}, not {self.type}: {self.message}"
        return None


def crashed(words: str) -> End:
    return End("failed", "crashed", "", words)


def given(result: Any, **options: Any) -> End:
    return End(result=result, options=options)


SLOW = {"timeout": 1.0}
ENDS = {
    "leave_by_exit": End("failed", "error", "SystemExit", "3"),
    "leave_by_interrupt": End("failed", "error", "KeyboardInterrupt", "as if by Ctrl-C"),
    "leave_at_once": crashed("exit code 7"),
    "abort": crashed("SIGABRT"),
    "segfault": crashed("SIGSEGV"),
    "kill_the_group": crashed("SIGKILL"),
    "loop_in_c": End("failed", "timeout", "TimeoutError", "1 s", options=SLOW),
    "loop_in_python": End("failed", "timeout", "TimeoutError", "1 s", options=SLOW),
    "wait_for_the_deaf": End("failed", "timeout", "TimeoutError", "1 s", options=SLOW),
    "ignore_signals": given("deaf"),
    "leave_daemons": given("left"),
    "close_everything": crashed(""),
    "move": given("moved"),
    "come_back_twice": given("itself"),
    "start_threads": given("started"),
    "give_the_unpackable": End("failed", "error", "UnpackableResult", "object"),
    "give_a_circle": End("failed", "error", "UnpackableResult"),
    "raise_the_unspeakable": End("failed", "error", "Unspeakable", "its __str__ raised"),
    "recurse": End("failed", "error", "RecursionError"),
}
"""What becomes of each, in every executor."""


@pytest.fixture
def app(stage: Stage) -> None:
    stage.app.write_text(APP, encoding="utf-8")


def start(stage: Stage, executor: str) -> RunningNode:
    """A node that serves the queue `io` by one child of this executor."""
    return stage.node("--workers", "1", "--pool", f"io:{POOL[executor]}")


def call(name: str, *args: Any, **options: Any) -> Call:
    return Call(name, args, queue="io", retries=0, **options)


def finish(node: RunningNode, tasks: list[otpq.Task]) -> None:
    """The node ends as it should, and nothing of its children lives on."""
    incarnations = {entry.incarnation for task in tasks for entry in task.history if entry.incarnation}
    assert incarnations
    assert node.terminate() == 0, "".join(node.err)
    if not is_portable():  # where nobody adopts them, daemons live on
        assert [pid for one in incarnations for pid in marked(f"{MARK}={one}")] == []


executors = pytest.mark.parametrize("executor", POOL)


@pytest.mark.usefixtures("app")
@executors
def test_each_gets_the_end_that_it_made_and_its_neighbours_flow_on(stage: Stage, executor: str) -> None:
    """One after the other, each among neighbours and while others wait behind it."""
    node = start(stage, executor)
    wrong: dict[str, str] = {}
    all_tasks: list[otpq.Task] = []
    with stage.connect() as client:
        for name, end in ENDS.items():
            before = client.submit_many(call("add", n, 1) for n in range(8))
            culprit = client.submit(call(name, **end.options))
            after = client.submit_many(call("add", n, 2) for n in range(8))
            ended, *neighbours = client.wait([culprit, *before, *after], LONG)
            all_tasks += [ended, *neighbours]
            if said := end.differs(ended):
                wrong[name] = said
            for task in neighbours:
                if (task.state, task.attempt) != ("succeeded", 1):
                    wrong[f"{name}, a neighbour"] = f"{task.state} {task.attempt} {task.error}"
                # A child without descriptors may run the next one before it finds that it can tell of neither.
                if executor == "process" and task.interruptions and name != "close_everything":
                    wrong[f"{name}, a neighbour"] = "interrupted, though only one task runs in such a child"
    assert wrong == {}
    finish(node, all_tasks)


@pytest.mark.usefixtures("app")
@executors
def test_all_at_once_each_still_gets_its_own_end(stage: Stage, executor: str) -> None:
    """The ones take the child from the others, who are charged nothing for it."""
    node = start(stage, executor)
    with stage.connect() as client:
        culprits = client.submit_many(call(name, **end.options) for name, end in ENDS.items())
        neighbours = client.submit_many(call("add", n, 1) for n in range(50))
        tasks = client.wait([*culprits, *neighbours], LONG)
        assert client.submit(call("add", 20, 22)).get(LONG) == 42
    wrong = {
        name: said
        for (name, end), task in zip(ENDS.items(), tasks, strict=False)
        if (said := end.differs(task)) is not None
    }
    assert wrong == {}
    assert {(task.state, task.attempt) for task in tasks[len(ENDS) :]} == {("succeeded", 1)}
    finish(node, tasks)


@pytest.mark.usefixtures("app")
@pytest.mark.skipif(sys.platform != "linux", reason="the memory of a child is read from /proc")
@executors
def test_one_that_takes_all_memory_is_stopped_at_its_limit(stage: Stage, executor: str) -> None:
    node = start(stage, executor)
    with stage.connect() as client:
        neighbours = client.submit_many(call("add", n, 1) for n in range(20))
        greedy = client.submit(call("allocate", memory=200))
        neighbours += client.submit_many(call("add", n, 1) for n in range(20))
        ended, *others = client.wait([greedy, *neighbours], LONG)
        assert client.submit(call("add", 20, 22)).get(LONG) == 42
    assert (ended.state, ended.reason, ended.attempt) == ("failed", "memory", 1), ended.error
    assert ended.error is not None
    assert ended.error.type == "MemoryError" or "200" in ended.error.message  # the child's word, or its worker's
    assert {(task.state, task.attempt) for task in others} == {("succeeded", 1)}
    finish(node, [ended, *others])


@pytest.mark.usefixtures("app")
@executors
def test_one_that_prints_a_hundred_megabytes_has_a_log_of_bounded_size(stage: Stage, executor: str) -> None:
    node = start(stage, executor)
    tasks: list[otpq.Task] = []
    with stage.connect() as client:
        for name, result in (("print_much", "printed"), ("write_much", "written")):
            loud = client.submit(call(name))
            neighbours = client.submit_many(call("add", n, 1) for n in range(20))
            ended, *others = client.wait([loud, *neighbours], LONG)
            lines = [line for line in client.logs(loud.id) if line.stream in {"out", "err"}]
            assert ended.result == result
            assert {(task.state, task.attempt, task.interruptions) for task in others} == {("succeeded", 1, 0)}
            assert 0 < sum(len(line.text) for line in lines) <= 1 << 20, name
            if executor == "process":  # else what is written past Python is nobody's for certain
                assert sum(line.dropped for line in lines) > 0, name
            tasks += [ended, *others]
    finish(node, tasks)


@pytest.mark.usefixtures("app")
@executors
def test_one_that_closes_its_output_silences_nobody_else(stage: Stage, executor: str) -> None:
    node = start(stage, executor)
    with stage.connect() as client:
        mute = client.submit(call("close_its_output"))
        neighbours = client.submit_many(call("add", n, 1) for n in range(20))
        ended, *others = client.wait([mute, *neighbours], LONG)
        heard = [line.text for line in client.logs(others[-1].id) if line.stream == "out"]
    assert ended.result == "closed"
    assert {(task.state, task.attempt) for task in others} == {("succeeded", 1)}
    assert heard == ["adding 19 1"]
    finish(node, [ended, *others])


COROUTINES = '''
import asyncio, collections, ctypes, itertools, os, sys, time
import otpq

app = otpq.App("jobs")


@app.task(name="add")
async def add(a, b):
    await asyncio.sleep(0)
    return a + b


@app.task(name="leave_by_exit")
async def leave_by_exit():
    sys.exit(3)


@app.task(name="leave_at_once")
async def leave_at_once():
    os._exit(7)


@app.task(name="segfault")
async def segfault():
    ctypes.string_at(0)


@app.task(name="block_in_c")
async def block_in_c():
    collections.deque(itertools.repeat(0), maxlen=0)


@app.task(name="block_in_python")
async def block_in_python():
    while True:
        time.sleep(0.01)


@app.task(name="refuse_to_be_cancelled")
async def refuse_to_be_cancelled():
    while True:
        try:
            await asyncio.sleep(60)
        except BaseException:
            pass


@app.task(name="cancel_itself")
async def cancel_itself():
    asyncio.current_task().cancel()
    await asyncio.sleep(60)


@app.task(name="stop_the_loop")
async def stop_the_loop():
    asyncio.get_running_loop().stop()
    return "stopped"


@app.task(name="leave_tasks_behind")
async def leave_tasks_behind():
    async def run():
        while True:
            await asyncio.sleep(0.01)

    kept.append(asyncio.create_task(run()))
    return "left"


@app.task(name="fail_later")
async def fail_later():
    """In a callback, when the task itself has ended."""
    def fail():
        raise SystemExit(5)

    asyncio.get_running_loop().call_later(0.01, fail)
    await asyncio.sleep(0)
    return "lit"


kept = []
'''

COROUTINE_ENDS = {
    "leave_by_exit": End("failed", "error", "SystemExit", "3"),
    "leave_at_once": crashed("exit code 7"),
    "segfault": crashed("SIGSEGV"),
    "block_in_c": End("failed", "timeout", "TimeoutError", "1 s", options=SLOW),
    "block_in_python": End("failed", "timeout", "TimeoutError", "1 s", options=SLOW),
    "refuse_to_be_cancelled": End("failed", "timeout", "TimeoutError", "1 s", options=SLOW),
    "leave_tasks_behind": given("left"),
    "cancel_itself": End("failed", "error", "CancelledError"),
}


@executors
def test_coroutines_get_the_end_that_they_made_too(stage: Stage, executor: str) -> None:
    stage.app.write_text(COROUTINES, encoding="utf-8")
    node = start(stage, executor)
    with stage.connect() as client:
        culprits = client.submit_many(call(name, **end.options) for name, end in COROUTINE_ENDS.items())
        neighbours = client.submit_many(call("add", n, 1) for n in range(50))
        tasks = client.wait([*culprits, *neighbours], LONG)
        assert client.submit(call("add", 20, 22)).get(LONG) == 42
    wrong = {
        name: said
        for (name, end), task in zip(COROUTINE_ENDS.items(), tasks, strict=False)
        if (said := end.differs(task)) is not None
    }
    assert wrong == {}
    assert {(task.state, task.attempt) for task in tasks[len(COROUTINE_ENDS) :]} == {("succeeded", 1)}
    finish(node, tasks)


@executors
def test_a_coroutine_that_ends_the_loop_itself_does_not_end_the_work(stage: Stage, executor: str) -> None:
    """How such a run is recorded is the loop's affair; that it is, and that others run once, is not."""
    stage.app.write_text(COROUTINES, encoding="utf-8")
    node = start(stage, executor)
    tasks: list[otpq.Task] = []
    with stage.connect() as client:
        for name in ("stop_the_loop", "fail_later"):
            culprit = client.submit(call(name))
            neighbours = client.submit_many(call("add", n, 1) for n in range(50))
            ended, *others = client.wait([culprit, *neighbours], LONG)
            assert client.submit(call("add", 20, 22)).get(LONG) == 42
            assert ended.attempt == 1, name
            assert ended.state in {"succeeded", "failed"}, name
            assert {(task.state, task.attempt) for task in others} == {("succeeded", 1)}, name
            tasks += [ended, *others]
    finish(node, tasks)


@pytest.mark.usefixtures("app")
@executors
def test_the_copy_of_a_child_that_forks_answers_for_nothing(stage: Stage, executor: str) -> None:
    node = start(stage, executor)
    with stage.connect() as client:
        handles = client.submit_many(call("come_back_twice") for _ in range(20))
        tasks = client.wait(handles, LONG)
        wait_until(lambda: client.counts()["io"]["succeeded"] == 20)
    assert {(task.state, task.attempt, task.result) for task in tasks} == {("succeeded", 1, "itself")}
    finish(node, tasks)
