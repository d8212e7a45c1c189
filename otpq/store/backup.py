"""back_up: a copy of a store, whole and of one moment, also while a node writes to it.

The copy begins a line of numbers of its own. If it is restored, nodes and clients may still know of what the store did after
the copy was made; what they tell of that must not be taken for what the restored store does under the same numbers.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final

import apsw

from otpq.errors import UsageError
from otpq.store.check import check
from otpq.store.errors import StoreDamaged
from otpq.store.sqlite_errors import translated
from otpq.store.sqlite_place import FilePlace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["APART", "back_up"]

APART: Final = 1 << 40
"""Numbers of tasks and leases that are left out in a copy: more than a store gives in years; 64 bits have room for millions of
copies of copies."""
_TERMS: Final = 1 << 20
"""Epochs that are left out: starts of a queue server."""


def back_up(path: Path, to: Path) -> int:
    """Copy the store at `path` to the new file `to`, check the copy, and have it on the disk; how many tasks it has.

    Nodes may write to the store meanwhile; its log grows until the copy is made. The copy is at most as large as the store. Of
    a store with an older schema, which stays as it is, only the file is checked. On any error there is no file `to`.

    Raises:
        UsageError: There is a file `to` already.
        StoreUnreachable: There is no store there, it cannot be read, or the copy cannot be written.
        StoreDamaged: It is no store, or the copy is not what a store should be: `otpq check` of the store says what is wrong.
    """
    if to.exists():
        raise UsageError(f"{to} is there already, and no backup is overwritten; name another file")
    with _new_file(to.with_name(f"{to.name}.{os.getpid()}.partial"), to) as part:
        _copy(path, part)
        problems = [problem for problem in check(part) if problem.kind != "schema"]
        if problems:
            raise StoreDamaged(str(path), f"the copy that was made of it has {problems[0]}")
        return _begin_anew(part)


@contextlib.contextmanager
def _new_file(part: Path, to: Path) -> Iterator[Path]:
    """An empty file that becomes `to` when the block has ended well, and nothing else."""
    try:
        with translated(str(to)):
            # Made here and not by SQLite, for the mode: arguments and results are nobody else's.
            os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        yield part
        with translated(str(to)):
            _sync(part)
            part.rename(to)
            _sync(to.parent)
    finally:
        part.unlink(missing_ok=True)


def _copy(path: Path, part: Path) -> None:
    db = FilePlace(path).connect_reading()
    try:
        db.execute("PRAGMA query_only = OFF")  # it can still not write to the store: it was opened so
        with translated(f"{path} or its copy {part}"):
            db.execute("VACUUM INTO ?", (str(part),))
    finally:
        db.close()


def _begin_anew(part: Path) -> int:
    with translated(str(part)):
        db = apsw.Connection(str(part), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            db.execute(
                "UPDATE store SET epoch = epoch + ?, next_seq = next_seq + ?, next_lease = next_lease + ?",
                (_TERMS, APART, APART),
            )
            tasks: int = db.execute("SELECT count(*) FROM tasks").get
        finally:
            db.close()
    return tasks


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
