"""Pools that grow, shrink, are scaled and reloaded, with real children against a fake queue server."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from otpq.core.events import Succeeded
from otpq.otp import Kill, Supervisor, exit
from otpq.queue.messages import OpenPool, Reload, Scale
from tests.integration.worker.pool_stage import APP, staged
from tests.integration.worker.rounds import eventually, is_running

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.worker.pool_stage import Stage


def workers_of(stage: Stage) -> list[str | None]:
    supervisor = stage.me.registry.whereis(stage.config.staff)
    assert supervisor is not None
    return [child.id for child in Supervisor.which_children(supervisor)]


def test_it_grows_while_work_waits_and_shrinks_when_none_does(tmp_path: Path) -> None:
    with staged(tmp_path, size=1, most=3, batch=1, beat=0.1, idle=0.5) as stage:
        stage.wait_ready()
        gate = tmp_path / "gate"
        seqs = stage.give_many(9, "wait_for", str(gate))
        stage.until(lambda: len(stage.children()) == 3)
        stage.until(lambda: sum(worker["running"] for worker in stage.status["workers"]) == 3)
        gate.touch()
        assert all(isinstance(stage.result(seq), Succeeded) for seq in seqs)
        stage.until(lambda: len(stage.status["workers"]) == 1)
        assert workers_of(stage) == ["worker 0"]
        assert isinstance(stage.result(stage.give("add", 1, 1)), Succeeded)
        assert stage.books.interrupted.total() == 0


def test_only_idle_workers_are_let_go(tmp_path: Path) -> None:
    with staged(tmp_path, size=1, most=2, batch=1, beat=0.1, idle=0.3) as stage:
        stage.wait_ready()
        first, second = tmp_path / "first", tmp_path / "second"
        early = stage.give_many(3, "wait_for", str(first))
        late = stage.give("wait_for", str(second))
        stage.until(lambda: len(stage.children()) == 2)
        first.touch()
        for seq in early:
            stage.result(seq)
        place = stage.until_running(late)
        stage.until(lambda: len(stage.status["workers"]) == 1)
        assert stage.status["workers"][0]["child"] == place["child"]
        second.touch()
        assert isinstance(stage.result(late), Succeeded)
        assert stage.books.interrupted.total() == 0


def test_an_order_sets_how_many_there_are(tmp_path: Path) -> None:
    with staged(tmp_path, size=1, batch=1) as stage:
        stage.wait_ready()
        assert stage.order(Scale(3)) == {"pool": "default", "workers": 3, "before": 1}
        stage.until(lambda: len(stage.children()) == 3)
        gate = tmp_path / "gate"
        running = stage.give_many(3, "wait_for", str(gate))
        for seq in running:
            stage.until_running(seq)
        assert stage.order(Scale(1)) == {"pool": "default", "workers": 1, "before": 3}
        stage.until(lambda: len(stage.seats()) == 1)
        assert len(stage.children()) == 3, "what runs is not ended for it"
        gate.touch()
        assert all(isinstance(stage.result(seq), Succeeded) for seq in running)
        stage.until(lambda: len(stage.status["workers"]) == 1)
        assert "places for 0 to 32" in stage.order(Scale(33))["error"]
        assert "places" in stage.order(Scale(-1))["error"]


def test_a_pool_can_be_scaled_to_nothing_and_back(tmp_path: Path) -> None:
    with staged(tmp_path, size=2) as stage:
        stage.wait_ready()
        stage.order(Scale(0))
        stage.until(lambda: not stage.status["workers"])
        seq = stage.give("add", 1, 1)
        stage.order(Scale(1))
        assert isinstance(stage.result(seq), Succeeded)


def test_a_reload_brings_new_code_while_old_children_end_what_they_run(tmp_path: Path) -> None:
    with staged(tmp_path, size=2, batch=1) as stage:
        stage.wait_ready()
        before = stage.children()
        gate = tmp_path / "gate"
        old = stage.give("wait_for", str(gate))
        busy = stage.until_running(old)["child"]
        app = tmp_path / "pool_app.py"
        app.write_text(APP.replace("return a + b", "return a * b + 0x100"))
        assert stage.order(Reload()) == {"pool": "default", "replaced": 2}
        seqs = stage.give_many(20, "add", 3, 4)
        assert {stage.result(seq).result for seq in seqs} == {b"\xcd\x01\x0c"}
        stage.until(lambda: len(stage.status["workers"]) == 3, 30)
        assert busy in before
        assert is_running(busy)
        gate.touch()
        assert isinstance(stage.result(old), Succeeded)
        stage.until(lambda: len(stage.status["workers"]) == 2)
        eventually(lambda: not any(map(is_running, before)))
        assert not stage.books.interrupted
        assert stage.books.twice == []


def test_code_that_cannot_be_loaded_leaves_the_old_children_at_work(tmp_path: Path) -> None:
    with staged(tmp_path, size=2) as stage:
        stage.wait_ready()
        before = stage.children()
        (tmp_path / "pool_app.py").write_text("raise RuntimeError('not today')")
        assert "not today" in stage.order(Reload())["error"]
        stage.until(lambda: len(stage.status["workers"]) == 2)
        assert stage.children() == before
        assert isinstance(stage.result(stage.give("add", 1, 1)), Succeeded)


def test_a_handler_that_the_new_code_lacks_is_told_as_soon_as_one_child_lacks_it(tmp_path: Path) -> None:
    with staged(tmp_path, size=2) as stage:
        stage.wait_ready()
        (tmp_path / "pool_app.py").write_text(APP + "del app.tasks['fail']\napp.tasks['late'] = app.tasks['add']\n")
        stage.order(Reload())
        told = [opened.event.handlers for opened in stage.seen(OpenPool)]
        assert "fail" in told[1]
        assert "late" not in told[1]
        assert "fail" not in told[-1]
        assert "late" in told[-1]
        assert not [each for each in told if each is not None and {"fail", "late"} <= each.keys()]


def test_a_worker_that_dies_while_it_leaves_leaves(tmp_path: Path) -> None:
    with staged(tmp_path, size=2, batch=1) as stage:
        stage.wait_ready()
        seqs = stage.give_many(2, "nap", 60)
        for seq in seqs:
            stage.until_running(seq)
        stage.order(Scale(1))
        stage.until(lambda: len(stage.seats()) == 1)
        leaving = next(each for each in stage.status["workers"] if each["leaving"])
        os.kill(leaving["child"], signal.SIGKILL)
        stage.until(lambda: len(stage.status["workers"]) == 1)
        stage.until(lambda: any(seq in stage.books.ended for seq in seqs))


def test_a_pool_that_crashes_ends_the_workers_it_knows_no_more(tmp_path: Path) -> None:
    with staged(tmp_path, size=1) as stage:
        stage.wait_ready()
        stage.order(Scale(3))
        stage.until(lambda: len(stage.children()) == 3)
        before = stage.children()
        exit(stage.pool, Kill())
        eventually(lambda: stage.me.registry.whereis(stage.config.pool))
        stage.until(lambda: len(stage.children()) == 1)
        assert not any(map(is_running, before))
        assert isinstance(stage.result(stage.give("add", 1, 1)), Succeeded)


def test_a_lost_warden_takes_the_workers_and_the_pool_starts_as_many_as_it_had(tmp_path: Path) -> None:
    with staged(tmp_path, size=1) as stage:
        stage.wait_ready()
        stage.order(Scale(3))
        stage.until(lambda: len(stage.children()) == 3)
        before, pool = stage.children(), stage.pool
        warden = stage.me.registry.whereis(stage.config.warden)
        assert warden is not None
        exit(warden, Kill())
        stage.until(lambda: len(stage.children()) == 3 and not set(stage.children()) & set(before))
        assert stage.pool is pool
        assert isinstance(stage.result(stage.give("add", 1, 1)), Succeeded)
