"""What the client's core takes and what it wants done. Values; `core.py` has the rules.

Structs, though none of them travels: to make the class of a frozen dataclass takes a millisecond of every program's start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

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


class Submission(msgspec.Struct, eq=False):  # compared by identity: it is also the name of the caller who waits for it
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


class Send(msgspec.Struct, frozen=True):
    """Send this message to the server, after those before it."""

    message: FromClient


class Connected(msgspec.Struct, frozen=True):
    """The session stands (again): what could not be sent is on its way."""

    welcome: Welcome


class Turned(msgspec.Struct, frozen=True):
    """The server turned us away for good; nothing will be answered."""

    rejected: Rejected


class Acknowledged(msgspec.Struct, frozen=True):
    """The tasks of `submission` are durable; comes once for each, or else `NotMade` does."""

    submission: Submission
    ids: Sequence[bytes]
    """One a task; of a duplicate, that of the task which was there before."""
    warnings: Sequence[Refusal] = ()


class NotMade(msgspec.Struct, frozen=True):
    """None of the tasks of `submission` was made."""

    submission: Submission
    refusal: Refusal
    """Its index counts within the submission."""


class Ended(msgspec.Struct, frozen=True):
    """Outcomes, each for a slot that waits for it; a slot gets one only."""

    outcomes: Sequence[tuple[Any, Outcome]]


class Answered(msgspec.Struct, frozen=True):
    """The body that a query was answered with."""

    ticket: Any
    body: msgspec.Raw


class Fetched(msgspec.Struct, frozen=True):
    """A packed result that was asked for."""

    ticket: Any
    result: bytes


class NotAnswered(msgspec.Struct, frozen=True):
    """A query or a fetch failed."""

    ticket: Any
    failed: Failed


class Redial(msgspec.Struct, frozen=True):
    """The server says nothing although it should: close the connection and dial again."""

    silent_for: float


Answer: TypeAlias = Acknowledged | NotMade | Ended | Answered | Fetched | NotAnswered
"""What somebody waits for."""
Effect: TypeAlias = Send | Connected | Turned | Redial | Answer
