"""The connection of a client, dialled again whenever it is lost. Owned by the I/O thread; time is a parameter."""

from __future__ import annotations

import random
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from otpq.wire.dialled import Cause, Dialled, Down

if TYPE_CHECKING:
    import zmq

    from otpq.wire.cookie import Cookie

__all__ = ["Change", "Link"]

FIRST_PAUSE: Final = 0.02
LAST_PAUSE: Final = 1.0
"""Seconds between two attempts: doubled from the one to the other, each up to a half shorter, so that the clients of a node
that was restarted do not come back as one wave."""
CUT_OFTEN: Final = 3
"""Handshakes cut in a row that are taken for a wrong cookie: a program that is stopping cuts one, and then refuses."""


class Change(Enum):
    """What happened to the link since the last look."""

    NONE = auto()
    UP = auto()
    DOWN = auto()


class Link:
    """Keeps a connection to `address` standing."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], address: str, cookie: Cookie) -> None:
        self._context = context
        self._address = address
        self._cookie = cookie
        self._pause = FIRST_PAUSE
        self._was_up = False
        self._cuts = 0
        self.dialled: Dialled | None = None
        self.redial_at: float | None = 0.0
        """When to dial; None while a connection stands or is tried."""
        self.down: Down | None = None
        """Why there is no connection; None while there is one."""

    @property
    def is_refused(self) -> bool:
        """Whether the cookie is a wrong one, so that dialling again is in vain."""
        return self.down is not None and self.down.cause is Cause.COOKIE

    def tend(self, now: float) -> Change:
        """Dial if it is time, look at the connection, and say what has changed."""
        if self.dialled is None:
            if self.redial_at is not None and now >= self.redial_at:
                self.redial_at = None
                self.dialled = Dialled(self._context, self._address, self._cookie)
            else:
                return Change.NONE
        self.dialled.look()
        if self.dialled.down is not None:
            return self._went_down(self.dialled.down, now)
        if self.dialled.is_up and not self._was_up:
            self._was_up, self._pause, self._cuts, self.down = True, FIRST_PAUSE, 0, None
            return Change.UP
        return Change.NONE

    def drop(self, down: Down, now: float) -> None:
        """Close the connection, whatever ZeroMQ thinks of it, and dial again soon."""
        if self.dialled is not None:
            self._went_down(down, now)

    def turn_to(self, address: str, now: float) -> None:
        """Dial that address from now on, at once."""
        self._address = address
        self.close(linger=0)
        self._was_up, self._pause, self.down, self.redial_at = False, FIRST_PAUSE, None, now

    def close(self, linger: float) -> None:
        """Close for good; what was sent last has `linger` seconds to leave."""
        if self.dialled is not None:
            self.dialled.close(linger)
            self.dialled = None
        self.redial_at = None

    def _went_down(self, down: Down, now: float) -> Change:
        change = Change.DOWN if self._was_up else Change.NONE
        self._cuts = self._cuts + 1 if down.cause is Cause.HANDSHAKE_CUT else 0
        self.down = Down(Cause.COOKIE) if self._cuts >= CUT_OFTEN else down
        self.close(linger=0)
        self.redial_at = now + self._pause * random.uniform(0.5, 1.0)  # noqa: S311 - to spread, not to hide
        self._pause = min(self._pause * 2, LAST_PAUSE)
        self._was_up = False
        return change
