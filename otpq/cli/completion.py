"""What a shell may complete: states, and what a node knows. Where no node answers within a second, nothing; never an error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from otpq.client.client import Client

__all__ = ["handlers", "ids", "nodes", "pools", "queues", "schedules", "states"]

_PATIENCE: Final = 1.0
"""Seconds: whoever has pressed Tab waits for it."""
_NEWEST: Final = 50
"""Tasks whose ids are offered: the last ones."""


def states(incomplete: str) -> list[str]:
    """The states that begin so."""
    from otpq.task import TaskState

    return _begun(map(str, TaskState), incomplete)


def handlers(ctx: typer.Context, incomplete: str) -> list[str]:
    """The handlers whose names begin so."""
    return _begun(_asked(ctx, lambda client: (each["handler"] for each in client.handlers())), incomplete)


def queues(ctx: typer.Context, incomplete: str) -> list[str]:
    """The queues whose names begin so."""
    return _begun(_asked(ctx, lambda client: (each["queue"] for each in client.queues())), incomplete)


def nodes(ctx: typer.Context, incomplete: str) -> list[str]:
    """The nodes whose names begin so: those of the cluster, and those of this user here."""
    from otpq.client.address import running_nodes

    of_cluster = _asked(ctx, lambda client: (each["node"] for each in client.nodes()))
    return _begun([*of_cluster, *running_nodes()], incomplete)


def pools(ctx: typer.Context, incomplete: str) -> list[str]:
    """The pools whose names begin so."""
    return _begun(_asked(ctx, lambda client: (each["pool"] for each in client.workers())), incomplete)


def schedules(ctx: typer.Context, incomplete: str) -> list[str]:
    """The schedules whose names begin so."""
    return _begun(_asked(ctx, lambda client: (each.name for each in client.schedules.list())), incomplete)


def ids(ctx: typer.Context, incomplete: str) -> list[str]:
    """The ids of the newest tasks that begin so."""
    return _begun(_asked(ctx, lambda client: (task.id for task in client.tasks(limit=_NEWEST))), incomplete)


def _begun(words: Iterable[str], incomplete: str) -> list[str]:
    return sorted({word for word in words if word.startswith(incomplete)})


def _asked(ctx: typer.Context, question: Callable[[Client], Iterable[str]]) -> list[str]:
    """What a node says; nothing if none does."""
    from otpq.client.client import connect
    from otpq.errors import OtpqError

    given: dict[str, Any] = ctx.params
    try:
        with connect(given.get("node"), _PATIENCE, cookie_file=given.get("cookie_file")) as client:
            return list(question(client))
    except (OtpqError, OSError):
        return []
