from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from otpq.otp import TimerRef, clock
from otpq.otp.clock import call_later

if TYPE_CHECKING:
    import pytest


def test_a_timer_is_taken_once_by_whoever_asks_first() -> None:
    def ring() -> None:
        raise NotImplementedError

    timer = TimerRef(7.0, ring)
    assert timer.due == 7.0
    assert timer.take() is ring
    assert timer.take() is None


def test_a_timer_is_cancelled_once() -> None:
    timer = TimerRef(7.0, lambda: None)
    assert timer.cancel()
    assert not timer.cancel()
    assert timer.take() is None


def test_cancelled_timers_do_not_gather_and_the_others_stay_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    class Running:
        """The clock's thread, as far as `call_later` asks about it."""

        def is_alive(self) -> bool:
            return True

    heap: list[tuple[float, int, TimerRef]] = []
    monkeypatch.setattr(clock, "_heap", heap)
    monkeypatch.setattr(clock, "_cancelled", 0)
    monkeypatch.setattr(clock, "_thread", Running())
    timers = [call_later(1e9 - number, lambda: None) for number in range(1000)]
    for number, timer in enumerate(timers):
        if number % 100:
            timer.cancel()
    assert len(heap) < 500
    left = [heapq.heappop(heap)[2] for _ in range(len(heap))]
    assert [timer for timer in left if timer.take() is not None] == timers[::100][::-1]
    monkeypatch.undo()
    with clock._wake:
        clock._wake.notify()  # a clock that runs for others was woken, and waits for the first timer of this heap
