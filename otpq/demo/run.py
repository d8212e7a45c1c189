"""`otpq demo`: the stdlib app on a node of its own, with a worker and the node killed on the way."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from otpq.client.client import connect
from otpq.client.picture import tree_lines
from otpq.demo.progress import Progress
from otpq.demo.stdlib import app, count, files, total
from otpq.embedded import start

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from otpq.client.client import Client
    from otpq.client.handle import TaskHandle
    from otpq.demo.stdlib import FileCount, Totals
    from otpq.embedded import Node
    from otpq.task import Task

__all__ = ["run"]

WORKERS: Final = 2
_CHILDREN_WITHIN: Final = 5.0
_LOOK: Final = 0.05
"""Seconds between two looks."""


@dataclass
class Summary:
    """What the demo ends with."""

    tasks: list[Task]
    result: Totals
    expected: Totals
    seconds: float
    killed: list[str] = field(default_factory=list)
    tree: dict[str, Any] | None = None

    @property
    def is_equal(self) -> bool:
        """Whether the tasks gave what the plain loop gives."""
        return self.result == self.expected

    def lines(self) -> list[str]:
        """As it is printed."""
        attempts = sum(task.attempt for task in self.tasks)
        interruptions = sum(task.interruptions for task in self.tasks)
        return [
            f"tasks:       {len(self.tasks)} in {self.seconds:.1f} s with {WORKERS} workers",
            f"attempts:    {attempts}, interruptions: {interruptions}",
            f"killed:      {', '.join(self.killed) or 'nothing; all was over too soon'}",
            f"counted:     {self.result['functions']} functions, {self.result['classes']} classes, {self.result['lines']} lines",
            f"equal to the plain loop: {'yes' if self.is_equal else 'NO'}",
            *(["", *tree_lines(self.tree)] if self.tree else []),
        ]


def run(*, every_file: bool = False, say: Callable[[str], None] = print) -> bool:
    """Run the demo; whether the tasks gave what a plain loop gives.

    In a directory of its own that is removed afterwards, so nothing of the user's is touched.
    """
    paths = files(with_tests=every_file)
    with tempfile.TemporaryDirectory(prefix="otpq-demo-") as place:
        say(f"{len(paths)} files of Python's own library, one task each, on {WORKERS} workers")
        summary = _Run(Path(place), paths, say).run()
    for line in summary.lines():
        say(line)
    return summary.is_equal


class _Run:
    """One run: its node, started again after its death, and what was killed."""

    def __init__(self, place: Path, paths: Sequence[str], say: Callable[[str], None]) -> None:
        self._place = place
        self._paths = paths
        self._say = say
        self._killed: list[str] = []
        # Not the default name: a node of the user's may run here, and a second demo too.
        self._name = f"demo-{os.getpid()}@127.0.0.1"

    def run(self) -> Summary:
        """Submit, kill, wait, compare."""
        node = self._start()
        try:
            with connect(node.name, cookie_file=self._cookie) as client:
                self._wait_for_children(client)
                begun = time.monotonic()
                handles = client.submit_many([count.s(path) for path in self._paths])
                node = self._watch(node, client, handles)
                results: list[FileCount] = [handle.get(60) for handle in handles]
                seconds = time.monotonic() - begun
                tasks, tree = client.wait(handles, 60), client.stats().get("tree")
        finally:
            node.stop()
        self._say("now the plain loop, to compare")
        expected = total(count(path) for path in self._paths)
        return Summary(tasks, total(results), expected, seconds, self._killed, tree)

    def _start(self) -> Node:
        return start(
            app, self._name, workers=WORKERS, directory=self._place / "node", cookie_file=self._cookie, grace=5.0
        )

    @property
    def _cookie(self) -> Path:
        return self._place / "cookie"

    def _watch(self, node: Node, client: Client, handles: Sequence[TaskHandle[Any]]) -> Node:
        """Show progress until all have ended; a quarter of the way kill a child, half the way the node."""
        progress, done, size = Progress(len(handles), sys.stdout), 0, len(handles)
        while done < size:
            done = _ended(client)
            progress.show(done)
            if done >= size // 4 and not self._killed:
                if self._kill_child(client):
                    progress.say(f"killed {self._killed[-1]}")
            elif done >= size // 2 and len(self._killed) == 1:
                node = self._kill_node(node)
                progress.say(f"killed {self._killed[-1]}, and started it again")
            time.sleep(_LOOK)
        progress.end()
        return node

    def _wait_for_children(self, client: Client) -> None:
        """A pool tells of its children once a second, so the first may be at work before they can be named."""
        deadline = time.monotonic() + _CHILDREN_WITHIN
        while not _children(client) and time.monotonic() < deadline:
            time.sleep(_LOOK)

    def _kill_child(self, client: Client) -> bool:
        for pid in _children(client):
            with contextlib.suppress(ProcessLookupError):  # it has ended since the pool told of it
                os.kill(pid, signal.SIGKILL)
                self._killed.append(f"the child of a worker, process {pid}")
                return True
        return False

    def _kill_node(self, node: Node) -> Node:
        node.kill()
        self._killed.append(f"the node, process {node.pid}")
        return self._start()


def _children(client: Client) -> list[int]:
    return [row["child"] for row in client.workers() if row.get("child")]


def _ended(client: Client) -> int:
    counts = client.counts("default").get("default", {})
    return counts.get("succeeded", 0) + counts.get("failed", 0)
