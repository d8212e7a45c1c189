"""A node whose store fails: a full disk, a read-only one, a damaged file. At its start, and in the middle of its work."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING, Any

import pytest

from otpq.client.calls import Call
from otpq.client.errors import StoreFull, StoreUnavailable
from otpq.store.check import check
from otpq.task import TaskState
from tests.acceptance.disks import disk
from tests.acceptance.test_crashes import runs_of
from tests.acceptance.test_node import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from otpq.client.client import Client
    from tests.acceptance.conftest import RunningNode, Stage

LONG = 60.0
TASKS = 400
MEBIBYTE = bytes(1024 * 1024)


def lines_with(node: RunningNode, text: str) -> int:
    return sum(text in line for line in node.err)


def starts(stage: Stage) -> int:
    return (stage.home / "marks").read_text().count("start")


def submit_until_refused(client: Client, kind: type[Exception]) -> tuple[list[Any], Exception]:
    """Large tasks, since a log that was as long before takes some more without any room; those accepted, and the error."""
    accepted = []
    for _ in range(30):
        try:
            accepted.append(client.submit(Call("size", (MEBIBYTE,))))
        except kind as refused:
            return accepted, refused
    raise AssertionError("it was never refused")


# ------------------------------------------------------------ while it works


def run_through_a_refusing_store(
    stage: Stage, node: RunningNode, refuse: Callable[[], None], mend: Callable[[], None], kind: type[Exception]
) -> Exception:
    """Hundreds of tasks, and in their middle a store that takes nothing; what the node says meanwhile is the answer."""
    with stage.connect() as client:
        calls = [Call("marked", (number, 0.004)) for number in range(TASKS // 2)]
        calls += [Call("marked_after", ("refused", number, 0.004)) for number in range(TASKS // 2, TASKS)]
        handles = client.submit_many(calls)
        wait_until(lambda: (stage.home / "marks").exists() and starts(stage) > 20)
        refuse()
        accepted, error = submit_until_refused(client, kind)
        (stage.home / "refused").touch()  # the others run now: however long that took, it was in their middle
        code = "store_full" if kind is StoreFull else "store_unavailable"
        health = client.health()
        assert (health["ok"], health["store"], health["why"]) == (False, code, str(error))
        with pytest.raises(kind) as again:
            client.submit(Call("add", (1, 2)))
        assert str(again.value) == str(error)
        with pytest.raises(kind):
            client.cancel(handles[-1].id)

        # It is tried each second. What had been given out is run by then, and nothing more is given out.
        wait_until(lambda: lines_with(node, "still refuses") >= 1)
        before = starts(stage)
        wait_until(lambda: lines_with(node, "still refuses") >= 2)
        assert starts(stage) == before < TASKS
        if kind is StoreFull:  # while it is not known whether a commit was made, nothing can be read either
            assert client.get_task_status(handles[-1].id).state == TaskState.QUEUED

        mend()
        wait_until(lambda: client.health()["ok"] is True)
        accepted.append(client.submit(Call("add", (1, 2))))
        tasks = client.wait(handles, LONG)
        assert {(task.state, task.attempt, task.interruptions) for task in tasks} == {(TaskState.SUCCEEDED, 1, 0)}
        assert [task.result for task in tasks] == list(range(TASKS))
        assert {task.state for task in client.wait(accepted, LONG)} == {TaskState.SUCCEEDED}
    runs = runs_of(stage.home / "marks")
    assert {number: [what for _, _, what in marks] for number, marks in runs.items()} == {
        number: ["start", "end"] for number in range(TASKS)
    }
    return error


def test_a_full_disk_holds_a_node_up_and_loses_nothing(stage: Stage) -> None:
    small = disk(stage.home / "disk", "size=32m")
    node = stage.node("--dir", str(small.place), inside=small.inside)
    pid = node.process.pid
    error = run_through_a_refusing_store(stage, node, lambda: small.fill(pid), lambda: small.free(pid), StoreFull)
    assert str(error) == (
        "commit refused (full): database or disk is full; nothing was written; "
        "it is tried each second, and goes on when there is room"
    )
    assert stage.otpq("check", str(small.place / "store.db"), inside=small.of(pid)).returncode == 0
    assert node.terminate() == 0


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="needs Linux's prlimit")
def test_a_store_that_takes_no_write_holds_a_node_up_and_loses_nothing(stage: Stage) -> None:
    node = stage.node()
    pid = node.process.pid
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)

    def allow(size: int) -> Callable[[], None]:
        return lambda: resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard)) and None

    error = run_through_a_refusing_store(stage, node, allow(1), allow(hard), StoreUnavailable)
    assert "disk I/O error" in str(error)
    assert "goes on when the store can be written" in str(error)
    assert check(stage.store) == []
    assert node.terminate() == 0


def test_a_command_that_meets_a_full_disk_ends_with_3(stage: Stage) -> None:
    small = disk(stage.home / "disk", "size=4m")
    node = stage.node("--dir", str(small.place), inside=small.inside)
    small.fill(node.process.pid)
    with stage.connect() as client:
        submit_until_refused(client, StoreFull)
    said = stage.otpq("submit", "add", "1", "2", "--node", stage.name)
    assert (said.returncode, said.stdout, said.stderr.count("\n")) == (3, "", 1)
    assert said.stderr.startswith("otpq: commit refused (full)")
    health = stage.otpq("health", "--node", stage.name)
    assert health.returncode == 1
    assert "store: store_full\n" in health.stdout


def test_damage_that_is_met_at_work_stops_the_store_and_not_the_node(stage: Stage) -> None:
    node = stage.node("--queues", "default")
    with stage.connect() as client:
        handles = client.submit_many(
            Call("size", (MEBIBYTE,), {}, queue="unserved") for _ in range(24)
        )  # beyond its cache
        overwrite(stage.store, begin=4096)
        overwrite(stage.store.with_name("store.db-wal"), begin=4096)
        with pytest.raises(StoreUnavailable, match="otpq check") as refused:
            any(client.cancel(handle.id) == "" for handle in handles)  # until one needs a page that is not in memory
        assert client.health()["store"] == "store_damaged"
        assert client.health()["why"] == str(refused.value)
        with pytest.raises(StoreUnavailable, match="otpq check"):
            client.submit(Call("add", (1, 2)))
    assert lines_with(node, "works again") == 0
    checked = stage.otpq("check", str(stage.store))
    assert checked.returncode == 3
    assert node.terminate() == 0


# ------------------------------------------------------------ at its start


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("size=16k", "the disk is full (disk I/O error); free some space, or name another file"),
        ("ro", "Read-only file system: {}.lock; make it writable, or name another file"),
    ],
)
def test_a_node_whose_disk_takes_nothing_ends_with_3(stage: Stage, options: str, words: str) -> None:
    small = disk(stage.home / "disk", options)
    store = small.place / "store.db"
    said = stage.otpq("node", "--name", stage.name, "--dir", str(small.place), inside=small.inside)
    assert said.returncode == 3, said.stderr
    assert said.stderr == f"otpq: store {store}: {words.format(store)}\n"


def test_a_node_whose_directory_cannot_be_written_ends_with_3(stage: Stage) -> None:
    small = disk(stage.home / "disk", "ro")
    below, elsewhere = small.place / "below", str(stage.home / "store.db")
    app = f"{stage.app}:app"
    for words, named in (
        (("--dir", str(below)), f"{below} cannot be used: Read-only file system: {below}; "),
        (("--dir", str(small.place), "--store", elsewhere), f"{small.place} cannot be used: Read-only file system: "),
        (("--dir", str(stage.app)), f"{stage.app} cannot be used: File exists: {stage.app}; "),
    ):
        said = stage.otpq("node", "--name", stage.name, "--app", app, *words, inside=small.inside)
        assert (said.returncode, said.stderr.count("\n")) == (3, 1), said.stderr
        assert said.stderr.startswith(f"otpq: the node's directory {named}")
        assert "make it writable for this user, free some space, or name another by --dir" in said.stderr


def test_a_store_where_no_directory_is_ends_a_node_with_3(stage: Stage) -> None:
    said = stage.otpq("node", "--name", stage.name, "--store", str(stage.home / "no" / "store.db"))
    assert said.returncode == 3
    assert said.stderr.endswith("store.db.lock; make the directory, or name another file\n")


def overwrite(file: Path, begin: int, end: int | None = None) -> None:
    """Write what is no page of a database over a part of a file."""
    with file.open("r+b") as opened:
        size = opened.seek(0, 2) if end is None else end
        opened.seek(begin)
        opened.write(b"\xff" * max(0, size - begin))


def garbage_header(store: Path) -> None:
    overwrite(store, 0, 100)


def torn_middle(store: Path) -> None:
    size = store.stat().st_size
    overwrite(store, size // 4 // 4096 * 4096, size // 4 * 3 // 4096 * 4096 + 2048)


def truncated(store: Path) -> None:
    with store.open("r+b") as file:
        file.truncate(store.stat().st_size // 2 // 4096 * 4096 + 1000)


@pytest.mark.parametrize("damage", [garbage_header, torn_middle, truncated])
def test_a_damaged_store_ends_a_node_with_3_and_is_left_alone(stage: Stage, damage: Callable[[Path], None]) -> None:
    node = stage.node()
    with stage.connect() as client:
        client.submit_many(Call("add", (n, n), {}, queue="unserved") for n in range(2000))
    assert node.terminate() == 0
    assert not stage.store.with_name("store.db-wal").exists()  # a clean end puts all into the one file
    damage(stage.store)
    size = stage.store.stat().st_size
    said = stage.otpq("node", "--name", stage.name, "--app", f"{stage.app}:app")
    assert (said.returncode, said.stdout) == (3, ""), said.stderr
    assert said.stderr.startswith(f"otpq: store {stage.store} is damaged or not a store: ")
    assert f"'otpq check {stage.store}' lists what is wrong" in said.stderr
    assert stage.store.stat().st_size == size
    checked = stage.otpq("check", str(stage.store))
    assert checked.returncode == 3
    assert checked.stdout
