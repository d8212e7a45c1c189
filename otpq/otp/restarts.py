"""What a supervisor decides, as pure functions and values: no process, no clock, no thread.

The drivers (`supervisor.py`, `dynamic_supervisor.py`) carry the decisions out. `tests/property/otp` holds both against a
model.

Source:
    `do_restart`, `restart` and `add_restart` of Erlang's supervisor.erl.
"""

from __future__ import annotations

from collections import deque
from enum import Enum, auto
from typing import TYPE_CHECKING

from otpq.otp.reasons import Reason, is_clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from otpq.otp.child_spec import AutoShutdown, ChildSpec, Strategy

__all__ = ["Fate", "Intensity", "affected", "fate", "is_shutdown_due"]


class Fate(Enum):
    """What becomes of a child that has ended."""

    RESTART = auto()
    KEEP = auto()
    """Its spec stays, not running; `restart_child` revives it, and so does the restart of a group."""
    DROP = auto()
    """Its spec goes too."""


def fate(spec: ChildSpec, reason: Reason) -> Fate:
    """What becomes of the child of `spec` that ended by itself with `reason`."""
    if spec.restart == "temporary":
        return Fate.DROP
    if spec.restart == "transient" and is_clean(reason):
        return Fate.KEEP
    return Fate.RESTART


def affected(strategy: Strategy, ids: Sequence[str], failed: str) -> Sequence[str]:
    """The children, in start order, that are stopped (backwards) and started (forwards) when `failed` is restarted."""
    match strategy:
        case "one_for_one":
            return [failed]
        case "rest_for_one":
            return ids[ids.index(failed) :]
        case "one_for_all":
            return ids


def is_shutdown_due(auto_shutdown: AutoShutdown, ended: ChildSpec, running: Iterable[ChildSpec]) -> bool:
    """Whether a supervisor ends itself, now that `ended` has ended for good while `running` go on."""
    if not ended.significant or auto_shutdown == "never":
        return False
    return auto_shutdown == "any_significant" or not any(spec.significant for spec in running)


class Intensity:
    """How many restarts were in the last `max_seconds`: a window that slides with each of them."""

    def __init__(self, max_restarts: int, max_seconds: float) -> None:
        self.max_restarts = max_restarts
        self.max_seconds = max_seconds
        self._restarts: deque[float] = deque()

    def allows(self, now: float) -> bool:
        """Count a restart at `now` (seconds, never going back); whether it is within the limit."""
        self._restarts.append(now)
        while len(self._restarts) > 1 and self._restarts[0] <= now - self.max_seconds:
            self._restarts.popleft()
        return len(self._restarts) <= self.max_restarts
