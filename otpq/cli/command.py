"""From a function to a command: its parameters are read from the command line, and else from the environment.

A parameter whose type is a dataclass stands for all its fields: options that several commands have are written once. Each
option can be said by a variable of its own, OTPQ_ and its long name, so one word means one thing in all commands; the few
that mean another thing somewhere say so by an `envvar` of their own.
"""

from __future__ import annotations

import inspect
import os
from dataclasses import MISSING, fields, is_dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias, get_type_hints

import typer
from typer.main import get_command

from otpq.cli.exits import DEBUG

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["BETWEEN", "Debug", "flat", "made", "options_of", "variable"]

BETWEEN: Final = ";"
"""What stands between several values of one option in its variable."""


def _debug(value: bool) -> None:  # noqa: FBT001 - as typer calls it
    if value:
        os.environ[DEBUG] = "1"


Debug: TypeAlias = Annotated[
    bool,
    typer.Option("--debug", envvar=DEBUG, is_eager=True, callback=_debug, help="Show where an error was raised."),
]


def flat(function: Callable[..., None]) -> Callable[..., None]:
    """The function as typer reads it: each bundle of options as these options, and `--debug` behind them."""
    parameters = inspect.signature(function, eval_str=True).parameters.values()
    bundles: dict[str, Any] = {each.name: each.annotation for each in parameters if is_dataclass(each.annotation)}
    flattened = {
        one.name: one.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for each in parameters
        for one in (_parameters(each.annotation) if each.name in bundles else (each,))
    }
    flattened["debug"] = _parameter("debug", Debug, default=False)

    def called(**given: Any) -> None:
        del given["debug"]
        bundled = {
            name: bundle(**{each.name: given.pop(each.name) for each in fields(bundle)})
            for name, bundle in bundles.items()
        }
        function(**given, **bundled)

    called.__doc__ = function.__doc__
    called.__annotations__ = {name: each.annotation for name, each in flattened.items()}
    called.__signature__ = inspect.Signature(list(flattened.values()))  # type: ignore[attr-defined]
    return called


def _parameters(bundle: Any) -> Iterator[inspect.Parameter]:
    hints = get_type_hints(bundle, include_extras=True)
    for each in fields(bundle):
        yield _parameter(
            each.name, hints[each.name], inspect.Parameter.empty if each.default is MISSING else each.default
        )


def _parameter(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def made(name: str, function: Callable[..., None], **settings: Any) -> Any:
    """The command, each of its options with its variable."""
    alone = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    alone.command(name, **settings)(flat(function))
    command = get_command(alone)
    for option in options_of(command):
        option.envvar = variable(option)
        option.show_envvar = True
        if option.multiple:
            option.value_from_envvar = partial(_parts, option)
    return command


def _parts(option: Any, ctx: Any) -> list[str] | None:
    """Several values from one variable; typer would part them at each space."""
    text = option.resolve_envvar_value(ctx)
    return None if text is None else [part for part in text.split(BETWEEN) if part]


def options_of(command: Any) -> list[Any]:
    """Its options, without arguments and without `--help`."""
    return [each for each in command.params if each.param_type_name == "option"]


def variable(option: Any) -> str:
    """The name of the variable by which an option can be said too."""
    if option.envvar is not None:
        return str(option.envvar)
    longest = max(option.opts, key=len)
    return f"OTPQ_{longest.lstrip('-').replace('-', '_').upper()}"
