"""Whom a command asks, and how it prints what it hears: the options of all commands that ask a node. Without typer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias, TypeVar

from otpq.cli.declared import Option
from otpq.cli.printing import put, put_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.client.client import Client

T = TypeVar("T")

_WHILE_NOBODY: Final = 2.0
"""Seconds: a node is there within one of its start, on a machine that is not busy."""

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
        """A client of that node, connected within `timeout` seconds: for what changes something, a node may be starting again."""
        return open_client(self.node, self.cookie_file, timeout)

    def reader(self, timeout: float = 10) -> Client:
        """A client for a command that only reads: where nothing listens, it is given up after two seconds."""
        return open_client(self.node, self.cookie_file, timeout, _WHILE_NOBODY)

    def put(self, answer: T, shown: Callable[[T], str]) -> None:
        """Print an answer, as JSON or as `shown` shows it."""
        put_json(answer) if self.as_json else put(shown(answer))


def open_client(
    node: str | None, cookie_file: Path | None, timeout: float = 10, while_nobody: float = math.inf
) -> Client:
    """A client of the node that a command was told to ask, connected within `timeout` seconds.

    Args:
        node: Its name; None: the only one there is.
        cookie_file: Else the usual one.
        timeout: Seconds to keep trying; later also what an answer is waited for.
        while_nobody: Seconds after which it is given up if nothing listens there then.
    """
    from otpq.client.address import target
    from otpq.client.client import Client

    client = Client(target(node, cookie_file), timeout)
    try:
        client.wait_connected(timeout, while_nobody)
    except BaseException:
        client.close()
        raise
    return client
