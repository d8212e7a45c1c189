"""The schema, its migrations, and that the questions of the core find their index."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import apsw
import msgspec
import pytest

from otpq.core.records import LeaseRow, TaskRow, TaskUpdate
from otpq.store.errors import SchemaTooNew
from otpq.store.history import decode_history
from otpq.store.migrating import Migration, load_migrations
from otpq.store.queries import load_queries
from otpq.store.sqlite_rows import task_rows
from otpq.store.sqlite_schema import MIGRATIONS, migrate, schema_of, version_of

if TYPE_CHECKING:
    from collections.abc import Iterator

SQL = load_queries("sqlite")


@pytest.fixture
def db() -> Iterator[apsw.Connection]:
    db = apsw.Connection(":memory:")
    migrate(db, "memory:")
    yield db
    db.close()


def plan(db: apsw.Connection, query: str) -> list[str]:
    """How SQLite would go about it, whatever the values."""
    parameters = len(set(re.findall(r"\?\d+", query))) or query.count("?")
    return [row[3] for row in db.execute("EXPLAIN QUERY PLAN " + query, (1,) * parameters)]


def test_the_view_has_the_fields_of_a_task_in_their_order(db: apsw.Connection) -> None:
    assert tuple(row[1] for row in db.execute("PRAGMA table_info(task_rows)")) == TaskRow.__struct_fields__


def test_the_tables_have_the_fields_of_the_records(db: apsw.Connection) -> None:
    tasks = {row[1] for row in db.execute("PRAGMA table_info(tasks)")}
    lanes = {row[1] for row in db.execute("PRAGMA table_info(lanes)")}
    assert (tasks | lanes) - {"lane"} == set(TaskRow.__struct_fields__)
    assert tasks & lanes == {"lane"}
    assert set(TaskUpdate.__struct_fields__) < tasks
    assert tuple(row[1] for row in db.execute("PRAGMA table_info(leases)")) == LeaseRow.__struct_fields__


def test_an_update_sets_every_field_of_its_record() -> None:
    for number, field in enumerate(TaskUpdate.__struct_fields__, 1):
        assert f"{field} = ?{number}" in SQL["update_task"]


def columns_of(query: str) -> list[str]:
    return [column.strip() for column in query.split("(", 1)[1].split(")", 1)[0].split(",")]


def test_the_inserts_name_every_column_in_one_order(db: apsw.Connection) -> None:
    whole, new = columns_of(SQL["insert_task"]), columns_of(SQL["insert_new"])
    assert sorted(whole) == sorted(row[1] for row in db.execute("PRAGMA table_info(tasks)"))
    assert whole[: len(new)] == new


def test_every_query_is_sound(db: apsw.Connection) -> None:
    for name, query in SQL.items():
        assert plan(db, query) is not None, name


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("task_by_id", ["SEARCH tasks USING INDEX tasks_id (id=?)"]),
        ("task_by_seq", ["SEARCH tasks USING INTEGER PRIMARY KEY (rowid=?)"]),
        ("task_by_key", ["SEARCH tasks USING INDEX tasks_key (key=?)"]),
        (
            "lane",
            [
                "SEARCH tasks USING INDEX tasks_lane (lane=? AND due=? AND rowid>?)",
                "SEARCH tasks USING INDEX tasks_lane (lane=? AND due>?)",
            ],
        ),
        (
            "due",
            [
                "SEARCH tasks USING INDEX tasks_due (due=? AND rowid>?)",
                "SEARCH tasks USING INDEX tasks_due (due>?)",
            ],
        ),
        ("expiry", ["SEARCH tasks USING INDEX tasks_expires (expires>? AND expires<?)"]),
        ("lanes", ["SCAN tasks USING COVERING INDEX tasks_lane"]),
        ("ended", ["SEARCH tasks USING INTEGER PRIMARY KEY (rowid>?)"]),
        ("update_task", ["SEARCH tasks USING INTEGER PRIMARY KEY (rowid=?)"]),
        ("succeed", ["SEARCH tasks USING INTEGER PRIMARY KEY (rowid=?)"]),
        ("delete_task", ["SEARCH tasks USING INTEGER PRIMARY KEY (rowid=?)"]),
    ],
)
def test_each_question_finds_its_index_and_sorts_nothing(db: apsw.Connection, query: str, wanted: list[str]) -> None:
    steps = plan(db, SQL[query])
    assert [step for step in steps if " tasks" in step] == wanted
    assert not [step for step in steps if "TEMP B-TREE" in step]


@pytest.mark.parametrize("query", ["logs", "forget_lines", "forget_old_runs", "delete_logs"])
def test_logs_are_found_by_their_index_and_not_sorted(db: apsw.Connection, query: str) -> None:
    steps = plan(db, SQL[query])
    assert not [step for step in steps if "SCAN" in step or "TEMP B-TREE" in step], steps


def test_the_refill_of_a_lane_reads_its_limit_among_any_number_of_others(db: apsw.Connection) -> None:
    db.execute("INSERT INTO lanes VALUES (1, 'default', 'mail', 'busy', 5), (2, 'default', 'mail', 'quiet', 5)")
    columns = ", ".join(columns_of(SQL["insert_new"]))
    some = "x, randomblob(16), 'queued', 1 + (x % 2000 = 0), 1000, NULL, 0, 0, NULL, NULL, '', NULL, x'80', x''"
    db.execute(
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 20000) "  # noqa: S608 - our words
        f"INSERT INTO tasks ({columns}) SELECT {some} FROM n"
    )

    def steps(partition: str, after: tuple[float, int], limit: int) -> int:
        cursor = db.execute(SQL["lane"], ("default", "mail", partition, 5, *after, limit))
        assert len(list(cursor)) == min(limit, 10 if partition == "quiet" else limit)
        return counted[-1]

    counted: list[int] = []
    db.trace_v2(
        apsw.SQLITE_TRACE_PROFILE, lambda event: counted.append(event["stmt_status"]["SQLITE_STMTSTATUS_VM_STEP"])
    )
    assert steps("quiet", (-1.0, 0), 10) < 1_000
    assert steps("busy", (1000.0, 15_000), 10) < 1_000  # in the middle of 20,000 that are due at once
    assert steps("busy", (-1.0, 0), 100) > 1_000  # so the measure measures


def test_an_older_schema_is_brought_up_and_nothing_is_applied_twice() -> None:
    db = apsw.Connection(":memory:")
    steps = [Migration(1, "one", "CREATE TABLE a (x)"), Migration(2, "two", "CREATE TABLE b (x)")]
    migrate(db, "here", steps[:1])
    assert version_of(db) == 1
    migrate(db, "here", steps)
    migrate(db, "here", steps)
    assert version_of(db) == 2
    assert [tuple(row) for row in db.execute("SELECT version, name FROM schema_version")] == [(1, "one"), (2, "two")]


def test_a_migration_that_fails_leaves_nothing_behind() -> None:
    db = apsw.Connection(":memory:")
    migrate(db, "here", [Migration(1, "one", "CREATE TABLE a (x)")])
    before = schema_of(db)
    steps = [
        Migration(n, "n", sql) for n, sql in enumerate(["", "CREATE TABLE b (x); INSERT INTO b VALUES (1)", "oops"], 1)
    ]
    with pytest.raises(apsw.SQLError, match="oops"):
        migrate(db, "here", steps)
    assert (version_of(db), schema_of(db), db.in_transaction) == (1, before, False)


def test_a_newer_schema_is_refused_untouched(db: apsw.Connection) -> None:
    db.execute("INSERT INTO schema_version VALUES (?, 'future', 0)", (len(MIGRATIONS) + 1,))
    before = schema_of(db)
    with pytest.raises(SchemaTooNew, match=f"schema {len(MIGRATIONS) + 1}.*none above {len(MIGRATIONS)}"):
        migrate(db, "here")
    assert schema_of(db) == before


def test_migrations_are_numbered_one_by_one() -> None:
    assert [migration.version for migration in load_migrations("sqlite")] == [1, 2, 3]


def test_a_store_of_the_first_version_keeps_its_rows_and_gets_the_new_columns() -> None:
    db = apsw.Connection(":memory:")
    migrate(db, "here", MIGRATIONS[:1])
    db.execute("INSERT INTO lanes VALUES (1, 'default', 'mail', '', 5)")
    columns = "seq, id, state, lane, due, created, updated, tags, options, payload, attempt, result"
    insert = f"INSERT INTO tasks ({columns}) VALUES (?, ?, ?, 1, 1, 1, 1, '', x'80', ?, ?, ?)"  # noqa: S608 - our words
    db.execute(insert, (1, b"a" * 16, "queued", b"\x90", 0, None))
    db.execute(insert, (2, b"b" * 16, "succeeded", None, 1, b"\xc0"))
    db.execute("INSERT INTO payloads VALUES (2, x'9190')")
    migrate(db, "here")
    first, second = task_rows(db.execute("SELECT * FROM task_rows ORDER BY seq"))
    assert (first.id, first.name, first.payload, first.progress, first.checkpoint) == (
        b"a" * 16,
        "mail",
        b"\x90",
        None,
        None,
    )
    assert (second.payload, second.attempt, second.result) == (b"\x91\x90", 1, b"\xc0")
    fresh = apsw.Connection(":memory:")
    migrate(fresh, "here")
    assert schema_of(db) == schema_of(fresh)


def test_queries_have_no_comments_and_no_semicolon() -> None:
    assert not [name for name, query in SQL.items() if "--" in query or query.endswith(";") or not query]


@pytest.mark.parametrize("entries", [[], [{}], [{"at": 1.5, "to": "queued"}, {"x": [None, b"1", {"y": 2}]}]])
def test_a_history_is_maps_one_after_the_other(entries: list[dict[str, object]]) -> None:
    assert decode_history(b"".join(map(msgspec.msgpack.encode, entries))) == entries


@pytest.mark.parametrize(
    ("history", "byte"), [(b"\x80\x82", 1), (b"\xc1", 0), (b"\x81\xa1a", 0), (b"\x80\x93\x01\x02\x03", 1)]
)
def test_what_is_no_history_is_refused_where_it_goes_wrong(history: bytes, byte: int) -> None:
    with pytest.raises(ValueError, match=f"byte {byte} begins"):
        decode_history(history)


def test_the_contract_of_a_store_is_read_without_its_driver() -> None:
    code = "import sys, otpq.store.protocol, otpq.store.errors, otpq.store.url; print('apsw' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "False\n"  # noqa: S603 - our own line
