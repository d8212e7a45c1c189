"""Warden: the actor that owns the node's warden process.

It only holds it. Children are started by those who want them, on their own threads, since a `WardenClient` may be used
from any. When the warden process is lost, so is every child; the actor crashes, and its supervisor starts both anew.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from otpq.otp import GenServer, NoReply, Reply, call, cast, send, send_after
from otpq.worker.deadline import NEVER, boottime_ns
from otpq.worker.warden_client import WardenClient

if TYPE_CHECKING:
    from pathlib import Path

    from otpq.otp import Caller, Pid, Server
    from otpq.worker.errors import WardenLost

__all__ = ["Warden"]

_PING_EVERY: Final = 5.0
_PING_TIMEOUT: Final = 4.0
"""Seconds. A warden answers in less than a millisecond; one that does not in four seconds is stopped or stuck."""


@dataclass(frozen=True, slots=True)
class _Renew:
    until_ns: int


@dataclass(frozen=True, slots=True)
class _Lost:
    error: WardenLost


_CLIENT, _BURY, _PING = "client", "bury", "ping"


class Warden(GenServer):
    """Owns one warden process.

    Its death, of whatever cause, *abandons* the warden: all children end, but no tombstone is written, so that a supervisor
    can start both again in the same incarnation. The tombstone is for the end of the node: `bury`, or the node's exit.
    """

    callback_mark = 10.0  # the start and the end of the process take up to 5 s each

    def init(self, directory: Path, node: str, incarnation: str, lease: float | None = None) -> None:
        """Start the warden process; fails if this incarnation has a tombstone.

        Args:
            directory: The node's.
            node: Its name.
            incarnation: This start of it.
            lease: Seconds that it may run tasks before the first `renew`; None: no deadline until then.
        """
        self._client = WardenClient(directory, node, incarnation, on_lost=partial(_tell_lost, self.pid))
        self.own(partial(_let_go, self._client))
        if lease is not None and self._client.deadline.get() == NEVER:
            self._client.deadline.set(boottime_ns() + int(lease * 1e9))
        send_after(_PING_EVERY, self.pid, _PING)

    # --- for others -------------------------------------------------------------------------------------------------

    @staticmethod
    def client(warden: Server) -> WardenClient:
        """What starts children, to be used on the caller's own thread: a slow start holds up nobody else.

        Raises:
            CallFailed: There is no warden now.
        """
        client: WardenClient = call(warden, _CLIENT)
        return client

    @staticmethod
    def renew(warden: Server, until_ns: int) -> None:
        """The node may run tasks until `until_ns` of `boottime_ns`; it must only move forward."""
        cast(warden, _Renew(until_ns))

    @staticmethod
    def bury(warden: Server) -> bool:
        """End all children and this incarnation, for good; whether its tombstone stands. The node's last word."""
        return bool(call(warden, _BURY, timeout=10.0))

    # --- callbacks --------------------------------------------------------------------------------------------------

    def handle_call(self, request: Any, caller: Caller) -> Reply | NoReply:  # noqa: ARG002 - the callback's form
        """Answer `client` and `bury`."""
        return Reply(self._client.close() if request == _BURY else self._client)

    def handle_cast(self, request: Any) -> None:
        """Move the deadline."""
        assert isinstance(request, _Renew)  # noqa: S101 - a private message
        self._client.deadline.set(request.until_ns)

    def handle_info(self, message: Any) -> None:
        """Crash when the warden is lost or answers no more."""
        if isinstance(message, _Lost):
            raise message.error
        if self._client.lost is None:
            self._client.ping(_PING_TIMEOUT)
        send_after(_PING_EVERY, self.pid, _PING)


def _tell_lost(warden: Pid, error: WardenLost) -> None:
    send(warden, _Lost(error))


def _let_go(client: WardenClient) -> None:
    if client.lost is None:
        client.abandon()
    with contextlib.suppress(BufferError, ValueError):  # a renewal that runs beside us
        client.deadline.close()
