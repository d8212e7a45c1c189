"""Undertaker: tells the queue server of deaths that are proven only now.

A node that was killed may be back before the warden of its last incarnation has written the tombstone: 10 ms later as a
rule, more if a child is slow to die. Without a second look its tasks would wait for the end of the lease.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from otpq.node.past import deaths_in
from otpq.otp import GenServer, Normal, Stop, cast, send_after, whereis

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Undertaker"]

_LOOK_EVERY: Final = 0.25
_SETTLED: Final = 60.0
"""Seconds after which no lease of an earlier incarnation can be open: leases that a queue server finds get one term, 30 s."""

_LOOK: Final = "look"


class Undertaker(GenServer):
    """Looks at the node's directory for its first minute, then ends. What it has found, the Pruner removes in its time."""

    def init(self, directory: Path, node: str, queue_server: str, looks: int = int(_SETTLED / _LOOK_EVERY)) -> None:
        """Look `looks` times, the first time a moment from now."""
        self._directory = directory
        self._node = node
        self._queue_server = queue_server
        self._looks = looks
        self._told: set[str] = set()
        send_after(_LOOK_EVERY, self.pid, _LOOK)

    def handle_info(self, _message: Any) -> Stop | None:
        """Look once; after the last time, end."""
        queue_server = whereis(self._queue_server)
        if queue_server is not None:  # else the next look will do
            for death in deaths_in(self._directory, self._node, self._told):
                cast(queue_server, (death,))  # again perhaps; it is the same the second time
                self._told.add(death.incarnation)
        self._looks -= 1
        if self._looks > 0:
            send_after(_LOOK_EVERY, self.pid, _LOOK)
            return None
        return Stop(Normal())
