"""Workflows of any shape, lowered to tasks and carried out, give what a small interpreter of what users write says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from otpq.client.calls import Call
from otpq.client.ids import member_id
from otpq.client.lowering import new_workflow, planned
from otpq.client.workflows import Chain, Chord, Flow, Group, Workflow, chain, chord, group
from otpq.wire.codec import decode_body, encode
from otpq.wire.values import unpack
from otpq.wire.verbs import NewWorkflow

if TYPE_CHECKING:
    from collections.abc import Sequence

ID = bytes(range(16))
NONE = object()


class Done(NamedTuple):
    """What the interpreter makes of a part."""

    value: Any
    ran: frozenset[int]
    """The numbers of its calls."""


class Interpreter:
    """What users are told: a call gets the result of what is before it, a group's result is a list, a chain's that of its last."""

    def __init__(self) -> None:
        self.before: dict[int, frozenset[int]] = {}
        """For each call those that have ended when it starts."""

    def run(self, step: Any, given: Any, before: frozenset[int]) -> Done:
        match step:
            case Call():
                number = step.args[-1]
                self.before[number] = before
                takes = step.takes_result and given is not NONE
                return Done([given, number] if takes else [number], frozenset({number}))
            case Chain():
                return self.one_by_one(step.steps, given, before)
            case Group():
                return self.at_once(step.steps, given, before)
            case Chord():
                return self.one_by_one([Group(step.steps), step.callback], given, before)
            case _:
                raise AssertionError(step)

    def one_by_one(self, steps: Sequence[Any], given: Any, before: frozenset[int]) -> Done:
        ran: frozenset[int] = frozenset()
        for step in steps:
            done = self.run(step, given, before | ran)
            given, ran = done.value, ran | done.ran
        return Done(given, ran)

    def at_once(self, steps: Sequence[Any], given: Any, before: frozenset[int]) -> Done:
        done = [self.run(step, given, before) for step in steps]
        return Done([one.value for one in done], frozenset().union(*(one.ran for one in done)))

    def graph(self, workflow: Workflow) -> Any:
        done: list[Done] = []
        sinks = set(range(len(workflow.nodes)))
        for node in workflow.nodes:
            parents = [done[one.number] for one in node.after]
            sinks -= {one.number for one in node.after}
            values = [one.value for one in parents]
            given = NONE if not values else values[0] if len(values) == 1 else values
            ran = frozenset().union(*(one.ran for one in parents))
            own = self.run(node.step, given, ran)
            done.append(Done(own.value, own.ran | ran))
        results = [done[number].value for number in sorted(sinks)]
        return results[0] if len(results) == 1 else results


def carried_out(workflow: NewWorkflow, shape: Any) -> tuple[Any, dict[int, frozenset[int]]]:
    """As a queue server would: each task in its turn, with the results that it takes."""
    results: list[Any] = []
    closure: list[frozenset[int]] = []
    before: dict[int, frozenset[int]] = {}
    numbers: list[int] = []
    for member in workflow.members:
        args, _ = unpack(member.task.payload)
        takes = None if member.takes is None else msgspec.msgpack.decode(member.takes)
        results.append(list(args) if takes is None else [laid_out(takes, results), *args])
        assert takes is None or set(flat(takes)) <= set(member.after), "it takes what it does not wait for"
        assert len(set(member.after)) == len(member.after)
        ran = frozenset().union(*(closure[place] | {numbers[place]} for place in member.after))
        closure.append(ran)
        numbers.append(args[-1])
        before[args[-1]] = ran
    return laid_out(shape, results), before


def laid_out(shape: Any, results: Sequence[Any]) -> Any:
    return results[shape] if isinstance(shape, int) else [laid_out(one, results) for one in shape]


def flat(shape: Any) -> list[int]:
    return [shape] if isinstance(shape, int) else [place for one in shape for place in flat(one)]


def numbered(step: Any, numbers: list[int]) -> Any:
    """The same with a number of its own as the last argument of each call."""
    match step:
        case Call():
            numbers.append(len(numbers))
            call = Call("call", (numbers[-1],))
            return call if step.takes_result else call.si()
        case Chain():
            return chain([numbered(one, numbers) for one in step.steps])
        case Group():
            return group([numbered(one, numbers) for one in step.steps])
        case Chord():
            return chord([numbered(one, numbers) for one in step.steps], numbered(step.callback, numbers))
        case _:
            raise AssertionError(step)


steps = st.recursive(
    st.sampled_from([Call("takes"), Call("alone").si()]),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=4).map(Chain),
        st.lists(inner, max_size=4).map(Group),
        st.tuples(st.lists(inner, max_size=4), inner).map(lambda both: Chord(*both)),
        st.tuples(inner, inner).map(lambda both: both[0] | both[1]),
    ),
    max_leaves=25,
)


@given(steps.filter(lambda step: isinstance(step, Flow)))
def test_what_is_nested_gives_what_the_interpreter_says(flow: Flow) -> None:
    flow = numbered(flow, [])
    interpreter = Interpreter()
    wanted = interpreter.run(flow, NONE, frozenset()).value
    plan = planned(flow)
    value, before = carried_out(new_workflow(plan, ID), plan.shape)
    assert value == wanted
    assert before == interpreter.before


@given(st.lists(st.tuples(steps, st.lists(st.integers(0, 9), max_size=3, unique=True)), min_size=1, max_size=8))
def test_a_graph_gives_what_the_interpreter_says(parts: list[tuple[Any, list[int]]]) -> None:
    workflow = Workflow()
    numbers: list[int] = []
    for number, (step, after) in enumerate(parts):
        before = dict.fromkeys(one % number for one in after) if number else {}
        workflow.add(numbered(step, numbers), after=[workflow.nodes[one] for one in before])
    interpreter = Interpreter()
    wanted = interpreter.graph(workflow)
    plan = planned(workflow)
    value, ran = carried_out(new_workflow(plan, ID), plan.shape)
    assert value == wanted
    assert ran == interpreter.before


@given(steps.filter(lambda step: isinstance(step, Flow)))
def test_a_workflow_can_travel_and_has_the_same_ids_each_time(flow: Flow) -> None:
    plan = planned(flow)
    workflow = new_workflow(plan, ID)
    ids = [member.task.id for member in workflow.members]
    assert ids == [member_id(ID, place) for place in range(len(ids))]
    assert len({ID, *ids}) == len(ids) + 1
    if workflow.members:
        assert decode_body(encode(workflow), NewWorkflow) == workflow
