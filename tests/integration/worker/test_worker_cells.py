"""One worker whose child runs several tasks at a time and puts out all kinds of things; the test in the place of its pool."""

from __future__ import annotations

import contextlib
import gc
import os
import time
from typing import TYPE_CHECKING, Any

import msgpack
import pytest

from otpq.core.events import Cancelled, Cancelling, Checkpointed, Failed, HandedOver, Logged, Progressed, Succeeded
from otpq.otp import Kill, attach, cast, exit
from otpq.worker.descendants import marked
from otpq.worker.orders import (
    Answers,
    CancelJob,
    ChildGone,
    Finish,
    KeptCheckpoint,
    TakeBackJobs,
    Welcome,
    Work,
    WorkerUp,
)
from otpq.worker.pool_config import PoolConfig
from otpq.worker.spawn import MARK
from otpq.worker.worker import Worker
from tests.integration.worker import fake_child
from tests.integration.worker.pool_stage import error_of
from tests.integration.worker.rounds import eventually, is_running
from tests.integration.worker.worker_bench import Bench

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

StartBench = "Callable[..., Bench]"


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Bench]]:
    """A function that makes a bench whose child is ready: three cells, the second worker of its pool, unless said."""
    monkeypatch.setattr("otpq.worker.child_link.BOOT", fake_child.BOOT)
    with attach(trap_exit=True) as me, contextlib.ExitStack() as closing:

        def start(*, slot: int = 1, **settings: Any) -> Bench:
            config = PoolConfig(
                node="a@test",
                incarnation=f"{tmp_path.name}-{os.getpid()}",
                directory=tmp_path,
                app="none:app",
                size=2,
                **{"executor": "thread", "parallel": 3, **settings},
            )
            bench = Bench(me, config, slot)
            closing.callback(bench.close)
            bench.start()
            return bench

        yield start


# --- several at a time -----------------------------------------------------------------------------------------------


def test_a_child_is_told_what_it_is_to_be(start: Callable[..., Bench]) -> None:
    bench = start(script_dirs=("/jobs",))
    (seq,) = bench.give(1, ("greeted",))
    greeting = msgpack.unpackb(bench.answers(seq)[seq].result)
    told = {key: greeting[key] for key in ("app", "slot", "executor", "parallel", "script_dirs")}
    assert told == {"app": "none:app", "slot": 3, "executor": "thread", "parallel": 3, "script_dirs": ["/jobs"]}


def test_a_child_for_scripts_alone_has_no_app(start: Callable[..., Bench]) -> None:
    bench = start(executor="script", parallel=1)
    (seq,) = bench.give(1, ("greeted",))
    greeting = msgpack.unpackb(bench.answers(seq)[seq].result)
    assert (greeting["app"], greeting["executor"]) == ("", "script")


def test_several_run_at_a_time_and_are_answered_as_they_end(start: Callable[..., Bench], tmp_path: Path) -> None:
    bench = start()
    gates = [tmp_path / f"gate{number}" for number in range(4)]
    seqs = bench.give(1, *(("hold", str(gate)) for gate in gates))
    bench.until_running(*seqs[:3])
    gates[1].touch()
    assert isinstance(bench.answers(seqs[1])[seqs[1]], Succeeded)
    bench.until_running(seqs[0], seqs[2], seqs[3])
    for gate in gates:
        gate.touch()
    found = bench.answers(seqs[0], seqs[2], seqs[3])
    assert all(isinstance(each, Succeeded) for each in found.values())


def test_when_their_child_dies_all_of_several_are_interrupted(start: Callable[..., Bench]) -> None:
    bench = start()
    holding = bench.give(1, ("hold", "/none"), ("hold", "/none"))
    bench.until_running(*holding)
    (bad,) = bench.give(2, ("die",))
    waiting = bench.give(3, ("hold", "/none"), ("hold", "/none"))
    bench.hear(ChildGone)
    found = bench.answers(*holding, bad, *waiting)
    assert {found[seq] for seq in (*holding, bad)} == {"interrupted"}
    assert {found[seq] for seq in waiting} == {"returned"}
    assert bench.running() == set()
    bench.ready()


def test_one_that_travels_alone_is_judged_by_itself(start: Callable[..., Bench], tmp_path: Path) -> None:
    bench = start()
    gate = tmp_path / "gate"
    (holding,) = bench.give(1, ("hold", str(gate)))
    bad = bench.job("die", [], None)
    cast(bench.worker, Work(2, [bad], alone=True))
    (late,) = bench.give(3, ("hold", "/none"))
    bench.until_running(holding)
    cast(bench.worker, TakeBackJobs((late,)))
    assert bench.answers(late) == {late: "returned"}  # nothing is in front of the child, though it has room
    assert bench.running() == {holding}
    gate.touch()
    assert isinstance(bench.answers(holding)[holding], Succeeded)
    bench.hear(ChildGone)
    failed = bench.answers(bad.seq)[bad.seq]
    assert isinstance(failed, Failed)
    assert failed.reason == "crashed"


def test_the_one_that_takes_too_long_is_charged_and_its_neighbours_are_not(start: Callable[..., Bench]) -> None:
    bench = start()
    neighbours = bench.give(1, ("hold", "/none"), ("hold", "/none"))
    (late,) = bench.give(2, ("hold", "/none"), timeout=0.3)
    bench.hear(ChildGone)
    found = bench.answers(*neighbours, late)
    assert found[late].reason == "timeout"
    assert {found[seq] for seq in neighbours} == {"returned"}


def test_a_blocked_event_loop_is_ended_and_one_that_beats_is_not(start: Callable[..., Bench]) -> None:
    bench = start(executor="async", parallel=2, silence=1.5)  # a machine that is full may stop anybody for a second
    (slow,) = bench.give(1, ("hold", "/none"))
    bench.until_running(slow)
    with pytest.raises(TimeoutError):
        bench.hear(ChildGone, timeout=3.5)
    (blocking,) = bench.give(2, ("block",))
    bench.hear(ChildGone)
    assert bench.answers(slow, blocking) == {slow: "interrupted", blocking: "interrupted"}
    bench.ready()
    (blocking,) = bench.give(3, ("block",))
    bench.hear(ChildGone)
    failed = bench.answers(blocking)[blocking]
    assert (failed.reason, "its event loop is blocked" in error_of(failed)[1]) == ("crashed", True)


# --- memory, and replacing a child -----------------------------------------------------------------------------------


def test_who_takes_too_much_memory_is_ended(start: Callable[..., Bench]) -> None:
    bench = start()
    job = bench.job("swell_and_hold", [300], None, memory=150.0)
    cast(bench.worker, Work(1, [job]))
    bench.hear(ChildGone)
    failed = bench.answers(job.seq)[job.seq]
    assert isinstance(failed, Failed)
    assert failed.reason == "memory"


def test_of_several_that_take_too_much_together_nobody_is_charged(start: Callable[..., Bench]) -> None:
    bench = start()
    jobs = [bench.job("swell_and_hold", [150], None, memory=100.0) for _ in range(2)]
    cast(bench.worker, Work(1, jobs, packet=2))
    bench.hear(ChildGone)
    assert bench.answers(*(job.seq for job in jobs)) == {job.seq: "interrupted" for job in jobs}


def test_one_without_a_limit_frees_the_others_of_theirs(start: Callable[..., Bench], tmp_path: Path) -> None:
    bench = start()
    gate = tmp_path / "gate"
    free, bound = bench.job("hold", [str(gate)], None), bench.job("swell_and_hold", [300], None, memory=150.0)
    cast(bench.worker, Work(1, [free, bound], packet=2))
    bench.until_running(free.seq, bound.seq)
    with pytest.raises(TimeoutError):
        bench.hear(ChildGone, timeout=0.5)
    gate.touch()
    assert isinstance(bench.answers(free.seq)[free.seq], Succeeded)
    bench.hear(ChildGone)
    assert bench.answers(bound.seq)[bound.seq].reason == "memory"


def test_a_child_is_replaced_after_so_many_tasks_and_nobody_is_charged(
    start: Callable[..., Bench], tmp_path: Path
) -> None:
    bench = start(recycle_tasks=5)
    gate = tmp_path / "gate"
    (slow,) = bench.give(1, ("hold", str(gate)))
    bench.until_running(slow)
    quick = bench.give(2, *[("say",)] * 5)
    found = bench.answers(*quick)
    assert all(isinstance(each, Succeeded) for each in found.values())
    (late,) = bench.give(3, ("say",))  # it is to be the next child's
    gate.touch()
    assert isinstance(bench.answers(slow)[slow], Succeeded)
    gone = bench.hear(ChildGone)
    assert "was replaced after 5 tasks" in gone.error
    assert not gone.is_failing
    assert not gone.is_last
    assert bench.answers(late) == {late: "returned"}
    bench.ready()
    again = bench.give(4, ("say",))
    assert isinstance(bench.answers(*again)[again[0]], Succeeded)


def test_a_child_that_has_grown_is_replaced_when_its_batch_is_over(start: Callable[..., Bench]) -> None:
    bench = start(recycle_memory=200.0)
    (swell,) = bench.give(1, ("swell", 300))
    assert isinstance(bench.answers(swell)[swell], Succeeded)
    assert "MiB of memory" in bench.hear(ChildGone).error
    bench.ready()


def test_a_worker_that_is_ended_as_it_starts_the_next_child_leaves_none(start: Callable[..., Bench]) -> None:
    bench = start()
    for _ in range(10):
        bench.give(1, ("die",))
        bench.hear(ChildGone)
        exit(bench.worker, Kill())
        bench.worker = Worker.start_link(bench.config, bench.slot)
        while not isinstance(bench.hear(WorkerUp | Answers), WorkerUp):
            pass
        cast(bench.worker, Welcome())
        bench.ready()
    exit(bench.worker, Kill())
    eventually(lambda: not marked(f"{MARK}={bench.config.incarnation}"))
    gc.collect()  # which tells of sockets that nobody has closed


# --- words to the child ----------------------------------------------------------------------------------------------


def test_a_task_that_is_cancelled_is_told_and_may_end_by_itself(start: Callable[..., Bench]) -> None:
    bench = start()
    good, bad = bench.give(1, ("until_cancelled",), ("until_cancelled",))
    bench.until_running(good, bad)
    cast(bench.worker, CancelJob(1, bad, 60.0))
    assert bench.hear(Cancelling) == Cancelling(session=bench.config.session, lease=1, seq=bad)
    assert isinstance(bench.answers(bad)[bad], Cancelled)
    assert bench.running() == {good}


def test_who_is_asked_to_end_may_hand_over(start: Callable[..., Bench], tmp_path: Path) -> None:
    bench = start()
    gate = tmp_path / "gate"
    quick, slow = bench.give(1, ("until_drained",), ("hold", str(gate)))
    bench.until_running(quick, slow)
    cast(bench.worker, Finish())
    assert isinstance(bench.answers(quick)[quick], HandedOver)
    gate.touch()
    assert isinstance(bench.answers(slow)[slow], Succeeded)
    bench.hear(ChildGone)
    assert bench.hear(ChildGone).is_last


def test_a_checkpoint_is_passed_on_and_its_keeping_told(start: Callable[..., Bench]) -> None:
    bench = start()
    (seq,) = bench.give(1, ("checkpoint",))
    session = bench.config.session
    assert bench.until_told(Checkpointed) == Checkpointed(session=session, lease=1, seq=seq, number=3, value=b"\xc3")
    cast(bench.worker, KeptCheckpoint(seq, 3))
    assert isinstance(bench.answers(seq)[seq], Succeeded)


def test_progress_is_told_before_the_end(start: Callable[..., Bench]) -> None:
    bench = start()
    (seq,) = bench.give(1, ("progress", [0.5, "half"], [1.0, ""]))
    bench.answers(seq)
    session = bench.config.session
    assert bench.told == [
        Progressed(session=session, lease=1, seq=seq, fraction=0.5, message="half"),
        Progressed(session=session, lease=1, seq=seq, fraction=1.0),
    ]


# --- what is put out -------------------------------------------------------------------------------------------------


def test_lines_are_told_before_the_end_and_while_it_runs(start: Callable[..., Bench]) -> None:
    bench = start()
    (seq,) = bench.give(1, ("say", "one", "two"))
    bench.answers(seq)
    assert [(line[0], line[4]) for line in bench.lines(seq)] == [(1, "one"), (2, "two")]
    bench.told.clear()
    (running,) = bench.give(2, ("say_and_hold", "now"))
    logged = bench.until_told(Logged)
    assert (logged.lease, logged.seq, msgpack.unpackb(logged.lines)[0][4]) == (2, running, "now")


def test_lines_of_several_are_not_mixed(start: Callable[..., Bench]) -> None:
    bench = start()
    seqs = bench.give(1, *(("say", f"a{number}", f"b{number}") for number in range(20)))
    bench.answers(*seqs)
    for number, seq in enumerate(seqs):
        assert [line[4] for line in bench.lines(seq)] == [f"a{number}", f"b{number}"]


def test_raw_output_belongs_to_the_one_that_runs(start: Callable[..., Bench]) -> None:
    bench = start()
    (seq,) = bench.give(1, ("write", [1, "out\nunfin"], [2, "err\n"], [1, "ished"]))
    bench.answers(seq)
    found = sorted(line[2:5] for line in bench.lines(seq))
    assert found == [["err", "error", "err"], ["out", "info", "out"], ["out", "info", "unfinished"]]


def test_raw_output_of_nobody_goes_to_the_nodes_own(
    start: Callable[..., Bench], capfd: pytest.CaptureFixture[str]
) -> None:
    bench = start()
    holding = bench.give(1, ("hold", "/none"), ("write_and_hold", [1, "whose?\n"]))
    bench.until_running(*holding)
    said = []

    def is_said() -> bool:
        said.append(capfd.readouterr().err)
        return "otpq-child:default:1: whose?\n" in "".join(said)

    eventually(is_said)
    assert bench.lines(holding[1]) == []


def test_what_was_said_last_before_a_death_is_told(start: Callable[..., Bench]) -> None:
    bench = start()
    (seq,) = bench.give(1, ("write_and_die", [2, "Fatal error\nno line end"]))
    bench.hear(ChildGone)
    assert isinstance(bench.answers(seq)[seq], Failed)
    assert [line[4] for line in bench.lines(seq)] == ["Fatal error", "no line end"]


def test_a_hundred_megabytes_of_output_hold_nobody_up_and_are_bounded(start: Callable[..., Bench]) -> None:
    bench = start()
    before = time.process_time()
    (seq,) = bench.give(1, ("shout", 100_000_000))
    answer = bench.hear(Answers, timeout=100.0)
    assert isinstance(answer.results[0], Succeeded)
    print(f"{time.process_time() - before:.2f} s of CPU in the node's process")  # noqa: T201 - a figure, no condition
    logged = [event for event in bench.told if isinstance(event, Logged)]
    assert sum(len(event.lines) for event in logged) < 60 * 128 * 1024
    lines = bench.lines(seq)
    assert [line[0] for line in lines[:1000]] == list(range(1, 1001))
    assert lines[-1][0] == -(-100_000_000 // 46)  # every line was counted; they are 45 characters and an end


def test_a_child_that_does_not_listen_holds_nobody_up(start: Callable[..., Bench]) -> None:
    bench = start(silence=60.0)
    (seq,) = bench.give(1, ("hold", "/none"))
    bench.until_running(seq)
    child = next(pid for pid in [bench.board.read(3).running, bench.board.read(4).running, bench.board.read(5).running]
                 if pid is not None).pid  # fmt: skip
    os.kill(child, 19)
    for number in range(20_000):  # more than a socket holds
        cast(bench.worker, KeptCheckpoint(seq, number))
    cast(bench.worker, CancelJob(1, seq, 0.1))
    bench.hear(Cancelling)
    bench.hear(ChildGone)
    assert isinstance(bench.answers(seq)[seq], Cancelled)
    assert not is_running(child)
