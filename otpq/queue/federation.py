"""Federation: the queue server's half of the talk with other nodes, in its thread. What is decided stands in `nodes.py`.

To the rest of `queue/` a pool of another node is one like any other: told by `RemotePool` where a local one has a pid.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from otpq.core import events as ev
from otpq.otp import NoConnection, Signal
from otpq.queue import afar
from otpq.queue.engine import now
from otpq.queue.messages import PoolAnswer
from otpq.queue.nodes import Nodes
from otpq.wire import peers
from otpq.wire.codec import encode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from otpq.otp import Distribution
    from otpq.wire.listener import Listener
    from otpq.wire.peers import Member

__all__ = ["LOOK_EVERY", "Federation", "Hooks", "RemotePool"]

logger = logging.getLogger("otpq.queue")

LOOK_EVERY: Final = 1.0
"""Seconds between two looks for nodes that are silent."""


@dataclass(frozen=True, slots=True)
class RemotePool:
    """A pool of another node, by its session."""

    session: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """What the queue server does with what nodes say."""

    ask: Callable[[ev.Event], None]
    """Has the core decide about an event."""
    opened: Callable[[ev.SessionOpened, RemotePool], object]
    closed: Callable[[str], None]
    """A session takes nothing more."""
    gone: Callable[[str], None]
    """A session is no more."""
    facts: Callable[[str, list[dict[str, Any]]], None]
    """What a pool tells of its workers."""
    answered: Callable[[PoolAnswer], None]
    distribution: Distribution | None
    """The way between this node's processes and others'; None: there is no node around."""


class Federation:
    """All other nodes of the cluster."""

    def __init__(self, me: Member, epoch: int, lease: float, listener: Listener, hooks: Hooks) -> None:
        self._me = me
        self._nodes = Nodes(me, epoch, lease)
        self._listener = listener
        self._hooks = hooks
        self._look_at = 0.0

    # --- what arrives -----------------------------------------------------------------------------------------------

    def hear(self, peer: bytes, message: Any) -> bool:
        """Take in a message of a node; False if it is none."""
        hear = _HEAR.get(type(message))
        if hear is None:
            return False
        hear(self, peer, message)
        self._changed()
        return True

    def _join(self, peer: bytes, join: peers.Join) -> None:
        self._ask_all(self._nodes.join(peer, join, now()))

    def _told(self, peer: bytes, told: peers.Told) -> None:
        for event in self._nodes.told(peer, told):
            self._hear_event(event)
        if told.workers is not None and self._nodes.has(told.session):
            self._hooks.facts(told.session, told.workers)

    def _hear_event(self, event: Any) -> None:
        match event:
            case peers.Ordered(session=session, number=number, facts=facts):
                self._hooks.answered(PoolAnswer(number, session, facts))
                return
            case ev.SessionOpened():
                self._hooks.opened(event, RemotePool(event.session))
            case ev.SessionClosed(session=session):
                self._hooks.closed(session)
            case ev.NodeLost():
                self.lost(event)
            case _:
                pass
        self._hooks.ask(event)

    def _beat(self, peer: bytes, beat: peers.Beat) -> None:
        self._ask_all(self._nodes.beat(peer, beat, now()))

    def _leave(self, peer: bytes, _leave: peers.Leave) -> None:
        for death in self._nodes.leave(peer, now()):
            self._hooks.ask(death)

    def _signal(self, peer: bytes, signal: peers.Signal) -> None:
        source = self._nodes.source_of(peer)
        if source is not None:
            self._route(msgspec.structs.replace(signal, source=source))

    def send(self, signal: peers.Signal) -> None:
        """Send a signal of one of this node's processes."""
        self._route(signal)
        self.flush()

    def _route(self, signal: peers.Signal) -> None:
        """To whom it is for; what cannot get there is answered for here, if somebody waits for an answer."""
        if signal.to == self._me.node:
            self._deliver(signal)
        elif not self._nodes.pass_on(signal) and signal.kind in {"call", "watch"}:
            gone = Signal("down", signal.number, body=NoConnection())
            self._route(afar.packed(signal.to, signal.source, gone))

    def _deliver(self, signal: peers.Signal) -> None:
        distribution = self._hooks.distribution
        if distribution is None:
            return
        try:
            distribution.deliver(signal.source, afar.unpacked(signal))
        except msgspec.MsgspecError as error:
            self._nodes.faults += 1
            logger.warning("a signal of %s makes no sense and is dropped: %s", signal.source, error)

    def _ask_all(self, events: Sequence[ev.Event]) -> None:
        for event in events:
            self._hooks.ask(event)

    def lost(self, death: ev.NodeLost) -> None:
        """The death of an incarnation is proven."""
        self._nodes.lost(death, now())
        self._changed()

    # --- time, and what is sent -------------------------------------------------------------------------------------

    def look(self) -> None:
        """Suspect the silent; cheap to be called at each wake-up."""
        at = now()
        if at.mono >= self._look_at:
            self._look_at = at.mono + LOOK_EVERY
            self._changed()

    def _changed(self) -> None:
        self._nodes.look(now())
        for reached in self._nodes.links():
            self._linked(reached)
        for session in self._nodes.closed():
            self._hooks.gone(session)
        self.flush()

    def _linked(self, reached: peers.Reached) -> None:
        distribution = self._hooks.distribution
        if distribution is None:
            return
        if reached.is_up:
            distribution.node_up(reached.node)
        else:
            distribution.node_down(reached.node)

    def tell(self, pool: RemotePool, effects: tuple[Any, ...]) -> None:
        """Send effects to a pool, now; where there is no connection they are lost, and made good by what is absolute."""
        self._nodes.tell(pool.session, effects)
        self.flush()

    def flush(self) -> None:
        """Send what is owed."""
        outbox, self._nodes.outbox = self._nodes.outbox, []
        for peer, message in outbox:
            self._listener.send(peer, encode(message))

    # --- looking in -------------------------------------------------------------------------------------------------

    @property
    def is_alone(self) -> bool:
        """Whether no other node is in the cluster."""
        return not self._nodes.roster.peers()

    def reaches(self, node: str) -> bool:
        """Whether signals can be sent to a node."""
        return self._nodes.reaches(node)

    def members(self) -> list[Member]:
        """All nodes, the leader too."""
        return self._nodes.roster.members()

    @property
    def version(self) -> int:
        """Of the membership."""
        return self._nodes.roster.version


_HEAR: Final[dict[type, Callable[[Federation, bytes, Any], None]]] = {
    peers.Join: Federation._join,  # noqa: SLF001 - a table of its own methods
    peers.Told: Federation._told,  # noqa: SLF001
    peers.Beat: Federation._beat,  # noqa: SLF001
    peers.Signal: Federation._signal,  # noqa: SLF001
    peers.Leave: Federation._leave,  # noqa: SLF001
}
