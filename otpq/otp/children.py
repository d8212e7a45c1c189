"""Starting and stopping one child, from its supervisor's process: shared by both kinds of supervisors."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from otpq.otp.calls import wait_down
from otpq.otp.errors import BadReturn, ProcessExit, StartFailed, StartIgnored
from otpq.otp.pid import Pid
from otpq.otp.process import guard, need_current
from otpq.otp.reasons import Crash, Kill, Shutdown

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from otpq.otp.child_spec import ChildSpec, ChildType

__all__ = ["RESTARTING", "Child", "ChildCounts", "ChildInfo", "ChildPid", "count", "start", "stop_all"]

logger = logging.getLogger("otpq.otp")

RESTARTING: Literal["restarting"] = "restarting"
ChildPid: TypeAlias = Pid | Literal["restarting"] | None
"""A running child's pid; `restarting` between two tries; None if it is not running."""


class ChildInfo(NamedTuple):
    """One row of `which_children`."""

    id: str | None
    """None under a DynamicSupervisor, whose children have no ids."""
    pid: ChildPid
    type: ChildType
    restarts: int
    """How often the supervisor has restarted it, tries that failed included."""


class ChildCounts(NamedTuple):
    """The answer of `count_children`."""

    specs: int
    active: int
    """How many run."""
    supervisors: int
    """How many are supervisors, running or not."""
    workers: int
    """How many are workers, running or not."""


@dataclass(slots=True, eq=False)
class Child:
    """A supervisor's record of one child."""

    spec: ChildSpec
    pid: ChildPid = None
    last_pid: Pid | None = None
    """What its pid was before it ended; a DynamicSupervisor's child is known by it while its restart is being tried."""
    restarts: int = 0
    args: tuple[Any, ...] = ()
    """What `start` is called with; only under a DynamicSupervisor."""
    kwargs: dict[str, Any] | None = None

    @property
    def info(self) -> ChildInfo:
        """Its row in `which_children`."""
        return ChildInfo(self.spec.id, self.pid, self.spec.type, self.restarts)


def count(children: Collection[Child], specs: int) -> ChildCounts:
    """The children in figures."""
    supervisors = sum(child.spec.type == "supervisor" for child in children)
    active = sum(isinstance(child.pid, Pid) and child.pid.process.exit_reason is None for child in children)
    return ChildCounts(specs, active, supervisors, len(children) - supervisors)


def start(child: Child) -> Pid | None:
    """Start a child, linked to the current process. Its pid; None if it answered `Ignore`.

    Raises:
        StartFailed: Whatever went wrong in `spec.start`.
    """
    spec = child.spec
    try:
        pid = spec.start(*child.args, **(child.kwargs or {}))
    except StartIgnored:
        return None
    except StartFailed:
        raise
    except ProcessExit as exit_:
        guard()  # our own end, not the child's
        raise StartFailed(spec.id, exit_.reason) from None
    except BaseException as error:
        raise StartFailed(spec.id, Crash(error)) from error
    if not isinstance(pid, Pid):
        raise StartFailed(spec.id, Crash(BadReturn(f"start of child {spec.id!r}", pid, "the Pid of the child")))
    return pid


def stop_all(children: Sequence[Child]) -> None:
    """Stop the running ones of `children` at the same time, each within its shutdown time; returns when all are dead.

    The links stay until then: should the supervisor be killed while it waits, they still bring the children down.
    """
    running = [(child, child.pid) for child in children if isinstance(child.pid, Pid)]
    me = need_current("stop_all")
    for child, pid in running:
        pid.process.receive_exit(me.pid, Kill() if child.spec.shutdown == "brutal_kill" else Shutdown())
    begun = time.monotonic()
    for child, pid in running:
        shutdown = child.spec.shutdown
        seconds = shutdown if isinstance(shutdown, int | float) else math.inf
        reason = wait_down(pid.process, max(0.0, begun + seconds - time.monotonic()))
        if reason is None:
            logger.warning("%r (child %s) did not end within %s s and is killed", pid, child.spec.id, seconds)
            pid.process.receive_exit(me.pid, Kill())
            wait_down(pid.process, math.inf)
