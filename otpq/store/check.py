"""`check`: is this store what it should be? Reads everything, changes nothing, and may run beside a node.

Each check is a generator of problems over one connection; all see the same moment.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import apsw
import msgpack  # msgspec cannot look at a value without making it
import msgspec

from otpq.core.schedule import check_packed as check_schedule
from otpq.errors import StoreError
from otpq.store.history import decode_history
from otpq.store.sqlite_errors import translated
from otpq.store.sqlite_place import FilePlace
from otpq.store.sqlite_schema import MIGRATIONS, migrate, schema_of, version_of
from otpq.task import ENDED, Options, TaskState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["Problem", "check"]

_MANY: Final = 20
"""Problems told of one kind: the twenty-first says no more than the twentieth."""

_ENDED: Final = ", ".join(f"'{state}'" for state in sorted(ENDED))

_Line: TypeAlias = tuple[int, float, str, str, str, dict[str, Any] | None]
"""Number, time, stream, level, text, fields."""


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong, worded for a human."""

    kind: str
    """The check that found it: `unreadable`, `file`, `schema`, `states`, `lanes`, `seqs`, `unique`, `counts`, `leases`, `payloads`,
    `logs`, `workflows`, `blobs` or `schedules`."""
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


def check(path: Path) -> list[Problem]:
    """What is wrong with the store at `path`, gravest first; an empty list means that all is well.

    At most 20 problems of each kind are told. Takes about 5 s for a million tasks.
    """
    try:
        db = FilePlace(path.absolute()).connect_reading()
    except StoreError as error:
        return [Problem("unreadable", str(error))]
    try:
        with translated(str(path)):
            db.execute("BEGIN")  # all checks see one moment, also while a node is at work
            return list(_problems(db))
    except StoreError as error:
        return [Problem("unreadable", str(error))]
    finally:
        db.close()


def _problems(db: apsw.Connection) -> Iterator[Problem]:
    damage = [Problem("file", text) for text in islice(_file(db), _MANY)]
    yield from damage
    schema = [Problem("schema", text) for text in _schema(db)]
    yield from schema
    if schema or damage:
        return  # the answers to the other questions would be guesses
    for kind, find in _CHECKS.items():
        texts = find(db)
        yield from (Problem(kind, text) for text in islice(texts, _MANY))
        if next(texts, None) is not None:
            yield Problem(kind, f"there are more than {_MANY} problems of this kind; these were the first")


def _file(db: apsw.Connection) -> Iterator[str]:
    for (text,) in db.execute("PRAGMA integrity_check"):
        if text != "ok":
            yield f"SQLite finds damage: {text}"


def _schema(db: apsw.Connection) -> Iterator[str]:
    version, known = version_of(db), len(MIGRATIONS)
    if version > known:
        yield f"its version is {version}, and this otpq knows none above {known}: use the otpq that wrote it"
        return
    if version < known:
        yield f"its version is {version or 'missing'}; a node of this otpq would bring it to {known} first"
        return
    fresh = apsw.Connection(":memory:")
    migrate(fresh, "memory:")
    wanted, found = schema_of(fresh), schema_of(db)
    for name in sorted(wanted.keys() | found.keys()):
        if name not in found:
            yield f"{name} is missing"
        elif name not in wanted:
            yield f"{name} is not otpq's; somebody added it"
        elif found[name] != wanted[name]:
            yield f"{name} is defined otherwise than this otpq defines it"
    if db.execute("SELECT count(*) FROM store").get != 1:
        yield "the table 'store' does not have its one row"


def _states(db: apsw.Connection) -> Iterator[str]:
    valid = sorted(set(TaskState) - {TaskState.RUNNING})
    marks = ", ".join("?" * len(valid))
    for seq, state in db.execute(f"SELECT seq, state FROM tasks WHERE state NOT IN ({marks})", valid):  # noqa: S608 - question marks
        yield f"task {seq} has the state {state!r}, which no row can have"
    for seq, state in db.execute(f"SELECT seq, state FROM tasks WHERE state IN ({_ENDED}) AND finished IS NULL"):  # noqa: S608 - our words
        yield f"task {seq} is {state} but does not say when it finished"


def _lanes(db: apsw.Connection) -> Iterator[str]:
    for seq, lane in db.execute("SELECT seq, lane FROM tasks WHERE lane NOT IN (SELECT lane FROM lanes)"):
        yield f"task {seq} stands in lane {lane}, which does not exist: no list shows it, and it never runs"


def _seqs(db: apsw.Connection) -> Iterator[str]:
    for seq, next_seq in db.execute("SELECT seq, next_seq FROM tasks, store WHERE seq >= next_seq"):
        yield f"task {seq} has a number that was never given: the next would be {next_seq}, and would be given twice"
    for lease, next_lease in db.execute("SELECT lease, next_lease FROM leases, store WHERE lease >= next_lease"):
        yield f"lease {lease} has a number that was never given: the next would be {next_lease}"
    for lease, granted, epoch in db.execute(
        "SELECT lease, l.epoch, s.epoch FROM leases l, store s WHERE l.epoch > s.epoch"
    ):
        yield f"lease {lease} was granted in epoch {granted}, and the store is in epoch {epoch}"


def _unique(db: apsw.Connection) -> Iterator[str]:
    # Beside integrity_check, which compares the indexes with the rows: this one asks the rows alone (hence the plus).
    for column in ("id", "key"):
        query = f"SELECT {column}, min(seq), max(seq) FROM tasks WHERE {column} IS NOT NULL GROUP BY +{column} HAVING count(*) > 1"  # noqa: S608 - our words
        for value, first, last in db.execute(query):
            yield f"tasks {first} and {last} have the same {column}, {value.hex() if isinstance(value, bytes) else value!r}"


def _counts(db: apsw.Connection) -> Iterator[str]:
    kept = {(queue, state): tasks for queue, state, tasks in db.execute("SELECT queue, state, tasks FROM counts")}
    rows = {
        (queue, state): n
        for queue, state, n in db.execute(
            "SELECT queue, state, count(*) FROM tasks JOIN lanes USING (lane) GROUP BY 1, 2"
        )
    }
    for queue, state in sorted(kept.keys() | rows.keys()):
        says, has = kept.get((queue, state), 0), rows.get((queue, state), 0)
        if says != has:
            yield f"queue {queue!r} is said to have {says} {state} tasks, and has {has}"


def _leases(db: apsw.Connection) -> Iterator[str]:
    leased: dict[int, int] = {}
    for lease, open_ids in db.execute("SELECT lease, open FROM leases ORDER BY lease"):
        try:
            seqs = msgspec.msgpack.decode(open_ids, type=list[int])
        except msgspec.MsgspecError as error:
            yield f"lease {lease}: its open tasks cannot be read: {error}"
            continue
        if not seqs:
            yield f"lease {lease} has no open tasks; it should be gone"
        for seq in seqs:
            if seq in leased:
                yield f"task {seq} is open in lease {leased[seq]} and in lease {lease}: it may run twice"
            leased.setdefault(seq, lease)
            state = db.execute("SELECT state FROM tasks WHERE seq = ?", (seq,)).get
            if state is None:
                yield f"lease {lease} has task {seq} open, which does not exist"
            elif state != TaskState.QUEUED:
                yield f"lease {lease} has task {seq} open, which is {state}"


def _payloads(db: apsw.Connection) -> Iterator[str]:
    for (seq,) in db.execute("SELECT seq FROM tasks WHERE payload IS NULL AND seq NOT IN (SELECT seq FROM payloads)"):
        yield f"task {seq} has lost its arguments"
    for (seq,) in db.execute("SELECT seq FROM payloads WHERE seq NOT IN (SELECT seq FROM tasks WHERE payload IS NULL)"):
        yield f"the arguments of task {seq} are kept although nothing refers to them"


def _logs(db: apsw.Connection) -> Iterator[str]:
    for (seq,) in db.execute("SELECT DISTINCT seq FROM logs WHERE seq NOT IN (SELECT seq FROM tasks)"):
        yield f"the log of task {seq} is kept although there is no such task"
    decode = msgspec.msgpack.Decoder(list[_Line]).decode
    for seq, lease, first, last, lines in db.execute("SELECT seq, lease, first, last, lines FROM logs"):
        where = f"task {seq}: lines {first} to {last} of its run in lease {lease}"
        try:
            numbers = [line[0] for line in decode(lines)]
        except msgspec.MsgspecError as error:
            yield f"{where} cannot be read: {error}"
            continue
        if [first - 1, *numbers, last + 1] != sorted({first - 1, *numbers, last + 1}):
            yield f"{where} are others, or in another order"


def _workflows(db: apsw.Connection) -> Iterator[str]:
    for seq, number in db.execute(
        "SELECT seq, workflow FROM tasks WHERE workflow IS NOT NULL AND workflow NOT IN (SELECT number FROM workflows)"
    ):
        yield f"task {seq} is a member of workflow {number}, which does not exist: nothing follows from its end"
    for (seq,) in db.execute("SELECT seq FROM links WHERE seq NOT IN (SELECT seq FROM tasks)"):
        yield f"what task {seq} waits for is kept although there is no such task"
    members = f"""
        SELECT number, total, kept, ended, failed, count(seq), coalesce(sum(state IN ({_ENDED})), 0),
            coalesce(sum(state IN ({_ENDED}) AND state <> 'succeeded'), 0)
        FROM workflows LEFT JOIN tasks ON tasks.seq BETWEEN number AND number + total - 1 GROUP BY number
    """  # noqa: S608 - our words
    for number, total, kept, ended, failed, rows, over, bad in db.execute(members):
        gone = total - kept
        if rows != kept:
            yield f"workflow {number} is said to have {kept} members left, and has {rows}"
        elif not (over == ended - gone and 0 <= failed - bad <= gone):
            yield f"workflow {number} is said to have {ended} ended members, {failed} of them without success; there are {over} and {bad}"
    yield from _waits(db)


def _waits(db: apsw.Connection) -> Iterator[str]:
    """Members that wait for more or fewer than have not ended of those that stand before them."""
    decode = msgspec.msgpack.Decoder(list[int]).decode
    for seq, number, waits, due, state, after, sweep in db.execute(
        "SELECT seq, workflow, waits, due, state, after, sweep FROM tasks JOIN links USING (seq) "
        "JOIN workflows ON number = workflow"
    ):
        try:
            seqs = [number + place for place in decode(after)]
        except msgspec.MsgspecError as error:
            yield f"task {seq}: what it waits for cannot be read: {error}"
            continue
        before = list(db.executemany("SELECT state, told FROM tasks WHERE seq = ?", [(one,) for one in seqs]))
        left = sum(of != TaskState.SUCCEEDED and not told for of, told in before)
        if len(before) == len(seqs) and waits != left:
            yield f"task {seq} is said to wait for {waits} others, and {left} have not ended"
        elif state == TaskState.PENDING and (due == float("inf")) != bool(waits) and sweep is None:
            yield f"task {seq} waits for {waits} others, and is due at {due}"


def _blobs(db: apsw.Connection) -> Iterator[str]:
    decoders: dict[str, Callable[[bytes], object]] = {
        "history": decode_history,
        "options": Options.unpack,
        "error": msgspec.msgpack.Decoder(list[object]).decode,
        "ran": msgspec.msgpack.Decoder(list[object]).decode,
        "progress": msgspec.msgpack.Decoder(tuple[float, str]).decode,
        "checkpoint": _whole,
    }
    columns = ", ".join(decoders)
    for seq, *blobs in db.execute(f"SELECT seq, {columns} FROM tasks"):  # noqa: S608 - our words
        for (column, decode), blob in zip(decoders.items(), blobs, strict=True):
            if blob is not None:
                try:
                    decode(blob)
                except ValueError as error:  # msgspec's errors are among them
                    yield f"task {seq}: its {column} cannot be read: {error}"


def _schedules(db: apsw.Connection) -> Iterator[str]:
    slots = msgspec.msgpack.Decoder(list[float]).decode
    for name, definition, upcoming, last, task, runs, waiting in db.execute(
        "SELECT name, definition, next, last, task, runs, waiting FROM schedules"
    ):
        try:
            check_schedule(name, definition)
            waits = slots(waiting) if waiting else []
        except ValueError as error:  # msgspec's errors are among them, and those of the check
            yield f"schedule {name!r} cannot be read: {error}"
            continue
        if upcoming is not None and last is not None and upcoming <= last:
            yield f"schedule {name!r} has fired its slot {last} and would fire {upcoming} after it"
        if waits and task is None:
            yield f"schedule {name!r} has slots that wait for a task, and has made none"
        if (last is None) != (task is None) or (last is None) != (runs == 0):
            yield f"schedule {name!r} says that it ran {runs} times, last at {last}, and made {task and task.hex()}"


def _whole(blob: bytes) -> None:
    """Return if this is one MessagePack value of whatever kind: what is in it is the handler's."""
    unpacker = msgpack.Unpacker()
    unpacker.feed(blob)
    try:
        unpacker.skip()
    except msgpack.UnpackException as error:
        raise ValueError("it is no whole MessagePack value") from error
    if unpacker.tell() != len(blob):
        raise ValueError("more than one MessagePack value")


_CHECKS: Final[dict[str, Callable[[apsw.Connection], Iterator[str]]]] = {
    "states": _states,
    "lanes": _lanes,
    "seqs": _seqs,
    "unique": _unique,
    "counts": _counts,
    "leases": _leases,
    "payloads": _payloads,
    "logs": _logs,
    "workflows": _workflows,
    "blobs": _blobs,
    "schedules": _schedules,
}
