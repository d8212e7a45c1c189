"""PolledInbox: a mailbox for a server that owns a listening socket. One wait for both, in the server's own thread.

A thread of its own for the socket would cost a hand-over a message, and under load a fight for the interpreter lock.
"""

from __future__ import annotations

import threading
import time
from queue import Empty, SimpleQueue
from typing import Any, Final, NamedTuple, Protocol

__all__ = ["Arrived", "Pollable", "PolledInbox"]

CLOSE: Final = 2.0
"""Seconds that a killer waits for the owner to close the socket."""


class Arrived(NamedTuple):
    """Bytes from a peer of the listener."""

    peer: bytes
    data: bytes


class Pollable(Protocol):
    """What messages arrive at: a `Listener`, or the line to another node. One thread owns it; only `wake` is for others."""

    def wait(self, timeout: float | None = None) -> None:
        """Return when something has arrived, somebody called `wake`, or `timeout` seconds have passed."""

    def wake(self) -> None:
        """Make `wait` return."""

    def receive(self) -> tuple[bytes, bytes] | None:
        """The next (peer, bytes), if one is there."""

    def close(self) -> None:
        """Close it."""


class PolledInbox(SimpleQueue[Any]):
    """A SimpleQueue whose `get` also returns what arrives at `listener`, once there is one."""

    def __init__(self) -> None:
        self.listener: Pollable | None = None
        self._owner = 0
        self._is_closing = False
        self._closed = threading.Event()

    def attend(self, listener: Pollable) -> None:
        """Wait for `listener` too from now on; its owner is this thread."""
        self.listener, self._owner = listener, threading.get_ident()

    def close(self) -> None:
        """Close the listener, in the thread that owns it: a socket must not be touched by another.

        From a killer's thread this waits until the owner, which is woken, has done it; not for ever, since the owner may be
        a zombie, inside a callback. Then the address stays taken until that returns.
        """
        if self.listener is None:
            return
        if threading.get_ident() == self._owner:
            self._close()
            return
        self._is_closing = True
        self.listener.wake()
        self._closed.wait(CLOSE)

    def _close(self) -> None:
        listener, self.listener = self.listener, None
        if listener is not None:
            listener.close()
        self._closed.set()

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:  # noqa: FBT001, FBT002
        """Put `item` in, and wake the thread that waits at the socket."""
        super().put(item, block, timeout)
        if self.listener is not None:
            self.listener.wake()

    def get(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: FBT001, FBT002
        """The next item of either; `Empty` if none came within `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            try:
                return self.get_nowait()
            except Empty:
                if not block or (deadline is not None and deadline <= time.monotonic()):
                    raise
            if self._is_closing:
                self._close()
            if self.listener is None:
                return super().get(block, timeout)
            self.listener.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))

    def get_nowait(self) -> Any:
        """An item that is there; `Empty` if there is none."""
        try:
            return super().get_nowait()
        except Empty:
            message = None if self.listener is None else self.listener.receive()
            if message is None:
                raise
            return Arrived(*message)
