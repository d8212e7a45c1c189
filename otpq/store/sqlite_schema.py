"""The schema of a SQLite store: which version it has, and how it gets the newest."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from otpq.store.errors import SchemaTooNew
from otpq.store.migrating import Migration, load_migrations
from otpq.store.sqlite_place import APPLICATION_ID

if TYPE_CHECKING:
    from collections.abc import Sequence

    import apsw

__all__ = ["MIGRATIONS", "migrate", "schema_of", "version_of"]

MIGRATIONS: Final = tuple(load_migrations("sqlite"))

_VERSIONS: Final = """
CREATE TABLE IF NOT EXISTS schema_version (
    version INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    applied REAL NOT NULL -- seconds since the epoch, for show
) STRICT
"""


def version_of(db: apsw.Connection) -> int:
    """The number of the newest migration that was applied; 0: none."""
    if not db.table_exists("main", "schema_version"):
        return 0
    version: int = db.execute("SELECT coalesce(max(version), 0) FROM schema_version").get
    return version


def migrate(db: apsw.Connection, place: str, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Bring the schema to the newest version, in one transaction: all of it or nothing.

    Raises:
        SchemaTooNew: It has a version that this code does not know.
        apsw.Error: A migration failed; nothing was changed.
    """
    found, known = version_of(db), len(migrations)
    if found > known:
        raise SchemaTooNew(place, found, known)
    if found == known:
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        db.execute(_VERSIONS)
        db.pragma("application_id", APPLICATION_ID)
        for migration in migrations[found:]:
            db.execute(migration.sql)
            db.execute("INSERT INTO schema_version VALUES (?, ?, ?)", (migration.version, migration.name, time.time()))
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # not after "disk full": then SQLite itself has rolled back
            db.execute("ROLLBACK")
        raise


def schema_of(db: apsw.Connection) -> dict[str, str]:
    """The definition of every table, index and view, by name."""
    rows = db.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'")
    return {str(name): str(sql) for name, sql in rows}
