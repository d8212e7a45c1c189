"""From a function to a command: its parameters are read from the command line, and else from the environment.

Each option can be said by a variable of its own, OTPQ_ and its long name, so one word means one thing in all commands; the
few that mean another thing somewhere say so by an `envvar` of their own.
"""

from __future__ import annotations

import inspect
import os
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias, get_origin

import typer
from typer.main import get_command

from otpq.cli import completion, declared
from otpq.cli.exits import DEBUG

if TYPE_CHECKING:
    from collections.abc import Callable

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
    parameters = declared.parameters(function)
    flattened = {name: each.replace(annotation=_for_typer(each.annotation)) for name, each in parameters.items()}
    flattened["debug"] = declared.parameter("debug", Debug, default=False)

    def called(**given: Any) -> None:
        del given["debug"]
        declared.call(function, given)

    called.__doc__ = function.__doc__
    called.__annotations__ = {name: each.annotation for name, each in flattened.items()}
    called.__signature__ = inspect.Signature(list(flattened.values()))  # type: ignore[attr-defined]
    return called


def _for_typer(annotation: Any) -> Any:
    """The annotation with typer's own option for ours."""
    option = annotation.__metadata__[0] if get_origin(annotation) is Annotated else None
    if not isinstance(option, declared.Option):
        return annotation
    complete = None if option.complete is None else getattr(completion, option.complete)
    typers = typer.Option(option.word, metavar=option.metavar, help=option.help, autocompletion=complete)
    return Annotated[annotation.__origin__, typers]


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
    return declared.variable(max(option.opts, key=len))
