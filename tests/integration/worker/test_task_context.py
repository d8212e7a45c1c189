"""What a running task can say and ask, in every executor: a real child, the node's part played by the test."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import msgpack
import pytest

from otpq.worker.packets import Outcome
from otpq.worker.reports import Checkpoint, Progress, Results
from tests.integration.worker.rounds import eventually

if TYPE_CHECKING:
    from tests.integration.worker.child_stage import Stage, StartStage

EXECUTORS = ["process", "thread", "async"]

SOURCE = """
import asyncio, os, sys, threading, time
import otpq
from otpq import Context

def wait_for(what):
    end = time.monotonic() + 20
    while not what():
        assert time.monotonic() < end
        time.sleep(0.001)

def whoami(ctx: Context, n):
    return [ctx.id, ctx.name, ctx.attempt, ctx.last_checkpoint, n]
def as_text(ctx: "otpq.Context", *, n: int = 0):
    return [ctx.name, n]
def elsewhere(n):
    return [otpq.current().name, otpq.current().id, n]
async def whoami_async(ctx: "Context", n):
    await asyncio.sleep(0)
    return [ctx.name, otpq.current().name, n]

def tells(ctx: Context, count):
    for at in range(count):
        ctx.progress(at / count, f"at {at}")
    ctx.progress(1, "done")
def tells_twice_and_waits(ctx: Context):
    ctx.progress(0.1, "first")
    ctx.progress(0.2, "second")
    wait_for(ctx.cancelled)
def tells_nonsense(ctx: Context):
    ctx.progress(2)

def keeps(ctx: Context, values):
    for value in values:
        ctx.checkpoint(value)
    return ctx.last_checkpoint
async def keeps_async(ctx: Context, values):
    for value in values:
        await ctx.acheckpoint(value)
    return ctx.last_checkpoint
def keeps_what_cannot_travel(ctx: Context, size):
    ctx.checkpoint({"a": [bytes(size) if size else object()]})
def keeps_on(ctx: Context):
    n = 0
    try:
        while True:
            n += 1
            ctx.checkpoint(n)
    except Exception:
        return "not meant for it"
async def keeps_on_async(ctx: Context):
    n = 0
    while True:
        n += 1
        await ctx.acheckpoint(n)
def keeps_in_threads(ctx: Context):
    def keep(n):
        for each in range(20):
            ctx.checkpoint([n, each])
    threads = [threading.Thread(target=keep, args=(n,)) for n in range(4)]
    for each in threads: each.start()
    for each in threads: each.join()

def waits(ctx: Context):
    print("here")
    wait_for(ctx.cancelled)
    return "cleaned up"
def waits_and_cancels(ctx: Context):
    print("here")
    wait_for(ctx.cancelled)
    raise otpq.Cancel("as told")
async def sleeps(ctx: Context):
    print("here")
    await asyncio.sleep(60)
async def sleeps_and_returns(ctx: Context):
    print("here")
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        return "cleaned up"
async def cancels_itself():
    raise asyncio.CancelledError
def drains(ctx: Context):
    wait_for(ctx.draining)
    return "drained"

def prints(ctx: Context, n):
    print("one", n)
    print("two", file=sys.stderr)
    ctx.log.warning("three", n=n, where=object, big=2 ** 70)
    print("fo", end=""); print("ur")
    sys.stdout.write("five\\nsix")
    sys.stderr.writelines(["sev", "en"])
async def prints_async(ctx: Context, n):
    for each in range(10):
        print(n, each)
        await asyncio.sleep(0.001)
def prints_much(count):
    for each in range(count):
        print("line", each, "." * 60)
def prints_long():
    print("ä" * 10_000)
    print("x" * 20_000)
def prints_bytes():
    sys.stdout.buffer.write(b"raw\\n")
    os.write(1, b"rawer\\n")
    print(sys.stdout.fileno(), sys.stderr.fileno(), sys.stdout.isatty(), sys.stdout.encoding, sys.stdout.name)
    sys.stdout.reconfigure(line_buffering=True)
    sys.stdout.flush()
    sys.stdout.close()
    print("still here")
def prints_by_a_thread():
    thread = threading.Thread(target=print, args=("nobody's",))
    thread.start(); thread.join()
def prints_and_raises(ctx: Context):
    print("last words", end="")
    ctx.progress(0.5, "half")
    ctx.progress(0.6, "a little more")
    raise ValueError("no")
def leaves_a_thread(ctx: Context):
    import contextvars
    def late():
        wait_for(lambda: os.path.exists("/proc/self") and late.go)
        print("late"); ctx.log.info("late too"); ctx.progress(1.0)
        late.done = True
    late.go = late.done = False
    leaves_a_thread.late = late
    threading.Thread(target=contextvars.copy_context().run, args=(late,)).start()
def lets_it_speak():
    late = leaves_a_thread.late
    late.go = True
    wait_for(lambda: late.done)
def forks(ctx: Context):
    pid = os.fork()
    if pid == 0:
        print("from the fork"); ctx.log.info("logged", by="fork"); ctx.progress(0.5)
        try:
            ctx.checkpoint(1)
        except otpq.UsageError as error:
            print(error)
        os._exit(0 if not ctx.cancelled() else 1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
def prints_in_a_signal_handler():
    import signal
    signal.signal(signal.SIGUSR1, lambda *_: print("signal", end="!\\n"))
    for each in range(2000):
        os.kill(os.getpid(), signal.SIGUSR1)
        print("line", each)
"""


@pytest.fixture(params=EXECUTORS)
def stage(request: pytest.FixtureRequest, start_stage: StartStage) -> Stage:
    return start_stage(SOURCE, request.param, 1 if request.param == "process" else 4)


# --- who it is ------------------------------------------------------------------------------------------------------


def test_a_handler_that_asks_for_its_context_gets_it_first(stage: Stage) -> None:
    assert stage.value("whoami", 5, kept={"at": 3}) == [f"{1:032x}", "whoami", 1, {"at": 3}, 5]
    assert stage.value("as_text", n=7) == ["as_text", 7]
    assert stage.value("elsewhere", 8) == ["elsewhere", f"{3:032x}", 8]
    assert stage.value("whoami_async", 9) == ["whoami_async", "whoami_async", 9]


def test_the_context_is_none_of_the_arguments(stage: Stage) -> None:
    refused = {stage.give("whoami", 1, 2), stage.give("whoami", 1, ctx=1), stage.give("whoami")}
    assert {result.seq for result in stage.results(3) if result.outcome is Outcome.DISCARDED} == refused
    stage.give("as_text", n="x")
    assert b"argument 'n'" in stage.result().value


# --- progress -------------------------------------------------------------------------------------------------------


def test_of_many_words_of_progress_few_are_told_and_the_last_before_the_result(stage: Stage) -> None:
    stage.give("tells", 5000, lease=3)
    result = stage.result()
    assert result.outcome is Outcome.SUCCEEDED
    words = [report for report in stage.told() if isinstance(report, Progress)]
    assert (words[0].fraction, words[0].message) == (0.0, "at 0")
    assert (words[-1].fraction, words[-1].message) == (1.0, "done")
    assert {(word.lease, word.seq) for word in words} == {(3, 1)}
    assert len(words) <= 3 + (result.finished - result.started) * 20


def test_a_word_that_was_held_back_is_told_while_the_handler_is_silent(stage: Stage) -> None:
    seq = stage.give("tells_twice_and_waits")
    assert [stage.progress().message, stage.progress().message] == ["first", "second"]
    stage.tell("cancel", 1, seq)
    assert stage.result().outcome is Outcome.SUCCEEDED


def test_nonsense_is_refused(stage: Stage) -> None:
    stage.give("tells_nonsense")
    assert b"a number from 0 to 1" in stage.result().value


# --- checkpoints ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["keeps", "keeps_async"])
def test_a_checkpoint_waits_until_it_is_kept(stage: Stage, name: str) -> None:
    values = [1, {"at": [1, 2, None]}, "x" * 100_000]
    stage.give(name, values, kept="earlier")
    numbers = set()
    for value in values:
        asked = stage.checkpoint()
        assert (asked.lease, asked.seq, msgpack.unpackb(asked.value)) == (1, 1, value)
        numbers.add(asked.number)
        assert stage.told() == []
        stage.tell("kept", asked.seq, asked.number)
    assert len(numbers) == 3
    assert msgpack.unpackb(stage.result().value) == "earlier"


def test_a_checkpoint_that_cannot_travel_is_refused_with_its_place(stage: Stage) -> None:
    stage.give("keeps_what_cannot_travel", 0)
    assert b"checkpoint['a'][0]: object is not allowed" in stage.result().value
    stage.give("keeps_what_cannot_travel", 1 << 20)
    assert b"bytes when packed, more than 1,048,576" in stage.result().value


def test_several_threads_of_a_handler_may_wait_at_a_time(stage: Stage) -> None:
    stage.give("keeps_in_threads")
    kept = [stage.keep() for _ in range(80)]
    for thread in range(4):
        assert [each for who, each in kept if who == thread] == list(range(20))
    assert stage.result().outcome is Outcome.SUCCEEDED


@pytest.mark.parametrize("name", ["keeps_on", "keeps_on_async"])
def test_asked_to_drain_a_run_ends_at_its_next_checkpoint(stage: Stage, name: str) -> None:
    stage.give(name)
    assert [stage.keep() for _ in range(5)] == [1, 2, 3, 4, 5]
    stage.tell("drain")
    last = 5
    while isinstance(report := stage.report(Checkpoint, Results), Checkpoint):
        assert report.value == msgpack.packb(last := last + 1)
        stage.tell("kept", report.seq, report.number)
    assert last <= 6  # it may have been on its way already
    assert isinstance(report, Results)
    assert report.results[0].outcome is Outcome.HANDED_OVER


# --- the end of a task ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("waits", Outcome.SUCCEEDED),
        ("waits_and_cancels", Outcome.CANCELLED),
        ("sleeps", Outcome.CANCELLED),
        ("sleeps_and_returns", Outcome.SUCCEEDED),
    ],
)
def test_a_cancelled_task_hears_of_it(stage: Stage, name: str, outcome: Outcome) -> None:
    seq = stage.give(name, lease=9)
    eventually(lambda: stage.ring.has_news)
    stage.tell("cancel", 8, seq)
    stage.tell("cancel", 9, seq + 1)
    stage.tell("cancel", 9, seq)
    assert stage.result().outcome is outcome


def test_a_task_that_is_cancelled_before_its_turn_is_not_run(stage: Stage) -> None:
    seq = stage.give("waits")
    eventually(lambda: stage.ring.has_news)
    stage.tell("cancel", 5, seq + 1)
    stage.tell("cancel", 1, seq)
    stage.result()
    stage.give("whoami", 1, lease=5)
    assert stage.result().outcome is Outcome.CANCELLED
    stage.give("whoami", 1, lease=5)
    assert stage.result().outcome is Outcome.SUCCEEDED


def test_a_coroutine_that_cancels_itself_has_failed(stage: Stage) -> None:
    stage.give("cancels_itself")
    assert stage.result().outcome is Outcome.FAILED


def test_draining_is_told_by_the_node_and_by_a_signal(stage: Stage) -> None:
    stage.give("drains")
    stage.tell("drain")
    assert msgpack.unpackb(stage.result().value) == "drained"


def test_term_tells_those_that_run_to_drain(stage: Stage) -> None:
    seq = stage.give("drains")
    eventually(lambda: stage.begun() == [seq])
    stage.running.signal(signal.SIGTERM)
    assert msgpack.unpackb(stage.result().value) == "drained"
    end = stage.running.wait(10)
    assert end is not None
    assert end.code == 0


# --- its log --------------------------------------------------------------------------------------------------------


def test_a_task_log_has_its_lines_in_order(stage: Stage) -> None:
    seq = stage.give("prints", 5, lease=4)
    result = stage.result()
    assert result.outcome is Outcome.SUCCEEDED
    lines = stage.lines()
    assert [(line.stream, line.level, line.text) for line in lines] == [
        ("out", "info", "one 5"),
        ("err", "warning", "two"),
        ("log", "warning", "three"),
        ("out", "info", "four"),
        ("out", "info", "five"),
        ("out", "info", "six"),
        ("err", "warning", "seven"),
    ]
    assert [line.number for line in lines] == list(range(1, 8))
    assert {(line.seq, line.lease) for line in lines} == {(seq, 4)}
    assert all(result.started <= line.time <= result.finished for line in lines)
    assert lines[2].fields == {"n": "5", "where": "<class 'object'>", "big": str(2**70)}
    assert stage.printed() == ""


def test_each_run_counts_its_own_lines(stage: Stage) -> None:
    seqs = [stage.give("prints_async", n) for n in range(3)]
    stage.results(3)
    lines = stage.lines()
    for n, seq in enumerate(seqs):
        mine = [line for line in lines if line.seq == seq]
        assert [line.text for line in mine] == [f"{n} {each}" for each in range(10)]
        assert [line.number for line in mine] == list(range(1, 11))


def test_who_prints_much_keeps_the_end_and_waits_for_nobody(stage: Stage) -> None:
    stage.give("prints_much", 20_000)
    assert stage.result().outcome is Outcome.SUCCEEDED
    lines = stage.lines()
    assert [line.number for line in lines] == list(range(lines[0].number, 20_001))
    assert lines[0].number > 10_000
    assert lines[-1].text.startswith("line 19999 ")


def test_long_lines_are_cut(stage: Stage) -> None:
    stage.give("prints_long")
    stage.result()
    lines = stage.lines()
    assert "".join(line.text for line in lines) == "ä" * 10_000 + "x" * 20_000
    assert all(len(line.text.encode()) <= 8192 for line in lines)


def test_bytes_and_descriptors_work_as_ever(stage: Stage) -> None:
    stage.give("prints_bytes")
    assert stage.result().outcome is Outcome.SUCCEEDED
    assert [line.text for line in stage.lines()] == ["1 2 False utf-8 <stdout>", "still here"]
    assert stage.printed() == "raw\nrawer\n"


def test_what_no_task_says_goes_the_old_way(stage: Stage) -> None:
    stage.give("prints_by_a_thread")
    stage.result()
    assert (stage.lines(), stage.printed()) == ([], "nobody's\n")


def test_what_is_left_is_told_before_the_error(stage: Stage) -> None:
    stage.give("prints_and_raises")
    assert stage.result().outcome is Outcome.FAILED
    assert [line.text for line in stage.lines()] == ["last words"]
    assert [stage.progress().message, stage.progress().message] == ["half", "a little more"]


def test_a_thread_that_outlives_its_task_says_nothing_in_its_name(stage: Stage) -> None:
    stage.give("leaves_a_thread")
    stage.result()
    stage.give("lets_it_speak")
    stage.result()
    assert stage.lines() == []
    assert stage.told() == []
    assert stage.printed() == "late\ninfo: late too\n"


def test_a_fork_of_a_handler_tells_by_its_descriptors_alone(stage: Stage) -> None:
    assert stage.value("forks") == 0
    assert stage.lines() == []
    assert stage.told() == []
    assert stage.printed().splitlines() == [
        "from the fork",
        "info: logged by='fork'",
        "a task cannot keep a checkpoint in a process that it forked",
    ]


def test_a_signal_handler_may_print_in_the_middle_of_a_print(start_stage: StartStage) -> None:
    stage = start_stage(SOURCE)
    stage.give("prints_in_a_signal_handler")
    assert stage.result().outcome is Outcome.SUCCEEDED
    lines = stage.lines()
    assert [line.number for line in lines] == list(range(lines[0].number, lines[0].number + len(lines)))
    assert sum(line.text.startswith("line") or line.text.endswith("!") for line in lines) == len(lines)
