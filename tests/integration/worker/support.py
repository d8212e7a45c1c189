"""What a test does to one child, in words."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgpack

from otpq.worker.packets import Item, pack_packet
from otpq.worker.reports import Result, Results

if TYPE_CHECKING:
    from otpq.worker.blackboard import Blackboard
    from otpq.worker.child_link import ChildLink

BUSY_APP = f"{Path(__file__).with_name('busy_app.py')}:app"


class Hand:
    """One child."""

    def __init__(self, link: ChildLink, board: Blackboard, slot: int) -> None:
        self.link = link
        self.board = board
        self.slot = slot
        self._numbers = itertools.count(1)

    def give(self, name: str, *args: Any, lease: int = 1, **kwargs: Any) -> int:
        """Send one task; its seq."""
        seq, packet = self.packet(name, *args, lease=lease, **kwargs)
        assert self.link.send(packet)
        return seq

    def packet(self, name: str, *args: Any, lease: int = 1, **kwargs: Any) -> tuple[int, bytes]:
        seq = next(self._numbers)
        return seq, pack_packet(lease, [item(seq, name, *args, **kwargs)])

    def results(self, count: int, timeout: float = 10.0) -> list[Result]:
        """The next `count` results."""
        found: list[Result] = []
        while len(found) < count:
            reports = self.link.read(timeout)
            assert reports, f"{len(found)} of {count} results"
            for report in reports:
                assert isinstance(report, Results)
                found.extend(report.results)
        return found

    def run(self, name: str, *args: Any, **kwargs: Any) -> Result:
        """Send one task and wait for its result."""
        seq = self.give(name, *args, **kwargs)
        (result,) = self.results(1)
        assert result.seq == seq
        return result

    def value(self, name: str, *args: Any, **kwargs: Any) -> Any:
        return msgpack.unpackb(self.run(name, *args, **kwargs).value)


def item(seq: int, name: str, *args: Any, **kwargs: Any) -> Item:
    payload = msgpack.packb([list(args), kwargs])
    return Item(seq, seq.to_bytes(16, "big"), name, 1, b"", payload)


StartChild = Callable[..., Hand]
"""The fixture `start_child`: an app's reference and settings to a child that is ready."""
