"""How many workers a pool is to have: a value that is told now and then how busy they are, and says a number.

It grows by half while all have as much as they may have, and shrinks by those that were not needed at any moment of a while.
So a burst is met in a second or two, and a pause between two bursts costs no worker its child.
"""

from __future__ import annotations

from typing import Final

__all__ = ["Sizing"]

GROW_AFTER: Final = 0.5
"""Seconds that all must have been full, so that a burst which is done in that time starts no child."""


class Sizing:
    """Between `least` and `most` workers. Times are seconds of any steady clock."""

    def __init__(self, least: int, most: int, idle: float) -> None:
        """`idle`: seconds in which a worker was not needed before it is let go."""
        self.least = least
        self.most = most
        self.target = least
        """How many there are to be."""
        self._idle = idle
        self._full_since: float | None = None
        self._spared: int | None = None
        """The fewest idle workers at any moment of the while that began at `_since`."""
        self._since = 0.0

    def fix(self, count: int) -> None:
        """So many, from now on."""
        self.least = self.most = self.target = count
        self._full_since = self._spared = None

    def look(self, now: float, *, idle: int, is_full: bool) -> int:
        """Take in how busy they are, and say how many there are to be.

        Args:
            now: The time.
            idle: How many have nothing.
            is_full: Whether all have as much as they may have, and none is still to come.
        """
        self._grow(now, is_full=is_full)
        self._shrink(now, idle)
        return self.target

    def _grow(self, now: float, *, is_full: bool) -> None:
        if not is_full or self.target >= self.most:
            self._full_since = None
        elif self._full_since is None:
            self._full_since = now
        elif now - self._full_since >= GROW_AFTER:
            self.target = min(self.most, self.target + max(1, self.target // 2))
            self._full_since = None

    def _shrink(self, now: float, idle: int) -> None:
        if self.target <= self.least or idle == 0:
            self._spared = None
        elif self._spared is None:
            self._spared, self._since = idle, now
        else:
            self._spared = min(self._spared, idle)
            if now - self._since >= self._idle:
                self.target = max(self.least, self.target - self._spared)
                self._spared = None
