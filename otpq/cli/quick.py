"""The commands of `status.py` without typer, which takes 70 ms of each start, when nothing but plain words is said.

Plain are options that a command has, each once, with values that can be read. All else is typer's: help, completion, and
every word about what is wrong. So what is read here is what typer would have read, and a test holds both to it.
"""

from __future__ import annotations

import gc
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from otpq.cli import status
from otpq.cli.declared import call, parameters, variable
from otpq.cli.exits import DEBUG, INTERRUPTED, one_line_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = ["COMMANDS", "read", "run"]

COMMANDS: Final[Mapping[str, Callable[..., None]]] = {name: getattr(status, name) for name in status.__all__}
"""By name."""
_TYPERS: Final = ("_OTPQ_COMPLETE", DEBUG)
"""Variables of which typer makes something."""


class _NotPlain(ValueError):
    """Typer is to read it, and perhaps to say what is wrong with it."""


def run(words: Sequence[str]) -> None:
    """Run the command that the words name, and end the program; return only if they are for typer.

    Raises:
        SystemExit: It has run, or failed.
    """
    command = read(words, os.environ)
    if command is None:
        return
    gc.disable()  # it lives for a tenth of a second, and nearly all that it makes are modules, which stay
    try:
        with one_line_errors():
            command()
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    finally:
        gc.freeze()  # else the interpreter looks through all modules for garbage when it ends: 20 ms
    raise SystemExit


def read(words: Sequence[str], environment: Mapping[str, str]) -> Callable[[], None] | None:
    """What the words and the variables ask for, to be called; None: they are for typer."""
    function = COMMANDS.get(words[0]) if words else None
    if function is None or sys.platform == "win32" or any(environment.get(name) for name in _TYPERS):
        return None  # on Windows, typer replaces patterns among the words by files
    try:
        return partial(call, function, dict(_given(function, words[1:], environment)))
    except ValueError:
        return None


def _given(
    function: Callable[..., None], words: Sequence[str], environment: Mapping[str, str]
) -> Iterator[tuple[str, Any]]:
    """The value of each parameter: a word goes before its variable, and that before the default."""
    options = parameters(function)
    kinds = {name: (each.annotation.__origin__, each.annotation.__metadata__[0]) for name, each in options.items()}
    said = _said({option.word: kind is bool for kind, option in kinds.values()}, words)
    for name, (kind, option) in kinds.items():
        text = said.get(option.word) or environment.get(variable(option.word))
        yield name, _READ[kind](text) if text else options[name].default


def _said(options: Mapping[str, bool], words: Sequence[str]) -> dict[str, str]:
    """The text that stands behind each option, of a flag '1'. `options` says whether it is a flag."""
    said: dict[str, str] = {}
    rest = iter(words)
    for word in rest:
        if word not in options or word in said:
            raise _NotPlain(word)
        said[word] = "1" if options[word] else next(rest, "")
        if not said[word] or said[word].startswith("-"):
            raise _NotPlain(word)
    return said


def _flag(text: str) -> bool:
    if text not in {"0", "1"}:
        raise _NotPlain(text)
    return text == "1"


def _file(text: str) -> Path:
    if not os.access(text, os.R_OK):
        raise _NotPlain(text)
    return Path(text)


_READ: Final[Mapping[Any, Callable[[str], Any]]] = {bool: _flag, float: float, str | None: str, Path | None: _file}
"""How the text of each kind of option is read."""
