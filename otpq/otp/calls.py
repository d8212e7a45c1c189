"""Talking to a server: call, cast, reply, stop. The client's half of GenServer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pykka

from otpq.otp.errors import CallFailed, CallTimeout, UsageError, check_reason
from otpq.otp.messages import Call, Cast, Response
from otpq.otp.pid import MonitorRef, Pid
from otpq.otp.process import Ended, Process, guard, need_current, settle, wait
from otpq.otp.reasons import Crash, Failure, NoProc, Normal, Reason
from otpq.otp.signals import Server, check_seconds, reach, resolve

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.otp.distribution import FarProcess

__all__ = [
    "CALL_TIMEOUT",
    "Caller",
    "StopRequest",
    "ask",
    "call",
    "cast",
    "cause",
    "reply",
    "send_request",
    "stop",
    "wait_down",
]

CALL_TIMEOUT = 5.0
"""Seconds that a call waits unless told otherwise; OTP's number."""


class Caller:
    """Who waits for the answer of a call. Keep it and `reply` later, from any callback."""

    __slots__ = ("future", "pid", "server")

    def __init__(self, server: Process | FarProcess, pid: Pid | None, future: pykka.Future[Any] | None = None) -> None:
        self.server = server
        self.pid = pid
        """The calling process; None if a plain thread called, or a process of another node."""
        self.future: pykka.Future[Any] = pykka.ThreadingFuture() if future is None else future

    def __repr__(self) -> str:
        return f"Caller({self.pid})"


def call(server: Server, request: object, timeout: float = CALL_TIMEOUT) -> Any:
    """The server's answer to `request`.

    Args:
        server: A pid, a name in the current process's registry, or (name, node).
        request: Any value, for `handle_call`. It is shared, not copied: do not change it afterwards. To another node plain
            values travel, and only servers with 'call' in their `from_afar` are called.
        timeout: Seconds to wait.

    Raises:
        CallFailed: No such process (`NoProc`), or it ended before it answered (its reason), or its node cannot be reached
            (`NoConnection`).
        CallTimeout: No answer within `timeout`; a late one is dropped.
        MailboxFull: The server's mailbox is bounded, and full.
        UsageError: A server that calls itself would wait for ever.
    """
    me = guard()
    check_seconds("timeout", timeout)
    process = reach(server)
    if process is None:
        raise CallFailed(server, NoProc())
    if process is me:
        raise CallFailed(server, Failure("calling_self"))
    if me is not None and me.tracer is not None:
        me.trace("call", request, process.pid)
    caller = Caller(process, None if me is None else me.pid)
    return ask(process, server, caller.future, lambda: process.put_message(Call(request, caller)), timeout)


def send_request(server: Server, request: object, label: object) -> None:
    """Call `server` and go on: the answer comes as a `Response` with that label, to `handle_info`.

    It comes once, with the reason in the answer's place if there will be none; a server that lives and never answers leaves it
    out.

    Raises:
        MailboxFull: The server's mailbox is bounded, and full.
        UsageError: The request cannot travel to another node.
    """
    me = need_current("send_request")
    process = reach(server)
    awaited = _Awaited(me, label)
    if process is None or not process.add_caller(awaited):
        awaited.set(Ended(NoProc()))
        return
    try:
        process.put_message(Call(request, Caller(process, me.pid, awaited)))
    except BaseException:
        process.drop_caller(awaited)
        raise


class _Awaited(pykka.Future[Any]):
    """The future of a `send_request`: filled, it is a message."""

    def __init__(self, me: Process, label: object) -> None:
        super().__init__()
        self._me = me
        self._label = label

    def set(self, value: Any = None) -> None:
        """Hand the answer, or the reason why there is none, to who asked."""
        is_over = isinstance(value, Ended)
        self._me.put(Response(self._label, None if is_over else value, value.reason if is_over else None))


def ask(
    process: Process | FarProcess, shown: object, future: pykka.Future[Any], put: Callable[[], None], timeout: float
) -> Any:
    """The value of `future`, which `process` is to set after `put` has run. Raises as `call`."""
    if not process.add_caller(future):
        raise CallFailed(shown, NoProc())
    try:
        put()
        answer = wait(future, timeout)
    except pykka.Timeout:
        if process.drop_caller(future):
            raise CallTimeout(shown, timeout) from None
        answer = future.get()  # it came at the last moment
    except BaseException:
        process.drop_caller(future)
        raise
    if type(answer) is Ended:
        raise CallFailed(shown, answer.reason) from cause(answer.reason)
    return answer


def cast(server: Server, request: object) -> None:
    """Send `request` to the server's `handle_cast` and go on. Nobody there: nothing happens.

    Raises:
        MailboxFull: The server's mailbox is bounded, and full.
    """
    me = guard()
    process = server.process if type(server) is Pid else reach(server)  # the first is the hot path
    if process is None:
        return
    if me is not None and me.tracer is not None:
        me.trace("cast", request, process.pid)
    if process.mailbox_limit is not None:
        process.put_message(Cast(request))
    elif process.exit_reason is None:
        process.inbox.put(Cast(request))


def reply(caller: Caller, value: object) -> None:
    """Answer a call, now or later, once; an answer after the call's timeout is dropped."""
    me = guard()
    if not isinstance(caller, Caller):
        raise UsageError(f"{caller!r} is not allowed: the Caller that handle_call got")
    if me is not None and me.tracer is not None:
        me.trace("reply", value, caller.pid)
    if caller.server.drop_caller(caller.future):
        settle(caller.future, value)


def stop(server: Server, reason: Reason | None = None, timeout: float = math.inf) -> None:
    """Have the server run `terminate` and end, and wait until it has.

    Args:
        server: Any GenServer, a supervisor too.
        reason: `Normal()` unless given. Supervisors restart a permanent child whatever it is.
        timeout: Seconds to wait.

    Raises:
        CallFailed: No such process, or it ended for another reason.
        CallTimeout: It has not ended yet.
    """
    me = guard()
    check_seconds("timeout", timeout)
    wanted = Normal() if reason is None else check_reason(reason)
    process = resolve(server)
    if process is None or process.exit_reason is not None:
        raise CallFailed(server, NoProc())
    if process is me:
        raise CallFailed(server, Failure("calling_self"))
    ended = wait_down(process, timeout, lambda: process.put(StopRequest(wanted)))
    if ended is None:
        raise CallTimeout(server, timeout)
    if ended != wanted:
        raise CallFailed(server, ended) from cause(ended)


class StopRequest:
    """What `stop` puts into a server's mailbox."""

    __slots__ = ("reason",)

    def __init__(self, reason: Reason) -> None:
        self.reason = reason


def wait_down(process: Process, seconds: float, act: Callable[[], None] | None = None) -> Reason | None:
    """The reason with which `process` ended, waited for; None if it has not within `seconds`.

    `act`, which is to bring the end about, runs once the end can no longer be missed.
    """
    future: pykka.Future[Reason] = pykka.ThreadingFuture()
    ref = MonitorRef(process)
    process.watch(ref, lambda reason: settle(future, reason))
    if act is not None:
        act()
    try:
        reason: Reason = wait(future, seconds)
    except pykka.Timeout:
        return None
    finally:
        process.unwatch(ref)
    return reason


def cause(reason: Reason) -> BaseException | None:
    """The exception behind a reason, for `raise ... from`."""
    return reason.error if isinstance(reason, Crash) else None
