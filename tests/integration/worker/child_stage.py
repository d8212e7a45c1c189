"""A child with all its descriptors, driven by hand: what it is told while it runs tasks, and what it tells."""

from __future__ import annotations

import itertools
import os
import select
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgpack

from otpq.worker.blackboard import Blackboard, SlotView
from otpq.worker.child import BOOT
from otpq.worker.frames import FrameReader, send_frame
from otpq.worker.log_ring import LogRing
from otpq.worker.packets import FINISH, Greeting, Item, pack_packet
from otpq.worker.reports import Checkpoint, Progress, Ready, Refused, Report, Result, Results, read_report
from otpq.worker.task_pipe import task_pipe
from otpq.worker.warden_client import Program

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otpq.worker.warden_client import WardenClient

__all__ = ["Stage", "StartStage"]

_FLOOR = str(Path(__file__).parents[3])


class Line:
    """One record of the ring."""

    def __init__(self, record: bytes) -> None:
        self.seq, self.lease, self.number, self.time, self.stream, self.level, self.text, self.fields = msgpack.unpackb(
            record
        )

    def __repr__(self) -> str:
        return f"{self.seq}/{self.number} {self.stream} {self.level}: {self.text} {self.fields or ''}"


class Stage:
    """One child and the other ends of its descriptors."""

    def __init__(
        self,
        warden: WardenClient,
        directory: Path,
        app: str,
        *,
        executor: str = "process",
        parallel: int = 1,
        script_dirs: Sequence[str] = (),
    ) -> None:
        self.board = Blackboard.create(directory / f"board-{time.monotonic_ns()}", parallel + 1)
        self.parallel = parallel
        self.ring = LogRing.create()
        self._sender, self._duplicate = task_pipe(portable=warden.portable)
        self._reports, theirs = socket.socketpair()
        self._reader = FrameReader(self._reports)
        self._out, out = os.pipe()
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        greeting = Greeting(
            app, str(self.board.path), 0, list(sys.path), warden.portable, executor, parallel, list(script_dirs)
        )
        send_frame(self._reports, greeting.pack())
        self.running = warden.launch(
            Program((sys.executable, "-c", BOOT, _FLOOR, "otpq-child")),
            (null, out, out, self._duplicate.fileno(), theirs.fileno(), self.ring.descriptor, null),
        )
        os.set_blocking(self._out, False)
        theirs.close()
        for each in (null, out):
            os.close(each)
        self._numbers = itertools.count(1)
        self._reports_read: list[Report] = []
        self.handlers = self._ready().handlers

    def _ready(self) -> Ready:
        report = self.report(Ready, Refused)
        assert isinstance(report, Ready), report
        return report

    @property
    def pid(self) -> int:
        return self.running.pid

    # --- to the child

    def give(
        self,
        name: str,
        *args: Any,
        lease: int = 1,
        options: dict[str, Any] | None = None,
        kept: Any = None,
        **kwargs: Any,
    ) -> int:
        """Send one task; its seq."""
        item = self.item(name, *args, options=options, kept=kept, **kwargs)
        self.send(lease, [item])
        return item.seq

    def item(
        self, name: str, *args: Any, options: dict[str, Any] | None = None, kept: Any = None, **kwargs: Any
    ) -> Item:
        seq = next(self._numbers)
        return Item(
            seq,
            seq.to_bytes(16, "big"),
            name,
            1,
            b"" if options is None else msgpack.packb(options),
            msgpack.packb([list(args), kwargs]),
            None if kept is None else msgpack.packb(kept),
        )

    def send(self, lease: int, items: Sequence[Item]) -> None:
        assert self._sender.send(pack_packet(lease, items))

    def tell(self, *words: Any) -> None:
        """Send a control frame."""
        send_frame(self._reports, msgpack.packb(words))

    def finish(self) -> None:
        assert self._sender.send(FINISH)

    def take_back(self) -> int:
        """How many packets the child had not received."""
        return len(self._duplicate.take_back())

    # --- from the child

    def report(self, *kinds: type, timeout: float = 20.0) -> Report:
        """The next report of these kinds; others stay for later."""
        deadline = time.monotonic() + timeout
        while True:
            for at, report in enumerate(self._reports_read):
                if isinstance(report, kinds):
                    return self._reports_read.pop(at)
            assert not self._reader.closed, f"the child has ended: {self.printed()}"
            left = deadline - time.monotonic()
            assert left > 0, f"no {kinds} in time; {self._reports_read}; {self.printed()}"
            if select.select([self._reports], [], [], left)[0]:
                self._reports_read += [read_report(content) for content in self._reader.receive(wait=False)]

    def results(self, count: int) -> list[Result]:
        """The next `count` results, in the order they came."""
        found: list[Result] = []
        while len(found) < count:
            report = self.report(Results)
            assert isinstance(report, Results)
            found.extend(report.results)
        return found

    def result(self) -> Result:
        (result,) = self.results(1)
        return result

    def value(self, name: str, *args: Any, **kwargs: Any) -> Any:
        self.give(name, *args, **kwargs)
        return msgpack.unpackb(self.result().value, timestamp=3)

    def progress(self) -> Progress:
        report = self.report(Progress)
        assert isinstance(report, Progress)
        return report

    def told(self) -> Sequence[Report]:
        """What has come by now, but for results."""
        while select.select([self._reports], [], [], 0)[0] and not self._reader.closed:
            self._reports_read += [read_report(content) for content in self._reader.receive(wait=False)]
        found = [report for report in self._reports_read if not isinstance(report, Results)]
        self._reports_read = [report for report in self._reports_read if isinstance(report, Results)]
        return found

    def checkpoint(self) -> Checkpoint:
        report = self.report(Checkpoint)
        assert isinstance(report, Checkpoint)
        return report

    def keep(self) -> Any:
        """Wait for a checkpoint and say that it is kept; its value."""
        asked = self.checkpoint()
        self.tell("kept", asked.seq, asked.number)
        return msgpack.unpackb(asked.value)

    def lines(self) -> list[Line]:
        return [Line(record) for record in self.ring.take()]

    def printed(self) -> str:
        """What came over its own standard output and error."""
        found = b""
        while True:
            try:
                part = os.read(self._out, 65536)
            except BlockingIOError:
                break
            if not part:
                break
            found += part
        return found.decode()

    def slots(self) -> list[SlotView]:
        return [self.board.read(slot) for slot in range(self.parallel)]

    def begun(self) -> list[int]:
        """The seqs of the tasks that run."""
        return sorted(view.running.seq for view in self.slots() if view.running is not None)

    def close(self) -> None:
        self.running.kill()
        for each in (self._sender, self._duplicate, self._reports, self.ring):
            each.close()
        os.close(self._out)


StartStage = Callable[..., Stage]
"""The fixture `start_stage`: an app's source and settings to a child that is ready."""
