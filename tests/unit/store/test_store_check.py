"""`check` finds each kind of trouble and words it for a human."""

from __future__ import annotations

from typing import TYPE_CHECKING

import apsw
import msgspec
import pytest

from otpq.core.cron import Timing
from otpq.core.events import NewTask
from otpq.core.records import Changes, LeaseRow, LogChunk, ScheduleRow
from otpq.core.schedule import Definition
from otpq.store.check import Problem, check
from otpq.store.sqlite_schema import MIGRATIONS
from otpq.store.url import open_store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from otpq.core.records import TaskRow


@pytest.fixture
def path(tmp_path: Path, row: Callable[..., TaskRow]) -> Path:
    """A sound store: tasks 1 and 2 queued, 3 failed, 1 in lease 1, with a log."""
    path = tmp_path / "tasks.db"
    store = open_store(str(path))
    store.open()
    told = {"progress": b"\x92\x01\xa0", "checkpoint": b"\x81\xa1a\xd4\x05\x00"}
    rows = [row(1, payload=b"x" * 5_000), row(2, key="k", **told), row(3, state="failed", finished=5.0)]
    counts = {("default", "queued"): 2, ("default", "failed"): 1}
    lines = msgspec.msgpack.encode([[1, 5.0, "out", "info", "a", None], [2, 6.0, "log", "info", "b", {"c": 1}]])
    logs = [LogChunk(1, 1, 1, 2, lines)]
    timing, task = Timing(every=5.0), NewTask(id=bytes(16), name="f", payload=b"\x90")
    schedule = ScheduleRow("s", 1.0, "set", msgspec.msgpack.encode(Definition(timing=timing, task=task)), next=6.0)
    changes = Changes(inserts=rows, counts=counts, leases=[LeaseRow(1, "n", "i", "s", 1, 1.0, (1,))], logs=logs)
    changes.schedules["s"] = schedule
    store.commit(changes)
    store.close()
    return path


def spoil(path: Path, *statements: str) -> None:
    db = apsw.Connection(str(path))
    db.execute("PRAGMA ignore_check_constraints = ON")
    for statement in statements:
        db.execute(statement)
    db.close()


def test_a_sound_store_has_no_problems(path: Path) -> None:
    assert check(path) == []


@pytest.mark.parametrize(
    ("statement", "kind", "text"),
    [
        (
            "UPDATE tasks SET state = 'asleep' WHERE seq = 2",
            "states",
            "task 2 has the state 'asleep', which no row can have",
        ),
        (
            "UPDATE tasks SET state = 'running' WHERE seq = 2",
            "states",
            "task 2 has the state 'running', which no row can have",
        ),
        (
            "UPDATE tasks SET finished = NULL WHERE seq = 3",
            "states",
            "task 3 is failed but does not say when it finished",
        ),
        ("UPDATE store SET next_seq = 3", "seqs", "task 3 has a number that was never given: the next would be 3"),
        ("UPDATE store SET next_lease = 1", "seqs", "lease 1 has a number that was never given: the next would be 1"),
        ("UPDATE leases SET epoch = 9", "seqs", "lease 1 was granted in epoch 9, and the store is in epoch 1"),
        (
            "UPDATE counts SET tasks = 7 WHERE state = 'queued'",
            "counts",
            "queue 'default' is said to have 7 queued tasks, and has 2",
        ),
        ("DELETE FROM counts", "counts", "queue 'default' is said to have 0 failed tasks, and has 1"),
        (
            "INSERT INTO counts VALUES ('q', 'queued', -1)",
            "counts",
            "queue 'q' is said to have -1 queued tasks, and has 0",
        ),
        (
            "INSERT INTO leases SELECT 0, '', '', '', 1, 1, x'9101', 0",
            "leases",
            "task 1 is open in lease 0 and in lease 1: it may run twice",
        ),
        ("UPDATE leases SET open = x'920101'", "leases", "task 1 is open in lease 1 and in lease 1"),
        ("UPDATE leases SET open = x'9163'", "leases", "lease 1 has task 99 open, which does not exist"),
        ("UPDATE leases SET open = x'9103'", "leases", "lease 1 has task 3 open, which is failed"),
        ("UPDATE leases SET open = x'90'", "leases", "lease 1 has no open tasks; it should be gone"),
        ("UPDATE leases SET open = x'c1'", "leases", "lease 1: its open tasks cannot be read"),
        ("DELETE FROM payloads", "payloads", "task 1 has lost its arguments"),
        (
            "INSERT INTO payloads VALUES (2, x'')",
            "payloads",
            "the arguments of task 2 are kept although nothing refers to them",
        ),
        ("UPDATE tasks SET history = x'8081' WHERE seq = 2", "blobs", "task 2: its history cannot be read: byte 1"),
        ("UPDATE tasks SET options = x'c1' WHERE seq = 2", "blobs", "task 2: its options cannot be read"),
        ("UPDATE tasks SET error = x'80' WHERE seq = 2", "blobs", "task 2: its error cannot be read"),
        ("UPDATE tasks SET progress = x'91' WHERE seq = 2", "blobs", "task 2: its progress cannot be read"),
        (
            "UPDATE tasks SET checkpoint = x'9101c0' WHERE seq = 2",
            "blobs",
            "task 2: its checkpoint cannot be read: more",
        ),
        (
            "UPDATE tasks SET checkpoint = x'92' WHERE seq = 2",
            "blobs",
            "task 2: its checkpoint cannot be read: it is no",
        ),
        (
            "INSERT INTO logs VALUES (9, 1, 1, 1, x'90')",
            "logs",
            "the log of task 9 is kept although there is no such task",
        ),
        ("UPDATE logs SET lines = x'91c1'", "logs", "task 1: lines 1 to 2 of its run in lease 1 cannot be read"),
        ("UPDATE logs SET last = 1", "logs", "task 1: lines 1 to 1 of its run in lease 1 are others"),
        ("UPDATE schedules SET definition = x'c1'", "schedules", "schedule 's' cannot be read"),
        ("UPDATE schedules SET waiting = x'c1'", "schedules", "schedule 's' cannot be read"),
        (
            "UPDATE schedules SET last = 6, runs = 1, task = zeroblob(16)",
            "schedules",
            "schedule 's' has fired its slot 6.0 and would fire 6.0 after it",
        ),
        (
            "UPDATE schedules SET waiting = x'91cb4018000000000000'",
            "schedules",
            "schedule 's' has slots that wait for a task, and has made none",
        ),
        ("UPDATE schedules SET runs = 3", "schedules", "schedule 's' says that it ran 3 times, last at None"),
        ("DROP INDEX tasks_lane", "schema", "tasks_lane is missing"),
        ("CREATE TABLE mine (x)", "schema", "mine is not otpq's; somebody added it"),
        (
            "DROP INDEX tasks_due; CREATE INDEX tasks_due ON tasks (due)",
            "schema",
            "tasks_due is defined otherwise than",
        ),
        ("DELETE FROM store", "schema", "the table 'store' does not have its one row"),
        (
            "INSERT INTO schema_version VALUES (99, '', 0)",
            "schema",
            "its version is 99, and this otpq knows none above",
        ),
        ("DELETE FROM schema_version", "schema", "its version is missing; a node of this otpq would bring it to"),
    ],
)
def test_each_kind_of_trouble_is_found(path: Path, statement: str, kind: str, text: str) -> None:
    spoil(path, statement)
    problems = [problem for problem in check(path) if text in problem.text]
    assert [problem.kind for problem in problems] == [kind], check(path)
    assert str(problems[0]).startswith(f"{kind}: ")


def test_duplicates_are_found_even_if_the_index_that_forbids_them_was_away(path: Path) -> None:
    db = apsw.Connection(str(path))
    unique = db.execute("SELECT sql FROM sqlite_schema WHERE name = 'tasks_key'").get
    db.execute("DROP INDEX tasks_key; UPDATE tasks SET key = 'k' WHERE seq = 3")
    db.execute("PRAGMA writable_schema = ON")
    db.execute(unique.replace("UNIQUE ", ""))
    db.execute("UPDATE sqlite_schema SET sql = ? WHERE name = 'tasks_key'", (unique,))
    db.close()
    texts = [problem.text for problem in check(path)]
    assert any("non-unique entry in index tasks_key" in text for text in texts), texts


def test_of_many_problems_of_one_kind_some_are_told(path: Path) -> None:
    many = "WITH RECURSIVE n(x) AS (SELECT 10 UNION ALL SELECT x + 1 FROM n WHERE x < 60) INSERT INTO payloads SELECT x, x'' FROM n"
    spoil(path, many)
    problems = check(path)
    assert len(problems) == 21
    assert problems[-1] == Problem("payloads", "there are more than 20 problems of this kind; these were the first")


def test_what_is_not_there_is_a_problem_too(tmp_path: Path) -> None:
    (problem,) = check(tmp_path / "none.db")
    assert problem.kind == "unreadable"
    assert "does it exist" in problem.text


def test_it_may_run_beside_a_node_and_in_a_directory_nobody_can_write(path: Path, row: Callable[..., TaskRow]) -> None:
    store = open_store(str(path))
    store.open()
    store.commit(Changes(inserts=[row(4)], counts={("default", "queued"): 1}))
    assert check(path) == []
    store.close()


def test_the_newest_migration_is_the_one_that_is_known(path: Path) -> None:
    db = apsw.Connection(str(path))
    assert db.execute("SELECT max(version) FROM schema_version").get == len(MIGRATIONS)
    db.close()
