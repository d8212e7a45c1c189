"""How a row remembers its life, and how it is told: `note` on the way, `history_of` for those who look.

The columns of a row tell how it began and, once it has succeeded or failed, its last run. All other transitions are packed
into `TaskRow.history`, so the most frequent life (submitted, run once, succeeded) packs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgpack  # msgspec reads one value, not one after the other
import msgspec

from otpq.task import HistoryEntry, TaskState

if TYPE_CHECKING:
    from otpq.core.records import TaskRow

__all__ = ["CANCELLING", "error_line", "history_of", "keep_last_run", "note", "note_run", "retry_reason"]


ERROR_TEXT: Final = 160
"""Characters of an error's line."""

CANCELLING: Final = "cancelling"
"""The `reason` of a row whose task is to be cancelled as soon as the child lets go of it."""


class _Note(msgspec.Struct, omit_defaults=True, gc=False):
    """One packed transition. `ran` stays packed until somebody looks."""

    time: float
    source: str | None = msgspec.field(default=None, name="from")
    target: str = msgspec.field(default="", name="to")
    reason: str | None = None
    attempt: int = 0
    ran: bytes | None = None


_encode: Final = msgspec.msgpack.Encoder().encode


def note(row: TaskRow, time: float, source: str, target: str, reason: str | None = None) -> None:
    """Pack one transition of `row` into its history."""
    row.history += _encode(_Note(time, source, target, reason, row.attempt))


def note_run(row: TaskRow, finished: float, target: str, reason: str | None, attempt: int) -> None:
    """Pack the latest run of `row`, as its columns tell it, and what it led to."""
    if row.started is not None:
        row.history += _encode(_Note(row.started, TaskState.QUEUED.value, "running", None, attempt, row.ran))
    row.history += _encode(_Note(finished, "running", target, reason, attempt, row.ran))


def keep_last_run(row: TaskRow) -> None:
    """Pack what only the columns tell so far, before they are used anew (an operator's retry)."""
    for one in _last_run(row):
        row.history += _encode(one)


def history_of(row: TaskRow) -> tuple[HistoryEntry, ...]:
    """All transitions of `row` that are known, oldest first. The first has no `source`."""
    notes = [*_packed(row.history), *_last_run(row)]
    first = notes[0].source if notes else row.state
    return tuple(_entry(one) for one in [_Note(row.created, None, first or row.state), *notes])


def retry_reason(row: TaskRow) -> str | None:
    """Why a task was last to run again; None: it never was. It may be queued already, in the same step."""
    reasons = [one.reason for one in _packed(row.history) if one.target == TaskState.RETRYING]
    return reasons[-1] if reasons else None


def error_line(packed: bytes) -> str:
    """What a packed error says, in a line: 'ValueError: no such file'. Made fit for a terminal: handlers raise what they like."""
    kind, message = (str(part) for part in [*msgspec.msgpack.decode(packed)[:2], ""][:2])
    first = message.strip().partition("\n")[0]
    text = f"{kind}: {first}" if first else kind
    shown = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text[:ERROR_TEXT])
    return f"{shown}..." if len(text) > ERROR_TEXT else shown


def _last_run(row: TaskRow) -> list[_Note]:
    if row.state not in {TaskState.SUCCEEDED, TaskState.FAILED} or row.finished is None:
        return []
    end = _Note(row.finished, "running", row.state, row.reason, row.attempt, row.ran)
    if row.started is None:
        return [end]
    return [_Note(row.started, TaskState.QUEUED.value, "running", None, row.attempt, row.ran), end]


def _packed(history: bytes) -> list[_Note]:
    unpacker = msgpack.Unpacker()
    unpacker.feed(history)
    return [msgspec.convert(one, _Note) for one in unpacker]


def _entry(one: _Note) -> HistoryEntry:
    node, incarnation, worker, pid = msgspec.msgpack.decode(one.ran) if one.ran else (None, None, None, None)
    return HistoryEntry(
        time=one.time,
        source=None if one.source is None else TaskState(one.source),
        target=TaskState(one.target),
        reason=one.reason,
        attempt=one.attempt,
        node=node,
        incarnation=incarnation,
        worker=worker,
        pid=pid,
    )
