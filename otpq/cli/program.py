"""All commands put together. Typer reads the parameters of the one that is run alone: to read those of all takes 25 ms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from otpq.cli import nodes, queues, shell, tasks
from otpq.cli.exits import one_line_errors

if TYPE_CHECKING:
    from collections.abc import Callable

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


def _add(name: str, function: Callable[..., None], **settings: Any) -> None:
    """Have a command by that name; until it is run, it is no more than its name and its help."""

    class Late(TyperCommand):
        def make_context(self, *args: Any, **extra: Any) -> Any:
            alone = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
            alone.command(name, **settings)(function)
            return get_command(alone).make_context(*args, **extra)

    def nothing() -> None:
        """Never called."""

    app.command(name, help=function.__doc__, cls=Late)(nothing)


_UNREAD = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
_add("node", nodes.node, context_settings=_UNREAD)  # node.py reads its words, `--help` too
_add("submit", tasks.submit, cls=tasks.Submit)
# What stands behind the path is the script's, options of its own too.
_add("submit-script", tasks.submit_script, context_settings={"allow_interspersed_args": False})
_add("list", tasks.list_)
_add("show", tasks.show)
_add("logs", tasks.logs)
_add("why", tasks.why)
_add("counts", tasks.counts)
_add("cancel", tasks.cancel)
_add("retry", tasks.retry)
_add("delete", tasks.delete)
_add("queues", queues.queues)
_add("handlers", queues.handlers)
_add("pause", queues.pause)
_add("resume", queues.resume)
_add("purge", queues.purge)
_add("up", nodes.up)
_add("workers", nodes.workers)
_add("nodes", nodes.nodes)
_add("scale", nodes.scale)
_add("reload", nodes.reload)
_add("health", nodes.health)
_add("check", nodes.check)
_add("shell", shell.shell)
_add("demo", nodes.demo)

cookie = typer.Typer(cls=OneLineErrors, help="The secret of a cluster.", no_args_is_help=True, rich_markup_mode=None)
cookie.command("new")(nodes.new_cookie)
cookie.command("show")(nodes.show_cookie)
app.add_typer(cookie, name="cookie")

config = typer.Typer(cls=OneLineErrors, help="The file of a cluster.", no_args_is_help=True, rich_markup_mode=None)


@config.callback()
def of_config() -> None:
    """Have `check` stand behind `config`: typer would take the only command of a group for the group."""


config.command("check")(nodes.check_config)
app.add_typer(config, name="config")
