"""Line: the connection of a node to the one that leads, with the face of a `Listener`, so that an inbox can wait for it.

Of several addresses (`--join`) it tries one after the other until one answers, and goes on so for ever.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import zmq

from otpq.client.link import Change, Link
from otpq.wire.codec import encode
from otpq.wire.dialled import Cause, Down
from otpq.wire.sockets import milliseconds
from otpq.wire.waker import Waker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otpq.wire.cookie import Cookie
    from otpq.wire.node_name import NodeName
    from otpq.wire.peers import FromNode

__all__ = ["Line"]

_AT_MOST: Final = 1.0
"""Seconds that a wait lasts at most, so that what is due is seen."""


class Line:
    """For one thread, but `wake`."""

    def __init__(self, seeds: Sequence[NodeName], cookie: Cookie) -> None:
        self._context = zmq.Context()
        self._waker = Waker()
        self._seeds = list(seeds)
        self._cookie = cookie
        self._next = 0
        self.to = self._seeds[0]
        """Whom it dials."""
        self._link = Link(self._context, self.to.address, cookie)
        self._unsent: list[bytes] = []

    @property
    def is_up(self) -> bool:
        """Whether messages can be sent."""
        return self._link.dialled is not None and self._link.dialled.is_up

    @property
    def down(self) -> Down | None:
        """Why it is not up, as far as is known."""
        return self._link.down

    @property
    def is_refused(self) -> bool:
        """Whether the cookie is a wrong one."""
        return self._link.is_refused

    def tend(self) -> Change:
        """Dial if it is time, look at the connection, and say what has changed."""
        before = self._link.down
        change = self._link.tend(time.monotonic())
        if change is not Change.UP and self._link.down is not None and self._link.down is not before:
            self._try_next()
        if change is not Change.NONE:
            self._unsent.clear()
        self._flush()
        return change

    def _try_next(self) -> None:
        """The next of the seeds, unless there is one alone, after the pause that the last one has made."""
        if len(self._seeds) > 1 and not self.is_refused:
            self._next = (self._next + 1) % len(self._seeds)
            self._dial(self._seeds[self._next], pause=self._link.redial_at)

    def turn_to(self, name: NodeName) -> None:
        """Dial that node from now on: it leads."""
        if name not in self._seeds:
            self._seeds.append(name)
        self._next = self._seeds.index(name)
        self._dial(name, pause=None)

    def _dial(self, name: NodeName, pause: float | None) -> None:
        old, down = self._link, self._link.down
        old.close(linger=0)
        self.to = name
        self._link = Link(self._context, name.address, self._cookie)
        self._link.down = down
        if pause is not None:
            self._link.redial_at = pause

    def drop(self, why: str) -> None:
        """Close the connection, whatever ZeroMQ thinks of it, and dial again soon."""
        self._link.drop(Down(Cause.SILENT, why), time.monotonic())

    def send(self, message: FromNode) -> None:
        """Send it in its order; without a connection it is dropped, as its sender knows."""
        if self.is_up:
            self._unsent.append(encode(message))
            self._flush()

    def _flush(self) -> None:
        dialled = self._link.dialled
        while self._unsent and dialled is not None and dialled.send(self._unsent[0]):
            del self._unsent[0]

    # --- as an inbox wants it ---------------------------------------------------------------------------------------

    def wait(self, timeout: float | None = None) -> None:
        """Return when a message is there, the connection changes, somebody called `wake`, or it is time."""
        poller = zmq.Poller()
        poller.register(self._waker.fd, zmq.POLLIN)
        if self._link.dialled is not None:
            poller.register(self._link.dialled.monitor, zmq.POLLIN)
            poller.register(self._link.dialled.socket, zmq.POLLIN | (zmq.POLLOUT if self._unsent else 0))
        seconds = _AT_MOST if timeout is None else min(timeout, _AT_MOST)
        ready = dict(poller.poll(milliseconds(seconds)))
        if self._waker.fd in ready:
            self._waker.clear()

    def wake(self) -> None:
        """Make `wait` return. From any thread."""
        self._waker.wake()

    def receive(self) -> tuple[bytes, bytes] | None:
        """The next message, as ("", bytes); None if there is none."""
        dialled = self._link.dialled
        data = None if dialled is None or not dialled.is_up else dialled.receive()
        return None if data is None else (b"", data)

    def close(self) -> None:
        """Close it for good; a goodbye that was sent has a moment to leave."""
        self._link.close(linger=0.5)
        self._context.term()
