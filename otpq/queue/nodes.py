"""Nodes: the other nodes of the cluster, as the queue server deals with them. A value; it sends nothing itself.

What they tell becomes events of the core; what the core wants of their pools is packed once, here, and owed in `outbox` until
the queue server sends it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

import msgspec

from otpq.core import events as ev
from otpq.core.state import Config
from otpq.queue.messages import PoolOrder, Scale
from otpq.queue.roster import Roster, changed
from otpq.wire import messages as wire
from otpq.wire import peers
from otpq.wire.peers import Member, pack_effects, unpack_events

if TYPE_CHECKING:
    from otpq.core import effects as ef
    from otpq.core.events import Event, Now

__all__ = ["Nodes"]

MARGIN: Final = Config().lease_margin
"""Seconds that the leader waits longer than a node."""

logger = logging.getLogger("otpq.queue")


class Nodes:
    """Who else is in the cluster, which pools they have, and what is owed to them."""

    def __init__(self, me: Member, epoch: int, lease: float) -> None:
        self.roster = Roster(me, lease + MARGIN)
        self.outbox: list[tuple[bytes, peers.ToNode | wire.Rejected]] = []
        self.faults = 0
        """Messages of members that made no sense."""
        self._me = me
        self._epoch = epoch
        self._lease = lease
        self._sessions: dict[str, str] = {}
        """The node of each open session."""
        self._ended: list[str] = []
        self._told_version = self.roster.version
        self._links: dict[str, bytes] = {}
        """The connection to each node that signals reach."""
        self._states = {me.node: me.state}
        """Of each node, what was last logged."""

    # --- what they say ----------------------------------------------------------------------------------------------

    def join(self, peer: bytes, join: peers.Join, now: Now) -> list[Event]:
        """Let a node in, or say why not; the proven deaths of its earlier lives."""
        refusal = self._refusal(join)
        if refusal is None:
            words = self.roster.join(join, peer, wall=now.wall, mono=now.mono)
            refusal = None if not words else wire.Rejected("name", words, [wire.VERSION], self._me.node)
        if refusal is not None:
            self.outbox.append((peer, refusal))
            return []
        members = self.roster.members()
        joined = peers.Joined(
            wire.VERSION,
            self._me.address,
            self._epoch,
            self._me.incarnation,
            self.roster.version,
            members,
            self._lease,
        )
        self.outbox.append((peer, joined))
        self._states[join.node] = "up"
        logger.info("node %s (incarnation %s) is up", join.node, join.incarnation)
        deaths: list[Event] = [death for death in self._events(join.deaths) if self._is_of(death, join.node)]
        return deaths

    def _refusal(self, join: peers.Join) -> wire.Rejected | None:
        if wire.VERSION not in join.versions:
            text = f"this node speaks version {wire.VERSION} of the protocol"
            return wire.Rejected("version", text, [wire.VERSION], self._me.node)
        if join.to and join.to != self._me.node:
            return wire.Rejected("node", f"this is {self._me.node}, not {join.to}", [wire.VERSION], self._me.node)
        return None

    def told(self, peer: bytes, told: peers.Told) -> list[Event]:
        """What a pool of a member tells, as events of the core; of a node that is not in, nothing."""
        member = self._member(peer)
        if member is None:
            return []
        events: list[Event] = []
        for event in self._events(told.events):
            if isinstance(event, ev.NodeLost):
                if self._is_of(event, member.node):
                    events.append(event)
                continue
            if event.session != told.session or not event.session.startswith(f"{member.node}/"):
                self.faults += 1
                continue
            if isinstance(event, ev.SessionOpened):
                self._sessions[event.session] = member.node
            events.append(event)
        return events

    def beat(self, peer: bytes, beat: peers.Beat, now: Now) -> list[Event]:
        """A member lives."""
        member = self._member(peer)
        if member is None:
            return []
        self.roster.heard(peer, wall=now.wall, mono=now.mono)
        self.outbox.append((peer, peers.Beaten(beat.sent_ns)))
        return [ev.Heartbeat(node=member.node, incarnation=beat.incarnation)]

    def leave(self, peer: bytes, now: Now) -> list[Event]:
        """A member said goodbye, after the last of its children had ended: nothing of it runs any more."""
        member = self.roster.left(peer, now.wall)
        if member is None:
            return []
        self._end([session for session, of in self._sessions.items() if of == member.node])
        self._states[member.node] = "down"
        logger.info("node %s has left", member.node)
        return [ev.NodeLost(node=member.node, incarnation=member.incarnation, started=frozenset(), fenced=True)]

    def lost(self, death: ev.NodeLost, now: Now) -> None:
        """The death of an incarnation is proven, by whoever."""
        self.roster.lost(death.node, death.incarnation, now.wall)
        self._end([each for each in self._sessions if each.startswith(f"{death.node}/{death.incarnation}/")])

    def closed(self) -> list[str]:
        """The sessions that ended with their nodes, each told once."""
        members = {member.node: member for member in self.roster.members()}
        over = [
            session for session, node in self._sessions.items() if node not in members or members[node].state == "down"
        ]
        for session in over:
            del self._sessions[session]
        ended, self._ended = [*self._ended, *over], []
        return ended

    def look(self, now: Now) -> None:
        """Suspect the silent, and tell all if anything has changed."""
        self.roster.look(wall=now.wall, mono=now.mono)
        if self._told_version != self.roster.version:
            self._told_version = self.roster.version
            members = self.roster.members()
            self.outbox += [(peer, peers.Members(self.roster.version, members)) for peer in self.roster.peers()]
            self._log_changes(members)

    def _log_changes(self, members: list[Member]) -> None:
        for member in changed(members, self._states):
            # Down without a suspicion before is a proven death, and most of those were asked for.
            is_odd = "suspected" in {member.state, self._states.get(member.node)}
            level = logging.WARNING if is_odd else logging.INFO
            logger.log(level, "node %s is %s", member.node, member.state)
        self._states = {member.node: member.state for member in members}

    def _member(self, peer: bytes) -> Member | None:
        """Who speaks; one that was given up meanwhile is told to join again, on the connection that still stands."""
        member = self.roster.node_of(peer)
        if member is None:
            words = f"{self._me.node} has given this node up, or never knew it; it has to join"
            self.outbox.append((peer, wire.Rejected("not_member", words, [wire.VERSION], self._me.node)))
        return member

    def _events(self, pairs: list[peers.Pair]) -> list[Any]:
        try:
            return unpack_events(pairs)
        except msgspec.MsgspecError as error:
            self.faults += 1
            logger.warning("a node's message makes no sense and is dropped: %s", error)
            return []

    @staticmethod
    def _is_of(event: object, node: str) -> bool:
        return isinstance(event, ev.NodeLost) and event.node == node

    def _end(self, sessions: list[str]) -> None:
        for session in sessions:
            del self._sessions[session]
        self._ended += sessions

    # --- what they are told -----------------------------------------------------------------------------------------

    def has(self, session: str) -> bool:
        """Whether a session is of another node."""
        return session in self._sessions

    def tell(self, session: str, effects: tuple[ef.Effect, ...]) -> bytes | None:
        """Owe effects to a pool of another node; its connection, None if there is none: what is absolute makes it good."""
        peer = self.roster.peer_of(self._sessions.get(session, ""))
        if peer is not None:
            self.outbox.append((peer, peers.Wanted(session, pack_effects(tuple(map(_as_order, effects))))))
        return peer

    # --- signals between processes ----------------------------------------------------------------------------------

    def links(self) -> list[peers.Reached]:
        """Which nodes have come, or gone, since the last time; all others are owed that news.

        A node that came back over another connection has gone and come: what was under way on the old one may be lost.
        """
        gone = [node for node, peer in self._links.items() if self.roster.peer_of(node) != peer]
        for node in gone:
            del self._links[node]
        come = {node: peer for peer, node in self.roster.linked() if node not in self._links}
        news = [
            *(peers.Reached(node, is_up=False) for node in gone),
            *(peers.Reached(node, is_up=True) for node in come),
        ]
        self.outbox += [(peer, each) for peer in self._links.values() for each in news]
        for node, peer in come.items():
            others = [*self._links, *(each for each in come if each != node)]
            self.outbox += [(peer, peers.Reached(other, is_up=True)) for other in others]
        self._links |= come
        return news

    def reaches(self, node: str) -> bool:
        """Whether a node is in."""
        return node in self._links

    def source_of(self, peer: bytes) -> str | None:
        """The node that a signal is from, if it is in."""
        member = self._member(peer)
        return None if member is None else member.node

    def pass_on(self, signal: peers.Signal) -> bool:
        """Owe a signal to the node that it is for; False: it is not in."""
        peer = self._links.get(signal.to)
        if peer is not None:
            self.outbox.append((peer, signal))
        return peer is not None


def _as_order(effect: Any) -> Any:
    """An operator's order as it travels; any other effect as it is."""
    if not isinstance(effect, PoolOrder):
        return effect
    order = effect.order
    if isinstance(order, Scale):
        return peers.Order(effect.number, "scale", order.workers)
    return peers.Order(effect.number, "reload")
