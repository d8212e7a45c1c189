"""Options that several commands have, and how the words of a command line become values."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from otpq.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from otpq.client.client import Client
    from otpq.client.questions import Selector

__all__ = [
    "AsJson",
    "Before",
    "CookieFile",
    "Every",
    "Handler",
    "Ids",
    "NodeOption",
    "Option",
    "Queue",
    "State",
    "Tag",
    "Timeout",
    "open_client",
    "pair",
    "pairs",
    "selected",
    "selector",
    "texts",
    "value",
]

NodeOption: TypeAlias = Annotated[
    str | None,
    typer.Option("--node", metavar="NAME", help="Whom to ask; else OTPQ_NODE, else the only node of yours here."),
]
CookieFile: TypeAlias = Annotated[
    Path | None,
    typer.Option("--cookie-file", envvar="OTPQ_COOKIE_FILE", metavar="FILE", help="Else ~/.otpq/cookie."),
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Option: TypeAlias = Annotated[
    list[str] | None, typer.Option("--option", "-o", metavar="K=V", help="Such as priority=high or delay=60.")
]
Timeout: TypeAlias = Annotated[float | None, typer.Option("--timeout", help="Seconds to wait at most.")]

Ids: TypeAlias = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Only these tasks.")]
State: TypeAlias = Annotated[str | None, typer.Option("--state", help="Only those in this state.")]
Handler: TypeAlias = Annotated[str | None, typer.Option("--name", help="Only those of this handler.")]
Queue: TypeAlias = Annotated[str | None, typer.Option("--queue", help="Only those of this queue.")]
Tag: TypeAlias = Annotated[str | None, typer.Option("--tag", help="Only those with this tag.")]
Before: TypeAlias = Annotated[
    datetime | None, typer.Option("--before", help="Only those made before this time, of this machine's clock.")
]
Every: TypeAlias = Annotated[bool, typer.Option("--all", help="All there are.")]


def selector(
    ids: Sequence[str] | None = None,
    *,
    state: str | None = None,
    name: str | None = None,
    queue: str | None = None,
    tag: str | None = None,
    before: datetime | None = None,
) -> Selector:
    """The selector that the words of a command line mean."""
    from otpq.client.questions import Selector

    aware = None if before is None else before.astimezone()
    return Selector(state=state, name=name, queue=queue, tag=tag, before=aware, ids=list(ids) if ids else None)


def selected(chosen: Selector, *, every: bool) -> Selector:
    """A selector that is not meant for all there are by a slip.

    Raises:
        UsageError: It selects all, and that was not said.
    """
    if chosen.is_empty and not every:
        raise UsageError("name tasks by their ids, or select some: --state, --name, --queue, --tag, --before; or --all")
    return chosen


def open_client(node: str | None, cookie_file: Path | None, timeout: float = 10) -> Client:
    """A client of the node that a command was told to ask, connected within `timeout` seconds."""
    from otpq.client.client import connect

    return connect(node, timeout, cookie_file=cookie_file)


def value(text: str) -> Any:
    """A word of the command line as a value: JSON, and text where it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def pair(text: str) -> tuple[str, Any]:
    """'K=V' as a name and a value.

    Raises:
        UsageError: It has no '='.
    """
    name, word = _halves(text)
    return name, value(word)


def texts(pairs: Iterable[str]) -> dict[str, str]:
    """'K=V' of each as a name and a text.

    Raises:
        UsageError: One has no '='.
    """
    return dict(map(_halves, pairs))


def _halves(text: str) -> tuple[str, str]:
    name, equals, word = text.partition("=")
    if not equals or not name:
        raise UsageError(f"{text!r} is no K=V, such as html=true")
    return name, word


def pairs(texts: Iterable[str]) -> dict[str, Any]:
    """All of them."""
    return dict(map(pair, texts))
