"""What the actors of a node say to the queue server, beside the core's own events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from otpq.core.events import SessionOpened
    from otpq.otp import Pid

__all__ = ["OpenPool", "PoolFacts"]


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
