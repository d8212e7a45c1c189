"""Between rows of a table and values of the core. The view `task_rows` has the fields of `TaskRow`, in their order."""

from __future__ import annotations

from itertools import starmap
from typing import TYPE_CHECKING, Any, Final

import msgspec

from otpq.core.records import LeaseRow, Success, TaskRow, WorkflowRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from apsw import SQLiteValues

__all__ = ["INLINE", "Inserts", "lease_rows", "lease_values", "success_values", "task_rows", "workflow_rows"]

INLINE: Final = 2_000
"""Bytes of payload that lie in the task's own row. Above, finishing a task would write them again (measured: equal at
1,000, half the price at 2,000, a fortieth at 100,000)."""

_UNTOUCHED: Final = (0, 0, None, None, None, None, None, None, b"", None, None, None, None, None, False)
"""What the table itself gives a task to which nothing has happened."""

_encode: Final = msgspec.msgpack.Encoder().encode
_decode_seqs: Final = msgspec.msgpack.Decoder(tuple[int, ...]).decode


def task_rows(rows: Iterable[tuple[Any, ...]]) -> list[TaskRow]:
    """The tasks in rows of `task_rows`."""
    return list(starmap(TaskRow, rows))  # the table is STRICT: its types are those of the fields


class Inserts:
    """What to insert for `tasks`, which stand in `lanes`: the values of new ones, in one line; rows of others; payloads that lie apart."""

    __slots__ = ("new", "others", "payloads")

    def __init__(self, tasks: Sequence[TaskRow], lanes: Sequence[int]) -> None:
        self.new: list[Any] = []
        self.others: list[SQLiteValues] = []
        self.payloads: list[SQLiteValues] = []
        for task, lane in zip(tasks, lanes, strict=True):
            payload: bytes | None = task.payload
            if len(task.payload) > INLINE:
                self.payloads.append((task.seq, payload))
                payload = None
            head = (
                task.seq,
                task.id,
                task.state,
                lane,
                task.due,
                task.expires,
                task.created,
                task.updated,
                task.key,
                task.parent,
                task.tags,
                task.title,
                task.options,
                payload,
            )
            tail = (
                task.attempt,
                task.interruptions,
                task.started,
                task.finished,
                task.reason,
                task.ran,
                task.result,
                task.error,
                task.history,
                task.progress,
                task.checkpoint,
                task.workflow,
                task.member,
                task.waits,
                task.told,
            )
            if tail == _UNTOUCHED:
                self.new += head
            else:
                self.others.append(head + tail)


def lease_rows(rows: Iterable[tuple[Any, ...]]) -> list[LeaseRow]:
    """The leases in rows of `leases`.

    Raises:
        msgspec.DecodeError: A list of ids is not one.
    """
    return [
        LeaseRow(lease, node, incarnation, session, epoch, granted, _decode_seqs(seqs), bool(alone))
        for lease, node, incarnation, session, epoch, granted, seqs, alone in rows
    ]


def workflow_rows(rows: Iterable[tuple[Any, ...]]) -> list[WorkflowRow]:
    """The workflows in rows of `workflows`, whose columns are its fields, in their order."""
    return list(starmap(WorkflowRow, rows))


def lease_values(lease: LeaseRow) -> SQLiteValues:
    """The row of a lease."""
    return (
        lease.lease,
        lease.node,
        lease.incarnation,
        lease.session,
        lease.epoch,
        lease.granted,
        _encode(lease.open),
        lease.alone,
    )


def success_values(successes: Iterable[Success]) -> list[Any]:
    """The values of `successes`, in one line."""
    values: list[Any] = []
    for each in successes:
        values += (each.seq, each.updated, each.attempt, each.started, each.finished, each.result, each.ran)
    return values
