"""What otpq raises. Every error names what was wrong and what would be right.

`OtpqError` is the root; below it the families stand by who can act: `UsageError` (the caller), `Unavailable` (wait, or look
at the cluster), `ProtocolError` (a peer broke the spec), `StoreError` (the disk or the database).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "BadOption",
    "InvalidTransition",
    "InvariantBroken",
    "OtpqError",
    "ProtocolError",
    "StoreError",
    "Unavailable",
    "UnknownOption",
    "UsageError",
    "did_you_mean",
    "nearest",
]


_SHOWN = 80
"""Characters of a wrong value that a message shows."""


class OtpqError(Exception):
    """The root of all errors of this package."""


class UsageError(OtpqError, ValueError):
    """What was asked cannot be right; the message says how to put it right."""


class Unavailable(OtpqError):
    """The request was right, but nobody could serve it now."""


class ProtocolError(OtpqError):
    """A peer broke the protocol."""


class StoreError(OtpqError):
    """The store refused or failed; the driver's own error is the `__cause__`."""


class BadOption(UsageError):
    """An option has a value that it cannot have.

    Attributes:
        option: Its name.
        value: The value given.
        allowed: What is allowed, in words.
    """

    def __init__(self, option: str, value: object, allowed: str) -> None:
        shown = repr(value)
        super().__init__(
            f"{option}={shown if len(shown) <= _SHOWN else f'{shown[:_SHOWN]}...'} is not allowed: {allowed}"
        )
        self.option = option
        self.value = value
        self.allowed = allowed


class UnknownOption(UsageError):
    """There is no option of this name."""

    def __init__(self, option: str, known: Iterable[str]) -> None:
        super().__init__(f"unknown option {option!r}{did_you_mean(option, known)}")
        self.option = option


class InvalidTransition(UsageError):
    """A task was to go from one state to another although `TRANSITIONS` has no such step.

    Attributes:
        seq: The task's number.
        source: The state it is in.
        target: The state it was to have.
        story: What the core remembers of the task, oldest first, a line each.
    """

    def __init__(self, seq: int, source: str, target: str, story: Sequence[str] = ()) -> None:
        lines = "".join(f"\n  {line}" for line in story)
        super().__init__(f"task {seq} cannot go from {source} to {target}{lines}")
        self.seq = seq
        self.source = source
        self.target = target
        self.story = tuple(story)


class InvariantBroken(OtpqError, AssertionError):
    """The core and its store contradict each other, or the core itself: a bug, or a damaged store."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown `word`: the nearest known one, or nothing."""
    near = nearest(word, known)
    return "" if near is None else f"; did you mean {near!r}?"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is most like another; None: none is near."""
    from difflib import get_close_matches

    near = get_close_matches(word, list(known), n=1)
    return near[0] if near else None
