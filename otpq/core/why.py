"""Why a task does not run: a reason code, and the facts behind it. Never a guess."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import msgspec

from otpq.core.state import QUEUED
from otpq.task import ENDED

if TYPE_CHECKING:
    from otpq.core.demand import Session
    from otpq.core.leases import Lease
    from otpq.core.records import TaskRow
    from otpq.core.state import State

__all__ = ["Why", "why"]

Fact: TypeAlias = "str | int | float | bool | None"


class Why(msgspec.Struct, frozen=True):
    """A reason code with its facts."""

    code: str
    """not_due, paused, handler_limit, no_memory, no_worker, no_handler or assigned."""
    facts: dict[str, Fact]


def why(state: State, row: TaskRow, wall: float) -> Why | None:
    """Why the task of `row`, as the store has it, is not at work at the time `wall`; None: it has ended.

    The first of these that is true: it is in somebody's lease, it is not due, it is paused, no pool serves its queue, no
    such pool knows its handler, its handler is at its limit, it or the one before it does not fit into any node's memory now,
    all pools are busy (`no_worker` too, with the facts).
    """
    lease = state.leases.by_seq.get(row.seq)
    if lease is not None:
        return _assigned(state, row, lease)
    if row.state in ENDED:
        return None
    if row.state != QUEUED:
        return Why("not_due", {"due": row.due, "seconds": row.due - wall, "state": row.state})
    return _held_up(state, row)


def _held_up(state: State, row: TaskRow) -> Why:
    """What holds up a task that is queued and in no lease."""
    queue = state.lanes.queue(row.queue)
    handler = state.handlers[row.name]
    if queue.paused or handler.paused:
        settings = queue.settings if queue.paused else handler.settings
        facts: dict[str, Fact] = {"by": settings.by, "why": settings.why, "since": settings.since}
        return Why("paused", {"queue": queue.paused, "handler": handler.paused, **facts})
    pools = [one for one in state.sessions.values() if row.queue in one.queues and state.leases.is_trusted(one.node)]
    able = [pool for pool in pools if pool.handlers is None or row.name in pool.handlers]
    if pools and not able:
        return Why("no_handler", {"handler": row.name, "pools": len(pools)})
    if handler.limit is not None and handler.used >= handler.limit:
        return Why("handler_limit", {"limit": handler.limit, "used": handler.used})
    too_large = _too_large(state, row, able)
    if too_large is not None:
        return too_large
    return Why("no_worker", {"pools": len(pools), "demand": _demand(able), "waiting": queue.waiting})


def _too_large(state: State, row: TaskRow, pools: list[Session]) -> Why | None:
    """That no node has the memory that a task needs, or that the head of its lane waits for; as the largest node has it."""
    if not pools or any(pool.memory is None for pool in pools):
        return None
    lane = state.lanes.lanes.get((row.queue, row.name, row.partition, row.priority))
    heads = [lane.rows[0]] if lane is not None and lane.rows and lane.rows[0].seq != row.seq else []
    needs, before = state.memory(row), max(map(state.memory, heads), default=0.0)
    rooms = {(pool.memory or 0.0, (pool.memory or 0.0) - state.reservations.of(pool.node[0])) for pool in pools}
    if any(needs <= free and not free < before <= capacity for capacity, free in rooms):
        return None
    capacity, free = max(rooms)
    facts: dict[str, Fact] = {"needs": needs, "free": max(0.0, free), "capacity": capacity}
    if needs <= free:
        facts |= {"needs": before, "behind": heads[0].id.hex()}
    return Why("no_memory", facts)


def _assigned(state: State, row: TaskRow, lease: Lease) -> Why:
    session = state.sessions.get(lease.session)
    return Why(
        "assigned",
        {
            "node": lease.node[0],
            "incarnation": lease.node[1],
            "session": lease.session,
            "lease": lease.id,
            "granted": lease.granted,
            "running": session is not None and row.seq in session.running,
            "alone": lease.alone,
        },
    )


def _demand(pools: list[Session]) -> int:
    return sum(pool.open for pool in pools)
