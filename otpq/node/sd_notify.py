"""sd_notify: what the service manager hears of this program, by the protocol of sd_notify(3). Of the standard library alone.

A message is a few lines NAME=value in one datagram, to the socket that NOTIFY_SOCKET names: a path, or with '@' a name of
Linux's own. Where there is no such variable, nobody wants to hear, and nothing is sent.
"""

from __future__ import annotations

import logging
import math
import socket
import time
from functools import partial
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

__all__ = ["VARIABLES", "ServiceManager"]

logger = logging.getLogger("otpq.node")

VARIABLES: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""What a service manager says in the environment of the one program that is to answer it."""
_PATIENCE: Final = 1.0
"""Seconds that a full socket is waited for. The manager may be busy; it may not hold up the node."""


class ServiceManager:
    """Who has started this program as a service; most often nobody, and then all of this does nothing."""

    def __init__(self, say: Callable[[bytes], None] | None = None, watchdog: float | None = None) -> None:
        self._say = say
        self.beat = math.inf if say is None or watchdog is None else watchdog / 2
        """Seconds between two `alive`; infinite where none is waited for."""

    @classmethod
    def of(cls, environment: MutableMapping[str, str], pid: int) -> ServiceManager:
        """Whom the environment names. It is taken out of it: what this program starts is not to speak in its name.

        Args:
            environment: Of this program.
            pid: This program; a watchdog that another one inherited is not for it.
        """
        address, usec, whose = (environment.pop(name, "") for name in VARIABLES)
        if not address:
            return cls()
        if address[0] not in "/@":
            logger.warning("NOTIFY_SOCKET=%r is neither a path nor begins with '@'; nobody is notified", address)
            return cls()
        is_watched = usec.isdecimal() and int(usec) > 0 and whose in {"", str(pid)}
        return cls(partial(_send, address), int(usec) / 1e6 if is_watched else None)

    def ready(self, status: str) -> None:
        """It serves; also when a reload is done."""
        self._tell("READY=1", f"STATUS={status}")

    def status(self, status: str) -> None:
        """How it is, in words for people."""
        self._tell(f"STATUS={status}")

    def reloading(self, status: str) -> None:
        """It loads its code anew; `ready` follows."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}", f"STATUS={status}")

    def stopping(self, status: str) -> None:
        """It is on its way to the end."""
        self._tell("STOPPING=1", f"STATUS={status}")

    def alive(self) -> None:
        """It lives; to be said once in a `beat`, or the manager ends it."""
        self._tell("WATCHDOG=1")

    def _tell(self, *lines: str) -> None:
        if self._say is not None:
            self._say("\n".join(line.replace("\n", " ") for line in lines).encode())


def _send(address: str, message: bytes) -> None:
    to = "\0" + address[1:] if address[0] == "@" else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | getattr(socket, "SOCK_CLOEXEC", 0)) as sender:
            sender.settimeout(_PATIENCE)
            sender.sendto(message, to)
    except OSError as error:
        logger.warning("the service manager at %s does not hear %r: %s", address, message.decode(), error)
