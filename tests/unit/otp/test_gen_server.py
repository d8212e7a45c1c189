from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from otpq.otp import (
    AlreadyStarted,
    BadSpec,
    GenServer,
    Normal,
    Registry,
    StartFailed,
    Supervisor,
    UsageError,
    attach,
)
from otpq.otp.process import Process

if TYPE_CHECKING:
    from collections.abc import Callable


class Till(GenServer):
    """A server that these tests never get to run."""


def test_a_child_spec_says_what_the_class_says() -> None:
    spec = Till.child_spec()
    assert (spec.id, spec.restart, spec.shutdown, spec.type, spec.significant) == (
        "Till",
        "permanent",
        5.0,
        "worker",
        False,
    )
    assert Supervisor.child_spec().type == "supervisor"
    assert Supervisor.child_spec().shutdown == math.inf


def test_a_child_spec_takes_other_words() -> None:
    spec = Till.child_spec(id="till", restart="transient", shutdown="brutal_kill", significant=True)
    assert (spec.id, spec.restart, spec.shutdown, spec.significant) == ("till", "transient", "brutal_kill", True)


def test_a_child_spec_hands_the_rest_on_to_start_link(monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[Any] = []
    monkeypatch.setattr(Till, "start_link", lambda *args, **kwargs: got.append((args, kwargs)))
    Till.child_spec(1, 2, id="till", name="main", float=3).start()
    assert got == [((1, 2), {"name": "main", "float": 3})]


def test_a_child_spec_is_checked_when_made() -> None:
    with pytest.raises(BadSpec, match="restart='always' is not allowed: one of 'permanent'"):
        Till.child_spec(restart="always")  # type: ignore[arg-type]


def test_start_link_needs_somebody_to_link_to() -> None:
    with pytest.raises(UsageError) as caught:
        Till.start_link()
    expected = "Till.start_link needs a process to do it: inside a server, or in `with attach() as me:`"
    assert str(caught.value) == expected


def test_a_name_needs_a_registry_that_others_can_look_in() -> None:
    with pytest.raises(UsageError) as caught:
        Till.start(name="till")
    assert str(caught.value) == "name='till' needs a registry that others can look in: pass registry=Registry()"


@pytest.mark.parametrize("timeout", [-1, math.nan, "5", None, True])
def test_a_start_refuses_a_bad_timeout(registry: Registry, timeout: Any) -> None:
    with attach(registry=registry) as me:
        for start in (Till.start, Till.start_link):
            with pytest.raises(UsageError) as caught:
                start(timeout=timeout)
            assert f"timeout={timeout!r} is not allowed: seconds, 0 or more" in str(caught.value)
        assert registry.processes() == [me.pid]


@pytest.mark.parametrize("name", ["", 7, b"till", ["till"]])
def test_a_start_refuses_a_bad_name_and_leaves_nothing(registry: Registry, name: Any) -> None:
    with pytest.raises(UsageError) as caught:
        Till.start(name=name, registry=registry)
    assert str(caught.value) == f"name={name!r} is not allowed: a non-empty text"
    assert registry.processes() == []


def test_a_start_under_a_taken_name_says_who_holds_it(registry: Registry, make: Callable[..., Process]) -> None:
    holder = make().pid
    registry.register("till", holder)
    with attach(registry=registry, trap_exit=True) as me:
        with pytest.raises(AlreadyStarted) as caught:
            Till.start_link(name="till")
        assert caught.value.pid is holder
        assert str(caught.value) == f"Till did not start: the name 'till' is held by {holder!r}"
        assert registry.processes() == [holder, me.pid]
        with pytest.raises(TimeoutError):
            me.receive(0)


@pytest.mark.parametrize("limit", ["5", -1, 1.5, True])
def test_a_start_refuses_a_bad_mailbox_limit(registry: Registry, limit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Till, "mailbox_limit", limit)
    monkeypatch.setattr(Process, "_start_actor_loop", lambda process: process.die(Normal()))
    with pytest.raises(UsageError, match="mailbox_limit="):
        Till.start(registry=registry)


def test_a_start_without_a_thread_to_be_had_fails_cleanly(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(_process: Process) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Process, "_start_actor_loop", no_thread)
    with pytest.raises(StartFailed, match="Till did not start: RuntimeError: can't start new thread"):
        Till.start(name="till", registry=registry)
    assert registry.processes() == registry.zombies() == []
    assert registry.whereis("till") is None


def test_the_default_state_is_the_attributes_of_the_server_without_its_process(make: Callable[..., Process]) -> None:
    server = Till()
    server._process = make()
    server.value = 7  # type: ignore[attr-defined]
    assert server.format_state() == {"value": 7}


def test_a_server_knows_its_pid_and_its_registry(make: Callable[..., Process], registry: Registry) -> None:
    server = Till()
    server._process = make()
    assert server.pid is server._process.pid
    assert server.registry is registry


def test_what_a_server_owns_its_process_owns(make: Callable[..., Process]) -> None:
    server = Till()
    server._process = make()
    released: list[str] = []
    server.own(lambda: released.append("a"))
    disown = server.own(lambda: released.append("b"))
    disown()
    server._process.die(Normal())
    assert released == ["a"]
