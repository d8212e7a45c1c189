"""Signals between nodes, as they travel."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

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
    TimedOut,
    UsageError,
)
from otpq.queue.afar import packed, unpacked
from otpq.wire import peers
from otpq.wire.peer_codec import decode_at_leader, decode_from_leader


def there_and_back(signal: Signal) -> Signal:
    message = packed("a@h", "b@h", signal)
    data = msgspec.msgpack.encode(message)
    assert decode_at_leader(data) == decode_from_leader(data) == message
    assert (message.source, message.to) == ("a@h", "b@h")
    return unpacked(message)


@pytest.mark.parametrize("body", [None, "status", 7, {"a": [1, b"x", None]}, ("status",), ("f", {"level": "INFO"})])
def test_a_request_arrives_as_it_was(body: Any) -> None:
    signal = Signal("call", 3, "rpc", body)
    assert there_and_back(signal) == signal


def test_an_array_arrives_as_a_tuple_whatever_it_was() -> None:
    assert there_and_back(Signal("reply", 3, body=[1, [2]])).body == (1, [2])


@pytest.mark.parametrize(
    "reason",
    [Normal(), Shutdown(), Shutdown("enough"), Killed(), NoProc(), NoConnection(), Failure("boom"), Failure([1, 2])],
)
def test_a_reason_arrives_as_it_was(reason: Reason) -> None:
    assert there_and_back(Signal("down", 3, body=reason)).body == reason


def test_a_crash_arrives_in_its_words_and_what_is_not_plain_by_its_repr() -> None:
    crash = there_and_back(Signal("down", 3, body=Crash(ValueError("no such colour")))).body
    assert isinstance(crash, Crash)
    assert str(crash.error) == "ValueError: no such colour"
    assert there_and_back(Signal("down", 3, body=Failure(ValueError("x")))).body == Failure("ValueError('x')")
    assert there_and_back(Signal("down", 3, body=TimedOut())).body == Failure(["timedout", None])


@pytest.mark.parametrize("body", [object(), {1: "x"}, [{"a": {1, 2}}], 1 + 2j])
def test_what_is_not_plain_does_not_travel(body: Any) -> None:
    with pytest.raises(UsageError, match="cannot travel to b@h"):
        packed("a@h", "b@h", Signal("call", 3, "rpc", body))


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x92\x01"])
def test_a_body_that_is_none_raises(body: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        unpacked(peers.Signal("b@h", "a@h", "call", 1, "rpc", msgspec.Raw(body)))


@pytest.mark.parametrize("body", [None, "down", [], ["strange", 1], [1, 2], {"a": 1}])
def test_a_reason_that_is_none_of_ours_is_a_failure(body: Any) -> None:
    message = peers.Signal("b@h", "a@h", "down", 1, "", msgspec.Raw(msgspec.msgpack.encode(body)))
    assert unpacked(message).body == Failure(body)
