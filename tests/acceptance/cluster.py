"""Nodes of one cluster on addresses of the loopback, as users start them, and a proxy that can be cut."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from otpq.client.client import connect
from otpq.wire.node_name import NodeName
from tests.acceptance.conftest import LONG, RunningNode, reserve

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.client.client import Client
    from tests.acceptance.conftest import Stage


class Cluster:
    """`a@127.0.0.1` leads, `b@127.0.0.2` and so on join it; one home, one cookie."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.plain, self._port = reserve()
        self.nodes: dict[str, RunningNode] = {}
        self._proxies: list[Proxy] = []

    def name(self, place: int) -> str:
        """Of the node on 127.0.0.`place`."""
        return f"{self.plain}@127.0.0.{place}"

    @property
    def leader(self) -> str:
        return self.name(1)

    def start(self, place: int, *words: str, workers: int = 2, wait: bool = True) -> RunningNode:
        """Start the node on 127.0.0.`place`; the first leads."""
        joins = () if place == 1 else ("--join", self.leader)
        node = RunningNode(
            self.stage.popen(
                "node", "--name", self.name(place), "--app", f"{self.stage.app}:app", "--workers", str(workers),
                *joins, *words,
            )
        )  # fmt: skip
        self.nodes[self.name(place)] = node
        if wait:
            node.wait_ready()
        return node

    def connect(self, place: int = 1) -> Client:
        return connect(self.name(place), timeout=LONG, cookie_file=self.stage.home / ".otpq" / "cookie")

    def proxy(self, place: int, to: str) -> Proxy:
        """A proxy on 127.0.0.`place`, at the port of the cluster's nodes, to the same port of `to`."""
        port = NodeName.parse(self.leader).port
        proxy = Proxy((f"127.0.0.{place}", port), (to, port))
        self._proxies.append(proxy)
        return proxy

    def directory(self, place: int) -> Path:
        return self.stage.home / ".otpq" / self.name(place)

    def close(self) -> None:
        leader = self.nodes.pop(self.leader, None)
        for node in self.nodes.values():
            with contextlib.suppress(ProcessLookupError):
                node.process.send_signal(signal.SIGCONT)
                node.process.send_signal(signal.SIGKILL)
        for node in self.nodes.values():
            node.wait()
        if leader is not None:
            leader.kill()  # the last: what tells it of the others' deaths would look for it for 30 s
        for proxy in self._proxies:
            proxy.close()
        self._port.close()


class Proxy:
    """Passes on what comes, both ways, and keeps a copy; while it is cut it takes nobody and passes on nothing."""

    def __init__(self, at: tuple[str, int], to: tuple[str, int]) -> None:
        self._to = to
        self._listening = socket.create_server(at)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listening, selectors.EVENT_READ)
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._is_cut = False
        self._is_over = False
        self.seen = bytearray()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """From now on nothing passes. The ends are not told: that is what a cut cable is like."""
        self._is_cut = True

    def heal(self) -> None:
        """Let all pass that comes from now on, over new connections."""
        self._is_cut = False

    def close(self) -> None:
        self._is_over = True
        self._thread.join()
        for each in [self._listening, *self._pairs]:
            each.close()

    def _run(self) -> None:
        while not self._is_over:
            for key, _ in self._selector.select(0.02):
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                if self._is_cut:
                    time.sleep(0.02)
                elif sock is self._listening:
                    self._accept()
                elif sock in self._pairs:  # else its other end has gone in this very round
                    self._pass(sock)

    def _accept(self) -> None:
        near, _ = self._listening.accept()
        try:
            far = socket.create_connection(self._to)
        except OSError:
            near.close()
            return
        self._pairs[near], self._pairs[far] = far, near
        for each in (near, far):
            self._selector.register(each, selectors.EVENT_READ)

    def _pass(self, sock: socket.socket) -> None:
        try:
            data = sock.recv(1 << 16)
            if data:
                self.seen += data
                self._pairs[sock].sendall(data)
                return
        except OSError:
            pass  # one end is gone, and so is the other now
        other = self._pairs.pop(sock)
        self._pairs.pop(other, None)
        for each in (sock, other):
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(each)
            each.close()


def until(condition: Callable[[], object], seconds: float = LONG) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.02)


def runs_of(home: Path) -> dict[int, list[tuple[int, int | None]]]:
    """Of each number the runs that the handler `marked` wrote down: when each began and, if it did, ended (monotonic ns)."""
    begun: dict[tuple[int, int], int] = {}
    runs: dict[int, list[tuple[int, int | None]]] = {}
    for line in (home / "marks").read_text().splitlines():
        what, number, pid, at = line.split()[0], *map(int, line.split()[1:])
        if what == "start":
            begun[number, pid] = len(runs.setdefault(number, []))
            runs[number].append((at, None))
        else:
            place = begun[number, pid]
            runs[number][place] = (runs[number][place][0], at)
    return runs


def overlapping(runs: dict[int, list[tuple[int, int | None]]]) -> list[int]:
    """The numbers of which one run began before the one before it had ended; a run that was killed ended before the next."""
    return [
        number
        for number, times in runs.items()
        for (_, end), (begin, _) in zip(sorted(times), sorted(times)[1:], strict=False)
        if end is not None and begin < end
    ]


def worker_pids(node: RunningNode) -> list[int]:
    """The processes below a node: its warden's two, and the children."""
    found, todo = [], [node.process.pid]
    while todo:
        pid = todo.pop()
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                below = list(map(int, task.read_text().split()))
                found += below
                todo += below
    return found


def stop_all(node: RunningNode) -> None:
    """SIGSTOP of a node's process, as a debugger or a machine that swaps would."""
    os.kill(node.process.pid, signal.SIGSTOP)
