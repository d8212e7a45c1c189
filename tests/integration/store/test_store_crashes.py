"""Processes that die, disks that are cut off, and files that were damaged: real ones."""

from __future__ import annotations

import os
import random
import shutil
import signal
import stat
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import apsw
import pytest

from otpq.core.records import Changes, Needs
from otpq.store.check import check
from otpq.store.errors import CommitFailed, CommitRefused, StoreDamaged, StoreTaken, StoreUnreachable
from otpq.store.protocol import Filters
from otpq.store.url import open_reading, open_store
from otpq.task import TaskState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from otpq.core.records import TaskRow

WRITER = Path(__file__).with_name("writer.py")
BATCH = 5


def added(*rows: TaskRow) -> Changes:
    return Changes(inserts=list(rows), counts={("default", "queued"): len(rows)})


@contextmanager
def writer(store: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that commits in a loop, killed at the end if not before."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(WRITER), str(store)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:  # noqa: S603 - our own
        try:
            yield process
        finally:
            process.kill()


def acknowledged(process: subprocess.Popen[str], at_least: int = 0) -> Iterator[int]:
    """Batches that were acknowledged: the next `at_least`, or with 0 all that are left in the pipe."""
    assert process.stdout is not None
    for count, line in enumerate(process.stdout, 1):
        if not line.endswith("\n"):
            return  # cut by the kill
        yield int(line)
        if count == at_least:
            return


def batches_in(path: Path) -> dict[str, int]:
    """Batch name to how many of its tasks are there."""
    reading = open_reading(str(path))
    found: dict[str, int] = {}
    after = None
    while True:
        page = reading.tasks(Filters(), limit=5_000, after=after)
        for row in page.rows:
            found[row.name] = found.get(row.name, 0) + 1
        if page.next is None:
            break
        after = page.next
    reading.close()
    return found


@pytest.mark.timeout(120)
def test_a_killed_writer_loses_nothing_acknowledged_and_leaves_nothing_half(tmp_path: Path) -> None:
    path = tmp_path / "tasks.db"
    chance = random.Random(20261121)  # noqa: S311 - no secret
    promised: set[str] = set()
    for _ in range(32):
        with writer(path) as process:
            wanted = chance.randint(1, 40)
            promised |= {f"batch{batch}" for batch in acknowledged(process, wanted)}
            process.send_signal(signal.SIGKILL)  # it is somewhere in a later commit
            promised |= {f"batch{batch}" for batch in acknowledged(process)}
        found = batches_in(path)
        assert promised <= found.keys()
        assert set(found.values()) == {BATCH}
    assert len(promised) > 300
    assert check(path) == []


def test_any_part_of_the_log_gives_a_store_of_whole_commits(tmp_path: Path, row: Callable[..., TaskRow]) -> None:
    path = tmp_path / "tasks.db"
    store = open_store(str(path))
    store.open()
    lengths = []
    log = tmp_path / "tasks.db-wal"
    for batch in range(12):
        store.commit(added(*(row(batch * 4 + i, name=f"b{batch}", payload=b"x" * 1_500) for i in range(1, 5))))
        lengths.append(log.stat().st_size)
    chance = random.Random(7)  # noqa: S311 - no secret
    edges = [length + by for length in lengths[::3] for by in (-4_120, -1, 0)]
    begin = lengths[0]
    for number, length in enumerate([*edges, *(chance.randrange(begin, lengths[-1]) for _ in range(20))]):
        copy = tmp_path / f"cut{number}"
        copy.mkdir()
        shutil.copy(path, copy)
        (copy / "tasks.db-wal").write_bytes(log.read_bytes()[:length])
        again = open_store(str(copy / "tasks.db"))
        again.open()
        again.close()
        whole = sum(length >= end for end in lengths)
        assert batches_in(copy / "tasks.db") == {f"b{batch}": 4 for batch in range(whole)}
        assert check(copy / "tasks.db") == []
    store.close()


def test_a_second_node_is_refused_and_told_by_whom(tmp_path: Path) -> None:
    path = tmp_path / "tasks.db"
    store = open_store(str(path))
    with writer(path) as process:
        assert list(acknowledged(process, 1))
        with pytest.raises(StoreTaken) as taken:
            store.open()
        assert taken.value.pid == process.pid
        assert str(process.pid) in str(taken.value)
        reading = open_reading(f"sqlite://{path}")  # whoever only looks may look
        assert reading.counts()["default"][TaskState.QUEUED] == BATCH
        reading.close()
        process.kill()
        process.wait()
        store.open()
        store.close()


def test_all_files_belong_to_their_owner_alone(tmp_path: Path, row: Callable[..., TaskRow]) -> None:
    previous = os.umask(0)
    try:
        store = open_store(str(tmp_path / "tasks.db"))
        store.open()
        store.commit(added(row(1)))
        files = sorted(tmp_path.iterdir())
        assert [file.name for file in files] == ["tasks.db", "tasks.db-shm", "tasks.db-wal", "tasks.db.lock"]
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
        store.close()
    finally:
        os.umask(previous)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of `size` of its own, where root may mount one."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:  # noqa: S603 - our own
        pytest.skip("needs root and mount; test_a_file_that_may_not_grow_... runs everywhere")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)  # noqa: S603, S607 - our own, from the same PATH as mount


def test_a_full_disk_refuses_and_the_store_goes_on_when_there_is_room(
    tmp_path: Path, row: Callable[..., TaskRow]
) -> None:
    with small_disk(tmp_path / "disk", "1500k") as disk:
        (disk / "ballast").write_bytes(b"x" * 400_000)
        store = open_store(str(disk / "tasks.db"))
        store.open()
        number = store.last_commit()
        seq = 1
        failed: CommitFailed | None = None
        while failed is None:
            assert seq < 2_000
            try:
                store.commit(added(*(row(seq + i, payload=b"x" * 3_000) for i in range(4))))
                seq += 4
            except CommitFailed as error:
                failed = error
        assert isinstance(failed, CommitRefused)
        assert failed.because == "full"
        for _ in range(3):  # it stays full, and stays refused
            with pytest.raises(CommitRefused):
                store.commit(added(*(row(seq + i, payload=b"x" * 3_000) for i in range(4))))
        assert store.last_commit() == number + (seq - 1) // 4
        assert len(store.load(Needs(seqs=set(range(seq + 4)))).by_seq) == seq - 1
        (disk / "ballast").unlink()
        store.commit(added(*(row(seq + i) for i in range(4))))
        assert len(store.load(Needs(seqs=set(range(seq + 4)))).by_seq) == seq + 3
        store.close()
        assert check(disk / "tasks.db") == []


def test_a_disk_that_becomes_read_only_refuses(tmp_path: Path, row: Callable[..., TaskRow]) -> None:
    with small_disk(tmp_path / "disk", "8m") as disk:
        store = open_store(str(disk / "tasks.db"))
        store.open()
        store.commit(added(row(1)))
        store.close()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)  # noqa: S603, S607 - our own
        with pytest.raises(StoreUnreachable, match="Read-only file system"):
            store.open()
        reading = open_reading(str(disk / "tasks.db"))  # operators can still look
        assert reading.get(row(1).id) == row(1)
        reading.close()
        assert check(disk / "tasks.db") == []


LIMITED = """
import resource, sys
sys.path[:0] = [{folder!r}]
from tests.integration.store.writer import task
from otpq.core.records import Changes
from otpq.store.errors import CommitFailed
from otpq.store.url import open_store
store = open_store(sys.argv[1]); store.open()
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))  # Python ignores SIGXFSZ: writes fail
seq, failed = 1, None
while failed is None:
    try:
        store.commit(Changes(inserts=[task(seq, seq)], counts={{("default", "queued"): 1}}))
        seq += 1
    except CommitFailed as error:
        failed = error
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
made = store.last_commit() >= getattr(failed, "number", 1 << 62)
print(type(failed).__name__, seq, len(store.recover().lanes), made)
store.commit(Changes(inserts=[task(seq + 1, seq + 1)], counts={{("default", "queued"): 1}}))
store.close()
"""


def test_a_file_that_may_not_grow_is_a_known_end_and_no_half_commit(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    path = tmp_path / "tasks.db"
    command = [sys.executable, "-c", LIMITED.format(folder=str(WRITER.parent)), str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)  # noqa: S603 - our own
    name, seq, lanes, made = done.stdout.split()
    assert name in {"CommitRefused", "CommitUnknown"}
    assert int(lanes) == int(seq) - 1 + (made == "True")
    assert check(path) == []


def test_a_directory_or_file_that_may_not_be_written_is_told_clearly(tmp_path: Path) -> None:
    with pytest.raises(StoreUnreachable, match="No such file or directory"):
        open_store(str(tmp_path / "none" / "tasks.db")).open()
    with pytest.raises(StoreUnreachable):
        open_store(str(tmp_path)).open()
    with pytest.raises(StoreUnreachable, match="does it exist"):
        open_reading(str(tmp_path / "none.db"))
    assert not (tmp_path / "none.db").exists()
    if os.geteuid() == 0:
        return  # no mode keeps root out; test_a_disk_that_becomes_read_only_refuses does
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StoreUnreachable, match="Permission denied"):
            open_store(str(tmp_path / "tasks.db")).open()
    finally:
        tmp_path.chmod(0o700)


def filled(path: Path, row: Callable[..., TaskRow]) -> bytes:
    store = open_store(str(path))
    store.open()
    store.commit(added(*(row(seq, payload=b"x" * 900) for seq in range(1, 200))))
    store.close()
    return path.read_bytes()


def test_what_is_no_database_is_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "tasks.db"
    path.write_bytes(b"Dear diary, " * 500)
    for opening in (lambda: open_store(str(path)).open(), lambda: open_reading(str(path))):
        with pytest.raises(StoreDamaged, match="restore a backup, or name another file") as damaged:
            opening()
        assert str(path) in str(damaged.value)
    assert path.read_bytes() == b"Dear diary, " * 500
    assert [problem.kind for problem in check(path)] == ["unreadable"]


def test_another_programs_database_is_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "browser.db"
    db = apsw.Connection(str(path))
    db.execute("CREATE TABLE cookies (x)")
    db.close()
    before = path.read_bytes()
    for opening in (lambda: open_store(str(path)).open(), lambda: open_reading(str(path))):
        with pytest.raises(StoreDamaged, match="another program"):
            opening()
    assert path.read_bytes() == before


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    path = tmp_path / "tasks.db"
    path.touch()
    with pytest.raises(StoreDamaged, match="empty"):
        open_reading(str(path))
    store = open_store(str(path))
    assert store.open() == 1
    store.close()
    assert check(path) == []


@pytest.mark.parametrize("damage", ["first page", "middle", "cut"])
def test_damage_is_found(tmp_path: Path, row: Callable[..., TaskRow], damage: str) -> None:
    path = tmp_path / "tasks.db"
    content = filled(path, row)
    if damage == "first page":
        path.write_bytes(content[:100] + os.urandom(3_996) + content[4_096:])
    elif damage == "middle":
        path.write_bytes(content[:4_096] + os.urandom(len(content) - 8_192) + content[-4_096:])
    else:
        path.write_bytes(content[: len(content) // 2])
    assert {problem.kind for problem in check(path)} <= {"unreadable", "file", "schema"}
    assert check(path) != []
    store = open_store(str(path))

    def use() -> None:
        store.open()
        store.load(Needs(seqs=set(range(1, 200))))

    with pytest.raises((StoreDamaged, StoreUnreachable)):
        use()
    store.close()
    path.write_bytes(content)  # and the lock is free for whoever restores a backup
    store.open()
    store.close()
