"""By which index SQLite finds what operators ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from otpq.store.protocol import SCAN, Filters
from otpq.store.sqlite import SqliteStore
from otpq.store.sqlite_place import MemoryPlace
from otpq.store.sqlite_reader import SqliteReader

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def reader() -> Iterator[SqliteReader]:
    place = MemoryPlace()
    store = SqliteStore(place)
    store.open()
    reader = SqliteReader(place)
    yield reader
    reader.close()
    store.close()


def plan(reader: SqliteReader, what: str, filters: Filters) -> str:
    with reader._moment() as db:
        walk = reader._walk(db, filters, None, SCAN)
        query = f"EXPLAIN QUERY PLAN SELECT {what} FROM task_rows WHERE {walk.where}"  # noqa: S608 - no text from outside
        return "\n".join(str(row[3]) for row in db.execute(query, walk.values))


@pytest.mark.parametrize("what", ["*", "count(*)"])
def test_few_that_are_queued_are_found_by_their_lanes_and_these_by_the_prefix_of_a_pattern(
    reader: SqliteReader, what: str
) -> None:
    found = plan(reader, what, Filters(state="queued", queue="q", name="email.*"))
    assert "SEARCH lanes USING COVERING INDEX sqlite_autoindex_lanes_1 (queue=? AND name>? AND name<?)" in found
    assert "tasks_lane (lane=?)" in found


@pytest.mark.parametrize("name", ["email.*", "email.send", None])
@pytest.mark.parametrize("what", ["*", "count(*)"])
def test_few_that_are_queued_are_never_sought_among_all(reader: SqliteReader, what: str, name: str | None) -> None:
    assert "tasks USING INTEGER PRIMARY KEY" not in plan(reader, what, Filters(state="queued", name=name))
