"""What the actors of a node and the queue server say to each other, beside the core's own events and effects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from otpq.core.events import SessionOpened
    from otpq.otp import Pid

__all__ = ["OpenPool", "PoolFacts", "RunEnd", "RunsEnded"]


@dataclass(frozen=True, slots=True)
class OpenPool:
    """A pool of this node asks for work; the core's effects for its session are cast to `pid`."""

    pid: Pid
    event: SessionOpened


@dataclass(frozen=True, slots=True)
class PoolFacts:
    """What a pool tells of its workers now and then, for whoever asks the queue server."""

    session: str
    workers: list[dict[str, Any]]
    """One a worker: `pool`, `worker`, `child` (the child's pid), `task`, `seconds`, `done`, `failed`, `restarts`,
    `error`, `failing`; `Pool.status` says what they are."""


class RunEnd(NamedTuple):
    """What an onlooker is told of a run that ended, or of a task that did without one. Cheap to make: one a task."""

    id: bytes
    name: str
    state: str
    """The task's, now: succeeded, failed, cancelled, expired or retrying."""
    attempt: int
    began: float | None
    """None if nothing ran, or nobody can tell when."""
    ended: float
    due: float
    """When a task that is retrying will run again."""
    reason: str | None
    error: bytes | None
    """MessagePack [type, message, traceback]."""
    ran: bytes | None
    """MessagePack [node, incarnation, worker, pid]."""


class RunsEnded(NamedTuple):
    """All that ended in one step of the queue server."""

    runs: list[RunEnd]
    missed: int
    """How many were not told before this, since the onlooker's mailbox was full."""
