"""All commands put together. Typer reads the parameters of the one that is run alone: to read those of all takes 25 ms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperGroup

from otpq.cli import nodes, queues, schedules, shell, status, stores, tasks, top, workflows
from otpq.cli.command import Debug, made
from otpq.cli.exits import one_line_errors

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["app"]


class OneLineErrors(TyperGroup):
    """Commands whose errors are one line on standard error and an exit code."""

    def make_context(self, *args: Any, **extra: Any) -> Any:
        """Read the words in front of the command's name."""
        with one_line_errors():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        with one_line_errors():
            return super().invoke(ctx)


class Late(TyperCommand):
    """A command that is no more than its name and its help until it is run, or asked for its options."""

    make: Callable[[], Any]
    """Makes the command itself."""

    def make_context(self, *args: Any, **extra: Any) -> Any:
        """Make the command, and have it read its words."""
        return self.make().make_context(*args, **extra)


def _group(**settings: Any) -> typer.Typer:
    return typer.Typer(
        cls=OneLineErrors,
        no_args_is_help=True,
        rich_markup_mode=None,  # rich would cost `otpq --help` 100 ms
        pretty_exceptions_enable=False,
        **settings,
    )


def _add(name: str, function: Callable[..., None], *, group: typer.Typer | None = None, **settings: Any) -> None:
    """Have a command by that name."""

    class ThisOne(Late):
        make = staticmethod(lambda: made(name, function, **settings))

    def nothing() -> None:
        """Never called."""

    (group or app).command(name, help=function.__doc__, cls=ThisOne)(nothing)


app = _group(
    help="otpq: a distributed task queue, built the way Erlang/OTP builds systems.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def program(*, debug: Debug = False) -> None:
    """Have `--debug` in front of a command too."""


_UNREAD = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
_add("node", nodes.node, cls=nodes.Node, context_settings=_UNREAD)  # node.py reads its words, `--help` too
_add("up", nodes.up)
_add("shell", shell.shell)
_add("submit", tasks.submit, cls=tasks.Submit)
# What stands behind the path is the script's, options of its own too.
_add("submit-script", tasks.submit_script, context_settings={"allow_interspersed_args": False})
_add("list", tasks.list_)
_add("show", tasks.show)
_add("logs", tasks.logs)
_add("why", tasks.why)
_add("counts", status.counts)
_add("cancel", tasks.cancel)
_add("retry", tasks.retry)
_add("delete", tasks.delete)
_add("workflows", workflows.workflows)
_add("queues", status.queues)
_add("handlers", status.handlers)
_add("pause", queues.pause)
_add("resume", queues.resume)
_add("purge", queues.purge)
_add("top", top.top)
_add("workers", status.workers)
_add("nodes", status.nodes)
_add("tree", status.tree)
_add("stacks", nodes.stacks)
_add("drain", nodes.drain)
_add("scale", nodes.scale)
_add("reload", nodes.reload)
_add("health", status.health)
_add("check", stores.check)
_add("backup", stores.backup)
_add("migrate", stores.migrate)
_add("demo", nodes.demo)
_add("events", nodes.events)
_add("limits", status.limits)

cookie = _group(help="The secret of a cluster.")
_add("new", nodes.new_cookie, group=cookie)
_add("show", nodes.show_cookie, group=cookie)
app.add_typer(cookie, name="cookie")

config = _group(help="The file of a cluster.")


@config.callback()
def of_config() -> None:
    """Have `check` stand behind `config`: typer would take the only command of a group for the group."""


_add("check", nodes.check_config, group=config)
app.add_typer(config, name="config")

schedule = _group(help="What makes tasks when it is their time.")
_add("add", schedules.add, group=schedule, cls=tasks.Submit)
_add("remove", schedules.remove, group=schedule)
_add("enable", schedules.enable, group=schedule)
_add("disable", schedules.disable, group=schedule)
_add("run", schedules.run, group=schedule)
_add("list", schedules.list_, group=schedule)
_add("pause", schedules.pause, group=schedule)
_add("resume", schedules.resume, group=schedule)
_add("next", schedules.next_, group=schedule)
app.add_typer(schedule, name="schedule")
