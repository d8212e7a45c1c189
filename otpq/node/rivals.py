"""Look whether another node leads already, before this one takes its store: two stores in one cluster are two truths."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from otpq.client.errors import NodeUnreachable
from otpq.client.greeting import greet
from otpq.client.io import Target
from otpq.errors import StoreError
from otpq.wire.node_name import BadNodeName, NodeName

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
    for seed in seeds:
        leader = _leader_by(seed, cookie)
        if leader and _plain(leader) != me.plain:
            raise SecondStore(me, leader)


def _plain(name: str) -> str:
    try:
        return NodeName.parse(name).plain
    except BadNodeName:
        return name


def _leader_by(seed: NodeName, cookie: Cookie) -> str:
    """Who leads, as a node says; empty: it does not know, or does not answer."""
    try:
        return greet(Target(seed.address, seed.plain, cookie, ""), _PATIENCE, "a node that starts")
    except NodeUnreachable:
        return ""
