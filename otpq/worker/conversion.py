"""Arguments as a handler's annotations ask for them: what had to travel in its plain form is here made what it was.

A UUID, an Enum, a dataclass arrive as text, value and map; `msgspec.convert` turns them back. What is exactly of the annotated
type already passes at once, so a handler of plain values imports nothing and pays a comparison a task. A context is none of the
arguments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Optional, TypeAlias, get_type_hints

from otpq.context import takes_context

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from otpq.worker.loading import Definition

__all__ = ["BadArgument", "Converter", "Fit"]

Fit: TypeAlias = "Callable[[list[Any], dict[str, Any]], tuple[Sequence[Any], dict[str, Any]]]"
"""Makes of plain arguments those that a handler's annotations ask for; raises `BadArgument` where they do not fit."""

_VARARGS: Final = 0x04  # inspect.CO_VARARGS and CO_VARKEYWORDS; inspect takes a child longer to import than this file
_VARKEYWORDS: Final = 0x08


class BadArgument(TypeError):
    """The arguments are not those of the handler; the message names the one that is wrong. No retry could change that."""


class Converter:
    """Makes of plain arguments those that a handler's annotations ask for. Looks at each handler once."""

    def __init__(self) -> None:
        self._plans: dict[int, tuple[Definition, _Plan | None]] = {}

    def __call__(
        self, definition: Definition, args: list[Any], kwargs: dict[str, Any]
    ) -> tuple[Sequence[Any], dict[str, Any]]:
        """The arguments to call it with.

        Raises:
            BadArgument: One has no form that fits its annotation.
        """
        fit = self.of(definition)
        return (args, kwargs) if fit is None else fit(args, kwargs)

    def of(self, definition: Definition) -> Fit | None:
        """What makes them, for one handler; None if it asks for nothing."""
        known = self._plans.get(id(definition))
        if known is None:  # with the definition itself, so that no other can get its id
            known = self._plans[id(definition)] = (definition, _plan_of(definition.handler))
        return None if known[1] is None else known[1].fit


class _Plan:
    """What a handler asks of each of its parameters. Without an entry: nothing."""

    def __init__(self, places: Sequence[str], wanted: dict[str, Any], rest: str | None, others: str | None) -> None:
        self._places = places
        self._wanted = wanted
        self._rest = rest
        self._others = others
        self._exact = tuple(wanted.get(name) for name in places)

    def fit(self, args: list[Any], kwargs: dict[str, Any]) -> tuple[Sequence[Any], dict[str, Any]]:
        if not kwargs and self._exact == tuple(map(type, args)):
            return args, kwargs
        fitted = [
            self._fit(self._places[at] if at < len(self._places) else self._rest, value)
            for at, value in enumerate(args)
        ]
        return fitted, {
            name: self._fit(name if name in self._wanted else self._others, value) for name, value in kwargs.items()
        }

    def _fit(self, name: str | None, value: Any) -> Any:
        wanted = self._wanted.get(name, Any) if name is not None else Any
        if wanted is Any or type(value) is wanted:
            return value
        import msgspec  # 15 ms, and only a child whose values need it pays them

        try:
            return msgspec.convert(value, wanted, builtin_types=(bytes,))  # bytes travel as they are: no text is base64
        except msgspec.ValidationError as error:
            raise BadArgument(f"argument {name!r}: {error}") from None
        except TypeError:
            return value  # an annotation that says something to type checkers alone


def _plan_of(handler: Callable[..., Any]) -> _Plan | None:
    """None if its annotations ask for nothing; nor do those of what is no function, such as a `partial`."""
    function = handler
    while hasattr(function, "__wrapped__"):  # a decorator stands before it, and passes on what it gets
        function = function.__wrapped__
    code = getattr(function, "__code__", None)
    annotations = getattr(function, "__annotations__", None)
    if code is None or not annotations:
        return None
    names = code.co_varnames
    places, end = names[: code.co_argcount], code.co_argcount + code.co_kwonlyargcount
    rest = names[end] if code.co_flags & _VARARGS else None
    others = names[end + (rest is not None)] if code.co_flags & _VARKEYWORDS else None
    is_bound = getattr(function, "__self__", None) is not None
    optional = _none_by_default(function, places)
    first = is_bound + takes_context(handler)
    wanted = {
        name: Optional[hint] if name in optional else hint  # noqa: UP045 - `x: str = None` is what many write
        for name in annotations
        if name != "return" and name not in places[:first] and (hint := _hint(function, name)) is not Any
    }
    return _Plan(places[first:], wanted, rest, others) if wanted else None


def _hint(function: Callable[..., Any], name: str) -> Any:
    """The type behind an annotation; Any where it cannot be found, as for a name that is imported for type checkers alone."""

    class Holder:
        __annotations__ = {name: function.__annotations__[name]}

    try:
        return get_type_hints(Holder, function.__globals__, include_extras=True)[name]
    except (NameError, AttributeError, TypeError, SyntaxError):
        return Any


def _none_by_default(function: Callable[..., Any], places: Sequence[str]) -> set[str]:
    defaults = getattr(function, "__defaults__", None) or ()
    named = {
        **dict(zip(reversed(places), reversed(defaults), strict=False)),
        **(getattr(function, "__kwdefaults__", None) or {}),
    }
    return {name for name, default in named.items() if default is None}
