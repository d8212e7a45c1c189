"""Why a process ended: a small family of values, compared by value.

A reason is data, never an exception: monitors and links carry it, supervisors decide by it.
`Normal` and `Shutdown` are clean ends; everything else is a failure that restarts a transient child.

Source:
    Erlang's exit reasons. Where Erlang has the atom `boom`, this package has `Failure("boom")`.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "Crash",
    "FailedToStartChild",
    "Failure",
    "Kill",
    "Killed",
    "NoConnection",
    "NoProc",
    "Normal",
    "Reason",
    "Shutdown",
    "TimedOut",
    "is_clean",
]


@dataclass(frozen=True, slots=True)
class Reason:
    """The base of all exit reasons; only its children are used."""


@dataclass(frozen=True, slots=True)
class Normal(Reason):
    """The process finished its work. As a signal from another process it is ignored, unless trapped."""


@dataclass(frozen=True, slots=True)
class Shutdown(Reason):
    """The process was told to end, or ended itself in an orderly way; `detail` says more."""

    detail: object = None


@dataclass(frozen=True, slots=True)
class Kill(Reason):
    """Sent by `exit(pid, Kill())`: cannot be trapped. The process ends as `Killed`."""


@dataclass(frozen=True, slots=True)
class Killed(Reason):
    """The process was ended by `Kill`. Links hear this, and a trapping one survives it."""


@dataclass(frozen=True, slots=True)
class NoProc(Reason):
    """There was no such process, or it had ended before it was asked for."""


@dataclass(frozen=True, slots=True)
class NoConnection(Reason):
    """The node of the process cannot be reached."""


@dataclass(frozen=True, slots=True)
class TimedOut(Reason):
    """A call was not answered in time. The server may still be at work."""


@dataclass(frozen=True, slots=True)
class Failure(Reason):
    """An abnormal end for a cause of your own: any value that monitors and supervisors should see."""

    detail: object


@dataclass(frozen=True, slots=True)
class Crash(Reason):
    """An exception that nobody caught, with its traceback."""

    error: BaseException

    def __str__(self) -> str:
        return f"{type(self.error).__name__}: {self.error}"


@dataclass(frozen=True, slots=True)
class FailedToStartChild:
    """The detail of a supervisor's `Shutdown` when the child `id` could not be started."""

    id: str
    reason: Reason


def is_clean(reason: Reason) -> bool:
    """Whether `reason` is an orderly end (`Normal`, `Shutdown`): no error is logged, no transient child restarted."""
    return isinstance(reason, Normal | Shutdown)
