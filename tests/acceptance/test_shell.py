"""`otpq shell` as users meet it: in a terminal, through a pipe, and with one line."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from otpq.client.errors import QueryFailed
from tests.acceptance.conftest import LONG, Stage
from tests.terminal import CTRL_C, ENTER, TAB, UP, Terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One home and one node for all tests of this file that do it no harm."""
    stage = Stage(tmp_path_factory.mktemp("shell"))
    stage.node()
    yield stage
    stage.close()


@pytest.fixture
def terminal(stage: Stage) -> Iterator[Terminal]:
    with Terminal(stage.home, stage.environment, "--app", "jobs.py:app") as terminal:
        terminal.prompt(stage.name, 1)
        yield terminal


def piped(stage: Stage, text: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-W", "error", "-m", "otpq", "shell", *words],
        env=stage.environment,
        cwd=stage.home,
        input=text,
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
    )


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# ------------------------------------------------------------ in a terminal


def test_inputs_are_numbered_and_their_values_shown(stage: Stage, terminal: Terminal) -> None:
    assert terminal.run("add.submit(20, 22).get(timeout=30)") == "42"
    terminal.sees(f"otpq({stage.name})2>")
    assert terminal.run("x = 5") == ""
    assert terminal.run("_, v(1), x") == "(42, 42, 5)"
    assert terminal.run("for i in range(3):\nprint('i is', i)\n") == "i is 0\ni is 1\ni is 2"
    assert terminal.run("await asyncio.sleep(0, 'slept')") == "'slept'"
    assert terminal.run("nodes()").splitlines()[1].split()[:4:3] == [stage.name, "up"]
    terminal.sees(f"otpq({stage.name})7>")
    assert terminal.leave() == 0


def test_an_error_is_printed_and_the_shell_goes_on(stage: Stage, terminal: Terminal) -> None:
    assert terminal.run("why('nobody')") == "TaskNotFound: there is no task 'nobody'"
    assert terminal.run("1 +").splitlines()[-1].startswith("SyntaxError: ")
    lines = terminal.run("1 / 0").splitlines()
    assert lines[:2] == ["Traceback (most recent call last):", '  File "<otpq 3>", line 1, in <module>']
    assert lines[-1] == "ZeroDivisionError: division by zero"
    assert "UnknownHandlerWarning: no handler 'ad' is known; did you mean 'add'?" in terminal.run("submit_task('ad')")
    assert terminal.run("cancel(_)") == "'cancelled'"
    terminal.sees(f"otpq({stage.name})6>")


def test_tab_completes_helpers_and_what_the_node_has(terminal: Terminal) -> None:
    paused = "[q['paused'] for q in queues() if q['queue'] == 'letters']"
    assert terminal.run("add.options(queue='letters').submit(1, 2).id")
    terminal.types(f"queue_st{TAB}")
    terminal.sees("ats")
    assert terminal.run("()['letters']['pending']") == "0"
    for verb, is_paused in (("pause", "[True]"), ("resume", "[False]")):
        terminal.types(f"{verb}('lett{TAB}")
        terminal.sees("ers")
        assert terminal.run("')") == ""
        assert terminal.run(paused) == is_paused


def test_ctrl_c_stops_a_line_and_not_the_shell(stage: Stage, terminal: Terminal) -> None:
    terminal.types(f"print('busy'); 0{ENTER}")
    terminal.prompt(stage.name, 2)
    for line in ("[None for _ in iter(int, 1)]", "await asyncio.sleep(3600)", "wait_for.submit('never').get()"):
        terminal.types(f"print('be' 'gun'); {line}{ENTER}")
        terminal.sees("begun")
        terminal.types(CTRL_C)
        terminal.sees("KeyboardInterrupt")
    terminal.prompt(stage.name, 5)
    with stage.connect() as client:
        wait_until(lambda: client.counts()["default"]["running"] == 1)
        (stage.home / "never").touch()
        wait_until(lambda: client.counts()["default"]["running"] == 0)


def test_what_is_pasted_is_one_input(terminal: Terminal) -> None:
    pasted = "    def double(n):\n        return 2 * n\n    double(4)\n    double(5)\n"
    terminal.types(f"\x1b[200~{pasted}\x1b[201~")
    assert terminal.run("") == "8\n10"
    assert terminal.run("v(1)") == "10"


def test_ctrl_c_gives_up_what_is_typed(stage: Stage, terminal: Terminal) -> None:
    terminal.types(f"1 / 0{CTRL_C}")
    terminal.prompt(stage.name, 1)
    assert terminal.run("2 + 2") == "4"


def test_a_log_is_followed_until_ctrl_c(stage: Stage, terminal: Terminal) -> None:
    terminal.types(f"logs(wait_for.submit('later').id, follow=True){ENTER}")
    terminal.sees("queued")
    terminal.types(CTRL_C)
    terminal.prompt(stage.name, 2)
    assert terminal.run("v()[0].stream") == "'life'"
    (stage.home / "later").touch()


def test_a_process_and_a_task_are_traced_until_ctrl_c(stage: Stage, terminal: Terminal) -> None:
    terminal.types(f"trace('queue_server'){ENTER}")
    terminal.sees("Arrived(peer=")  # the question for what it gets is what it gets
    terminal.types(CTRL_C)
    terminal.prompt(stage.name, 2)
    assert terminal.run("{m['kind'] for m in v(1)} <= {'receive', 'send', 'cast', 'call', 'reply'}") == "True"
    terminal.types(f"trace(wait_for.submit('traced').id){ENTER}")
    terminal.sees("queued")
    terminal.types(CTRL_C)
    terminal.prompt(stage.name, 4)
    assert terminal.run("v()[0]['kind']") == "'life'"
    (stage.home / "traced").touch()


def test_what_was_typed_is_there_in_the_next_run_and_for_nobody_else(stage: Stage, terminal: Terminal) -> None:
    assert terminal.run("'typed ' 'before'") == "'typed before'"
    assert terminal.leave() == 0
    history = stage.home / ".otpq" / "shell_history"
    assert history.stat().st_mode & 0o777 == 0o600
    with Terminal(stage.home, stage.environment, stage.name) as second:
        second.prompt(stage.name, 1)
        assert second.run(UP) == "'typed before'"


def test_what_an_input_has_started_prints_above_the_prompt(terminal: Terminal) -> None:
    terminal.run("async def tell():\nawait asyncio.sleep(0.05)\nprint('told', 'now')\n")
    terminal.run("task = [asyncio.create_task(tell()) for _ in [await asyncio.sleep(0)]]")
    terminal.sees("told now")
    assert terminal.run("task[0].done()") == "True"


def test_leaving_disturbs_nothing(stage: Stage) -> None:
    with stage.connect() as client, Terminal(stage.home, stage.environment, "--app", "jobs.py:app") as terminal:
        before = client.nodes()[0]["incarnation"]
        terminal.prompt(stage.name, 1)
        assert terminal.run("kept = wait_for.submit('left'); print(kept.id)")
        id = terminal.run("kept.id").strip("'")
        assert terminal.run("exit") == "<exit(code: int = 0) -> NoReturn; h(exit) says more>"
        terminal.types(f"exit(4){ENTER}")
        assert terminal.end() == 4
        (stage.home / "left").touch()
        assert client.handle(id).get(LONG) == "left"
        assert client.nodes()[0]["incarnation"] == before


def test_the_prompt_says_that_the_node_is_away_and_goes_on_when_it_is_back(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    try:
        node = stage.node()
        with Terminal(stage.home, stage.environment) as terminal:
            terminal.prompt(stage.name, 1)
            node.kill()
            terminal.sees(" is away")
            assert terminal.run("1 + 1") == "2"
            stage.node()
            terminal.types(f"submit_task('add', 1, 2).get(timeout=30){ENTER}")
            terminal.sees("3")
            terminal.prompt(stage.name, 3)
            assert terminal.leave() == 0
    finally:
        stage.close()


# ------------------------------------------------------------ without one


def test_a_pipe_is_run_line_by_line(stage: Stage) -> None:
    ran = piped(
        stage,
        "queues\nx = add.submit(1, 2)\nfor n in (1, 2):\n    n += 1\n\n    print(n)\nx.get(30)\n",
        "--app",
        "jobs.py:app",
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines() == ["<queues() -> list[dict[str, Any]]; h(queues) says more>", "2", "3", "3"]


def test_a_pipe_goes_on_behind_an_error_and_tells_of_it_at_the_end(stage: Stage) -> None:
    ran = piped(stage, "why('x')\n1 / 0\n'on'\n")
    assert (ran.returncode, ran.stdout) == (6, "'on'\n")
    assert ran.stderr.splitlines()[0] == "TaskNotFound: there is no task 'x'"


def test_a_process_is_killed_by_its_pid_and_comes_back(stage: Stage) -> None:
    def pruner() -> str | None:
        try:
            return str(client.info("pruner")["pid"])
        except QueryFailed:  # it is on its way back
            return None

    with stage.connect() as client:
        before = pruner()
        ran = piped(stage, "killed = kill(info('pruner')['pid'])\nkilled['killed'], killed['name']\nkilled['then']\n")
        assert (ran.returncode, ran.stderr) == (0, "")
        named, then = ran.stdout.splitlines()
        assert named == f"('{before}', 'pruner')"
        assert "starts it again" in then
        wait_until(lambda: pruner() not in {None, before})


def test_each_line_of_a_pipe_is_answered_before_the_next_one_comes(stage: Stage) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "otpq", "shell"],
        env=stage.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for n in range(3):
            process.stdin.write(f"{n} + 1\n")
            process.stdin.flush()
            assert process.stdout.readline() == f"{n + 1}\n"
        process.stdin.close()
        assert process.wait(LONG) == 0


def test_a_command_is_one_line_or_several_and_ends_at_an_error(stage: Stage) -> None:
    ran = stage.otpq("shell", stage.name, "-c", "client.node; 1\nlen(nodes())")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, f"'{stage.name}'\n1\n1\n", "")
    ran = stage.otpq("shell", "-c", "1\n1 / 0\n2")
    assert (ran.returncode, ran.stdout) == (1, "1\n")
    assert stage.otpq("shell", "-c", "exit(7)").returncode == 7


def test_json_is_for_programs(stage: Stage) -> None:
    ran = stage.otpq("shell", "--json", "-c", "nodes(); counts('nothing')")
    nodes, counts = map(json.loads, ran.stdout.splitlines())
    assert nodes[0]["node"] == stage.name
    assert counts == {} or set(counts) == {"nothing"}


def test_a_command_that_is_interrupted_ends_as_such(stage: Stage) -> None:
    # Printed by the coroutine: while Python makes an event loop, an interrupt leaves half a one, which complains.
    process = stage.popen("shell", "-c", "await asyncio.sleep(3600, print('begun', flush=True))")
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=LONG)
    assert (process.returncode, err) == (130, "KeyboardInterrupt\n")


def test_a_reader_that_has_seen_enough_ends_it(stage: Stage) -> None:
    with stage.popen("shell", "-c", "for n in range(1_000_000): print(n)") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "0\n"
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(LONG) == 1


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("nobody@127.0.0.1:1", "-c", "1"), 1, "no node was reached at nobody@127.0.0.1"),
        (("--name", "a", "-c", "1"), 2, "--name and --workers are of the node that --embedded starts"),
        (("a@127.0.0.1", "--embedded"), 2, "--embedded starts a node of the shell's own"),
        (("--app", "nothing:app", "-c", "1"), 2, "cannot be loaded: ModuleNotFoundError: No module named 'nothing'"),
        (("--app", "jobs.py:place", "-c", "1"), 2, "cannot be loaded: AppError"),
    ],
)
def test_what_cannot_be_is_a_line(stage: Stage, words: tuple[str, ...], code: int, says: str) -> None:
    ran = stage.otpq("shell", *words)
    assert ran.returncode == code
    assert says in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


def test_without_a_node_it_says_what_to_do(stage: Stage, tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "otpq", "shell", "-c", "1"],
        env={**stage.environment, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert ran.stderr.startswith("otpq: no node runs here; start one with `otpq node`")


# ------------------------------------------------------------ with a node of its own


def test_an_embedded_node_takes_any_map_and_ends_with_the_shell(tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    environment.pop("OTPQ_NODE", None)
    with Terminal(tmp_path, environment, "--embedded") as terminal:
        terminal.sees("otpq(shell-")
        terminal.sees("1>")
        answer = terminal.run("submit_task({'job': 'resize', 'params': {'width': 80}}).get(timeout=30)")
        assert answer == "{'job': 'resize', 'params': {'width': 80}}"
        pid = int(terminal.run("import os; os.getpid()"))
        children = terminal.run("[w['child'] for w in workers() if w['child']]")
        assert terminal.leave() == 0
    for child in map(int, re.findall(r"\d+", children)):
        assert not Path(f"/proc/{child}").exists()
    assert not list(tmp_path.glob("otpq-shell-*"))
    assert not list((tmp_path / ".otpq").glob(f"shell-{pid}*"))


def test_an_embedded_node_ends_when_the_terminal_is_closed(tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    environment.pop("OTPQ_NODE", None)
    with Terminal(tmp_path, environment, "--embedded") as terminal:
        terminal.sees("otpq(shell-")
        terminal.sees("1>")
        assert list(tmp_path.glob("otpq-shell-*"))
        terminal.hangs_up()
        wait_until(lambda: not list(tmp_path.glob("otpq-shell-*")))


def test_an_embedded_node_with_a_name_and_an_app_keeps_its_tasks(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    words = ("shell", "--embedded", "--name", stage.name, "--workers", "1", "--app", "jobs.py:app", "-c")
    try:
        first = stage.otpq(*words, "print(add.submit(1, 2).id)")
        assert (first.returncode, first.stderr) == (0, "")
        second = stage.otpq(*words, f"handle('{first.stdout.strip()}').get(30)")
        assert (second.returncode, second.stdout) == (0, "3\n"), second.stderr
    finally:
        stage.close()
