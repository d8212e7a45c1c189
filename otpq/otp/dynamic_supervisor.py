"""DynamicSupervisor: any number of children of one kind, started on demand from a template.

    pool = DynamicSupervisor.start_link(ChildSpec(id="worker", start=Worker.start_link, restart="transient"))
    pid = DynamicSupervisor.start_child(pool, "queue-1")  # Worker.start_link("queue-1")

Children have pids and no ids, are independent of each other, and are all stopped at the same time.

Source:
    simple_one_for_one of Erlang's supervisor.erl; the name and `max_children` from Elixir.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otpq.otp.base_supervisor import CHILD_TIMEOUT, BaseSupervisor, ask_supervisor
from otpq.otp.child_spec import AutoShutdown, ChildSpec, SupervisorFlags, check_child_specs
from otpq.otp.children import RESTARTING, Child, ChildInfo, count
from otpq.otp.errors import BadSpec, ChildError
from otpq.otp.pid import Pid

if TYPE_CHECKING:
    from collections.abc import Sequence, ValuesView

    from otpq.otp.messages import Stop
    from otpq.otp.reasons import Reason
    from otpq.otp.restarts import Fate
    from otpq.otp.signals import Server

__all__ = ["DynamicSupervisor"]


class DynamicSupervisor(BaseSupervisor):
    """A process that starts and restarts children of one kind, in any number."""

    def __init__(self) -> None:
        super().__init__()
        self._children: dict[int, Child] = {}

    def init(
        self,
        template: ChildSpec,
        *,
        max_children: int | None = None,
        max_restarts: int = 1,
        max_seconds: float = 5.0,
        auto_shutdown: AutoShutdown = "never",
    ) -> Stop | None:
        """Begin with no child.

        Args:
            template: The spec of each child. Its `start` is called with the arguments of `start_child`, also when the
                child is restarted.
            max_children: How many there may be, those being restarted included. None: no limit.
            max_restarts: As in `Supervisor`; all children share it.
            max_seconds: As in `Supervisor`.
            auto_shutdown: As in `Supervisor`; for a template that is significant.

        Raises:
            BadSpec: The template or a flag cannot be right; `start_link` raises it.
        """
        if not isinstance(template, ChildSpec):
            raise BadSpec("template", template, "exactly one ChildSpec")
        if max_children is not None and (type(max_children) is not int or max_children < 0):  # True is an int, too
            raise BadSpec("max_children", max_children, "a whole number, 0 or more, or None for no limit")
        check_child_specs([template], auto_shutdown=auto_shutdown)
        self.set_up(
            SupervisorFlags(max_restarts=max_restarts, max_seconds=max_seconds, auto_shutdown=auto_shutdown),
        )
        self._template = template
        self._max_children = max_children
        return None

    @staticmethod
    def start_child(supervisor: Server, *args: Any, timeout: float = CHILD_TIMEOUT, **kwargs: Any) -> Pid | None:
        """Start a child with these arguments. Its pid; None if it answered `Ignore`, and is forgotten.

        Raises:
            ChildError: `max_children` is reached.
            StartFailed: It did not come up, and is forgotten.
        """
        pid: Pid | None = ask_supervisor(supervisor, ("start_child", args, kwargs), timeout)
        return pid

    def answer(self, request: tuple[Any, ...]) -> object:
        """The answer to a question about children by pid."""
        match request:
            case ("start_child", args, kwargs):
                return self._add(args, kwargs)
            case ("terminate_child", Pid() as pid):
                self._terminate(pid)
                return None
            case ("get_childspec", key):
                if key != self._template.id and (not isinstance(key, Pid) or self.find_running(key) is None):
                    raise ChildError("not_found", key)
                return self._template
            case ("terminate_child" | "restart_child" | "delete_child", id_):
                raise ChildError("simple_one_for_one", id_)
            case ("count_children",):
                return count(self._children.values(), specs=1)
            case _:
                return super().answer(request)

    def terminate(self, reason: Reason) -> None:  # noqa: ARG002 - whatever the reason
        """Stop all children at the same time, under one timeout."""
        self.stop_recorded(list(self._children.values()))

    def records(self) -> ValuesView[Child]:
        """All children, in start order."""
        return self._children.values()

    def affected_by(self, child: Child) -> Sequence[Child]:
        """Nobody else."""
        return [child]

    def forget(self, child: Child) -> None:
        """Remove the record of `child`."""
        self._children.pop(id(child), None)

    def ended(self, child: Child, verdict: Fate) -> None:  # noqa: ARG002 - kept or dropped, there is no id to ask for it
        """Forget a child that is not to be restarted."""
        self.forget(child)

    def children_now(self) -> list[ChildInfo]:
        """The children in start order; they have no ids."""
        return [child.info._replace(id=None) for child in list(self._children.values())]

    def _add(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Pid | None:
        if self._max_children is not None and len(self._children) >= self._max_children:
            raise ChildError("max_children", self._max_children)
        child = Child(self._template, args=args, kwargs=kwargs)
        pid = self.start_recorded(child)
        if pid is not None:
            self._children[id(child)] = child
        return pid

    def _terminate(self, pid: Pid) -> None:
        child = self.find_running(pid) or self._find_restarting(pid)
        if child is not None:
            self.stop_recorded([child])
            self.forget(child)
        elif pid.process.exit_reason is None:
            raise ChildError("not_found", pid)

    def _find_restarting(self, pid: Pid) -> Child | None:
        return next((c for c in self._children.values() if c.pid == RESTARTING and c.last_pid is pid), None)
