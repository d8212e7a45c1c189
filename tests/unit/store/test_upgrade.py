"""A store is brought to the newest schema without a node."""

from __future__ import annotations

from typing import TYPE_CHECKING

import apsw
import pytest

from otpq.store.check import check
from otpq.store.errors import SchemaTooNew, StoreDamaged, StoreTaken, StoreUnreachable
from otpq.store.sqlite_place import FilePlace
from otpq.store.sqlite_schema import MIGRATIONS, migrate, version_of
from otpq.store.upgrade import upgrade
from otpq.store.url import open_store

if TYPE_CHECKING:
    from pathlib import Path

NEWEST = len(MIGRATIONS)


def old_store(path: Path, version: int) -> None:
    db = FilePlace(path).connect()
    migrate(db, str(path), MIGRATIONS[:version])
    db.close()


@pytest.mark.parametrize("version", range(1, NEWEST + 1))
def test_each_older_schema_becomes_the_newest(tmp_path: Path, version: int) -> None:
    path = tmp_path / "store.db"
    old_store(path, version)
    assert upgrade(path) == (version, NEWEST)
    assert upgrade(path) == (NEWEST, NEWEST)
    assert check(path) == []


def test_a_store_that_a_node_holds_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    old_store(path, 1)
    release = FilePlace(path).lock()
    with pytest.raises(StoreTaken):
        upgrade(path)
    release()
    db = apsw.Connection(str(path))
    assert version_of(db) == 1
    db.close()


def test_a_store_of_a_newer_otpq_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = open_store(str(path))
    store.open()
    store.close()
    db = apsw.Connection(str(path))
    db.execute("INSERT INTO schema_version VALUES (?, 'later', 0.0)", (NEWEST + 1,))
    db.close()
    with pytest.raises(SchemaTooNew):
        upgrade(path)


def test_what_is_not_there_is_not_made_and_what_is_no_store_is_not_touched(tmp_path: Path) -> None:
    with pytest.raises(StoreUnreachable):
        upgrade(tmp_path / "none.db")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "text.db").write_text("no database, and longer than a header of SQLite would be, to be sure" * 5)
    with pytest.raises(StoreDamaged):
        upgrade(tmp_path / "text.db")
