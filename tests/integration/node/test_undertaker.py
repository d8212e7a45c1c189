"""Deaths that are proven after the start of their successor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otpq.core.events import NodeLost
from otpq.node.undertaker import Undertaker
from otpq.otp import Down, GenServer, Normal, Reply, attach, call, monitor
from otpq.worker import tombstone

if TYPE_CHECKING:
    from pathlib import Path


class Listener(GenServer):
    """Keeps what it is told."""

    def init(self) -> None:
        self._told: list[Any] = []

    def handle_cast(self, request: Any) -> None:
        self._told += request

    def handle_call(self, _request: Any, _caller: Any) -> Reply:
        return Reply(self._told)


def test_a_late_tombstone_is_told_once_and_stays_until_no_lease_needs_it(tmp_path: Path) -> None:
    with attach(trap_exit=True) as me:
        listener = Listener.start_link(name="listener")
        undertaker = Undertaker.start_link(tmp_path, "a@h", "listener", looks=3)
        tombstone.write(tmp_path, "a@h", "one", "gone")
        ref = monitor(undertaker)
        while not isinstance(down := me.receive(timeout=20.0), Down):
            pass
        assert (down.ref, down.reason) == (ref, Normal())
        assert call(listener, "told") == [
            NodeLost(node="a@h", incarnation="one", started=None, is_complete=False),
        ]
    assert [file.name for file in tmp_path.iterdir()] == ["tombstone.one"]


def test_a_queue_server_that_is_not_there_yet_hears_of_it_later(tmp_path: Path) -> None:
    tombstone.write(tmp_path, "a@h", "one", "gone")
    with attach(trap_exit=True) as me:
        undertaker = Undertaker.start_link(tmp_path, "a@h", "listener", looks=1)
        monitor(undertaker)
        while not isinstance(me.receive(timeout=20.0), Down):
            pass
    assert [file.name for file in tmp_path.iterdir()] == ["tombstone.one"]
