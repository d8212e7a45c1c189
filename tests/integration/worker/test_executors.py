"""How children run tasks: several at a time, within their time, whatever handlers do. A real child, the node played by the test."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import msgpack
import pytest

from otpq.worker.packets import Outcome
from tests.integration.worker.rounds import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.worker.child_stage import Stage, StartStage

SOURCE = """
import asyncio, os, signal, sys, threading, time
import otpq
from otpq import Context

def wait_for(what):
    end = time.monotonic() + 30
    while not what():
        assert time.monotonic() < end
        time.sleep(0.001)

def echo(value): return value
async def echo_async(value):
    await asyncio.sleep(0)
    return value
def waits_for(path):
    print("here")
    wait_for(lambda: os.path.exists(path))
    return path
async def waits_for_async(path):
    print("here")
    while not os.path.exists(path):
        await asyncio.sleep(0.001)
    return path
def where(): return [threading.current_thread() is threading.main_thread(), threading.get_ident()]
async def where_async():
    return [threading.current_thread() is threading.main_thread(), id(asyncio.get_running_loop())]
def gives_a_coroutine():
    return where_async()

def busy(ctx: Context):
    print("here")
    while True: pass
def busy_and_caught():
    try:
        while True: time.sleep(0)
    except otpq.SoftTimeout:
        return "in order"
def busy_with_us(ctx: Context):
    while True:
        ctx.progress(0.5); ctx.log.info("x"); print("y"); ctx.cancelled()
def waits_to_keep(ctx: Context):
    ctx.checkpoint(1)
async def slow_async():
    await asyncio.sleep(60)
def gives_slow_coroutine():
    return slow_async()

def exits(): sys.exit(3)
async def exits_async(): sys.exit(3)
def interrupts(): raise KeyboardInterrupt
async def interrupts_async(): raise KeyboardInterrupt
def cannot_be_packed(): return object()
def cannot_be_printed():
    raise type("Mute", (Exception,), {"__str__": lambda self: 1 / 0})
async def leaves_a_task_that_exits():
    async def exits(): sys.exit(4)
    asyncio.get_running_loop().create_task(exits())
async def stops_its_loop():
    asyncio.get_running_loop().stop()
def returns_a_fork(how):
    pid = os.fork()
    if pid == 0:
        if how == "raise": sys.exit(7)
        return "copy"
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
async def returns_a_fork_async(how):
    return returns_a_fork(how)
def closes_descriptors():
    os.closerange(0, 64)
def closes_standard_streams():
    for each in (0, 1, 2): os.close(each)
    print("gone?")
def replaces_stdout():
    import io
    sys.stdout = io.StringIO(); sys.stderr = None
    os.chdir("/")
def says_where():
    print("here"); print("there", file=sys.stderr)
    return os.getcwd()
def leaves_a_thread():
    threading.Thread(target=time.sleep, args=(1000,)).start()
async def leaves_an_asyncio_thread():
    asyncio.get_running_loop().run_in_executor(None, time.sleep, 1000)
def ignores_term():
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
def drains(ctx: Context):
    wait_for(ctx.draining)
def terms_itself():
    os.kill(os.getpid(), signal.SIGTERM)
    return "done"
async def blocks(path):
    print("here")
    waits_for(path)
async def blocks_in_c():
    import re
    print("here")
    re.match(r"(a+)+b", "a" * 64)
def fails_with_details():
    class Broken(Exception):
        details = {"code": 7}
    raise Broken("so")
def eats(mib):
    return len(bytearray(mib << 20))
"""

EXECUTORS = ["process", "thread", "async"]
PARALLEL = ["thread", "async"]


@pytest.fixture(params=EXECUTORS)
def stage(request: pytest.FixtureRequest, start_stage: StartStage) -> Stage:
    return start_stage(SOURCE, request.param, 1 if request.param == "process" else 3)


@pytest.fixture(params=PARALLEL)
def parallel(request: pytest.FixtureRequest, start_stage: StartStage) -> Stage:
    return start_stage(SOURCE, request.param, 3)


def name_of(error: bytes) -> str:
    name: str = msgpack.unpackb(error)[0]
    return name


# --- several at a time ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["waits_for", "waits_for_async"])
def test_as_many_run_as_there_are_slots_and_answers_come_as_they_end(
    parallel: Stage, name: str, tmp_path: Path
) -> None:
    paths = [str(tmp_path / str(n)) for n in range(5)]
    seqs = [parallel.give(name, path) for path in paths]
    eventually(lambda: parallel.begun() == seqs[:3])
    assert parallel.take_back() == 2  # a packet is received only when there is a slot for it
    for n in (1, 2, 0):
        (tmp_path / str(n)).touch()
        assert parallel.result().seq == seqs[n]
    assert parallel.begun() == []
    assert sum(view.begun for view in parallel.slots()) == 3


def test_what_has_begun_is_always_the_first_of_what_was_received(parallel: Stage, tmp_path: Path) -> None:
    gate = str(tmp_path / "gate")
    items = [parallel.item("waits_for", gate) for _ in range(7)]
    parallel.send(1, items)
    eventually(lambda: parallel.begun() == [item.seq for item in items[:3]])
    parallel.give("echo", 1)
    (tmp_path / "gate").touch()
    assert sorted(result.seq for result in parallel.results(8)) == list(range(1, 9))


def test_many_quick_tasks_are_answered_once_each(stage: Stage) -> None:
    for lease in range(10):
        stage.send(lease, [stage.item("echo_async" if n % 5 == 0 else "echo", n) for n in range(50)])
    results = stage.results(500)
    assert sorted(result.seq for result in results) == list(range(1, 501))
    assert all(result.outcome is Outcome.SUCCEEDED for result in results)
    assert sum(view.begun for view in stage.slots()) == 500


def test_where_handlers_run(start_stage: StartStage) -> None:
    process, thread, loop = (start_stage(SOURCE, name, 2) for name in EXECUTORS)
    assert process.value("where")[0] is process.value("where_async")[0] is True
    assert thread.value("where")[0] is thread.value("where_async")[0] is False
    assert loop.value("where")[0] is False
    first = loop.value("where_async")
    assert first[0] is True
    assert first == loop.value("where_async") == loop.value("gives_a_coroutine")


# --- time -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["busy", "slow_async", "gives_slow_coroutine", "waits_to_keep", "busy_with_us"])
def test_a_soft_timeout_ends_what_it_can(stage: Stage, name: str) -> None:
    stage.give(name, options={"soft_timeout": 0.2})
    result = stage.result()
    assert result.outcome is Outcome.TIMED_OUT
    assert name_of(result.value) == "otpq.endings.SoftTimeout"
    assert b"its soft timeout of 0.2 s is over" in result.value
    assert stage.value("echo", 1) == 1  # and nothing of it is left


def test_a_soft_timeout_can_be_caught(stage: Stage) -> None:
    assert stage.value("busy_and_caught", options={"soft_timeout": 0.1}) == "in order"


def test_soft_timeouts_of_neighbours_are_their_own(parallel: Stage, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    calm = parallel.give("waits_for", str(gate))
    late = parallel.give("busy", options={"soft_timeout": 0.2})
    result = parallel.result()
    assert (result.seq, result.outcome) == (late, Outcome.TIMED_OUT)
    gate.touch()
    assert parallel.result().seq == calm


# --- whatever handlers do -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("exits", "SystemExit"),
        ("exits_async", "SystemExit"),
        ("interrupts", "KeyboardInterrupt"),
        ("interrupts_async", "KeyboardInterrupt"),
        ("cannot_be_packed", "otpq.worker.values.UnpackableResult"),
        ("cannot_be_printed", "Mute"),
        ("no such", "otpq.worker.executors.plans.NoHandler"),
    ],
)
def test_what_a_handler_raises_is_its_own_affair(stage: Stage, name: str, error: str) -> None:
    stage.give(name)
    result = stage.result()
    assert result.outcome is (Outcome.NO_HANDLER if name == "no such" else Outcome.FAILED)
    assert name_of(result.value) == error
    assert stage.value("echo", 1) == 1


@pytest.mark.parametrize("name", ["leaves_a_task_that_exits", "stops_its_loop"])
def test_what_a_handler_does_to_its_loop_is_survived(stage: Stage, name: str) -> None:
    stage.give(name)
    stage.result()
    assert stage.value("echo_async", 1) == 1
    assert stage.value("echo", 2) == 2


@pytest.mark.parametrize("name", ["returns_a_fork", "returns_a_fork_async"])
def test_a_fork_that_comes_back_is_no_second_child(stage: Stage, name: str) -> None:
    assert [stage.value(name, how) for how in ("return", "raise", "return")] == [0, 7, 0]
    assert stage.told() == []
    assert sum(view.begun for view in stage.slots()) == 3
    assert stage.value("echo", 1) == 1


def test_closed_standard_streams_hinder_nobody(stage: Stage) -> None:
    stage.give("closes_standard_streams")
    assert stage.result().outcome is Outcome.SUCCEEDED
    assert [line.text for line in stage.lines()] == ["gone?"]
    assert stage.value("says_where")


def test_who_closes_all_descriptors_ends_its_child_and_is_named(start_stage: StartStage) -> None:
    stage = start_stage(SOURCE)
    assert stage.value("echo", 1) == 1
    seq = stage.give("closes_descriptors", lease=8)
    end = stage.running.wait(10)
    assert end is not None
    assert end.code == 5
    running = stage.board.read(0).running
    assert running is not None
    assert (running.seq, running.lease) == (seq, 8)


def test_who_closes_all_descriptors_ends_its_child(parallel: Stage) -> None:
    parallel.give("closes_descriptors")
    end = parallel.running.wait(10)
    assert end is not None
    assert end.code == 5


def test_what_a_handler_changed_for_all_is_put_back(stage: Stage) -> None:
    here = stage.value("says_where")
    stage.lines()
    stage.value("replaces_stdout")
    assert stage.value("says_where") == here
    assert [line.text for line in stage.lines()] == ["here", "there"]


def test_details_of_an_error_travel(stage: Stage) -> None:
    stage.give("fails_with_details")
    assert msgpack.unpackb(stage.result().value)[4] == {"code": 7}


# --- the end --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("left", ["leaves_a_thread", "leaves_an_asyncio_thread", "ignores_term", "echo_async"])
def test_asked_to_finish_a_child_ends_whatever_was_left_behind(stage: Stage, left: str) -> None:
    stage.value(left, *([1] if left == "echo_async" else []))
    for n in range(20):
        stage.give("echo", n)
    stage.finish()
    assert [result.outcome for result in stage.results(20)] == [Outcome.SUCCEEDED] * 20
    end = stage.running.wait(20)
    assert end is not None
    assert end.code == 0


def test_term_lets_running_tasks_end_and_hands_the_others_back(stage: Stage) -> None:
    slots = stage.parallel
    items = [stage.item("drains") for _ in range(slots + 2)]
    stage.send(1, items)
    eventually(lambda: len(stage.begun()) == slots)
    stage.running.signal(signal.SIGTERM)
    outcomes = {result.seq: result.outcome for result in stage.results(slots + 2)}
    assert outcomes == {
        item.seq: Outcome.SUCCEEDED if place < slots else Outcome.RETURNED for place, item in enumerate(items)
    }
    end = stage.running.wait(10)
    assert end is not None
    assert end.code == 0


def test_term_ends_an_idle_child_and_int_does_nothing(stage: Stage) -> None:
    os.kill(stage.pid, signal.SIGINT)
    assert stage.value("echo", 1) == 1
    stage.running.signal(signal.SIGTERM)
    end = stage.running.wait(10)
    assert end is not None
    assert end.code == 0


def test_a_handler_may_send_term_to_its_child(stage: Stage) -> None:
    assert stage.value("terms_itself") == "done"
    end = stage.running.wait(10)
    assert end is not None
    assert end.code == 0


# --- an event loop --------------------------------------------------------------------------------------------------


def test_an_idle_loop_has_a_pulse(start_stage: StartStage) -> None:
    stage = start_stage(SOURCE, "async", 2)
    turn = stage.board.read(2).turn
    eventually(lambda: stage.board.read(2).turn >= turn + 4)
    assert stage.board.read(2).running is None


@pytest.mark.parametrize("name", ["blocks", "blocks_in_c"])
def test_a_blocked_loop_has_none_and_says_where_it_stands(start_stage: StartStage, tmp_path: Path, name: str) -> None:
    stage = start_stage(SOURCE, "async", 2)
    gate = tmp_path / "gate"
    stage.give(name, *([str(gate)] if name == "blocks" else []))
    eventually(lambda: stage.ring.has_news)
    printed = ""

    def stacks() -> bool:
        nonlocal printed
        printed += stage.printed()
        return f"in {name}" in printed

    eventually(stacks)
    turn = stage.board.read(2).turn
    assert stage.board.read(2).turn == turn
    assert "Timeout" in printed
    if name == "blocks":
        gate.touch()
        stage.result()
        eventually(lambda: stage.board.read(2).turn > turn)


# --- scripts, memory, hooks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("executor", ["script", *EXECUTORS])
def test_scripts_run_in_every_executor(start_stage: StartStage, executor: str, tmp_path: Path) -> None:
    pytest.importorskip("otpq.worker.scripts")
    (tmp_path / "scripts").mkdir()
    script = tmp_path / "scripts" / "job.py"
    script.write_text("import sys\nprint('hello', *sys.argv[1:])\nsys.exit(int(sys.argv[1]))\n")
    stage = start_stage("" if executor == "script" else SOURCE, executor, script_dirs=[str(tmp_path / "scripts")])
    assert stage.handlers["@script"] == msgpack.packb({"timeout": None})
    assert (len(stage.handlers) == 1) is (executor == "script")
    assert stage.value("@script", str(script), args=["0"]) == {"exit_code": 0, "signal": None, "lines": ["hello 0"]}
    stage.give("@script", str(script), args=["3"])
    result = stage.result()
    assert result.outcome is Outcome.FAILED
    assert msgpack.unpackb(result.value)[4] == {"exit_code": 3, "signal": None, "lines": ["hello 3"]}
    assert [(line.seq, line.stream, line.text) for line in stage.lines()] == [
        (1, "out", "hello 0"),
        (2, "out", "hello 3"),
    ]
    stage.give("@script", "/bin/true")
    assert stage.result().outcome is Outcome.DISCARDED


def test_memory_is_limited_around_a_task(start_stage: StartStage) -> None:
    pytest.importorskip("otpq.worker.memory")
    stage = start_stage(SOURCE)
    stage.give("eats", 400, options={"memory": 64.0})
    assert stage.result().outcome is Outcome.OUT_OF_MEMORY
    assert stage.value("eats", 400) == 400 << 20
    assert stage.value("eats", 4, options={"memory": 64.0}) == 4 << 20


ROW: dict[str, Any] = {
    "id": bytes(range(16)),
    "name": "job",
    "payload": msgpack.packb([[1], {"a": 2}]),
    "queue": "default",
    "partition": "",
    "priority": 5,
    "tags": ",red,blue,",
    "title": None,
    "state": "succeeded",
    "reason": None,
    "attempt": 1,
    "created": 1.0,
    "due": 1.0,
    "started": 2.0,
    "finished": 3.0,
    "parent": None,
    "error": None,
    "result": None,
}

HOOKS = """
import otpq
app = otpq.App()
@app.task(name="job")
def job(a): pass
@job.on_success
def won(task, result):
    print(task.id, list(task.tags), task.args, task.finished_at.timestamp(), result)
@job.on_failure
async def lost(task, error):
    print(task.name, error.type, error.message, error.details)
"""


@pytest.mark.parametrize("executor", EXECUTORS)
def test_hooks_are_ordinary_handlers(start_stage: StartStage, tmp_path: Path, executor: str) -> None:
    pytest.importorskip("otpq.hooks")
    (tmp_path / "hooks.py").write_text(HOOKS)
    stage = start_stage(executor=executor, app=f"{tmp_path / 'hooks.py'}:app")
    row = msgpack.packb(ROW)
    assert stage.value("job:on_success", row, msgpack.packb({"n": 5})) is None
    error = msgpack.packb(["Broken", "so", "", ["Broken"], {"code": 1}])
    assert stage.value("job:on_failure", row, error) is None
    assert [line.text for line in stage.lines()] == [
        f"{bytes(range(16)).hex()} ['red', 'blue'] (1,) 3.0 {{'n': 5}}",
        "job Broken so {'code': 1}",
    ]
