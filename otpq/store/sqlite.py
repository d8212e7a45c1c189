"""The SQLite store: one writing connection, in WAL mode, with every commit synced.

Driver trap: on some errors (a full disk, an I/O error) SQLite has already rolled back when the error arrives, and the
connection is in autocommit: a loop that carried on would make the rest durable, one statement at a time. So an error
leaves `_write` at once, whatever it is, and nothing commits that is not still inside its transaction.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import apsw
import msgspec
from msgspec.structs import astuple

from otpq.core.records import LaneId, LaneSummary, Loaded, Recovered, Success
from otpq.store.errors import (
    CommitRefused,
    CommitUnknown,
    StaleEpoch,
    StoreClosed,
    StoreDamaged,
    StoreTaken,
)
from otpq.store.protocol import LOGGED_RUNS
from otpq.store.queries import load_queries
from otpq.store.several import several
from otpq.store.sqlite_errors import refused_at_commit, refused_before_commit, translated
from otpq.store.sqlite_lanes import LaneNumbers
from otpq.store.sqlite_reader import SqliteReader
from otpq.store.sqlite_rows import (
    Inserts,
    lease_rows,
    lease_values,
    schedule_rows,
    success_values,
    task_rows,
    workflow_rows,
)
from otpq.store.sqlite_schema import migrate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from apsw import SQLiteValues

    from otpq.core.records import Changes, LeaseRow, LogChunk, Needs, TaskRow
    from otpq.store.errors import RefusedBecause
    from otpq.store.sqlite_place import Place

__all__ = ["SqliteStore"]

_SQL: Final = load_queries("sqlite")
_NEW_WIDTH: Final = 14
_SUCCESS_WIDTH: Final = len(Success.__struct_fields__)
_NO_ROW: Final = "its row about itself is missing"


class SqliteStore:
    """A `Store` in the database at `place`. One thread at a time; not to be carried over a fork."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._db: apsw.Connection | None = None
        self._release: Callable[[], None] | None = None
        self._epoch = 0
        self._lanes = LaneNumbers()
        self._in_doubt = False
        """A COMMIT was begun and its end not seen."""

    def open(self) -> int:
        """Lock the database, make or migrate its schema, take a new epoch."""
        if self._db is not None:
            raise StoreTaken(self._place.name, os.getpid())
        self._release = self._place.lock()
        try:
            with translated(self._place.name):
                self._db = self._place.connect()
                migrate(self._db, self._place.name)
                self._in_doubt = False
                self._epoch = self._take_over(self._db)
        except BaseException:
            self.close()
            raise
        return self._epoch

    def load(self, needs: Needs) -> Loaded:
        """Answer `needs`, each question by one index."""
        db = self._connected()
        with translated(self._place.name):
            self._settle(db)
            loaded = Loaded()
            loaded.by_id = {row.id: row for row in self._tasks(db, "task_by_id", [(id,) for id in needs.ids])}
            loaded.by_seq = {row.seq: row for row in self._tasks(db, "task_by_seq", [(seq,) for seq in needs.seqs])}
            for row in self._tasks(db, "task_by_key", [(key,) for key in needs.keys]):
                if row.key is not None:
                    loaded.by_key[row.key] = row
            loaded.lanes = [
                task_rows(db.execute(_SQL["lane"], (*astuple(asked.lane), *asked.after, asked.limit)))
                for asked in needs.lanes
            ]
            if needs.due is not None:
                loaded.due = task_rows(db.execute(_SQL["due"], (*needs.due.after, needs.due.limit)))
            if needs.expiry is not None:
                loaded.expiry = task_rows(db.execute(_SQL["expiry"], (needs.expiry.until, needs.expiry.limit)))
            for id in needs.workflows:
                for workflow in workflow_rows(db.execute(_SQL["workflow_by_id"], (id,))):
                    loaded.workflows[workflow.number] = workflow
            self._follow(db, needs, loaded)
            return loaded

    def _follow(self, db: apsw.Connection, needs: Needs, loaded: Loaded) -> None:
        """Add the workflows of what was asked for, or may end, and the tasks that wait for it."""
        asked = [*loaded.by_id.values(), *loaded.by_seq.values(), *loaded.expiry]
        members = [row for row in asked if row.workflow is not None]
        if not (members or needs.numbers):
            return
        for number in {*needs.numbers, *(row.workflow for row in members)} - loaded.workflows.keys():
            for workflow in workflow_rows(db.execute(_SQL["workflow"], (number,))):
                loaded.workflows[workflow.number] = workflow
        followers = needs.followers.union(*(row.followers for row in members)) - loaded.by_seq.keys()
        for row in self._tasks(db, "task_by_seq", [(seq,) for seq in followers]):
            loaded.by_seq[row.seq] = row

    def commit(self, changes: Changes) -> None:
        """Write `changes` in one transaction, inside which the epoch is checked, and sync it."""
        db = self._connected()
        self._roll_back(db)  # what a failed rollback left open; nothing, in all but the worst of times
        try:
            db.execute("BEGIN IMMEDIATE")
            number = self._write(db, changes)
        except BaseException as error:
            self._abandon(db)
            because = _why_refused(error)
            if because is None:
                raise
            raise CommitRefused(because, str(error)) from error
        self._finish(db, number)

    def last_commit(self) -> int:
        """Settle what is in doubt, then answer from the store."""
        db = self._connected()
        with translated(self._place.name):
            self._settle(db)
            epoch, commits, _, _ = self._about(db)
            if epoch != self._epoch:
                raise StaleEpoch(self._epoch, epoch)
            return commits

    def recover(self) -> Recovered:
        """Read lanes from their index, leases and counts from their tables, all as of one moment."""
        db = self._connected()
        with translated(self._place.name):
            self._settle(db)
            db.execute("BEGIN")
            try:
                _, _, next_seq, next_lease = self._about(db)
                return Recovered(
                    next_seq=next_seq,
                    next_lease=next_lease,
                    lanes=[
                        LaneSummary(LaneId(queue, name, partition, priority), queued)
                        for queue, name, partition, priority, queued in db.execute(_SQL["lanes"])
                    ],
                    leases=lease_rows(db.execute(_SQL["leases"])),
                    counts={(queue, state): tasks for queue, state, tasks in db.execute(_SQL["counts"]) if tasks},
                    settings=dict(db.execute(_SQL["settings"])),
                    schedules=schedule_rows(db.execute(_SQL["schedules"])),
                    sweeping=workflow_rows(db.execute(_SQL["sweeping"])),
                )
            except msgspec.MsgspecError as error:
                raise StoreDamaged(self._place.name, f"an open lease does not decode: {error}") from error
            finally:
                self._roll_back(db)

    def reading(self, *, patience: float | None = None) -> SqliteReader:
        """A reader on a connection of its own."""
        self._connected()
        return SqliteReader(self._place, patience=patience)

    def close(self) -> None:
        """Close the connection, then free the lock."""
        db, self._db = self._db, None
        release, self._release = self._release, None
        try:
            if db is not None:
                db.close()
        finally:
            if release is not None:
                release()

    # The transaction

    def _write(self, db: apsw.Connection, changes: Changes) -> int:
        """Write all of `changes`; return the commit's number. The first error leaves the method."""
        after_seq = max((task.seq for task in changes.inserts), default=0) + 1
        after_lease = max((lease.lease for lease in changes.leases), default=0) + 1
        number: int | None = db.execute(_SQL["count_commit"], (self._epoch, after_seq, after_lease)).get
        if number is None:
            raise self._stale(db)
        if changes.inserts:
            self._insert(db, changes.inserts)
        if changes.updates:
            self._change_each(db, "update_task", [astuple(update) for update in changes.updates])
        if changes.successes:
            self._succeed(db, changes.successes)
        if changes.deletes:
            self._delete(db, changes.deletes)
        self._put_workflows(db, changes)
        if changes.logs:
            self._log(db, changes.logs)
        self._put_leases(db, changes.leases)
        self._count(db, changes.counts)
        settings, schedules = changes.settings.items(), changes.schedules.items()
        self._put(db, "setting", {name: None if value is None else (name, value) for name, value in settings})
        self._put(db, "schedule", {name: None if row is None else astuple(row) for name, row in schedules})
        if not db.in_transaction:
            raise CommitRefused("io", "SQLite rolled back without an error")
        return number

    def _insert(self, db: apsw.Connection, tasks: list[TaskRow]) -> None:
        inserts = Inserts(tasks, self._lanes.of(db, tasks))
        for statement, values in several(_SQL["insert_new"], inserts.new, _NEW_WIDTH):
            db.execute(statement, values)
        if inserts.others:
            db.executemany(_SQL["insert_task"], inserts.others)
        if inserts.payloads:
            db.executemany(_SQL["insert_payload"], inserts.payloads)

    def _delete(self, db: apsw.Connection, deletes: list[int]) -> None:
        seqs: list[SQLiteValues] = [(seq,) for seq in deletes]
        self._change_each(db, "delete_task", seqs)
        for query in ("delete_payload", "delete_logs", "delete_link"):
            db.executemany(_SQL[query], seqs)

    @staticmethod
    def _log(db: apsw.Connection, chunks: Iterable[LogChunk]) -> None:
        for chunk in chunks:
            db.execute(_SQL["put_log"], (chunk.seq, chunk.lease, chunk.first, chunk.last, chunk.lines))
            if chunk.forget is not None:
                db.execute(_SQL["forget_lines"], (chunk.seq, chunk.lease, *chunk.forget))
            db.execute(_SQL["forget_old_runs"], (chunk.seq, chunk.lease, chunk.first, LOGGED_RUNS))

    @staticmethod
    def _put_workflows(db: apsw.Connection, changes: Changes) -> None:
        if changes.links:
            db.executemany(_SQL["put_link"], [astuple(link) for link in changes.links])
        for number, workflow in changes.workflows.items():
            if workflow is None:
                db.execute(_SQL["delete_workflow"], (number,))
            else:
                db.execute(_SQL["put_workflow"], astuple(workflow))

    @staticmethod
    def _put_leases(db: apsw.Connection, leases: Iterable[LeaseRow]) -> None:
        for lease in leases:
            if lease.open:
                db.execute(_SQL["put_lease"], lease_values(lease))
            else:
                db.execute(_SQL["delete_lease"], (lease.lease,))

    @staticmethod
    def _put(db: apsw.Connection, what: str, rows: dict[str, SQLiteValues | None]) -> None:
        for name, row in rows.items():
            if row is None:
                db.execute(_SQL[f"delete_{what}"], (name,))
            else:
                db.execute(_SQL[f"put_{what}"], row)

    @staticmethod
    def _count(db: apsw.Connection, counts: dict[tuple[str, str], int]) -> None:
        for key, difference in counts.items():
            # Not one upsert: SQLite checks "tasks >= 0" against the difference, before it sees that there is a row.
            if difference >= 0:
                db.execute(_SQL["start_count"], key)
            db.execute(_SQL["add_count"], (*key, difference))
            if db.changes() != 1:
                raise CommitRefused("constraint", f"add_count: none was kept for {key}")

    @staticmethod
    def _succeed(db: apsw.Connection, successes: list[Success]) -> None:
        before = db.total_changes()
        for statement, values in several(_SQL["succeed"], success_values(successes), _SUCCESS_WIDTH):
            db.execute(statement, values)
        _check_found("succeed", len(successes), db.total_changes() - before)

    @staticmethod
    def _change_each(db: apsw.Connection, query: str, rows: list[SQLiteValues]) -> None:
        """Run `query` for each of `rows`; refuse all unless each found its task."""
        before = db.total_changes()
        db.executemany(_SQL[query], rows)
        _check_found(query, len(rows), db.total_changes() - before)

    def _finish(self, db: apsw.Connection, number: int) -> None:
        """COMMIT."""
        self._in_doubt = True
        try:
            db.execute("COMMIT")
        except apsw.Error as error:
            self._abandon(db)
            because = refused_at_commit(error)
            if because is None:
                raise CommitUnknown(number, str(error)) from error
            self._in_doubt = False
            raise CommitRefused(because, str(error)) from error
        self._in_doubt = False

    def _settle(self, db: apsw.Connection) -> None:
        """Make the outcome of a COMMIT in doubt final, whatever it was.

        After a failed fsync the frames of the transaction may lie complete in the log although this connection has taken
        them back: a crash now would bring them to life. The next write goes to the same place in the log and breaks the
        chain of their checksums; so one is made that changes nothing else. Opening the file anew would not do: it
        would believe frames that are in the page cache and perhaps nowhere else.
        """
        if not self._in_doubt:
            return
        self._roll_back(db)
        db.execute("BEGIN IMMEDIATE")
        try:
            if db.execute(_SQL["settle"], (self._epoch,)).get is None:
                raise self._stale(db)  # noqa: TRY301 - the same way out as any other error
            db.execute("COMMIT")
        except BaseException:
            self._roll_back(db)
            raise
        self._in_doubt = False

    def _abandon(self, db: apsw.Connection) -> None:
        """Take back a transaction, and what was remembered of it."""
        self._roll_back(db)
        self._lanes.forget()

    @staticmethod
    def _roll_back(db: apsw.Connection) -> None:
        if db.in_transaction:
            try:
                db.execute("ROLLBACK")
            except apsw.Error:
                return  # the error that led here says more; the next commit tries again

    def _take_over(self, db: apsw.Connection) -> int:
        db.execute("BEGIN IMMEDIATE")
        try:
            epoch: int | None = db.execute(_SQL["take_over"]).get
            if epoch is None:
                raise StoreDamaged(self._place.name, _NO_ROW)  # noqa: TRY301 - the same way out as any other error
            db.execute("COMMIT")
        except BaseException:
            self._roll_back(db)
            raise
        return epoch

    def _stale(self, db: apsw.Connection) -> StaleEpoch:
        return StaleEpoch(self._epoch, self._about(db)[0])

    # Reading

    def _connected(self) -> apsw.Connection:
        if self._db is None:
            raise StoreClosed(self._place.name)
        return self._db

    def _about(self, db: apsw.Connection) -> tuple[int, int, int, int]:
        """(epoch, commits, next_seq, next_lease)."""
        rows: list[tuple[int, int, int, int]] = list(db.execute(_SQL["about"]))
        if not rows:
            raise StoreDamaged(self._place.name, _NO_ROW)
        return rows[0]

    @staticmethod
    def _tasks(db: apsw.Connection, query: str, asked: list[SQLiteValues]) -> Iterable[TaskRow]:
        return task_rows(db.executemany(_SQL[query], asked)) if asked else ()


def _why_refused(error: BaseException) -> RefusedBecause | None:
    """What an error before COMMIT was about; None: it is not the database's."""
    if isinstance(error, apsw.Error):
        return refused_before_commit(error)
    if isinstance(error, StoreDamaged):
        return "damaged"
    if isinstance(
        error, TypeError | ValueError | OverflowError
    ):  # from the driver: an int of 65 bits, half a surrogate
        return "value"
    return None


def _check_found(query: str, wanted: int, found: int) -> None:
    if found != wanted:
        raise CommitRefused("constraint", f"{query}: for {wanted - found} of {wanted} there is no such task")
