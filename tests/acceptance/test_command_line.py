"""Commands as they are used beside others: in a pipe, in a script, interrupted."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from typing import TYPE_CHECKING

import pytest

from otpq.cli.quick import COMMANDS
from otpq.client.calls import Call
from otpq.client.questions import Selector

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


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, stage: Stage, *words: str) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 70, 0, 0))
        self.process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", "otpq", *words],
            env={name: value for name, value in stage.environment.items() if name not in {"COLUMNS", "LINES"}},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        self.seen = ""

    def type(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def read_until(self, words: str) -> None:
        deadline = time.monotonic() + LONG
        while words not in self.seen:
            assert time.monotonic() < deadline, self.seen
            self._read()

    def wait(self) -> int:
        """Its exit code, with all that it has written."""
        with contextlib.suppress(OSError):  # as a terminal's end is told
            while self._read():
                pass
        os.close(self._ours)
        return self.process.wait(LONG)

    def _read(self) -> bool:
        read = os.read(self._ours, 4096)
        self.seen += read.decode()
        return bool(read)


def test_on_a_terminal_a_bulk_is_asked_about(stage: Stage) -> None:
    stage.node("--workers", "0")
    with stage.connect() as client:
        client.submit_many([Call("add", (n, n)) for n in range(12)])
        no = Terminal(stage, "cancel", "--name", "a*")
        no.read_until("cancel 12 tasks? [y/N]:")
        no.type("n\n")
        assert no.wait() == 1
        assert "nothing is done" in no.seen
        assert client.count(Selector(state="queued")) == 12
        yes = Terminal(stage, "cancel", "--name", "a*")
        yes.read_until("[y/N]:")
        yes.type("y\n")
        assert yes.wait() == 0
        assert "cancelled 12 tasks" in yes.seen
        assert client.count(Selector(state="cancelled")) == 12


def test_long_work_shows_how_far_it_is(stage: Stage) -> None:
    stage.node("--workers", "0")
    with stage.connect() as client:
        client.submit_many([Call("add", (n, n), {}, delay=3600) for n in range(5_000)])
    work = Terminal(stage, "cancel", "--all", "--yes")
    assert work.wait() == 0
    assert re.search(r"cancel +\[#+-+\] +[1-9]\d?%", work.seen)
    assert "100%" in work.seen
    assert work.seen.rstrip().endswith("cancelled 5000 tasks")


@pytest.mark.parametrize("how", ["q", "Ctrl-C"])
def test_top_draws_until_it_is_told_to_end_and_leaves_the_terminal_as_it_was(stage: Stage, how: str) -> None:
    stage.node()
    with stage.connect() as client:
        client.submit(Call("wait_for", ("gate",)))
        live = Terminal(stage, "top", "--interval", "0.2")
        live.read_until("wait_for")
        live.read_until("\033[H")
        if how == "q":
            live.type("q")
        else:
            live.process.send_signal(signal.SIGINT)
        assert live.wait() == 0
        (stage.home / "gate").touch()
    assert live.seen.startswith("\033[?1049h")
    assert live.seen.endswith("\033[?1049l")
    for line in re.sub(r"\033\[[?\d]*[A-Za-z]", "", live.seen).split("\r\n"):
        assert len(line) <= 70


def test_top_for_programs_is_one_object_a_frame(stage: Stage) -> None:
    stage.node()
    said = stage.otpq("top", "--once", "--json")
    (line,) = said.stdout.splitlines()
    seen = json.loads(line)
    assert seen.keys() == {"rates", "queues", "nodes", "workers", "slowest", "handlers", "health"}
    assert [worker["state"] for worker in seen["workers"]] == ["idle", "idle"]
    stream = stage.popen("top", "--json", "--interval", "0.1")
    assert stream.stdout is not None
    assert all(json.loads(stream.stdout.readline())["health"]["ok"] for _ in range(3))
    stream.stdout.close()
    stream.stdout = None
    _, err = stream.communicate(timeout=LONG)
    assert (stream.returncode, err) == (1, "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_what_a_node_knows(stage: Stage, shell: str) -> None:
    stage.node()
    with stage.connect() as client:
        client.submit(Call("add", (1, 2), {}, queue="reports", delay=3600))
        while "add" not in {each["handler"] for each in client.handlers()}:
            time.sleep(0.05)

    def completed(*words: str) -> set[str]:
        asked = {
            "_OTPQ_COMPLETE": f"complete_{shell}",
            "COMP_WORDS": " ".join(words),
            "COMP_CWORD": str(len(words) - 1),
            "_TYPER_COMPLETE_ARGS": " ".join(words),
            "_TYPER_COMPLETE_FISH_ACTION": "get-args",
            "_TYPER_COMPLETE_WORD_TO_COMPLETE": words[-1],
        }
        said = subprocess.run(
            [sys.executable, "-m", "otpq"],
            env={**stage.environment, **asked},
            capture_output=True,
            text=True,
            timeout=LONG,
            check=False,
        )
        assert said.stderr == ""
        return set(re.findall(r"[\w@.-]+", said.stdout))

    assert "purge" in completed("otpq", "pur")
    assert "reports" in completed("otpq", "purge", "rep")
    assert "failed" in completed("otpq", "list", "--state", "fa")
    assert "add" in completed("otpq", "list", "--name", "a")
    assert f"{stage.plain}@127.0.0.1" in completed("otpq", "queues", "--node", stage.plain)
    assert "--cookie-file" in completed("otpq", "queues", "--co")
    assert {"--name", "--script-dir", "--quiet"} <= completed("otpq", "node", "--")
    assert "--name" in completed("otpq", "node", "--quiet", "--workers", "2", "--na")
    assert "--name" not in completed("otpq", "node", "--name", "a@h", "--na")
    assert "--pool" in completed("otpq", "node", "--pool", "io", "--po")  # may be said again
    assert completed("otpq", "purge", "--node", "nobody@127.0.0.1", "rep") <= {"_files"}  # zsh is told to try files


HEAVY = {
    "pydantic",
    "asyncio",
    "rich",
    "yaml",
    "apsw",
    "structlog",
    "otpq.node",
    "otpq.queue",
    "otpq.worker",
    "otpq.otp",
}
"""What would make each start slower, and what a command that asks a node has no use for."""


@pytest.mark.parametrize("words", [["--help"], ["queues", "--help"], ["list"], ["submit", "add"]])
def test_a_command_that_asks_brings_nothing_heavy(stage: Stage, words: list[str]) -> None:
    stage.node("--workers", "0")
    assert brought(stage, words, HEAVY) == []


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_a_command_that_says_how_things_stand_does_without_typer(stage: Stage, as_json: list[str]) -> None:
    stage.node("--workers", "0")
    commands = {name: brought(stage, [name, *as_json], HEAVY | {"typer", "logging"}) for name in sorted(COMMANDS)}
    assert commands == {name: [] for name in COMMANDS}
    assert brought(stage, ["queues", "--debug"], {"typer"}) == ["typer"]


def brought(stage: Stage, words: list[str], heavy: set[str]) -> list[str]:
    """Which of the heavy modules a command loads."""
    program = stage.home / "imports.py"
    program.write_text(
        "import sys\n"
        "from otpq.cli import main\n"
        f"sys.argv = ['otpq', *{words!r}]\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as end:\n"
        f"    print('', *sorted({heavy!r} & sys.modules.keys()), file=sys.stderr)\n"
    )
    ended = stage.python(program)
    assert ended.stderr.endswith("\n"), ended
    return ended.stderr.split()
