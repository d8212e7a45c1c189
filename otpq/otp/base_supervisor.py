"""What both supervisors share: the record of who runs, the reaction to a death, the intensity, the questions.

A restart that fails is not a loop but a state: the child is `restarting`, the next try is a message that the supervisor
sends itself, and whoever asks in between is answered.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from otpq.otp.calls import CALL_TIMEOUT, Caller, call, cast
from otpq.otp.child_spec import SupervisorFlags
from otpq.otp.children import RESTARTING, Child, ChildCounts, ChildInfo, count, start, stop_all
from otpq.otp.errors import OtpError, StartFailed, UsageError
from otpq.otp.gen_server import GenServer
from otpq.otp.messages import Exit, Reply, Stop
from otpq.otp.pid import Pid
from otpq.otp.reasons import Crash, Reason, Shutdown, is_clean
from otpq.otp.restarts import Fate, Intensity, fate, is_shutdown_due

if TYPE_CHECKING:
    from collections.abc import Sequence, ValuesView

    from otpq.otp.child_spec import ChildSpec, ChildType
    from otpq.otp.signals import Server

__all__ = ["CHILD_TIMEOUT", "BaseSupervisor", "ask_supervisor"]

logger = logging.getLogger("otpq.otp")

CHILD_TIMEOUT = 60.0
"""Seconds that the requests wait which start or stop a child: they last as long as the child's `init` or `terminate`."""


@dataclass(frozen=True, slots=True)
class _TryAgain:
    """The supervisor's message to itself: start this child, whose last try failed."""

    child: Child


class BaseSupervisor(GenServer):
    """Subclassed by `Supervisor` and `DynamicSupervisor`, which say who is affected by a restart."""

    trap_exit = True
    child_type: ClassVar[ChildType] = "supervisor"

    def __init__(self) -> None:
        self.flags = SupervisorFlags()
        self._running: dict[Pid, Child] = {}

    # --- questions ---------------------------------------------------------------------------------------------------

    @staticmethod
    def which_children(supervisor: Server, timeout: float = CALL_TIMEOUT) -> list[ChildInfo]:
        """All children with their pids, the latest added first."""
        children: list[ChildInfo] = ask_supervisor(supervisor, ("which_children",), timeout)
        return children

    @staticmethod
    def count_children(supervisor: Server, timeout: float = CALL_TIMEOUT) -> ChildCounts:
        """How many children there are, and how many of them run."""
        counts: ChildCounts = ask_supervisor(supervisor, ("count_children",), timeout)
        return counts

    @staticmethod
    def get_childspec(supervisor: Server, child: str | Pid, timeout: float = CALL_TIMEOUT) -> ChildSpec:
        """The spec of a child, by id or by pid; under a DynamicSupervisor the id is the template's.

        Raises:
            ChildError: `not_found`.
        """
        spec: ChildSpec = ask_supervisor(supervisor, ("get_childspec", child), timeout)
        return spec

    @staticmethod
    def terminate_child(supervisor: Server, child: str | Pid, timeout: float = CHILD_TIMEOUT) -> None:
        """Stop a child, by id under a Supervisor, by pid under a DynamicSupervisor; returns when it is dead.

        The spec stays, for `restart_child`, unless the child is temporary. A restart that is being tried is called off.

        Raises:
            ChildError: `not_found`; `simple_one_for_one` for an id under a DynamicSupervisor.
        """
        ask_supervisor(supervisor, ("terminate_child", child), timeout)

    @staticmethod
    def restart_child(supervisor: Server, id: str, timeout: float = CHILD_TIMEOUT) -> Pid | None:
        """Start a child again that does not run. Its pid; None if it answered `Ignore`.

        Raises:
            ChildError: `not_found`, `running`, `restarting`; `simple_one_for_one` under a DynamicSupervisor.
            StartFailed: It did not come up; the spec stays.
        """
        pid: Pid | None = ask_supervisor(supervisor, ("restart_child", id), timeout)
        return pid

    @staticmethod
    def delete_child(supervisor: Server, id: str, timeout: float = CALL_TIMEOUT) -> None:
        """Forget the spec of a child that does not run.

        Raises:
            ChildError: `not_found`, `running`, `restarting`; `simple_one_for_one` under a DynamicSupervisor.
        """
        ask_supervisor(supervisor, ("delete_child", id), timeout)

    # --- for the subclasses ------------------------------------------------------------------------------------------

    def set_up(self, flags: SupervisorFlags) -> None:
        """Restart by `flags` from now on. For `init`."""
        self.flags = flags
        self._intensity = Intensity(flags.max_restarts, flags.max_seconds)

    def records(self) -> ValuesView[Child]:
        """All children, in start order."""
        raise NotImplementedError

    def affected_by(self, child: Child) -> Sequence[Child]:
        """Who is stopped and started when `child` is restarted, in start order."""
        raise NotImplementedError

    def forget(self, child: Child) -> None:
        """Remove the record of `child`, which does not run."""
        raise NotImplementedError

    def ended(self, child: Child, verdict: Fate) -> None:
        """Act on the own end of `child` that is not followed by a restart."""
        raise NotImplementedError

    def find_running(self, pid: Pid) -> Child | None:
        """The child that runs as `pid`."""
        return self._running.get(pid)

    def start_recorded(self, child: Child) -> Pid | None:
        """Start `child` and note its pid. Raises StartFailed."""
        child.pid = None
        pid = start(child)
        child.pid = pid
        if pid is not None:
            self._running[pid] = child
        return pid

    def stop_recorded(self, children: Sequence[Child]) -> None:
        """Stop those of `children` that run, at the same time; a restart that is being tried is called off."""
        for child in children:
            if isinstance(child.pid, Pid):
                del self._running[child.pid]
        stop_all(children)
        for child in children:
            child.pid = None

    # --- callbacks ---------------------------------------------------------------------------------------------------

    def handle_call(self, request: Any, caller: Caller) -> Reply:  # noqa: ARG002 - GenServer's signature
        """Answer a question; its failure is the asker's, who gets the error to raise."""
        try:
            return Reply(self.answer(request))
        except OtpError as error:
            return Reply(error)

    def answer(self, request: tuple[Any, ...]) -> object:
        """The answer to a question that both kinds understand."""
        match request:
            case ("which_children",):
                return list(reversed(self.children_now()))
            case ("count_children",):
                return count(self.records(), len(self.records()))
            case _:
                raise UsageError(f"a supervisor does not understand {request!r}")

    def handle_cast(self, request: Any) -> Stop | None:
        """Try a restart again, if it is still wanted."""
        if isinstance(request, _TryAgain) and request.child.pid == RESTARTING:
            return self._restart(request.child)
        return None

    def handle_info(self, message: Any) -> Stop | None:
        """Act on the end of a child; a stranger's exit signal is not obeyed."""
        if not isinstance(message, Exit):
            logger.warning("%r got a message that no supervisor expects: %r", self.pid, message)
            return None
        child = self._running.pop(message.pid, None)
        if child is None:  # a stranger, or a child that we stopped
            return None
        child.pid, child.last_pid = None, message.pid
        verdict = fate(child.spec, message.reason)
        if verdict is Fate.RESTART:
            logger.warning("%r restarts child %s, which ended: %s", self.pid, child.spec.id, _shown(message.reason))
            return self._restart(child)
        if not is_clean(message.reason):
            logger.warning("%r: child %s ended and stays so: %s", self.pid, child.spec.id, _shown(message.reason))
        self.ended(child, verdict)
        running = (record.spec for record in self.records() if record.pid is not None)
        return Stop(Shutdown()) if is_shutdown_due(self.flags.auto_shutdown, child.spec, running) else None

    def format_state(self) -> object:
        """The children, as `which_children` gives them."""
        return {"flags": self.flags, "children": self.children_now()}

    def children_now(self) -> list[ChildInfo]:
        """The children in start order, as far as seen from outside while the supervisor is at work."""
        return [child.info for child in list(self.records())]

    # --- restarts ----------------------------------------------------------------------------------------------------

    def _restart(self, child: Child) -> Stop | None:
        if not self._intensity.allows(time.monotonic()):
            logger.error(
                "%r gives up: child %s needs more than %d restarts in %s s",
                self.pid,
                child.spec.id,
                self.flags.max_restarts,
                self.flags.max_seconds,
            )
            child.pid = None
            return Stop(Shutdown())
        child.restarts += 1
        group = self.affected_by(child)
        for other in reversed(group):
            self.stop_recorded([other])
            if other.spec.restart == "temporary":
                self.forget(other)
        for other in group:
            if other.spec.restart != "temporary" and not self._revive(other):
                break
        return None

    def _revive(self, child: Child) -> bool:
        try:
            pid = self.start_recorded(child)
        except StartFailed as failed:
            logger.warning("%r: child %s does not start again: %s", self.pid, child.spec.id, failed)
            child.pid = RESTARTING
            cast(self.pid, _TryAgain(child))
            return False
        if pid is None:
            self.ended(child, Fate.KEEP)
        return True


def ask_supervisor(supervisor: Server, request: tuple[Any, ...], timeout: float) -> Any:
    """The supervisor's answer to `request`; raises the error that it answered."""
    answer = call(supervisor, request, timeout)
    if isinstance(answer, OtpError):
        raise answer
    return answer


def _shown(reason: Reason) -> str:
    return str(reason) if isinstance(reason, Crash) else repr(reason)
