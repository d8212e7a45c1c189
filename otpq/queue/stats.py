"""Statistics for eyes and dashboards, from what is counted anyway. Pure functions, and one value that remembers.

Nothing here is estimated: where a number is not known, it is not told, or is 0 as of now.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from otpq.queue.measures import NOTHING
from otpq.task import DEFAULTS, TaskState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = ["Workers", "handler_stats", "queue_stats", "worker_stats"]

Facts = dict[str, Any]

OFFLINE_AFTER: Final = 5.0
"""Seconds without a child after which a worker counts as offline."""


def queue_stats(
    counts: Mapping[str, Mapping[TaskState, int]],
    handlers: Iterable[Facts],
    measured: Mapping[str, Facts],
    blocked: Mapping[str, int],
) -> dict[str, Facts]:
    """How each queue stands.

    Args:
        counts: Tasks by queue and state.
        handlers: As `QueueCore.handlers` tells of them.
        measured: As `Measures.queues` tells.
        blocked: How many tasks of each queue wait for others of their workflows.

    Returns:
        By queue: `pending`, which is `delayed` (due later) and `blocked` (waits for others); `queued`, `running`, `retrying`;
        `slots_in_use` and `slots_available`, those of the handlers with a limit that declare this queue as theirs, None if
        there is no such handler; and what is measured.
    """
    slots: dict[str, list[tuple[int, int]]] = {}
    for handler in handlers:
        if handler["limit"] is not None:
            queue = handler["options"].get("queue", DEFAULTS.queue)
            slots.setdefault(queue, []).append((handler["used"], handler["limit"]))
    nothing = dict.fromkeys(TaskState, 0)
    return {
        queue: {
            **_queue(counts.get(queue, nothing), slots.get(queue), blocked.get(queue, 0)),
            **measured.get(queue, NOTHING),
        }
        for queue in sorted({*counts, *measured})
    }


def handler_stats(handlers: Iterable[Facts], measured: Mapping[str, Facts]) -> dict[str, Facts]:
    """How each handler does.

    Args:
        handlers: As `QueueCore.handlers` tells of them.
        measured: As `Measures.handlers` tells.

    Returns:
        By handler, of those that have had runs or tasks: since the queue server's start `runs`, `succeeded`, `failed`, `retried`,
        `mean` and `max`; `limit` (None: there is none) and `used` slots; and what is measured.
    """
    known = {of["handler"]: of for of in handlers}
    return {
        name: {
            **{key: known[name][key] if name in known else None for key in _OF_HANDLER},
            **measured.get(name, NOTHING),
        }
        for name in sorted({*measured, *(name for name, of in known.items() if of["runs"])})
    }


_OF_HANDLER: Final = ("runs", "succeeded", "failed", "retried", "mean", "max", "limit", "used")


def _queue(of: Mapping[TaskState, int], slots: Sequence[tuple[int, int]] | None, blocked: int) -> Facts:
    pending = max(of[TaskState.PENDING], blocked)  # one is counted a moment later than the other
    return {
        "pending": pending,
        "delayed": pending - blocked,
        "blocked": blocked,
        "queued": of[TaskState.QUEUED],
        "running": of[TaskState.RUNNING],
        "retrying": of[TaskState.RETRYING],
        "slots_in_use": None if slots is None else sum(used for used, _ in slots),
        "slots_available": None if slots is None else sum(max(0, limit - used) for used, limit in slots),
    }


def worker_stats(workers: Sequence[Facts]) -> Facts:
    """How the workers stand, each one, by pool and by node.

    Args:
        workers: As `Workers.rows` gives them.

    Returns:
        `workers`, `pools` and `nodes`, lists of maps with `done` (runs that were answered), of them `failed` and `retried`,
        `mean` and `max` (seconds a run); of pools and nodes also how many workers are `active`, `idle`, `starting` and `offline`.
    """
    return {
        "workers": [
            {**{key: row.get(key) for key in ("node", "pool", "worker", "state")}, **_runs([row])} for row in workers
        ],
        "pools": _grouped(workers, ("node", "pool")),
        "nodes": _grouped(workers, ("node",)),
    }


def _grouped(workers: Iterable[Facts], keys: tuple[str, ...]) -> list[Facts]:
    groups: dict[tuple[Any, ...], list[Facts]] = {}
    for row in workers:
        groups.setdefault(tuple(row.get(key) for key in keys), []).append(row)
    return [
        {
            **dict(zip(keys, group, strict=True)),
            **{
                state: sum(row["state"] == state for row in rows) for state in ("active", "idle", "starting", "offline")
            },
            **_runs(rows),
        }
        for group, rows in groups.items()
    ]


def _runs(rows: Sequence[Facts]) -> Facts:
    done = _sum(rows, "done")
    seconds = sum(row.get("done", 0) * row.get("mean", 0.0) for row in rows)
    return {
        "done": done,
        "failed": _sum(rows, "failed"),
        "retried": _sum(rows, "retried"),
        "mean": seconds / done if done else 0.0,
        "max": max((row.get("max", 0.0) for row in rows), default=0.0),
    }


def _sum(rows: Iterable[Facts], key: str) -> int:
    return sum(row.get(key, 0) for row in rows)


@dataclass(slots=True)
class _Told:
    at: float
    node: str | None
    rows: list[Facts]


@dataclass(slots=True)
class Workers:
    """What the pools tell of their workers, and since when each has had no child."""

    clock: Callable[[], float]
    """Seconds, by a clock that never goes back."""
    _told: dict[str, _Told] = field(default_factory=dict)
    _childless: dict[tuple[str, Any], float] = field(default_factory=dict)
    _offline: set[tuple[str, Any]] = field(default_factory=set)
    """Those of which `newly_offline` has told."""

    def told(self, session: str, node: str | None, rows: list[Facts]) -> None:
        """A pool tells of its workers, all of them."""
        now = self.clock()
        self._told[session] = _Told(now, node, rows)
        bare = {(session, row.get("worker")) for row in rows if row.get("child") is None}
        others = {key: at for key, at in self._childless.items() if key[0] != session}
        self._childless = {**others, **{key: self._childless.get(key, now) for key in bare}}

    def gone(self, session: str) -> list[Facts]:
        """What a pool told is true no longer; its workers, those alone that were not offline before."""
        told = self._told.pop(session, None)
        rows = [] if told is None else [{**row, "node": told.node} for row in told.rows]
        left = [row for row in rows if (session, row.get("worker")) not in self._offline]
        self._childless = {key: at for key, at in self._childless.items() if key[0] != session}
        self._offline = {key for key in self._offline if key[0] != session}
        return left

    def newly_offline(self) -> list[Facts]:
        """The workers that have gone offline since the last call, with `node`."""
        late = self.clock() - OFFLINE_AFTER
        offline = {key for key, since in self._childless.items() if since <= late}
        new, self._offline = offline - self._offline, offline
        if not new:
            return []
        return [
            {**row, "node": told.node}
            for session, told in self._told.items()
            for row in told.rows
            if (session, row.get("worker")) in new
        ]

    def rows(self) -> list[Facts]:
        """One map a worker: what its pool told, `age` (seconds since then), `node` and `state`.

        States: active (a task runs), idle, starting (it has no child yet), offline (it has had none for 5 s).
        """
        now = self.clock()
        return [
            {**row, "node": told.node, "age": round(now - told.at, 3), "state": self._state(session, row, now)}
            for session, told in self._told.items()
            for row in told.rows
        ]

    def _state(self, session: str, row: Facts, now: float) -> str:
        since = self._childless.get((session, row.get("worker")))
        if since is None:
            return "idle" if row.get("task") is None else "active"
        return "starting" if now - since < OFFLINE_AFTER else "offline"
