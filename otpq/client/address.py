"""Which node a client means: the address given, else `OTPQ_NODE`, else the only node of this user on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from otpq.errors import UsageError
from otpq.wire.cookie import Cookie, default_cookie_file
from otpq.wire.node_name import NodeName

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.client.io import Target

__all__ = ["ADDRESS_FILE", "NoNode", "find_node", "known_nodes", "running_nodes", "set_own_node", "target"]

ADDRESS_FILE: Final = "address"
"""In a node's directory, `~/.otpq/NAME/`, while it runs: one line, its name, its pid."""

_own_node: Callable[[], tuple[str, Path | None] | None] = lambda: None  # noqa: E731 - replaced by `otpq.start`


class NoNode(UsageError):
    """No address was given and none can be told; the message lists the nodes there are."""


def set_own_node(own: Callable[[], tuple[str, Path | None] | None]) -> None:
    """Let `own` say which node this program runs, and where its cookie is unless at the usual place; `otpq.start` does."""
    global _own_node  # noqa: PLW0603 - a program has one
    _own_node = own


def target(address: str | None, cookie_file: Path | str | None) -> Target:
    """Whom to dial.

    Raises:
        NoNode: No address was given, and there is not exactly one node to mean.
        BadNodeName: The address is no node name.
        BadCookie: The cookie file is missing, shared with others or damaged.
    """
    from otpq.client.io import Target  # a node imports this file for its name, and has no client

    own = None if address else _own_node()
    if own is not None and cookie_file is None:
        cookie_file = own[1]
    name = NodeName.parse(address or find_node())
    path = Path(cookie_file) if cookie_file is not None else default_cookie_file()
    return Target(name.address, name.plain, Cookie.read(path), str(path))


def find_node() -> str:
    """The node to talk to when none is named."""
    own = _own_node()
    named = own[0] if own is not None else os.environ.get("OTPQ_NODE")
    if named:
        return named
    running = running_nodes()
    if len(running) == 1:
        return running[0]
    if not running:
        raise NoNode(
            "no node runs here; start one with `otpq node`, or name one: "
            "connect('a@host'), --node a@host or OTPQ_NODE=a@host"
        )
    raise NoNode(
        f"several nodes run here ({', '.join(running)}); name one: connect('{running[0]}') or --node {running[0]}"
    )


def known_nodes(asked: str) -> str:
    """The end of a message about a node that was not reached: which others of this user run on this machine."""
    others = [name for name in running_nodes() if name != asked]
    return f"; nodes of yours that run here: {', '.join(others)}" if others else ""


def running_nodes(home: Path | None = None) -> list[str]:
    """The names of this user's nodes on this machine, as their directories say, sorted."""
    home = home or Path.home() / ".otpq"
    return sorted(name for file in home.glob(f"*/{ADDRESS_FILE}") if (name := _running(file)) is not None)


def _running(file: Path) -> str | None:
    try:
        name, pid = file.read_text(encoding="utf-8").split()
        os.kill(int(pid), 0)
    except PermissionError:
        return None  # that pid is another user's by now
    except (OSError, ValueError):
        return None
    return name
