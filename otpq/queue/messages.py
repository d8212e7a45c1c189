"""What the actors of a node and the queue server say to each other, beside the core's own events and effects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otpq.core.events import Heartbeat, SessionOpened
    from otpq.otp import Pid
    from otpq.queue.looking import Inquiry

__all__ = [
    "Asked",
    "Beat",
    "Beaten",
    "EndedTasks",
    "OpenPool",
    "PoolAnswer",
    "PoolFacts",
    "PoolOrder",
    "ReaderUp",
    "Reload",
    "RunEnd",
    "RunsEnded",
    "Scale",
]


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


@dataclass(frozen=True, slots=True)
class Scale:
    """Have so many workers, from now on."""

    workers: int


@dataclass(frozen=True, slots=True)
class Reload:
    """Replace each child by one that loads the app anew; the old ones end what they run."""


@dataclass(frozen=True, slots=True)
class PoolOrder:
    """What an operator wants of a pool; answered by a `PoolAnswer` of the same number, a reload when it is done."""

    number: int
    order: Scale | Reload


@dataclass(frozen=True, slots=True)
class PoolAnswer:
    """What became of a `PoolOrder`."""

    number: int
    session: str
    facts: dict[str, Any]
    """`pool`, and `error` (why it was not done) or what was done: `workers` and `before`, or `replaced`."""


@dataclass(frozen=True, slots=True)
class ReaderUp:
    """The Reader is there: it answers each `Asked` with an `Answered`."""

    pid: Pid


@dataclass(frozen=True, slots=True)
class Asked:
    """The queue server's question `number`, for the Reader."""

    number: int
    inquiry: Inquiry


@dataclass(frozen=True, slots=True)
class EndedTasks:
    """Asks for one step of a walk over the ended tasks: an `EndedPage`, as `Reading.ended` gives it; None: not now."""

    before: Mapping[str, float]
    after: int | None
    scan: int


@dataclass(frozen=True, slots=True)
class Beat:
    """A sign of life of a pool, sent at `sent_ns` of `boottime_ns`; acknowledged by `Beaten`."""

    pid: Pid
    event: Heartbeat
    sent_ns: int


@dataclass(frozen=True, slots=True)
class Beaten:
    """The queue server has heard the `Beat` sent then: from then on the node's leases last one term."""

    sent_ns: int


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
