"""How a handler ends its run on purpose: by raising one of these. None of them is an error of otpq's.

They are exceptions, so an `except Exception` of the handler's own would catch them. A child imports this file, so it needs
nothing.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datetime import timedelta

__all__ = ["LONGEST", "Cancel", "Discard", "Ending", "HandOver", "Retry", "Snooze", "SoftTimeout"]

LONGEST: Final = 100 * 366 * 86_400.0
"""Seconds: 100 years, as for the options of a task."""


class Ending(Exception):
    """The root of the four."""


class Retry(Ending):
    """Run the task again later: `raise Retry(delay=60)`, or `raise Retry('the shop is closed') from error`.

    It is a failed attempt like any other, and the last one fails the task. `retry_on` is not asked, and a task that runs at
    most once may run again.

    Args:
        message: Why, for whoever reads the task's history.
        delay: Seconds, or a timedelta, until then; None: what the task's options say.

    Raises:
        ValueError: The delay is negative, or more than 100 years.
    """

    def __init__(self, message: str = "", *, delay: float | timedelta | None = None) -> None:
        super().__init__(message)
        self.delay = None if delay is None else _seconds(delay)


class Snooze(Ending):
    """Run the task again after `delay` seconds (or a timedelta); this run does not count: `raise Snooze(30)`.

    Raises:
        ValueError: The delay is negative, or more than 100 years.
    """

    def __init__(self, delay: float | timedelta) -> None:
        super().__init__(f"for {delay}")
        self.delay = _seconds(delay)


class Cancel(Ending):
    """The task is not needed any more: it ends as `cancelled`."""


class Discard(Ending):
    """The task cannot succeed: it ends as `failed`, without another attempt, with the message as its error."""


class SoftTimeout(TimeoutError):
    """Raised in a handler when its `soft_timeout` is over (a coroutine is cancelled): put things in order, and end.

    What is not caught fails the attempt, with reason `timeout`. At its `timeout` the child is ended, whatever it does.
    """


class HandOver(BaseException):
    """Raised by `Context.checkpoint` when the child is to end: the run ends here, and another one goes on from the checkpoint.

    No `Exception`, since a handler's `except Exception` is not meant for it. It is not for handlers to raise.
    """


def _seconds(delay: float | timedelta) -> float:
    seconds = delay if isinstance(delay, int | float) else delay.total_seconds()
    if not (math.isfinite(seconds) and 0 <= seconds <= LONGEST):
        raise ValueError(f"delay={delay!r} is not allowed: seconds, 0 or more (up to 100 years), or a timedelta")
    return float(seconds)
