"""The listening side: a ROUTER socket with the cookie's keys. One thread owns a `Listener` and calls all of it but `wake`."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final, cast

import zmq

from otpq.errors import Unavailable, UsageError
from otpq.wire.gate import DOMAIN, Gate
from otpq.wire.messages import MAX_MESSAGE
from otpq.wire.sockets import ADMITTANCE, milliseconds, set_heartbeats
from otpq.wire.waker import Waker

if TYPE_CHECKING:
    from otpq.wire.cookie import Cookie

__all__ = ["AddressTaken", "BadAddress", "Listener"]

SEND_HIGH_WATER: Final = 1_000
"""Messages that wait for one slow peer before `send` says no. A peer has asked for what it gets, so this is rarely met."""
RECEIVE_HIGH_WATER: Final = 1_000
"""Messages of one peer that wait for us before TCP slows it down."""


_WORDS: Final = {
    errno.EADDRNOTAVAIL: "this machine has no such address",
    errno.ENODEV: "the host name is unknown, or is of another machine",
    errno.EACCES: "this user may not listen there",
}


class AddressTaken(Unavailable):
    """Another program listens there.

    Attributes:
        address: Where.
    """

    def __init__(self, address: str) -> None:
        super().__init__(
            f"{address} is taken by another program; is this node running already? "
            f"Another port is given as NAME@HOST:PORT"
        )
        self.address = address


class BadAddress(UsageError):
    """An address that nobody can listen on or dial."""


class Listener:
    """Messages from anyone with the cookie, and a way to answer each of them.

    ZeroMQ drops messages to peers that are gone, and those to peers that are too slow, unless told otherwise; here `send`
    says whether it was taken. That is not a proof of delivery: only an answer is.
    """

    def __init__(self, address: str, cookie: Cookie) -> None:
        """Listen on `address` ("tcp://HOST:PORT"; port 0 takes a free one, and `address` then says which).

        Raises:
            AddressTaken: Another program listens there.
            BadAddress: This machine has no such address.
        """
        self._context = zmq.Context()
        self._gate = Gate(self._context, cookie)  # before the socket: without a gate, ZeroMQ admits everybody
        self._waker = Waker()
        self._socket = self._context.socket(zmq.ROUTER)
        try:
            self._prepare(cookie)
            self._bind(address)
        except BaseException:
            self.close()
            raise
        self.address = cast("bytes", self._socket.last_endpoint).decode().rstrip("\0")
        self._poller = zmq.Poller()
        for readable in (self._gate.socket, self._socket, self._waker.fd):
            self._poller.register(readable, zmq.POLLIN)

    @property
    def refused(self) -> int:
        """How many dialled with a key that is not the cookie's."""
        return self._gate.refused

    def wait(self, timeout: float | None = None) -> None:
        """Return when a message is there, somebody called `wake`, or `timeout` seconds have passed.

        Also lets in who dials, so an owner must come here often, without waiting if it is busy.
        """
        ready = dict(self._poller.poll(None if timeout is None else milliseconds(timeout)))
        if self._gate.socket in ready:
            self._gate.serve()
        if self._waker.fd in ready:
            self._waker.clear()

    def wake(self) -> None:
        """Make `wait` return. From any thread."""
        self._waker.wake()

    def receive(self) -> tuple[bytes, bytes] | None:
        """The next (peer, bytes), or None if none is there. `peer` is a connection, not a session.

        A message of several frames, which no client sends, comes as one of no bytes: garbage, as the decoder will say.
        """
        try:
            frames = self._socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return None
        return frames[0], (frames[1] if len(frames) == 2 else b"")  # noqa: PLR2004 - peer and message

    def send(self, peer: bytes, data: bytes) -> bool:
        """Whether ZeroMQ has taken the message: not if the peer is gone, or so slow that too many wait for it."""
        try:
            self._socket.send_multipart((peer, data), zmq.NOBLOCK)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno != errno.EHOSTUNREACH:
                raise
            return False
        return True

    def close(self) -> None:
        """Stop listening. What ZeroMQ has not sent by now is not sent."""
        self._socket.close(linger=0)
        self._gate.close()
        self._context.term()

    def _prepare(self, cookie: Cookie) -> None:
        socket, keys = self._socket, cookie.server_keys()
        socket.curve_server = True
        socket.curve_publickey, socket.curve_secretkey = keys.public, keys.secret
        socket.zap_domain = DOMAIN
        socket.router_mandatory = True  # otherwise a message to a peer that is gone vanishes without a word
        socket.router_handover = True  # otherwise a peer that returns under its old id is ignored
        socket.maxmsgsize = MAX_MESSAGE
        socket.sndhwm = SEND_HIGH_WATER
        socket.rcvhwm = RECEIVE_HIGH_WATER
        socket.linger = 0
        socket.ipv6 = True
        socket.handshake_ivl = milliseconds(ADMITTANCE)
        set_heartbeats(socket)

    def _bind(self, address: str) -> None:
        try:
            self._socket.bind(address)
        except zmq.ZMQError as error:
            if error.errno == errno.EADDRINUSE:
                raise AddressTaken(address) from error
            raise BadAddress(
                f"cannot listen on {address}: {_WORDS.get(error.errno or 0, error.strerror)}; "
                f"a node listens at an address of its own machine, as in NAME@127.0.0.1 or NAME@HOST:PORT"
            ) from error
