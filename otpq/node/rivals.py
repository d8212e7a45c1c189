"""Look whether another node leads already, before this one takes its store: two stores in one cluster are two truths."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

import zmq

from otpq.errors import StoreError
from otpq.wire import messages as wire
from otpq.wire.codec import Fault, decode_from_server, encode
from otpq.wire.dialled import Dialled
from otpq.wire.node_name import BadNodeName, NodeName
from otpq.wire.sockets import milliseconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otpq.wire.cookie import Cookie

__all__ = ["SecondStore", "check_alone"]

_PATIENCE: Final = 1.0
"""Seconds in which a node that is up answers; one that does not is no rival that anybody could see."""


class SecondStore(StoreError):
    """Another node of the cluster has a store, and leads."""

    def __init__(self, me: NodeName, rival: str) -> None:
        super().__init__(
            f"{rival} leads this cluster and has its store, so {me} may not have another; "
            f"start it without --store, and it joins"
        )
        self.rival = rival


def check_alone(me: NodeName, seeds: Sequence[NodeName], cookie: Cookie) -> None:
    """Return if none of the seeds leads, or knows another node that does.

    Raises:
        SecondStore: One does.
    """
    context = zmq.Context()
    try:
        for seed in seeds:
            leader = _leader_by(context, seed, cookie)
            if leader and _plain(leader) != me.plain:
                raise SecondStore(me, leader)
    finally:
        context.destroy(linger=0)


def _plain(name: str) -> str:
    try:
        return NodeName.parse(name).plain
    except BadNodeName:
        return name


def _leader_by(context: zmq.Context[zmq.Socket[bytes]], seed: NodeName, cookie: Cookie) -> str:
    """Who leads, as a node says; empty: it does not know, or does not answer."""
    dialled = Dialled(context, seed.address, cookie)
    until = time.monotonic() + _PATIENCE
    is_greeted = False
    try:
        while dialled.down is None and time.monotonic() < until:
            dialled.look()
            if dialled.is_up and not is_greeted:
                hello = wire.Hello([wire.VERSION], os.urandom(wire.ID_BYTES), 1, seed.plain, "a node that starts")
                is_greeted = dialled.send(encode(hello))
            data = dialled.receive() if dialled.is_up else None
            answer = None if data is None else decode_from_server(data)
            if isinstance(answer, wire.Welcome):
                return answer.node
            if isinstance(answer, wire.Rejected):
                return answer.leader
            if answer is None or isinstance(answer, Fault):
                _wait(dialled)
        return ""
    finally:
        dialled.close()


def _wait(dialled: Dialled) -> None:
    poller = zmq.Poller()
    poller.register(dialled.monitor, zmq.POLLIN)
    poller.register(dialled.socket, zmq.POLLIN)
    poller.poll(milliseconds(0.05))
