"""Commands as they are used beside others: in a pipe, in a script, interrupted."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from otpq.client.calls import Call

if TYPE_CHECKING:
    from tests.acceptance.conftest import Stage

LONG = 60.0


def test_a_reader_that_has_seen_enough_is_no_error_with_words(stage: Stage) -> None:
    stage.node("--workers", "0")
    with stage.connect() as client:
        client.submit_many([Call("add", (n, "x" * 100)) for n in range(2000)])
    process = stage.popen("list", "--all", "--json")
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["name"] == "add"
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate(timeout=LONG)
    assert (process.returncode, err) == (1, "")

    whole = stage.otpq("list", "--all", "--json")
    assert len({json.loads(line)["id"] for line in whole.stdout.splitlines()}) == 2000


def test_pages_follow_each_other_by_what_is_said_on_standard_error(stage: Stage) -> None:
    stage.node("--workers", "0")
    with stage.connect() as client:
        handles = client.submit_many([Call("add", (n, n)) for n in range(5)])
    seen, words = [], ["list", "--json", "--limit", "2"]
    while True:
        said = stage.otpq(*words)
        seen += [json.loads(line)["id"] for line in said.stdout.splitlines()]
        if not said.stderr:
            break
        words = ["list", "--json", "--limit", "2", "--after", said.stderr.split("--after ")[1].split(",")[0]]
    assert seen == [handle.id for handle in reversed(handles)]


def test_ctrl_c_ends_the_waiting_and_not_the_task(stage: Stage) -> None:
    stage.node()
    process = stage.popen("submit", "wait_for", "gate", "--wait")
    deadline = time.monotonic() + LONG
    while not (stage.home / "gate.begun").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=LONG)
    assert (process.returncode, out, err) == (130, "", "")
    with stage.connect() as client:
        (task,) = client.tasks()
        assert not task.has_ended
        (stage.home / "gate").touch()
        assert client.handle(task.id).get(LONG) == "gate"


@pytest.mark.parametrize("words", [("health",), ("submit", "add", "1", "-2", "--wait"), ("list",)])
def test_a_command_whose_output_is_closed_does_its_work(stage: Stage, words: tuple[str, ...]) -> None:
    stage.node()
    command = subprocess.run(  # noqa: S603 - our own program
        ["sh", "-c", '"$@" >&-', "sh", sys.executable, "-m", "otpq", *words],  # noqa: S607
        env=stage.environment,
        stderr=subprocess.PIPE,
        text=True,
        timeout=LONG,
        check=False,
    )
    assert (command.returncode, command.stderr) == (0, "")
