"""A child reduced to what its worker sees of it: some cells, the ring, the pipes, words in both directions. No thread, no app.

It begins what it receives in that order, as soon as a cell is free; what a task does is its name, and a method below. A method
is asked each few milliseconds until it gives an outcome.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgpack

from otpq.worker.blackboard import Blackboard
from otpq.worker.deadline import boottime_ns
from otpq.worker.frames import FrameReader, send_frame
from otpq.worker.log_ring import LogRing
from otpq.worker.packets import Greeting, Item, Outcome, unpack_packet
from otpq.worker.task_pipe import TaskReceiver

if TYPE_CHECKING:
    from otpq.worker.blackboard import Slot

ROOT = str(Path(__file__).parents[3])
BOOT = f"import sys; sys.path[:0] = [{ROOT!r}]; from tests.integration.worker.fake_child import main; main()"
TICK = 0.003

Answer = tuple[Outcome, Any] | None


class Run:
    """A task in a cell."""

    def __init__(self, lease: int, item: Item, slot: Slot) -> None:
        self.lease = lease
        self.seq = item.seq
        self.name = item.name
        self.args = msgpack.unpackb(item.payload)[0]
        self.slot = slot
        self.started = time.time()
        self.state: Any = None
        self.numbers = count(1)
        slot.begin(item.seq, lease, item.id, 1, self.started, boottime_ns())


class FakeChild:
    def __init__(self) -> None:
        self.reports = socket.socket(fileno=4)
        self.tasks = TaskReceiver.of_descriptor(3)
        self.ring = LogRing.of_descriptor(5)
        self.frames = FrameReader(self.reports)
        self.heard: list[list[Any]] = []
        frames: list[bytes] = []
        while not frames:
            frames = self.frames.receive()
        greeting = Greeting.unpack(frames[0])
        board = Blackboard(Path(greeting.blackboard))
        self.free = [board.slot(greeting.slot + cell) for cell in range(greeting.parallel)]
        self.pulse = board.slot(greeting.slot + greeting.parallel) if greeting.executor == "async" else None
        self.waiting: list[tuple[int, Item]] = []
        self.runs: list[Run] = []
        self.ballast: list[bytearray] = []
        self.is_finishing = False
        self.greeting = greeting

    def serve(self) -> None:
        send_frame(self.reports, msgpack.packb(["ready", os.getpid(), {}]))
        poll = select.poll()
        poll.register(self.tasks.fileno(), select.POLLIN)
        poll.register(self.reports.fileno(), select.POLLIN)
        while not (self.is_finishing and not self.waiting and not self.runs):
            poll.poll(TICK * 1000 if self.runs or self.pulse else None)
            self.receive()
            for run in list(self.runs):
                answer = getattr(self, run.name)(run)
                if answer is not None:
                    self.end(run, *answer)
            if self.pulse is not None and not any(run.name == "block" for run in self.runs):
                self.pulse._turn += 2
                self.pulse._words[self.pulse._word] = self.pulse._turn

    def receive(self) -> None:
        self.heard += map(msgpack.unpackb, self.frames.receive(wait=False))
        while self.free and not self.waiting and (content := self.tasks.receive()) is not None:
            packet = unpack_packet(content)
            self.is_finishing |= not packet.items
            self.waiting += [(packet.lease, item) for item in packet.items]
            while self.free and self.waiting:
                self.runs.append(Run(*self.waiting.pop(0), self.free.pop()))
        while self.free and self.waiting:
            self.runs.append(Run(*self.waiting.pop(0), self.free.pop()))
        if self.frames.closed:
            os._exit(4)

    def end(self, run: Run, outcome: Outcome, value: Any) -> None:
        run.slot.end()
        self.free.append(run.slot)
        self.runs.remove(run)
        packed = msgpack.packb(value)
        self.send("results", run.lease, [[run.seq, outcome, packed, run.started, time.time()]])

    def send(self, *words: Any) -> None:
        send_frame(self.reports, msgpack.packb(words))

    def put(self, run: Run, text: str) -> None:
        record = [run.seq, run.lease, next(run.numbers), time.time(), "out", "info", text, None]
        self.ring.put(msgpack.packb(record))

    # --- what tasks do ----------------------------------------------------------------------------------------------

    def hold(self, run: Run) -> Answer:
        """Until a file is there."""
        return (Outcome.SUCCEEDED, None) if Path(run.args[0]).exists() else None

    def greeted(self, _: Run) -> Answer:
        return Outcome.SUCCEEDED, self.greeting._asdict()

    def die(self, _: Run) -> Answer:
        os.kill(os.getpid(), signal.SIGKILL)
        return None

    def say(self, run: Run) -> Answer:
        for text in run.args:
            self.put(run, text)
        return Outcome.SUCCEEDED, None

    def say_and_hold(self, run: Run) -> Answer:
        if run.state is None:
            run.state = True
            self.put(run, run.args[0])
        return None

    def write(self, run: Run) -> Answer:
        for descriptor, text in run.args:
            os.write(descriptor, text.encode())
        return Outcome.SUCCEEDED, None

    def write_and_hold(self, run: Run) -> Answer:
        if run.state is None:
            run.state = bool(self.write(run))
        return None

    def write_and_die(self, run: Run) -> Answer:
        self.write(run)
        return self.die(run)

    def shout(self, run: Run) -> Answer:
        """Have a program write so many bytes."""
        if run.state is None:
            words = f"yes 'a line of some length, as programs write them' | head -c {run.args[0]}"
            run.state = subprocess.Popen(["/bin/sh", "-c", words])  # noqa: S603 - ours
        return None if run.state.poll() is None else (Outcome.SUCCEEDED, run.state.returncode)

    def progress(self, run: Run) -> Answer:
        for fraction, message in run.args:
            self.send("progress", run.lease, run.seq, fraction, message)
        return Outcome.SUCCEEDED, None

    def checkpoint(self, run: Run) -> Answer:
        """Until it is durable."""
        if run.state is None:
            run.state = True
            self.send("checkpoint", run.lease, run.seq, 3, b"\xc3")
        return (Outcome.SUCCEEDED, None) if ["kept", run.seq, 3] in self.heard else None

    def until_cancelled(self, run: Run) -> Answer:
        return (Outcome.CANCELLED, None) if ["cancel", run.lease, run.seq] in self.heard else None

    def until_drained(self, _: Run) -> Answer:
        return (Outcome.HANDED_OVER, None) if ["drain"] in self.heard else None

    def block(self, _: Run) -> Answer:
        """The event loop, for good."""

    def swell(self, run: Run) -> Answer:
        """By so many MiB, for good."""
        self.ballast.append(bytearray(b"x") * (run.args[0] << 20))
        return Outcome.SUCCEEDED, None

    def swell_and_hold(self, run: Run) -> Answer:
        if run.state is None:
            run.state = bool(self.swell(run))
        return None


def main() -> None:
    del sys.argv[1:]
    FakeChild().serve()
