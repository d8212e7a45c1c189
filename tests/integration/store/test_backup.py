from __future__ import annotations

from typing import TYPE_CHECKING

import apsw
import pytest

from otpq.errors import UsageError
from otpq.store.backup import APART, back_up
from otpq.store.check import check
from otpq.store.errors import StoreUnreachable
from otpq.store.sqlite import SqliteStore
from otpq.store.sqlite_place import FilePlace
from otpq.store.sqlite_schema import MIGRATIONS, migrate

if TYPE_CHECKING:
    from pathlib import Path


def test_a_copy_begins_numbers_that_the_store_will_not_give_meanwhile(tmp_path: Path) -> None:
    store = SqliteStore(FilePlace(tmp_path / "store.db"))
    epoch = store.open()
    assert back_up(tmp_path / "store.db", tmp_path / "copy.db") == 0
    was = store.recover()
    store.close()

    copy = SqliteStore(FilePlace(tmp_path / "copy.db"))
    assert copy.open() > epoch + 1000
    found = copy.recover()
    copy.close()
    assert (found.next_seq, found.next_lease) == (was.next_seq + APART, was.next_lease + APART)
    assert check(tmp_path / "copy.db") == []


def test_a_store_can_be_copied_before_its_schema_is_brought_up_to_date(tmp_path: Path) -> None:
    old = FilePlace(tmp_path / "old.db").connect()
    migrate(old, "old", MIGRATIONS[:1])
    old.close()
    back_up(tmp_path / "old.db", tmp_path / "copy.db")
    copy = FilePlace(tmp_path / "copy.db").connect_reading()
    assert copy.execute("SELECT max(version) FROM schema_version").get == 1
    copy.close()


def test_no_file_is_overwritten_and_none_is_left_behind(tmp_path: Path) -> None:
    store = SqliteStore(FilePlace(tmp_path / "store.db"))
    store.open()
    store.close()
    (tmp_path / "taken.db").write_text("precious")
    with pytest.raises(UsageError, match="there already"):
        back_up(tmp_path / "store.db", tmp_path / "taken.db")
    assert (tmp_path / "taken.db").read_text() == "precious"
    with pytest.raises(StoreUnreachable):
        back_up(tmp_path / "store.db", tmp_path / "no such folder" / "copy.db")

    broken = apsw.Connection(str(tmp_path / "store.db"))
    broken.execute("INSERT INTO counts VALUES ('default', 'queued', 7)")
    broken.close()
    with pytest.raises(Exception, match="is said to have 7 queued tasks"):
        back_up(tmp_path / "store.db", tmp_path / "copy.db")
    assert {path.name for path in tmp_path.glob("copy.db*")} == set()
