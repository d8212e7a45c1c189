"""Who is in the cluster, as the leader knows it: a value. Time is a parameter.

A node is *up* while it gives signs of life, *suspected* when it has given none for a while, and *down* when its leases are over,
its death is proven or it has said goodbye. Suspicion costs nobody anything: only the end of a lease, or a proof, gives its
tasks to others. A name belongs to one living node: another that comes under it is refused as long as the first is up. One that
comes while the first is suspected takes the name over, and proves nothing by that.

Each change has a version, so that `nodes()` is the same everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from otpq.wire.peers import Member

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from otpq.wire.peers import Join

__all__ = ["SUSPECT_AFTER", "Roster", "changed"]

SUSPECT_AFTER: Final = 3.0
"""Seconds of silence: three heartbeats."""
REMEMBERED: Final = 1_000
"""Nodes that are down and still shown, the latest to go."""


@dataclass(slots=True)
class _Entry:
    member: Member
    peer: bytes
    heard: float
    """By the steady clock."""


def changed(members: Iterable[Member], states: Mapping[str, str]) -> list[Member]:
    """Those that are not in the state that was known of them; one that was not known counts as down."""
    return [member for member in members if member.state != states.get(member.node, "down")]


class Roster:
    """All nodes of a cluster, the leader among them."""

    def __init__(self, me: Member, patience: float) -> None:
        """`patience`: seconds of silence after which a node is down: when its leases are over, as the leader counts them."""
        self.version = 1
        self._me = me
        self._patience = patience
        self._entries: dict[str, _Entry] = {}
        self._by_peer: dict[bytes, str] = {}

    # --- what happens -----------------------------------------------------------------------------------------------

    def join(self, join: Join, peer: bytes, *, wall: float, mono: float) -> str:
        """Let a node in; why not, in words, if its name is taken; empty: it is in."""
        there = self._entries.get(join.node)
        if join.node == self._me.node:
            return f"{join.node} is the name of the node that leads; give this one another"
        if there is not None and there.member.incarnation != join.incarnation and there.member.state == "up":
            return f"a node {join.node} is up already; give this one another name, or stop that one first"
        if there is not None:
            self._by_peer.pop(there.peer, None)
        if there is None or there.member.incarnation != join.incarnation or there.member.state != "up":
            member = Member(join.node, join.address, join.incarnation, "up", leads=False, since=wall)
            self.version += 1
        else:
            member = there.member
        self._entries[join.node] = _Entry(member, peer, mono)
        self._by_peer[peer] = join.node
        return ""

    def heard(self, peer: bytes, *, wall: float, mono: float) -> None:
        """A node gave a sign of life."""
        node = self._by_peer.get(peer)
        if node is not None:
            entry = self._entries[node]
            entry.heard = mono
            self._set(node, "up", wall)

    def left(self, peer: bytes, wall: float) -> Member | None:
        """A node said goodbye; who it was."""
        node = self._by_peer.pop(peer, None)
        if node is None:
            return None
        self._set(node, "down", wall)
        return self._entries[node].member

    def lost(self, node: str, incarnation: str, wall: float) -> None:
        """The death of an incarnation is proven."""
        entry = self._entries.get(node)
        if entry is not None and entry.member.incarnation == incarnation:
            self._by_peer.pop(entry.peer, None)
            self._set(node, "down", wall)

    def look(self, *, wall: float, mono: float) -> None:
        """Suspect those that are silent, and give up those that have been for a lease."""
        for node, entry in list(self._entries.items()):
            silent = mono - entry.heard
            if entry.member.state == "down" or silent < SUSPECT_AFTER:
                continue
            if silent >= self._patience:
                self._by_peer.pop(entry.peer, None)
                self._set(node, "down", wall)
            elif entry.member.state == "up":
                self._set(node, "suspected", wall)

    def _set(self, node: str, state: str, wall: float) -> None:
        entry = self._entries[node]
        was = entry.member
        if was.state == state:
            return
        entry.member = Member(was.node, was.address, was.incarnation, state, was.leads, wall)
        self.version += 1
        down = [name for name, each in self._entries.items() if each.member.state == "down"]
        for name in down[:-REMEMBERED]:
            del self._entries[name]

    # --- who is there -----------------------------------------------------------------------------------------------

    def members(self) -> list[Member]:
        """All, by name."""
        return sorted((self._me, *(entry.member for entry in self._entries.values())), key=lambda member: member.node)

    def peers(self) -> list[bytes]:
        """The connections of those that are in."""
        return list(self._by_peer)

    def linked(self) -> list[tuple[bytes, str]]:
        """Each connection of those that are in, with its node."""
        return list(self._by_peer.items())

    def node_of(self, peer: bytes) -> Member | None:
        """Who speaks on a connection; None: nobody that has joined."""
        node = self._by_peer.get(peer)
        return None if node is None else self._entries[node].member

    def peer_of(self, node: str) -> bytes | None:
        """The connection of a node; None: it is not in."""
        entry = self._entries.get(node)
        return entry.peer if entry is not None and entry.peer in self._by_peer else None
