"""What a store raises: it could not be opened, a commit had no effect, or nobody knows whether it had.

`CommitFailed` is the root of the three ways in which a commit ends without being committed; there are no others.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from otpq.errors import StoreError, UsageError

__all__ = [
    "BadStoreUrl",
    "CommitFailed",
    "CommitRefused",
    "CommitUnknown",
    "RefusedBecause",
    "SchemaTooNew",
    "StaleEpoch",
    "StoreClosed",
    "StoreDamaged",
    "StoreTaken",
    "StoreUnreachable",
    "TookTooLong",
]

RefusedBecause: TypeAlias = Literal["full", "constraint", "value", "read_only", "busy", "io", "damaged"]
"""Why nothing was written: no room; a constraint of the store; a value that it cannot hold; the disk or file is
read-only; somebody else holds the database's write lock; a read or write failed before the commit began; damage."""


class BadStoreUrl(UsageError):
    """The URL names no store; the message says what would."""

    def __init__(self, url: str, problem: str) -> None:
        super().__init__(
            f"store {url!r}: {problem}; right would be sqlite:///absolute/path.db, a path such as ./tasks.db, or memory:"
        )
        self.url = url


class StoreUnreachable(StoreError):
    """The store cannot be opened or read now: `place`, and why."""

    def __init__(self, place: str, problem: str) -> None:
        super().__init__(f"store {place}: {problem}")
        self.place = place


class TookTooLong(StoreError):
    """A question was cut off after the time it may take; asked for less, it may be answered."""

    def __init__(self, place: str) -> None:
        super().__init__(f"store {place}: the question took too long")
        self.place = place


class StoreTaken(StoreError):
    """Another queue node has the store open: process `pid`, or None where it had not yet said so."""

    def __init__(self, place: str, pid: int | None) -> None:
        who = f"process {pid}" if pid is not None else "another process"
        super().__init__(f"store {place} is held by {who}; a SQLite store serves one queue node at a time")
        self.place = place
        self.pid = pid


class StoreDamaged(StoreError):
    """The file is no database, not one of otpq's, or a damaged one."""

    def __init__(self, place: str, problem: str) -> None:
        super().__init__(
            f"store {place} is damaged or not a store: {problem}. None of its tasks was changed. Copy the file and its -wal aside "
            f"first; 'otpq check {place}' lists what is wrong; then restore a backup, or name another file"
        )
        self.place = place


class SchemaTooNew(StoreError):
    """A newer otpq has migrated the store; this one must not touch it."""

    def __init__(self, place: str, found: int, known: int) -> None:
        super().__init__(
            f"store {place} has schema {found}, and this otpq knows none above {known}: "
            "install the otpq that wrote it, or a newer one"
        )
        self.found = found
        self.known = known


class StoreClosed(StoreError):
    """The store was used before `open` or after `close`."""

    def __init__(self, place: str) -> None:
        super().__init__(f"store {place} is not open")


class CommitFailed(StoreError):
    """A commit did not end in *committed*. Send nothing; discard the core and rebuild it from the store."""


class CommitRefused(CommitFailed):
    """Nothing was written, for certain.

    Attributes:
        because: See `RefusedBecause`. The driver's own error is the `__cause__`.
    """

    def __init__(self, because: RefusedBecause, detail: str) -> None:
        super().__init__(f"commit refused ({because}): {detail}; nothing was written")
        self.because: RefusedBecause = because


class CommitUnknown(CommitFailed):
    """The commit was under way when the disk or the connection failed.

    Attributes:
        number: What the commit would be called: it was committed if, and only if, `last_commit()` answers `number` or
            more.
    """

    def __init__(self, number: int, detail: str) -> None:
        super().__init__(f"nobody knows whether commit {number} was made: {detail}; last_commit() will tell")
        self.number = number


class StaleEpoch(CommitFailed):
    """A newer queue server has taken over the store; nothing was written, and this one is to stop.

    Attributes:
        mine: The epoch of the store that raised.
        found: The epoch in force.
    """

    def __init__(self, mine: int, found: int) -> None:
        super().__init__(f"epoch {mine} is over: a queue server with epoch {found} has taken over; nothing was written")
        self.mine = mine
        self.found = found
