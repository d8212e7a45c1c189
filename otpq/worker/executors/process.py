"""Run tasks one at a time, in the child's main thread: the executors `process` and `script`."""

from __future__ import annotations

import contextlib
import signal
import time
from typing import TYPE_CHECKING

from otpq.context import running_context
from otpq.running import running_task
from otpq.worker.backing import RunContext
from otpq.worker.deadline import boottime_ns
from otpq.worker.executors.calling import Caller
from otpq.worker.packets import HURRY, Outcome
from otpq.worker.soft_timeout import uninterrupted

if TYPE_CHECKING:
    from types import FrameType

    from otpq.worker.backing import Means
    from otpq.worker.blackboard import Slot
    from otpq.worker.executors.plans import Plans
    from otpq.worker.intake import Intake
    from otpq.worker.packets import Packet

__all__ = ["ProcessExecutor"]

_QUICK = 0.0005
"""Seconds. Results are held back only behind tasks of handlers whose latest run was shorter, so that they are not late."""


class ProcessExecutor:
    """Runs packets. Nothing that a handler raises leaves it, only the loss of the node (`OSError`)."""

    def __init__(self, plans: Plans, slot: Slot, means: Means) -> None:
        self._caller = Caller(plans, means)
        self._slot = slot
        self._means = means
        self._quick: set[str] = set()
        self._latest: RunContext | None = None

    def serve(self, intake: Intake) -> None:
        """Returns when the child was asked to finish and everything it received is answered for."""
        signal.signal(HURRY, self._hurry)
        try:
            while True:
                packet = intake.receive()
                if packet is not None:
                    self.run(packet)
                    intake.tidy()
                    continue
                self._means.outbox.flush()  # nothing to do is the moment to send
                running_context.set(None)
                running_task.set(None)
                if intake.is_over:
                    return
                intake.wait()
        except ConnectionError:
            raise
        except OSError:
            self._blame()
            raise

    def _hurry(self, _number: int, _frame: FrameType | None) -> None:
        """Send what waits behind the run that we are in the middle of, which was expected to be quick and is not."""
        if self._slot.is_running:  # else it may be the outbox that we are in the middle of, and nothing waits for long
            with uninterrupted, contextlib.suppress(OSError):  # the loss of the node is for `serve` to find
                self._means.outbox.flush()

    def _blame(self) -> None:
        """Our descriptors are not ours any more. If only one task can have closed them, have the blackboard name it."""
        outbox, context = self._means.outbox, self._latest
        try:
            outbox.flush()
        except OSError:
            if context is not None and outbox.unsent == 1:
                item = context.item
                self._slot.begin(item.seq, context.lease, item.id, item.attempt, time.time(), boottime_ns())

    def run(self, packet: Packet) -> None:
        """Run its tasks in their order; their results go to the outbox."""
        means, slot, quick, lease = self._means, self._slot, self._quick, packet.lease
        outbox, run = means.outbox, self._caller.run
        for item in packet.items:
            now_ns = boottime_ns()
            if item.name not in quick or outbox.is_due(now_ns):
                outbox.flush()
            if means.is_finishing:
                outbox.add(lease, item.seq, Outcome.RETURNED, b"", 0.0, 0.0, now_ns)
                continue
            started = time.time()
            slot.begin(item.seq, lease, item.id, item.attempt, started, now_ns)
            context = self._latest = RunContext(means, lease, item)
            running_context.set(context)
            running_task.set(item.id)
            outcome, value, delay = run(context)
            context.is_over = True
            if means.open:
                means.close(lease, item.seq)
            slot.end()
            finished = time.time()
            outbox.add(lease, item.seq, outcome, value, started, finished, now_ns, delay)
            if finished - started > _QUICK or item.name not in quick:
                self._learn(item.name, finished - started)

    def _learn(self, name: str, seconds: float) -> None:
        if seconds > _QUICK:
            self._quick.discard(name)
        else:
            self._quick.add(name)

    def close(self) -> None:
        """End the event loop, if handlers had one."""
        self._caller.close()
