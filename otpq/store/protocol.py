"""What every store can do: `Store` for the one queue server that writes, `Reading` for those who look.

A store keeps rows and answers questions. The values that travel are in `otpq.core.records`; here are the verbs, and the
values that only operators see.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

import msgspec

from otpq.core.records import TaskRow  # noqa: TC001 - msgspec reads the annotations of Page
from otpq.task import TaskState

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from otpq.core.records import Changes, LeaseRow, Link, Loaded, LogChunk, Needs, Recovered, WorkflowRow

__all__ = [
    "LOGGED_RUNS",
    "SCAN",
    "Counted",
    "Counts",
    "End",
    "Ended",
    "EndedPage",
    "Filters",
    "MemberLine",
    "Page",
    "Reading",
    "Store",
    "is_pattern",
]

Counts: TypeAlias = dict[str, dict[TaskState, int]]
"""{queue: {state: n}}, always with all eight states."""

SCAN: Final = 100_000
"""Rows that one question of an operator may look at (about 50 ms): no question can keep the reader busy for long, nor
a snapshot open that stops the write-ahead log from being reused."""

LOGGED_RUNS: Final = 8
"""Runs of a task whose logs are kept: the last ones."""


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """Which tasks: those that match all that is given."""

    state: str | None = None
    """One of the states a row can have: `running` is not one (the caller knows the open leases)."""
    name: str | None = None
    """A handler's name, or a pattern (`is_pattern`) as SQLite's GLOB takes it: `*`, `?`, `[...]`."""
    queue: str | None = None
    tag: str | None = None
    before: float | None = None
    """Created before this time."""
    ids: tuple[bytes, ...] | None = None
    seqs: tuple[int, ...] | None = None


def is_pattern(name: str | None) -> bool:
    """Whether a filter's `name` is a pattern: it has a `*` or a `?`. `[*]` in it is the character itself."""
    return name is not None and not {"*", "?"}.isdisjoint(name)


class Page(msgspec.Struct, frozen=True):
    """A part of a list, newest first."""

    rows: list[TaskRow]
    """May be fewer than asked for, even none, although more follow: then what matches is rare and the scan was cut."""
    next: int | None
    """Give it back as `after` for what follows; None: that was all."""


class Counted(msgspec.Struct, frozen=True):
    """What one step of a count found."""

    count: int
    next: int | None
    """Give it back as `after` for the step that follows; None: that was all."""


class Ended(msgspec.Struct, frozen=True):
    """An ended task that may be forgotten."""

    seq: int
    id: bytes
    name: str
    queue: str
    state: str
    finished: float


class EndedPage(msgspec.Struct, frozen=True):
    """What one step of a walk over the ended tasks found."""

    found: list[Ended]
    next: int | None
    """Where the next step begins; None: the walk is over."""


class End(msgspec.Struct, frozen=True, gc=False):
    """How a task ended, or where it is."""

    seq: int
    id: bytes
    name: str
    state: str
    result: bytes | None
    error: bytes | None


class MemberLine(msgspec.Struct, frozen=True, gc=False):
    """A member of a workflow, in a line."""

    seq: int
    id: bytes
    name: str
    state: str
    title: str | None
    reason: str | None


class Store(Protocol):
    """A store as the queue server sees it. One thread at a time.

    Every method but `close` raises `StoreClosed` before `open` and after `close`.
    """

    def open(self) -> int:
        """Take the store over; return the new epoch, which is above every earlier one.

        From here on every store object with a lower epoch gets `StaleEpoch`. A new store is made, an older schema is
        migrated; either is all or nothing.

        Raises:
            StoreTaken: Another node has it open.
            StoreDamaged: It is no store, or a damaged one.
            StoreUnreachable: It is not there, not readable, or not writable.
            SchemaTooNew: A newer otpq has been here.
        """
        ...

    def load(self, needs: Needs) -> Loaded:
        """Answer a `Needs`: what exists, as of the last commit.

        Raises:
            StoreUnreachable: It could not be read.
            StoreDamaged: What was read is no sound database.
        """
        ...

    def commit(self, changes: Changes) -> None:
        """Make `changes` durable, all or none; when it returns, they are. Empty changes only check the epoch.

        A change that does not fit the rows is refused as a whole: an insert of a seq, id or key that exists, an update
        or a delete of a task that does not exist, a count below zero. Lines of a log are not worth that: a chunk that is there
        already, or whose task is not, is left out.

        Raises:
            CommitRefused: Nothing was written. The store may work again later: try.
            CommitUnknown: Ask `last_commit()`.
            StaleEpoch: A newer queue server is in charge; nothing was written. Stop.
        """
        ...

    def last_commit(self) -> int:
        """The number of the newest commit that is durable; they are numbered one by one, through all epochs.

        After `CommitUnknown` as error, the commit was made if, and only if, this is `error.number` or more, and then
        that answer is final: no crash, no power loss changes it.

        Raises:
            StaleEpoch: A newer queue server is in charge, and its commits are counted too: nobody can tell any more.
            StoreUnreachable: It still cannot be told. Ask again.
        """
        ...

    def recover(self) -> Recovered:
        """What a new queue server starts from. Counts of zero are left out.

        Raises:
            StoreUnreachable: It could not be read.
            StoreDamaged: What was read is no sound database.
        """
        ...

    def reading(self, *, patience: float | None = None) -> Reading:
        """A way to look into this store, on a connection of its own.

        Args:
            patience: Seconds that a question may take, then it ends with `TookTooLong`; None: as long as it takes.
        """
        ...

    def close(self) -> None:
        """Give the store up. Closing twice is fine."""
        ...


class Reading(Protocol):
    """A store as operators see it: read-only, on a connection of its own. Each answer is of one moment."""

    def get(self, id: bytes) -> TaskRow | None:
        """The task, or None."""
        ...

    def tasks(self, filters: Filters, *, limit: int = 100, after: int | None = None, scan: int = SCAN) -> Page:
        """Tasks that match, newest first (by seq), at most `limit`.

        Args:
            filters: Which. With `ids` or `seqs`, at most a few thousand of them.
            limit: Rows wanted, 1 or more.
            after: The `next` of the page before.
            scan: Rows that may be looked at; see `Page.rows`.
        """
        ...

    def count(
        self, filters: Filters, *, after: int | None = None, scan: int = SCAN, without: Collection[int] = ()
    ) -> Counted:
        """One step of a count of the tasks that match.

        Args:
            filters: Which, as in `tasks`.
            after: The `next` of the step before.
            scan: Rows to look at in this step.
            without: Seqs of tasks that do not count.
        """
        ...

    def counts(self, queue: str | None = None) -> Counts:
        """Tasks by queue and state, as kept: no row is counted.

        `running` is 0 here: a running task's row says `queued`. Whoever knows which ids of the open leases have started
        moves them. A queue that never had a task is absent, unless it was asked for by name.
        """
        ...

    def leases(self) -> list[LeaseRow]:
        """The open leases, oldest first."""
        ...

    def history(self, id: bytes) -> list[dict[str, Any]] | None:
        """The transitions of a task as the core wrote them, oldest first; None: no such task."""
        ...

    def log(self, seq: int, *, after: tuple[int, int] = (0, 0), limit: int = 100) -> list[LogChunk]:
        """Chunks of a task's log, in order, at most `limit`; empty if there are none.

        Args:
            seq: The task's.
            after: (lease, line number): what lies behind that line; the first chunk may begin before it.
            limit: Chunks wanted, 1 or more.
        """
        ...

    def ended(self, before: Mapping[str, float], *, after: int | None = None, scan: int = 10_000) -> EndedPage:
        """One step of a walk over the ended tasks, in order of seq, for whoever forgets them.

        Args:
            before: State to time: tasks of that state that finished before it are found. A state left out is kept.
            after: The `next` of the step before; None starts a new walk.
            scan: Rows to look at in this step.
        """
        ...

    def links(self, first: int, last: int) -> dict[int, Link]:
        """What the members of workflows with the seqs `first` to `last` wait for and take, by seq."""
        ...

    def ends(self, first: int, last: int) -> dict[int, End]:
        """How the tasks with the seqs `first` to `last` ended, by seq; those that are gone are left out."""
        ...

    def workflow(self, number: int | None = None, id: bytes | None = None) -> WorkflowRow | None:
        """The workflow of that number or id, or None."""
        ...

    def workflows(self, *, limit: int = 100, after: int | None = None) -> list[WorkflowRow]:
        """Workflows with a number below `after`, the newest first, at most `limit`."""
        ...

    def members(self, first: int, last: int, limit: int) -> list[MemberLine]:
        """The tasks with the seqs `first` to `last`, in order, at most `limit`."""
        ...

    def member_counts(self, first: int, last: int) -> dict[str, int]:
        """How many of the tasks with the seqs `first` to `last` are in which state, as rows have it."""
        ...

    def blocked(self) -> dict[str, int]:
        """How many tasks wait for others, by queue."""
        ...

    def close(self) -> None:
        """Let go. Closing twice is fine."""
        ...
