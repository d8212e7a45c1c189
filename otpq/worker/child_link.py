"""The worker's hold on one child: start it, feed it, take back, hear from it, tell it something, end it.

A plain object for one owner. It decides nothing and remembers no task: what is open, late or to blame is the worker's.

The child's descriptors: 0 nothing; 1 and 2 two pipes, for what is written without asking Python; 3 the packets
(`task_pipe.py`); 4 the stream of reports, which brings it a few words too (`packets.py`); 5 the ring with the lines of its
tasks (`log_ring.py`); 6 a file for its stacks (`stacks.py`).
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from otpq.worker.child import BOOT
from otpq.worker.errors import ChildRefused, WardenTimeout
from otpq.worker.frames import FrameReader, frame, send_frame
from otpq.worker.log_ring import LogRing
from otpq.worker.output import log_pipe
from otpq.worker.packets import FINISH, HURRY, Greeting
from otpq.worker.reports import Ready, Refused, Report, read_report
from otpq.worker.stacks import ChildStacks
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
    executor: str = "process"
    """This and what follows: as in `Greeting`."""
    parallel: int = 1
    script_dirs: tuple[str, ...] = ()
    webhooks: Mapping[str, tuple[str, str]] = field(default_factory=dict)


class ChildLink:
    """One child. `start` it; afterwards each method returns without waiting, except those that say so."""

    def __init__(  # noqa: PLR0917 - all that makes it up, from one caller
        self,
        running: Running,
        sender: TaskSender,
        duplicate: TaskReceiver,
        reports: socket.socket,
        ring: LogRing,
        stacks: ChildStacks,
        pipes: tuple[int, int] | None,
        closing: contextlib.ExitStack,
    ) -> None:
        """Made by `start` alone."""
        self.running = running
        self.ring = ring
        """The lines of its tasks."""
        self._stacks = stacks
        self.pipes = pipes
        """Where to read what it writes on its descriptors 1 and 2, never waiting; None: that goes elsewhere."""
        self._sender = sender
        self._duplicate = duplicate
        self._reports = reports
        self._reader = FrameReader(reports)
        self._closing = closing
        self._unsaid = b""
        """Of the words to the child, those for which there was no room."""

    @classmethod
    def start(
        cls,
        warden: WardenClient,
        settings: ChildSettings,
        board: Blackboard,
        slot: int,
        *,
        log: tuple[int, int] | None = (1, 2),
        on_exit: Callable[[Exit], None] | None = None,
        timeout: float = 5.0,
    ) -> ChildLink:
        """A child whose program runs; its `Ready` or `Refused` is the first that `read` will give.

        Args:
            warden: Who starts it.
            settings: What it is to be.
            board: Where it notes what it runs.
            slot: In which slots, from this one on; nobody else may write there until it is gone.
            log: What becomes its standard output and error; None: two pipes, `pipes`, which somebody must read.
            on_exit: As of `WardenClient.launch`.
            timeout: Seconds to wait for its process, not for its app.

        Raises:
            WardenError: As `WardenClient.launch`.
        """
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            sender, duplicate = task_pipe(portable=warden.portable)
            ours.callback(sender.close)
            ours.callback(duplicate.close)
            reports, other = socket.socketpair()
            ours.callback(reports.close)
            theirs.callback(other.close)
            ring = LogRing.create()
            ours.callback(ring.close)
            stacks = ChildStacks(portable=warden.portable)
            ours.callback(stacks.close)
            null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            theirs.callback(os.close, null)
            pipes, log = (None, log) if log is not None else _log_pipes(ours, theirs)
            # Into the socket before the child is there: it finds it when it looks.
            send_frame(reports, _greeting(settings, board, slot, portable=warden.portable).pack())
            running = warden.launch(
                _program(settings),
                (null, *log, duplicate.fileno(), other.fileno(), ring.descriptor, stacks.descriptor),
                on_exit=on_exit,
                timeout=timeout,
            )
            return cls(running, sender, duplicate, reports, ring, stacks, pipes, ours.pop_all())

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

    def stacks(self) -> str:
        """What it runs now, whatever it is doing, waiting a second at most. For any thread.

        Raises:
            NoStacks: It cannot, or does not, say so.
        """
        return self._stacks.read(self.running)

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

    def cancel(self, lease: int, seq: int) -> None:
        """Tell it that this task is to end by itself, if it can. As soon as there is room for the word; so the next two."""
        self._say("cancel", lease, seq)

    def drain(self) -> None:
        """Tell it that all that runs is to end soon."""
        self._say("drain")

    def kept(self, seq: int, number: int) -> None:
        """Tell it that this checkpoint is durable."""
        self._say("kept", seq, number)

    def hurry(self) -> None:
        """Ask it to send the results that it holds back. It does so in the middle of a run, between two lines of Python."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, HURRY)

    def _say(self, *words: object) -> None:
        self._unsaid += frame(msgspec.msgpack.encode(words))
        self.say_rest()

    def say_rest(self) -> None:
        """Tell it what there was no room for before: a child that does not listen must hold nobody up."""
        while self._unsaid:
            try:
                sent = self._reports.send(self._unsaid, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError:  # there is nobody to tell
                sent = len(self._unsaid)
            self._unsaid = self._unsaid[sent:]

    def kill(self, timeout: float | None = 5.0) -> Exit | None:
        """End it and all that it started, waiting for that; None if it is not over after `timeout` seconds.

        What it had sent can still be read, and what it had not received taken back, until `close`.
        """
        return self.running.kill(timeout)

    def close(self) -> None:
        """Let go of all that was shared with it; a child that still lives then ends."""
        self._closing.close()


def _log_pipes(ours: contextlib.ExitStack, theirs: contextlib.ExitStack) -> tuple[tuple[int, int], tuple[int, int]]:
    """Two pipes: their reading and their writing ends."""
    (out, out_write), (err, err_write) = log_pipe(), log_pipe()
    for descriptor in (out, err):
        ours.callback(os.close, descriptor)
    for descriptor in (out_write, err_write):
        theirs.callback(os.close, descriptor)
    return (out, err), (out_write, err_write)


def _greeting(settings: ChildSettings, board: Blackboard, slot: int, *, portable: bool) -> Greeting:
    return Greeting(
        settings.app,
        str(board.path),
        slot,
        list(settings.path),
        portable,
        settings.executor,
        settings.parallel,
        list(settings.script_dirs),
        {key: list(of) for key, of in settings.webhooks.items()},
    )


def _program(settings: ChildSettings) -> Program:
    argv = (sys.executable, "-c", BOOT, _FLOOR, settings.label)
    return Program(argv, settings.env, settings.cwd, settings.nice, settings.data_limit)
