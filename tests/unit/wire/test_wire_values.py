from __future__ import annotations

import dataclasses
import math
from collections import OrderedDict, namedtuple
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otpq.wire.messages import MAX_PAYLOAD
from otpq.wire.values import BadValue, pack_arguments, pack_result, unpack


class Color(Enum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


class Word(StrEnum):
    A = "a"


@dataclasses.dataclass
class User:
    name: str
    x: Any = None


class Point(msgspec.Struct):
    x: int
    y: Any = None


class Tagged(msgspec.Struct, tag="t", rename="camel"):
    first_name: str


class Row(msgspec.Struct, array_like=True, tag=7):
    a: int
    b: int


Pair = namedtuple("Pair", "a b")  # noqa: PYI024 - what users may still have

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@given(st.lists(plain, max_size=4), st.dictionaries(st.text(min_size=1, max_size=5), plain, max_size=3))
def test_plain_values_arrive_as_they_left(args: list[Any], kwargs: dict[str, Any]) -> None:
    assert unpack(pack_arguments(args, kwargs)) == [args, kwargs]


@given(plain)
def test_results_too(value: Any) -> None:
    assert unpack(pack_result(value)) == value


@given(st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)), st.integers(-14, 14))  # noqa: DTZ001 - made aware below
def test_aware_times_arrive_as_the_same_moment(naive: datetime, hours: int) -> None:
    moment = naive.replace(tzinfo=timezone(timedelta(hours=hours)))
    assert unpack(pack_result([moment])) == [moment]
    assert unpack(pack_result(moment)).tzinfo == UTC


@pytest.mark.parametrize(
    ("value", "form"),
    [
        ((1, (2,)), [1, [2]]),
        (UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (Decimal("1.50"), "1.50"),
        (date(2026, 1, 2), "2026-01-02"),
        (time(3, 4, 5), "03:04:05"),
        (timedelta(seconds=90), "PT90S"),
        (Color.RED, "red"),
        (Level.LOW, 1),
        (Word.A, "a"),
        (User("ann", [Color.RED]), {"name": "ann", "x": ["red"]}),
        (Point(1, UUID(int=0)), {"x": 1, "y": "00000000-0000-0000-0000-000000000000"}),
        (Tagged("ann"), {"type": "t", "firstName": "ann"}),
        (Row(1, 2), [7, 1, 2]),
        (Pair(1, 2), [1, 2]),
        (OrderedDict(a=1), {"a": 1}),
        ({Word.A: 1}, {"a": 1}),
        (type("MyStr", (str,), {})("s"), "s"),
        (type("MyInt", (int,), {})(5), 5),
    ],
)
def test_other_values_travel_in_their_plain_form(value: Any, form: Any) -> None:
    assert unpack(pack_result(value)) == form
    assert unpack(pack_arguments([[value]], {"k": value})) == [[[form]], {"k": form}]


@pytest.mark.parametrize(
    ("value", "kind"),
    [(UUID(int=5), UUID), (Decimal("1.50"), Decimal), (date(2026, 1, 2), date), (timedelta(seconds=1.5), timedelta),
     (time(1, 2, 3, 4), time), (Color.RED, Color), (User("ann"), User), (Point(1), Point), (Tagged("a"), Tagged)],
)  # fmt: skip
def test_the_plain_form_is_what_msgspec_converts_back(value: Any, kind: type) -> None:
    assert msgspec.convert(unpack(pack_result(value)), kind) == value


@pytest.mark.parametrize(
    ("args", "kwargs", "said"),
    [
        ([{"user": User("a", {1})}], {}, "args[0]['user'].x: set is not allowed; use a list"),
        ([], {"k": [1, Point(1, 2j)]}, "kwargs['k'][1].y: complex is not allowed; use a list of two floats"),
        ([frozenset()], {}, "args[0]: frozenset is not allowed; use a list"),
        ([bytearray(b"x")], {}, "args[0]: bytearray is not allowed; use bytes"),
        ([Path("a")], {}, "use str(path)"),
        ([2**64], {}, "args[0]: an int of more than 64 bits; use str(value)"),
        ([[-(2**63) - 1]], {}, "args[0][0]: an int of more than 64 bits; use str(value)"),
        (["\ud800"], {}, "args[0]: a str that is no Unicode text"),
        ([{1: 2}], {}, "args[0]: the key 1 is of type int; keys are str, use str(key)"),
        ([[{"a": {b"b": 1}}]], {}, "args[0][0]['a']: the key b'b' is of type bytes"),
        ([datetime(2026, 1, 1)], {}, "args[0]: a datetime without a time zone"),  # noqa: DTZ001 - the point
        ([object()], {}, "args[0]: object is not allowed; pass its id, or make it a dataclass"),
        ([len], {}, "args[0]: builtin_function_or_method is not allowed"),
        ([User], {}, "args[0]: type is not allowed"),
        ([1], {2: 3}, "kwargs: the key 2 is of type int"),
    ],
)
def test_all_else_is_refused_with_its_path(args: list[Any], kwargs: dict[Any, Any], said: str) -> None:
    with pytest.raises(BadValue) as caught:
        pack_arguments(args, kwargs)
    assert said in str(caught.value)


def test_a_value_that_contains_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(BadValue, match="contains itself"):
        pack_result(loop)


def test_what_is_too_large_is_refused() -> None:
    with pytest.raises(BadValue, match="put the data into a file"):
        pack_arguments([b"x" * MAX_PAYLOAD], {})


def test_no_number_is_a_number_too() -> None:
    assert math.isnan(unpack(pack_result(math.nan)))


def test_a_refused_value_leaves_nothing_in_the_packer() -> None:
    for bad in (2**70, "\ud800", datetime(2026, 1, 1)):  # noqa: DTZ001
        with pytest.raises(BadValue):
            pack_result(["before", bad])
        assert unpack(pack_result("after")) == "after"
