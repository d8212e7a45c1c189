"""What this floor raises to the node. Each names what was asked and what came of it."""

from __future__ import annotations

__all__ = ["ChildRefused", "WardenError", "WardenLost", "WardenTimeout"]


class WardenError(Exception):
    """The root: the warden did not do what it was asked for."""


class WardenLost(WardenError):
    """There is no warden any more, and no child either: start another one.

    Attributes:
        fenced: Whether its tombstone stands: then this *incarnation* is over, and only a new one may start a warden.
    """

    def __init__(self, incarnation: str, *, fenced: bool) -> None:
        what = "has declared this incarnation dead" if fenced else "is gone"
        super().__init__(f"the warden of incarnation {incarnation} {what}")
        self.incarnation = incarnation
        self.fenced = fenced


class WardenTimeout(WardenError, TimeoutError):
    """The warden did not answer in time. It may still do what it was asked for."""

    def __init__(self, request: str, seconds: float) -> None:
        super().__init__(f"the warden did not answer {request!r} within {seconds:g} s")
        self.request = request
        self.seconds = seconds


class ChildRefused(WardenError):
    """The program could not be started, or could not load the app; the message is the system's or the child's."""
