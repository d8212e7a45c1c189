"""greet: the first word of a node to whoever dials it, of that node itself and not of the one that leads."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

import zmq

from otpq.client.errors import CookieRefused, NodeUnreachable
from otpq.client.io import turned
from otpq.client.link import Change, Link
from otpq.wire import messages as wire
from otpq.wire.codec import decode_from_server, encode
from otpq.wire.dialled import Cause
from otpq.wire.sockets import milliseconds

if TYPE_CHECKING:
    from otpq.client.io import Target
    from otpq.wire.dialled import Dialled

__all__ = ["greet"]

_ALIVE: Final = frozenset({"not_leader", "not_joined"})
"""Refusals of a node that is well, and not the one to talk to."""


def greet(to: Target, seconds: float, who: str = "") -> str:
    """Who leads, as a node answers a greeting; empty: it has not joined its cluster yet.

    Args:
        to: Which node.
        seconds: How long to try.
        who: As whom to greet it, for its log.

    Raises:
        NodeUnreachable: It did not answer in time. At once if it refuses the cookie (`CookieRefused`), or another node
            (`WrongNode`) or version (`VersionRefused`) answers.
    """
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    link = Link(context, to.address, to.cookie)
    try:
        answer = _answer(link, to.node, who or f"pid {os.getpid()}", time.monotonic() + seconds)
    finally:
        link.close(linger=0)
        context.destroy(linger=0)
    if link.is_refused:
        raise CookieRefused(to.shown, to.cookie_file)
    if answer is None:
        raise NodeUnreachable(to.shown, str(link.down or Cause.SILENT.value), None if _is_vain(link) else seconds)
    if isinstance(answer, wire.Welcome):
        return answer.node
    if answer.code not in _ALIVE:
        raise turned(to, answer)
    return answer.leader


def _answer(link: Link, node: str, who: str, until: float) -> wire.Welcome | wire.Rejected | None:
    hello = encode(wire.Hello([wire.VERSION], os.urandom(wire.ID_BYTES), 1, node, who))
    while (now := time.monotonic()) < until and not _is_vain(link):
        if link.tend(now) is Change.UP and link.dialled is not None:
            link.dialled.send(hello)
        data = link.dialled.receive() if link.dialled is not None and link.dialled.is_up else None
        answer = None if data is None else decode_from_server(data)
        if isinstance(answer, wire.Welcome | wire.Rejected):
            return answer
        _wait(link.dialled)
    return None


def _is_vain(link: Link) -> bool:
    """Whether nobody is there who may answer. A handshake that was cut is tried again, until it is a cookie refused."""
    return link.down is not None and link.down.cause not in {Cause.HANDSHAKE_CUT, Cause.SILENT, Cause.LOST}


def _wait(dialled: Dialled | None) -> None:
    """Until there is something to read, or to do again."""
    poller = zmq.Poller()
    if dialled is not None:
        poller.register(dialled.monitor, zmq.POLLIN)
        poller.register(dialled.socket, zmq.POLLIN)
    poller.poll(milliseconds(0.02))
