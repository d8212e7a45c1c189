"""The commands about queues and handlers."""

from __future__ import annotations

from typing import Annotated

import typer

from otpq.cli.options import AsJson, CookieFile, NodeOption, open_client
from otpq.cli.printing import handlers_table, limits_table, put, put_count, put_json, queues_table

__all__ = ["handlers", "limits", "pause", "purge", "queues", "resume"]

QueueName = Annotated[str | None, typer.Argument(metavar="[QUEUE]", help="The queue.")]
HandlerName = Annotated[str | None, typer.Option("--handler", metavar="NAME", help="A handler, in all queues.")]


def queues(*, as_json: AsJson = False, node: NodeOption = None, cookie_file: CookieFile = None) -> None:
    """Say how each queue stands, and whether it is paused."""
    with open_client(node, cookie_file) as client:
        found = client.queues()
    put_json(found) if as_json else put(queues_table(found))


def handlers(*, as_json: AsJson = False, node: NodeOption = None, cookie_file: CookieFile = None) -> None:
    """Say what is known of each handler, and whether it is paused."""
    with open_client(node, cookie_file) as client:
        found = client.handlers()
    put_json(found) if as_json else put(handlers_table(found))


def limits(*, as_json: AsJson = False, node: NodeOption = None, cookie_file: CookieFile = None) -> None:
    """Say which limits are in force, how much of each is used, and who says so."""
    with open_client(node, cookie_file) as client:
        found = client.limits()
    put_json(found) if as_json else put(limits_table(found))


def pause(
    queue: QueueName = None,
    *,
    handler: HandlerName = None,
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="Whoever looks is told.")] = "",
    as_json: AsJson = False,
    node: NodeOption = None,
    cookie_file: CookieFile = None,
) -> None:
    """Hold back what waits in a queue or for a handler; what runs goes on."""
    with open_client(node, cookie_file) as client:
        client.pause(queue, handler=handler, why=why)
    _done("paused", queue, handler, as_json=as_json)


def resume(
    queue: QueueName = None,
    *,
    handler: HandlerName = None,
    as_json: AsJson = False,
    node: NodeOption = None,
    cookie_file: CookieFile = None,
) -> None:
    """Let a paused queue or handler go on."""
    with open_client(node, cookie_file) as client:
        client.resume(queue, handler=handler)
    _done("resumed", queue, handler, as_json=as_json)


def purge(
    queue: Annotated[str, typer.Argument(metavar="QUEUE", help="The queue.")],
    *,
    as_json: AsJson = False,
    node: NodeOption = None,
    cookie_file: CookieFile = None,
) -> None:
    """Throw away what waits in a queue, never what runs; prints how many."""
    with open_client(node, cookie_file) as client:
        put_count("purged", client.purge(queue), as_json=as_json)


def _done(what: str, queue: str | None, handler: str | None, *, as_json: bool) -> None:
    if as_json:
        put_json({"answer": what, "queue": queue, "handler": handler})
    else:
        put(what)
