"""The node that this program talks to when none is named: that of `otpq.start`, else the one that `connect()` finds.

No lock: a thread that waits for a node must not hold up the others for as long again, and a fork may happen while a lock is
held. What is shared is changed by single operations of lists and dicts, which are atomic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Mapping
    from pathlib import Path

    from otpq.client.aio import AsyncClient
    from otpq.client.calls import Call
    from otpq.client.client import Client
    from otpq.client.handle import TaskHandle

__all__ = ["OwnNode", "add_own_node", "async_client", "client", "client_of", "remove_own_node", "submit_task"]


class OwnNode(NamedTuple):
    """A node that this program started."""

    address: str
    cookie_file: Path | None


_own: list[OwnNode] = []
_clients: dict[OwnNode | None, Client] = {}
_async_clients: WeakKeyDictionary[AbstractEventLoop, dict[OwnNode | None, AsyncClient]] = WeakKeyDictionary()


def submit_task(what: str | Call | Mapping[str, Any], *args: Any, **kwargs: Any) -> TaskHandle[Any]:
    """Submit by name with arguments, by a `Call`, or by a map with `job` and `params`; on the program's own client.

    Raises:
        OtpqError: As `Client.submit` does.
    """
    return client().submit_task(what, *args, **kwargs)


def client() -> Client:
    """The program's client: made at the first call, and the same from then on."""
    return client_of(_current())


def client_of(node: OwnNode | None) -> Client:
    """The client of a node of this program; None: of the one that `connect()` finds."""
    there = _clients.get(node)
    if there is not None:
        return there
    from otpq.client.client import connect

    made = connect() if node is None else connect(node.address, cookie_file=node.cookie_file)
    there = _clients.setdefault(node, made)
    if there is not made:  # another thread was faster
        made.close()
    return there


async def async_client() -> AsyncClient:
    """The client of the running event loop; it lives as long as the loop."""
    from asyncio import get_running_loop

    from otpq.client.aio import connect_async

    node = _current()
    of_loop = _async_clients.setdefault(get_running_loop(), {})
    if node not in of_loop:
        made = connect_async() if node is None else connect_async(node.address, cookie_file=node.cookie_file)
        # Kept before it is connected, so that many tasks that begin at once share one.
        of_loop[node] = made
    return await of_loop[node].__aenter__()


def add_own_node(node: OwnNode) -> None:
    """From here on this program talks to `node`."""
    from otpq.client.address import set_own_node

    _own.append(node)
    set_own_node(_current)


def remove_own_node(node: OwnNode) -> None:
    """The node has ended: its client is closed, and this program talks to the one before, if there is one."""
    _own.remove(node)
    closing = None if node in _own else _clients.pop(node, None)
    if closing is not None:
        closing.close()


def _current() -> OwnNode | None:
    return _own[-1] if _own else None
