"""Which handlers take a context. What a context does is the child's (see tests of the worker)."""

from __future__ import annotations

import functools
from typing import Any

import otpq  # noqa: TC001 - annotations are looked up at run time
from otpq import context as kontext  # noqa: TC001
from otpq.context import Context, takes_context


def named(ctx: Context, n: int) -> None: ...


def dotted(ctx: otpq.Context) -> None: ...


def renamed(ctx: kontext.Context) -> None: ...


def quoted(ctx: "otpq.Context") -> None: ...  # noqa: UP037 - it becomes a quoted text


def second(n: int, ctx: Context) -> None: ...


def by_keyword(*, ctx: Context) -> None: ...


def plain(n, m) -> None: ...  # type: ignore[no-untyped-def]  # noqa: ANN001


def nothing() -> None: ...


async def awaited(ctx: Context) -> None: ...


class Methods:
    def bound(self, ctx: Context) -> None: ...
    @classmethod
    def of_class(cls, ctx: Context) -> None: ...


class Other:
    class Context: ...


def foreign(ctx: Other.Context) -> None: ...


def test_the_annotation_of_the_first_parameter_tells() -> None:
    taking: list[Any] = [named, dotted, renamed, quoted, awaited, Methods().bound, Methods.of_class]
    for function in taking:
        assert takes_context(function), function
    others: list[Any] = [second, by_keyword, plain, nothing, foreign, Methods.bound, functools.partial(named), len]
    for function in others:
        assert not takes_context(function), function


def test_an_annotation_is_a_class_or_its_text() -> None:
    def classes(ctx: Any, n: Any) -> None: ...

    annotation: Any
    for annotation in (Context, "Context", "otpq.Context", "'Context'", "'otpq.Context'", '"kontext.Context"'):
        classes.__annotations__["ctx"] = annotation
        assert takes_context(classes), annotation
    for annotation in (int, "int", "Other.Context", "click.Context", "otpq.nothing.Context", "", "Context | None"):
        classes.__annotations__["ctx"] = annotation
        assert not takes_context(classes), annotation


def test_a_name_for_type_checkers_alone_is_taken_by_its_words() -> None:
    names: dict[str, Any] = {}
    exec("def f(ctx: 'otpq.Context'): ...\ndef g(ctx: 'Context'): ...\ndef h(ctx: 'c.Context'): ...", names)  # noqa: S102
    assert [takes_context(names[name]) for name in "fgh"] == [True, True, False]


def test_a_decorator_passes_the_context_on() -> None:
    @functools.wraps(named)
    def around(*args: Any, **kwargs: Any) -> None:
        named(*args, **kwargs)

    assert takes_context(around)
