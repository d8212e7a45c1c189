"""What `otpq/otp/process.py` uses of Pykka beyond its public API: an update that changes it fails here, loudly."""

from __future__ import annotations

import queue
import threading
from importlib.metadata import version
from queue import SimpleQueue
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pykka
import pytest

from otpq.otp import Killed
from otpq.otp.process import Process

if TYPE_CHECKING:
    from collections.abc import Callable


class Plain(pykka.ThreadingActor):
    """An actor as Pykka means it."""


class FakeThread:
    """A thread that is not started: it says what it was made for."""

    made: list[FakeThread]

    def __init__(self, *, target: Callable[[], None], name: str) -> None:
        self.target = target
        self.name = name
        self.daemon: bool | None = None
        self.was_daemon_at_start: bool | None = None
        self.made.append(self)

    def start(self) -> None:
        self.was_daemon_at_start = self.daemon


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[FakeThread]:
    made: list[FakeThread] = []
    monkeypatch.setattr(FakeThread, "made", made, raising=False)
    monkeypatch.setattr("pykka._threading.threading", SimpleNamespace(Thread=FakeThread))
    return made


def test_it_is_the_pykka_that_was_read() -> None:
    major, minor = (int(part) for part in version("pykka").split(".")[:2])
    assert major == 4
    assert minor >= 5


def test_construction_takes_no_argument_and_sets_the_four_attributes() -> None:
    actor = Plain()
    assert actor.actor_urn.startswith("urn:uuid:")
    assert isinstance(actor.actor_inbox, queue.Queue)
    assert isinstance(actor.actor_stopped, threading.Event)
    assert not actor.actor_stopped.is_set()
    assert isinstance(actor._actor_ref, pykka.ActorRef)
    assert actor._actor_ref.actor_urn == actor.actor_urn


def test_the_inbox_is_what_create_actor_inbox_gives() -> None:
    inbox: Any = SimpleQueue()

    class WithInbox(pykka.ThreadingActor):
        @staticmethod
        def _create_actor_inbox() -> Any:
            return inbox

    assert WithInbox().actor_inbox is inbox


def test_a_process_has_an_inbox_of_its_own(make: Callable[..., Process]) -> None:
    first, second = make(), make()
    assert isinstance(first.actor_inbox, SimpleQueue)
    assert first.actor_inbox is not second.actor_inbox


def test_the_actor_knows_its_reference_and_the_reference_whether_it_stopped(make: Callable[..., Process]) -> None:
    process = make()
    assert process.actor_ref.is_alive()
    process.die(Killed())
    assert process.actor_stopped.is_set()
    assert not process.actor_ref.is_alive()


def test_construction_without_start_leaves_the_global_registry_untouched(make: Callable[..., Process]) -> None:
    before = pykka.ActorRegistry.get_all()
    Plain()
    process = make()
    process.die(Killed())
    assert pykka.ActorRegistry.get_all() == before


def test_start_actor_loop_starts_one_thread_that_runs_actor_loop(threads: list[FakeThread]) -> None:
    actor = Plain()
    actor._start_actor_loop()
    (thread,) = threads
    assert thread.target == actor._actor_loop
    assert thread.was_daemon_at_start is False
    assert pykka.ActorRegistry.get_all() == []


def test_a_process_starts_a_daemon_thread_that_runs_its_own_loop(
    make: Callable[..., Process], threads: list[FakeThread]
) -> None:
    process = make()
    process.start_thread()
    (thread,) = threads
    assert thread.target == process._actor_loop
    assert Process._actor_loop is not pykka.ThreadingActor._actor_loop
    assert thread.was_daemon_at_start is True
    assert pykka.ActorRegistry.get_all() == []


def test_a_future_gives_what_it_was_set_to() -> None:
    future: pykka.Future[str] = pykka.ThreadingFuture()
    future.set("value")
    assert future.get(timeout=0) == "value"
    assert future.get() == "value"
    assert future.get(timeout=threading.TIMEOUT_MAX) == "value"


def test_a_future_may_be_set_to_none() -> None:
    future: pykka.Future[None] = pykka.ThreadingFuture()
    future.set(None)
    assert future.get(timeout=0) is None


def test_a_future_that_is_not_set_times_out() -> None:
    future: pykka.Future[str] = pykka.ThreadingFuture()
    with pytest.raises(pykka.Timeout):
        future.get(timeout=0)
    future.set("late")
    assert future.get(timeout=0) == "late"


def test_a_future_is_set_once() -> None:
    future: pykka.Future[str] = pykka.ThreadingFuture()
    future.set("first")
    with pytest.raises(queue.Full):
        future.set("second")
    assert future.get(timeout=0) == "first"


def test_futures_are_hashable_by_identity() -> None:
    first: pykka.Future[str] = pykka.ThreadingFuture()
    second: pykka.Future[str] = pykka.ThreadingFuture()
    assert len({first, second, first}) == 2
