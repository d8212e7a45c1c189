"""Hooks: tasks that follow what became of a task, made in the very commit that tells it.

A handler that has hooks declares beside itself handlers of the names `NAME:on_success`, `NAME:on_retry`, `NAME:on_failure`. A
hook is a task like any other, so it runs at least once and is retried as it declares; but it has no hooks itself. It is made
even where its queue is full: what happened has happened.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final

import msgspec

from otpq.core.records import TaskRow
from otpq.core.state import QUEUED

if TYPE_CHECKING:
    from otpq.core.state import State

__all__ = ["follow", "put_hooks"]

_COLUMNS: Final = (
    "id",
    "name",
    "payload",
    "queue",
    "partition",
    "priority",
    "tags",
    "title",
    "state",
    "reason",
    "attempt",
    "created",
    "due",
    "started",
    "finished",
    "parent",
    "error",
    "result",
)
"""What a hook is told of the task, in a map."""

_NIL: Final = b"\xc0"

_encode: Final = msgspec.msgpack.Encoder().encode


def follow(state: State, row: TaskRow, kind: str, value: bytes | None, reason: str | None = None) -> None:
    """Have a hook of this kind, if the task's handler has one, follow when the event has been taken in.

    Args:
        state: The core's.
        row: What became of its run is in its columns, or will be by then.
        kind: on_success, on_retry or on_failure.
        value: The packed result, or error.
        reason: Why the run failed; the row of a task that is to run again does not say.
    """
    hook = state.handlers[row.name].hooks.get(kind)
    if hook is not None:
        state.ledger.hooked.append((row, hook, value, reason))


def put_hooks(state: State, lease: int) -> None:
    """Queue the hooks of what this event ended.

    Args:
        state: The core's.
        lease: The one under which it ended. No task ends twice under one, so the hook's id follows from it.
    """
    ledger = state.ledger
    hooked, ledger.hooked = ledger.hooked, []
    first = state.next_seq
    for row, name, value, reason in hooked:
        facts = {column: getattr(row, column) for column in _COLUMNS} | {"reason": reason}
        payload = _encode([[_encode(facts), _NIL if value is None else value], {}])
        hook = _hook(state, row, name, payload, lease)
        state.next_seq += 1
        ledger.inserts.append(hook)
        ledger.fresh[hook.id] = hook
        ledger.count(hook.queue, QUEUED, 1)
        state.lanes.put(hook)
    state.story.tell(state.now.wall, "hooked", range(first, state.next_seq), f"lease {lease}")


def _hook(state: State, row: TaskRow, name: str, payload: bytes, lease: int) -> TaskRow:
    wall = state.now.wall
    return TaskRow(
        seq=state.next_seq,
        id=_id(row.id, name, lease),
        name=name,
        queue=row.queue,
        partition=row.partition,
        priority=row.priority,
        state=QUEUED,
        due=wall,
        expires=None,
        created=wall,
        updated=wall,
        options=b"",
        payload=payload,
        parent=row.id,
    )


def _id(task: bytes, name: str, lease: int) -> bytes:
    """An id that is the same whenever it is worked out; it begins like the task's, so the store keeps both near each other."""
    return task[:6] + blake2b(b"%b:%d:%b" % (task, lease, name.encode()), digest_size=10).digest()
