"""The processes of supervisor scenarios: workers and supervisors that do what their script says."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from otp_terms import Script, ScriptedError, Term, bad_flag, bad_spec, reason_of, seconds

from otpq.otp import (
    BadSpec,
    ChildSpec,
    DynamicSupervisor,
    Exit,
    Failure,
    GenServer,
    Ignore,
    Pid,
    ProcessExit,
    Reason,
    Reply,
    Stop,
    Supervisor,
    SupervisorFlags,
    check_child_specs,
    trap_exit,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from otp_stage import Stage

    from otpq.otp import Caller

__all__ = ["SpecError", "child_spec", "child_specs", "start_supervisor"]


class SpecError(Exception):
    """A child spec is bad, for the reason that OTP would give."""

    def __init__(self, reason: Term) -> None:
        super().__init__(reason)
        self.reason = reason


class Worker(GenServer):
    """A worker: starts, fails and ends as its script says."""

    def init(self, stage: Stage, id_: str, script: Script) -> Ignore | Stop | None:
        """Start with the outcome that is scripted for this attempt."""
        self.stage, self.script = stage, script
        trap_exit(script.get("trap_exit", False))
        self.label, attempt = stage.enter(id_)
        outcomes = script.get("init", [])
        first = outcomes[attempt - 1] if attempt <= len(outcomes) else script.get("init_default", "ok")
        outcome = self._wait(first)
        stage.log("init", self.label, outcome if isinstance(outcome, str) else list(*outcome.items()))
        match outcome:
            case "ignore":
                return Ignore()
            case {"error": reason}:
                return Stop(reason_of(reason))
            case {"exit": reason}:
                raise ProcessExit(reason_of(reason))
            case {"raise": reason}:
                raise ScriptedError(reason)
            case _:
                stage.succeed(id_)
                return None

    def handle_call(self, request: Any, caller: Caller) -> Reply:  # noqa: ARG002 - GenServer's signature
        """Answer a ping."""
        return Reply("pong")

    def handle_cast(self, request: Any) -> Stop | None:
        """Fail, or be busy."""
        how, what = request
        match how:
            case "busy":
                self.stage.log("busy", self.label)
                self._sleep(what)
                self.stage.log("busy_done", self.label)
                return None
            case "stop":
                return Stop(reason_of(what))
            case "exit":
                raise ProcessExit(reason_of(what))
            case _:
                raise ScriptedError(what)

    def handle_info(self, message: Any) -> None:
        """Show an exit signal that was trapped."""
        if isinstance(message, Exit):
            self.stage.log("info", self.label, ["EXIT", self.stage.term(message.reason)])

    def terminate(self, reason: Reason) -> None:
        """End as scripted."""
        self.stage.log("terminate", self.label, self.stage.term(reason))
        match self.script.get("term", "ok"):
            case "hang":
                self._sleep("infinity")
            case {"sleep": wait}:
                self._sleep(wait)
                self.stage.log("terminated", self.label)
            case {"exit": other}:
                raise ProcessExit(reason_of(other))
            case {"raise": other}:
                raise ScriptedError(other)
            case _:
                pass

    def _sleep(self, wait: Term) -> None:
        with self.stage.resting():
            threading.Event().wait(None if wait == "infinity" else seconds(wait))

    def _wait(self, outcome: Term) -> Term:
        """The outcome proper, after the gates and the sleeps that come before it."""
        while isinstance(outcome, dict) and "then" in outcome:
            if "gate" in outcome:
                self.stage.wait_at(outcome["gate"])
            else:
                self._sleep(outcome["sleep"])
            outcome = outcome["then"]
        return outcome


class Tree(Supervisor):
    """A supervisor with children by id."""

    def init(self, stage: Stage, sup: Script) -> Stop | None:  # type: ignore[override]  # a script says all
        """Start the scripted children."""

        def begin(flags: dict[str, Any]) -> Stop | None:
            specs = child_specs(stage, sup.get("children", []), sup.get("auto_shutdown", "never"))
            return Supervisor.init(self, specs, **flags)

        return _init(stage, sup, begin)


class Pool(DynamicSupervisor):
    """A supervisor of the strategy simple_one_for_one."""

    def init(self, stage: Stage, sup: Script) -> Stop | None:  # type: ignore[override]  # a script says all
        """Begin without children."""

        def begin(flags: dict[str, Any]) -> Stop | None:
            template = sup.get("children", [])
            if len(template) == 1:  # if not, it is DynamicSupervisor that has to refuse it
                template = _template(stage, template[0], sup.get("auto_shutdown", "never"))
            return DynamicSupervisor.init(self, template, **flags)

        return _init(stage, sup, begin)


def start_supervisor(stage: Stage, sup: Script) -> Pid:
    """Start the supervisor that `sup` describes, linked to the current process."""
    is_simple = sup.get("strategy") == "simple_one_for_one"
    return Pool.start_link(stage, sup) if is_simple else Tree.start_link(stage, sup)


def _init(stage: Stage, sup: Script, begin: Callable[[dict[str, Any]], Stop | None]) -> Stop | None:
    """The init of a supervisor: `begin` makes the specs and starts the children, with the flags that it is given."""
    label, _ = stage.enter(sup["id"], sup)
    stage.log("sup_init", label)
    try:
        failure = begin(_flags(sup))
    except SpecError as refused:
        return Stop(Failure(["start_spec", refused.reason]))
    except BadSpec as bad:
        return Stop(Failure(["bad_start_spec"] if bad.field == "template" else ["supervisor_data", bad_flag(bad, sup)]))
    if failure is None:
        stage.succeed(sup["id"])
    return failure


def _flags(sup: Script) -> dict[str, Any]:
    """The options for a supervisor's init. Checked here, because OTP checks them before it looks at the specs."""
    names = {"intensity": "max_restarts", "period": "max_seconds", "auto_shutdown": "auto_shutdown"}
    if sup.get("strategy") != "simple_one_for_one":
        names["strategy"] = "strategy"
    flags = {ours: sup[name] for name, ours in names.items() if name in sup}
    SupervisorFlags(**flags)
    return flags


# --- child specs -----------------------------------------------------------------------------------------------------


def child_spec(stage: Stage, child: Script, auto_shutdown: str, start: Callable[..., Pid] | None = None) -> ChildSpec:
    """The spec of `child`, for a supervisor with this `auto_shutdown`; `start` starts it, if not as its script says.

    Raises:
        SpecError: It cannot be right.
    """
    options: Script = {name: child[name] for name in ("restart", "type", "significant") if name in child}
    if "shutdown" in child:
        options["shutdown"] = seconds(child["shutdown"])
    options["id"] = None if child.get("no_id") else child["id"]
    try:
        return ChildSpec(start=start or _start(stage, child), **options)
    except BadSpec as bad:
        raise SpecError(bad_spec(bad, child, auto_shutdown)) from bad


def child_specs(stage: Stage, children: Iterable[Script], auto_shutdown: str) -> list[ChildSpec]:
    """The specs of `children`, checked one after the other, as OTP does. Raises as `child_spec`."""
    specs: list[ChildSpec] = []
    check_specs(specs, {}, auto_shutdown)
    for child in children:
        specs.append(child_spec(stage, child, auto_shutdown))
        check_specs(specs, child, auto_shutdown)
    return specs


def check_specs(specs: list[ChildSpec], last: Script, auto_shutdown: str) -> None:
    """Check that `specs`, the last of which was made from the script `last`, can stand together.

    Raises:
        SpecError: They cannot.
    """
    try:
        check_child_specs(specs, auto_shutdown=auto_shutdown)  # type: ignore[arg-type]  # wrong on purpose
    except BadSpec as bad:
        raise SpecError(bad_spec(bad, last, auto_shutdown)) from bad


def _start(stage: Stage, child: Script) -> Callable[..., Pid]:
    if "sup" in child:
        return partial(start_supervisor, stage, child["sup"])
    return partial(Worker.start_link, stage, child.get("id"), child.get("worker", {}))


def _template(stage: Stage, child: Script, auto_shutdown: str) -> ChildSpec:
    spec = child_spec(stage, child, auto_shutdown, _start_instance(stage, child))
    check_specs([spec], child, auto_shutdown)
    return spec


def _start_instance(stage: Stage, template: Script) -> Callable[..., Pid]:
    """What starts an instance of `template`, given the args of start_child."""

    def start(args: Script) -> Pid:
        if "sup" in template:
            return start_supervisor(stage, {**_within(template["sup"], args["name"]), "id": args["name"]})
        return Worker.start_link(stage, args["name"], {**template.get("worker", {}), **args})

    return start


def _within(sup: Script, name: str) -> Script:
    """The script of a supervisor that belongs to the instance `name`: all ids below it bear that name, too."""
    children = []
    for child in sup.get("children", []):
        renamed = {**child, "id": f"{name}.{child['id']}"}
        if "sup" in child:
            renamed["sup"] = {**_within(child["sup"], name), "id": f"{name}.{child['sup']['id']}"}
        children.append(renamed)
    return {**sup, "children": children}
