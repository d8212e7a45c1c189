"""`otpq.start`: programs of one file, with a node of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.conftest import Stage

LONG = 60.0

PROGRAM = """
import os, sys, time
import otpq
import otpq.embedded

app = otpq.App()

@app.task
def add(a, b):
    return a + b

@app.task
def wait(name):
    open(name + ".begun", "w").close()
    while not os.path.exists(name):
        time.sleep(0.01)
    return name

if __name__ == "__main__":
    {body}
"""


def program(stage: Stage, body: str) -> Path:
    file = stage.home / f"{stage.plain}.py"  # its name is the node's, and so a port
    file.write_text(PROGRAM.format(body=body.replace("\n", "\n    ")))
    return file


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_program_of_one_file_runs_its_tasks(stage: Stage) -> None:
    file = program(stage, "with otpq.start(app, workers=1) as node:\n    print(node.name, add.submit(1, 2).get(60))")
    said = stage.python(file)
    assert (said.returncode, said.stdout) == (0, f"{stage.name} 3\n"), said.stderr


def test_a_program_of_one_file_without_a_guard_runs_too(stage: Stage) -> None:
    file = program(stage, "with otpq.start(app, workers=1):\n    print(add.submit(1, 2).get(60))")
    file.write_text(file.read_text().replace('if __name__ == "__main__":', "if True:"))
    said = stage.python(file)
    assert (said.returncode, said.stdout) == (0, "3\n"), said.stderr


def test_a_program_that_ends_without_stopping_its_node_leaves_none_behind(stage: Stage) -> None:
    file = program(stage, "node = otpq.start(app, workers=1)\nprint(node.pid, node.running)")
    said = stage.python(file)
    pid, running = said.stdout.split()
    assert running == "True"
    assert not is_alive(int(pid))


def test_what_runs_when_the_grace_of_a_stop_is_over_is_handed_back_uncharged(stage: Stage) -> None:
    body = (
        "node = otpq.start(app, workers=1, grace=1000)\n"
        "id = wait.options(retries=0).submit('gate').id\n"
        "while not os.path.exists('gate.begun'): time.sleep(0.01)\n"
        "print(node.stop(grace=0.1))\n"
        "open('gate', 'w').close()\n"
        "with otpq.start(app, workers=1) as node:\n"
        "    print(node.client.handle(id).get(60), app.get_task_status(id).attempt, node.stats()['charges'])"
    )
    said = stage.python(program(stage, body))
    assert said.stdout == "0\ngate 1 0\n", said.stderr


def test_a_node_that_hears_no_order_is_killed(stage: Stage) -> None:
    body = (
        "otpq.embedded._MARGIN = 0.1\n"
        "node = otpq.start(app, workers=1)\n"
        f"os.kill(node.pid, {int(signal.SIGSTOP)})\n"
        "print(node.stop(grace=0.1), node.running)"
    )
    said = stage.python(program(stage, body))
    assert said.stdout == f"-{int(signal.SIGKILL)} False\n", said.stderr


def test_start_task_workers_runs_the_apps_tasks_until_the_program_ends(stage: Stage) -> None:
    body = "node = app.start_task_workers()\nprint(node.pid, app.create_task(wait.name, 'here').get(60))"
    (stage.home / "here").touch()
    said = stage.python(program(stage, body))
    pid, result = said.stdout.split()
    assert result == "here", said.stderr
    assert not is_alive(int(pid))


def test_a_program_that_is_killed_takes_its_node_with_it(stage: Stage) -> None:
    body = (
        f"node = otpq.start(app, workers=1)\nprint(node.pid, flush=True)\nos.kill(os.getpid(), {int(signal.SIGKILL)})"
    )
    said = stage.python(program(stage, body))
    assert said.returncode == -signal.SIGKILL
    deadline = time.monotonic() + LONG
    while is_alive(int(said.stdout)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_node_that_cannot_start_says_why(stage: Stage) -> None:
    (stage.home / "store.db").write_text("no store" * 1000)
    body = (
        "try:\n    otpq.start(app, store='store.db')\n"
        "except otpq.NodeNotStarted as error:\n    print(error.exit_code, 'store.db' in error.output)"
    )
    said = stage.python(program(stage, body))
    assert said.stdout == "3 True\n", said.stderr


def test_the_demo_kills_and_loses_nothing(stage: Stage) -> None:
    stage.environment["TMPDIR"] = str(stage.home)
    said = stage.otpq("demo")
    assert said.returncode == 0, said.stderr
    assert "equal to the plain loop: yes" in said.stdout
    assert "the node, process" in said.stdout
    left = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout  # noqa: S607
    assert str(stage.home / "otpq-demo-") not in left


def test_a_program_starts_the_node_that_a_file_describes(stage: Stage) -> None:
    (stage.home / "cluster.yaml").write_text(
        f"nodes:\n  {stage.name}:\n    pools:\n      default: {{queues: [mail], min: 2, max: 2}}\ngrace: 5\n"
    )
    body = """
with otpq.start(app, config="cluster.yaml") as node:
    while len(workers := node.client.workers()) < 2:  # they are told now and then
        time.sleep(0.05)
    print(node.name.split(":")[0], [worker["pool"] for worker in workers], add.options(queue="mail").submit(1, 2).get(60))
try:
    otpq.start(app, "other@127.0.0.1", config="cluster.yaml")
except otpq.UsageError as error:
    print(error)
"""
    said = stage.python(program(stage, body))
    assert said.returncode == 0, said.stderr
    first, second = said.stdout.splitlines()
    assert first == f"{stage.name} ['default', 'default'] 3"
    assert second.startswith("cluster.yaml has no node 'other@127.0.0.1'")
