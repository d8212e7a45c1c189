"""A bounded look at the head of a long line of rows that lies in the store.

The rule: of all tasks that wait in the line, those at or before the window's mark are in the window, those after it are
outside, in the store alone. An arrival that sorts after the mark stays outside; an earlier one goes in and, where the
window is full, evicts the tail. With nothing outside there is no mark to heed. So the head of a line is always right, and
memory does not grow with it.

Tasks in open leases are in no window, though the store lists them among the line's rows: a refill leaves them out.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final

from otpq.errors import InvariantBroken

if TYPE_CHECKING:
    from collections.abc import Container

    from otpq.core.records import Key, TaskRow

__all__ = ["FIRST", "Room", "Window"]

FIRST: Final[Key] = (float("-inf"), 0)
"""Before every key."""


class Room:
    """What all windows together may hold, and do hold."""

    __slots__ = ("bytes", "max_bytes", "max_rows", "rows")

    def __init__(self, max_rows: int = 32_768, max_bytes: int = 32 << 20) -> None:
        self.max_rows = max_rows
        self.max_bytes = max_bytes
        """Of payloads; a row itself is about half a KiB."""
        self.rows = 0
        self.bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether nothing more should come in."""
        return self.rows >= self.max_rows or self.bytes >= self.max_bytes


class Window:
    """The first rows of one line, by (due, seq), and how many wait in it altogether."""

    __slots__ = ("mark", "room", "row_bytes", "rows", "waiting")

    def __init__(self, room: Room, waiting: int = 0) -> None:
        self.room = room
        self.waiting = waiting
        """Tasks in the line, in the window and outside; none of them is leased."""
        self.rows: list[TaskRow] = []
        self.mark: Key = FIRST
        self.row_bytes = 0
        """Mean size of the payloads at the last look; sizes the next refill."""

    @property
    def outside(self) -> int:
        """How many tasks are in the store alone."""
        return self.waiting - len(self.rows)

    def add(self, row: TaskRow, cap: int) -> None:
        """Take note of a task that has come into the line; hold its row if it belongs into the window.

        Args:
            row: Not in the line so far. Durable with the step's commit, so it may stay outside.
            cap: How many rows this window may hold.
        """
        rows = self.rows
        is_outside = self.waiting > len(rows) and (row.due, row.seq) > self.mark
        self.waiting += 1
        if is_outside:
            return
        has_room = len(rows) < cap and not self.room.is_full
        place = self._place(row.due, row.seq)
        if place == len(rows) and not has_room:
            self._mark_tail(row)
            return
        rows.insert(place, row)
        self._count(1, len(row.payload))
        if not has_room:
            self._evict()

    def extend(self, run: list[TaskRow], cap: int) -> None:
        """`add` for several rows in order: at once where they all go to the end, as arrivals mostly do."""
        rows = self.rows
        first = run[0]
        is_tail = not rows or (rows[-1].due, rows[-1].seq) < (first.due, first.seq)
        if self.waiting == len(rows) and is_tail and len(rows) + len(run) <= cap and not self.room.is_full:
            rows += run
            self.waiting += len(run)
            self._count(len(run), sum([len(row.payload) for row in run]))
        elif self.waiting > len(rows) and (first.due, first.seq) > self.mark:
            self.waiting += len(run)  # sorted, so all of it is outside
        else:
            for row in run:
                self.add(row, cap)

    def take(self, count: int, size: int) -> list[TaskRow]:
        """The first `count` rows, out of the line; their payloads are `size` bytes."""
        rows = self.rows
        taken = rows[:count]
        del rows[:count]
        self.waiting -= count
        self.room.rows -= count
        self.room.bytes -= size
        return taken

    def find(self, due: float, seq: int) -> TaskRow | None:
        """The row of a task, if the window holds it."""
        place = self._place(due, seq)
        if place < len(self.rows) and self.rows[place].seq == seq:
            return self.rows[place]
        return None

    def remove(self, row: TaskRow) -> None:
        """Take a task out of the line, be it in the window or outside."""
        place = self._place(row.due, row.seq)
        if place < len(self.rows) and self.rows[place].seq == row.seq:
            del self.rows[place]
            self._count(-1, -len(row.payload))
        self.waiting -= 1

    def refill(self, loaded: list[TaskRow], limit: int, leased: Container[int]) -> None:
        """Take in what the store has after the mark.

        Args:
            loaded: The first `limit` rows after `after`, in order; fewer mean that there are no more.
            limit: How many were asked for.
            leased: Numbers of tasks in open leases.

        Raises:
            InvariantBroken: The store has not as many tasks in this line as the core has counted.
        """
        fresh = [row for row in loaded if row.seq not in leased]
        size = sum([len(row.payload) for row in fresh])
        self.rows += fresh
        self._count(len(fresh), size)
        if loaded:
            self.mark = (loaded[-1].due, loaded[-1].seq)
            self.row_bytes = sum([len(row.payload) for row in loaded]) // len(loaded)
        if len(self.rows) > self.waiting or (len(loaded) < limit and len(self.rows) < self.waiting):
            raise InvariantBroken(f"{self.waiting} tasks should wait in this line, the store has {len(self.rows)}")

    @property
    def after(self) -> Key:
        """Where the store is to go on reading. Meaningful while something is outside."""
        return self.mark

    def drop(self) -> None:
        """Hold nothing; all that waits is outside."""
        if self.rows:
            first = self.rows[0]
            self.mark = (first.due, first.seq - 1)  # what has left the window before it need not be read again
            self._count(-len(self.rows), -sum([len(row.payload) for row in self.rows]))
            self.rows.clear()

    def _place(self, due: float, seq: int) -> int:
        rows = self.rows
        if not rows or (rows[-1].due, rows[-1].seq) < (due, seq):
            return len(rows)
        return bisect_left(rows, (due, seq), key=_key)

    def _mark_tail(self, outsider: TaskRow) -> None:
        """Draw the mark before `outsider`, which is the first outside."""
        last = self.rows[-1] if self.rows else None
        self.mark = (last.due, last.seq) if last else (outsider.due, outsider.seq - 1)

    def _evict(self) -> None:
        tail = self.rows.pop()
        self._count(-1, -len(tail.payload))
        self._mark_tail(tail)

    def _count(self, rows: int, size: int) -> None:
        self.room.rows += rows
        self.room.bytes += size


def _key(row: TaskRow) -> Key:
    return (row.due, row.seq)
