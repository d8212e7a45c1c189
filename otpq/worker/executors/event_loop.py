"""Run several tasks at a time in one event loop: the executor `async`. Plain functions have a thread each meanwhile.

A loop that a handler blocks is seen in two ways: its pulse on the blackboard stands still, which the worker sees, and the stacks of
all threads are written to standard error by a watchdog of the interpreter, which works while C code keeps the lock, too.
"""

from __future__ import annotations

import asyncio
import faulthandler
import signal
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from otpq.context import running_context
from otpq.running import running_task
from otpq.worker.executors.calling import await_run, call, check_not_cancelled, end_fork, ended_by
from otpq.worker.executors.loops import end_loop, new_loop, run_until
from otpq.worker.executors.seats import Seats
from otpq.worker.executors.team import Team
from otpq.worker.packets import Outcome
from otpq.worker.soft_timeout import within
from otpq.worker.values import pack_value

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from otpq.worker.backing import Means, RunContext
    from otpq.worker.blackboard import Slot
    from otpq.worker.executors.calling import Ended
    from otpq.worker.executors.plans import Plan, Plans
    from otpq.worker.executors.seats import Seat
    from otpq.worker.intake import Intake

__all__ = ["BEAT", "BLOCKED", "AsyncExecutor"]

BEAT: Final = 0.25
"""Seconds between two beats of the pulse."""
BLOCKED: Final = 2.0
"""Seconds without one after which the stacks are written."""

_STDERR: Final = 2


class AsyncExecutor:
    """The loop runs in the main thread, from the first packet to the last."""

    def __init__(self, plans: Plans, slots: Sequence[Slot], pulse: Slot, means: Means) -> None:
        self._plans = plans
        self._pulse = pulse
        self._means = means
        self._seats = Seats(slots, means)
        self._loop = new_loop()
        self._team = Team(plans, means, self._await)
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_pumped = False
        """Whether a look at what is to be done is due."""
        self._is_done = False
        self._lost: OSError | None = None

    def serve(self, intake: Intake) -> None:
        """Returns when the child was asked to finish and everything it received is answered for."""
        self._intake = intake
        loop = self._loop
        loop.add_signal_handler(signal.SIGTERM, self._finish)
        self._means.control.attach(loop)
        loop.call_soon(self._beat)
        self._pump_soon()
        run_until(loop, lambda: self._is_done)
        faulthandler.cancel_dump_traceback_later()
        if self._lost is not None:
            raise self._lost

    def _finish(self) -> None:
        self._means.is_finishing = True
        self._pump_soon()

    def _beat(self) -> None:
        if self._means.is_forked:
            return
        self._pulse.beat()
        faulthandler.dump_traceback_later(BLOCKED, file=_STDERR)
        self._loop.call_later(BEAT, self._beat)

    # --- what is to be done -----------------------------------------------------------------------------------------

    def _pump_soon(self) -> None:
        """So that what ends in the same round of the loop is answered together."""
        if not self._is_pumped:
            self._is_pumped = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._is_pumped = False
        if self._means.is_forked:
            return
        try:
            self._take_in()
            self._means.outbox.flush()
        except OSError as error:  # a loop keeps what its callbacks raise to itself
            self._end(error)
            return
        if self._seats.is_empty:
            if self._intake.is_over:
                self._end(None)
                return
            self._intake.tidy()
        if self._seats.has_room and not self._intake.is_over:
            self._loop.add_reader(self._intake.fileno(), self._pump)
        else:
            self._loop.remove_reader(self._intake.fileno())

    def _take_in(self) -> None:
        seats = self._seats
        while True:
            while (seat := seats.next()) is not None:
                self._start(seat)
            packet = self._intake.receive() if seats.has_room else None
            if packet is None:
                return
            seats.put(packet)

    def _end(self, lost: OSError | None) -> None:
        self._is_done = True
        self._lost = lost
        self._loop.stop()

    # --- one task ---------------------------------------------------------------------------------------------------

    def _start(self, seat: Seat) -> None:
        plan = None
        try:
            check_not_cancelled(seat.context)
            plan = self._plans.of(seat.context.item)
        except Exception as error:  # noqa: BLE001 - it was not to be called, or cannot be
            self._note(seat, ended_by(error, seat.context, None))
            return
        if plan.is_coroutine:
            task = self._loop.create_task(self._run(seat, plan))
            self._tasks.add(task)  # a loop itself holds its tasks but weakly
            task.add_done_callback(self._tasks.discard)
        else:
            self._team.run(seat.context, partial(self._hear, seat))

    async def _run(self, seat: Seat, plan: Plan) -> None:
        context = seat.context
        running_context.set(context)  # in the context of this asyncio task alone
        running_task.set(context.item.id)
        try:
            coroutine = call(plan, *plan.arguments(context))
            if plan.soft_timeout is not None:
                coroutine = within(plan.soft_timeout, coroutine)
            value = await await_run(coroutine, context)
            if self._means.is_forked:
                end_fork(None)
            ended: Ended = Outcome.SUCCEEDED, pack_value(value), None
        except BaseException as error:  # noqa: BLE001 - the border, as in calling.py
            ended = ended_by(error, context, plan)
        self._note(seat, ended)

    def _hear(self, seat: Seat, ended: Ended) -> None:
        self._loop.call_soon_threadsafe(self._note, seat, ended)

    def _note(self, seat: Seat, ended: Ended) -> None:
        try:
            self._seats.end(seat, ended)
        except OSError as error:
            self._end(error)
        self._pump_soon()

    def _await(self, coroutine: Coroutine[Any, Any, Any], context: RunContext) -> object:
        """In one of the threads: what the coroutine gives that a plain function has returned. It belongs into the loop."""
        return asyncio.run_coroutine_threadsafe(await_run(coroutine, context), self._loop).result()

    def close(self) -> None:
        """End the loop; what still runs in it is cancelled."""
        self._team.close()
        self._means.control.detach(self._loop)
        end_loop(self._loop)
