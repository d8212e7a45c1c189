"""What the client's core takes and what it wants done. Values; `core.py` has the rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

    import msgspec

    from otpq.wire.messages import Failed, FromClient, NewTask, Outcome, Refusal, Rejected, Welcome

__all__ = [
    "Acknowledged",
    "Answer",
    "Answered",
    "Connected",
    "Effect",
    "Ended",
    "Fetched",
    "NotAnswered",
    "NotMade",
    "Redial",
    "Send",
    "Submission",
    "Turned",
]


@dataclass(slots=True, eq=False)  # compared by identity: it is also the name of the caller who waits for it
class Submission:
    """Tasks to be made as a whole or not at all, and who wants to hear of it."""

    tasks: Sequence[NewTask]
    slots: Sequence[Any] | None
    """For each task the place where its outcome goes; None if nobody wants to know."""
    size: int
    """Bytes that it takes in a message, about."""
    ticket: Any = None
    """Who waits for the acknowledgement."""
    since: float = 0.0
    """When the core got it; set by the core."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send this message to the server, after those before it."""

    message: FromClient


@dataclass(frozen=True, slots=True)
class Connected:
    """The session stands (again): what could not be sent is on its way."""

    welcome: Welcome


@dataclass(frozen=True, slots=True)
class Turned:
    """The server turned us away for good; nothing will be answered."""

    rejected: Rejected


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The tasks of `submission` are durable; comes once for each, or else `NotMade` does."""

    submission: Submission
    ids: Sequence[bytes]
    """One a task; of a duplicate, that of the task which was there before."""
    warnings: Sequence[Refusal] = ()


@dataclass(frozen=True, slots=True)
class NotMade:
    """None of the tasks of `submission` was made."""

    submission: Submission
    refusal: Refusal
    """Its index counts within the submission."""


@dataclass(frozen=True, slots=True)
class Ended:
    """Outcomes, each for a slot that waits for it; a slot gets one only."""

    outcomes: Sequence[tuple[Any, Outcome]]


@dataclass(frozen=True, slots=True)
class Answered:
    """The body that a query was answered with."""

    ticket: Any
    body: msgspec.Raw


@dataclass(frozen=True, slots=True)
class Fetched:
    """A packed result that was asked for."""

    ticket: Any
    result: bytes


@dataclass(frozen=True, slots=True)
class NotAnswered:
    """A query or a fetch failed."""

    ticket: Any
    failed: Failed


@dataclass(frozen=True, slots=True)
class Redial:
    """The server says nothing although it should: close the connection and dial again."""

    silent_for: float


Answer: TypeAlias = Acknowledged | NotMade | Ended | Answered | Fetched | NotAnswered
"""What somebody waits for."""
Effect: TypeAlias = Send | Connected | Turned | Redial | Answer
