"""Options that several commands have, and how the words of a command line become values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from otpq.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from otpq.client.client import Client

__all__ = ["AsJson", "CookieFile", "NodeOption", "open_client", "pair", "pairs", "value"]

NodeOption: TypeAlias = Annotated[
    str | None,
    typer.Option("--node", metavar="NAME", help="Whom to ask; else OTPQ_NODE, else the only node of yours here."),
]
CookieFile: TypeAlias = Annotated[
    Path | None,
    typer.Option("--cookie-file", envvar="OTPQ_COOKIE_FILE", metavar="FILE", help="Else ~/.otpq/cookie."),
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def open_client(node: str | None, cookie_file: Path | None) -> Client:
    """A client of the node that a command was told to ask."""
    from otpq.client.client import connect

    return connect(node, cookie_file=cookie_file)


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
    name, equals, word = text.partition("=")
    if not equals or not name:
        raise UsageError(f"{text!r} is no K=V, such as html=true")
    return name, value(word)


def pairs(texts: Iterable[str]) -> dict[str, Any]:
    """All of them."""
    return dict(map(pair, texts))
