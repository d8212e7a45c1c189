"""Messages to bytes and back. What arrives is checked here and nowhere else: bytes become a message or a `Fault`.

Nothing that a peer sends raises out of here: a fault is a value, to be counted and dropped.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, TypeVar

import msgspec

from otpq.wire.messages import MAX_MESSAGE, FromServer

__all__ = ["Fault", "FaultKind", "decode", "decode_body", "decode_from_server", "encode"]

T = TypeVar("T")


class FaultKind(StrEnum):
    """What can be wrong with bytes that arrived; the names of the counters."""

    OVERSIZED = "oversized"
    """Larger than `MAX_MESSAGE`."""
    GARBAGE = "garbage"
    """No MessagePack, or cut short."""
    INVALID = "invalid"
    """MessagePack, but no message that this side may get."""


class Fault(msgspec.Struct, frozen=True):
    """Bytes that are no message, and why: `text` ends with the place, as in "- at `$[2][0][4]`"."""

    kind: FaultKind
    text: str


_encoder: Final = msgspec.msgpack.Encoder()
_from_server: Final[msgspec.msgpack.Decoder[FromServer]] = msgspec.msgpack.Decoder(FromServer)
_bodies: Final[dict[object, msgspec.msgpack.Decoder[object]]] = {}


def encode(value: object) -> bytes:
    """The bytes of a message, or of a query's body."""
    return _encoder.encode(value)


def decode_from_server(data: bytes) -> FromServer | Fault:
    """The message of a queue server, or what is wrong with it."""
    return decode(_from_server, data)


def decode_body(data: bytes | msgspec.Raw, type: type[T]) -> T | Fault:
    """The body of a query or an answer as `type`, or what is wrong with it."""
    decoder = _bodies.get(type)
    if decoder is None:
        decoder = _bodies[type] = msgspec.msgpack.Decoder(type)
    return decode(decoder, data)  # type: ignore[arg-type]


def decode(decoder: msgspec.msgpack.Decoder[T], data: bytes | msgspec.Raw) -> T | Fault:
    """What `decoder` makes of bytes that arrived, or what is wrong with them."""
    if len(memoryview(data)) > MAX_MESSAGE:
        return Fault(FaultKind.OVERSIZED, f"{len(memoryview(data)):,} bytes; a message has at most {MAX_MESSAGE:,}")
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        return Fault(FaultKind.INVALID, str(error))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:  # the last: nested by the ten thousand
        return Fault(FaultKind.GARBAGE, str(error))
