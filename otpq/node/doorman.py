"""Doorman: what listens at the address of a node that does not lead, and says where the one that does is.

So a client, or a node that wants to join, may name any node of the cluster; and a name that is taken on this machine is told
at the start.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from otpq.otp import Cast, GenServer, NoReply
from otpq.queue.inbox import Arrived, PolledInbox
from otpq.wire import messages as wire
from otpq.wire import peers
from otpq.wire.codec import Fault, encode
from otpq.wire.peer_codec import decode_at_leader

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.wire.listener import Listener

__all__ = ["Doorman", "Leader"]

logger = logging.getLogger("otpq.node")


@dataclass(frozen=True, slots=True)
class Leader:
    """Who leads, from now on."""

    address: str


class Doorman(GenServer):
    """Answers every greeting by who leads."""

    trap_exit = True  # its supervisor's word to end finds it between two batches, never inside a send

    def make_inbox(self) -> PolledInbox:
        """One wait for messages and for the socket."""
        self._inbox = PolledInbox()
        return self._inbox

    def init(self, listen: Callable[[], Listener], node: str) -> None:
        """Listen. Nobody is told anything before it is known who leads: those who dial try again."""
        self._node = node
        self._leader = ""
        self._faults = 0
        self._listener = listen()
        self._inbox.attend(self._listener)
        self.own(self._inbox.close)

    def handle_batch(self, messages: list[Any]) -> NoReply | None:
        """Take note of who leads, and answer who has come."""
        for message in messages:
            match message:
                case Cast(Leader(address)):
                    self._leader = address
                case Arrived(peer, data):
                    self._answer(peer, data)
                case _:
                    logger.warning("%r drops %r", self.pid, message)
        self._listener.wait(0)
        return None

    def _answer(self, peer: bytes, data: bytes) -> None:
        match decode_at_leader(data):
            case Fault():
                self._faults += 1
                if self._faults == 1:
                    logger.warning("a message that makes no sense came and was dropped; others are counted")
            case wire.Hello() | peers.Join():
                self._listener.send(peer, encode(self._rejection()))
            case _:
                self._faults += 1  # of one who was told where to go

    def _rejection(self) -> wire.Rejected:
        if not self._leader:
            words = f"{self._node} has not joined its cluster yet; it does not know who leads"
            return wire.Rejected("not_joined", words, [wire.VERSION], self._node)
        words = f"{self._node} does not lead; {self._leader} does"
        return wire.Rejected("not_leader", words, [wire.VERSION], self._node, self._leader)
