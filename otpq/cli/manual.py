"""The manual of the command line, made of the commands themselves: `python -m otpq.cli.manual > docs/cli.md`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from typer.main import get_command

from otpq.cli.command import BETWEEN, options_of
from otpq.cli.exits import CODES
from otpq.cli.node import arguments
from otpq.cli.program import app

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["manual"]

_HEAD: Final = f"""\
# The command line

Made of the commands themselves by `python -m otpq.cli.manual > docs/cli.md`; a test keeps it so.

## What all commands share

- **Where an option comes from.** A flag goes before its variable, that before the file (`--config`, of `otpq node`), that before
  the default. A variable that is empty says nothing. A flag of no value is said by `1` or `0`; of an option that may be given
  more than once, the values stand in one variable with `{BETWEEN}` between them.
- **Which node.** `--node`, else `OTPQ_NODE`, else the only node of this user on this machine. Where nothing listens, a command
  that only reads says so after 2 s; one that changes something tries for 10 s, since the node may be starting again.
- **Errors** are one line on standard error: what is wrong, where, and what would be right. `--debug` shows where it was raised.
- **JSON.** `--json` of a command that reads prints what `Client` returns. Tables fit the terminal, or `COLUMNS`; in a pipe they
  are as wide as they need to be.
- **Selecting tasks.** `--state`, `--name`, `--queue`, `--tag`, `--before` select those for which all that is given holds. In a
  name, `*` stands for any characters, `?` for one, `[ab]` for one of these; `[*]` and `[?]` are the characters themselves. A name
  without `*` and `?` is that name. `--before` takes an age (30s, 5m, 1h, 2d, 1w) or a time, and goes by when a task was made.
- **Asking first.** `cancel`, `retry`, `delete` and `purge` say how many tasks they would touch, and ask, unless the tasks are
  named by their ids or `--yes` is given. Where standard input is no terminal they do nothing without `--yes`, and end with 2.
- **Completion.** `otpq --install-completion` for bash, zsh and fish: commands, options, states, and the handlers, queues, pools,
  nodes and newest ids that a node tells of within a second.

## Exit codes

| code | meaning |
| --- | --- |
"""


def manual() -> str:
    """The text of docs/cli.md."""
    codes = "".join(f"| {code} | {meaning} |\n" for code, meaning in CODES.items())
    parts = (_section(path, command) for path, command in commands())
    return _HEAD + codes + "| 130 | Ctrl-C |\n\n## Commands\n\n" + "\n".join(parts)


def commands(group: Any = None, path: str = "otpq") -> Iterator[tuple[str, Any]]:
    """Every command by its path, each as it is when it is run."""
    group = get_command(app) if group is None else group
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command.make()


def _section(path: str, command: Any) -> str:
    options = _of_node() if path == "otpq node" else _of(command)
    words = "".join(
        f" {each.metavar or each.name.upper()}" for each in command.params if each.param_type_name == "argument"
    )
    lines = [f"### {path}", "", f"`{path} [OPTION]...{words}`", "", command.help, ""]
    arguments = [each for each in command.params if each.param_type_name == "argument" and each.help]
    lines += [f"- `{each.metavar}`: {each.help}" for each in arguments]
    lines += [""] if arguments else []
    lines += ["| option | variable | meaning |", "| --- | --- | --- |"]
    return "\n".join([*lines, *("| " + " | ".join(map(_cell, row)) + " |" for row in options), ""])


def _of(command: Any) -> Iterable[tuple[str, str, str]]:
    for option in options_of(command):
        metavar = "" if option.is_flag else f" {option.metavar or option.type.name.upper()}"
        default = option.default not in (None, False, "") and not option.multiple
        yield (
            f"`{', '.join(sorted(option.opts, key=len, reverse=True))}{metavar}`",
            f"`{option.envvar}`",
            f"{option.help or ''}{f' Default: {option.default}.' if default else ''}".strip(),
        )


def _of_node() -> Iterable[tuple[str, str, str]]:
    for each in arguments():
        metavar = f" {each.metavar}" if each.metavar else ""
        yield f"`{', '.join(each.words)}{metavar}`", f"`{each.variable}`", each.meaning


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(manual())
