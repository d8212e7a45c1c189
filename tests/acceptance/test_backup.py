"""A store copied under load, its node killed, the copy put in its place: what was acknowledged before is there."""

from __future__ import annotations

import shutil
import stat
import threading
import time
from typing import TYPE_CHECKING

import pytest

from otpq.client.calls import Call
from otpq.client.errors import TaskNotFound
from otpq.task import TaskState
from tests.acceptance.cluster import Cluster
from tests.acceptance.conftest import LONG

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from otpq.client.client import Client
    from tests.acceptance.conftest import Stage


@pytest.fixture
def cluster(stage: Stage) -> Iterator[Cluster]:
    cluster = Cluster(stage)
    yield cluster
    cluster.close()


class Load:
    """Submits without end; what was acknowledged is in `ids`, in order."""

    def __init__(self, client: Client) -> None:
        self.ids: list[str] = []
        self._client = client
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._is_over.is_set():
            handles = self._client.submit_many([Call("note", (n,)) for n in range(20)])
            self.ids += [handle.id for handle in handles]

    def end(self) -> None:
        self._is_over.set()
        self._thread.join(LONG)


def test_a_restored_store_has_all_that_was_acknowledged_before_the_backup(stage: Stage, cluster: Cluster) -> None:
    node = cluster.start(1)
    cluster.start(2)  # it lives through all this, and knows of what the restored store does not
    store, copy = cluster.directory(1) / "store.db", stage.home / "backup.db"
    with cluster.connect() as client:
        load = Load(client)
        wait_until(lambda: len(load.ids) > 100)
        before = list(load.ids)
        held = client.submit_task("wait_for", "gate").id
        wait_until((stage.home / "gate.begun").exists)
        made = stage.otpq("backup", str(store), str(copy))
        assert made.returncode == 0, made.stderr
        assert made.stdout.endswith("tasks, all is well\n")
        load.end()
        after = client.submit_task("add", 1, 2)
        assert after.get(LONG) == 3
        node.kill()
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    for file in cluster.directory(1).glob("store.db*"):
        file.rename(stage.home / f"lost-{file.name}")
    shutil.copy(copy, store)
    (stage.home / "gate").touch()

    node = cluster.start(1)
    with cluster.connect() as client:
        tasks = client.wait([client.handle(id) for id in [*before, held]], LONG)
        assert {task.state for task in tasks} == {TaskState.SUCCEEDED}
        with pytest.raises(TaskNotFound):
            client.get_task_status(after.id)
        handles = client.submit_many([Call("add", (n, n)) for n in range(500)])
        assert [task.result for task in client.wait(handles, LONG)] == [2 * n for n in range(500)]
    assert node.terminate() == 0
    checked = stage.otpq("check", str(store))
    assert checked.returncode == 0, checked.stdout


def test_what_cannot_be_copied_is_told_in_one_line(stage: Stage) -> None:
    taken, nothing = stage.home / "taken.db", stage.home / "no.db"
    taken.touch()
    damaged = stage.home / "damaged.db"
    damaged.write_bytes(b"no database at all " * 100)
    for store, to, code, said in (
        (stage.app, taken, 2, "is there already"),
        (nothing, stage.home / "b1.db", 3, "does it exist"),
        (damaged, stage.home / "b2.db", 3, "damaged or not a store"),
        ("memory:", stage.home / "b3.db", 2, "memory:"),
    ):
        ended = stage.otpq("backup", str(store), str(to))
        assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (code, "", 1), ended.stderr
        assert said in ended.stderr
    assert not list(stage.home.glob("b?.db*"))


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)
