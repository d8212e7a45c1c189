"""The dialling side: one connection, from the attempt to its end. A lost one is not mended: the owner dials a new one.

ZeroMQ would reconnect by itself, below our feet: what was on the way would be lost without a word, and what waited would
be sent before the new greeting. So its reconnecting is off, and one `Dialled` is one connection.
"""

from __future__ import annotations

import errno
import socket as sockets
import struct
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

import zmq

from otpq.wire.messages import MAX_MESSAGE
from otpq.wire.sockets import HANDSHAKE, milliseconds, set_heartbeats

if TYPE_CHECKING:
    from otpq.wire.cookie import Cookie

__all__ = ["Cause", "Dialled", "Down"]

_HIGH_WATER: Final = 10_000
_EVENT: Final = struct.Struct("=Hi")
"""What a monitor's first frame holds, an event and its value. zmq.utils.monitor would bring asyncio: 40 ms at every start."""


class Cause(StrEnum):
    """Why a connection is down."""

    UNRESOLVED = "the host name is unknown"
    REFUSED = "nothing listens there"
    COOKIE = "the cookie is refused"
    HANDSHAKE_CUT = "the other side closed the connection during the handshake"
    """As a node does to a key that is none of its cluster's, and any program does that is being stopped."""
    SILENT = "something listens there that does not answer; a stopped node, or no otpq node"
    NOT_OTPQ = "what listens there is no otpq node"
    LOST = "the connection was lost"


class Down(NamedTuple):
    """A connection is no more, or never was."""

    cause: Cause
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.cause.value} ({self.detail})" if self.detail else self.cause.value


class Dialled:
    """One connection to a listening node. Owned by one thread."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], address: str, cookie: Cookie) -> None:
        self.is_up = False
        """Whether the handshake is over: the cookie is right and messages can be sent."""
        self.down: Down | None = None
        """Why it is down, once it is."""
        self.socket = context.socket(zmq.DEALER)
        self._prepare(cookie)
        self.monitor = self.socket.get_monitor_socket(_WATCHED)
        self._tcp_up = False
        unresolved = _unresolved(address)
        if unresolved is not None:
            self.down = unresolved
        else:
            self.socket.connect(address)

    def look(self) -> None:
        """Take note of what happened to the connection; `is_up` and `down` say it."""
        while self.down is None:
            try:
                frames = self.monitor.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._note(*_EVENT.unpack(frames[0]))

    def send(self, data: bytes) -> bool:
        """Whether ZeroMQ has taken the message; not if too many wait already."""
        try:
            self.socket.send(data, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def receive(self) -> bytes | None:
        """The next message, or None if none is there. One of several frames comes as no bytes: garbage."""
        try:
            frames = self.socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return None
        return frames[0] if len(frames) == 1 else b""

    def close(self, linger: float = 0) -> None:
        """Close it; what is not sent yet has `linger` seconds to leave."""
        self.socket.disable_monitor()
        self.monitor.close(linger=0)
        self.socket.close(linger=milliseconds(linger))

    def _note(self, event: int, value: int) -> None:
        if event == zmq.EVENT_CONNECTED:
            self._tcp_up = True
        elif event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self.is_up = True
        elif event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            self.down = Down(Cause.COOKIE)
        elif event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
            self.down = Down(Cause.NOT_OTPQ)
        elif event == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
            self.down = _without_detail(value)
        elif event in {zmq.EVENT_DISCONNECTED, zmq.EVENT_CLOSED}:
            self.down = self._ended()

    def _ended(self) -> Down:
        if self.is_up:
            return Down(Cause.LOST)
        return Down(Cause.NOT_OTPQ if self._tcp_up else Cause.REFUSED)

    def _prepare(self, cookie: Cookie) -> None:
        socket, keys = self.socket, cookie.client_keys()
        socket.curve_serverkey = cookie.server_keys().public
        socket.curve_publickey, socket.curve_secretkey = keys.public, keys.secret
        socket.reconnect_ivl = -1
        socket.immediate = True  # nothing is taken for a connection that does not stand
        socket.maxmsgsize = MAX_MESSAGE
        socket.sndhwm = socket.rcvhwm = _HIGH_WATER
        socket.linger = 0
        socket.ipv6 = True
        socket.handshake_ivl = milliseconds(HANDSHAKE)
        socket.connect_timeout = milliseconds(HANDSHAKE)
        set_heartbeats(socket)


_WATCHED: Final = (
    zmq.EVENT_CONNECTED
    | zmq.EVENT_CLOSED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)


def _without_detail(code: int) -> Down:
    """What ZeroMQ calls a failure without detail: the errno tells a door shut in our face from no answer at all."""
    if code in {errno.EPIPE, errno.ECONNRESET}:
        return Down(Cause.HANDSHAKE_CUT)
    return Down(Cause.SILENT)


def _unresolved(address: str) -> Down | None:
    """Why the host of `address` is unknown. Asked first, since ZeroMQ says nothing at all about a name it cannot resolve."""
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    try:
        sockets.getaddrinfo(
            host.strip("[]").encode(), port, type=sockets.SOCK_STREAM
        )  # of a text the codec `idna` is loaded
    except sockets.gaierror as error:
        return Down(Cause.UNRESOLVED, str(error))
    return None
