"""All commands put together."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from otpq.cli import nodes, queues, tasks
from otpq.cli.exits import one_line_errors

__all__ = ["app"]


class OneLineErrors(TyperGroup):
    """Commands whose errors are one line on standard error and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        with one_line_errors():
            return super().invoke(ctx)


app = typer.Typer(
    cls=OneLineErrors,
    help="otpq: a distributed task queue, built the way Erlang/OTP builds systems.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # rich would cost `otpq --help` 100 ms
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_UNREAD = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
app.command(context_settings=_UNREAD)(nodes.node)  # node.py reads its words, `--help` too
app.command(cls=tasks.Submit)(tasks.submit)
# What stands behind the path is the script's, options of its own too.
app.command("submit-script", context_settings={"allow_interspersed_args": False})(tasks.submit_script)
app.command("list")(tasks.list_)
app.command()(tasks.show)
app.command()(tasks.logs)
app.command()(tasks.why)
app.command()(tasks.counts)
app.command()(tasks.cancel)
app.command()(tasks.retry)
app.command()(tasks.delete)
app.command()(queues.queues)
app.command()(queues.handlers)
app.command()(queues.pause)
app.command()(queues.resume)
app.command()(queues.purge)
app.command()(nodes.workers)
app.command()(nodes.scale)
app.command()(nodes.reload)
app.command()(nodes.health)
app.command()(nodes.check)
app.command()(nodes.demo)

cookie = typer.Typer(cls=OneLineErrors, help="The secret of a cluster.", no_args_is_help=True, rich_markup_mode=None)
cookie.command("new")(nodes.new_cookie)
app.add_typer(cookie, name="cookie")
