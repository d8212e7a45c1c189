"""The processes of gen_server scenarios: servers whose callbacks carry out scripted actions."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any, NoReturn

from otp_stage import Monitors
from otp_terms import Script, ScriptedError, Term, reason_of, seconds

from otpq.otp import (
    TIMEOUT,
    CallFailed,
    Continue,
    Crash,
    Down,
    Exit,
    GenServer,
    Ignore,
    NoReply,
    Ok,
    Pid,
    ProcessExit,
    Reason,
    Reply,
    Server,
    StartFailed,
    StartIgnored,
    Stop,
    TimerRef,
    UsageError,
    call,
    cancel_timer,
    cast,
    link,
    reply,
    self_pid,
    send,
    send_after,
    trap_exit,
    unlink,
)
from otpq.otp import (
    exit as exit_signal,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from otp_stage import Stage

    from otpq.otp import Caller

__all__ = ["ScriptedServer", "result_of_call", "start_server"]


def start_server(stage: Stage, script: Script) -> Term:
    """Start a server as the current process, with `link` as its child. What gen_server:start gives back."""
    start = ScriptedServer.start_link if script.get("link") else ScriptedServer.start
    try:
        return ["ok", stage.label(start(stage, script, name=script.get("name")))]
    except StartIgnored:
        return "ignore"
    except StartFailed as failed:
        return ["error", stage.term(failed.reason)]
    except UsageError as error:  # one that init itself has made
        return ["error", stage.term(Crash(error))]


def result_of_call(stage: Stage, server: Server, message: Script, timeout: Term) -> Term:
    """What a call gives back, its exit as a value."""
    try:
        return ["reply", call(server, message, seconds(timeout))]
    except CallFailed as failed:
        return ["exit", stage.term(failed.reason)]


class ScriptedServer(GenServer):
    """A server: each message says what its callback does and returns."""

    def init(self, stage: Stage, script: Script) -> Ok | Ignore | Stop:
        """Start as scripted."""
        self.stage, self.script = stage, script
        self.count = 0
        self.caller: Caller | None = None
        self.saved: deque[Caller] = deque()
        self.monitors = Monitors(stage)
        self.timers: dict[str, TimerRef] = {}
        trap_exit(script.get("trap_exit", False))
        self.label, _ = stage.enter(script["id"])
        start = script.get("init", {})
        self._act(start.get("do", []))
        return self._begin(start.get("ret", ["ok"]))

    def handle_call(self, request: Any, caller: Caller) -> Any:
        """Do what the message says."""
        self.stage.log("handle_call", self.label, request["m"])
        self.caller = caller
        return self._run(request, ["reply", "ok"])

    def handle_cast(self, request: Any) -> Any:
        """Do what the message says."""
        self.stage.log("handle_cast", self.label, request["m"])
        return self._run(request)

    def handle_info(self, message: Any) -> Any:
        """Do what the message says; for a signal, what the script says."""
        match message:
            case Exit():
                sender = self.stage.label(message.pid)
                self._log_info(["EXIT", sender, self.stage.term(message.reason)])
                return self._answer(self.script.get("on_exit", ["noreply"]))
            case Down():
                self._log_info(self.monitors.shown(message))
                return NoReply()
            case _ if message is TIMEOUT:
                self._log_info("timeout")
                return self._answer(self.script.get("on_timeout", ["noreply"]))
            case _:
                self._log_info(message["m"])
                return self._run(message)

    def handle_continue(self, arg: Any) -> Any:
        """Do what the script says for `arg`."""
        self.stage.log("handle_continue", self.label, arg)
        return self._run(self.script.get("continue", {}).get(arg, {}))

    def terminate(self, reason: Reason) -> None:
        """Do what the script says."""
        self.stage.log("terminate", self.label, self.stage.term(reason))
        self._act(self.script.get("terminate", []))

    # --- what callbacks return ---------------------------------------------------------------------------------------

    def _run(self, script: Script, default: Term = ("noreply",)) -> Any:
        self._act(script.get("do", []))
        return self._answer(script.get("ret", default))

    def _answer(self, ret: Term) -> Any:
        kind, *values = ret
        return getattr(self, f"_return_{kind}")(*values)

    def _return_reply(self, value: Term, wait: Term = "infinity") -> Reply:
        return Reply(self._value(value), _idle(wait))

    def _return_reply_continue(self, value: Term, arg: Term) -> Reply:
        return Reply(self._value(value), Continue(arg))

    def _return_noreply(self, wait: Term = "infinity") -> NoReply:
        return NoReply(_idle(wait))

    def _return_noreply_continue(self, arg: Term) -> NoReply:
        return NoReply(Continue(arg))

    def _return_stop(self, reason: Term, *values: Term) -> Stop:
        return Stop(reason_of(reason), *map(self._value, values))

    def _return_bad(self, value: Term) -> Term:
        return value

    def _value(self, value: Term) -> Term:
        if isinstance(value, list):
            return [self._value(item) for item in value]
        return self.count if value == "$state" else value

    # --- what init returns -------------------------------------------------------------------------------------------

    def _begin(self, ret: Term) -> Ok | Ignore | Stop:
        kind, *values = ret
        outcome: Ok | Ignore | Stop = getattr(self, f"_begin_{kind}")(*values)
        return outcome

    def _begin_ok(self, action: float | Continue | None = None) -> Ok:
        self.stage.log("init", self.label, "ok")
        self.stage.succeed(self.script["id"])
        return Ok(action)

    def _begin_continue(self, arg: Term) -> Ok:
        return self._begin_ok(Continue(arg))

    def _begin_timeout(self, wait: Term) -> Ok:
        return self._begin_ok(_idle(wait))

    def _begin_ignore(self) -> Ignore:
        self.stage.log("init", self.label, "ignore")
        return Ignore()

    def _begin_stop(self, reason: Term) -> Stop:
        self.stage.log("init", self.label, ["stop", reason])
        return Stop(reason_of(reason))

    def _begin_raise(self, reason: Term) -> NoReturn:
        self.stage.log("init", self.label, ["raise", reason])
        raise ScriptedError(reason)

    def _log_info(self, what: Term) -> None:
        self.stage.log("handle_info", self.label, what)

    # --- actions -----------------------------------------------------------------------------------------------------

    def _act(self, actions: Iterable[Term]) -> None:
        for name, *args in actions:
            getattr(self, f"_do_{name}")(*args)

    def _log_result(self, result: Term) -> None:
        self.stage.log("result", self.label, result)

    def _server(self, to: str) -> Server:
        return self_pid() if to == self.script["id"] else self.stage.server(to)

    def _pid(self, to: str) -> Pid:
        return self_pid() if to == self.script["id"] else self.stage.pid(to)

    def _do_sleep(self, wait: Term) -> None:
        time.sleep(seconds(wait))

    def _do_gate(self, gate: str) -> None:
        self.stage.wait_at(gate)

    def _do_log(self, value: Term) -> None:
        self.stage.log("log", self.label, self._value(value))

    def _do_add(self, number: int) -> None:
        self.count += number

    def _do_save_from(self) -> None:
        if self.caller is not None:
            self.saved.append(self.caller)

    def _do_reply_saved(self, value: Term) -> None:
        if self.saved:
            reply(self.saved.popleft(), self._value(value))

    def _do_reply_now(self, value: Term) -> None:
        if self.caller is not None:
            reply(self.caller, self._value(value))

    def _do_send(self, to: str, message: Script) -> None:
        send(self._server(to), message)

    def _do_cast(self, to: str, message: Script) -> None:
        cast(self._server(to), message)

    def _do_call(self, to: str, message: Script, timeout: Term) -> None:
        with self.stage.resting():
            result = result_of_call(self.stage, self._server(to), message, timeout)
        self._log_result(result)

    def _do_call_self(self, message: Script, timeout: Term) -> None:
        self._log_result(result_of_call(self.stage, self_pid(), message, timeout))

    def _do_monitor(self, of: str, tag: str) -> None:
        self.monitors.add(self._pid(of), tag)

    def _do_demonitor(self, tag: str) -> None:
        self.monitors.remove(tag)

    def _do_link(self, to: str) -> None:
        link(self._pid(to))

    def _do_unlink(self, to: str) -> None:
        unlink(self._pid(to))

    def _do_exit_to(self, to: str, reason: Term) -> None:
        exit_signal(self._pid(to), reason_of(reason))

    def _do_trap_exit(self, on: bool) -> None:  # noqa: FBT001 - Erlang's word
        trap_exit(on)

    def _do_exit(self, reason: Term) -> None:
        raise ProcessExit(reason_of(reason))

    def _do_raise(self, reason: Term) -> None:
        raise ScriptedError(reason)

    def _do_start(self, script: Script) -> None:
        with self.stage.resting():
            result = start_server(self.stage, script)
        self._log_result(result)

    def _do_send_after(self, wait: Term, message: Script, tag: str) -> None:
        self.timers[tag] = send_after(seconds(wait), self_pid(), message)

    def _do_cancel_timer(self, tag: str) -> None:
        self._log_result(remaining(self.timers.get(tag)))


def remaining(timer: TimerRef | None) -> Term:
    """What cancelling `timer` gives back: it had time left, or it had fired, was cancelled, or never was."""
    return timer is not None and cancel_timer(timer) is not None and "remaining"


def _idle(wait: Term) -> float | None:
    """The idle timeout that a return value ends in, in seconds."""
    return None if wait == "infinity" else seconds(wait)
