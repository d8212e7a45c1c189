"""The commands that pause and empty queues, and pause handlers; how they stand, `status.py` says."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from otpq.cli import completion
from otpq.cli.asking import Asking
from otpq.cli.bulks import Sure, to_many
from otpq.cli.printing import put, put_count, put_json
from otpq.errors import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["pause", "purge", "resume"]

QueueName = Annotated[
    str | None, typer.Argument(metavar="[QUEUE]", help="The queue.", autocompletion=completion.queues)
]
HandlerName = Annotated[
    str | None,
    typer.Option("--handler", metavar="NAME", help="A handler, in all queues.", autocompletion=completion.handlers),
]


def pause(
    queue: QueueName = None,
    *,
    handler: HandlerName = None,
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="Whoever looks is told.")] = "",
    to: Asking,
) -> None:
    """Hold back what waits in a queue or for a handler; what runs goes on."""
    with to.client() as client:
        _warn_of_slips("queue", queue, client.queues)
        _warn_of_slips("handler", handler, client.handlers)
        client.pause(queue, handler=handler, why=why)
    _done("paused", queue, handler, as_json=to.as_json)


def resume(queue: QueueName = None, *, handler: HandlerName = None, to: Asking) -> None:
    """Let a paused queue or handler go on."""
    with to.client() as client:
        client.resume(queue, handler=handler)
    _done("resumed", queue, handler, as_json=to.as_json)


def purge(
    queue: Annotated[str, typer.Argument(metavar="QUEUE", help="The queue.", autocompletion=completion.queues)],
    *,
    sure: Sure,
    to: Asking,
) -> None:
    """Throw away what waits in a queue, never what runs; asks first, and prints how many."""
    from otpq.client.questions import Selector

    with to.client() as client:
        done = to_many(client, "purge", Selector(queue=queue), sure, partial(client.purge, queue))
        put_count("purged", done, as_json=to.as_json)


def _warn_of_slips(what: str, name: str | None, known: Callable[[], list[dict[str, Any]]]) -> None:
    """What nobody knows yet may be paused, before its first task; but it may also be another's name with a slip in it."""
    if name is None:
        return
    names = {each[what] for each in known()}
    near = "" if name in names else did_you_mean(name, names)
    if near:
        typer.echo(f"otpq: no {what} {name!r} is known{near} It is paused all the same", err=True)


def _done(what: str, queue: str | None, handler: str | None, *, as_json: bool) -> None:
    put_json({"answer": what, "queue": queue, "handler": handler}) if as_json else put(what)
