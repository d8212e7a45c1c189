"""Pauses of queues and handlers, as they are kept: with who wished it, why, and since when."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, TypeVar

import msgspec

if TYPE_CHECKING:
    from otpq.core.events import Pause

__all__ = ["Pausable", "paused", "told_to"]

Facts: TypeAlias = dict[str, str | float | bool | None]


class Pausable(msgspec.Struct, frozen=True, omit_defaults=True):
    """What operators set, durably, of something that can be held back."""

    paused: bool = False
    by: str = ""
    """Who paused it; here and below, while it is paused."""
    why: str = ""
    since: float | None = None
    """Seconds since the epoch."""


P = TypeVar("P", bound=Pausable)


def told_to(settings: P, event: Pause, wall: float) -> P:
    """The settings after somebody has paused or released it. To pause what is paused counts anew, but for the time."""
    if not event.paused:
        return msgspec.structs.replace(settings, paused=False, by="", why="", since=None)
    since = settings.since if settings.paused and settings.since is not None else wall
    return msgspec.structs.replace(settings, paused=True, by=event.by, why=event.why, since=since)


def paused(settings: Pausable) -> Facts:
    """`paused`; and where it is, `by`, `why` and `since`."""
    if not settings.paused:
        return {"paused": False}
    return {"paused": True, "by": settings.by, "why": settings.why, "since": settings.since}
