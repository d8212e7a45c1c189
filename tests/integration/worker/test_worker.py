"""One worker with a real child, and the test in the place of its pool."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import msgpack
import pytest

from otpq.core.events import Cancelled, Cancelling, Failed, Succeeded
from otpq.otp import Attached, CallFailed, Kill, Pid, Supervisor, attach, cast, exit, send, stop
from otpq.worker import tombstone
from otpq.worker.deadline import boottime_ns
from otpq.worker.kernel import is_portable
from otpq.worker.orders import (
    Answers,
    CancelJob,
    ChildGone,
    ChildReady,
    DropJobs,
    End,
    Finish,
    TakeBackJobs,
    Welcome,
    Work,
    WorkerUp,
)
from otpq.worker.pool_config import PoolConfig
from otpq.worker.warden_server import Warden
from otpq.worker.worker import Worker
from tests.integration.worker.pool_stage import APP, error_of
from tests.integration.worker.rounds import eventually, is_running
from tests.integration.worker.worker_bench import Bench

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from otpq.worker.warden_client import WardenClient


@pytest.fixture
def config(tmp_path: Path) -> PoolConfig:
    app = tmp_path / "pool_app.py"
    app.write_text(APP)
    return PoolConfig(
        node="a@test", incarnation=f"{tmp_path.name}-{os.getpid()}", directory=tmp_path, app=f"{app}:app", size=1
    )


@pytest.fixture
def bench(config: PoolConfig) -> Iterator[Bench]:
    with attach(trap_exit=True) as me:
        made = Bench(me, config)
        yield made
        made.close()


def test_no_child_is_started_before_the_welcome(bench: Bench) -> None:
    bench.hear(WorkerUp)
    with pytest.raises(TimeoutError):
        bench.hear(ChildReady, timeout=0.5)
    cast(bench.worker, Welcome())
    assert is_running(bench.ready())


def test_it_runs_what_it_is_given(bench: Bench) -> None:
    bench.start()
    (seq,) = bench.give(7, ("add", 1, 2))
    answer = bench.hear(Answers)
    assert (answer.slot, answer.lease, answer.failed) == (0, 7, 0)
    (result,) = answer.results
    assert (result.seq, result.result) == (seq, msgpack.packb(3))


def test_a_batch_of_quick_tasks_is_answered_in_few_words(bench: Bench) -> None:
    bench.start()
    bench.answers(*bench.give(1, ("stop_clock",), ("add", 0, 0)))
    seqs = bench.give(2, *[("add", 0, 0)] * 400, packet=100)
    words = 0
    done = 0
    while done < len(seqs):
        done += len(bench.hear(Answers).results)
        words += 1
    assert words < 40


def test_a_result_that_is_held_back_does_not_wait_for_the_end_of_a_long_run(bench: Bench, tmp_path: Path) -> None:
    bench.start()
    gate = tmp_path / "gate"
    bench.answers(*bench.give(1, ("stop_clock",), ("wait_for", str(tmp_path))))  # so it is known to be quick
    quick, slow = bench.give(2, ("wait_for", str(tmp_path)), ("wait_for", str(gate)), packet=2)
    assert isinstance(bench.answers(quick)[quick], Succeeded)
    assert bench.running() == {slow}
    gate.touch()
    assert isinstance(bench.answers(slow)[slow], Succeeded)


def test_work_that_comes_before_the_child_is_ready_goes_back(bench: Bench) -> None:
    bench.hear(WorkerUp)
    seqs = bench.give(1, ("add", 1, 1), ("add", 1, 1))
    assert bench.hear(Answers).returned == seqs


def test_the_death_of_a_child_is_answered_for_and_another_follows(bench: Bench) -> None:
    first = bench.start()
    good, bad, late = bench.give(1, ("add", 1, 1), ("die", signal.SIGKILL), ("add", 1, 1))
    while (word := bench.me.receive(10).request) and isinstance(word, Answers):
        assert [each.seq for each in word.results] == [good]
    assert word == ChildGone(0, f"the child (pid {first}) was killed by SIGKILL")
    found = bench.answers(bad, late)
    assert isinstance(found[bad], Failed)
    assert error_of(found[bad])[:2] == ("Crashed", f"the child (pid {first}) was killed by SIGKILL")
    assert found[late] == "returned"
    assert bench.board.read(0).running is None
    assert bench.ready() != first


def test_what_is_taken_back_is_not_run_and_the_rest_is(bench: Bench, tmp_path: Path) -> None:
    bench.start()
    gate = tmp_path / "gate"
    (slow,) = bench.give(1, ("wait_for", str(gate)))
    bench.until_running(slow)
    seqs = bench.give(2, *[("add", 1, 1)] * 4)
    cast(bench.worker, TakeBackJobs((seqs[1], seqs[2], 999)))
    assert bench.answers(seqs[1], seqs[2]) == {seqs[1]: "returned", seqs[2]: "returned"}
    gate.touch()
    found = bench.answers(slow, seqs[0], seqs[3])
    assert all(isinstance(each, Succeeded) for each in found.values())


def test_a_cancelled_task_has_its_grace_and_its_neighbours_are_not_hurt(bench: Bench) -> None:
    child = bench.start()
    (slow,) = bench.give(1, ("nap", 60))
    bench.until_running(slow)
    (waiting,) = bench.give(2, ("add", 1, 1))
    cast(bench.worker, CancelJob(1, slow, 0.2))
    assert bench.hear(Cancelling) == Cancelling(session=bench.config.session, lease=1, seq=slow)
    bench.hear(ChildGone)
    found = bench.answers(slow, waiting)
    assert isinstance(found[slow], Cancelled)
    assert found[slow].finished - found[slow].started >= 0.2
    assert found[waiting] == "returned"
    assert not is_running(child)


def test_dropped_tasks_are_ended_and_their_child_is_replaced(bench: Bench) -> None:
    child = bench.start()
    running, waiting = bench.give(1, ("nap", 60), ("nap", 60))
    bench.until_running(running)
    cast(bench.worker, DropJobs((running, waiting)))
    bench.hear(ChildGone)
    assert not is_running(child)
    assert bench.answers(running) == {running: "returned"}  # which the pool, that has forgotten it, passes over
    bench.ready()


def test_a_task_that_is_still_here_under_a_stale_lease_does_not_run_beside_itself(bench: Bench) -> None:
    bench.start()
    slow = bench.job("nap", [60], None)
    cast(bench.worker, Work(1, [slow]))
    bench.until_running(slow.seq)
    other = bench.job("add", [1, 1], None)
    cast(bench.worker, Work(2, [slow, other]))
    answer = bench.hear(Answers)
    assert (answer.lease, answer.returned) == (2, [slow.seq])
    cast(bench.worker, DropJobs((slow.seq,)))
    bench.hear(ChildGone)
    assert bench.answers(slow.seq, other.seq) == {slow.seq: "returned", other.seq: "returned"}


def test_a_silent_child_is_replaced_and_nobody_is_charged(bench: Bench, config: PoolConfig, tmp_path: Path) -> None:
    bench.start()
    config = PoolConfig(
        node=config.node, incarnation=config.incarnation, directory=tmp_path, app=config.app, size=1, silence=0.3
    )
    exit(bench.worker, Kill())
    bench.worker = Worker.start_link(config, 0)
    child = bench.start()
    os.kill(child, signal.SIGSTOP)
    (seq,) = bench.give(1, ("add", 1, 1))
    bench.hear(ChildGone)
    assert bench.answers(seq) == {seq: "returned"}


def test_finish_lets_what_runs_end_and_starts_no_other_child(bench: Bench, tmp_path: Path) -> None:
    child = bench.start()
    gate = tmp_path / "gate"
    (slow,) = bench.give(1, ("wait_for", str(gate)))
    bench.until_running(slow)
    (waiting,) = bench.give(2, ("add", 1, 1))
    cast(bench.worker, Finish())
    assert bench.answers(waiting) == {waiting: "returned"}
    gate.touch()
    assert isinstance(bench.answers(slow)[slow], Succeeded)
    bench.hear(ChildGone)
    assert bench.hear(ChildGone).is_last
    assert not is_running(child)
    seqs = bench.give(3, ("add", 1, 1))
    assert bench.hear(Answers).returned == seqs


def test_end_does_not_wait(bench: Bench) -> None:
    child = bench.start()
    (hung,) = bench.give(1, ("hang",))
    bench.until_running(hung)
    began = time.monotonic()
    cast(bench.worker, End())
    bench.hear(ChildGone)
    assert bench.answers(hung) == {hung: "returned"}
    assert bench.hear(ChildGone).is_last
    assert not is_running(child)
    assert time.monotonic() - began < 5


def test_a_killed_workers_child_is_gone_when_its_death_is_told(bench: Bench) -> None:
    child = bench.start()
    (hung,) = bench.give(1, ("hang",))
    bench.until_running(hung)
    exit(bench.worker, Kill())
    assert not is_running(child)
    entry = bench.board.read(0).running
    assert entry is not None  # it still says what ran, for the pool
    assert entry.seq == hung


# --- its warden ------------------------------------------------------------------------------------------------------


def started(config: PoolConfig) -> Pid:
    spec = Warden.child_spec(config.directory, config.node, config.incarnation, name=config.warden)
    return Supervisor.start_link([spec], max_restarts=3)


def successor(me: Attached, config: PoolConfig, first: WardenClient) -> WardenClient | None:
    """The client of the warden that took the place of the one behind `first`."""
    pid = me.registry.whereis(config.warden)
    try:
        client = None if pid is None else Warden.client(pid)
    except CallFailed:  # it ended just now
        return None
    return None if client is first else client


def test_a_lost_warden_is_replaced_in_the_same_incarnation(config: PoolConfig) -> None:
    with attach(trap_exit=True) as me:
        tree = started(config)
        first = Warden.client(config.warden)
        os.kill(first.starter, signal.SIGKILL)
        eventually(lambda: successor(me, config, first))
        assert Warden.client(config.warden).ping() < 5
        stop(tree)
        assert not tombstone.path_of(config.directory, config.incarnation).exists()


@pytest.mark.skipif(is_portable(), reason="a portable warden proves nothing, and so leaves none")
def test_a_buried_warden_leaves_its_tombstone(config: PoolConfig) -> None:
    with attach(trap_exit=True):
        tree = started(config)
        client = Warden.client(config.warden)
        assert Warden.bury(config.warden)
        assert client.lost is not None
        assert tombstone.path_of(config.directory, config.incarnation).exists()
        stop(tree)


def test_the_deadline_is_the_wardens(config: PoolConfig) -> None:
    with attach(trap_exit=True):
        tree = started(config)
        until = boottime_ns() + 10**12
        Warden.renew(config.warden, until)
        assert eventually(Warden.client(config.warden).deadline.get) == until
        stop(tree)


def test_a_warden_that_does_not_answer_is_given_up(config: PoolConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otpq.worker.warden_server._PING_TIMEOUT", 0.2)
    with attach(trap_exit=True) as me:
        tree = started(config)
        first = Warden.client(config.warden)
        os.kill(first.starter, signal.SIGSTOP)
        send(config.warden, "ping")
        eventually(lambda: successor(me, config, first))
        assert first.lost is not None
        stop(tree)
