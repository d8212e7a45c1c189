"""A small model of supervision: what a tree of supervisors and workers looks like after each operation on it.

Pure and sequential, written from supervisor(3) and not from the code under test. Where the real thing sends signals and
messages and takes its time, the model works out at once where all that must come to rest: `Model.shape()` is the tree then.
Every start of a process gives it a new `serial`, so two shapes also tell who was restarted between them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import count
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

Outcome: TypeAlias = Literal["fail", "ignore"]
"""What a worker's next start comes to, where not all is well."""
Restart: TypeAlias = Literal["permanent", "transient", "temporary"]
Strategy: TypeAlias = Literal["one_for_one", "one_for_all", "rest_for_one", "dynamic"]
AutoShutdown: TypeAlias = Literal["never", "any_significant", "all_significant"]
How: TypeAlias = Literal["normal", "shutdown", "failure", "raise", "base", "stop", "kill", "signal", "polite", "noise"]
"""How a process is ended: by its own answer or exception, by `stop`, by `Kill` or by a stranger's exit signal."""

ABNORMAL = {"failure", "raise", "base", "kill", "signal"}
SIGNALS = {"signal", "polite", "noise"}
"""A stranger's signals: Failure, Shutdown and Normal. Those that trap exits do not end by them, nor anybody by the last."""

Shape: TypeAlias = "tuple[str, int | None, tuple[Shape, ...]]"
"""A child's id, its serial if it runs, and the shapes of its children."""


@dataclass(frozen=True)
class Kind:
    """What makes a supervisor."""

    strategy: Strategy
    max_restarts: int
    auto_shutdown: AutoShutdown
    children: tuple[Spec, ...]
    """In start order; under `dynamic` the one template, a worker."""


@dataclass(frozen=True)
class Spec:
    """A child: a worker, or a supervisor if it has a `kind`."""

    id: str
    restart: Restart
    traps: bool
    significant: bool
    kind: Kind | None

    def named(self, numbers: Iterator[int], under: AutoShutdown) -> Spec:
        """The same with ids that no other has, and significant only where that is allowed."""
        kind = self.kind
        if kind is not None:
            children = tuple(child.named(numbers, kind.auto_shutdown) for child in kind.children)
            kind = replace(kind, children=children)
        significant = self.significant and under != "never" and self.restart != "permanent"
        id = f"{'w' if kind is None else 's'}{next(numbers)}"
        return replace(self, id=id, kind=kind, significant=significant)


@dataclass(eq=False)
class Child:
    """A supervisor's record of one child; `life` is None while it does not run."""

    spec: Spec
    life: Life | None


@dataclass(eq=False)
class Life:
    """One incarnation of a process."""

    spec: Spec
    serial: int
    children: list[Child] = field(default_factory=list)
    restarts: int = 0

    @property
    def kind(self) -> Kind:
        assert self.spec.kind is not None
        return self.spec.kind

    @property
    def is_dynamic(self) -> bool:
        return self.spec.kind is not None and self.spec.kind.strategy == "dynamic"

    def find(self, id: str) -> Child | None:
        return next((child for child in self.children if child.spec.id == id), None)


class StartFails(Exception):
    """A start that fails, and takes all that it had begun with it."""


class Model:
    """A supervision tree at rest. The root's parent is the driver."""

    def __init__(self, root: Spec) -> None:
        self.starts: list[str] = []
        """The workers whose `init` ran, in order."""
        self.next_starts: dict[str, list[Outcome]] = {}
        self._serials = count()
        self.root = self._start(root)
        self.root_is_clean: bool | None = None
        """How the root ended, once it has."""

    # --- looking -----------------------------------------------------------------------------------------------------

    def shape(self) -> Shape | None:
        """The tree, or None if the root has ended."""
        return None if self.root is None else _shape(Child(self.root.spec, self.root))

    def running(self) -> list[Life]:
        """All that run below the root, parents before children."""
        return [] if self.root is None else [life for child in self.root.children for life in _lives(child)]

    def supervisors(self) -> list[Life]:
        """All supervisors that run, the root first."""
        return [] if self.root is None else [life for life in [self.root, *self.running()] if life.spec.kind]

    def parent_of(self, life: Life) -> Life:
        """The supervisor of one that runs below the root."""
        return next(sup for sup in self.supervisors() for child in sup.children if child.life is life)

    # --- ends --------------------------------------------------------------------------------------------------------

    def end(self, life: Life, how: How) -> bool:
        """End a process below the root; False if it survives."""
        traps = life.spec.traps or life.spec.kind is not None
        if how == "noise" or (how in SIGNALS and traps):
            return False
        self._died(life, is_clean=how not in ABNORMAL)
        return True

    def end_root(self, *, is_clean: bool) -> None:
        """The driver ends the root: it is the parent, so any signal does."""
        self.root, self.root_is_clean = None, is_clean

    def _died(self, life: Life, *, is_clean: bool) -> None:
        while life is not self.root:
            parent = self.parent_of(life)
            child = next(child for child in parent.children if child.life is life)
            if not self._gives_up(parent, child, is_clean=is_clean):
                return
            life, is_clean = parent, True  # it ends with the reason shutdown
        self.end_root(is_clean=is_clean)

    def _gives_up(self, parent: Life, child: Child, *, is_clean: bool) -> bool:
        """What the parent does about the end of `child`; whether it ends itself."""
        child.life = None
        restart = child.spec.restart
        if restart == "permanent" or (restart == "transient" and not is_clean):
            return self._restarts_too_often(parent, child)
        if restart == "temporary" or parent.is_dynamic:
            parent.children.remove(child)
        if not child.spec.significant:
            return False
        others = [other for other in parent.children if other.spec.significant and other.life is not None]
        return parent.kind.auto_shutdown == "any_significant" or not others

    def _restarts_too_often(self, parent: Life, child: Child) -> bool:
        failed: Child | None = child
        while failed is not None:
            parent.restarts += 1
            if parent.restarts > parent.kind.max_restarts:
                return True
            failed = self._try_to_restart(parent, failed)
        return False

    def _try_to_restart(self, parent: Life, child: Child) -> Child | None:
        """Stop and start all that are affected; the child that failed to start, if one did."""
        match parent.kind.strategy:
            case "one_for_all":
                group = list(parent.children)
            case "rest_for_one":
                group = parent.children[parent.children.index(child) :]
            case _:
                group = [child]
        for other in group:
            other.life = None
            if other.spec.restart == "temporary":
                parent.children.remove(other)
        for other in group:
            if other not in parent.children:
                continue
            try:
                other.life = self._start(other.spec)
            except StartFails:
                return other
            if other.life is None and parent.is_dynamic:
                parent.children.remove(other)
        return None

    # --- starts ------------------------------------------------------------------------------------------------------

    def _start(self, spec: Spec) -> Life | None:
        """A new incarnation; None if it ignores. Raises StartFails."""
        if spec.kind is None:
            self.starts.append(spec.id)
            outcomes = self.next_starts.get(spec.id)
            outcome = outcomes.pop(0) if outcomes else None
            if outcome == "fail":
                raise StartFails
            return None if outcome == "ignore" else Life(spec, next(self._serials))
        life = Life(spec, next(self._serials))
        for child in () if life.is_dynamic else spec.kind.children:
            below = self._start(child)
            if below is not None or child.restart != "temporary":
                life.children.append(Child(child, below))
        return life

    # --- what is asked of a supervisor -------------------------------------------------------------------------------

    def start_child(self, sup: Life, spec: Spec) -> str:
        """Add a child; under a dynamic supervisor the template, with the id of `spec`."""
        there = None if sup.is_dynamic else sup.find(spec.id)
        if there is not None:
            return "already_present" if there.life is None else "already_started"
        if sup.is_dynamic:
            spec = replace(sup.kind.children[0], id=spec.id)
        try:
            life = self._start(spec)
        except StartFails:
            return "failed"
        if life is not None or not (sup.is_dynamic or spec.restart == "temporary"):
            sup.children.append(Child(spec, life))
        return "ignored" if life is None else "ok"

    def terminate_child(self, sup: Life, id: str) -> str:
        child = sup.find(id)
        if child is None:
            return "not_found"
        child.life = None
        if child.spec.restart == "temporary" or sup.is_dynamic:
            sup.children.remove(child)
        return "ok"

    def restart_child(self, sup: Life, id: str) -> str:
        if sup.is_dynamic:
            return "simple_one_for_one"
        child = sup.find(id)
        if child is None:
            return "not_found"
        if child.life is not None:
            return "running"
        try:
            child.life = self._start(child.spec)
        except StartFails:
            return "failed"
        return "ignored" if child.life is None else "ok"

    def delete_child(self, sup: Life, id: str) -> str:
        if sup.is_dynamic:
            return "simple_one_for_one"
        child = sup.find(id)
        if child is None:
            return "not_found"
        if child.life is not None:
            return "running"
        sup.children.remove(child)
        return "ok"


def _shape(child: Child) -> Shape:
    if child.life is None:
        return child.spec.id, None, ()
    return child.spec.id, child.life.serial, tuple(_shape(below) for below in child.life.children)


def _lives(child: Child) -> list[Life]:
    if child.life is None:
        return []
    return [child.life, *(life for below in child.life.children for life in _lives(below))]
