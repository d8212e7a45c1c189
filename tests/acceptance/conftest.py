"""A home of its own for each test, and nodes as users start them."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from otpq.client.client import connect
from otpq.wire.node_name import default_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from otpq.client.client import Client

ROOT = Path(__file__).parents[2]
LONG = 60.0
"""Seconds after which a test has failed, not merely been slow."""


class Stage:
    """A home directory, an app in it, and the nodes and commands that a test runs there."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.app = home / "jobs.py"
        self.app.write_text((Path(__file__).parent / "jobs.py").read_text())
        self.environment = {**os.environ, "HOME": str(home), "PYTHONPATH": str(ROOT), "JOBS_PLACE": str(home)}
        self.environment.pop("OTPQ_COOKIE_FILE", None)
        self.environment.pop("OTPQ_NODE", None)
        self.environment.pop("COLUMNS", None)  # xdist sets it, and pipes have no width
        self.plain, self._port = reserve()
        self.name = f"{self.plain}@127.0.0.1"
        self.store = home / ".otpq" / self.name / "store.db"
        self._nodes: list[RunningNode] = []

    def node(self, *words: str, inside: Sequence[str] = ()) -> RunningNode:
        """Start a node and wait until it is ready; `inside` is a command that runs the one behind it."""
        node = RunningNode(
            self.popen("node", "--name", self.name, "--app", f"{self.app}:app", "--workers", "2", *words, inside=inside)
        )
        self._nodes.append(node)
        node.wait_ready()
        return node

    def otpq(self, *words: str, inside: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        process = self.popen(*words, inside=inside)
        out, err = process.communicate(timeout=LONG)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def popen(self, *words: str, inside: Sequence[str] = ()) -> subprocess.Popen[str]:
        return subprocess.Popen(  # noqa: S603 - our own program
            [*inside, sys.executable, "-m", "otpq", *words],
            env=self.environment,
            cwd=self.home,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def program(self, file: str) -> subprocess.Popen[str]:
        """Start a program in the home, and talk to it."""
        return subprocess.Popen(  # noqa: S603 - a test's own program
            [sys.executable, file],
            env=self.environment,
            cwd=self.home,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def python(self, file: Path) -> subprocess.CompletedProcess[str]:
        """Run a program to its end."""
        return subprocess.run(  # noqa: S603 - our own program
            [sys.executable, file],
            env=self.environment,
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=LONG,
            check=False,
        )

    def connect(self, cookie_file: Path | None = None) -> Client:
        return connect(self.name, timeout=LONG, cookie_file=cookie_file or self.home / ".otpq" / "cookie")

    def close(self) -> None:
        for node in self._nodes:
            node.kill()
        self._port.close()


def reserve() -> tuple[str, socket.socket]:
    """A node's name before its '@', and what keeps other tests, of other suites too, from it: a name is a port.

    The socket is bound where nobody was, and so turns the next test away. It does not listen, and lets who asks for it use
    the address too; so a node of that name can listen there, again and again.
    """
    while True:
        name = f"n{secrets.token_hex(4)}"
        held = socket.socket()
        try:
            held.bind(("127.0.0.1", default_port(name)))
        except OSError:
            held.close()
            continue
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # not before: it would share with another test
        return name, held


class RunningNode:
    """A node's process. Its output is read all the time, or it would block."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.out: list[str] = []
        self.err: list[str] = []
        self._ready = threading.Event()
        self._readers = [
            threading.Thread(target=self._read, args=(stream, lines), daemon=True)
            for stream, lines in ((process.stdout, self.out), (process.stderr, self.err))
        ]
        for reader in self._readers:
            reader.start()

    def wait_ready(self) -> None:
        assert self._ready.wait(LONG), "it is not ready"
        assert self.out, f"it ended: {''.join(self.err)}"

    def terminate(self) -> int:
        self.process.terminate()
        return self.wait()

    def kill(self) -> int:
        self.process.send_signal(signal.SIGKILL)
        return self.wait()

    def wait(self) -> int:
        exit_code = self.process.wait(LONG)
        for reader in self._readers:
            reader.join(LONG)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        return exit_code

    def _read(self, stream: Iterator[str], lines: list[str]) -> None:
        for line in stream:
            lines.append(line)
            if line.startswith("ready "):
                self._ready.set()
        self._ready.set()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    stage.close()


@pytest.fixture(scope="module")
def shared_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One for a whole file, where starting a node for each test would prove nothing more."""
    stage = Stage(tmp_path_factory.mktemp("shared"))
    yield stage
    stage.close()
