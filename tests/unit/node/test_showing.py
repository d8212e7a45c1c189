import time
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from otpq.core.effects import Dispatch
from otpq.node.showing import line, plain
from otpq.otp import Cast, Normal
from otpq.wire.cookie import Cookie
from otpq.worker.child_link import ChildSettings


@dataclass
class Point:
    x: Any
    y: Any = None
    inner: Any = field(default=None, repr=False)


class Pair(NamedTuple):
    left: object
    right: object


class Row(msgspec.Struct):
    id: bytes
    name: str = "n"


class Stranger:
    def __init__(self) -> None:
        self.x = 1

    @property
    def y(self) -> int:
        raise AssertionError("it must not be asked for")

    def __repr__(self) -> str:
        return "otpq-secret"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, None),
        (True, True),
        (1.5, 1.5),
        ("a", "a"),
        (2**70, "<int>"),
        (b"\x00a", "b'\\x00a'"),
        ([1, (2, {3})], [1, [2, [3]]]),
        ({"a": {1: 2}}, {"a": {"1": 2}}),
        (deque([1]), [1]),
        (Point(1, [2]), {"is": "Point", "x": 1, "y": [2], "inner": None}),
        (Pair(1, 2), {"is": "Pair", "left": 1, "right": 2}),
        (Row(b"x"), {"is": "Row", "id": "b'x'", "name": "n"}),
        (Normal(), "Normal()"),
        (Path("/a"), "/a"),
        (ValueError("no"), "ValueError('no')"),
        (datetime(2026, 1, 1, tzinfo=UTC), "datetime.datetime(2026, 1, 1, 0, 0, tzinfo=datetime.timezone.utc)"),
        (partial(print, 1), "<partial>"),
        (Stranger(), "<Stranger>"),
    ],
)
def test_values_are_shown_plain(value: object, shown: object) -> None:
    assert plain(value) == shown
    msgspec.msgpack.encode(plain(value))


def test_what_is_shown_is_a_part() -> None:
    assert plain(list(range(30)))[19:] == [19, "... 10 more"]
    assert plain(dict.fromkeys(range(25), 0))["..."] == "... 5 more"
    assert plain("x" * 5_000) == "x" * 100 + "... (5,000 in all)"
    assert plain(bytes(5_000)).endswith("... (5,000 in all)")
    assert len(plain(bytes(5_000))) < 130
    assert plain([[[[[[1]]]]]]) == [[[[["<list of 1>"]]]]]
    many = plain([[[[0] * 20] * 20] * 20] * 20, budget=100)
    assert len(msgspec.json.encode(many)) < 5_000


def test_what_holds_itself_comes_to_an_end() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert plain(endless) == [[[[["<list of 1>"]]]]]


def test_secrets_are_named_and_not_shown() -> None:
    cookie = Cookie.new()
    settings = ChildSettings("jobs:app", env={"API_KEY": "hush", "PATH": "/bin"})
    told = {
        "cookie": cookie,
        "cookie_file": "/home/x/cookie",
        "in text": f"the cookie {cookie.text()} is it",
        "store": "postgres://me:hush@db/x",
        "password": "hush",
        "_private_key": b"hush",
        "settings": settings,
        "environment": {"TOKEN": "hush"},
        "in a reason": ValueError("postgres://me:hush@db/x"),
        "start": partial(print, "hush"),
        "keys": [cookie.client_keys()],
    }
    shown = str(plain(told))
    assert "hush" not in shown
    assert cookie.text() not in shown
    assert repr(cookie.secret)[2:12] not in shown
    assert "/home/x/cookie" in shown
    assert "postgres://(not shown)@db/x" in shown
    assert "hush" not in line(told)


def test_a_message_is_a_line_of_bounded_length() -> None:
    assert line(Cast(Point(1, "two"))) == "Cast(request=Point(x=1, y=two, inner=None))"
    assert line(Cast([Row(b"1"), {"a": (1, 2)}])) == "Cast(request=[Row(id=b'1', name=n), {a: [1, 2]}])"
    large = Dispatch(session="s", lease=1, number=1, rows=[Row(bytes(5_000))] * 50, packet=1)  # type: ignore[list-item]
    assert len(line(large)) <= 503
    assert line(large).startswith("Dispatch(session=s, lease=1")


def test_a_collection_may_change_meanwhile() -> None:
    class Changing(dict[str, int]):
        """Another thread puts something in whenever somebody looks."""

        def __len__(self) -> int:
            self[str(time.monotonic_ns())] = 1
            return super().__len__()

    assert "a" in plain(Changing(a=1))
