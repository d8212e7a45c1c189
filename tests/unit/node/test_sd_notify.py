from __future__ import annotations

import math
import re

import pytest

from otpq.node.sd_notify import ServiceManager


def test_without_a_socket_nobody_is_told_and_nothing_is_waited_for() -> None:
    environment = {"WATCHDOG_USEC": "1000000", "HOME": "/root"}
    manager = ServiceManager.of(environment, 7)
    manager.ready("serves")
    manager.alive()
    assert manager.beat == math.inf
    assert environment == {"HOME": "/root"}


@pytest.mark.parametrize(
    ("usec", "pid", "beat"),
    [("3000000", "", 1.5), ("3000000", "7", 1.5), ("3000000", "8", math.inf), ("", "", math.inf), ("0", "7", math.inf)],
)
def test_the_watchdog_waits_for_two_signs_in_its_time_and_for_those_of_one_process(
    usec: str, pid: str, beat: float
) -> None:
    environment = {"NOTIFY_SOCKET": "/run/notify", "WATCHDOG_USEC": usec, "WATCHDOG_PID": pid}
    assert ServiceManager.of(environment, 7).beat == beat
    assert environment == {}, "what the node starts does not inherit it"


def test_an_address_of_another_kind_is_told_of_and_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    assert ServiceManager.of({"NOTIFY_SOCKET": "vsock:2:1", "WATCHDOG_USEC": "9"}, 7).beat == math.inf
    assert "vsock:2:1" in caplog.text


def test_what_it_is_told() -> None:
    said: list[bytes] = []
    manager = ServiceManager(said.append, 10.0)
    manager.status("looks for the leader")
    manager.ready("serves")
    manager.alive()
    manager.reloading("reloading")
    manager.stopping("one\nline")
    assert re.fullmatch(rb"RELOADING=1\nMONOTONIC_USEC=\d+\nSTATUS=reloading", said.pop(3))
    assert said == [
        b"STATUS=looks for the leader",
        b"READY=1\nSTATUS=serves",
        b"WATCHDOG=1",
        b"STOPPING=1\nSTATUS=one line",
    ]
