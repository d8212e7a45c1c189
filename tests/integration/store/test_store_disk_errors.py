"""A disk that fails under SQLite: what is refused, what is unknown, and that the answer given afterwards is final."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import apsw
import pytest

from otpq.core.records import Changes, LeaseRow, Needs
from otpq.store.check import check
from otpq.store.errors import CommitRefused, CommitUnknown, StoreUnreachable
from otpq.store.sqlite import SqliteStore
from otpq.store.sqlite_place import FilePlace, MemoryPlace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from otpq.core.records import TaskRow


class Disk(apsw.VFS):
    """A file system whose log can be told to fail."""

    def __init__(self, name: str) -> None:
        self.fail_sync = False
        self.fail_write: type[Exception] | None = None
        super().__init__(name, "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - SQLite's name
        return DiskFile(self, name, flags)


class DiskFile(apsw.VFSFile):
    def __init__(self, disk: Disk, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self._disk = disk
        self._is_log = bool(flags[0] & apsw.SQLITE_OPEN_WAL)
        super().__init__("", name, flags)

    def xSync(self, flags: int) -> None:  # noqa: N802 - as above
        if self._is_log and self._disk.fail_sync:
            raise apsw.IOError
        super().xSync(flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - as above
        if self._is_log and self._disk.fail_write:
            raise self._disk.fail_write
        super().xWrite(data, offset)


@pytest.fixture
def disk() -> Iterator[Disk]:
    disk = Disk("failing")
    yield disk
    disk.unregister()


@pytest.fixture
def store(disk: Disk, tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(FilePlace(tmp_path / "tasks.db", vfs="failing"))
    store.open()
    yield store
    disk.fail_sync, disk.fail_write = False, None
    store.close()
    assert check(tmp_path / "tasks.db") == []


def added(*rows: TaskRow) -> Changes:
    return Changes(inserts=list(rows), counts={("default", "queued"): len(rows)})


def after_power_loss(folder: Path, name: str) -> set[int]:
    """The tasks in a copy of the files as they are now: what a new process would find if this one died."""
    copy = folder / name
    copy.mkdir()
    for file in ("tasks.db", "tasks.db-wal"):
        shutil.copy(folder / file, copy)
    store = SqliteStore(FilePlace(copy / "tasks.db"))
    store.open()
    found = store.load(Needs(seqs=set(range(100)))).by_seq
    store.close()
    assert check(copy / "tasks.db") == []
    return set(found)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the Disk's errors pass through C
def test_after_a_failed_sync_the_answer_is_final(
    store: SqliteStore, disk: Disk, tmp_path: Path, row: Callable[..., TaskRow]
) -> None:
    store.commit(added(row(1)))
    disk.fail_sync = True
    with pytest.raises(CommitUnknown) as unknown:
        store.commit(added(row(2), row(3)))
    # It really is unknown: this connection has taken it back, yet a new process would find it whole in the log.
    assert after_power_loss(tmp_path, "in doubt") == {1, 2, 3}
    for ask in (store.last_commit, store.recover, lambda: store.load(Needs(seqs={2}))):
        with pytest.raises(StoreUnreachable):
            ask()
    disk.fail_sync = False
    assert store.last_commit() == unknown.value.number - 1
    assert set(store.load(Needs(seqs=set(range(100)))).by_seq) == {1}
    assert after_power_loss(tmp_path, "settled") == {1}
    store.commit(added(row(2)))
    assert store.last_commit() == unknown.value.number
    assert after_power_loss(tmp_path, "going on") == {1, 2}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_disk_that_is_full_at_the_commit_refuses_it(
    store: SqliteStore, disk: Disk, tmp_path: Path, row: Callable[..., TaskRow]
) -> None:
    store.commit(added(row(1)))
    disk.fail_write = apsw.FullError
    for _ in range(3):
        with pytest.raises(CommitRefused) as refused:
            store.commit(added(row(2)))
        assert refused.value.because == "full"
    assert set(store.load(Needs(seqs={1, 2})).by_seq) == {1}
    assert after_power_loss(tmp_path, "full") == {1}
    disk.fail_write = None
    store.commit(added(row(2)))
    assert set(store.load(Needs(seqs={1, 2})).by_seq) == {1, 2}


@pytest.mark.parametrize("place", ["file", "memory"])
def test_nothing_of_a_batch_remains_when_sqlite_rolled_back_in_its_middle(
    place: str, tmp_path: Path, row: Callable[..., TaskRow]
) -> None:
    store = SqliteStore(FilePlace(tmp_path / "tasks.db") if place == "file" else MemoryPlace())
    store.open()
    store.commit(added(row(1)))
    db = store._db
    assert db is not None
    before, number = store.recover(), store.last_commit()
    db.pragma(
        "max_page_count", db.pragma("page_count") + 3
    )  # SQLITE_FULL inside the batch: SQLite rolls back by itself
    # After the batch that fails there is more to write: settings, leases, counts. None of it may be made durable.
    big = [row(seq, payload=b"x" * 1_900) for seq in range(2, 50)]
    lease = LeaseRow(1, "n", "i", "s", 1, 1.0, (1,))
    with pytest.raises(CommitRefused) as refused:
        store.commit(Changes(inserts=big, leases=[lease], settings={"a": b"1"}, counts={("default", "queued"): 48}))
    assert refused.value.because == "full"
    assert isinstance(refused.value.__cause__, apsw.FullError)
    assert not db.in_transaction
    assert (store.recover(), store.last_commit()) == (before, number)
    db.pragma("max_page_count", 1_000_000)
    store.commit(added(*big))
    assert len(store.load(Needs(seqs=set(range(100)))).by_seq) == 49
    store.close()


def test_a_commit_waits_for_nobody_longer_than_a_second_and_writes_nothing(
    tmp_path: Path, row: Callable[..., TaskRow]
) -> None:
    store = SqliteStore(FilePlace(tmp_path / "tasks.db"))
    store.open()
    assert store._db is not None
    store._db.set_busy_timeout(0)
    shell = apsw.Connection(str(tmp_path / "tasks.db"))
    shell.execute("BEGIN IMMEDIATE")
    with pytest.raises(CommitRefused) as refused:
        store.commit(added(row(1)))
    assert refused.value.because == "busy"
    shell.close()
    store.commit(added(row(1)))
    store.close()


def test_a_reader_neither_checkpoints_nor_writes(tmp_path: Path, row: Callable[..., TaskRow]) -> None:
    store = SqliteStore(FilePlace(tmp_path / "tasks.db"))
    store.open()
    store.commit(added(row(1)))
    log = (tmp_path / "tasks.db-wal").read_bytes()
    reading = store.reading()
    assert reading.get(row(1).id) == row(1)
    assert reading._db is not None
    with pytest.raises(apsw.ReadOnlyError):
        reading._db.execute("DELETE FROM tasks")
    reading.close()
    assert (tmp_path / "tasks.db-wal").read_bytes() == log
    store.close()
