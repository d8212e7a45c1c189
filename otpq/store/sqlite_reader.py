"""What operators ask a SQLite store, on a read-only connection. Every question is bounded, and none counts rows."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from otpq.core.records import Link, LogChunk
from otpq.store.errors import StoreClosed, StoreDamaged
from otpq.store.history import decode_history
from otpq.store.protocol import SCAN, Counted, Counts, End, Ended, EndedPage, Filters, MemberLine, Page, is_pattern
from otpq.store.queries import load_queries
from otpq.store.sqlite_errors import translated
from otpq.store.sqlite_rows import lease_rows, task_rows, workflow_rows
from otpq.task import TaskState

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    import apsw

    from otpq.core.records import LeaseRow, TaskRow, WorkflowRow
    from otpq.store.sqlite_place import Place

__all__ = ["SqliteReader"]

_SQL: Final = load_queries("sqlite")

_LOOK_AT_CLOCK: Final = 2_000
"""SQLite's steps between two looks at the clock, some 0.05 ms."""

_RARE: Final = "state <> 'queued' AND state <> 'succeeded'"
"""As the index `tasks_rare` has it, word for word: else SQLite does not use it."""


class _Walk(NamedTuple):
    """One step of a walk over the tasks."""

    where: str
    values: dict[str, Any]
    floor: int
    """The seq down to which it goes."""


class SqliteReader:
    """A `Reading` of the database at `place`. One thread at a time.

    No transaction outlives a method: an open one would keep the write-ahead log from being used again.
    """

    def __init__(self, place: Place, *, patience: float | None = None) -> None:
        """`patience`: seconds that a question may take, then it ends with `TookTooLong`; None: as long as it takes."""
        self._place = place
        self._db: apsw.Connection | None = place.connect_reading()
        self._patience = patience
        self._until = float("inf")
        if patience is not None:
            self._db.set_progress_handler(self._is_late, _LOOK_AT_CLOCK)

    def get(self, id: bytes) -> TaskRow | None:
        """The task, or None."""
        with self._moment() as db:
            rows = task_rows(db.execute(_SQL["task_by_id"], (id,)))
            return rows[0] if rows else None

    def tasks(self, filters: Filters, *, limit: int = 100, after: int | None = None, scan: int = SCAN) -> Page:
        """Walk down from the newest, through the index or the table, whichever is shorter."""
        if limit < 1 or scan < 1:
            raise ValueError(f"limit={limit}, scan={scan}: both are 1 or more")
        with self._moment() as db:
            walk = self._walk(db, filters, after, scan)
            query = f"SELECT * FROM task_rows WHERE {walk.where} ORDER BY seq DESC LIMIT :limit"  # noqa: S608 - no text from outside
            rows = task_rows(db.execute(query, {**walk.values, "limit": limit}))
            return Page(rows, rows[-1].seq if len(rows) == limit else self._below(db, walk.floor))

    def count(
        self, filters: Filters, *, after: int | None = None, scan: int = SCAN, without: Collection[int] = ()
    ) -> Counted:
        """Walk as `tasks` does."""
        with self._moment() as db:
            walk = self._walk(db, filters, after, scan)
            query = f"SELECT count(*) FROM task_rows WHERE {walk.where}"  # noqa: S608 - no text from outside
            values = walk.values
            if without:
                query += " AND +seq NOT IN (SELECT value FROM json_each(:without))"
                values = {**values, "without": msgspec.json.encode(list(without)).decode()}
            return Counted(db.execute(query, values).get, self._below(db, walk.floor))

    def counts(self, queue: str | None = None) -> Counts:
        """Read the kept counts."""
        with self._moment() as db:
            counts: Counts = {queue: dict.fromkeys(TaskState, 0)} if queue is not None else {}
            for of, state, tasks in db.execute(_SQL["counts"]):
                if queue is None or of == queue:
                    counts.setdefault(of, dict.fromkeys(TaskState, 0))[TaskState(state)] = tasks
            return counts

    def leases(self) -> list[LeaseRow]:
        """The open leases, oldest first."""
        with self._moment() as db:
            return lease_rows(db.execute(_SQL["leases"]))

    def history(self, id: bytes) -> list[dict[str, Any]] | None:
        """Decode the task's history."""
        with self._moment() as db:
            for (history,) in db.execute(_SQL["history"], (id,)):
                try:
                    return decode_history(history)
                except ValueError as error:
                    raise StoreDamaged(self._place.name, f"history of task {id.hex()}: {error}") from error
            return None

    def log(self, seq: int, *, after: tuple[int, int] = (0, 0), limit: int = 100) -> list[LogChunk]:
        """Chunks of a task's log behind `after` (lease, line number), in order."""
        with self._moment() as db:
            return [LogChunk(*row) for row in db.execute(_SQL["logs"], (seq, *after, limit))]

    def ended(self, before: Mapping[str, float], *, after: int | None = None, scan: int = 10_000) -> EndedPage:
        """Look at the next `scan` rows, oldest first.

        Tasks that ended long ago were created long ago, and seqs follow time: the walk is over where even the last row
        looked at is younger than every time in `before`. So a walk does not cost what the store holds, only what may go
        and what is kept beside it; and no index has to be kept for it while tasks end.
        """
        times = [before.get(state) for state in ("succeeded", "failed", "cancelled", "expired")]
        with self._moment() as db:
            rows = list(db.execute(_SQL["ended"], (after or 0, *times, scan)))
        found = [Ended(*row[:6]) for row in rows if row[7]]
        newest = max((at for at in times if at is not None), default=0.0)
        if len(rows) < scan or rows[-1][6] >= newest:
            return EndedPage(found, None)
        return EndedPage(found, rows[-1][0])

    def links(self, first: int, last: int) -> dict[int, Link]:
        """What the members with these seqs wait for and take."""
        with self._moment() as db:
            return {row[0]: Link(*row) for row in db.execute(_SQL["links"], (first, last))}

    def ends(self, first: int, last: int) -> dict[int, End]:
        """How the tasks with these seqs ended."""
        with self._moment() as db:
            return {row[0]: End(*row) for row in db.execute(_SQL["ends"], (first, last))}

    def workflow(self, number: int | None = None, id: bytes | None = None) -> WorkflowRow | None:
        """The workflow of that number or id, or None."""
        with self._moment() as db:
            query, value = ("workflow", number) if id is None else ("workflow_by_id", id)
            return next(iter(workflow_rows(db.execute(_SQL[query], (value,)))), None)

    def workflows(self, *, limit: int = 100, after: int | None = None) -> list[WorkflowRow]:
        """Workflows, the newest first."""
        with self._moment() as db:
            return workflow_rows(db.execute(_SQL["workflows"], (2**62 if after is None else after, limit)))

    def members(self, first: int, last: int, limit: int) -> list[MemberLine]:
        """The first `limit` of the tasks with these seqs, in a line each."""
        with self._moment() as db:
            return [MemberLine(*row) for row in db.execute(_SQL["members"], (first, last, limit))]

    def member_counts(self, first: int, last: int) -> dict[str, int]:
        """How many of the tasks with these seqs are in which state: up to 20,000 are looked at."""
        with self._moment() as db:
            return dict(db.execute(_SQL["member_counts"], (first, last)))

    def blocked(self) -> dict[str, int]:
        """How many tasks wait for others, by queue."""
        with self._moment() as db:
            return dict(db.execute(_SQL["blocked"]))

    def close(self) -> None:
        """Close the connection."""
        db, self._db = self._db, None
        if db is not None:
            db.close()

    @contextmanager
    def _moment(self) -> Iterator[apsw.Connection]:
        """The connection, in a transaction, so that all it answers is of one moment."""
        if self._db is None:
            raise StoreClosed(self._place.name)
        if self._patience is not None:
            self._until = time.monotonic() + self._patience
        with translated(self._place.name):
            self._db.execute("BEGIN")
            try:
                yield self._db
            finally:
                self._until = float("inf")
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")

    def _is_late(self) -> bool:
        return time.monotonic() > self._until

    @staticmethod
    def _seqs(db: apsw.Connection, filters: Filters) -> list[int] | None:
        """Those that `ids` and `seqs` leave; None: any."""
        if filters.ids is None:
            return None if filters.seqs is None else list(filters.seqs)
        asked = [(id,) for id in filters.ids]
        found = db.executemany("SELECT seq FROM tasks WHERE id = ?", asked) if asked else ()
        return [seq for (seq,) in found if filters.seqs is None or seq in filters.seqs]

    def _walk(self, db: apsw.Connection, filters: Filters, after: int | None, scan: int) -> _Walk:
        """What the next step looks at."""
        conditions, values = _conditions(filters)
        values["top"] = db.execute("SELECT next_seq FROM store").get if after is None else after
        seqs = self._seqs(db, filters)
        if seqs is not None:
            values["seqs"] = msgspec.json.encode(seqs).decode()
            values["floor"] = 0
            conditions.append("seq IN (SELECT value FROM json_each(:seqs))")
        elif filters.state == TaskState.QUEUED and db.execute(_SQL["state_count"], (filters.state,)).get <= scan:
            # Few, perhaps far down: all of them by the lanes' index, then sorted. The plus keeps SQLite from walking by seq.
            conditions[conditions.index("state = :state")] = "state = 'queued'"
            return _Walk(" AND ".join([*conditions, "+seq < :top"]), values, 0)
        else:
            values["floor"] = self._floor(db, filters.state, conditions, values["top"], scan)
        return _Walk(" AND ".join([*conditions, "seq >= :floor", "seq < :top"]), values, values["floor"])

    @staticmethod
    def _below(db: apsw.Connection, floor: int) -> int | None:
        """Where the next step begins; None: nothing is below."""
        oldest = db.execute("SELECT min(seq) FROM tasks").get
        return floor if oldest is not None and oldest < floor else None

    @staticmethod
    def _floor(db: apsw.Connection, state: str | None, conditions: list[str], top: int, scan: int) -> int:
        """The seq down to which `scan` rows suffice; may add a condition that picks the index to walk."""
        if state is not None and state not in (TaskState.QUEUED, TaskState.SUCCEEDED):
            conditions.append(_RARE)
            below = f"SELECT seq FROM tasks WHERE state = ? AND {_RARE} AND seq < ? ORDER BY seq DESC LIMIT ?"  # noqa: S608 - our own text
            floor: int | None = db.execute(f"SELECT min(seq) FROM ({below})", (state, top, scan)).get  # noqa: S608 - as above
            return floor or 0
        # The rows of the two common states lie close together; seqs without a row only make the walk shorter.
        return max(0, top - scan)


def _conditions(filters: Filters) -> tuple[list[str], dict[str, Any]]:
    """What a row must be, in SQL, and the values in it."""
    wanted = {
        "state = :state": filters.state,
        "name GLOB :name" if is_pattern(filters.name) else "name = :name": filters.name,
        "queue = :queue": filters.queue,
        "instr(tags, ',' || :tag || ',') > 0": filters.tag,
        "created < :before": filters.before,
    }
    values: dict[str, Any] = {
        "state": filters.state,
        "name": filters.name,
        "queue": filters.queue,
        "tag": filters.tag,
        "before": filters.before,
    }
    return [condition for condition, value in wanted.items() if value is not None], values
