"""Between rows of a table and values of the core. The view `task_rows` has the fields of `TaskRow`, in their order."""

from __future__ import annotations

from itertools import starmap
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec.structs import astuple

from otpq.core.records import LeaseRow, TaskRow

if TYPE_CHECKING:
    from collections.abc import Iterable

    from apsw import SQLiteValues

__all__ = ["INLINE", "insert_values", "lease_rows", "lease_values", "task_rows"]

INLINE: Final = 2_000
"""Bytes of payload that lie in the task's own row. Above, finishing a task would write them again (measured: equal at
1,000, half the price at 2,000, a fortieth at 100,000)."""

_encode: Final = msgspec.msgpack.Encoder().encode
_decode_seqs: Final = msgspec.msgpack.Decoder(tuple[int, ...]).decode


def task_rows(rows: Iterable[tuple[Any, ...]]) -> list[TaskRow]:
    """The tasks in rows of `task_rows`."""
    return list(starmap(TaskRow, rows))  # the table is STRICT: its types are those of the fields


def insert_values(tasks: list[TaskRow]) -> tuple[list[SQLiteValues], list[SQLiteValues]]:
    """What to insert for `tasks`: rows of tasks, and rows of the payloads that do not lie in them."""
    rows: list[SQLiteValues] = []
    payloads: list[SQLiteValues] = []
    for task in tasks:
        if len(task.payload) > INLINE:
            payloads.append((task.seq, task.payload))
            rows.append(astuple(msgspec.structs.replace(task, payload=None)))
        else:
            rows.append(astuple(task))
    return rows, payloads


def lease_rows(rows: Iterable[tuple[Any, ...]]) -> list[LeaseRow]:
    """The leases in rows of `leases`.

    Raises:
        msgspec.DecodeError: A list of ids is not one.
    """
    return [
        LeaseRow(lease, node, incarnation, session, epoch, granted, _decode_seqs(seqs), bool(alone))
        for lease, node, incarnation, session, epoch, granted, seqs, alone in rows
    ]


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
