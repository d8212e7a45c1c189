"""What both ends of a connection have in common: heartbeats, and how long a handshake may take."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import zmq

__all__ = ["ADMITTANCE", "HANDSHAKE", "HEARTBEAT", "HEARTBEAT_LOST", "milliseconds", "set_heartbeats"]

HANDSHAKE: Final = 1.5
"""Seconds for TCP's and CURVE's greetings. Below the 2 s in which a dialling user is to hear what is wrong."""
ADMITTANCE: Final = 10.0
"""Seconds that the listening side gives a handshake. Longer than the dialling side's, so that a node which is busy with a long
commit looks silent to who dials, and not as if it had shut the door, which is taken for a wrong cookie."""
HEARTBEAT: Final = 2.0
"""Seconds between two heartbeats of ZeroMQ on a quiet connection."""
HEARTBEAT_LOST: Final = 6.0
"""Seconds of silence after which a connection is lost: three heartbeats."""


def milliseconds(seconds: float) -> int:
    """Seconds as ZeroMQ wants them. Rounded up: a wait that ends too soon would spin."""
    return max(0, math.ceil(seconds * 1000))


def set_heartbeats(socket: zmq.Socket[Any]) -> None:
    """Let ZeroMQ notice a peer that is gone without a word: a pulled cable, a stopped machine."""
    socket.heartbeat_ivl = milliseconds(HEARTBEAT)
    socket.heartbeat_timeout = milliseconds(HEARTBEAT_LOST)
    socket.heartbeat_ttl = milliseconds(HEARTBEAT_LOST)
