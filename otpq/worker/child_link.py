"""The worker's hold on one child: start it, feed it, take back, hear from it, end it.

A plain object for one owner. It decides nothing and remembers no task: what is open, late or to blame is the worker's.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from otpq.worker.child import BOOT
from otpq.worker.errors import ChildRefused, WardenTimeout
from otpq.worker.frames import FrameReader, send_frame
from otpq.worker.log_ring import LogRing
from otpq.worker.packets import FINISH, Greeting
from otpq.worker.reports import Ready, Refused, Report, read_report
from otpq.worker.task_pipe import task_pipe
from otpq.worker.warden_client import Exit, Program

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from otpq.worker.blackboard import Blackboard
    from otpq.worker.task_pipe import TaskReceiver, TaskSender
    from otpq.worker.warden_client import Running, WardenClient

__all__ = ["ChildLink", "ChildSettings"]

_FLOOR = str(Path(__file__).parents[2])


@dataclass(frozen=True, slots=True)
class ChildSettings:
    """What all children of a pool have in common."""

    app: str
    """`package.module:attribute`, or `/path/of/file.py:attribute`."""
    label: str = "otpq-child"
    """What `ps` shows at the end of its line."""
    path: tuple[str, ...] = field(default_factory=lambda: tuple(sys.path))
    env: Mapping[str, str] | None = None
    cwd: str | None = None
    nice: int = 0
    data_limit: int | None = None


class ChildLink:
    """One child. `start` it; afterwards each method returns without waiting, except those that say so."""

    def __init__(
        self, running: Running, sender: TaskSender, duplicate: TaskReceiver, reports: socket.socket, ring: LogRing
    ) -> None:
        """Made by `start` alone."""
        self.running = running
        self.ring = ring
        """What its tasks print."""
        self._sender = sender
        self._duplicate = duplicate
        self._reports = reports
        self._reader = FrameReader(reports)

    @classmethod
    def start(
        cls,
        warden: WardenClient,
        settings: ChildSettings,
        board: Blackboard,
        slot: int,
        *,
        log: tuple[int, int] = (1, 2),
        on_exit: Callable[[Exit], None] | None = None,
        timeout: float = 5.0,
    ) -> ChildLink:
        """A child whose program runs; its `Ready` or `Refused` is the first that `read` will give.

        Args:
            warden: Who starts it.
            settings: What it is to be.
            board: Where it notes what it runs.
            slot: In which slot; nobody else may write there until it is gone.
            log: The descriptors for what handlers print, standard output and error.
            on_exit: As of `WardenClient.launch`.
            timeout: Seconds to wait for its process, not for its app.

        Raises:
            WardenError: As `WardenClient.launch`.
        """
        sender, duplicate = task_pipe(portable=warden.portable)
        reports, theirs = socket.socketpair()
        ring = LogRing.create()
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        program = Program(
            (sys.executable, "-c", BOOT, _FLOOR, settings.label),
            settings.env,
            settings.cwd,
            settings.nice,
            settings.data_limit,
        )
        greeting = Greeting(settings.app, str(board.path), slot, list(settings.path), warden.portable)
        try:
            # Into the socket before the child is there: it finds it when it looks.
            send_frame(reports, greeting.pack())
            running = warden.launch(
                program,
                (null, *log, duplicate.fileno(), theirs.fileno(), ring.descriptor),
                on_exit=on_exit,
                timeout=timeout,
            )
        except BaseException:
            sender.close()
            duplicate.close()
            reports.close()
            ring.close()
            raise
        finally:
            theirs.close()
            os.close(null)
        return cls(running, sender, duplicate, reports, ring)

    @property
    def pid(self) -> int:
        """The child's."""
        return self.running.pid

    def fileno(self) -> int:
        """Of the stream of reports, to wait for with `poll`: readable also when the child has closed it."""
        return self._reports.fileno()

    def send(self, packet: bytes) -> bool:
        """Put a packet in front of the child; False if there is no room now, or no child."""
        return self._sender.send(packet)

    def take_back(self) -> list[bytes]:
        """All packets that the child has not received, in their order. It will never see them, whatever it is doing."""
        return [packet for packet in self._duplicate.take_back() if packet != FINISH]

    def read(self, timeout: float | None = 0.0) -> list[Report]:
        """What the child has said, waiting up to `timeout` seconds for the first word (None: as long as it takes).

        Empty if it said nothing, or if it will say nothing more (`is_closed`).

        Raises:
            ReportError: It said something that makes no sense; it should be killed.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._reader.closed:
            if self._wait_readable(deadline):
                reports = [read_report(content) for content in self._reader.receive(wait=False)]
                if reports:
                    return reports
            elif deadline is not None:
                return []
        return []

    def _wait_readable(self, deadline: float | None) -> bool:
        import select

        if deadline is not None and deadline <= time.monotonic():
            seconds: float | None = 0.0
        else:
            seconds = None if deadline is None else deadline - time.monotonic()
        poll = select.poll()
        poll.register(self._reports, select.POLLIN)
        return bool(poll.poll(None if seconds is None else seconds * 1000))

    @property
    def is_closed(self) -> bool:
        """Whether the child has closed its stream, mostly by its end; all that it had sent has been read then."""
        return self._reader.closed

    def wait_ready(self, timeout: float = 10.0) -> Ready:
        """What the child says when its app is loaded, waiting for it.

        Raises:
            ChildRefused: It cannot be; the message is the child's. It ends by itself.
            WardenTimeout: Not within `timeout` seconds.
        """
        for report in self.read(timeout):
            if isinstance(report, Ready):
                return report
            if isinstance(report, Refused):
                import msgpack

                kind, message, trace, *_ = msgpack.unpackb(report.error)
                raise ChildRefused(f"{kind}: {message}\n{trace}")
        if self.is_closed:
            raise ChildRefused("the child ended while it was loading the app")
        raise WardenTimeout("load the app", timeout)

    def finish(self) -> bool:
        """Ask it to end when it has run what it was sent; False if there is no room for that word now."""
        return self._sender.send(FINISH)

    def kill(self, timeout: float | None = 5.0) -> Exit | None:
        """End it and all that it started, waiting for that; None if it is not over after `timeout` seconds.

        What it had sent can still be read, and what it had not received taken back, until `close`.
        """
        return self.running.kill(timeout)

    def close(self) -> None:
        """Let go of its sockets; a child that still lives then ends."""
        for each in (self._sender, self._duplicate, self._reports, self.ring):
            each.close()
