"""When a soft timeout may be raised in a thread, and when it has to wait."""

from __future__ import annotations

import signal
import threading
import time
from threading import get_ident
from typing import TYPE_CHECKING

import pytest

from otpq.endings import SoftTimeout
from otpq.worker import soft_timeout
from otpq.worker.soft_timeout import Alarm, Interruption, uninterrupted

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def timers(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the alarm clock was set to, instead of setting it."""
    found: list[float] = []
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(signal, "setitimer", lambda _which, seconds: found.append(seconds))
    return found


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    yield
    assert get_ident() not in soft_timeout._interruptible
    assert soft_timeout._depths == {}


def test_an_alarm_rings_in_the_handler_and_nowhere_else(timers: list[float]) -> None:
    alarm = Alarm(1000.0)
    with alarm, pytest.raises(SoftTimeout, match="of 1000 s is over"):
        alarm._ring(0, None)
    alarm._ring(0, None)  # a signal that came too late
    assert timers == [1000.0, 0]


def test_an_alarm_waits_while_our_own_code_runs(timers: list[float]) -> None:
    alarm = Alarm(1000.0)
    with alarm:
        with uninterrupted:
            with uninterrupted:
                alarm._ring(0, None)
            alarm._ring(0, None)
        with pytest.raises(SoftTimeout):
            alarm._ring(0, None)
    assert timers == [1000.0, soft_timeout._SHORTLY, soft_timeout._SHORTLY, 0]


def test_nothing_is_to_be_put_off_where_nothing_can_come() -> None:
    with uninterrupted:
        assert soft_timeout._depths == {}


def test_a_thread_is_interrupted_when_our_own_code_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    class Timer:
        """Never rings by itself."""

        def __init__(self, _seconds: float, _fire: object) -> None: ...
        def start(self) -> None: ...
        def cancel(self) -> None: ...

    monkeypatch.setattr(threading, "Timer", Timer)
    interruption = Interruption(1000.0)
    waits: list[float] = []
    raised: list[object] = []
    with interruption:
        monkeypatch.setattr(interruption, "_raise", lambda *_: raised.append(len(waits)))
        with uninterrupted:

            def let_go(seconds: float) -> None:
                waits.append(seconds)
                if len(waits) == 3:
                    uninterrupted.__exit__()

            monkeypatch.setattr(time, "sleep", let_go)
            interruption._fire()
            uninterrupted.__enter__()
    assert raised == [3]
    interruption._fire()
    assert raised == [3]


def test_what_comes_as_a_bare_class_gets_its_words() -> None:
    with pytest.raises(SoftTimeout, match="its soft timeout of 1000 s is over"), Interruption(1000.0):
        raise SoftTimeout
