from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.otp.process import Process


def test_a_pid_shows_its_label_and_its_incarnation(make: Callable[..., Process]) -> None:
    pid = make("till").pid
    assert repr(pid) == str(pid) == f"<till#{pid.incarnation}>"


def test_two_incarnations_of_the_same_label_are_different_pids(make: Callable[..., Process]) -> None:
    first, second = make("till").pid, make("till").pid
    assert first != second
    assert first.incarnation < second.incarnation
    assert len({first, second, first}) == 2


def test_a_pid_means_the_same_process_for_ever(make: Callable[..., Process]) -> None:
    process = make()
    assert process.pid.process is process
