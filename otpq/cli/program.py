"""All commands put together."""

from __future__ import annotations

import typer

from otpq.cli import nodes, tasks
from otpq.cli.exits import OneLineErrors

__all__ = ["app"]

app = typer.Typer(
    cls=OneLineErrors,
    help="otpq: a distributed task queue, built the way Erlang/OTP builds systems.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # rich would cost `otpq --help` 100 ms
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command()(nodes.node)
app.command(cls=tasks.Submit)(tasks.submit)
app.command("list")(tasks.list_)
app.command()(tasks.show)
app.command()(tasks.counts)
app.command()(tasks.cancel)
app.command()(nodes.health)
app.command()(nodes.check)
app.command()(nodes.demo)

cookie = typer.Typer(cls=OneLineErrors, help="The secret of a cluster.", no_args_is_help=True, rich_markup_mode=None)
cookie.command("new")(nodes.new_cookie)
app.add_typer(cookie, name="cookie")
