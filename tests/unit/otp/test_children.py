from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from otpq.otp import (
    BadReturn,
    ChildCounts,
    ChildInfo,
    ChildSpec,
    Crash,
    Failure,
    Killed,
    Normal,
    ProcessExit,
    StartFailed,
    StartIgnored,
)
from otpq.otp.children import RESTARTING, Child, count, start
from otpq.otp.process import enter

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.otp import Pid
    from otpq.otp.child_spec import ChildType
    from otpq.otp.process import Process


def child(function: Callable[..., Any], type: ChildType = "worker", **fields: Any) -> Child:
    return Child(ChildSpec(id="till", start=function, type=type), **fields)


def raising(error: BaseException) -> Callable[[], Pid]:
    def function() -> Pid:
        raise error

    return function


def test_the_pid_of_a_started_child_is_given_back(make: Callable[..., Process]) -> None:
    pid = make().pid
    assert start(child(lambda: pid)) is pid


def test_a_child_is_started_with_its_arguments() -> None:
    got: list[Any] = []

    def function(*args: object, **kwargs: object) -> None:
        got.append((args, kwargs))
        raise StartIgnored

    start(child(function, args=(1, 2), kwargs={"c": 3}))
    start(child(function))
    assert got == [((1, 2), {"c": 3}), ((), {})]


def test_a_child_that_ignores_has_no_pid() -> None:
    assert start(child(raising(StartIgnored()))) is None


def test_a_failed_start_comes_as_it_is() -> None:
    error = StartFailed("Till", Failure("empty"))
    with pytest.raises(StartFailed) as caught:
        start(child(raising(error)))
    assert caught.value is error


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(1), KeyboardInterrupt()], ids=repr)
def test_whatever_a_start_raises_is_a_failed_start(error: BaseException) -> None:
    with pytest.raises(StartFailed) as caught:
        start(child(raising(error)))
    assert caught.value.reason == Crash(error)
    assert caught.value.__cause__ is error
    assert str(caught.value).startswith("till did not start: ")


def test_a_start_that_exits_fails_with_that_reason(make: Callable[..., Process]) -> None:
    enter(make())
    with pytest.raises(StartFailed) as caught:
        start(child(raising(ProcessExit(Failure("own end")))))
    assert caught.value.reason == Failure("own end")


def test_the_end_of_the_supervisor_itself_is_no_failed_start(make: Callable[..., Process]) -> None:
    supervisor = make()
    enter(supervisor)
    supervisor.die(Killed())
    with pytest.raises(ProcessExit) as caught:
        start(child(raising(ProcessExit(Killed()))))
    assert caught.value.reason == Killed()


@pytest.mark.parametrize("value", [None, "till", 7])
def test_a_start_gives_back_a_pid_and_nothing_else(value: object) -> None:
    with pytest.raises(StartFailed) as caught:
        start(child(lambda: value))
    assert isinstance(caught.value.reason, Crash)
    assert isinstance(caught.value.reason.error, BadReturn)
    assert (
        str(caught.value.reason.error)
        == f"start of child 'till' returned {value!r}; it may return the Pid of the child"
    )


def test_children_are_counted_by_what_they_are_and_whether_they_run(make: Callable[..., Process]) -> None:
    living, dead = make(), make()
    dead.die(Normal())
    children = [
        child(make, pid=living.pid),
        child(make, "supervisor", pid=living.pid),
        child(make, pid=dead.pid),
        child(make, "supervisor", pid=RESTARTING),
        child(make, pid=None),
    ]
    assert count(children, 5) == ChildCounts(specs=5, active=2, supervisors=2, workers=3)
    assert count([], 0) == ChildCounts(0, 0, 0, 0)


def test_a_child_shows_as_a_row() -> None:
    assert child(raising(StartIgnored()), restarts=2).info == ChildInfo("till", None, "worker", 2)
