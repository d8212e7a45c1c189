"""From a workflow to its tasks: which there are, for which others each waits, and whose results it is given. Pure.

Theory of operation
-------------------
A part is lowered with what comes *before* it: the shape of the result that it is given, and the tasks that have to end first.
It adds its tasks behind those that are there, and leaves another such pair for what comes after it. A shape is the place of a
task, whose result is meant, or a list of shapes. The two differ: the shape of an empty group is [], and what comes after it still
has to wait for what was before it.

A task that is wrong is told by where it stands in what the user wrote: `chain[1].group[3]`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import msgspec

from otpq.client.calls import Call, new_task
from otpq.client.ids import member_id
from otpq.client.workflows import Chain, Chord, Flow, Group, Node, Workflow
from otpq.errors import BadOption, UsageError
from otpq.task import Options
from otpq.wire.values import BadValue
from otpq.wire.verbs import MAX_EDGES, MAX_MEMBERS, NewMember, NewWorkflow

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from otpq.wire.verbs import OnFailure

__all__ = ["Member", "Plan", "Shape", "new_workflow", "places_in", "planned"]

Shape: TypeAlias = "int | list[Shape]"
"""Which results a value is made of: that of the task at a place, or a list."""

MAX_DEPTH: Final = 100
"""How deep parts may be nested: beyond it, something builds them by mistake."""
POLICIES: Final = ("fail", "continue", "collect")


class Place(NamedTuple):
    """Where a part stands in what the user wrote."""

    above: Place | None
    words: str

    def __str__(self) -> str:
        """As one would write it: `chain[1].group[3]`."""
        return self.words if self.above is None else f"{self.above}{self.words}"


class Before(NamedTuple):
    """What comes before a part."""

    shape: Shape | None
    """The result that it is given; None: none."""
    ends: tuple[int, ...]
    """The places of the tasks that have to end first, ascending."""


@dataclass(frozen=True, slots=True)
class Member:
    """A task of the workflow."""

    call: Call
    before: Before
    where: Place

    @property
    def takes(self) -> bytes | None:
        """The shape of its first argument as it travels; None: it takes none, or one that is known already."""
        shape = self.before.shape
        takes = self.call.takes_result and shape is not None and _has_places(shape)
        return msgspec.msgpack.encode(shape) if takes else None

    @property
    def known(self) -> tuple[Any, ...]:
        """What it takes of a group without any task: an empty list, known now."""
        shape = self.before.shape
        return (shape,) if self.call.takes_result and shape is not None and not _has_places(shape) else ()


@dataclass(frozen=True, slots=True)
class Plan:
    """A workflow's tasks, by their places."""

    members: Sequence[Member]
    shape: Shape
    """What the workflow's own result is made of."""
    on_failure: OnFailure
    title: str | None


def planned(flow: Flow) -> Plan:
    """The tasks of a workflow.

    Raises:
        UsageError: Something in it is no part of a workflow, or cannot be in one, or it is too large; the message has the place.
    """
    return _Planner(flow).plan()


def new_workflow(plan: Plan, id: bytes, *, parent: bytes | None = None, strict: bool = False) -> NewWorkflow:
    """The workflow as it travels.

    Raises:
        BadValue: An argument cannot travel; the message has the place, and its path.
    """
    members = [
        NewMember(_task(member, member_id(id, place), parent, strict=strict), list(member.before.ends), member.takes)
        for place, member in enumerate(plan.members)
    ]
    return NewWorkflow(id, members, plan.on_failure, plan.title)


def _task(member: Member, id: bytes, parent: bytes | None, *, strict: bool) -> Any:
    call = member.call
    if member.known:
        call = call.with_()
        call.args = (*member.known, *call.args)
    try:
        return new_task(call, id, watch=False, parent=parent, strict=strict)
    except BadValue as error:
        raise BadValue(f"{member.where}: {error.path}", error.problem) from None


def places_in(shape: Shape) -> Iterator[int]:
    """All places in a shape, in its order."""
    if isinstance(shape, int):
        yield shape
    else:
        for one in shape:
            yield from places_in(one)


def _has_places(shape: Shape) -> bool:
    return next(places_in(shape), None) is not None


class _Planner:
    """Lowers one workflow."""

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self._on_failure: OnFailure = flow.on_failure or "fail"
        self._members: list[Member] = []
        self._edges = 0

    def plan(self) -> Plan:
        if self._on_failure not in POLICIES:
            raise BadOption("on_failure", self._on_failure, "'fail', 'continue' or 'collect'")
        Options(title=self._flow.title)  # raises for what is no title
        nothing = Before(None, ())
        if isinstance(self._flow, Workflow):
            after = self._graph(self._flow)
        else:
            after = self._step(self._flow, nothing, None, 0)
        assert after.shape is not None  # noqa: S101 - only a chain without steps has none, and is refused
        return Plan(self._members, after.shape, self._on_failure, self._flow.title)

    def _step(self, step: object, before: Before, where: Place | None, depth: int) -> Before:
        """Add a part behind what is before it; what comes before that which follows."""
        if isinstance(step, Call):
            return self._call(step, before, where or Place(None, "call"))
        if depth == MAX_DEPTH:
            raise UsageError(f"{where}: parts of a workflow are nested {MAX_DEPTH} deep at most")
        match step:
            case Chain():
                return self._chain(step, before, self._named("chain", step, where), depth + 1)
            case Group():
                return self._group(step, before, self._named("group", step, where), depth + 1)
            case Chord():
                return self._chord(step, before, self._named("chord", step, where), depth + 1)
            case Workflow():
                raise UsageError(f"{where}: a Workflow cannot be a part of another one; add its parts to that one")
            case _:
                raise UsageError(f"{where}: {_no_call(step)}")

    def _named(self, name: str, flow: Flow, where: Place | None) -> Place:
        """Where a flow stands; it is refused if it says of the whole what the whole does not say."""
        if flow.on_failure not in {None, self._on_failure}:
            raise UsageError(
                f"{where}: on_failure={flow.on_failure!r} is of the whole workflow, where it is {self._on_failure!r}; say it there"
            )
        if flow.title not in {None, self._flow.title}:
            raise UsageError(f"{where}: title={flow.title!r} is of the whole workflow; say it there")
        return Place(None, name) if where is None else Place(where, f".{name}")

    def _chain(self, chain: Chain, before: Before, where: Place, depth: int) -> Before:
        if not chain.steps:
            raise UsageError(f"{where}: it is empty; a chain has a call at least")
        for number, step in enumerate(chain.steps):
            before = self._step(step, before, Place(where, f"[{number}]"), depth)
        return before

    def _group(self, group: Group, before: Before, where: Place, depth: int) -> Before:
        return self._side_by_side(group.steps, before, where, depth)

    def _chord(self, chord: Chord, before: Before, where: Place, depth: int) -> Before:
        header = self._side_by_side(chord.steps, before, where, depth)
        return self._step(chord.callback, header, Place(where, ".callback"), depth)

    def _side_by_side(self, steps: Sequence[object], before: Before, where: Place, depth: int) -> Before:
        shapes: list[Shape] = []
        ends: set[int] = set()
        for number, step in enumerate(steps):
            count = len(self._members)
            after = self._step(step, before, Place(where, f"[{number}]"), depth)
            assert after.shape is not None  # noqa: S101 - as in `plan`
            shapes.append(after.shape)
            if len(self._members) > count:  # of one without tasks, nothing can be waited for
                ends.update(after.ends)
        return Before(shapes, tuple(sorted(ends)) if ends else before.ends)

    def _graph(self, workflow: Workflow) -> Before:
        done: list[Before] = []
        for node in workflow.nodes:
            where = Place(None, f"workflow[{node.number}]")
            done.append(self._step(node.step, _joined([done[one.number] for one in node.after]), where, 1))
        followed = {one.number for node in workflow.nodes for one in node.after}
        return _joined([one for number, one in enumerate(done) if number not in followed], empty=[])

    def _call(self, call: Call, before: Before, where: Place) -> Before:
        if call.said.get("idempotency_key") is not None:
            raise UsageError(f"{where}: a task of a workflow has no idempotency_key; a workflow is made once as it is")
        if call.whole is not None:
            raise UsageError(
                f"{where}: {call!r} is made of a map, which is given whole to a default handler; use Call(...)"
            )
        if len(self._members) == MAX_MEMBERS:
            raise UsageError(f"{where}: a workflow has {MAX_MEMBERS:,} tasks at most; submit several, or use map()")
        self._edges += len(before.ends)
        if self._edges > MAX_EDGES:
            raise UsageError(
                f"{where}: in all, tasks of this workflow wait more than {MAX_EDGES:,} times for another; "
                "put one task between two large groups"
            )
        place = len(self._members)
        self._members.append(Member(call, before, where))
        return Before(place, (place,))


def _joined(several: Sequence[Before], *, empty: Shape | None = None) -> Before:
    """What comes before that which follows on several parts: of one its result, of more the list of theirs."""
    ends = tuple(sorted({end for one in several for end in one.ends}))
    shapes: list[Any] = [one.shape for one in several]
    return Before(shapes[0] if len(shapes) == 1 else shapes or empty, ends)


def _no_call(step: object) -> str:
    if isinstance(step, Node):
        return f"{step!r} is a part of a Workflow; name it in after="
    if hasattr(step, "s") and hasattr(step, "handler"):
        name = str(getattr(step, "name", "handler")).rpartition(".")[2]
        return f"{step!r} is a handler, not a call of it: {name}.s(...)"
    return f"{step!r} is no call: give handler.s(...), Call(...), a chain, a group or a chord"
