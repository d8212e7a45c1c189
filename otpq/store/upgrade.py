"""`upgrade`: brings a store that no node holds to the newest schema, as the next node would at its start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otpq.store.sqlite_errors import translated
from otpq.store.sqlite_place import FilePlace
from otpq.store.sqlite_schema import migrate, version_of

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["upgrade"]


def upgrade(path: Path) -> tuple[int, int]:
    """The schema's version before and now; all of the steps in between are made, or none.

    Raises:
        StoreTaken: A node has it open.
        StoreUnreachable: There is no store there, or it cannot be written.
        StoreDamaged: It is no store, or a damaged one.
        SchemaTooNew: A newer otpq has been here.
    """
    place = FilePlace(path.absolute())
    place.connect_reading().close()  # what is not there is not made
    release = place.lock()
    try:
        with translated(place.name):
            db = place.connect()
            try:
                before = version_of(db)
                migrate(db, place.name)
                return before, version_of(db)
            finally:
                db.close()
    finally:
        release()
