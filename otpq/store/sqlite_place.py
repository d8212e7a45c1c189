"""Where a SQLite database is: a file, or memory. Only what differs between the two, and how connections are set up.

Checkpoints (moving the write-ahead log into the file) are the writing connection's alone: a reader is opened read-only, is
told not to checkpoint when it closes, and so cannot meet a write, which older SQLites answered with a corrupt file.
"""

from __future__ import annotations

import os
import stat
from itertools import count
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import quote

import apsw

from otpq.store.errors import StoreDamaged, StoreTaken, StoreUnreachable
from otpq.store.file_lock import FileLock, LockHeld
from otpq.store.sqlite_errors import translated

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["APPLICATION_ID", "FilePlace", "MemoryPlace", "Place"]

APPLICATION_ID: Final = int.from_bytes(b"otpq", "big")
"""In the header of the file: says whose database it is, to us and to file(1)."""

_BUSY_MS: Final = 1_000
"""How long a commit waits for somebody's sqlite3 shell. Nobody else writes."""

_SETUP: Final = (
    "PRAGMA synchronous = FULL",  # each commit is synced: with WAL and NORMAL an acknowledged task can vanish at a power cut
    "PRAGMA fullfsync = ON",  # macOS: a plain fsync stops at the disk's cache; elsewhere it changes nothing
    "PRAGMA checkpoint_fullfsync = ON",
    "PRAGMA cache_size = -16384",  # KiB; the hot ends of the table and its indexes, and no more: memory has a budget
    "PRAGMA wal_autocheckpoint = 1000",  # pages, 4 MiB; measured against 4000: no difference, and recovery stays short
    "PRAGMA journal_size_limit = 67108864",  # a log that one slow reader made grow is cut when it is used again
    "PRAGMA mmap_size = 0",  # a disk's read error is to be an error, not a SIGBUS that ends the node
    "PRAGMA cell_size_check = ON",  # damage is found where it is read, not where it has spread to
    "PRAGMA trusted_schema = OFF",  # a schema that somebody else wrote calls no functions
)


class Place(Protocol):
    """Where a database is."""

    @property
    def name(self) -> str:
        """What to call it in a message."""
        ...

    def lock(self) -> Callable[[], None]:
        """Keep every other queue node out; the answer lets them in again.

        Raises:
            StoreTaken: One is in.
            StoreUnreachable: The lock cannot be made.
        """
        ...

    def connect(self) -> apsw.Connection:
        """A connection that may write. The database is made if there is none; nothing is changed in one that is not ours.

        Raises:
            StoreUnreachable: It cannot be opened for writing.
            StoreDamaged: It is no database, or another program's.
        """
        ...

    def connect_reading(self) -> apsw.Connection:
        """A connection that cannot write.

        Raises:
            StoreUnreachable: It does not exist or cannot be read.
            StoreDamaged: It is no database, or another program's.
        """
        ...


class FilePlace:
    """A database file at `path`, with `-wal` and `-shm` beside it while it is open, and `.lock` for ever."""

    def __init__(self, path: Path, *, vfs: str | None = None) -> None:
        self._path = path
        self._vfs = vfs
        """SQLite's name of the layer between it and the system; None: its own. Tests put disks that fail there."""

    @property
    def name(self) -> str:
        """What to call it in a message."""
        return str(self._path)

    def lock(self) -> Callable[[], None]:
        """Lock the file beside the database."""
        try:
            with translated(self.name):
                return FileLock(self._path.with_name(self._path.name + ".lock")).release
        except LockHeld as held:
            raise StoreTaken(self.name, held.pid) from None

    def connect(self) -> apsw.Connection:
        """A connection that may write, set up."""
        with translated(self.name):
            # Made here and not by SQLite, for the mode: arguments and results are nobody else's. SQLite gives the files
            # beside it the same.
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            if not stat.S_ISREG(self._path.stat().st_mode):
                raise StoreUnreachable(self.name, "it is not a regular file")
            db = apsw.Connection(self.name, flags=apsw.SQLITE_OPEN_READWRITE, vfs=self._vfs)
            try:
                _check_owner(db, self.name)
                _use_wal(db, self.name)
                _set_up(db)
            except BaseException:
                db.close()
                raise
            return db

    def connect_reading(self) -> apsw.Connection:
        """A connection that cannot write."""
        with translated(self.name):
            try:
                return _reader(f"file:{quote(self.name)}?mode=ro", self.name)
            except (apsw.CantOpenError, apsw.ReadOnlyError):
                # In a directory where nothing can be made, SQLite reads a database that nobody has open only if told that
                # it will not change. With a log beside it that would be a lie.
                if self._path.with_name(self._path.name + "-wal").exists():
                    raise
                return _reader(f"file:{quote(self.name)}?immutable=1", self.name)


class MemoryPlace:
    """A database in this process's memory, which lives as long as a connection to it. At most 1 GiB (SQLite's bound).

    SQLite's `memdb` rather than `:memory:`, because connections can share one: readers get their own here too. Like a file
    without WAL it lets a reader and a commit wait for each other, some milliseconds.
    """

    _numbers = count(1)

    def __init__(self) -> None:
        self._uri = f"file:/otpq-{os.getpid()}-{next(self._numbers)}?vfs=memdb"

    @property
    def name(self) -> str:
        """What to call it in a message."""
        return "memory:"

    def lock(self) -> Callable[[], None]:
        """Nothing to keep out: nobody else can reach it."""
        return lambda: None

    def connect(self) -> apsw.Connection:
        """A connection that may write, set up."""
        with translated(self.name):
            flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI
            db = apsw.Connection(self._uri, flags=flags)
            _set_up(db)
            return db

    def connect_reading(self) -> apsw.Connection:
        """A connection that cannot write."""
        with translated(self.name):
            return _reader(self._uri, self.name)


def _use_wal(db: apsw.Connection, name: str) -> None:
    mode = db.pragma("journal_mode", "wal")
    if mode != "wal":
        raise StoreUnreachable(name, f"this file system cannot keep a write-ahead log (it offers {mode!r})")


def _set_up(db: apsw.Connection) -> None:
    db.set_busy_timeout(_BUSY_MS)
    _keep_plans(db)
    for pragma in _SETUP:
        db.execute(pragma)


def _keep_plans(db: apsw.Connection) -> None:
    """Have a plan depend on the query alone, and not on the values that are bound.

    Else SQLite prepares a query with a condition anew whenever other values are bound to it: to read a task took 160 us instead
    of 7, a lane's next rows 510 instead of 50, to update a task 12 instead of 6. Not where operators look: there a pattern's
    prefix is worth a plan of its own.
    """
    db.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)


def _reader(uri: str, name: str) -> apsw.Connection:
    db = apsw.Connection(uri, flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
    try:
        db.set_busy_timeout(_BUSY_MS)
        db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        db.execute("PRAGMA query_only = ON")  # a second line of defence
        _check_owner(db, name)
    except BaseException:
        db.close()
        raise
    return db


def _check_owner(db: apsw.Connection, name: str) -> None:
    """Raise where the database is another program's, before anything in it was changed."""
    owner = db.pragma("application_id")
    if owner == APPLICATION_ID:
        return
    if owner or db.execute("SELECT count(*) FROM sqlite_schema").get:
        raise StoreDamaged(name, "it is a database of another program")
    if db.readonly("main") and db.open_flags & apsw.SQLITE_OPEN_READONLY:
        raise StoreDamaged(name, "it is empty")
