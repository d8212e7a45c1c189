"""Console: the actor that prints, on a node's terminal, what its tasks do. Its thread is the only one that waits for it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from otpq.node.console_lines import ConsoleLines
from otpq.otp import GenServer, NoReply, Normal, Stop
from otpq.queue.messages import RunsEnded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from otpq.node.console_lines import Line
    from otpq.otp import Reason

__all__ = ["Console"]


class Console(GenServer):
    """Told once a step by the queue server what ended; prints as `ConsoleLines` decides."""

    trap_exit = True  # so that what has been counted is told at the end
    mailbox_limit = 16
    """Steps, of about a thousand tasks each at most: what a terminal that stands still can hold up."""
    callback_mark = 3600.0  # a terminal that is stopped (Ctrl-S) is its user's wish

    def init(self, say: Callable[[Sequence[Line]], None]) -> None:
        """Print with `say`; an `OSError` from it means that nobody reads any more."""
        self._say = say
        self._lines = ConsoleLines()

    def handle_cast(self, request: Any) -> NoReply | Stop:
        """Tell of what ended."""
        assert isinstance(request, RunsEnded)  # noqa: S101 - for the type checker
        return self._print(self._lines.take(time.monotonic(), request.runs, request.missed))

    def handle_info(self, message: Any) -> NoReply | Stop:  # noqa: ARG002 - TIMEOUT alone comes here
        """A second is over."""
        return self._print(self._lines.tick(time.monotonic()))

    def terminate(self, reason: Reason) -> None:  # noqa: ARG002 - whatever it is
        """Tell of what has been counted."""
        self._print(self._lines.end())

    def _print(self, lines: Sequence[Line]) -> NoReply | Stop:
        if lines:
            try:
                self._say(lines)
            except OSError:
                return Stop(Normal())
        left = self._lines.wait(time.monotonic())
        return NoReply() if left is None else NoReply(left)
