"""A pool with real children against a fake queue server: every task is resolved once, whatever dies."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from typing import TYPE_CHECKING

import msgpack
import pytest

from otpq.core.effects import CancelRunning, Stale, TakeBack, UnknownSession
from otpq.core.events import (
    Cancelled,
    Cancelling,
    Demand,
    Discarded,
    Failed,
    HandedBack,
    Results,
    Running,
    SessionClosed,
    SessionOpened,
    Succeeded,
)
from otpq.otp import Kill, call, cast, exit, stop
from otpq.queue.messages import OpenPool
from otpq.task import Options
from otpq.worker import tombstone
from otpq.worker.kernel import is_portable
from otpq.worker.pool import Pool
from otpq.worker.warden_server import Warden
from tests.integration.worker.pool_stage import Stage, error_of, staged
from tests.integration.worker.rounds import eventually, is_running

if TYPE_CHECKING:
    from pathlib import Path


def test_a_thousand_small_tasks_run_once_each(tmp_path: Path) -> None:
    with staged(tmp_path, batch=50) as stage:
        stage.wait_ready()
        seqs = stage.give_each(*(("add", number, 1) for number in range(1000)))
        stage.until(lambda: len(stage.books.ended) == 1000)
        for number, seq in enumerate(seqs):
            ended = stage.books.ended[seq]
            assert isinstance(ended, Succeeded)
            assert ended.result == msgpack.packb(number + 1)
            assert 0 < ended.started <= ended.finished
        assert stage.books.twice == []
        assert not stage.books.interrupted
        assert len(stage.seen(Results)) < 300
        workers = stage.status["workers"]
        assert sum(worker["done"] for worker in workers) == 1000
        assert all(worker["done"] for worker in workers)
        stage.until(lambda: stage.status["leases"] == 0)


def test_the_session_is_opened_before_anything_is_asked(tmp_path: Path) -> None:
    with staged(tmp_path, queues=("a", "b")) as stage:
        stage.wait_ready()
        first = stage.books.events[0]
        assert first == OpenPool(
            stage.pool,
            SessionOpened(
                session=stage.config.session,
                node="a@test",
                incarnation=stage.config.incarnation,
                queues=("a", "b"),
                app=stage.config.app,
            ),
        )


def test_the_handlers_are_told_with_what_is_declared_of_them_once_a_child_knows(tmp_path: Path) -> None:
    with staged(tmp_path, size=2) as stage:
        stage.wait_ready()
        unknown, known = (opened.event.handlers for opened in stage.seen(OpenPool))
        assert unknown is None
        assert known["add"] == b""
        assert Options.unpack(known["declared"]) == Options.of(retries=0, timeout=7)
        asked = next(
            place for place, event in enumerate(stage.books.events) if isinstance(event, Demand) and event.asked
        )
        assert stage.books.events.index(stage.seen(OpenPool)[1]) < asked


def test_a_result_says_where_it_ran(tmp_path: Path) -> None:
    with staged(tmp_path, size=1) as stage:
        ended = stage.result(stage.give("pid"))
        assert msgpack.unpackb(ended.ran) == ["a@test", stage.config.incarnation, "default/0", stage.children()[0]]


def test_an_error_and_an_unknown_name_are_failures_with_their_reason(tmp_path: Path) -> None:
    with staged(tmp_path) as stage:
        failed, unknown = stage.result(stage.give("fail")), stage.result(stage.give("nobody"))
        assert (failed.reason, failed.types, error_of(failed)[:2]) == (
            "error",
            ("ValueError", "Exception", "BaseException"),
            ("ValueError", "no"),
        )
        assert unknown.reason == "error"
        kind, message, _ = error_of(unknown)
        assert kind == "NoHandler"
        assert message.startswith("no handler named 'nobody'; known: add, ")
        assert sum(worker["failed"] for worker in stage.status["workers"]) == 2


def test_nobody_waits_behind_a_slow_task_while_a_worker_has_nothing(tmp_path: Path) -> None:
    with staged(tmp_path, size=2, batch=1) as stage:
        stage.wait_ready()
        first, second = stage.give_many(2, "nap", 60)
        stage.until_running(first)
        stage.until_running(second)
        behind = stage.give_many(2, "add", 1, 1)
        stage.until_given(behind[-1])
        stage.tell(CancelRunning(session=session(stage), lease=stage.until_given(first), seq=first, grace=0))
        assert all(isinstance(stage.result(seq), Succeeded) for seq in behind)
        assert second not in stage.books.ended


# --- children that die -----------------------------------------------------------------------------------------------


def test_twenty_sigkills_charge_only_what_was_running(tmp_path: Path) -> None:
    dice = random.Random(7)  # noqa: S311 - the same dice each time
    with staged(tmp_path, batch=8) as stage:
        stage.wait_ready()
        seqs = stage.give_many(1500, "nap", 0.002)
        killed: set[int] = set()
        while len(killed) < 20:
            time.sleep(dice.uniform(0.01, 0.12))
            # Of a victim the pool hears when its warden does: not the same twice, or on a busy machine few would die.
            child = dice.choice(eventually(lambda: sorted({*stage.children()} - killed)))
            os.kill(child, signal.SIGKILL)
            killed.add(child)
        stage.until(lambda: len(stage.books.ended) == len(seqs), 60)
        assert stage.books.twice == []
        # Interrupted, and so not charged either: tasks that had ended while their answer was still in the child.
        assert stage.books.interrupted.total() <= 20
        failed = [ended for ended in stage.books.ended.values() if isinstance(ended, Failed)]
        assert len(failed) <= 20
        for ended in failed:
            assert ended.reason == "crashed"
            assert "SIGKILL" in error_of(ended)[1]
        stage.until(lambda: sum(worker["restarts"] for worker in stage.status["workers"]) == len(killed))


@pytest.mark.parametrize(
    ("name", "arg", "words"),
    [
        ("die", signal.SIGKILL, "was killed by SIGKILL"),
        ("die", signal.SIGSEGV, "was killed by SIGSEGV"),
        ("leave", 3, "ended with exit code 3"),
        ("leave", 0, "ended with exit code 0"),
    ],
)
def test_poison_is_blamed_by_name_and_its_neighbours_are_not(tmp_path: Path, name: str, arg: int, words: str) -> None:
    with staged(tmp_path, size=1, batch=20) as stage:
        stage.wait_ready()
        good = ("add", 1, 1)
        seqs = stage.give_each(*[good] * 5, (name, arg), *[good] * 5)
        poison = seqs.pop(5)
        ended = stage.result(poison)
        assert (ended.reason, words in error_of(ended)[1]) == ("crashed", True)
        assert all(isinstance(stage.result(seq), Succeeded) for seq in seqs)


def test_a_task_that_may_run_once_is_not_handed_back_when_it_may_have_begun(tmp_path: Path) -> None:
    with staged(tmp_path, size=1, batch=5) as stage:
        stage.wait_ready()
        poison = stage.give("nap", 60, at_most_once=True)
        unbegun = stage.give("add", 1, 1, at_most_once=True)
        stage.until_running(poison)
        stage.until_given(unbegun)
        os.kill(stage.children()[0], signal.SIGKILL)
        assert stage.result(poison).reason == "crashed"
        assert isinstance(stage.result(unbegun), Succeeded)
        assert stage.books.handed_back == {unbegun: 1}


def test_a_child_that_closes_its_descriptors_is_replaced(tmp_path: Path) -> None:
    with staged(tmp_path, size=1) as stage:
        ruinous, good = stage.give_each(("close_all",), ("add", 1, 1))
        assert isinstance(stage.result(good), Succeeded)
        assert stage.result(ruinous).reason == "crashed"  # the child could only name it: not handed back, for ever
        assert not stage.books.handed_back[ruinous]


@pytest.mark.skipif(is_portable(), reason="a subreaper finds it; without one it may get away")
def test_a_daemon_of_a_handler_does_not_outlive_the_child(tmp_path: Path) -> None:
    with staged(tmp_path, size=1) as stage:
        stage.result(stage.give("daemon"))
        victim = stage.children()[0]
        os.kill(victim, signal.SIGKILL)
        stage.until(lambda: stage.children() not in ([], [victim]))
        eventually(lambda: len(stage.survivors()) <= 1)


def test_an_app_that_cannot_be_loaded_is_tried_again_and_again_with_pauses(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with staged(tmp_path, size=1, path=()) as stage:
        stage.wait_ready()
        (tmp_path / "pool_app.py").write_text("raise RuntimeError('broken')")
        os.kill(stage.children()[0], signal.SIGKILL)
        stage.until(lambda: "broken" in stage.status["workers"][0]["error"])
        stage.until(lambda: "the next try in 0.2 s" in caplog.text)


# --- limits ----------------------------------------------------------------------------------------------------------


def test_a_task_past_its_timeout_is_killed_even_in_c_code(tmp_path: Path) -> None:
    with staged(tmp_path, size=1) as stage:
        stage.wait_ready()
        late, hung = stage.give("nap", 60, timeout=0.2), stage.give("hang", timeout=0.2)
        innocent = stage.give("add", 1, 1)
        for seq in (late, hung):
            ended = stage.result(seq)
            assert (ended.reason, error_of(ended)[0]) == ("timeout", "TimeoutError")
            assert "0.2 s" in error_of(ended)[1]
            assert 0.2 <= ended.finished - ended.started < 5
        assert isinstance(stage.result(innocent), Succeeded)


def test_a_stopped_child_is_killed(tmp_path: Path) -> None:
    with staged(tmp_path, size=1, silence=0.5) as stage:
        stage.wait_ready()
        seq = stage.give("nap", 60)
        child = stage.until_running(seq)["child"]
        os.kill(child, signal.SIGSTOP)
        ended = stage.result(seq)
        assert ended.reason == "crashed"
        assert "state T" in error_of(ended)[1]


# --- taking back, cancelling, stale leases ---------------------------------------------------------------------------


def session(stage: Stage) -> str:
    return stage.config.session


def test_what_waits_is_taken_back_from_a_child_that_is_stuck(tmp_path: Path) -> None:
    with staged(tmp_path, size=1, batch=3) as stage:
        stage.wait_ready()
        stuck = stage.give("hang")
        stage.until_running(stuck)
        waiting = stage.give_many(3, "add", 1, 1)
        stage.until_given(waiting[-1])
        lease = stage.until_given(waiting[0])
        stage.tell(TakeBack(session=session(stage), lease=lease, seqs=tuple(stage.books.open[lease])))
        stage.until(lambda: stage.books.handed_back[waiting[0]])
        assert stuck not in stage.books.handed_back


def test_a_waiting_task_that_is_cancelled_is_handed_back_and_a_running_one_is_ended(tmp_path: Path) -> None:
    with staged(tmp_path, size=1, batch=1) as stage:
        stage.wait_ready()
        running = stage.give("nap", 60)
        child = stage.until_running(running)["child"]
        waiting = stage.give("add", 1, 1)
        stage.until_given(waiting)
        stage.tell(CancelRunning(session=session(stage), lease=stage.until_given(waiting), seq=waiting, grace=0.1))
        stage.until(lambda: stage.books.handed_back[waiting])
        assert not stage.seen(Cancelling)
        lease = stage.until_given(running)
        stage.tell(CancelRunning(session=session(stage), lease=lease, seq=running, grace=0.3))
        stage.until(lambda: stage.seen(Cancelling))
        assert stage.seen(Cancelling) == [Cancelling(session=session(stage), lease=lease, seq=running)]
        began = time.monotonic()
        assert isinstance(stage.result(running), Cancelled)
        assert time.monotonic() - began > 0.1
        assert not is_running(child)
        assert isinstance(stage.result(waiting), Succeeded)


def test_a_task_that_ends_within_its_grace_has_its_own_result(tmp_path: Path) -> None:
    with staged(tmp_path, size=1, batch=1) as stage:
        stage.wait_ready()
        gate = tmp_path / "gate"
        seq = stage.give("wait_for", str(gate))
        child = stage.until_running(seq)["child"]
        stage.tell(CancelRunning(session=session(stage), lease=stage.until_given(seq), seq=seq, grace=30))
        stage.until(lambda: stage.seen(Cancelling))
        gate.touch()
        assert isinstance(stage.result(seq), Succeeded)
        assert stage.children() == [child]


def test_what_runs_under_a_stale_lease_is_killed_and_nothing_is_said_of_it(tmp_path: Path) -> None:
    with staged(tmp_path, size=1, batch=2) as stage:
        stage.wait_ready()
        zombie = stage.give("nap", 60)
        child = stage.until_running(zombie)["child"]
        lease = stage.until_given(zombie)
        stage.books.open[lease] = []
        stage.tell(Stale(session=session(stage), lease=lease))
        eventually(lambda: not is_running(child))
        assert isinstance(stage.result(stage.give("add", 1, 1)), Succeeded)
        assert zombie not in stage.books.ended
        assert zombie not in stage.books.handed_back
        assert stage.status["leases"] <= 1


# --- the queue server's ends -----------------------------------------------------------------------------------------


def test_tasks_run_on_while_there_is_no_queue_server_and_results_come_later(tmp_path: Path) -> None:
    with staged(tmp_path, size=1, batch=5) as stage:  # one worker: no other that is idle may be why it hands back
        stage.wait_ready()
        seqs = stage.give_many(100, "nap", 0.02)
        for _ in range(3):
            time.sleep(0.2)
            exit(stage.server, Kill())
            time.sleep(0.2)
            stage.start_server()
        stage.until(lambda: len(stage.books.ended) == len(seqs))
        assert stage.books.twice == []
        assert not stage.books.interrupted
        assert not stage.books.handed_back
        assert len(stage.seen(OpenPool)) == 5  # the second told the handlers


def test_results_that_were_not_committed_are_said_again_to_who_forgot_them(tmp_path: Path) -> None:
    with staged(tmp_path) as stage:
        stage.books.mute = True
        seq = stage.give("add", 1, 1)
        stage.until(lambda: stage.seen(Results))
        stage.books.mute = False
        stage.tell(UnknownSession(session=session(stage)))
        assert isinstance(stage.result(seq), Succeeded)
        assert len(stage.seen(OpenPool)) == 3  # the second told the handlers
        stage.until(lambda: stage.status["leases"] == 0)


# --- actors that crash -----------------------------------------------------------------------------------------------


def test_a_workers_crash_kills_its_child_and_interrupts_what_ran(tmp_path: Path) -> None:
    with staged(tmp_path, size=1, batch=2) as stage:
        stage.wait_ready()
        gate = tmp_path / "gate"
        first = stage.give("note_and_wait", str(tmp_path / "runs"), str(gate))
        child = stage.until_running(first)["child"]
        waiting = stage.give("add", 1, 1)
        stage.until_given(waiting)
        worker = next(pid for pid in stage.me.registry.processes() if pid.label == "Worker")
        exit(worker, Kill())
        assert not is_running(child)  # already: its death waited for the child's
        gate.touch()
        assert isinstance(stage.result(waiting), Succeeded)
        assert isinstance(stage.result(first), Succeeded)
        assert (stage.books.interrupted[first], stage.books.handed_back[waiting]) == (1, 1)
        assert len((tmp_path / "runs").read_text().split()) == 2


def test_a_lost_warden_is_replaced_and_nobody_is_charged(tmp_path: Path) -> None:
    with staged(tmp_path, batch=4) as stage:
        stage.wait_ready()
        seqs = stage.give_many(300, "nap", 0.01)
        for _ in range(3):
            time.sleep(0.3)
            warden = stage.me.registry.whereis(stage.config.warden)
            if warden is not None:
                os.kill(Warden.client(warden).starter, signal.SIGKILL)
        stage.until(lambda: len(stage.books.ended) == len(seqs), 60)
        assert all(isinstance(ended, Succeeded) for ended in stage.books.ended.values())
        assert stage.books.twice == []


@pytest.mark.skipif(is_portable(), reason="a portable warden proves nothing, and so leaves no tombstone")
def test_who_is_heard_is_renewed_and_who_is_not_is_fenced_after_the_lease(tmp_path: Path) -> None:
    with staged(tmp_path, size=1, lease=1.0, beat=0.1) as stage:
        stage.wait_ready()
        (child,) = stage.children()
        time.sleep(2.0)
        assert stage.children() == [child], "two leases long it was heard"
        stage.books.is_deaf = True
        eventually(lambda: not is_running(child))
        stone = tombstone.path_of(tmp_path, stage.config.incarnation)
        eventually(stone.exists)
        assert tombstone.read(stone).reason == "lease"


def test_a_crash_of_the_pool_starts_all_anew(tmp_path: Path) -> None:
    with staged(tmp_path, batch=4) as stage:
        stage.wait_ready()
        seqs = stage.give_many(100, "nap", 0.01)
        time.sleep(0.2)
        before = stage.children()
        exit(stage.pool, Kill())
        eventually(lambda: not any(map(is_running, before)))
        eventually(lambda: stage.me.registry.whereis(stage.config.pool))
        stage.until(lambda: len(stage.books.ended) == len(seqs))
        assert stage.books.twice == []


# --- drain, and the end ----------------------------------------------------------------------------------------------


def test_a_drain_lets_what_runs_end_and_hands_back_what_waits(tmp_path: Path) -> None:
    with staged(tmp_path, size=1, batch=3) as stage:
        stage.wait_ready()
        gate = tmp_path / "gate"
        running = stage.give("wait_for", str(gate))
        stage.until_running(running)
        waiting = stage.give_many(3, "add", 1, 1)
        stage.until_given(waiting[-1])

        def open_the_gate() -> None:
            stage.until(lambda: set(stage.books.handed_back) == set(waiting))
            gate.touch()

        opener = threading.Thread(target=open_the_gate)
        opener.start()
        Pool.drain(stage.pool, 20)
        opener.join()
        assert isinstance(stage.books.ended[running], Succeeded)
        assert set(stage.books.handed_back) == set(waiting)
        assert stage.seen(SessionClosed)
        assert stage.survivors() == []
        assert stage.status["leases"] == 0
        Pool.drain(stage.pool, 0)  # again: nothing to do
        # The warden serves all pools of the node, so it is the node that ends it.
        Warden.bury(stage.config.warden)
        assert tombstone.path_of(tmp_path, stage.config.incarnation).exists() is not is_portable()


def test_what_does_not_end_within_the_grace_is_killed_and_handed_back_unless_it_may_run_but_once(
    tmp_path: Path,
) -> None:
    with staged(tmp_path, size=2, batch=1) as stage:
        stage.wait_ready()
        hung, once = stage.give("hang"), stage.give("nap", 60, at_most_once=True)
        stage.until_running(hung)
        stage.until_running(once)
        began = time.monotonic()
        Pool.drain(stage.pool, 0.3)
        assert 0.3 <= time.monotonic() - began < 10
        assert stage.books.handed_back == {hung: 1}
        assert isinstance(stage.books.ended[once], Discarded)
        assert stage.survivors() == []


def test_a_drain_ends_without_a_queue_server_too(tmp_path: Path) -> None:
    with staged(tmp_path, size=1) as stage:
        stage.wait_ready()
        seq = stage.give("nap", 60)
        stage.until_running(seq)
        stop(stage.server)
        Pool.drain(stage.pool, 0.1)
        assert stage.survivors() == []
        stage.start_server()


def test_a_stop_without_a_drain_leaves_no_process(tmp_path: Path) -> None:
    with staged(tmp_path) as stage:
        stage.wait_ready()
        for _ in range(4):
            stage.give("hang")
        stage.give("daemon")
        stage.until(lambda: len(stage.seen(Running)) > 0)
    assert stage.survivors() == []


# --- what is told ----------------------------------------------------------------------------------------------------


def test_running_and_status_tell_what_runs(tmp_path: Path) -> None:
    with staged(tmp_path, size=1, beat=0.1) as stage:
        stage.wait_ready()
        gate = tmp_path / "gate"
        seq = stage.give("wait_for", str(gate))
        worker = stage.until_running(seq)
        assert worker["task"] == "wait_for"
        assert worker["child"] == stage.children()[0]
        assert worker["since"] <= time.time()
        stage.until(lambda: any(fact.workers[0]["task"] == "wait_for" for fact in stage.books.facts if fact.workers))
        stage.until(lambda: stage.seen(Running))
        gate.touch()
        stage.result(seq)
        stage.until(lambda: stage.status["workers"][0]["seq"] is None)
        stage.until(lambda: len(stage.seen(Running)) >= 2)
        assert [set(event.seqs) for event in stage.seen(Running)] == [{seq}, set()]


def test_nobody_is_disturbed_by_orders_about_what_is_not_there(tmp_path: Path) -> None:
    with staged(tmp_path, size=1) as stage:
        stage.wait_ready()
        for effect in (
            TakeBack(session=session(stage), lease=99, seqs=(1,)),
            CancelRunning(session=session(stage), lease=99, seq=1, grace=0),
            Stale(session=session(stage), lease=99),
        ):
            stage.tell(effect)
        cast(stage.pool, "nonsense")
        assert isinstance(stage.result(stage.give("add", 1, 1)), Succeeded)
        assert not stage.seen(HandedBack)
        assert call(stage.pool, "status")["draining"] is False
