"""Random supervision trees and operations on them, and the real thing that they are carried out on."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from hypothesis import strategies as st

from otpq import otp
from otpq.otp import (
    Attached,
    CallFailed,
    ChildError,
    ChildSpec,
    DynamicSupervisor,
    Failure,
    Ignore,
    Kill,
    Normal,
    Pid,
    Shutdown,
    StartFailed,
    Supervisor,
)
from tests.integration.otp.support import HANG, Boom, Puppet, crash
from tests.property.otp.model import ABNORMAL, SIGNALS, How, Kind, Outcome, Restart, Spec

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.otp import TreeNode


# --- operations --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class End:
    """End the process that is the `at`-th (of those that run below the root, counted round)."""

    at: int
    how: How

    def how_for(self, *, is_supervisor: bool) -> How:
        """The nearest that this kind of process can be told to do."""
        if not is_supervisor or self.how in {"stop", "kill", *SIGNALS}:
            return self.how
        return "kill" if self.how in ABNORMAL else "stop"


@dataclass(frozen=True)
class StartChild:
    """Add `spec` to the `at`-th supervisor; under the id of its `reuse`-th child, if it has one."""

    at: int
    spec: Spec
    reuse: int | None


@dataclass(frozen=True)
class Ask:
    """terminate_child, restart_child or delete_child of the `child`-th of the `at`-th supervisor; or of nobody."""

    what: str
    at: int
    child: int


@dataclass(frozen=True)
class Doom:
    """Let the next starts of the `at`-th worker come to these outcomes."""

    at: int
    outcomes: tuple[Outcome, ...]


Operation: TypeAlias = End | StartChild | Ask | Doom

restarts: st.SearchStrategy[Restart] = st.sampled_from(["permanent", "permanent", "transient", "temporary"])
hows: st.SearchStrategy[How] = st.sampled_from(
    ["raise", "kill", "failure", "normal", "shutdown", "base", "stop", "signal", "polite", "noise"]
)
workers = st.builds(
    Spec, id=st.just(""), restart=restarts, traps=st.booleans(), significant=st.booleans(), kind=st.none()
)
auto_shutdowns = st.sampled_from(["never", "never", "never", "any_significant", "all_significant"])


def kinds(max_restarts: st.SearchStrategy[int], children: st.SearchStrategy[list[Spec]]) -> st.SearchStrategy[Kind]:
    return st.builds(
        Kind,
        strategy=st.sampled_from(["one_for_one", "one_for_all", "rest_for_one"]),
        max_restarts=max_restarts,
        auto_shutdown=auto_shutdowns,
        children=children.map(tuple),
    )


def dynamic_kinds(max_restarts: st.SearchStrategy[int]) -> st.SearchStrategy[Kind]:
    return st.builds(
        Kind,
        strategy=st.just("dynamic"),
        max_restarts=max_restarts,
        auto_shutdown=auto_shutdowns,
        children=workers.map(lambda worker: (worker,)),
    )


def supervisors_of(kinds: st.SearchStrategy[Kind]) -> st.SearchStrategy[Spec]:
    return st.builds(
        Spec, id=st.just(""), restart=restarts, traps=st.just(value=True), significant=st.booleans(), kind=kinds
    )


def supervisors(max_restarts: st.SearchStrategy[int], depth: int) -> st.SearchStrategy[Spec]:
    """Supervisors with up to 3 children each, over at most `depth` levels of others."""
    below = workers if depth == 0 else st.one_of(workers, supervisors(max_restarts, depth - 1))
    static = kinds(max_restarts, st.lists(below, min_size=1, max_size=3))
    return supervisors_of(st.one_of(static, static, static, dynamic_kinds(max_restarts)))


def roots(max_restarts: st.SearchStrategy[int]) -> st.SearchStrategy[Spec]:
    """Whole trees: a root with 3 to 5 children, over at most two levels of other supervisors."""
    below = st.one_of(workers, workers, supervisors(max_restarts, 1))
    return supervisors_of(kinds(max_restarts, st.lists(below, min_size=3, max_size=5)))


def operations(max_restarts: st.SearchStrategy[int]) -> st.SearchStrategy[Operation]:
    at = st.integers(0, 30)
    added = st.one_of(workers, workers, supervisors(max_restarts, 0))
    end = st.builds(End, at, hows)
    return st.one_of(
        end,
        end,
        st.builds(StartChild, at, added, st.one_of(st.none(), st.none(), st.integers(0, 5))),
        st.builds(Ask, st.sampled_from(["terminate_child", "restart_child", "delete_child"]), at, st.integers(0, 5)),
        st.builds(Doom, at, st.lists(st.sampled_from(["fail", "fail", "ignore"]), min_size=1, max_size=3).map(tuple)),
    )


def many_operations(max_restarts: st.SearchStrategy[int]) -> st.SearchStrategy[list[Operation]]:
    return st.lists(operations(max_restarts), min_size=4, max_size=30)


# --- the real thing ----------------------------------------------------------------------------------------------------


class Real:
    """A tree of real processes that follows the same script as the model."""

    def __init__(self, me: Attached, root: Spec, *, has_names: bool) -> None:
        self.me = me
        self.has_names = has_names
        self.log: list[Any] = []
        self.labels: dict[Pid, str] = {}
        self.next_starts: dict[str, list[Outcome]] = {}
        self.root = self.child_spec(root).start()

    def starts(self) -> list[str]:
        """The workers whose `init` ran, in order."""
        return [entry[1] for entry in self.log if entry[0] == "init"]

    # --- from specs to processes -------------------------------------------------------------------------------------

    def child_spec(self, spec: Spec) -> ChildSpec:
        return ChildSpec(
            id=spec.id,
            start=partial(self._start_worker, spec, spec.id) if spec.kind is None else partial(self._start_sup, spec),
            restart=spec.restart,
            shutdown="infinity",
            type="worker" if spec.kind is None else "supervisor",
            significant=spec.significant,
        )

    def _start_worker(self, spec: Spec, label: str) -> Pid:
        name = label if self.has_names else None
        return Puppet.start_link(label, self.log, self._init, traps=spec.traps, name=name)

    def _init(self, puppet: Puppet) -> Ignore | None:
        self.labels[puppet.pid] = puppet.label
        outcomes = self.next_starts.get(puppet.label)
        outcome = outcomes.pop(0) if outcomes else None
        if outcome == "fail":
            raise Boom
        return Ignore() if outcome == "ignore" else None

    def _start_sup(self, spec: Spec) -> Pid:
        kind = spec.kind
        assert kind is not None
        options: dict[str, Any] = {
            "max_restarts": kind.max_restarts,
            "max_seconds": 3600,
            "auto_shutdown": kind.auto_shutdown,
        }
        if kind.strategy == "dynamic":
            (worker,) = kind.children
            template = self.child_spec(worker)
            object.__setattr__(template, "start", partial(self._start_worker, worker))
            return DynamicSupervisor.start_link(template, **options)
        return Supervisor.start_link(
            [self.child_spec(child) for child in kind.children], strategy=kind.strategy, **options
        )

    # --- operations --------------------------------------------------------------------------------------------------

    def end(self, pid: Pid, how: How, *, ends: bool) -> None:
        """End `pid`; returns when it has ended, if it `ends`."""
        ref = otp.monitor(pid)
        ENDS[how](pid)
        if ends:
            while not (isinstance(message := self.me.receive(HANG), otp.Down) and message.ref is ref):
                pass
        otp.demonitor(ref)

    def ask(self, function: Callable[[], Pid | None], *, starts: bool) -> str:
        """The outcome of a question to a supervisor, in the model's words."""
        try:
            pid = function()
        except ChildError as error:
            return error.code
        except StartFailed:
            return "failed"
        return "ignored" if starts and pid is None else "ok"

    def start_child(self, sup: Pid, spec: Spec, *, is_dynamic: bool) -> str:
        if is_dynamic:
            return self.ask(lambda: DynamicSupervisor.start_child(sup, spec.id, timeout=HANG), starts=True)
        return self.ask(lambda: Supervisor.start_child(sup, self.child_spec(spec), HANG), starts=True)

    # --- coming to rest ----------------------------------------------------------------------------------------------

    def settle(self) -> TreeNode | None:
        """Wait until nothing is under way: every supervisor answered, all its children live, and nobody else does."""
        give_up = time.monotonic() + HANG
        while time.monotonic() < give_up:
            asked = self._ask_all(self.root) if otp.is_alive(self.root) else set()
            if asked is not None and set(self.me.registry.processes()) == asked | {self.me.pid}:
                return otp.tree(self.root) if asked else None
        raise AssertionError(f"the tree does not come to rest: {otp.tree(self.root)}")

    def _ask_all(self, sup: Pid) -> set[Pid] | None:
        """All pids from `sup` down, the inner supervisors asked first; None if something is under way."""
        found = {sup}
        try:
            for row in Supervisor.which_children(sup, HANG):
                if row.pid == "restarting":
                    return None
                if row.pid is not None:
                    below = self._ask_all(row.pid) if row.type == "supervisor" else {row.pid}
                    if below is None:
                        return None
                    found |= below
            Supervisor.count_children(sup, HANG)
        except otp.CallTimeout:
            raise
        except CallFailed:
            return None
        return found if all(otp.is_alive(pid) for pid in found) else None


ENDS: dict[How, Callable[[Pid], None]] = {
    "normal": lambda pid: otp.cast(pid, lambda _puppet: otp.Stop(Normal())),
    "shutdown": lambda pid: otp.cast(pid, lambda _puppet: otp.Stop(Shutdown("done"))),
    "failure": lambda pid: otp.cast(pid, lambda _puppet: otp.Stop(Failure("boom"))),
    "raise": crash,
    "base": lambda pid: crash(pid, SystemExit(3)),
    "stop": lambda pid: otp.stop(pid, timeout=HANG),
    "kill": lambda pid: otp.exit(pid, Kill()),
    "signal": lambda pid: otp.exit(pid, Failure("boom")),
    "polite": lambda pid: otp.exit(pid, Shutdown()),
    "noise": lambda pid: otp.exit(pid, Normal()),
}
