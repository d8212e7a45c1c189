"""What happens because time passes: tasks become due, or expire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from otpq.core.history import note
from otpq.core.records import DueRange, ExpiryRange
from otpq.core.state import QUEUED
from otpq.task import ENDED

if TYPE_CHECKING:
    from otpq.core.events import Now
    from otpq.core.records import Loaded, Needs
    from otpq.core.state import State

__all__ = ["Clockwork"]

EXPIRY_EVERY: Final = 1.0
"""Seconds between looks for what has expired. Late only for the eye: dispatch looks at each task's own time."""
EXPIRY_TASKS: Final = 500
DUE_TASKS: Final = 1_000
"""How many become due in one step at most."""


class Clockwork:
    """When to look for what is due and what has expired, and what follows from it."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._next_expiry = float("-inf")
        self._due_limit = 0
        self._expiry_limit = 0

    def ask(self, now: Now, needs: Needs) -> None:
        """Add what is to be read."""
        due = self._state.due
        cap = self._state.config.max_window
        self._due_limit = cap - len(due.rows) if due.outside and len(due.rows) <= cap // 2 else 0
        if self._due_limit:
            needs.due = DueRange(due.after, self._due_limit)
        self._expiry_limit = 0
        if self._is_expiry_due(now):
            # The store counts leased tasks as not ended: they must not crowd out the others.
            self._expiry_limit = EXPIRY_TASKS + len(self._state.leases.by_seq)
            needs.expiry = ExpiryRange(now.wall, self._expiry_limit)

    def refill(self, loaded: Loaded) -> None:
        """Take in the next of those that wait for their time."""
        if self._due_limit:
            self._state.due.refill(loaded.due, self._due_limit, ())
            self._due_limit = 0

    def expire(self, loaded: Loaded) -> None:
        """End the tasks whose time to start has passed, unless they are in a lease."""
        state = self._state
        for found in loaded.expiry:
            row = state.live(found)
            if row.seq in state.leases.by_seq or row.state in ENDED or row.seq in state.ledger.deletes:
                continue
            state.leave_line(row)
            state.expire(row)
        if self._expiry_limit:
            is_all = len(loaded.expiry) < self._expiry_limit
            self._next_expiry = state.now.wall + EXPIRY_EVERY if is_all else float("-inf")
            self._expiry_limit = 0
            state.has_late_member = False

    def release_due(self) -> None:
        """Queue the tasks whose time has come."""
        state = self._state
        wall = state.now.wall
        rows = state.due.rows
        count = 0
        while count < len(rows) and count < DUE_TASKS and rows[count].due <= wall:
            count += 1
        if not count:
            return
        size = sum([len(row.payload) for row in rows[:count]])
        for row in state.due.take(count, size):
            if row.expires is not None and row.expires <= wall and row.workflow is None:
                state.expire(row)
                continue
            note(row, row.due, row.state, QUEUED)
            state.move(row, row.state, QUEUED)
            state.lanes.put(row)

    def seconds_until(self, now: Now) -> float:
        """How long nothing happens by itself."""
        due = self._state.due
        if self._is_expiry_due(now):
            return 0.0
        next_due = due.rows[0].due if due.rows else float("-inf") if due.outside else float("inf")
        return min(next_due, self._next_expiry) - now.wall

    def _is_expiry_due(self, now: Now) -> bool:
        return now.wall >= self._next_expiry or self._state.has_late_member
