"""The watch: logs mailboxes that grow past their mark and callbacks that run past theirs. Once each, by name.

It looks once a second, from the clock's thread, at what processes note about themselves, so a healthy process pays
nothing and a stuck one is seen all the same.

Source:
    Erlang's system_monitor (long_message_queue, long_schedule).
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from otpq.otp.clock import call_later

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.otp.process import Process

__all__ = ["EVERY", "look"]

logger = logging.getLogger("otpq.otp")

EVERY = 1.0
"""Seconds between two looks."""


def look(processes: list[Process], now: float) -> None:
    """Log what is past its mark in `processes`, at `now` on `time.monotonic`'s scale, and was not logged before."""
    for process in processes:
        length = process.mailbox_length()
        if length <= process.mailbox_mark:
            process.is_mailbox_marked = False
        elif not process.is_mailbox_marked:
            process.is_mailbox_marked = True
            logger.warning("%r has %d messages in its mailbox (mark: %d)", process.pid, length, process.mailbox_mark)
        callback, since = process.callback, process.callback_since
        if callback is not None and now - since > process.callback_mark and process.marked_callback != since:
            process.marked_callback = since
            logger.warning(
                "%r has been in %s for %.1f s (mark: %s s)", process.pid, callback, now - since, process.callback_mark
            )


def keep_looking(processes: Callable[[], list[Process]]) -> None:
    """Look at `processes()` every second, as long as there are any."""

    def again() -> None:
        living = processes()
        look(living, time.monotonic())
        if living:
            call_later(EVERY, again)

    call_later(EVERY, again)
