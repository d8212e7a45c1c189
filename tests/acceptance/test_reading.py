"""Long lists beside tasks on a real node; the reader's process killed under them."""

from __future__ import annotations

import contextlib
import random
import threading
from typing import TYPE_CHECKING, Self

import psutil

from otpq.client.calls import Call
from otpq.client.errors import QueryFailed
from otpq.client.questions import Selector
from otpq.task import TaskState

if TYPE_CHECKING:
    from otpq.client.client import Client
    from tests.acceptance.conftest import RunningNode, Stage

BACKLOG = 20_000
TASKS = 2_000
LONG = 60.0


def readers_of(node: RunningNode) -> list[psutil.Process]:
    found = []
    for process in psutil.Process(node.process.pid).children():
        with contextlib.suppress(psutil.Error):
            if "reader_program" in " ".join(process.cmdline()):
                found.append(process)
    return found


class Trouble:
    """Walks through all tasks again and again, and kills the reader's process meanwhile."""

    def __init__(self, node: RunningNode, client: Client) -> None:
        self._node, self._client = node, client
        self._is_over = threading.Event()
        self.walks: list[int] = []
        self.kills: list[int] = []
        self._threads = [threading.Thread(target=self._walk), threading.Thread(target=self._kill)]
        for thread in self._threads:
            thread.start()

    def _walk(self) -> None:
        while not self._is_over.is_set():
            with contextlib.suppress(QueryFailed):
                self.walks.append(sum(1 for _ in self._client.iter_tasks(Selector(tag="later"))))

    def _kill(self) -> None:
        pauses = random.Random(1)  # noqa: S311 - no secret
        while not self._is_over.wait(pauses.uniform(0.1, 1.5)):
            for process in readers_of(self._node):
                with contextlib.suppress(psutil.Error):
                    process.kill()
                    self.kills.append(process.pid)

    def wait_for_some(self) -> None:
        while not self.walks or not self.kills:
            self._is_over.wait(0.05)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join(LONG)


def test_tasks_run_and_nothing_is_lost_while_long_lists_are_read_and_their_reader_is_killed(stage: Stage) -> None:
    node = stage.node()
    with stage.connect() as client, stage.connect() as other:
        for _ in range(BACKLOG // 1000):
            client.submit_many(Call("add", (0, 0), {}, delay=3600, tags=["later"]) for _ in range(1000))
        assert readers_of(node) == [], "it starts with the first question"
        with Trouble(node, other) as trouble:
            handles = [client.submit(Call("add", (number, 1))) for number in range(TASKS)]
            results = [handle.get(LONG) for handle in handles]
            trouble.wait_for_some()
        assert results == [number + 1 for number in range(TASKS)]
        assert set(trouble.walks) == {BACKLOG}
        counts = client.counts()["default"]
        assert {state for state, n in counts.items() if n} == {TaskState.PENDING, TaskState.SUCCEEDED}
    below = psutil.Process(node.process.pid).children(recursive=True)
    assert node.terminate() == 0
    assert [process for process in below if process.is_running()] == []


def test_a_node_in_memory_answers_lists_too(stage: Stage) -> None:
    node = stage.node("--store", "memory:")
    with stage.connect() as client:
        client.submit_many(Call("add", (0, 0), {}, delay=3600) for _ in range(2_000))
        assert sum(1 for _ in client.iter_tasks()) == 2_000
        assert client.cancel(Selector(name="add")) == 2_000
        assert readers_of(node) == []
