"""Workflows as values: chains, groups, chords, and graphs of them. What they mean in tasks is `lowering.py`'s.

A call is given the result of what is before it as its first argument, unless it was made by `.si()`. The result of a group is
the list of its parts' results, in their order, whatever is in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

from otpq.client import program
from otpq.client.calls import Call
from otpq.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otpq.client.flow_handle import AsyncWorkflowHandle, WorkflowHandle
    from otpq.wire.verbs import OnFailure

__all__ = ["Chain", "Chord", "Flow", "Group", "Node", "Step", "Workflow", "chain", "chord", "group", "piped"]


class Flow:
    """Calls that depend on each other. `title` and `on_failure` are of the whole that is submitted, not of a part."""

    __slots__ = ("on_failure", "title")

    def __init__(self, title: str | None, on_failure: OnFailure | None) -> None:
        self.title = title
        self.on_failure = on_failure

    def __or__(self, after: Step) -> Chain:
        """A chain of this and what comes after it. What the two say of the whole is said of the chain."""
        return piped(self, after)

    def submit(self, *, strict: bool = False) -> WorkflowHandle[Any]:
        """Submit it on the program's client, all or nothing; as `Client.submit`."""
        return program.client().submit(self, strict=strict)

    async def asubmit(self, *, strict: bool = False) -> AsyncWorkflowHandle[Any]:
        """As `submit`, without blocking the event loop."""
        return await (await program.async_client()).submit(self, strict=strict)


Step: TypeAlias = Call | Flow
"""A part of a workflow."""


class Chain(Flow):
    """One after the other."""

    __slots__ = ("steps",)

    def __init__(self, steps: Iterable[Step], title: str | None = None, on_failure: OnFailure | None = None) -> None:
        super().__init__(title, on_failure)
        self.steps = tuple(steps)

    def __repr__(self) -> str:
        return f"chain({_shown(self.steps)})"


class Group(Flow):
    """All at once."""

    __slots__ = ("steps",)

    def __init__(self, steps: Iterable[Step], title: str | None = None, on_failure: OnFailure | None = None) -> None:
        super().__init__(title, on_failure)
        self.steps = tuple(steps)

    def __repr__(self) -> str:
        return f"group({_shown(self.steps)})"


class Chord(Flow):
    """All at once, and then one that is given the list of all results."""

    __slots__ = ("callback", "steps")

    def __init__(
        self, steps: Iterable[Step], callback: Step, title: str | None = None, on_failure: OnFailure | None = None
    ) -> None:
        super().__init__(title, on_failure)
        self.steps = tuple(steps)
        self.callback = callback

    def __repr__(self) -> str:
        return f"chord([{_shown(self.steps)}], {self.callback!r})"


class Node:
    """A part of a `Workflow`, to be named in the `after` of others."""

    __slots__ = ("after", "number", "step", "workflow")

    def __init__(self, workflow: Workflow, number: int, step: Step, after: tuple[Node, ...]) -> None:
        self.workflow = workflow
        self.number = number
        self.step = step
        self.after = after

    def __repr__(self) -> str:
        return f"<node {self.number}: {self.step!r}>"


class Workflow(Flow):
    """A graph: each part is added with those that it comes after.

    There can be no cycle, as a part names only those that were added before it.
    """

    __slots__ = ("_nodes",)

    def __init__(self, title: str | None = None, on_failure: OnFailure = "fail") -> None:
        """An empty one.

        Args:
            title: What it is shown as.
            on_failure: What a task that does not succeed means: 'fail' cancels the rest; with 'continue' what comes after it runs
                all the same, with None in the place of its result; with 'collect' likewise, with a map that tells of it.
        """
        super().__init__(title, on_failure)
        self._nodes: list[Node] = []

    @property
    def nodes(self) -> Sequence[Node]:
        """Its parts, in the order in which they were added."""
        return tuple(self._nodes)

    def add(self, step: Step, after: Node | Iterable[Node] = ()) -> Node:
        """Add a call, a chain, a group or a chord.

        Args:
            step: What. Its first argument will be the result of the one that it comes after; of several, the list of their
                results in this order. A call made by `.si()` gets its own arguments alone.
            after: What has to end well before: what `add` has returned.

        Raises:
            UsageError: `after` names something else, or one part twice.
        """
        place = f"workflow[{len(self._nodes)}]"
        if isinstance(step, Node):
            raise UsageError(f"{place}: {step!r} was added already; name it in after= to come after it")
        before = (after,) if isinstance(after, Node) else _nodes_of(after, place)
        for number, one in enumerate(before):
            if not isinstance(one, Node):
                raise UsageError(f"{place}: after[{number}] is {one!r}; give what add() has returned")
            if one.workflow is not self:
                raise UsageError(f"{place}: after[{number}] is a part of another workflow")
            if one in before[:number]:
                raise UsageError(f"{place}: after[{number}] is named twice")
        node = Node(self, len(self._nodes), step, before)
        self._nodes.append(node)
        return node

    def __repr__(self) -> str:
        return f"<Workflow of {len(self._nodes)} parts>"


def chain(*calls: Step | Iterable[Step], title: str | None = None, on_failure: OnFailure | None = None) -> Chain:
    """Calls that run one after the other, each given the result of the one before: `chain(fetch.s(url), parse.s())`.

    `fetch.s(url) | parse.s()` is the same. Its result is that of the last.

    Args:
        calls: Calls, groups, chords or chains; or one iterable of them.
        title: What the workflow is shown as.
        on_failure: As of a `Workflow`; None: 'fail', or what the whole says that this is a part of.
    """
    return Chain(_parts(calls), title, on_failure)


def group(*calls: Step | Iterable[Step], title: str | None = None, on_failure: OnFailure | None = None) -> Group:
    """Calls that run all at once, each given the result of what is before the group. Its result is the list of theirs, in order.

    `group(resize.s(path) for path in paths)`. Arguments are those of `chain`.
    """
    return Group(_parts(calls), title, on_failure)


def chord(
    calls: Step | Iterable[Step],
    callback: Step,
    title: str | None = None,
    on_failure: OnFailure | None = None,
) -> Chord:
    """A group, and one call that is given the list of all its results, in order: `chord([add.s(1, 2), add.s(3, 4)], total.s())`.

    The callback runs once, also if there is nothing in `calls`: then its list is empty.
    """
    if not isinstance(calls, Group):
        return Chord(_parts((calls,)), callback, title, on_failure)
    return Chord(
        calls.steps,
        callback,
        _one_word("title", title, calls.title),
        _one_word("on_failure", on_failure, calls.on_failure),
    )


def piped(first: Step, second: Step) -> Chain:
    """The chain that `first | second` is; chains are flattened. What is said of the whole, by either, is said of it."""
    flows = [one for one in (first, second) if isinstance(one, Flow)]
    title = next((one.title for one in flows if one.title is not None), None)
    on_failure = next((one.on_failure for one in flows if one.on_failure is not None), None)
    steps = [step for one in (first, second) for step in _flat(one, title, on_failure)]
    return Chain(steps, title, on_failure)


def _flat(step: Step, title: str | None, on_failure: str | None) -> Sequence[Step]:
    """The steps of a chain; not of one that says something else of the whole, which is to be refused."""
    is_flat = isinstance(step, Chain) and step.title in {None, title} and step.on_failure in {None, on_failure}
    return step.steps if is_flat and isinstance(step, Chain) else (step,)


def _one_word(name: str, of_chord: Any, of_group: Any) -> Any:
    if of_chord is not None and of_group is not None and of_chord != of_group:
        raise UsageError(f"chord: {name} is {of_chord!r}, and its group says {of_group!r}; say one of them")
    return of_group if of_chord is None else of_chord


def _parts(given: tuple[Any, ...]) -> Iterable[Any]:
    """What was given one by one, or as one iterable."""
    if len(given) == 1 and isinstance(given[0], Iterable) and not isinstance(given[0], str | bytes | dict):
        return given[0]
    return given


def _nodes_of(after: Any, place: str) -> tuple[Any, ...]:
    if not isinstance(after, Iterable):
        raise UsageError(f"{place}: after= is {after!r}; give what add() has returned, or a list of these")
    return tuple(after)


def _shown(steps: Sequence[object]) -> str:
    few = ", ".join(map(repr, steps[:3]))
    return few if len(steps) <= 3 else f"{few}, ... {len(steps):,} in all"  # noqa: PLR2004 - enough to see what it is
