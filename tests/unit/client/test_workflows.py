"""Workflows as values, and the tasks that they are lowered to; what cannot be right is refused with its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

import otpq
from otpq.client.calls import Call
from otpq.client.errors import QueryFailed, QueueFull, SubmissionRefused, TaskCancelled, TaskFailed, UnknownHandler
from otpq.client.flow_handle import judged, laid_out, not_made
from otpq.client.ids import member_id
from otpq.client.lowering import Plan, new_workflow, planned
from otpq.client.mapping import calls_in_chunks
from otpq.client.workflows import Chain, Workflow, chain, chord, group
from otpq.errors import BadOption, UsageError
from otpq.wire import messages as m
from otpq.wire.values import BadValue, pack_result, unpack
from otpq.wire.verbs import MAX_MEMBERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.client.workflows import Flow

ID = b"i" * 16
app = otpq.App("work")


@app.task
def add(a: int, b: int) -> int:
    return a + b


def c(name: str = "call", **options: Any) -> Any:
    """A call; to a type checker anything, as what is wrong here is wrong on purpose."""
    return Call(name, **options)


five: Any = 5
handler: Any = add


def lowered(flow: Flow) -> list[tuple[str, list[int], Any]]:
    """Of each task its name, for whom it waits, and what it takes."""
    takes = msgspec.msgpack.decode
    return [
        (one.task.name, one.after, None if one.takes is None else takes(one.takes))
        for one in new_workflow(planned(flow), ID).members
    ]


def test_a_chain_gives_each_result_to_the_next() -> None:
    assert lowered(chain(c("a"), c("b"), c("c"))) == [("a", [], None), ("b", [0], 0), ("c", [1], 1)]


def test_a_call_that_takes_none_waits_all_the_same() -> None:
    assert lowered(chain(c("a"), c("b").si(), c("c"))) == [("a", [], None), ("b", [0], None), ("c", [1], 1)]


@pytest.mark.parametrize(
    ("flow", "tasks"),
    [
        (chain(group(c("a"), c("b")), c("c")), [("a", [], None), ("b", [], None), ("c", [0, 1], [0, 1])]),
        (chain(c("a"), group(c("b"), c("c"))), [("a", [], None), ("b", [0], 0), ("c", [0], 0)]),
        (
            chain(c("a"), group(c("b"), c("c")), c("d")),
            [("a", [], None), ("b", [0], 0), ("c", [0], 0), ("d", [1, 2], [1, 2])],
        ),
        (chord([group(c("a"), c("b")), c("c")], c("d")), [*"abc", [[0, 1], 2]]),
        (chord([chain(c("a"), c("b")), c("c")], c("d")), None),
        (chord([chord([c("a")], c("b"))], c("c")), [("a", [], None), ("b", [0], [0]), ("c", [1], [1])]),
    ],
)
def test_groups_stand_first_in_the_middle_last_and_in_each_other(flow: Flow, tasks: Any) -> None:
    if tasks is None:
        tasks = [("a", [], None), ("b", [0], 0), ("c", [], None), ("d", [1, 2], [1, 2])]
    elif isinstance(tasks[0], str):
        tasks = [*((name, [], None) for name in "abc"), ("d", [0, 1, 2], tasks[-1])]
    assert lowered(flow) == tasks


def test_the_result_of_an_empty_group_is_an_empty_list_and_who_waits_waits_for_what_was_before() -> None:
    (callback,) = new_workflow(planned(chord([], c("sum"))), ID).members
    assert (unpack(callback.task.payload)[0], callback.after, callback.takes) == ([[]], [], None)
    _, last = new_workflow(planned(chain(c("a"), group(), Call("b", (1,)))), ID).members
    assert (unpack(last.task.payload)[0], last.after, last.takes) == ([[], 1], [0], None)
    flow = chain(c("a"), group(group(), c("b")), c("c"))
    assert lowered(flow)[-1] == ("c", [1], [[], 1]), "of an empty part nothing is waited for"
    assert planned(group()) == Plan([], [], "fail", None)


def test_headers_may_be_lists_generators_groups_or_one_call() -> None:
    wanted = [("a", [], None), ("b", [], None), ("d", [0, 1], [0, 1])]
    for header in ([c("a"), c("b")], (c(name) for name in "ab"), group(c("a"), c("b"))):
        assert lowered(chord(header, c("d"))) == wanted
    assert lowered(chord(c("a"), c("b"))) == lowered(chord([c("a")], c("b"))) == [("a", [], None), ("b", [0], [0])]
    assert lowered(group(c(name) for name in "ab")) == wanted[:2]


def test_pipes_make_flat_chains_of_what_handlers_give() -> None:
    flow = add.s(1, 2) | add.s(3) | add.si(4, 5)
    assert [step.args for step in flow.steps if isinstance(step, Call)] == [(1, 2), (3,), (4, 5)]
    assert [step.takes_result for step in flow.steps if isinstance(step, Call)] == [True, True, False]
    assert len((c() | (c() | c())).steps) == 3
    assert len((group(c(), c()) | c()).steps) == 2


def test_a_pipe_says_of_the_whole_what_its_sides_say() -> None:
    flow = group(c("a"), on_failure="collect") | c("b") | c("c")
    assert (planned(flow).on_failure, len(flow.steps)) == ("collect", 3)
    other = chain(c(), title="x") | chain(c(), on_failure="continue")
    assert (planned(other).title, planned(other).on_failure) == ("x", "continue")
    with pytest.raises(UsageError, match=r"^chain\[1\]: on_failure='fail' is of the whole"):
        planned(chain(c(), on_failure="collect") | chain(c(), on_failure="fail"))


def test_options_of_each_call_are_kept() -> None:
    flow = chain(Call("a", priority=9), Call("b", queue="slow", delay=5).si(), c("d"))
    tasks = [one.task for one in new_workflow(planned(flow), ID).members]
    assert [(one.priority, one.queue, one.delay) for one in tasks] == [
        (9, None, None),
        (None, "slow", 5.0),
        (None, None, None),
    ]


def test_a_graph_passes_on_one_result_or_a_list_of_several() -> None:
    flow = Workflow(title="report", on_failure="continue")
    left = flow.add(c("left"))
    right = flow.add(group(c("r1"), c("r2")))
    both = flow.add(c("both"), after=[right, left])
    flow.add(c("one"), after=both)
    flow.add(c("alone").si(), after=[both])
    assert lowered(flow) == [
        ("left", [], None),
        ("r1", [], None),
        ("r2", [], None),
        ("both", [0, 1, 2], [[1, 2], 0]),
        ("one", [3], 3),
        ("alone", [3], None),
    ]
    plan = planned(flow)
    assert (plan.shape, plan.title, plan.on_failure) == ([4, 5], "report", "continue")
    assert planned(chain(c())).shape == 0


def graph(*, wrong: Callable[[Workflow, Any], object]) -> object:
    flow = Workflow()
    return wrong(flow, flow.add(c()))


def deep() -> Flow:
    flow: Flow = chain(c())
    for _ in range(100):
        flow = Chain([flow])
    return flow


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: planned(chain(c(), group(c(), c(), c(), five))),
            "chain[1].group[3]: 5 is no call: give handler.s(...)",
        ),
        (lambda: planned(chain(c(), handler)), "test_workflows.add> is a handler, not a call of it: add.s(...)"),
        (lambda: planned(c() | handler), "a handler, not a call of it: add.s(...)"),
        (lambda: planned(chord([c()], five)), "chord.callback: 5 is no call"),
        (lambda: planned(chord([c(), five], c())), "chord[1]: 5 is no call"),
        (lambda: planned(group(chord([], chain(c(), five)))), "group[0].chord.callback.chain[1]: 5 is no call"),
        (lambda: planned(chain()), "chain: it is empty; a chain has a call at least"),
        (lambda: planned(group(chain())), "group[0].chain: it is empty"),
        (lambda: planned(group(Workflow())), "group[0]: a Workflow cannot be a part of another one"),
        (
            lambda: planned(group(c(), Call("a", idempotency_key="k"))),
            "group[1]: a task of a workflow has no idempotency_key",
        ),
        (lambda: planned(group(otpq.client.calls.as_call({"job": "a"}))), "group[0]: Call('a') is made of a map"),
        (lambda: planned(deep()), "nested 100 deep at most"),
        (lambda: planned(group(c() for _ in range(MAX_MEMBERS + 1))), "group[20000]: a workflow has 20,000 tasks"),
        (
            lambda: planned(chain(group(c() for _ in range(400)), group(c() for _ in range(400)))),
            "chain[1].group[250]: in all, tasks of this workflow wait more than 100,000 times for another",
        ),
        (
            lambda: planned(chain(c(), group(c(), on_failure="collect"))),
            "chain[1]: on_failure='collect' is of the whole workflow, where it is 'fail'; say it there",
        ),
        (lambda: planned(chain(group(c(), title="x"), title="y")), "chain[0]: title='x' is of the whole workflow"),
        (lambda: planned(chain(c(), on_failure="stop")), "on_failure='stop' is not allowed: 'fail', 'continue' or"),  # type: ignore[arg-type]
        (lambda: planned(chain(c(), title="a\nb")), "title='a\\nb' is not allowed"),
        (
            lambda: chord(group(c(), on_failure="fail"), c(), on_failure="collect"),
            "chord: on_failure is 'collect', and",
        ),
        (lambda: graph(wrong=lambda w, _: w.add(c(), after=[5])), "workflow[1]: after[0] is 5; give what add()"),  # type: ignore[list-item]
        (lambda: graph(wrong=lambda w, _: w.add(c(), after=5)), "workflow[1]: after= is 5; give what add()"),  # type: ignore[arg-type]
        (lambda: graph(wrong=lambda w, n: w.add(c(), after=[n, n])), "workflow[1]: after[1] is named twice"),
        (lambda: graph(wrong=lambda w, n: w.add(n)), "workflow[1]: <node 0: Call('call')> was added already"),
        (lambda: graph(wrong=lambda _, n: planned(chain(n))), "a part of a Workflow"),
        (lambda: graph(wrong=lambda _, n: Workflow().add(c(), after=n)), "after[0] is a part of another workflow"),
        (lambda: graph(wrong=lambda w, n: (w.add(group(five), n), planned(w))), "workflow[1].group[0]: 5 is no call"),
        (lambda: graph(wrong=lambda w, _: (w.add(w), planned(w))), "workflow[1]: a Workflow cannot be a part"),
    ],
)
def test_what_cannot_be_right_is_refused_with_its_place(make: Callable[[], object], said: str) -> None:
    with pytest.raises((UsageError, BadOption)) as caught:
        make()
    assert said in str(caught.value)


def test_an_argument_that_cannot_travel_is_refused_with_its_place_and_its_path() -> None:
    with pytest.raises(BadValue, match=r"^chain\[1\]\.group\[0\]: args\[0\]\['b'\]: set is not allowed; use a list$"):
        new_workflow(planned(chain(c(), group(Call("a", ({"b": {2}},))))), ID)


def test_ids_of_members_follow_from_the_workflows_and_keep_its_time() -> None:
    ids = {member_id(ID, place) for place in range(1000)} | {member_id(b"i" * 15 + b"j", place) for place in range(9)}
    assert len(ids) == 1009
    assert {(len(id), id[:6]) for id in ids} == {(16, ID[:6])}
    assert member_id(ID, 7) == member_id(ID, 7)


def test_a_refusal_names_the_call_that_is_at_fault() -> None:
    plan = planned(chain(c("a"), group(c("b"))))
    unknown = not_made(QueryFailed("unknown_handler", "no handler is named 'b'", "", {"index": 1}), plan)
    assert isinstance(unknown, UnknownHandler)
    assert "chain[1].group[0]: no handler is named 'b'" in str(unknown)
    full = not_made(QueryFailed("queue_full", "it is full", "", {"index": 0, "queue": "q", "size": 5}), plan)
    assert isinstance(full, QueueFull)
    assert (full.queue, full.size) == ("q", 5)
    assert isinstance(not_made(QueryFailed("bad_time", "x", "", {"index": 0}), plan), SubmissionRefused)
    other = QueryFailed("too_large", "x")
    assert not_made(other, plan) is other


def ended(number: int, state: str, error: tuple[str, ...] | None = None) -> m.Outcome:
    packed = None if error is None else pack_result(list(error))
    return m.Outcome(bytes([number]) * 16, state, error=packed, name="x", reason="error" if error else None)


def test_of_a_groups_ends_the_one_that_failed_is_told_not_those_cancelled_for_it() -> None:
    outcomes = {0: ended(0, "cancelled"), 1: ended(1, "succeeded"), 2: ended(2, "failed", ("ValueError", "no", "tb"))}
    ends = judged(outcomes, "fail")
    assert (ends.in_place, type(ends.failure)) == ({}, TaskFailed)
    assert type(judged({0: ended(0, "cancelled")}, "fail").failure) is TaskCancelled


def test_of_a_groups_ends_those_without_result_have_what_was_asked_for_in_their_place() -> None:
    outcomes = {0: ended(0, "succeeded"), 1: ended(1, "failed", ("ValueError", "no", "tb")), 2: ended(2, "expired")}
    assert judged(outcomes, "continue") == ({1: None, 2: None}, None, False)
    ends = judged(outcomes, "collect")
    assert set(ends.in_place) == {1, 2}
    assert (ends.in_place[1]["id"], ends.in_place[1]["name"], ends.in_place[1]["state"]) == ("01" * 16, "x", "failed")
    assert ends.in_place[2]["error"] is None
    assert isinstance(judged({0: ended(0, "unknown")}, "continue").failure, otpq.TaskNotFound)


def test_results_are_laid_out_as_they_were_written() -> None:
    assert laid_out([[0, 2], [], 1], {0: "a", 1: None, 2: "c"}) == [["a", "c"], [], None]


def test_items_become_calls_a_bounded_number_at_a_time() -> None:
    walked: list[int] = []

    def items() -> Any:
        for n in range(5):
            walked.append(n)
            yield n

    chunks = calls_in_chunks(lambda n: add.s(n, 1), items(), 2)
    assert [call.args for call in next(chunks)] == [(0, 1), (1, 1)]
    assert walked == [0, 1]
    assert [len(chunk) for chunk in chunks] == [2, 1]
    assert list(calls_in_chunks("x", [], 2)) == []
    for chunk in (0, 1.5, True):
        with pytest.raises(BadOption, match="a whole number, 1 or more"):
            calls_in_chunks("x", [], chunk)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="5 cannot be walked"):
        calls_in_chunks("x", 5, 2)  # type: ignore[arg-type]
