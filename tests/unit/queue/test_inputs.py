"""What members take from others, filled in without opening it."""

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otpq.core import events as ev
from otpq.core.effects import Dispatch
from otpq.core.records import Link, TaskRow, WorkflowRow
from otpq.queue.inputs import check, filled, with_first
from otpq.store.protocol import End
from otpq.wire.messages import MAX_PAYLOAD, NewTask
from otpq.wire.verbs import NewMember

values = st.recursive(st.none() | st.integers(-9, 9) | st.text(max_size=3), lambda of: st.lists(of, max_size=3))


@given(
    args=st.lists(values, max_size=20), kwargs=st.dictionaries(st.text(max_size=3), values, max_size=3), first=values
)
def test_a_value_goes_in_front_of_the_arguments(args: list[Any], kwargs: dict[str, Any], first: Any) -> None:
    packed = with_first(msgpack.packb((args, kwargs)), msgpack.packb(first))
    assert msgpack.unpackb(packed) == [[first, *args], kwargs]


@pytest.mark.parametrize("count", [15, 16, 65_534, 65_535, 65_536])
def test_headers_of_any_size_are_read_and_written(count: int) -> None:
    packed = with_first(msgpack.packb(([None] * count, {})), msgpack.packb("x"))
    assert msgpack.unpackb(packed) == [["x", *[None] * count], {}]


class Reading:
    """What a store has of one workflow, whose number is 10."""

    def __init__(self, takes: Any, results: dict[int, Any], on_failure: str = "fail", **ends: Any) -> None:
        self.takes = None if takes is None else msgpack.packb(takes)
        self.on_failure = on_failure
        self.all = {
            10 + place: End(10 + place, bytes([place] * 16), "f", "succeeded", msgpack.packb(value), None)
            for place, value in results.items()
        }
        for name, state in ends.items():
            place = int(name[1:])
            self.all[10 + place] = End(
                10 + place, bytes([place] * 16), "f", state, None, msgpack.packb(["E", "bad", "tb"])
            )

    def links(self, first: int, last: int) -> dict[int, Link]:
        return {99: Link(99, msgpack.packb([0]), self.takes)} if first <= 99 <= last else {}

    def ends(self, first: int, last: int) -> dict[int, End]:
        return {seq: end for seq, end in self.all.items() if first <= seq <= last}

    def workflow(self, number: int) -> WorkflowRow:
        return WorkflowRow(number, b"w" * 16, 90, self.on_failure, None, 1.0, 90)


def dispatch(*rows: TaskRow) -> Dispatch:
    return Dispatch(session="s", lease=1, number=1, rows=list(rows))


def row(seq: int = 99, workflow: int | None = 10, payload: bytes | None = None) -> TaskRow:
    return TaskRow(
        seq=seq,
        id=seq.to_bytes(16, "big"),
        name="f",
        queue="q",
        partition="",
        priority=5,
        state="queued",
        due=1.0,
        expires=None,
        created=1.0,
        updated=1.0,
        options=b"",
        payload=payload or msgpack.packb((["own"], {})),
        workflow=workflow,
    )


@pytest.mark.parametrize(
    ("takes", "first"),
    [(0, "a"), ([0], ["a"]), ([1, 0], [None, "a"]), ([[0, 5], 1], [["a", [7]], None]), ([], []), ([0, 0], ["a", "a"])],
)
def test_what_a_task_takes_is_its_first_argument(takes: Any, first: Any) -> None:
    original = row()
    batch, results = filled(dispatch(original), Reading(takes, {0: "a", 1: None, 5: [7]}), 5.0)  # type: ignore[arg-type]
    assert batch is not None
    assert msgpack.unpackb(batch.rows[0].payload) == [[first, "own"], {}]
    assert msgpack.unpackb(original.payload) == [["own"], {}]  # the core's row stays as the store has it
    assert results is None


def test_others_of_the_batch_stay_as_they_are() -> None:
    plain, member = row(3, None), row(50)
    batch, _ = filled(dispatch(plain, member), Reading(0, {0: 1}), 5.0)  # type: ignore[arg-type]
    assert batch is not None
    assert batch.rows == [plain, member]


def test_in_place_of_a_result_that_is_none_stands_none_or_the_error() -> None:
    for on_failure in ("continue", "collect"):
        batch, _ = filled(dispatch(row()), Reading([0, 1], {0: "a"}, on_failure, _1="failed"), 5.0)  # type: ignore[arg-type]
        assert batch is not None
        error = {"error": ["E", "bad"], "id": "01" * 16, "name": "f", "state": "failed"}
        assert msgpack.unpackb(batch.rows[0].payload)[0][0] == ["a", error if on_failure == "collect" else None]


def test_what_is_too_large_to_travel_fails_for_good_and_the_others_go() -> None:
    reading = Reading([0, 0], {0: b"x" * (MAX_PAYLOAD // 2)})
    batch, results = filled(dispatch(row(), row(3, None)), reading, 5.0)  # type: ignore[arg-type]
    assert batch is not None
    assert [each.seq for each in batch.rows] == [3]
    assert results is not None
    (failed,) = results.results
    assert isinstance(failed, ev.Discarded)
    assert msgpack.unpackb(failed.error or b"")[0] == "InputTooLarge"
    assert filled(dispatch(row()), reading, 5.0)[0] is None  # type: ignore[arg-type]


def test_a_result_that_is_taken_many_times_is_not_put_together_to_see_that_it_is_too_large() -> None:
    reading = Reading([0] * 100_000, {0: b"x" * 1_000_000})  # 100 GB
    batch, results = filled(dispatch(row()), reading, 5.0)  # type: ignore[arg-type]
    assert batch is None
    assert results is not None


@pytest.mark.parametrize(
    ("after", "takes", "payload"),
    [
        ([0], b"\xc1", b"\x92\x90\x80"),  # no MessagePack
        ([0], msgpack.packb("x"), b"\x92\x90\x80"),
        ([0], msgpack.packb([True]), b"\x92\x90\x80"),
        ([0], msgpack.packb([[0], 1]), b"\x92\x90\x80"),  # a place that it does not wait for
        ([0], b"\x91" * 200 + b"\x00", b"\x92\x90\x80"),
        ([0], b"\x91" * 100_000 + b"\x00", b"\x92\x90\x80"),
        ([0], msgpack.packb(0), b""),
        ([0], msgpack.packb(0), b"x"),
        ([0], msgpack.packb(0), b"\x92\xa1x\x80"),  # [text, kwargs]
        ([0], msgpack.packb(0), b"\x92\xdd\x00"),
    ],
)
def test_what_cannot_be_filled_in_is_refused_before_it_is_submitted(
    after: list[int], takes: bytes, payload: bytes
) -> None:
    with pytest.raises((ValueError, RecursionError)):
        check(NewMember(NewTask(bytes(16), "f", payload), after, takes))


def test_what_can_be_filled_in_is_let_through() -> None:
    for takes in (None, msgpack.packb(1), msgpack.packb([[0, 1], [], 1])):
        check(NewMember(NewTask(bytes(16), "f", b"\x92\x90\x80"), [0, 1], takes))
    check(NewMember(NewTask(bytes(16), "f", b"its own affair"), [], None))
