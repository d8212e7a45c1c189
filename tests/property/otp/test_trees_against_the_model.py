"""Random supervision trees under random operations: after each, the real tree is what the model says it is.

The tree is compared by ids, by who runs, and by who is still the same process: a restart where none is due is found as
surely as a missing one. The order of all starts is compared, too. After each example nothing is left: no process, no
zombie, no thread, no name; and no call on the way has waited for its timeout.
"""

from __future__ import annotations

import logging
import threading
from itertools import count
from typing import TYPE_CHECKING

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from otpq import otp
from otpq.otp import ChildCounts, ChildInfo, Kill, Pid, Registry, Supervisor, TreeNode, attach, is_clean
from tests.integration.otp.support import HANG, MANY, join_new_threads
from tests.property.otp.model import Kind, Life, Model, Shape, Spec
from tests.property.otp.trees import (
    ENDS,
    Ask,
    Doom,
    End,
    Operation,
    Real,
    StartChild,
    many_operations,
    roots,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.property.otp.model import How


@pytest.fixture(autouse=True)
def no_log() -> Iterator[None]:
    """Thousands of crashes are logged otherwise, and kept by pytest."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


class Run:
    """One example: the model and the real tree, side by side."""

    def __init__(self, model: Model, real: Real, numbers: Iterator[int]) -> None:
        self.model = model
        self.real = real
        self.numbers = numbers
        self.pids: dict[int, Pid] = {}
        """The process of each serial of the model, for ever."""

    def carry_out(self, operation: Operation) -> None:
        """Do it to both, and hold their answers against each other."""
        model, real = self.model, self.real
        match operation:
            case End(at=at):
                running = model.running()
                if running:
                    life = running[at % len(running)]
                    how = operation.how_for(is_supervisor=life.spec.kind is not None)
                    real.end(self.pids[life.serial], how, ends=model.end(life, how))
            case Doom(at=at, outcomes=outcomes):
                labels = [life.spec.id for life in model.running() if life.spec.kind is None]
                if labels:
                    label = labels[at % len(labels)]
                    model.next_starts[label] = list(outcomes)
                    real.next_starts[label] = list(outcomes)
            case StartChild(at=at, spec=spec, reuse=reuse):
                sup = self.supervisor(at)
                spec = spec.named(self.numbers, sup.kind.auto_shutdown)
                if reuse is not None and reuse < len(sup.children) and not sup.is_dynamic:
                    spec = self.renamed(spec, sup.children[reuse].spec.id)
                expected = model.start_child(sup, spec)
                assert real.start_child(self.pids[sup.serial], spec, is_dynamic=sup.is_dynamic) == expected
            case Ask(what=what, at=at, child=child):
                sup = self.supervisor(at)
                id = sup.children[child].spec.id if child < len(sup.children) else "nobody"
                assert self.ask(what, sup, id) == getattr(model, what)(sup, id)

    def supervisor(self, at: int) -> Life:
        found = self.model.supervisors()
        return found[at % len(found)]

    @staticmethod
    def renamed(spec: Spec, id: str) -> Spec:
        return Spec(id, spec.restart, traps=spec.traps, significant=spec.significant, kind=spec.kind)

    def ask(self, what: str, sup: Life, id: str) -> str:
        """Asked before the model answers: a child under a dynamic supervisor has its pid for an id."""
        real, pid = self.real, self.pids[sup.serial]
        child = sup.find(id)
        target: str | Pid = id
        if sup.is_dynamic and what == "terminate_child":
            target = self.pids[child.life.serial] if child is not None and child.life is not None else real.me.pid
        match what:
            case "terminate_child":
                return real.ask(lambda: Supervisor.terminate_child(pid, target, HANG), starts=False)
            case "restart_child":
                return real.ask(lambda: Supervisor.restart_child(pid, id, HANG), starts=True)
            case _:
                return real.ask(lambda: Supervisor.delete_child(pid, id, HANG), starts=False)

    # --- comparing ---------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Wait until the real tree is at rest; then it is the model's."""
        node, shape = self.real.settle(), self.model.shape()
        assert (node is None) is (shape is None)
        names: dict[str, Pid] = {}
        if node is None or shape is None:
            reason = otp.info(self.real.root).exit_reason
            assert reason is not None
            assert is_clean(reason) is self.model.root_is_clean
        else:
            self.compare(node, shape, names)
        assert self.real.me.registry.names() == (names if self.real.has_names else {})
        if not self.real.has_names:  # a name may be held for a moment by an orphan: then a start is tried again
            assert self.real.starts() == self.model.starts

    def compare(self, node: TreeNode, shape: Shape, names: dict[str, Pid]) -> None:
        id, serial, below = shape
        assert isinstance(node.pid, Pid) is (serial is not None), f"{id} should {'' if serial else 'not '}run"
        if serial is None or not isinstance(node.pid, Pid):
            return
        known = self.pids.setdefault(serial, node.pid)
        assert known is node.pid, f"{id} was {known} and is {node.pid}, but should not have been restarted"
        assert [pid for other, pid in self.pids.items() if pid is node.pid and other != serial] == [], (
            f"{id} is not new"
        )
        assert node.info is not None
        assert node.info.exit_reason is None
        if node.type == "worker":
            names[id] = node.pid
        else:
            self.compare_children(node, shape)
        for child, child_shape in zip(node.children, below, strict=True):
            self.compare(child, child_shape, names)

    def compare_children(self, node: TreeNode, shape: Shape) -> None:
        """What a supervisor answers about itself, against the tree and the model."""
        assert isinstance(node.pid, Pid)
        is_dynamic = next(sup.is_dynamic for sup in self.model.supervisors() if sup.serial == shape[1])
        rows = [ChildInfo(child.id, child.pid, child.type, child.restarts) for child in node.children]
        assert Supervisor.which_children(node.pid, HANG) == rows[::-1]
        ids = [
            self.real.labels[child.pid] if isinstance(child.pid, Pid) and is_dynamic else child.id
            for child in node.children
        ]
        assert ids == [child[0] for child in shape[2]]
        supervisors = sum(child.type == "supervisor" for child in node.children)
        assert Supervisor.count_children(node.pid, HANG) == ChildCounts(
            specs=1 if is_dynamic else len(rows),
            active=sum(child[1] is not None for child in shape[2]),
            supervisors=supervisors,
            workers=len(rows) - supervisors,
        )


def run_example(root: Spec, steps: list[Operation], finale: How, *, has_names: bool) -> None:
    numbers = count()
    root = root.named(numbers, "never")
    before = set(threading.enumerate())
    registry = Registry()
    with attach(registry=registry, trap_exit=True) as me:
        try:
            model = Model(root)
            run = Run(model, Real(me, root, has_names=has_names), numbers)
            run.check()
            for step in steps:
                if model.root is not None:
                    run.carry_out(step)
                    run.check()
            event(f"the root has {'given up' if model.root is None else 'lasted'}")
            event(f"processes: {len(model.running()) // 4 * 4} and more")
            event(f"starts: {len(model.starts) // 5 * 5} and more")
            if model.root is not None:
                ENDS[finale](run.real.root)
                model.end_root(is_clean=finale in ("stop", "polite", "shutdown"))
                run.check()
            assert registry.processes() == [me.pid]
        finally:  # a failed example must not disturb the next one
            for pid in registry.processes():
                if pid is not me.pid:
                    otp.exit(pid, Kill())
    join_new_threads(before)
    assert registry.processes() == []
    assert registry.zombies() == []
    assert registry.names() == {}


many = st.just(MANY)
few = st.integers(0, 2)
finales: st.SearchStrategy[How] = st.sampled_from(["stop", "polite", "signal", "kill"])


@given(root=roots(many), steps=many_operations(many), finale=finales)
def test_a_tree_is_what_the_model_says_it_is_after_each_operation(
    root: Spec, steps: list[Operation], finale: How
) -> None:
    run_example(root, steps, finale, has_names=False)


@given(root=roots(many), steps=many_operations(many), finale=finales)
def test_a_tree_of_named_processes_is_too_and_names_lead_to_the_living(
    root: Spec, steps: list[Operation], finale: How
) -> None:
    run_example(root, steps, finale, has_names=True)


@given(root=roots(few), steps=many_operations(few), finale=finales)
def test_a_tree_that_gives_up_soon_escalates_as_the_model_says(root: Spec, steps: list[Operation], finale: How) -> None:
    run_example(root, steps, finale, has_names=False)


def _kind(child: Spec, max_restarts: int) -> Kind:
    return Kind("one_for_one", max_restarts, "never", (child,))


def test_the_model_itself_escalates() -> None:
    """A check of the model by hand: a leaf that ends too often takes its supervisor down, which is restarted."""
    leaf = Spec("leaf", "permanent", traps=False, significant=False, kind=None)
    inner = Spec("inner", "permanent", traps=True, significant=False, kind=_kind(leaf, max_restarts=1))
    model = Model(Spec("root", "permanent", traps=True, significant=False, kind=_kind(inner, max_restarts=1)))
    assert model.shape() == ("root", 0, (("inner", 1, (("leaf", 2, ()),)),))
    model.end(model.running()[1], "kill")
    assert model.shape() == ("root", 0, (("inner", 1, (("leaf", 3, ()),)),))
    model.end(model.running()[1], "kill")
    assert model.shape() == ("root", 0, (("inner", 4, (("leaf", 5, ()),)),))
    for _ in range(2):
        model.end(model.running()[1], "kill")
    assert model.shape() is None
    assert model.root_is_clean
    assert model.starts == ["leaf"] * 4
