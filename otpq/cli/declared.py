"""What a command may be told: read off its function, whose parameters say it, with or without typer.

A parameter whose type is a dataclass stands for all its fields: options that several commands have are written once.
"""

from __future__ import annotations

import inspect
from dataclasses import MISSING, fields, is_dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, get_type_hints

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["Option", "call", "parameter", "parameters", "variable"]


class Option(NamedTuple):
    """An option of a command that is quick, declared as typer's would be: `command.py` makes that of it, `quick.py` does without."""

    word: str
    help: str
    metavar: str | None = None
    complete: str | None = None
    """Which function of `completion.py` tells what its value may be."""


def parameters(function: Callable[..., None]) -> dict[str, inspect.Parameter]:
    """What a function is told, by name: each bundle of options as these options."""
    return {
        one.name: one.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for each in inspect.signature(function, eval_str=True).parameters.values()
        for one in (_fields(each.annotation) if is_dataclass(each.annotation) else (each,))
    }


def call(function: Callable[..., None], given: Mapping[str, Any]) -> None:
    """Call the function with what was given for each of its `parameters`."""
    told = dict(given)
    for each in inspect.signature(function, eval_str=True).parameters.values():
        if is_dataclass(each.annotation):
            bundle: Any = each.annotation
            told[each.name] = bundle(**{field.name: told.pop(field.name) for field in fields(bundle)})
    function(**told)


def variable(word: str) -> str:
    """The variable by which an option can be said too, unless it has another."""
    return f"OTPQ_{word.lstrip('-').replace('-', '_').upper()}"


def parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    """A parameter that is given by its name."""
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def _fields(bundle: Any) -> Iterator[inspect.Parameter]:
    hints = get_type_hints(bundle, include_extras=True)
    for each in fields(bundle):
        default = inspect.Parameter.empty if each.default is MISSING else each.default
        yield parameter(each.name, hints[each.name], default)
