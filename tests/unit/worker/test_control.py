"""What a child hears of its node while it runs tasks, whoever reads it."""

from __future__ import annotations

from threading import get_ident

import msgpack
import pytest

from otpq.worker import soft_timeout
from otpq.worker.control import Control


class Wire:
    """What a `FrameReader` gives, without a socket."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.closed = False
        self.ended = 0
        self.control = Control(self, -1, self.end)  # type: ignore[arg-type]

    def receive(self, *, wait: bool) -> list[bytes]:
        assert not wait
        frames, self.frames = self.frames, []
        return frames

    def say(self, *words: object) -> None:
        self.frames.append(msgpack.packb(words))

    def end(self) -> None:
        self.ended += 1


@pytest.fixture
def wire() -> Wire:
    return Wire()


def test_who_is_cancelled_is_known_until_it_has_ended(wire: Wire) -> None:
    control = wire.control
    wire.say("cancel", 5, 1)
    assert not control.has_cancelled
    control.look()
    assert control.has_cancelled
    assert control.is_cancelled(5, 1)
    assert not control.is_cancelled(6, 1)
    assert not control.is_cancelled(5, 2)
    control.forget(5, 1)
    assert not control.has_cancelled


def test_who_watches_is_called_at_once_or_when_it_comes_and_never_after(wire: Wire) -> None:
    calls: list[str] = []
    control = wire.control
    with control.watched(5, 1, lambda: calls.append("later")):
        wire.say("cancel", 5, 2)
        wire.say("cancel", 5, 1)
        control.look()
    assert calls == ["later"]
    with control.watched(5, 1, lambda: calls.append("at once")):
        pass
    assert calls == ["later", "at once"]
    wire.say("cancel", 5, 1)
    control.look()
    assert calls == ["later", "at once"]


def test_a_checkpoint_is_answered_by_its_number(wire: Wire) -> None:
    kept: list[int] = []
    for number in (1, 2, 3):
        wire.control.expect(number, lambda number=number: kept.append(number))  # type: ignore[misc]
    wire.control.expect_no_more(3)
    for number in (2, 2, 3, 4):
        wire.say("kept", 7, number)
    wire.control.look()
    assert kept == [2]


def test_draining_stays(wire: Wire) -> None:
    assert not wire.control.is_draining
    wire.say("drain")
    wire.control.look()
    wire.control.look()
    assert wire.control.is_draining


def test_words_of_a_newer_node_are_passed_over(wire: Wire) -> None:
    wire.say("dance", 1)
    wire.say("drain", "newer")
    wire.say("cancel", 5, 1, "newer")
    wire.control.look()
    assert wire.control.is_draining
    assert wire.control.is_cancelled(5, 1)


def test_the_end_of_the_node_is_told(wire: Wire) -> None:
    wire.closed = True
    wire.say("cancel", 5, 1)
    wire.control.look()
    assert wire.ended == 1
    assert wire.control.is_cancelled(5, 1)


def test_what_a_node_cancels_that_is_not_here_does_not_pile_up(wire: Wire) -> None:
    for seq in range(1500):
        wire.say("cancel", 5, seq)
    wire.control.look()
    assert len(wire.control._cancelled) == 1000
    assert wire.control.is_cancelled(5, 1499)


def test_a_signal_handler_may_look_in_the_middle_of_a_look(wire: Wire) -> None:
    control = wire.control
    receive = wire.receive

    def interrupted(*, wait: bool) -> list[bytes]:
        control.look()
        return receive(wait=wait)

    wire.receive = interrupted  # type: ignore[method-assign]
    wire.say("drain")
    control.look()
    assert control.is_draining


def test_no_soft_timeout_comes_in_the_middle_of_a_look(wire: Wire) -> None:
    seen: list[bool] = []
    receive = wire.receive

    def looked_at(*, wait: bool) -> list[bytes]:
        seen.append(get_ident() in soft_timeout._interruptible)
        return receive(wait=wait)

    wire.receive = looked_at  # type: ignore[method-assign]
    soft_timeout._interruptible.add(get_ident())
    wire.control.look()
    assert get_ident() in soft_timeout._interruptible
    soft_timeout._interruptible.discard(get_ident())
    assert seen == [False]
