"""ChildSpec and SupervisorFlags: what a supervisor is told about a child, and about itself. Values, checked when made."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from otpq.otp.errors import BadSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from otpq.otp.pid import Pid

__all__ = [
    "AutoShutdown",
    "ChildSpec",
    "ChildType",
    "Restart",
    "ShutdownTime",
    "Strategy",
    "SupervisorFlags",
    "check_child_specs",
]

Restart: TypeAlias = Literal["permanent", "transient", "temporary"]
"""permanent: always restarted; transient: after an abnormal end; temporary: never, and forgotten."""
ChildType: TypeAlias = Literal["worker", "supervisor"]
Strategy: TypeAlias = Literal["one_for_one", "one_for_all", "rest_for_one"]
"""Who is restarted with a failed child: nobody, all, or those that were started after it."""
AutoShutdown: TypeAlias = Literal["never", "any_significant", "all_significant"]
ShutdownTime: TypeAlias = float | Literal["brutal_kill", "infinity"]
"""Seconds that a child has to end before it is killed; `brutal_kill`: at once; `infinity` (or math.inf): as it takes."""

WORKER_SHUTDOWN = 5.0
"""Seconds that a worker has to end, unless its spec says otherwise; OTP's number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSpec:
    """How to start, stop and restart one child.

    Raises:
        BadSpec: A field cannot be right; it names the field, the value and what is allowed.
    """

    id: str
    """Its name within the supervisor."""
    start: Callable[..., Pid]
    """Starts it, linked to the current process, and gives its pid: `partial(Counter.start_link, 5)`. Takes no argument;
    in a DynamicSupervisor those of `start_child`."""
    restart: Restart = "permanent"
    shutdown: ShutdownTime | None = None
    """Default: 5 s for a worker, infinity for a supervisor (its children have times of their own)."""
    type: ChildType = "worker"
    significant: bool = False
    """Whether its own end counts for the supervisor's `auto_shutdown`; not for a permanent child."""

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not self.id:
            raise BadSpec("id", self.id, "a non-empty text")
        if not callable(self.start):
            raise BadSpec("start", self.start, f"a callable that starts child {self.id!r} and returns its Pid")
        _one_of("restart", self.restart, Restart)
        _one_of("type", self.type, ChildType)
        if self.shutdown is None:
            object.__setattr__(self, "shutdown", math.inf if self.type == "supervisor" else WORKER_SHUTDOWN)
        elif self.shutdown == "infinity":
            object.__setattr__(self, "shutdown", math.inf)
        elif self.shutdown != "brutal_kill" and not _is_number(self.shutdown, 0):
            raise BadSpec("shutdown", self.shutdown, "seconds (0 or more), 'brutal_kill' or 'infinity'")
        if not isinstance(self.significant, bool):
            raise BadSpec("significant", self.significant, "True or False")
        if self.significant and self.restart == "permanent":
            raise BadSpec("significant", True, f"only a transient or temporary child; {self.id!r} is permanent")  # noqa: FBT003


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorFlags:
    """How a supervisor restarts.

    The default intensity, one restart in five seconds, is OTP's: right for a child whose failure a restart mends, too
    small where failures come in bursts. More than `max_restarts` within any `max_seconds` ends the supervisor itself.

    Raises:
        BadSpec: A field cannot be right.
    """

    strategy: Strategy = "one_for_one"
    max_restarts: int = 1
    max_seconds: float = 5.0
    auto_shutdown: AutoShutdown = "never"
    """Whether the supervisor ends, with `Shutdown()`, when any or when the last of its significant children has ended."""

    def __post_init__(self) -> None:
        _one_of("strategy", self.strategy, Strategy)
        if not isinstance(self.max_restarts, int) or not _is_number(self.max_restarts, 0):
            raise BadSpec("max_restarts", self.max_restarts, "a whole number, 0 or more")
        if not _is_number(self.max_seconds, 0) or self.max_seconds == 0:
            raise BadSpec("max_seconds", self.max_seconds, "seconds, more than 0")
        _one_of("auto_shutdown", self.auto_shutdown, AutoShutdown)


def check_child_specs(specs: Iterable[ChildSpec], *, auto_shutdown: AutoShutdown = "never") -> None:
    """Check specs that are to stand under one supervisor.

    Raises:
        BadSpec: Not a ChildSpec, an id that occurs twice, or a significant child that nothing would react to.
    """
    _one_of("auto_shutdown", auto_shutdown, AutoShutdown)
    seen = set()
    for spec in specs:
        if not isinstance(spec, ChildSpec):
            raise BadSpec("children", spec, "each child is a ChildSpec")
        if spec.id in seen:
            raise BadSpec("id", spec.id, "each id once under one supervisor")
        seen.add(spec.id)
        if spec.significant and auto_shutdown == "never":
            raise BadSpec("significant", True, f"only with auto_shutdown, which is 'never' here (child {spec.id!r})")  # noqa: FBT003


def _one_of(field: str, value: object, allowed: Any) -> None:
    choices = get_args(allowed)
    if value not in choices:
        raise BadSpec(field, value, "one of " + ", ".join(map(repr, choices)))


def _is_number(value: object, least: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= least
