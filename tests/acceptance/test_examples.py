"""The example programs, run as their first lines say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from otpq.task import TaskState

if TYPE_CHECKING:
    from tests.acceptance.conftest import Stage

EXAMPLES = Path(__file__).parents[2] / "examples"
LONG = 60.0


def run(stage: Stage, name: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own file
        [sys.executable, "-W", "error", str(EXAMPLES / name), *words],
        env=stage.environment,
        cwd=stage.home,
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
    )


def test_quickstart_prints_its_results(stage: Stage) -> None:
    said = run(stage, "quickstart.py")
    assert said.stdout.splitlines() == [
        "add: 42",
        "greet: Hello, world!",
        "by name: Hello, you.",
        "by map: 3",
        "default: ['colour', 'size']",
    ], said.stderr


def test_stdlib_gives_by_tasks_what_a_loop_gives(stage: Stage) -> None:
    said = run(stage, "stdlib.py", "150")
    assert (said.returncode, said.stderr) == (0, "")
    assert "tasks: 150 files" in said.stdout
    assert said.stdout.endswith("equal: yes\n")


def test_priorities_are_kept_and_equals_run_in_their_order(stage: Stage) -> None:
    said = run(stage, "priority_tasks.py")
    assert said.returncode == 0, said.stderr
    submitted, ran = (line.split(":")[1].strip().split(", ") for line in said.stdout.splitlines())
    rank = {"high": 0, "normal": 1, "low": 2}
    assert ran == sorted(submitted, key=lambda task: rank[task.split()[0]])


def test_the_sample_task_fails_in_about_a_fifth_of_its_runs_with_exit_code_1(stage: Stage) -> None:
    program = (
        "import random, sys; random.seed(int(sys.argv[1])); import sample_task; sample_task.sample('a', 'b', seconds=0)"
    )
    codes = []
    for seed in range(20):
        said = subprocess.run(  # noqa: S603 - our own file
            [sys.executable, "-c", program, str(seed)],
            env={**stage.environment, "PYTHONPATH": f"{EXAMPLES}:{stage.environment['PYTHONPATH']}"},
            capture_output=True,
            text=True,
            timeout=LONG,
            check=False,
        )
        assert said.stdout == "sample: a b\n"
        assert said.stderr == ("sample: this run fails\n" if said.returncode else "")
        codes.append(said.returncode)
    assert set(codes) == {0, 1}
    assert codes.count(1) < 10


def test_the_producer_of_three_meets_a_node_with_the_sample_task(stage: Stage) -> None:
    stage.node("--app", f"{EXAMPLES / 'sample_task.py'}:app")
    said = run(stage, "sample_producer.py")
    assert said.returncode == 0, said.stderr
    now, later, risky, show = said.stdout.splitlines()
    assert (now, later) == ("now: now", "in a minute: pending")
    assert re.fullmatch(r"may fail: (succeeded at attempt [123]|failed at attempt 3)", risky)
    shown = stage.otpq(*show.split()[1:])
    assert shown.returncode == 0
    with stage.connect() as client:
        task = client.tasks()[1]
    assert (task.state, round((task.due_at - task.created_at).total_seconds())) == (TaskState.PENDING, 60)


@pytest.mark.parametrize(
    ("failing", "code", "out", "err"),
    [("0", 0, "sample: a b\nsample: done\n", ""), ("1", 1, "sample: a b\n", "sample: this run fails\n")],
)
def test_the_sample_script_is_a_program_by_itself(stage: Stage, failing: str, code: int, out: str, err: str) -> None:
    said = run(stage, "scripts/sample_task.py", "--seconds", "0", "--failing", failing, "a", "b")
    assert (said.returncode, said.stdout, said.stderr) == (code, out, err)


def test_the_sample_script_is_run_now_later_and_until_it_succeeds(stage: Stage) -> None:
    said = run(stage, "sample_script_producer.py", "--minute", "3")
    assert said.returncode == 0, said.stderr
    lines = said.stdout.splitlines()
    assert lines[:2] == ["in a minute: pending", "now: ['sample: now', 'sample: done']"]
    assert lines[2:5] == ["now: succeeded at attempt 1", "  out  sample: now", "  out  sample: done"]
    risky = lines.index(next(line for line in lines if line.startswith("may fail:")))
    assert re.fullmatch(
        r"may fail: (succeeded at attempt [123]|failed at attempt 3, 'exit code 1: sample: this run fails', exit code 1)",
        lines[risky],
    )
    assert "  out  sample: may fail" in lines[risky:]
    assert lines[-3:] == ["in a minute: succeeded at attempt 1", "  out  sample: in a minute", "  out  sample: done"]


def test_a_task_goes_on_from_its_checkpoint_and_tells_its_progress(stage: Stage) -> None:
    said = run(stage, "progress_and_checkpoint.py")
    assert said.returncode == 0, said.stderr
    lines = said.stdout.splitlines()
    assert "result: {'began_after': 5, 'attempt': 2}" in lines
    assert re.search(r"^progress: \d+% step \d+ of 10$", said.stdout, re.MULTILINE)
    began = [line.strip() for line in lines if "it begins" in line]
    assert began == ["log   it begins  {'step': 0}", "log   it begins  {'step': 5}"]


def test_thousands_of_tasks_are_done_and_thousands_cancelled(stage: Stage) -> None:
    said = run(stage, "bulk.py", "2000")
    assert said.returncode == 0, said.stderr
    assert said.stdout.splitlines()[1:] == [
        "their sum: 2664667000 as it should be",
        "waiting for tomorrow: 2000",
        "cancelled: 2000",
        "the first of them: cancelled",
        "waiting for tomorrow: 0",
    ]


def test_each_kind_of_failure_ends_as_it_should_and_neighbours_run_once(stage: Stage) -> None:
    said = run(stage, "retry_and_crash.py")
    assert said.returncode == 0, said.stderr
    *ends, neighbours = said.stdout.splitlines()
    assert [end.split()[:5] for end in ends] == [
        ["flaky", "succeeded", "-", "attempt", "3"],
        ["wrong", "failed", "error", "attempt", "1"],
        ["useless", "failed", "error", "attempt", "1"],
        ["crash", "failed", "crashed", "attempt", "2"],
        ["slow", "failed", "timeout", "attempt", "1"],
        ["greedy", "failed", "memory", "attempt", "1"],
    ]
    assert neighbours == "neighbours: {('succeeded', 1)}"
    assert "SIGABRT" in ends[3]


def test_pages_are_fetched_many_at_a_time_in_one_child(stage: Stage) -> None:
    said = run(stage, "async_web_fetch.py")
    assert said.returncode == 0, said.stderr
    pages, most = said.stdout.splitlines()
    assert re.fullmatch(r"100 pages in [\d.]+ s, 4950 bytes", pages)
    assert 2 <= int(most.removeprefix("at a time: ")) <= 50


def test_workflows_give_their_results_and_go_on_where_they_failed(stage: Stage) -> None:
    said = run(stage, "chain_workflow.py")
    assert said.returncode == 0, said.stderr
    first, picture, last = (
        said.stdout.partition("workflow ")[0],
        said.stdout.splitlines()[5:-2],
        said.stdout.splitlines()[-2:],
    )
    assert first.splitlines() == [
        "chain: to pay: 18.60",
        "group: [3, 2, 1]",
        "chord: 6",
        "graph: to pay: 18.60 and 6",
        "failed: FileNotFoundError",
    ]
    assert picture[0].endswith("failed, 4 of 4 ended, 2 without success, on_failure=fail")
    assert [line.split()[1:2] for line in picture[2:]] == [["succeeded"], ["succeeded"], ["failed:"], ["cancelled"]]
    assert last == ["again: retried", "result: all and well"]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_every_example_is_run_here(path: Path) -> None:
    if path.name == "sample_task.py":
        return  # by name, above
    assert f'"{path.name}"' in Path(__file__).read_text(encoding="utf-8")


def test_scheduled_tasks_make_themselves(stage: Stage) -> None:
    said = run(stage, "scheduled_tasks.py")
    assert said.returncode == 0, said.stderr
    first, *lines = said.stdout.splitlines()
    assert first == "now: Hello, you."
    assert [line.partition(":")[0] for line in lines] == ["hello", "scheduled_tasks.beat", "scheduled_tasks.report"]
    assert all("more than once: True" in line for line in lines)
    assert "disabled" in lines[0]
    assert lines[2].endswith("the last gave 'from Berlin'")


def test_the_monitor_shows_slots_in_use_failures_and_percentiles(stage: Stage) -> None:
    said = run(stage, "monitor.py")
    assert said.returncode == 0, said.stderr
    assert "slots 3 in use, 0 available" in said.stdout
    failed = [line for line in said.stdout.splitlines() if " failed id=" in line]
    assert [line.partition("error=")[2] for line in failed] == [
        "ValueError: 5 is a multiple of 5",
        "ValueError: 10 is a multiple of 5",
    ]
    *_, queue, waited, handler, pool, _ = said.stdout.splitlines()
    assert queue == "queue default: 0 queued, 0 running, 0 pending; slots 0 in use, 3 available"
    assert re.fullmatch(r"    waited p50 \S+ s, p95 \S+ s, p99 \S+ s", waited)
    assert re.fullmatch(r"handler work: \S+ done/s, \S+ failed/s, ran p50 \S+ s, p95 \S+ s, p99 \S+ s", handler)
    assert pool.startswith("pool default on monitor@127.0.0.1: ")
