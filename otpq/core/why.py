"""Why a task does not run: a reason code, and the facts behind it. Never a guess."""

from __future__ import annotations

import math
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

from otpq.core.history import CANCELLING, error_line, retry_reason
from otpq.core.state import PENDING, QUEUED, RETRYING
from otpq.errors import nearest
from otpq.task import ENDED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from otpq.core.demand import Session
    from otpq.core.leases import Lease
    from otpq.core.records import TaskRow
    from otpq.core.state import State

__all__ = ["SHOWN", "Why", "why"]

SHOWN: Final = 10
"""Tasks, or pools, that a reason names at most; how many there are it tells beside them."""

Facts: TypeAlias = dict[str, Any]


class Why(msgspec.Struct, frozen=True):
    """A reason code with its facts."""

    code: str
    """blocked_by, not_due, paused, handler_limit, no_memory, no_worker, no_handler or assigned."""
    facts: Facts
    """Plain values. Tasks are named by their ids, in hexadecimal digits; pools by `node`, `pool` and `queues`."""


def why(state: State, row: TaskRow, wall: float) -> Why | None:
    """Why the task of `row`, as the store has it, is not at work at the time `wall`; None: it has ended.

    The first of these that is true: it is in somebody's lease, others of its workflow come first, it is not due, it is paused, no pool serves its queue, no
    such pool knows its handler, its handler is at its limit, it or the one before it does not fit into any node's memory now,
    all pools are busy (`no_worker` too, with the facts).
    """
    lease = state.leases.by_seq.get(row.seq)
    if lease is not None:
        return Why("assigned", _assigned(state, row, lease))
    if row.state in ENDED:
        return None
    if row.state == PENDING and row.due == math.inf:  # none is left only while its workflow is being cancelled
        return Why("blocked_by", {"waits": row.waits or 0})
    if row.state != QUEUED:
        return Why("not_due", _not_due(state, row, wall))
    return _held_up(state, row)


def _not_due(state: State, row: TaskRow, wall: float) -> Facts:
    """When it is due; of a task that is retrying also which run went wrong and how."""
    facts: Facts = {"due": row.due, "seconds": row.due - wall, "state": row.state}
    if row.state == RETRYING:
        runs = state.options(row).retries + 1
        error = None if row.error is None else error_line(row.error)
        facts |= {"attempt": row.attempt, "runs": runs, "reason": retry_reason(row), "error": error}
    return facts


def _held_up(state: State, row: TaskRow) -> Why:
    """What holds up a task that is queued and in no lease."""
    queue = state.lanes.queue(row.queue)
    handler = state.handlers[row.name]
    if queue.paused or handler.paused:
        settings = queue.settings if queue.paused else handler.settings
        facts: Facts = {"by": settings.by, "why": settings.why, "since": settings.since}
        return Why("paused", {**_paused(row, queue.paused, handler.paused), **facts})
    pools = [one for one in _open(state) if row.queue in one.queues]
    able = [pool for pool in pools if pool.handlers is None or row.name in pool.handlers]
    if pools and not able:
        return Why("no_handler", _no_handler(state, row, pools))
    if handler.limit is not None and handler.used >= handler.limit:
        leases = [lease for lease in state.leases.open.values() if row.name in lease.slots]
        facts = {"handler": row.name, "limit": handler.limit, "limit_from": handler.limit_from, "used": handler.used}
        return Why("handler_limit", facts | _holders(state, leases, lambda other: other.name == row.name))
    too_large = _too_large(state, row, able)
    if too_large is not None:
        return Why("no_memory", too_large)
    facts = {"queue": row.queue, "pools": len(pools), "demand": _demand(able), "waiting": queue.waiting}
    return Why("no_worker", {**facts, "there": _named(pools or _open(state))})


def _paused(row: TaskRow, is_queue: bool, is_handler: bool) -> Facts:  # noqa: FBT001 - the two that can be
    return {"queue": row.queue if is_queue else None, "handler": row.name if is_handler else None}


def _no_handler(state: State, row: TaskRow, pools: list[Session]) -> Facts:
    """That no pool of its queue has its handler: the nearest name that one has, and who has it in other queues."""
    names = {name for pool in pools for name in pool.handlers or ()}
    others = [pool for pool in _open(state) if row.name in (pool.handlers or ())]
    return {
        "handler": row.name,
        "queue": row.queue,
        "pools": len(pools),
        "there": _named(pools),
        "nearest": nearest(row.name, names),
        "elsewhere": _named(others),
    }


def _too_large(state: State, row: TaskRow, pools: list[Session]) -> Facts | None:
    """That no node has the memory that a task needs, or that the head of its lane waits for; as the largest node has it."""
    if not pools or any(pool.memory is None for pool in pools):
        return None
    lane = state.lanes.lanes.get((row.queue, row.name, row.partition, row.priority))
    heads = [lane.rows[0]] if lane is not None and lane.rows and lane.rows[0].seq != row.seq else []
    needs, before = state.memory(row), max(map(state.memory, heads), default=0.0)
    rooms = {
        (pool.memory or 0.0, (pool.memory or 0.0) - state.reservations.of(pool.node[0]), pool.node[0])
        for pool in pools
    }  # fmt: skip
    if any(needs <= free and not free < before <= capacity for capacity, free, _ in rooms):
        return None
    capacity, free, node = max(rooms)
    facts: Facts = {"needs": needs, "free": max(0.0, free), "capacity": capacity, "node": node}
    if needs <= free:
        facts |= {"needs": before, "behind": heads[0].id.hex()}
    leases = [lease for lease in state.leases.open.values() if lease.reserved and lease.node[0] == node]
    return facts | _holders(state, leases, lambda other: state.memory(other) > 0)


def _assigned(state: State, row: TaskRow, lease: Lease) -> Facts:
    """Who has it, and how many of its batch are to run before it."""
    session = state.sessions.get(lease.session)
    facts = {
        "node": lease.node[0],
        "incarnation": lease.node[1],
        "pool": None if session is None else session.pool,
        "session": lease.session,
        "lease": lease.id,
        "granted": lease.granted,
        "running": session is not None and row.seq in session.running,
        "alone": lease.alone,
        "cancelling": row.reason == CANCELLING,
    }
    if not facts["running"]:
        before = _before(lease, row.seq)
        facts |= {"position": len(before), "behind": before[-1].id.hex() if before else None}
    return facts


# ------------------------------------------------------------------------- naming


def _before(lease: Lease, seq: int) -> list[TaskRow]:
    """What is open of a batch in front of one of its tasks."""
    rows = list(lease.rows.values())
    return rows[: list(lease.rows).index(seq)]


def _holders(state: State, leases: list[Lease], is_one: Callable[[TaskRow], bool]) -> Facts:
    """`held_by`: which tasks of these leases hold what is missing, those that run first; `tasks`: how many there are."""
    running: set[int] = set().union(*(session.running for session in state.sessions.values()))
    seqs = [seq for lease in leases for seq, row in lease.rows.items() if is_one(row)]
    first = islice(_sorted(seqs, running), SHOWN)
    return {"held_by": [state.leases.by_seq[seq].rows[seq].id.hex() for seq in first], "tasks": len(seqs)}


def _sorted(seqs: list[int], running: set[int]) -> Iterator[int]:
    """Those that run, then the others."""
    yield from (seq for seq in seqs if seq in running)
    yield from (seq for seq in seqs if seq not in running)


def _open(state: State) -> list[Session]:
    """The sessions of nodes whose leases last."""
    return [one for one in state.sessions.values() if state.leases.is_trusted(one.node)]


def _named(pools: Iterable[Session]) -> list[Facts]:
    return [{"node": one.node[0], "pool": one.pool, "queues": list(one.queues)} for one in islice(pools, SHOWN)]


def _demand(pools: list[Session]) -> int:
    return sum(pool.open for pool in pools)
