"""Unit tests: one thread, no waiting. What would start the clock is replaced, and a test that starts a thread fails."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from otpq.otp import Registry, process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(autouse=True)
def no_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("otpq.otp.watch.call_later", lambda _seconds, _function: None)
    before = set(threading.enumerate())
    yield
    process.leave()
    assert [thread for thread in threading.enumerate() if thread not in before] == []


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def make(registry: Registry) -> Callable[..., process.Process]:
    """Make a process without a thread: a mailbox, links and monitors that the test itself works."""

    def make(label: str = "p", *, trap_exit: bool = False) -> process.Process:
        made = process.Process(label, registry, trap_exit=trap_exit)
        registry.enter(made.pid)  # as its thread's start would
        return made

    return make
