"""A node under a service manager, which is a datagram socket here."""

from __future__ import annotations

import secrets
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.cluster import Cluster
from tests.acceptance.conftest import LONG

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.acceptance.conftest import RunningNode, Stage

BEATS = 6
"""So many times a sign of life would have come while none does: then it has stopped."""


class Manager:
    """Hears what a node says of itself."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address[0] == "@" else address)
        self.heard: list[dict[str, str]] = []

    def hear(self, seconds: float) -> dict[str, str] | None:
        self.socket.settimeout(seconds)
        try:
            text = self.socket.recv(4096).decode()
        except TimeoutError:
            return None
        self.heard.append(dict(line.split("=", 1) for line in text.split("\n")))
        return self.heard[-1]

    def hear_until(self, is_it: Callable[[dict[str, str]], bool]) -> dict[str, str]:
        while (said := self.hear(LONG)) is not None:
            if is_it(said):
                return said
        pytest.fail(f"it did not come; there came {self.heard}")

    def hear_silence(self, seconds: float) -> bool:
        """Whether it was silent so long, after what was on its way (a socket holds more than we read while a client connects)."""
        return any(self.hear(seconds) is None for _ in range(10 * BEATS))


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path, stage: Stage) -> Iterator[Manager]:
    if request.param == "abstract" and sys.platform != "linux":
        pytest.skip("names of sockets without a file are Linux's own")
    manager = Manager(str(tmp_path / "notify") if request.param == "path" else f"@otpq-{secrets.token_hex(8)}")
    stage.environment["NOTIFY_SOCKET"] = manager.address
    yield manager
    manager.socket.close()


def is_ready(said: dict[str, str]) -> bool:
    return "READY" in said


def is_alive(said: dict[str, str]) -> bool:
    return "WATCHDOG" in said


def watched(stage: Stage, seconds: float, *words: str) -> RunningNode:
    stage.environment["WATCHDOG_USEC"] = str(int(seconds * 1e6))
    return stage.node(*words)


def test_a_service_is_ready_alive_reloading_ready_and_stopping(stage: Stage, manager: Manager) -> None:
    node = watched(stage, 0.2)
    ready = manager.hear_until(is_ready)
    assert ready["STATUS"] == f"serves at {node.out[0].split()[2]}"
    for _ in range(3):
        manager.hear_until(is_alive)

    node.process.send_signal(signal.SIGHUP)
    reloading = manager.hear_until(lambda said: "RELOADING" in said)
    assert int(reloading["MONOTONIC_USEC"]) > 0
    assert manager.hear_until(is_ready)["STATUS"] == ready["STATUS"]

    assert node.terminate() == 0
    manager.hear_until(lambda said: "STOPPING" in said)


def test_what_a_node_starts_knows_of_no_service_manager(stage: Stage, manager: Manager) -> None:
    stage.app.write_text(
        f'{stage.app.read_text()}\n\n@app.task(name="environment")\ndef environment():\n    return list(os.environ)\n'
    )
    node = stage.node()
    manager.hear_until(is_ready)
    with stage.connect() as client:
        names = client.submit_task("environment").get(LONG)
    assert "OTPQ_NODE" in names
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & set(names)
    inherited = [
        process.name
        for process in Path("/proc").glob("[0-9]*")
        if process.is_dir() and _speaks_for(process, stage, manager)
    ]
    assert inherited == [str(node.process.pid)]


def _speaks_for(process: Path, stage: Stage, manager: Manager) -> bool:
    """Whether a process of this test was started with the address."""
    try:
        environment = (process / "environ").read_bytes().split(b"\0")
    except OSError:  # it has ended, or is another user's
        return False
    return {f"HOME={stage.home}".encode(), f"NOTIFY_SOCKET={manager.address}".encode()} <= set(environment)


@pytest.mark.parametrize("manager", ["path"], indirect=True)
def test_a_node_inside_a_program_does_not_speak_for_the_program(stage: Stage, manager: Manager) -> None:
    stage.environment["WATCHDOG_USEC"] = "200000"
    program = stage.home / "program.py"
    program.write_text(
        f"import otpq\nfrom jobs import add, app\nwith otpq.start(app, name={stage.name!r}):\n"
        "    print(add.submit(1, 2).get(timeout=60))\n"
    )
    ran = stage.python(program)
    assert ran.stdout == "3\n", ran.stderr
    assert manager.hear(0.1) is None


@pytest.mark.parametrize("manager", ["path"], indirect=True)
def test_a_stopped_node_gives_no_sign_of_life(stage: Stage, manager: Manager) -> None:
    node = watched(stage, 0.2)
    manager.hear_until(is_alive)
    node.process.send_signal(signal.SIGSTOP)
    assert manager.hear_silence(0.1 * BEATS)
    node.process.send_signal(signal.SIGCONT)
    manager.hear_until(is_alive)


@pytest.mark.parametrize("manager", ["path"], indirect=True)
def test_a_queue_server_that_hangs_has_the_signs_of_life_end(stage: Stage, manager: Manager) -> None:
    stage.environment["OTPQ_FAULT"] = "dispatch.before:1:hang"
    watched(stage, 0.2)
    for _ in range(3):
        manager.hear_until(is_alive)
    with stage.connect() as client:
        client.submit_task("add", 1, 2)  # its acknowledgement goes out before its batch does
    assert manager.hear_silence(0.1 * BEATS)


@pytest.mark.parametrize("manager", ["path"], indirect=True)
def test_a_node_that_joins_is_ready_when_it_has_joined(stage: Stage, manager: Manager) -> None:
    cluster = Cluster(stage)
    try:
        stage.environment["WATCHDOG_USEC"] = "200000"
        cluster.start(2, wait=False)
        assert "looks for" in manager.hear_until(lambda said: "STATUS" in said)["STATUS"]
        manager.hear_until(is_alive)
        assert not any(map(is_ready, manager.heard))
        del stage.environment["NOTIFY_SOCKET"]
        cluster.start(1)
        assert manager.hear_until(is_ready)["STATUS"].startswith(f"serves in the cluster that {cluster.leader}")
        manager.hear_until(is_alive)
    finally:
        cluster.close()
