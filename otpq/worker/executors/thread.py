"""Run several tasks at a time, each in a thread: the executor `thread`. An `async def` has its thread's event loop."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from otpq.worker.executors.seats import Seats
from otpq.worker.executors.team import Team

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otpq.worker.backing import Means
    from otpq.worker.blackboard import Slot
    from otpq.worker.executors.calling import Ended
    from otpq.worker.executors.plans import Plans
    from otpq.worker.executors.seats import Seat
    from otpq.worker.intake import Intake

__all__ = ["ThreadExecutor"]


class ThreadExecutor:
    """The main thread receives, begins and answers; handlers never run in it."""

    def __init__(self, plans: Plans, slots: Sequence[Slot], means: Means) -> None:
        self._means = means
        self._seats = Seats(slots, means)
        self._team = Team(plans, means)
        self._ended: deque[tuple[Seat, Ended]] = deque()

    def serve(self, intake: Intake) -> None:
        """Returns when the child was asked to finish and everything it received is answered for."""
        seats = self._seats
        while True:
            while self._ended:
                seats.end(*self._ended.popleft())
            while (seat := seats.next()) is not None:
                self._team.run(seat.context, partial(self._note, intake, seat))
            if seats.has_room and (packet := intake.receive()) is not None:
                seats.put(packet)
                continue
            self._means.outbox.flush()
            if seats.is_empty:
                if intake.is_over:
                    return
                intake.tidy()
            if not self._ended:
                intake.wait(for_packets=seats.has_room and not intake.is_over)

    def _note(self, intake: Intake, seat: Seat, ended: Ended) -> None:
        self._ended.append((seat, ended))
        intake.wake()

    def close(self) -> None:
        """Let the threads go."""
        self._team.close()
