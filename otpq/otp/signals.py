"""What a process does to others: send, link, monitor, exit, timers, names. Erlang's own verbs, as functions.

All act for the *current* process, the one whose code runs on this thread; `send`, `exit` and `send_after` work on a
plain thread too. A process is named by its pid or, within one registry, by its name.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeAlias

from otpq.otp.clock import TimerRef, call_later
from otpq.otp.errors import NoSuchProcess, NotRegistered, UsageError, check_reason
from otpq.otp.messages import Exit
from otpq.otp.pid import MonitorRef, Pid
from otpq.otp.process import Process, current, guard, need_current
from otpq.otp.reasons import NoProc, Normal, Reason
from otpq.otp.registry import Registry

if TYPE_CHECKING:
    from otpq.otp.distribution import FarProcess

__all__ = [
    "Server",
    "cancel_timer",
    "check_pid",
    "check_seconds",
    "demonitor",
    "exit",
    "is_alive",
    "link",
    "monitor",
    "monitor_nodes",
    "node",
    "nodes",
    "reach",
    "register",
    "resolve",
    "self_pid",
    "send",
    "send_after",
    "trap_exit",
    "unlink",
    "unregister",
    "whereis",
]

_OUTSIDE = Process("outside", Registry())
"""Who sends the exit signals of plain threads."""
_OUTSIDE.die(Normal())

Server: TypeAlias = Pid | str | tuple[str, str]
"""How a process is addressed: its pid, the name it holds in the current process's registry, or (name, node)."""


def reach(server: Server) -> Process | FarProcess | None:
    """The process behind a pid or a name, or what stands for one of another node; None if nobody here holds the name."""
    if type(server) is Pid:
        return server.process
    if isinstance(server, str):
        pid = _registry("to look a name up").whereis(server)
        return None if pid is None else pid.process
    match server:
        case (str(name), str(where)):
            distribution = _registry("to look a name up").distribution
            if distribution is None:
                raise UsageError(f"{server!r} cannot be reached: this registry is of no node that has a name")
            return reach(name) if where == distribution.node else distribution.far(name, where)
        case _:
            raise UsageError(f"{server!r} is not a process: a Pid, a registered name or (name, node) is")


def resolve(server: Server) -> Process | None:
    """The process behind a pid or a name of this node; None if nobody holds the name."""
    process = reach(server)
    if process is None or isinstance(process, Process):
        return process
    raise UsageError(
        f"{server!r} is of another node: call, cast, send, send_request and monitor reach it, this does not"
    )


def check_pid(pid: Pid) -> Process:
    """The process of `pid`.

    Raises:
        UsageError: It is something else.
    """
    if type(pid) is not Pid:
        raise UsageError(f"{pid!r} is not allowed: a Pid (whereis(name) gives that of a name)")
    return pid.process


def check_seconds(field: str, seconds: float) -> float:
    """`seconds`, if it can be a time to wait.

    Raises:
        UsageError: It is negative or not a number.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds >= 0:
        raise UsageError(f"{field}={seconds!r} is not allowed: seconds, 0 or more (math.inf waits for ever)")
    return seconds


def self_pid() -> Pid:
    """The current process.

    Raises:
        UsageError: This is a plain thread; `attach()` makes it a process.
    """
    return need_current("self_pid()").pid


def is_alive(pid: Pid) -> bool:
    """Whether the process lives. It may be dead when you read the answer; `monitor` tells of the moment."""
    return check_pid(pid).exit_reason is None


def send(to: Server, message: object) -> None:
    """Put `message` into the mailbox of `to`, for its `handle_info`. To a dead process: nothing happens.

    Raises:
        NotRegistered: Nobody holds the name.
        MailboxFull: The receiver's mailbox is bounded, and full.
    """
    me = guard()
    process = reach(to)
    if process is None:
        raise NotRegistered(str(to))
    if me is not None and me.tracer is not None:
        me.trace("send", message, process.pid)
    process.put_message(message)


def exit(pid: Pid, reason: Reason) -> None:
    """Send the exit signal `reason` to `pid`, from the current process.

    A process that traps exits gets it as an `Exit` message; `Kill()` cannot be trapped; `Normal()` is ignored by one
    that does not trap. Any other reason ends it now, in the middle of whatever it does: it is dead when this returns,
    though a callback that was running goes on as a zombie.
    """
    me = guard()
    check_reason(reason)
    check_pid(pid).receive_exit(me.pid if me is not None else _OUTSIDE.pid, reason)
    guard()  # it may have been our own end


def link(pid: Pid) -> None:
    """Tie the current process to `pid`: the abnormal end of one ends the other, or reaches it as an `Exit` if trapped.

    Raises:
        NoSuchProcess: `pid` is dead and the current process does not trap exits; one that does gets an `Exit` with `NoProc`.
    """
    me = need_current("link")
    if pid is not me.pid and not me.link(check_pid(pid)):
        if not me.trap_exit:
            raise NoSuchProcess(pid)
        me.put(Exit(pid, NoProc()))
    guard()


def unlink(pid: Pid) -> None:
    """Undo `link`. An `Exit` that has arrived stays in the mailbox."""
    need_current("unlink").unlink(check_pid(pid))


def monitor(server: Server) -> MonitorRef:
    """Have one `Down` sent to the current process when `server` ends; at once, with `NoProc`, if it has.

    Of a process of another node, it comes with `NoConnection` when that node can be reached no more.
    """
    return need_current("monitor").monitor(reach(server), server)


def demonitor(ref: MonitorRef) -> None:
    """Undo `monitor`: no `Down` of `ref` is handled after this, also none that waits in the mailbox already."""
    me = need_current("demonitor")
    if not isinstance(ref, MonitorRef):
        raise UsageError(f"{ref!r} is not allowed: what monitor gave")
    ref.is_cancelled = True
    me.monitors.discard(ref)
    if ref.watched is not None:
        ref.watched.unwatch(ref)


def trap_exit(on: bool) -> None:  # noqa: FBT001 - Erlang's process_flag(trap_exit, true)
    """Have exit signals delivered to the current process as `Exit` messages, or no longer."""
    need_current("trap_exit").trap_exit = on


def send_after(seconds: float, to: Server, message: object) -> TimerRef:
    """Send `message` to `to` after `seconds`; a name is looked up then, and nobody there drops it."""
    guard()
    check_seconds("seconds", seconds)
    if isinstance(to, Pid):
        process = to.process
        return call_later(seconds, lambda: process.put(message))
    if not isinstance(to, str):
        raise UsageError(f"to={to!r} is not allowed: a Pid, or a name of this node")
    registry = _registry("send_after to a name")

    def deliver() -> None:
        pid = registry.whereis(to)
        if pid is not None:
            pid.process.put(message)

    return call_later(seconds, deliver)


def cancel_timer(timer: TimerRef) -> float | None:
    """Stop a timer. The seconds that were left, or None if it has fired or was cancelled."""
    guard()
    if not isinstance(timer, TimerRef):
        raise UsageError(f"{timer!r} is not allowed: what send_after gave")
    return max(0.0, timer.due - time.monotonic()) if timer.cancel() else None


def register(name: str, pid: Pid) -> None:
    """Give `name` to `pid` in the current registry. Raises as `Registry.register`."""
    check_pid(pid)
    _registry("register").register(name, pid)


def unregister(name: str) -> None:
    """Free `name` in the current registry. Raises as `Registry.unregister`."""
    _registry("unregister").unregister(name)


def whereis(name: str) -> Pid | None:
    """The living process that holds `name` in the current registry, or None."""
    return _registry("whereis").whereis(name)


def node() -> str | None:
    """The name of the current process's node; None: it is of none that others are connected to."""
    distribution = _registry("node").distribution
    return None if distribution is None else distribution.node


def nodes() -> list[str]:
    """The other nodes that can be reached from here."""
    distribution = _registry("nodes").distribution
    return [] if distribution is None else distribution.nodes()


def monitor_nodes(on: bool = True) -> None:  # noqa: FBT001, FBT002 - Erlang's monitor_nodes(true)
    """Have a `NodeUp` or a `NodeDown` sent to the current process for each node that comes or goes, or no longer."""
    me = need_current("monitor_nodes")
    if me.registry.distribution is not None:
        me.registry.distribution.monitor_nodes(me, on=on)


def _registry(what: str) -> Registry:
    guard()
    me = current()
    if me is None:
        raise UsageError(f"{what} needs a registry: use the Registry itself, or do it in `with attach(registry=...):`")
    return me.registry
