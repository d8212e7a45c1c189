"""A node on a terminal: what it prints of its tasks."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from otpq.client.calls import Call
from otpq.client.errors import TaskFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.acceptance.conftest import Stage

LONG = 60.0


class Terminal:
    """A node whose standard output is a terminal, read all the time."""

    def __init__(self, stage: Stage, *words: str) -> None:
        self.text = ""
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(  # noqa: S603 - our own program
            [
                sys.executable,
                "-m",
                "otpq",
                "node",
                "--name",
                stage.name,
                "--app",
                f"{stage.app}:app",
                "--workers",
                "2",
                *words,
            ],
            env={**stage.environment, "TERM": "xterm"},
            cwd=stage.home,
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        wait_until(lambda: "ready " in self.text)

    def _read(self) -> None:
        while True:
            try:
                read = os.read(self._ours, 4096)
            except OSError:  # the other end is closed
                return
            if not read:
                return
            self.text += read.decode()

    @property
    def plain(self) -> str:
        """The text without colours."""
        return re.sub(r"\x1b\[[0-9;]*m", "", self.text)

    def stop(self) -> None:
        """Ctrl-S: who writes to the terminal waits from now on."""
        os.write(self._ours, b"\x13")

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        exit_code = self.process.wait(LONG)
        self._reader.join(LONG)
        os.close(self._ours)
        return exit_code


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def opened() -> Iterator[list[Terminal]]:
    terminals: list[Terminal] = []
    yield terminals
    for terminal in terminals:
        if terminal.process.poll() is None:
            terminal.process.kill()
            terminal.process.wait(LONG)


def test_a_task_has_a_line_and_a_failure_two(stage: Stage, opened: list[Terminal]) -> None:
    opened.append(terminal := Terminal(stage))
    with stage.connect() as client:
        done = client.submit_task("add", 1, 2)
        assert done.get(LONG) == 3
        failed = client.submit_task(Call("fail", ("boom",), retries=0))
        with pytest.raises(TaskFailed):
            failed.get(LONG)
        wait_until(lambda: "ValueError: boom" in terminal.text)
    assert re.search(
        rf"\d\d:\d\d:\d\d  add +succeeded .* attempt 1  worker default/\d \(pid \d+\)  {done.id}", terminal.plain
    )
    assert re.search(rf"fail +failed .* {failed.id}\r?\n  ValueError: boom", terminal.plain)
    assert "\x1b[31m" in terminal.text, "a failure is red"
    assert terminal.end() == 0


def test_many_tasks_are_counted_and_none_is_left_out(stage: Stage, opened: list[Terminal]) -> None:
    opened.append(terminal := Terminal(stage))
    with stage.connect() as client:
        client.wait(client.submit_many([Call("add", (n, n)) for n in range(3000)]), LONG)
    assert terminal.end() == 0
    counted = sum(int(n.replace(",", "")) for n in re.findall(r"add +([\d,]+) done", terminal.plain))
    alone = len(re.findall(r"add +succeeded", terminal.plain))
    assert alone + counted == 3000
    assert alone < 50


@pytest.mark.parametrize("words", [("--quiet",), ("-q",)])
def test_a_quiet_node_says_that_it_is_ready_and_no_more(
    stage: Stage, opened: list[Terminal], words: tuple[str]
) -> None:
    opened.append(terminal := Terminal(stage, *words))
    with stage.connect() as client:
        assert client.submit_task("add", 1, 2).get(LONG) == 3
    assert terminal.end() == 0
    assert terminal.plain.splitlines()[1:] == []


def test_a_terminal_that_stands_still_stops_no_task_and_no_end(stage: Stage, opened: list[Terminal]) -> None:
    opened.append(terminal := Terminal(stage))
    terminal.stop()
    with stage.connect() as client:
        for n in range(40):  # each at least a step: more than wait in the console's mailbox
            assert client.submit_task("add", n, n).get(LONG) == 2 * n
        assert client.health()["ok"] is True
    assert terminal.end() == 0
    assert "add" not in terminal.plain


def test_a_node_whose_output_is_no_terminal_has_no_line_a_task(stage: Stage) -> None:
    node = stage.node()
    with stage.connect() as client:
        assert client.submit_task("add", 1, 2).get(LONG) == 3
    assert node.terminate() == 0
    assert [line.split()[0] for line in node.out] == ["ready"]
    assert not any("add" in line for line in node.err)
