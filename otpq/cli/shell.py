"""`otpq shell`: a Python prompt attached to a node, or with one of its own."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Final

import typer

from otpq.cli.asking import Asking
from otpq.cli.exits import INTERRUPTED, exit_code
from otpq.errors import UsageError

if TYPE_CHECKING:
    from otpq.shell.session import Shell

__all__ = ["shell"]

_GREETING: Final = (
    "Python, and a node's helpers by name: h() lists them, h(x) explains one. Ctrl-C stops a line, Ctrl-D leaves."
)


def shell(
    named: Annotated[str | None, typer.Argument(metavar="[NODE]", help="As --node.")] = None,
    *,
    command: Annotated[
        str | None,
        typer.Option("--command", "-c", metavar="CODE", help="Run this and end, with the error's exit code."),
    ] = None,
    app: Annotated[
        str | None, typer.Option("--app", metavar="M:A", help="The app whose handlers have names in the shell.")
    ] = None,
    embedded: Annotated[
        bool, typer.Option("--embedded", help="Start a node for the shell, with --app or the demo's.")
    ] = False,
    name: Annotated[
        str | None,
        typer.Option(
            "--name", metavar="NAME", help="Of --embedded: it is kept; else it is made for once, and nothing stays."
        ),
    ] = None,
    workers: Annotated[str | None, typer.Option("--workers", metavar="N", help="Of --embedded.")] = None,
    to: Asking,
) -> None:
    """Type Python into a running node: every command by its name, and Python around it; h() says more."""
    from otpq.shell.output import Output
    from otpq.shell.places import DEMO, app_named, embedded_node
    from otpq.shell.session import Shell

    output = Output(as_json=to.as_json, is_terminal=command is None and sys.stdin.isatty() and sys.stdout.isatty())
    if (name or workers) and not embedded:
        raise UsageError("--name and --workers are of the node that --embedded starts; --node names one that runs")
    if embedded and (named or to.node):
        raise UsageError("--embedded starts a node of the shell's own; without it, the shell attaches to one that runs")
    if to.as_json and output.is_terminal:
        raise UsageError("--json is for -c and for pipes; on a terminal, values are for eyes")
    if output.is_terminal:
        output.say(_GREETING)
    with ExitStack() as stack:
        its_app = app_named(app or DEMO) if app or embedded else None
        if embedded and its_app is not None:
            stack.enter_context(embedded_node(its_app, name, workers, to.cookie_file))
        error = _run(stack.enter_context(Shell(output, to.cookie_file, its_app).attached(named or to.node)), command)
    if error is not None:
        raise typer.Exit(INTERRUPTED if isinstance(error, KeyboardInterrupt) else exit_code(error))


def _run(shell: Shell, command: str | None) -> BaseException | None:
    if command is not None:
        return shell.run_lines(command.splitlines(keepends=True), goes_on=False)
    if not shell.output.is_terminal:
        return shell.run_lines(sys.stdin, goes_on=True)
    from otpq.shell.terminal import run_terminal

    run_terminal(shell)
    return None
