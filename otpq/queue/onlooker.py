"""Onlooker: tells the node's console, if there is one, what has ended. Nothing on the task path waits for it.

One cast a step, of values that hold neither arguments nor results; a console that does not keep up misses some, and is
told how many.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from otpq.otp import MailboxFull, cast
from otpq.queue.messages import RunEnd, RunsEnded

if TYPE_CHECKING:
    from otpq.core.effects import Outcome
    from otpq.core.records import TaskRow
    from otpq.otp import Registry

__all__ = ["CONSOLE", "Onlooker"]

CONSOLE: Final = "console"
"""The name under which whoever looks on is registered."""


class Onlooker:
    """See the module."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._missed = 0

    def tell(self, outcome: Outcome) -> None:
        """Tell of these ends. For the queue server's thread alone."""
        console = self._registry.whereis(CONSOLE)
        if console is None:
            return
        runs = [_run_end(row) for row in outcome.tasks]
        runs += [_run_end(row) for row in outcome.retried]
        try:
            cast(console, RunsEnded(runs, self._missed))
            self._missed = 0
        except MailboxFull:
            self._missed += len(runs)


def _run_end(row: TaskRow) -> RunEnd:
    """A copy of what is shown: the core goes on with the row of a task that is retrying."""
    return RunEnd(
        row.id,
        row.name,
        row.state,
        row.attempt,
        row.started,
        row.finished or row.updated,
        row.due,
        row.reason,
        row.error,
        row.ran,
    )
