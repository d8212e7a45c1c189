"""Bytes to messages where nodes talk: at the one that leads, and at the others. Apart from `codec.py`, which clients import."""

from __future__ import annotations

from typing import Final

import msgspec

from otpq.wire.codec import Fault, decode
from otpq.wire.messages import FromClient, Rejected
from otpq.wire.peers import FromNode, ToNode

__all__ = ["decode_at_leader", "decode_from_leader"]

_at_leader: Final[msgspec.msgpack.Decoder[FromClient | FromNode]] = msgspec.msgpack.Decoder(FromClient | FromNode)
_from_leader: Final[msgspec.msgpack.Decoder[ToNode | Rejected]] = msgspec.msgpack.Decoder(ToNode | Rejected)


def decode_at_leader(data: bytes) -> FromClient | FromNode | Fault:
    """The message of a client or of another node, or what is wrong with it."""
    return decode(_at_leader, data)


def decode_from_leader(data: bytes) -> ToNode | Rejected | Fault:
    """The message of the node that leads to another, or what is wrong with it."""
    return decode(_from_leader, data)
