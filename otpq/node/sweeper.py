"""Sweeper: the actor that has the files of earlier incarnations removed, now and then, from its node's directory.

What an incarnation left may be the only proof of what it ran, so nothing goes while the store has a lease of it. The queue
server is asked; on a node that does not lead, what stands for it asks on.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from otpq.otp import CallFailed, GenServer, call, send_after

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.otp import Server

__all__ = ["Sweeper"]

logger = logging.getLogger("otpq.node")

FIRST: Final = 60.0
EVERY: Final = 3_600.0
"""Seconds between two rounds; after one that could not be, `FIRST`."""


class Sweeper(GenServer):
    """A round, a long pause, a round."""

    def init(self, queue_server: Server, remove: Callable[[frozenset[str]], None], first: float = FIRST) -> None:
        """Begin.

        Args:
            queue_server: Who knows the leases, or stands for it.
            remove: Removes what earlier incarnations left, but for those that it is given.
            first: Seconds until the first round.
        """
        self._queue_server = queue_server
        self._remove = remove
        self._first = first
        send_after(first, self.pid, "sweep")

    def handle_info(self, message: Any) -> None:
        """A round."""
        send_after(EVERY if self._sweep() else self._first, self.pid, message)

    def _sweep(self) -> bool:
        """Whether it is done."""
        try:
            holders: list[str] | None = call(self._queue_server, ("holders",))
            if holders is None:
                return False
            self._remove(frozenset(holders))
        except CallFailed as failed:
            logger.info("%r: not now: %s", self.pid, failed)
            return False
        except OSError as error:  # they do no harm; a disk that is read-only for a while is others' to report
            logger.warning("old files could not be removed: %s", error)
            return False
        return True
