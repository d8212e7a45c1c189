"""A real node, a real store, real children; told what to do as users tell it."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from typing import TYPE_CHECKING

import pytest

from otpq.client.calls import Call
from otpq.client.errors import TaskFailed
from otpq.client.questions import Selector
from otpq.task import TaskState
from otpq.wire.cookie import Cookie

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.conftest import Stage

LONG = 60.0


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# ------------------------------------------------------------ the command line


def test_a_node_says_when_it_is_ready_and_commands_find_it(stage: Stage) -> None:
    node = stage.node()
    word, name, address = node.out[0].split()
    assert (word, name) == ("ready", stage.name)
    assert address.startswith("tcp://127.0.0.1:")

    said = stage.otpq("submit", "add", "20", "22", "--wait")
    assert (said.returncode, said.stdout) == (0, "42\n"), said.stderr
    assert json.loads(stage.otpq("health", "--json").stdout)["ok"] is True

    task = json.loads(stage.otpq("list", "--json", "--state", "succeeded").stdout)
    shown = stage.otpq("show", task["id"]).stdout
    assert "succeeded" in shown
    assert "queued -> running" in shown
    assert "retries: 3" in shown
    assert json.loads(stage.otpq("counts", "--json").stdout)["default"]["succeeded"] == 1
    assert stage.otpq("cancel", task["id"]).stdout == "too_late\n"
    assert node.terminate() == 0


def test_commands_fail_with_one_line_and_the_right_exit_code(stage: Stage) -> None:
    alone = stage.otpq("counts")
    assert alone.returncode == 2
    assert "otpq node" in alone.stderr

    stage.node()
    unknown = stage.otpq("show", "0" * 32)
    assert (unknown.returncode, unknown.stderr) == (6, f"otpq: there is no task {'0' * 32!r}\n")
    other_order = stage.otpq("cancel", "0" * 32)
    assert (other_order.returncode, other_order.stderr) == (6, f"otpq: there is no task {'0' * 32!r}\n")
    failed = stage.otpq("submit", "fail", "no", "-o", "retries=0", "--wait")
    assert failed.returncode == 1
    assert failed.stderr.endswith("failed: error: ValueError: no\n")
    assert failed.stderr.count("\n") == 1

    other = stage.home / "other"
    other.write_text(stage.otpq("cookie", "new").stdout)
    other.chmod(0o600)
    refused = stage.otpq("health", "--cookie-file", str(other))
    assert refused.returncode == 5, refused.stderr


def test_a_second_node_ends_with_4_and_names_who_was_first(stage: Stage) -> None:
    node = stage.node()
    holder = f"otpq: store {stage.store} is held by process {node.process.pid}; a SQLite store serves one queue node at a time\n"
    other = f"n{node.process.pid}@127.0.0.1"
    taken = (
        f"otpq: {node.out[0].split()[2]} is taken by another program; is this node running already? "
        "Another port is given as NAME@HOST:PORT\n"
    )
    for words, said in (
        (("--name", stage.name), holder),
        (("--name", other, "--store", str(stage.store)), holder),
        (("--name", stage.name, "--dir", str(stage.home / "other")), taken),
    ):
        second = stage.otpq("node", *words)
        assert (second.returncode, second.stderr) == (4, said)


def test_a_node_that_cannot_be_says_why_in_one_line(stage: Stage) -> None:
    shared, below = stage.home / "shared", stage.app / "cookie"
    shared.write_text(Cookie.new().text())
    for words, code, said in (
        (
            ("--cookie-file", str(shared)),
            5,
            f"others may read the cookie at {shared}; take their rights away: chmod 600",
        ),
        (
            ("--cookie-file", str(below)),
            5,
            f"the cookie at {below} cannot be made: File exists; name another file by --",
        ),
        (("--app", "no_such_module:app"), 2, "there is no module 'no_such_module' to import the app from; "),
        (
            ("--name", "a@192.0.2.1"),
            2,
            ":25907: this machine has no such address; a node listens at an address of its own",
        ),
    ):
        ended = stage.otpq("node", *words)
        assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (code, "", 1), ended.stderr
        assert said in ended.stderr


def test_arguments_that_do_not_fit_fail_a_task_at_once(stage: Stage) -> None:
    stage.node()
    with stage.connect() as client:
        mismatch, missing = client.submit_task("add", 1, "2"), client.submit_task("add", 1)
        strange = client.submit(Call("strange", (), {}, retries=0))
        for handle, said in (
            (mismatch, "BadArgument: argument 'b': Expected `int`, got `str`"),
            (missing, "BadArgument: add cannot be called with these arguments: add() missing 1 required"),
            (strange, "UnpackableResult: result['set']: set is not allowed; use a list"),
        ):
            with pytest.raises(TaskFailed, match=re.escape(said)):
                handle.get(LONG)
            assert handle.task().attempt == 1


def test_check_finds_a_store_well_beside_its_node_and_after_it(stage: Stage) -> None:
    node = stage.node()
    stage.otpq("submit", "add", "1", "2", "--wait")
    store = next(stage.home.rglob("store.db"))
    assert stage.otpq("check", str(store)).returncode == 0
    node.kill()
    assert stage.otpq("check", str(store)).returncode == 0


# ------------------------------------------------------------ the client


def test_a_client_submits_and_waits(stage: Stage) -> None:
    stage.node()
    with stage.connect() as client:
        assert client.submit_task("add", 1, b=2).get(LONG) == 3
        assert client.submit_task("later", "é").get(LONG) == "é"
        assert client.submit_task({"job": "add", "params": [3, 4]}).get(LONG) == 7
        with pytest.raises(TaskFailed, match="ValueError: boom") as failed:
            client.submit_task(Call("fail", ("boom",), retries=0)).get(LONG)
        task = client.get_task_status(failed.value.id)
        assert (task.state, task.reason, task.attempt) == (TaskState.FAILED, "error", 1)
        assert task.error is not None
        assert "jobs.py" in task.error.traceback

        handles = client.submit_many([Call("add", (n, n)) for n in range(500)])
        tasks = client.wait(handles, LONG)
        assert [task.result for task in tasks] == [2 * n for n in range(500)]
        assert len(client.tasks(Selector(state="succeeded"), limit=1000)) == 503
        wait_until(lambda: len(client.workers()) == 2)  # the pool tells of them once a second


def test_a_map_without_a_job_goes_to_the_default_handler(stage: Stage) -> None:
    stage.node()
    with stage.connect() as client:
        assert client.submit_task({"b": 1, "a": 2}).get(LONG) == ["a", "b"]


# ------------------------------------------------------------ ends


def test_term_lets_what_runs_end_and_hands_the_rest_back(stage: Stage) -> None:
    node = stage.node("--workers", "1", "--grace", "30")
    with stage.connect() as client:
        running = client.submit_task("wait_for", "gate")
        waiting = client.submit_task("add", 1, 2)
        wait_until((stage.home / "gate.begun").exists)
        node.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        (stage.home / "gate").touch()
        assert node.wait() == 0

        stage.node("--workers", "1")
        ended, handed_back = client.wait([running, waiting], LONG)
    assert (ended.result, ended.attempt) == ("gate", 1)
    assert (handed_back.result, handed_back.attempt) == (3, 1)


def test_a_second_term_ends_at_once_and_charges_nobody(stage: Stage) -> None:
    node = stage.node("--workers", "2", "--grace", "1000")
    with stage.connect() as client:
        once = client.submit(Call("wait_for", ("gate",), retries=0))
        again = client.submit_task("wait_for", "other")
        waiting = client.submit_many([Call("add", (n, 1)) for n in range(5)])
        wait_until(lambda: all((stage.home / f"{name}.begun").exists() for name in ("gate", "other")))
        node.process.send_signal(signal.SIGTERM)
        wait_until(lambda: any("draining" in line for line in node.err))
        node.process.send_signal(signal.SIGTERM)
        assert node.wait() == 0

        (stage.home / "gate").touch()
        (stage.home / "other").touch()
        stage.node()
        tasks = client.wait([once, again, *waiting], LONG)
        assert client.stats()["charges"] == 0
    assert [task.result for task in tasks] == ["gate", "other", 1, 2, 3, 4, 5]
    assert {(task.attempt, task.interruptions) for task in tasks} == {(1, 0)}


def test_a_killed_node_loses_nothing(stage: Stage) -> None:
    node = stage.node()
    with stage.connect() as client:
        done = client.submit_task("add", 1, 1)
        assert done.get(LONG) == 2
        held = client.submit_task("wait_for", "gate")
        handles = client.submit_many([Call("note", (n,)) for n in range(2000)])
        wait_until((stage.home / "gate.begun").exists)
        node.kill()
        (stage.home / "gate").touch()
        stage.node()
        tasks = client.wait([done, held, *handles], LONG)
    assert {task.state for task in tasks} == {TaskState.SUCCEEDED}
    assert [task.result for task in tasks[2:]] == list(range(2000))
    noted = (stage.home / "notes").read_text().split()
    assert set(map(int, noted)) == set(range(2000))
    assert tasks[0].attempt == 1


def test_a_killed_child_costs_an_attempt_and_no_task(stage: Stage) -> None:
    stage.node("--workers", "1")
    with stage.connect() as client:
        handle = client.submit(Call("wait_for", ("gate",), retry_delay=0.05))
        wait_until((stage.home / "gate.begun").exists)
        wait_until(lambda: any(row["child"] for row in client.workers()))
        os.kill(client.workers()[0]["child"], signal.SIGKILL)
        (stage.home / "gate").touch()
        (task,) = client.wait([handle], LONG)
    assert (task.result, task.attempt) == ("gate", 2)
