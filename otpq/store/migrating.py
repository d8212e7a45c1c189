"""Migrations: numbered .sql files, each applied once, in order. The caller's transaction makes them all or none.

Tables: `schema_version` has a row for each file that was applied. There are no down migrations: a store is copied before
an upgrade, and an older otpq refuses a newer store.
"""

from __future__ import annotations

import re
from importlib.resources import files
from typing import NamedTuple

__all__ = ["Migration", "load_migrations"]

_FILE = re.compile(r"(\d{4})_(\w+)\.sql")


class Migration(NamedTuple):
    """One step of the schema."""

    version: int
    name: str
    sql: str


def load_migrations(dialect: str) -> list[Migration]:
    """The migrations of a kind of store, in order.

    Raises:
        ValueError: The numbers are not 1, 2, 3 and so on: one is missing, or two files have the same.
    """
    folder = files("otpq.store").joinpath("migrations", dialect)
    found = sorted(
        Migration(int(match[1]), match[2], file.read_text(encoding="utf-8"))
        for file in folder.iterdir()
        if (match := _FILE.fullmatch(file.name))
    )
    if [migration.version for migration in found] != list(range(1, len(found) + 1)):
        raise ValueError(f"migrations of {dialect} are not numbered one by one: {[m.version for m in found]}")
    return found
