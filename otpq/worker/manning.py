"""Manning: a pool's hands. It starts workers and has them leave, as `staff.py` decides, and carries out operators' orders.

For the pool, in its thread. A worker's start takes a millisecond; its end is waited for only when its child is gone.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Final

from otpq.otp import CallFailed, StartFailed, Supervisor, cast, demonitor, monitor, whereis
from otpq.queue.messages import Scale
from otpq.worker.orders import Finish, Welcome
from otpq.worker.sizing import Sizing
from otpq.worker.staff import Seat, Staff
from otpq.worker.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.otp import Down, MonitorRef, Pid
    from otpq.queue.messages import Reload
    from otpq.worker.desk import Desk
    from otpq.worker.orders import ChildGone, ChildReady
    from otpq.worker.pool_config import PoolConfig

__all__ = ["Manning"]

logger = logging.getLogger("otpq.worker")

_DRAINED: Final = "the pool is being drained"


class Manning:
    """The workers of one pool."""

    def __init__(self, config: PoolConfig, desk: Desk, answer: Callable[[int, dict[str, Any]], None]) -> None:
        """`answer` tells what became of an order, by its number."""
        self.staff = Staff(Sizing(config.size, max(config.size, config.most or 0), config.idle), config.places)
        self._config = config
        self._desk = desk
        self._answer = answer
        self._supervisor: Pid | None = None
        self._supervisor_ref: MonitorRef | None = None
        self._reload: int | None = None
        """The number of the reload that is under way."""

    # --- their supervisor -------------------------------------------------------------------------------------------

    def take_over(self) -> None:
        """End the workers of a pool that crashed: nobody knows any more what they have. Those that follow are ours."""
        supervisor = whereis(self._config.staff)
        if supervisor is not None:
            for child in Supervisor.which_children(supervisor):
                self._remove(supervisor, str(child.id))
            self.supervisor_up(supervisor)

    def supervisor_up(self, supervisor: Pid) -> None:
        """There is a supervisor to start workers under."""
        if self._supervisor is not supervisor:
            self._supervisor, self._supervisor_ref = supervisor, monitor(supervisor)

    def ended(self, down: Down) -> list[Seat]:
        """The seats of which the worker is gone, through the end of a process that was monitored."""
        if down.ref is self._supervisor_ref:
            self._supervisor = self._supervisor_ref = None
            self.end_reload("the supervisor of the workers ended")
            return self.staff.clear()
        seats = self.staff.of(down.ref)
        for seat in seats:
            seat.child, seat.error = None, f"its worker ended: {down.reason!r}"
            seat.is_over = self._desk.is_closed
        return seats

    # --- how many ---------------------------------------------------------------------------------------------------

    def size(self) -> None:
        """Think about how many workers there should be; once a beat."""
        seats = self.staff.seats.values()
        is_full = self._desk.is_saturated and all(seat.child is not None for seat in seats if not seat.is_leaving)
        self.staff.sizing.look(time.monotonic(), idle=len(self._desk.idle), is_full=is_full)

    def man(self) -> None:
        """Start the workers that are missing, and have those leave that are too many."""
        if self._supervisor is None or self._desk.is_closed:
            return
        for slot in self.staff.wanted():
            self._hire(slot)
        for slot in self.staff.too_many(self._desk.idle):
            self._dismiss(slot)
        replacement = self.staff.next_replacement()
        if replacement is not None:
            self._hire(replacement)

    def _hire(self, slot: int) -> None:
        # Its release waits for its child, so it has more time to end than others.
        spec = Worker.child_spec(self._config, slot, id=_id_of(slot), shutdown=10.0)
        try:
            if self._supervisor is not None:
                Supervisor.start_child(self._supervisor, spec)
        except (StartFailed, CallFailed) as failed:
            logger.warning("worker %s/%d could not be started: %s", self._config.name, slot, failed)
            self.staff.gone(slot)

    def _dismiss(self, slot: int) -> None:
        """Give a worker nothing more; when what it runs has ended, it is gone."""
        self.staff.seats[slot].is_leaving = True
        self._desk.worker_paused(slot)
        self.order(slot, Finish())

    # --- what workers say -------------------------------------------------------------------------------------------

    def worker_up(self, slot: int, pid: Pid) -> None:
        """A worker is there, for the first time or after its crash, and waits for its welcome."""
        seat = self.staff.seats.get(slot)
        if seat is None:
            return  # of a supervisor that is gone, and so is it
        seat.pid, seat.ref = pid, monitor(pid)
        if self._desk.is_closed or seat.is_leaving:
            seat.is_over = True
            self._let_go_if_leaving(seat)
        else:
            cast(pid, Welcome())

    def child_ready(self, said: ChildReady) -> None:
        """A worker's child has loaded the app."""
        seat = self.staff.seats.get(said.slot)
        if seat is None:
            return
        seat.child, seat.handlers, seat.error, seat.is_failing = said.child, said.handlers, "", False
        seat.starts += 1
        if seat.is_leaving:
            return
        self._desk.worker_ready(said.slot)
        if seat.replaces is not None:
            old = self.staff.replaced(seat)
            if old is not None:
                self._dismiss(old)
            if not self.staff.is_reloading:
                self.end_reload()

    def child_gone(self, said: ChildGone) -> None:
        """A worker's child has ended, or could not be started."""
        seat = self.staff.seats.get(said.slot)
        if seat is None:
            return
        seat.child, seat.error, seat.is_over = None, said.error, said.is_last
        seat.is_failing |= said.is_failing
        self._desk.worker_paused(said.slot)
        if said.is_last:
            self._let_go_if_leaving(seat)
        elif said.is_failing and seat.replaces is not None:
            self.end_reload(said.error)
            self._dismiss(seat.slot)

    def _let_go_if_leaving(self, seat: Seat) -> None:
        if not seat.is_leaving or self._desk.is_closed or self._supervisor is None:
            return
        self.staff.gone(seat.slot)
        if seat.ref is not None:
            demonitor(seat.ref)
        self._remove(self._supervisor, _id_of(seat.slot))

    @staticmethod
    def _remove(supervisor: Pid, worker: str) -> None:
        try:
            Supervisor.terminate_child(supervisor, worker)
            Supervisor.delete_child(supervisor, worker)
        except CallFailed as failed:
            logger.warning("%s cannot be removed: %s", worker, failed)

    def order(self, slot: int, order: object) -> None:
        """Tell a worker what to do, if it is there."""
        seat = self.staff.seats.get(slot)
        if seat is not None and seat.pid is not None:
            cast(seat.pid, order)

    def order_all(self, order: object) -> None:
        """Tell all that are there."""
        for slot in list(self.staff.seats):
            self.order(slot, order)

    # --- what operators want ----------------------------------------------------------------------------------------

    def take_order(self, number: int, order: Scale | Reload) -> None:
        """Carry it out; `answer` follows, of a reload when it is done."""
        if isinstance(order, Scale):
            self._answer(number, self.scale(order.workers))
        elif self._desk.is_closed:
            self._answer(number, {"error": _DRAINED})
        else:
            self.end_reload("another reload was asked for")
            self._reload = number
            self.staff.reload()
            if not self.staff.is_reloading:
                self.end_reload()

    def scale(self, count: int) -> dict[str, Any]:
        """Have so many workers from now on; how many it was to be `before`, or the `error` by which it stays so."""
        if self._desk.is_closed:
            return {"error": _DRAINED}
        most = self._config.places // 2
        if not 0 <= count <= most:
            return {"error": f"{count} workers: this pool has places for 0 to {most}"}
        before = self.staff.sizing.target
        self.staff.sizing.fix(count)
        for slot in self.staff.too_many(self._desk.idle, at_once=True):
            self._dismiss(slot)
        return {"workers": count, "before": before}

    def end_reload(self, error: str = "") -> None:
        """Tell whoever asked for the reload that is under way, if one is, how it ended; with an error it is given up."""
        number, self._reload = self._reload, None
        if error:
            self.staff.give_up_reload()
        if number is None:
            return
        if error:
            logger.warning(
                "pool %s: the reload is given up, the children that are there go on: %s", self._config.name, error
            )
            self._answer(number, {"error": error})
        else:
            self._answer(number, {"replaced": self.staff.reloaded})


def _id_of(slot: int) -> str:
    return f"worker {slot}"
