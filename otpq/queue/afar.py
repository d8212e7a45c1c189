"""Signals between processes of two nodes, as they travel, and back: plain values and a few reasons, nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from otpq.otp import (
    Crash,
    Failure,
    Killed,
    NoConnection,
    NoProc,
    Normal,
    Reason,
    Shutdown,
    Signal,
    UsageError,
)
from otpq.wire import peers
from otpq.wire.plain import is_plain

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FarCrash", "packed", "unpacked"]

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder().decode


class FarCrash(Exception):
    """The exception that ended a process of another node, in its words."""


_REASONS: Final[dict[str, Callable[[Any], Reason]]] = {
    "normal": lambda _detail: Normal(),
    "shutdown": Shutdown,
    "killed": lambda _detail: Killed(),
    "noproc": lambda _detail: NoProc(),
    "noconnection": lambda _detail: NoConnection(),
    "failure": Failure,
    "crash": lambda detail: Crash(FarCrash(str(detail))),
}


def packed(source: str, to: str, signal: Signal) -> peers.Signal:
    """A signal as it travels from one node to another.

    Raises:
        UsageError: What is in it cannot travel: plain values do.
    """
    body = _pair(signal.body) if isinstance(signal.body, Reason) else signal.body
    if not is_plain([body]):
        raise UsageError(
            f"{body!r} cannot travel to {to}: None, bool, int, float, str, bytes, list, tuple and dict can"
        )
    return peers.Signal(to, source, signal.kind, signal.number, signal.name, msgspec.Raw(_encode(body)))


def unpacked(message: peers.Signal) -> Signal:
    """The signal that a message is; of a request or an answer that is an array, a tuple.

    Raises:
        msgspec.MsgspecError: Its body is none.
    """
    body: Any = _decode(message.body)
    if message.kind == "down":
        body = _reason(body)
    elif isinstance(body, list):
        body = tuple(body)
    return Signal(message.kind, message.number, message.name, body)


def _pair(reason: Reason) -> tuple[str, Any]:
    match reason:
        case Shutdown(detail) | Failure(detail):
            return type(reason).__name__.lower(), detail if is_plain([detail]) else repr(detail)
        case Crash():
            return "crash", str(reason)
        case _:
            return type(reason).__name__.lower(), None


def _reason(body: Any) -> Reason:
    match body:
        case [str(kind), detail] if kind in _REASONS:
            return _REASONS[kind](detail)
        case _:
            return Failure(body)
