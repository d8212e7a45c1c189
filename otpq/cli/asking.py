"""Whom a command asks, and how it prints what it hears: the options of all commands that ask a node. Without typer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias, TypeVar

from otpq.cli.declared import Option
from otpq.cli.printing import put, put_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.client.client import Client

T = TypeVar("T")

__all__ = ["AsJson", "Asking", "CookieFile", "NodeOption", "open_client"]

NodeOption: TypeAlias = Annotated[
    str | None, Option("--node", "Whom to ask; else the only node of yours here.", "NAME", complete="nodes")
]
CookieFile: TypeAlias = Annotated[Path | None, Option("--cookie-file", "Else ~/.otpq/cookie.", "FILE")]
AsJson: TypeAlias = Annotated[bool, Option("--json", "Print JSON, for programs.")]


@dataclass(frozen=True, slots=True)
class Asking:
    """Whom a command asks, and how it prints what it hears."""

    as_json: AsJson = False
    node: NodeOption = None
    cookie_file: CookieFile = None

    def client(self, timeout: float = 10) -> Client:
        """A client of that node, connected within `timeout` seconds."""
        return open_client(self.node, self.cookie_file, timeout)

    def put(self, answer: T, shown: Callable[[T], str]) -> None:
        """Print an answer, as JSON or as `shown` shows it."""
        put_json(answer) if self.as_json else put(shown(answer))


def open_client(node: str | None, cookie_file: Path | None, timeout: float = 10) -> Client:
    """A client of the node that a command was told to ask, connected within `timeout` seconds."""
    from otpq.client.client import connect

    return connect(node, timeout, cookie_file=cookie_file)
