"""Looking into running processes: info, state, trace, and the tree as data. OTP's sys and observer.

`info` and `tree` ask nobody: they read what the process notes about itself, so they answer at once about one that is
stuck, too. `state` asks the process, between two of its callbacks.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from otpq.otp.base_supervisor import BaseSupervisor
from otpq.otp.calls import CALL_TIMEOUT, ask
from otpq.otp.errors import CallFailed, UsageError
from otpq.otp.pid import Pid
from otpq.otp.process import Process, guard
from otpq.otp.reasons import NoProc, Reason
from otpq.otp.server_loop import Inspect, ServerProcess
from otpq.otp.signals import Server, check_seconds, resolve

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.otp.children import ChildPid
    from otpq.otp.messages import Traced

__all__ = ["ProcessInfo", "TreeNode", "info", "state", "trace", "tree", "untrace"]


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """What can be seen of a process from outside, at one moment."""

    pid: Pid
    name: str | None
    """What it is registered as."""
    status: Literal["waiting", "running", "zombie", "dead"]
    """zombie: dead, but a callback of it still runs."""
    mailbox: int
    """How many messages wait."""
    callback: str | None
    """What it runs now."""
    callback_seconds: float | None
    """For how long it has run that."""
    links: tuple[Pid, ...]
    parent: Pid | None
    trap_exit: bool
    started_at: float
    """Seconds since the epoch."""
    exit_reason: Reason | None
    """Why it ended, once it has."""


@dataclass(frozen=True, slots=True)
class TreeNode:
    """A process in a supervision tree, with what is below it."""

    id: str | None
    """Its id under its supervisor; None at the root and under a DynamicSupervisor."""
    pid: ChildPid
    type: Literal["worker", "supervisor"]
    restarts: int
    info: ProcessInfo | None
    """None if it does not run."""
    strategy: str | None
    """A supervisor's strategy."""
    children: tuple[TreeNode, ...]
    """In start order."""

    def plain(self) -> dict[str, object]:
        """It and all below it in plain values, to be sent elsewhere."""
        info = self.info
        return {
            "id": self.id,
            "pid": repr(self.pid),
            "name": None if info is None else info.name,
            "type": self.type,
            "strategy": self.strategy,
            "restarts": self.restarts,
            "status": None if info is None else info.status,
            "mailbox": None if info is None else info.mailbox,
            "callback": None if info is None else info.callback,
            "callback_seconds": None if info is None else info.callback_seconds,
            "children": [child.plain() for child in self.children],
        }


def info(server: Server) -> ProcessInfo:
    """What can be seen of a process now, without asking it; also of a dead one, by its pid.

    Raises:
        CallFailed: Nobody holds the name (`NoProc`).
    """
    return _info(_found(server))


def state(server: Server, timeout: float = CALL_TIMEOUT) -> Any:
    """A server's state as its `format_state` shows it: by default its attributes. Raises as `call`."""
    me = guard()
    check_seconds("timeout", timeout)
    process = _server(server)
    if process is me:
        return process.server.format_state()
    inspect = Inspect(lambda callbacks: callbacks.format_state())
    answer = ask(process, server, inspect.future, lambda: process.put(inspect), timeout)
    if isinstance(answer, Exception):
        raise answer
    return answer


def trace(server: Server, to: Pid | Callable[[Traced], None]) -> None:
    """Show every message that a server handles or sends, until `untrace`.

    Args:
        server: The one to trace; a tracer it had is replaced.
        to: A process that gets each `Traced` as a message, or a function that is called with it, on the server's own
            thread: it must be quick, and is removed if it fails.
    """
    guard()
    if not isinstance(to, Pid) and not callable(to):
        raise UsageError(f"to={to!r} is not allowed: a Pid, or a function that takes a Traced")
    process = _found(server)
    process.tracer = to.process.put_message if isinstance(to, Pid) else to


def untrace(server: Server) -> None:
    """End a `trace`."""
    guard()
    _found(server).tracer = None


def tree(supervisor: Server) -> TreeNode:
    """The supervision tree below `supervisor`, as data, without asking any of its processes.

    Raises:
        CallFailed: No such process (`NoProc`).
    """
    process = _found(supervisor)
    if process.exit_reason is not None:
        raise CallFailed(supervisor, NoProc())
    is_supervisor = isinstance(process, ServerProcess) and isinstance(process.server, BaseSupervisor)
    return _node(None, process.pid, "supervisor" if is_supervisor else "worker", 0)


def _node(id_: str | None, pid: ChildPid, type_: Literal["worker", "supervisor"], restarts: int) -> TreeNode:
    if not isinstance(pid, Pid):
        return TreeNode(id_, pid, type_, restarts, None, None, ())
    process, strategy = pid.process, None
    children: tuple[TreeNode, ...] = ()
    if isinstance(process, ServerProcess) and isinstance(process.server, BaseSupervisor):
        strategy = process.server.flags.strategy
        children = tuple(_node(*child) for child in process.server.children_now())
    return TreeNode(id_, pid, type_, restarts, _info(process), strategy, children)


def _info(process: Process) -> ProcessInfo:
    callback, since, reason = process.callback, process.callback_since, process.exit_reason
    if reason is None:
        status: Literal["waiting", "running", "zombie", "dead"] = "waiting" if callback is None else "running"
    else:
        status = "dead" if callback is None else "zombie"
    return ProcessInfo(
        pid=process.pid,
        name=process.registry.name_of(process.pid),
        status=status,
        mailbox=process.mailbox_length(),
        callback=callback,
        callback_seconds=None if callback is None else time.monotonic() - since,
        links=tuple(other.pid for other in list(process.links)),
        parent=process.parent,
        trap_exit=process.trap_exit,
        started_at=process.started_at,
        exit_reason=reason,
    )


def _found(server: Server) -> Process:
    process = resolve(server)
    if process is None:
        raise CallFailed(server, NoProc())
    return process


def _server(server: Server) -> ServerProcess:
    process = _found(server)
    if not isinstance(process, ServerProcess):
        raise UsageError(f"{server!r} is no server: its state cannot be asked for")
    return process
