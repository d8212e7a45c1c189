"""What a child sends: whole frames, in their order."""

from __future__ import annotations

import os
from threading import get_ident
from typing import TYPE_CHECKING, Any

import msgpack
import pytest

from otpq.worker import soft_timeout
from otpq.worker.outbox import Outbox
from otpq.worker.packets import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable


class Wire:
    """The socket's part."""

    def __init__(self) -> None:
        self.sent = b""
        self.on_send: Callable[[], None] = lambda: None

    def sendall(self, data: bytes) -> None:
        half = len(data) // 2
        self.sent += data[:half]
        self.on_send()
        self.sent += data[half:]

    def frames(self) -> list[Any]:
        found, rest = [], self.sent
        while rest:
            size = int.from_bytes(rest[:4], "little")
            found.append(msgpack.unpackb(rest[4 : 4 + size]))
            rest = rest[4 + size :]
        return found


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def outbox(wire: Wire) -> Outbox:
    return Outbox(wire)  # type: ignore[arg-type]


def test_results_wait_and_what_is_told_does_not(wire: Wire, outbox: Outbox) -> None:
    outbox.add(1, 10, Outcome.SUCCEEDED, b"v", 1.0, 2.0, 0)
    outbox.tell("progress", 1, 11, 0.5, "half")
    assert wire.frames() == [["progress", 1, 11, 0.5, "half"]]
    outbox.add(2, 12, Outcome.LATER, b"e", 1.0, 2.0, 0, 3.0)
    outbox.flush()
    assert wire.frames()[1:] == [
        ["results", 1, [[10, 0, b"v", 1.0, 2.0, None]]],
        ["results", 2, [[12, 5, b"e", 1.0, 2.0, 3.0]]],
    ]


def test_results_are_due_when_they_have_waited_or_are_many(outbox: Outbox) -> None:
    begun, linger = 5_000_000, 1_000_000
    assert not outbox.is_due(begun), "there are none"
    outbox.add(1, 10, Outcome.SUCCEEDED, b"v", 1.0, 2.0, begun)
    outbox.add(1, 11, Outcome.SUCCEEDED, b"v", 1.0, 2.0, begun + 1)
    assert not outbox.is_due(begun + linger - 1)
    assert outbox.is_due(begun + linger)
    outbox.flush()
    assert not outbox.is_due(begun + linger)
    outbox.add(1, 12, Outcome.SUCCEEDED, bytes(256 * 1024), 1.0, 2.0, begun)
    assert outbox.is_due(begun)


def test_what_a_signal_handler_tells_in_the_middle_of_a_frame_comes_behind_it(wire: Wire, outbox: Outbox) -> None:
    def interrupt() -> None:
        wire.on_send = lambda: None
        outbox.tell("progress", 1, 2, 0.5, "")

    wire.on_send = interrupt
    outbox.tell("checkpoint", 1, 2, 3, b"x")
    assert [frame[0] for frame in wire.frames()] == ["checkpoint", "progress"]


def test_what_could_not_be_sent_is_still_counted(wire: Wire, outbox: Outbox) -> None:
    def fail() -> None:
        raise OSError(9, "closed")

    outbox.add(1, 10, Outcome.SUCCEEDED, b"v", 1.0, 2.0, 0)
    assert outbox.unsent == 1
    wire.on_send = fail
    with pytest.raises(OSError, match="closed"):
        outbox.flush()
    assert outbox.unsent == 1
    wire.on_send = lambda: None
    outbox.add(1, 11, Outcome.SUCCEEDED, b"v", 1.0, 2.0, 0)
    outbox.flush()
    assert outbox.unsent == 0


def test_a_fork_tells_nothing(wire: Wire, outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getpid", lambda: 1)
    outbox.tell("progress", 1, 2, 0.5, "")
    assert wire.sent == b""


def test_no_soft_timeout_comes_in_the_middle_of_what_a_handler_tells(wire: Wire, outbox: Outbox) -> None:
    seen: list[bool] = []
    wire.on_send = lambda: seen.append(get_ident() in soft_timeout._interruptible)
    soft_timeout._interruptible.add(get_ident())
    outbox.tell("progress", 1, 2, 0.5, "")
    assert get_ident() in soft_timeout._interruptible
    soft_timeout._interruptible.discard(get_ident())
    assert seen == [False]
