# ruff: noqa: ANN001, ANN002, ANN003, ANN202, RUF013, UP045 - the handlers are such as users write
# mypy: disable-error-code="no-untyped-def"
# No `from __future__ import annotations` here: most handlers have real annotations; those with texts say so.
import datetime as dt
import functools
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Optional, TypedDict
from uuid import UUID

import msgspec
import pytest

from otpq.context import Context
from otpq.worker.conversion import BadArgument, Converter

if TYPE_CHECKING:
    import otpq


class Color(Enum):
    RED = "red"


@dataclass
class User:
    name: str
    born: dt.date | None = None


class Point(msgspec.Struct):
    x: int


class Options(TypedDict):
    size: int


MOMENT = dt.datetime(2026, 11, 21, tzinfo=dt.UTC)


def convert(handler: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[list[Any], dict[str, Any]]:
    found, named = Converter()(SimpleNamespace(handler=handler), list(args), kwargs)
    return list(found), named


def annotated(annotation: object) -> Callable[..., Any]:
    def handler(a):
        return a

    handler.__annotations__["a"] = annotation
    return handler


@pytest.mark.parametrize(
    ("annotation", "plain", "made"),
    [
        (UUID, str(UUID(int=5)), UUID(int=5)),
        (Decimal, "1.50", Decimal("1.50")),
        (dt.datetime, MOMENT, MOMENT),
        (dt.datetime, "2026-11-21T00:00:00Z", MOMENT),
        (dt.date, "2026-11-21", dt.date(2026, 11, 21)),
        (dt.time, "03:04:05", dt.time(3, 4, 5)),
        (dt.timedelta, "PT90S", dt.timedelta(seconds=90)),
        (Color, "red", Color.RED),
        (User, {"name": "ann", "born": "2000-01-02"}, User("ann", dt.date(2000, 1, 2))),
        (Point, {"x": 1}, Point(1)),
        (Options, {"size": 1}, {"size": 1}),
        (list[int], [1, 2], [1, 2]),
        (dict[str, UUID], {"k": str(UUID(int=1))}, {"k": UUID(int=1)}),
        (set[str], ["a"], {"a"}),
        (tuple[int, str], [1, "a"], (1, "a")),
        (Optional[UUID], None, None),
        (int | str, "a", "a"),
        (float, 1, 1.0),
        (bytes, b"x", b"x"),
        ("Decimal", "2", Decimal(2)),
        ("list[User]", [{"name": "a"}], [User("a")]),
        (Any, object, object),
        ("Unknown", 5, 5),  # a name that was imported for type checkers alone
        (UUID | str, 5, 5),  # msgspec cannot tell the two apart, so it does not try
        (None, None, None),
    ],
)
def test_an_argument_becomes_what_the_annotation_says(annotation: object, plain: object, made: object) -> None:
    for args, kwargs in (([plain], {}), ([], {"a": plain})):
        found, named = convert(annotated(annotation), *args, **kwargs)
        (value,) = [*found, *named.values()]
        assert value == made
        assert type(value) is type(made)


@pytest.mark.parametrize(
    ("annotation", "given", "said"),
    [
        (int, "1", "argument 'a': Expected `int`, got `str`"),
        (int, True, "argument 'a': Expected `int`, got `bool`"),
        (str, None, "argument 'a': Expected `str`, got `null`"),
        (bytes, "aGk=", "argument 'a': Expected `bytes`, got `str`"),
        (UUID, "x", "argument 'a': Invalid UUID"),
        (Color, "blue", "argument 'a': Invalid enum value 'blue'"),
        (User, {}, "argument 'a': Object missing required field `name`"),
        (list[User], [{"name": 5}], "argument 'a': Expected `str`, got `int` - at `$[0].name`"),
        (Options, {"size": "x"}, "argument 'a': Expected `int`, got `str` - at `$.size`"),
    ],
)
def test_a_mismatch_names_the_parameter_and_the_place_in_it(annotation: object, given: object, said: str) -> None:
    with pytest.raises(BadArgument) as caught:
        convert(annotated(annotation), given)
    assert str(caught.value) == said


def test_each_kind_of_parameter_is_converted() -> None:
    def handler(a: UUID, b, /, c: UUID = None, *rest: UUID, d: UUID, e: str = "", **others: UUID):  # type: ignore[assignment]
        """Every kind there is."""

    text, made = str(UUID(int=1)), UUID(int=1)
    assert convert(handler, text, text, None, text, d=text, e="e", f=text) == (
        [made, text, None, made],
        {"d": made, "e": "e", "f": made},
    )
    assert convert(handler, text) == ([made], {})  # what is missing, the call itself will say
    with pytest.raises(BadArgument, match="argument 'rest'"):
        convert(handler, text, 1, text, "no uuid")
    with pytest.raises(BadArgument, match="argument 'others'"):
        convert(handler, f="no uuid")


def test_a_context_is_none_of_the_arguments() -> None:
    def handler(ctx: Context, a: UUID, *rest: int):
        """As it is called with (ctx, a, ...)."""

    def bare(ctx: "otpq.Context", a, *, b: UUID):
        """With a text."""

    text, made = str(UUID(int=1)), UUID(int=1)
    assert convert(handler, text, 5) == ([made, 5], {})
    assert convert(bare, 1, b=text) == ([1], {"b": made})
    assert convert(bare, ctx=1, b=text) == ([], {"ctx": 1, "b": made})  # the call itself will say that there are two


def test_more_arguments_than_parameters_pass_as_they_are() -> None:
    def handler(a: int):
        """One parameter."""

    assert convert(handler, 1, 2, b=3) == ([1, 2], {"b": 3})


def test_the_annotations_behind_a_decorator_count() -> None:
    def handler(a: UUID):
        """The user's own."""

    @functools.wraps(handler)
    def wrapper(*args, **kwargs):
        return handler(*args, **kwargs)

    assert convert(wrapper, str(UUID(int=1))) == ([UUID(int=1)], {})


def test_a_method_is_asked_without_its_self() -> None:
    class Place:
        def handler(self, a: UUID):
            """A method."""

    assert convert(Place().handler, str(UUID(int=1))) == ([UUID(int=1)], {})


@pytest.mark.parametrize(
    "handler", [len, functools.partial(int), lambda a: a, print, type("C", (), {"__call__": len})()]
)
def test_what_says_nothing_gets_its_arguments_as_they_came(handler: Callable[..., Any]) -> None:
    assert convert(handler, "x", k=1) == (["x"], {"k": 1})
