"""One thread that runs small functions at their time: the timers of all processes.

It knows no process. What it runs must be quick: it puts something into a queue.
"""

from __future__ import annotations

import heapq
import logging
import threading
import time
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["TimerRef", "call_later"]


logger = logging.getLogger("otpq.otp")


class TimerRef:
    """One pending function; `cancel` it and it will not run."""

    __slots__ = ("_function", "due")

    def __init__(self, due: float, function: Callable[[], None]) -> None:
        self.due = due
        """When it runs, on `time.monotonic`'s scale."""
        self._function: Callable[[], None] | None = function

    def take(self) -> Callable[[], None] | None:
        """The function, to whoever asks first: the clock (to run it) or a canceller (to drop it)."""
        with _wake:
            function, self._function = self._function, None
        return function

    def cancel(self) -> bool:
        """Whether it was pending, and now never runs."""
        global _cancelled  # noqa: PLW0603 - guarded by _wake, like the heap it counts in
        with _wake:
            was_pending = self.take() is not None
            _cancelled += was_pending
            # A cancelled timer stays in the heap until it is due, unless they become the larger half of it.
            if _cancelled > _FEW and _cancelled > len(_heap) // 2:
                _heap[:] = [entry for entry in _heap if entry[2]._function is not None]  # noqa: SLF001 - its own class
                heapq.heapify(_heap)
                _cancelled = 0
        return was_pending


_wake = threading.Condition()
_heap: list[tuple[float, int, TimerRef]] = []
_order = count()  # equal times fire in the order they were set
_cancelled = 0  # about how many entries of the heap are cancelled; too high after some have come due, which is harmless
_FEW = 100  # cancelled timers that are not worth a clearing
_thread: threading.Thread | None = None


def call_later(seconds: float, function: Callable[[], None]) -> TimerRef:
    """Run `function` on the clock's thread, `seconds` from now; the answer can be taken back."""
    global _thread  # noqa: PLW0603 - one clock for all, made when it is first needed
    timer = TimerRef(time.monotonic() + seconds, function)
    with _wake:
        heapq.heappush(_heap, (timer.due, next(_order), timer))
        if _thread is None or not _thread.is_alive():  # not alive: this is the child of a fork
            _thread = threading.Thread(target=_run, name="otp-clock", daemon=True)
            _thread.start()
        if _heap[0][2] is timer:
            _wake.notify()
    return timer


def _run() -> None:
    while True:
        with _wake:
            while not _heap or _heap[0][0] > time.monotonic():
                _wake.wait(min(_heap[0][0] - time.monotonic(), threading.TIMEOUT_MAX) if _heap else None)
            timer = heapq.heappop(_heap)[2]
        function = timer.take()
        if function is not None:
            try:
                function()
            except Exception:
                logger.exception("a timer's function failed; the clock goes on")
