"""Runs the scenarios of the OTP oracle on `otpq.otp`, through its public API alone.

    python otp/compare.py --adapter otp_adapter.py otp

The scripted processes are in `otp_workers.py` and `otp_servers.py`, what they share is in `otp_stage.py`; here is the
driver that carries out the steps.
"""

from __future__ import annotations

import json
import math
import threading
import time
from sys import _current_frames
from typing import TYPE_CHECKING, Any

from otp_servers import remaining, result_of_call, start_server
from otp_stage import Monitors, Stage
from otp_terms import Script, Term, bad_spec, milliseconds, reason_of, seconds
from otp_workers import SpecError, child_spec, child_specs, start_supervisor

from otpq.otp import (
    Attached,
    BadSpec,
    CallFailed,
    CallTimeout,
    ChildError,
    ChildInfo,
    Down,
    DynamicSupervisor,
    Exit,
    Normal,
    Pid,
    ProcessExit,
    Shutdown,
    StartFailed,
    Supervisor,
    TimerRef,
    UsageError,
    attach,
    call,
    cast,
    is_alive,
    link,
    monitor,
    register,
    send,
    send_after,
    stop,
    unlink,
    unregister,
    whereis,
)
from otpq.otp import (
    exit as exit_signal,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.otp import Registry

__all__ = ["run"]

QUIET = 0.1
"""Seconds without an event after which a step is settled; the oracle allows 0.03 to 0.15."""
POLL = 0.002
"""Seconds between two looks at something that cannot be waited for."""

Entry = dict[str, Any]


def run(scenario: Script) -> list[Entry]:
    """The trace of `scenario`."""
    with attach("driver", trap_exit=True) as me:
        driver = SupervisorDriver(me) if scenario["kind"] == "supervisor" else ServerDriver(me)
        return driver.run(scenario)


class Other:
    """Another process, on a thread of its own, that carries out one thing."""

    def __init__(self, stage: Stage, label: str, work: Callable[[], Term], registry: Registry) -> None:
        self._stage, self._label, self._work, self._registry = stage, label, work, registry
        self._result: Term = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=label, daemon=True)
        self._thread.start()

    def result(self) -> Term:
        """What came of it, waited for."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._result

    def wait_until_sent(self) -> None:
        """Return when its request is on the way: it waits for the answer, or has it."""
        while self._thread.is_alive() and not self._is_waiting():
            time.sleep(POLL)

    def _is_waiting(self) -> bool:
        frame = _current_frames().get(self._thread.ident or 0)
        return frame is not None and frame.f_code is threading.Condition.wait.__code__

    def _run(self) -> None:
        try:
            with attach(self._label, registry=self._registry, trap_exit=True) as me:
                self._stage.add_extra(me.pid, self._label)
                self._result = self._work()
                raise ProcessExit(Normal())  # noqa: TRY301 - the end of an Erlang process that has nothing left to do
        except ProcessExit:
            pass
        except BaseException as error:  # noqa: BLE001 - handed over
            self._error = error


class Driver:
    """Carries out the steps of a scenario and notes what comes of them. `do_x` is the op `x`."""

    def __init__(self, me: Attached) -> None:
        self.me = me
        self.stage = Stage()
        self.stage.add_extra(me.pid, "driver")
        self._asyncs: dict[str, Other] = {}

    def run(self, scenario: Script) -> list[Entry]:
        """The trace of `scenario`."""
        return [self._step(number, step) for number, step in enumerate(scenario["steps"])]

    def do(self, step: Script) -> Term:
        """Carry out one step: what it returns."""
        do: Callable[[Script], Term] = getattr(self, f"do_{step['op']}")
        return do(step)

    def as_other(self, label: str, work: Callable[[], Term]) -> Other:
        """Let another process, known as `label`, carry out `work`."""
        return Other(self.stage, label, work, self.me.registry)

    def observe(self, step: Script) -> Entry:  # noqa: ARG002 - for those that observe more at some steps
        """What has been seen since the last settled step."""
        return {"events": self.stage.take()}

    def do_async(self, step: Script) -> None:
        """Have another process carry out a step; go on once its request has been sent."""
        other = self._asyncs[step["tag"]] = self.as_other(step["tag"], lambda: self.do(step["call"]))
        other.wait_until_sent()

    def do_await(self, step: Script) -> Term:
        """Wait for what came of an async step."""
        return self._asyncs[step["tag"]].result()

    def do_open_gate(self, step: Script) -> Term:
        """Let those that wait at a gate go on."""
        self.stage.open(step["gate"])
        return "ok"

    def do_sleep(self, step: Script) -> None:
        """Let time pass."""
        time.sleep(seconds(step["ms"]))

    def _step(self, number: int, step: Script) -> Entry:
        begun = time.monotonic()
        entry: Entry = {"step": number, "op": step["op"], "ret": self.do(step)}
        took = 1000 * (time.monotonic() - begun)
        if "time" in step:
            least, most = step["time"]
            entry["in_time"] = least <= took <= most
        if not step.get("settle", True):
            return {**entry, "events": []}
        self._settle()
        return {**entry, **self.observe(step)}

    def _settle(self) -> None:
        """Wait until nothing moves any more."""
        self._wait_until_idle()
        since = time.monotonic()
        while (rest := max(since, self.stage.last_event_at()) + QUIET - time.monotonic()) > 0:
            time.sleep(rest)
            self._wait_until_idle()

    def _wait_until_idle(self) -> None:
        """Wait for what is known to be at work."""
        self._ask_supervisors()
        while self.stage.is_at_work():
            time.sleep(POLL)

    def _ask_supervisors(self) -> None:
        """Have every supervisor answer, which it does when it is done with what came before; one at a gate cannot."""
        for supervisor in self.stage.supervisors():
            has_answered = False
            while not has_answered and not self.stage.is_at_gate():
                has_answered = _is_answering(supervisor)


class SupervisorDriver(Driver):
    """Carries out the steps of a supervisor scenario. The driver is the root's parent."""

    def run(self, scenario: Script) -> list[Entry]:
        """The trace of `scenario`, between the start of the root and its end."""
        begin, end = {"op": "start_link", "sup": scenario["sup"]}, {"op": "teardown", "sup": scenario["sup"]["id"]}
        return super().run({**scenario, "steps": [begin, *scenario["steps"], end]})

    def observe(self, step: Script) -> Entry:
        """The events; at the end also who still lives."""
        seen = super().observe(step)
        return {**seen, "alive": self.stage.living()} if step["op"] == "teardown" else seen

    def do_start_link(self, step: Script) -> Term:
        """Start the root."""
        return self._answer(lambda: self._started(start_supervisor(self.stage, step["sup"])))

    def do_teardown(self, step: Script) -> Term:
        """Tell the root to shut down, and wait until it has."""
        root = self.stage.pid(step["sup"])
        ref = monitor(root)
        exit_signal(root, Shutdown())
        while True:
            message = self.me.receive(math.inf)
            if isinstance(message, Down) and message.ref is ref:
                return self.stage.term(message.reason)

    # --- the supervisor's own operations -----------------------------------------------------------------------------

    def do_start_child(self, step: Script) -> Term:
        """Start an instance of the template, or a child by its spec."""
        supervisor = self._supervisor(step)
        if "args" in step:
            return self._answer(
                lambda: self._started(DynamicSupervisor.start_child(supervisor, step["args"], timeout=math.inf))
            )
        if not is_alive(supervisor):  # which comes before the question whether the spec is right
            return ["exit", "noproc"]
        return self._answer(lambda: self._started(self._start_child(supervisor, step["child"])))

    def do_restart_child(self, step: Script) -> Term:
        """As named."""
        return self._answer(
            lambda: self._started(
                Supervisor.restart_child(self._supervisor(step), self._child(step), timeout=math.inf),
            )
        )

    def do_terminate_child(self, step: Script) -> Term:
        """As named."""
        return self._answer(
            lambda: Supervisor.terminate_child(self._supervisor(step), self._child(step), timeout=math.inf) or "ok"
        )

    def do_delete_child(self, step: Script) -> Term:
        """As named."""
        return self._answer(
            lambda: Supervisor.delete_child(self._supervisor(step), self._child(step), timeout=math.inf) or "ok"
        )

    def do_which_children(self, step: Script) -> Term:
        """As named."""
        return self._answer(
            lambda: self._rows(Supervisor.which_children(self._supervisor(step), timeout=math.inf)),
        )

    def do_count_children(self, step: Script) -> Term:
        """As named."""
        return self._answer(lambda: Supervisor.count_children(self._supervisor(step), timeout=math.inf)._asdict())

    def do_get_childspec(self, step: Script) -> Term:
        """As named."""

        def get() -> Term:
            spec = Supervisor.get_childspec(self._supervisor(step), self._child(step), timeout=math.inf)
            shown = {name: getattr(spec, name) for name in ("id", "restart", "type", "significant")}
            return ["ok", {**shown, "shutdown": milliseconds(spec.shutdown)}]

        return self._answer(get)

    def do_check_childspecs(self, step: Script) -> Term:
        """As named. Without an auto_shutdown OTP does not ask whether one would react to a significant child."""
        auto_shutdown = step.get("auto_shutdown", "any_significant")

        def check() -> Term:
            child_specs(self.stage, step["children"], auto_shutdown)
            return "ok"

        return self._answer(check)

    # --- what is done to its children, and to itself -----------------------------------------------------------------

    def do_fail(self, step: Script) -> Term:
        """End a worker, by itself or by a stranger's signal."""
        pid = self._living(step)
        if pid is None:
            return "noproc"
        match step["how"]:
            case "kill":
                self._signal(pid, "kill")
            case "signal":
                self._signal(pid, step["reason"])
            case how:
                cast(pid, (how, step["reason"]))
        return None

    def do_busy(self, step: Script) -> None:
        """Keep a worker busy."""
        cast(self.stage.pid(step["id"]), ("busy", step["ms"]))

    def do_ping(self, step: Script) -> Term:
        """Call a worker."""
        try:
            return call(self.stage.pid(step["id"]), "ping")
        except CallFailed as failed:
            return self.stage.term(failed.reason)

    def do_whereis(self, step: Script) -> Term:
        """The process that lives under an id."""
        pid = self._living(step)
        return "undefined" if pid is None else self.stage.label(pid)

    def do_exit_sup(self, step: Script) -> None:
        """Send a supervisor an exit signal."""
        if step["from"] == "parent":
            exit_signal(self._supervisor(step), reason_of(step["reason"]))
        else:
            self._signal(self._supervisor(step), step["reason"])

    def do_send_sup(self, step: Script) -> None:
        """Send a supervisor a message that it does not expect."""
        send(self._supervisor(step), step["msg"])

    # --- helpers -----------------------------------------------------------------------------------------------------

    def _start_child(self, supervisor: Pid, child: Script) -> Pid | None:
        auto_shutdown = self.stage.supervisor(supervisor).get("auto_shutdown", "never")
        spec = child_spec(self.stage, child, auto_shutdown)
        try:
            return Supervisor.start_child(supervisor, spec, timeout=math.inf)
        except BadSpec as bad:  # good as such, but not under this supervisor
            raise SpecError(bad_spec(bad, child, auto_shutdown)) from bad

    def _supervisor(self, step: Script) -> Pid:
        return self.stage.pid(step.get("sup", "root"))

    def _child(self, step: Script) -> Any:
        """The id that a step gives, or the pid: where that is none that the operation takes, it is its to refuse."""
        return self.stage.pid(step["pid_of"]) if "pid_of" in step else step["id"]

    def _living(self, step: Script) -> Pid | None:
        pid = self.stage.find(step["id"])
        return pid if pid is not None and is_alive(pid) else None

    def _signal(self, pid: Pid, reason: Term) -> None:
        """Send the exit signal of a process that is neither parent nor child."""
        self.as_other("other", lambda: exit_signal(pid, reason_of(reason))).result()

    def _answer(self, ask: Callable[[], Term]) -> Term:
        """What a question to a supervisor gives back, its errors as values."""
        try:
            return ask()
        except ChildError as error:
            return ["error", ["already_started", self.stage.term(error.pid)] if error.pid else error.code]
        except StartFailed as failed:
            return ["error", self.stage.term(failed.reason)]
        except SpecError as refused:
            return ["error", refused.reason]
        except CallFailed as failed:
            return ["exit", self.stage.term(failed.reason)]

    def _started(self, pid: Pid | None) -> Term:
        return ["ok", "undefined" if pid is None else self.stage.label(pid)]

    def _rows(self, children: list[ChildInfo]) -> Term:
        rows = [[child.id or "undefined", self._shown(child), child.type] for child in children]
        return rows if all(child.id for child in children) else sorted(rows, key=json.dumps)

    def _shown(self, child: ChildInfo) -> str:
        return self.stage.label(child.pid) if isinstance(child.pid, Pid) else child.pid or "undefined"


class ServerDriver(Driver):
    """Carries out the steps of a gen_server scenario. The driver is the parent of linked servers."""

    def __init__(self, me: Attached) -> None:
        super().__init__(me)
        self._received: list[object] = []
        self._monitors = Monitors(self.stage)
        self._timers: dict[str, TimerRef] = {}

    def observe(self, step: Script) -> Entry:
        """The events, and what the driver has received."""
        self._receive()
        received, self._received = self._received, []
        return {**super().observe(step), "mailbox": [self._shown(message) for message in received]}

    def do_start(self, step: Script) -> Term:
        """Start a server."""
        return start_server(self.stage, step["server"])

    def do_call(self, step: Script) -> Term:
        """Call a server."""
        return result_of_call(self.stage, self.stage.server(step["to"]), step["msg"], step.get("timeout", 5000))

    def do_cast(self, step: Script) -> Term:
        """Cast to a server."""
        cast(self.stage.server(step["to"]), step["msg"])
        return "ok"

    def do_send(self, step: Script) -> Term:
        """Send a server a plain message."""
        return _badarg(lambda: send(self.stage.server(step["to"]), step["msg"]), "ok")

    def do_stop(self, step: Script) -> Term:
        """Stop a server, and wait until it has."""
        reason, timeout = reason_of(step.get("reason", "normal")), seconds(step.get("timeout", "infinity"))
        try:
            stop(self.stage.server(step["to"]), reason, timeout)
        except CallFailed as failed:
            return ["exit", self.stage.term(failed.reason)]
        return "ok"

    def do_exit_signal(self, step: Script) -> None:
        """Send a server an exit signal."""
        exit_signal(self.stage.pid(step["to"]), reason_of(step["reason"]))

    def do_monitor(self, step: Script) -> None:
        """Monitor a server."""
        self._monitors.add(self.stage.pid(step["of"]), step["tag"])

    def do_demonitor(self, step: Script) -> None:
        """Take a monitor back; with `flush` also the message that it may have led to."""
        self._receive()  # what has come stays, unless it is flushed
        ref = self._monitors.remove(step["tag"])
        if step.get("flush"):
            self._received = [message for message in self._received if getattr(message, "ref", None) is not ref]

    def do_link(self, step: Script) -> None:
        """Link the driver to a server."""
        link(self.stage.pid(step["to"]))

    def do_unlink(self, step: Script) -> None:
        """Undo a link."""
        unlink(self.stage.pid(step["to"]))

    def do_register(self, step: Script) -> Term:
        """Give a server a name."""
        return _badarg(lambda: register(step["name"], self.stage.pid(step["id"])), result=True)

    def do_unregister(self, step: Script) -> Term:
        """Take a name back."""
        return _badarg(lambda: unregister(step["name"]), result=True)

    def do_whereis(self, step: Script) -> Term:
        """Who has a name."""
        pid = whereis(step["name"])
        return "undefined" if pid is None else self.stage.label(pid)

    def do_is_alive(self, step: Script) -> Term:
        """Whether a server lives."""
        return is_alive(self.stage.pid(step["id"]))

    def do_send_after(self, step: Script) -> None:
        """Send a server a plain message later."""
        self._timers[step["tag"]] = send_after(seconds(step["ms"]), self.stage.server(step["to"]), step["msg"])

    def do_cancel_timer(self, step: Script) -> Term:
        """Stop a timer."""
        return remaining(self._timers.get(step["tag"]))

    def _receive(self) -> None:
        """Empty the driver's mailbox."""
        while True:
            try:
                self._received.append(self.me.receive(0))
            except TimeoutError:
                return

    def _shown(self, message: object) -> Term:
        match message:
            case Exit():
                return ["EXIT", self.stage.label(message.pid), self.stage.term(message.reason)]
            case Down():
                return self._monitors.shown(message)
            case {"m": name}:
                return ["msg", name]
            case _:
                return ["msg", repr(message)]


def _is_answering(supervisor: Pid) -> bool:
    """Whether a supervisor answers a question soon; a dead one will not be asked again."""
    try:
        Supervisor.which_children(supervisor, timeout=QUIET)
    except CallTimeout:
        return False
    except CallFailed:
        pass
    return True


def _badarg(do: Callable[[], None], result: Term) -> Term:
    """`result` when `do` is done; a wrong argument as Erlang's error."""
    try:
        do()
    except UsageError:
        return ["error", "badarg"]
    return result
