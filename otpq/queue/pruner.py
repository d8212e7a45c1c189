"""Pruner: the actor that has ended tasks forgotten after their retention.

It walks over the ended tasks, oldest first, some hundred at a time, and gives the queue server the ids of those whose time
is over; the core decides about each once more, and keeps the counts in the same commit. SQLite uses the pages again; the
file does not shrink. The queue server's answer to each step says how busy it is: the longer it took, the longer the pause.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Final

from otpq.core import events as ev
from otpq.otp import CallFailed, GenServer, call, cast, send_after
from otpq.queue.messages import EndedTasks

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.otp import Server
    from otpq.queue.retention import Retention
    from otpq.store.protocol import EndedPage

__all__ = ["Pruner"]

logger = logging.getLogger("otpq.queue")

SCAN: Final = 200
"""Rows in one step of a walk: a millisecond of the queue server, and their payloads in its memory for as long."""
EVERY: Final = 60.0
"""Seconds between two walks; less where the shortest retention asks for it."""
PAUSE: Final = 0.01
"""Seconds between two steps, at least."""
SHARE: Final = 5
"""So many times as long as a step took is the pause after it, and as a walk took, until the next."""

_STEP: Final = "step"


class Pruner(GenServer):
    """Begins a walk now and then; a step of it, a pause, a step."""

    def init(
        self,
        queue_server: Server,
        retention: Retention,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Begin.

        Args:
            queue_server: Who has the tasks.
            retention: How long they are kept.
            clock: Seconds since the epoch.
        """
        self._queue_server = queue_server
        self._retention = retention
        self._clock = clock
        self._after: int | None = None
        self._walk_begun = 0.0
        self._every = max(PAUSE, min(EVERY, retention.shortest / 4))
        send_after(self._every, self.pid, _STEP)

    def handle_info(self, message: Any) -> None:
        """Take a step of the walk."""
        try:
            pause = self._step()
        except CallFailed as busy:
            logger.info("%r: not now: %s", self.pid, busy)
            self._after, pause = None, self._every
        send_after(pause, self.pid, message)

    def _step(self) -> float:
        """One step; seconds until the next."""
        now, begun = self._clock(), time.monotonic()
        before = self._retention.before(now)
        if self._after is None:
            self._walk_begun = begun
        page: EndedPage | None = call(self._queue_server, EndedTasks(before, self._after, SCAN))
        if page is None:
            self._after = None
            return self._every
        over = tuple((task.id, task.finished) for task in page.found if self._retention.is_over(task, now))
        if over:
            cast(self._queue_server, (ev.Prune(tasks=over),))
        self._after = page.next
        if page.next is None:
            return max(self._every, SHARE * (time.monotonic() - self._walk_begun))
        return max(PAUSE, SHARE * (time.monotonic() - begun))
