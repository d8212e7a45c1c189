"""Supervisor: starts its children in order, restarts them by its strategy, stops them in reverse order.

    class Shop(Supervisor):
        def init(self) -> Stop | None:
            return super().init([Stock.child_spec(100), Till.child_spec()], strategy="rest_for_one", max_restarts=3)

    shop = Shop.start_link()

`Supervisor.start_link([...], strategy=...)` does the same without a class. What is decided stands in `restarts.py`; here
is the table of the children, by id.

Source:
    Erlang's supervisor.erl.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otpq.otp.base_supervisor import CHILD_TIMEOUT, BaseSupervisor, ask_supervisor
from otpq.otp.child_spec import AutoShutdown, ChildSpec, Strategy, SupervisorFlags, check_child_specs
from otpq.otp.children import RESTARTING, Child
from otpq.otp.errors import ChildError, StartFailed
from otpq.otp.messages import Stop
from otpq.otp.pid import Pid
from otpq.otp.reasons import FailedToStartChild, Reason, Shutdown
from otpq.otp.restarts import Fate, affected

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence, ValuesView

    from otpq.otp.signals import Server

__all__ = ["Supervisor"]


class Supervisor(BaseSupervisor):
    """A process that keeps a known set of children running."""

    def __init__(self) -> None:
        super().__init__()
        self._children: dict[str, Child] = {}

    def init(
        self,
        children: Iterable[ChildSpec] = (),
        *,
        strategy: Strategy = "one_for_one",
        max_restarts: int = 1,
        max_seconds: float = 5.0,
        auto_shutdown: AutoShutdown = "never",
    ) -> Stop | None:
        """Start `children` in their order. If one fails, those before it are stopped, the last first.

        Args:
            children: Specs with ids that differ. After a restart of the supervisor itself these run again, not what
                was added or deleted meanwhile.
            strategy: Who is restarted with a failed child: nobody, all, or those started after it.
            max_restarts: As many restarts within `max_seconds`, of whatever child, are mended; one more ends the
                supervisor with `Shutdown()`, and is its own supervisor's to answer.
            max_seconds: The length of that window.
            auto_shutdown: Whether the end of significant children ends the supervisor.

        Raises:
            BadSpec: A spec or a flag cannot be right; `start_link` raises it.
        """
        flags = SupervisorFlags(
            strategy=strategy, max_restarts=max_restarts, max_seconds=max_seconds, auto_shutdown=auto_shutdown
        )
        specs = list(children)
        check_child_specs(specs, auto_shutdown=auto_shutdown)
        self.set_up(flags)
        self._children.update({spec.id: Child(spec) for spec in specs})
        for child in list(self._children.values()):
            try:
                self._start_new(child)
            except StartFailed as failed:
                self.terminate(Shutdown())
                return Stop(Shutdown(FailedToStartChild(child.spec.id, failed.reason)))
        return None

    @staticmethod
    def start_child(supervisor: Server, spec: ChildSpec, timeout: float = CHILD_TIMEOUT) -> Pid | None:
        """Add a child, as the last, and start it. Its pid; None if it answered `Ignore`.

        Raises:
            ChildError: `already_started` (with the pid) or `already_present`.
            StartFailed: It did not come up, and is not added.
        """
        pid: Pid | None = ask_supervisor(supervisor, ("start_child", spec), timeout)
        return pid

    def answer(self, request: tuple[Any, ...]) -> object:
        """The answer to a question about children by id."""
        match request:
            case ("start_child", spec):
                return self._add(spec)
            case ("terminate_child", id_):
                self._terminate(self._get(id_))
                return None
            case ("restart_child", id_):
                return self.start_recorded(self._idle(id_))
            case ("delete_child", id_):
                self.forget(self._idle(id_))
                return None
            case ("get_childspec", key):
                return (self._found(self.find_running(key), key) if isinstance(key, Pid) else self._get(key)).spec
            case _:
                return super().answer(request)

    def terminate(self, reason: Reason) -> None:  # noqa: ARG002 - whatever the reason
        """Stop all children, one after the other, the last started first."""
        for child in reversed(self._children.values()):
            self.stop_recorded([child])

    def records(self) -> ValuesView[Child]:
        """All children, in start order."""
        return self._children.values()

    def affected_by(self, child: Child) -> Sequence[Child]:
        """By the strategy."""
        return [self._children[id_] for id_ in affected(self.flags.strategy, list(self._children), child.spec.id)]

    def forget(self, child: Child) -> None:
        """Remove the record of `child`."""
        del self._children[child.spec.id]

    def ended(self, child: Child, verdict: Fate) -> None:
        """Keep the spec for a later `restart_child`, or forget it."""
        if verdict is Fate.DROP:
            self.forget(child)

    def _start_new(self, child: Child) -> Pid | None:
        pid = self.start_recorded(child)
        if pid is None and child.spec.restart == "temporary":
            self._children.pop(child.spec.id, None)
        return pid

    def _add(self, spec: ChildSpec) -> Pid | None:
        check_child_specs([spec], auto_shutdown=self.flags.auto_shutdown)
        there = self._children.get(spec.id)
        if there is not None:
            if isinstance(there.pid, Pid):
                raise ChildError("already_started", spec.id, there.pid)
            raise ChildError("already_present", spec.id)
        child = Child(spec)
        pid = self.start_recorded(child)
        if pid is not None or spec.restart != "temporary":
            self._children[spec.id] = child
        return pid

    def _terminate(self, child: Child) -> None:
        self.stop_recorded([child])
        if child.spec.restart == "temporary":
            self.forget(child)

    def _get(self, id_: object) -> Child:
        return self._found(self._children.get(id_) if isinstance(id_, str) else None, id_)

    @staticmethod
    def _found(child: Child | None, key: object) -> Child:
        if child is None:
            raise ChildError("not_found", key)
        return child

    def _idle(self, id_: object) -> Child:
        child = self._get(id_)
        if child.pid == RESTARTING:
            raise ChildError("restarting", id_)
        if child.pid is not None:
            raise ChildError("running", id_)
        return child
