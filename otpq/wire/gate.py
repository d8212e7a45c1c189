"""The gate of a listening socket: who dials is admitted by its CURVE key, and only with the cookie's.

CURVE by itself proves that the dialling side has *some* key pair. ZeroMQ asks a handler (ZAP, RFC 27) whether it is one to
admit; without a handler it admits all. The handler here is a socket that the owner of the listening socket serves in the
same thread, so that no further thread is needed.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final

import zmq
from zmq.utils import z85

if TYPE_CHECKING:
    from otpq.wire.cookie import Cookie

__all__ = ["DOMAIN", "Gate"]

DOMAIN: Final = b"otpq"
"""A ZAP domain must be set, or libzmq does not ask."""
_ADDRESS: Final = "inproc://zeromq.zap.01"
_REQUEST_FRAMES: Final = 7  # version, request id, domain, address, identity, mechanism, the client's public key


class Gate:
    """Answers ZeroMQ's question who may come in. One for each context."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], cookie: Cookie) -> None:
        self._key = z85.decode(cookie.client_keys().public)
        self.socket = context.socket(zmq.REP)
        self.socket.linger = 0
        self.socket.bind(_ADDRESS)
        self.admitted = 0
        self.refused = 0

    def serve(self) -> None:
        """Answer all that have asked by now."""
        while True:
            try:
                request = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            self.socket.send_multipart(self._answer(request))

    def close(self) -> None:
        """Close the socket; from then on ZeroMQ would admit everybody, so the listening socket is closed first."""
        self.socket.close()

    def _answer(self, request: list[bytes]) -> list[bytes]:
        version, request_id = [*request, b"", b""][:2]
        if self._is_right(request):
            self.admitted += 1
            return [version, request_id, b"200", b"OK", b"cluster", b""]
        self.refused += 1
        return [version, request_id, b"400", b"not the cookie of this cluster", b"", b""]

    def _is_right(self, request: list[bytes]) -> bool:
        if len(request) != _REQUEST_FRAMES or request[2] != DOMAIN or request[5] != b"CURVE":
            return False
        return hmac.compare_digest(request[6], self._key)
