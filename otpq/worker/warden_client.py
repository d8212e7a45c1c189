"""The node's side of its warden: start one, have it start programs, hear of their end, kill them.

Everything here may be called from any thread; one thread of its own waits for what the warden says. It keeps nothing
after the warden is gone: `on_lost` is told, all running programs have ended by then, and the owner starts another client.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otpq.worker import tombstone
from otpq.worker.deadline import NEVER, Deadline
from otpq.worker.descendants import marked
from otpq.worker.errors import ChildRefused, WardenLost, WardenTimeout
from otpq.worker.frames import FrameReader, send_frame
from otpq.worker.kernel import is_portable
from otpq.worker.spawn import MARK
from otpq.worker.warden import BOOT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["Exit", "Program", "Running", "WardenClient", "end_marked"]

logger = logging.getLogger("otpq.worker")

_FLOOR = Path(__file__).parents[1]
_LOST_CODE = -int(signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class Program:
    """What to start, and how."""

    argv: Sequence[str]
    env: Mapping[str, str] | None = None
    """All of its environment; None: the node's, as it was when the warden was started."""
    cwd: str | None = None
    nice: int = 0
    data_limit: int | None = None
    """Bytes of private memory it may have (RLIMIT_DATA); what asks for more gets a MemoryError."""


@dataclass(frozen=True, slots=True)
class Exit:
    """How a program ended. When the node hears of it, nothing that it had started runs any more (but see `proven`)."""

    code: int
    """Its exit code, or minus the signal that killed it."""
    user: float = 0.0
    """Seconds of CPU, its waited-for descendants included; as `system`."""
    system: float = 0.0
    max_rss: int = 0
    """The most memory it ever had resident: KiB on Linux, bytes on macOS."""
    proven: bool = True
    """False where what it left behind could not be seen: without a subreaper, or when the warden was killed altogether."""


class Running:
    """A program that the warden started. `exit` is set once, when it is over."""

    def __init__(self, client: WardenClient, number: int, on_exit: Callable[[Exit], None] | None) -> None:
        """Made by `WardenClient.launch` alone."""
        self.number = number
        self.pid = 0
        self.exit: Exit | None = None
        self._client = client
        self._on_exit = on_exit
        self._pidfd: int | None = None
        self._answer = ""  # "started" or the reason of a refusal
        self._answered = threading.Event()
        self._over = threading.Event()
        self._lock = threading.Lock()  # the pidfd must not be closed, and its number reused, under a kill

    def wait(self, timeout: float | None = None) -> Exit | None:
        """How it ended; None if it runs on after `timeout` seconds."""
        self._over.wait(timeout)
        return self.exit

    def kill(self, timeout: float | None = 5.0) -> Exit | None:
        """End it and all that it started; how it ended, or None if that was not over after `timeout` seconds.

        It needs no warden that answers: the child itself is killed from here, where there are pidfds.
        """
        self._signal_here(signal.SIGKILL)
        self._client.tell({"do": "kill", "id": self.number})
        return self.wait(timeout)

    def signal(self, what: int) -> None:
        """Send it a signal, SIGTERM for instance; nothing happens if it has ended."""
        if not self._signal_here(what):
            self._client.tell({"do": "signal", "id": self.number, "signal": int(what)})

    def _signal_here(self, what: int) -> bool:
        """Send it a signal by its pidfd, which never means a later process; False if there is none."""
        with self._lock:
            if self._pidfd is None:
                return False
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, what)
            return True

    # --- called by the client's thread ------------------------------------------------------------------------------

    def _set_started(self, pid: int, pidfd: int | None) -> None:
        self.pid, self._pidfd, self._answer = pid, pidfd, "started"
        self._answered.set()

    def _set_refused(self, reason: str) -> None:
        self._answer = reason
        self._answered.set()

    def _set_exit(self, end: Exit) -> None:
        with self._lock:
            if self._pidfd is not None:
                os.close(self._pidfd)
                self._pidfd = None
        self.exit = end
        self._over.set()
        self._answered.set()
        if self._on_exit is not None:
            try:
                self._on_exit(end)
            except Exception:
                # The caller's; the thread that tells everybody of every end must go on.
                logger.exception("on_exit of program %d failed", self.number)

    def _outlived_warden(self, *, portable: bool) -> Exit:
        """Make sure that the child is gone although nobody can wait for it, and say so."""
        self._signal_here(signal.SIGKILL)
        with self._lock:
            if self._pidfd is not None:
                select.select([self._pidfd], [], [])  # readable when it has ended, in whoever's arms
        if portable and self.pid:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        return Exit(_LOST_CODE, proven=False)


class WardenClient:
    """One warden, from its start to its end.

    Attributes:
        deadline: The node's lease, to be moved forward with every acknowledged heartbeat; the warden watches it.
        keeper, starter: The pids of its two processes.
        lost: Why there is no warden any more; None while there is one.
    """

    def __init__(
        self,
        directory: Path,
        node: str,
        incarnation: str,
        *,
        lease_until_ns: int = NEVER,
        on_lost: Callable[[WardenLost], None] | None = None,
        portable: bool | None = None,
        timeout: float = 5.0,
    ) -> None:
        """Start the warden and wait until it is ready.

        Args:
            directory: The node's directory, which nobody else uses at the same time.
            node: The node's name, for the tombstone.
            incarnation: New at every start of the node; part of a file's name.
            lease_until_ns: The first `deadline`, if there is one; one that is set later is noticed within a second.
            on_lost: Called once, from the client's thread, when the warden is gone though nobody called `close`; all
                programs' `on_exit` have been called before.
            portable: Do without what Linux alone has; None: `is_portable()`.
            timeout: Seconds to wait for it.

        Raises:
            WardenLost: A tombstone of this incarnation stands, or the warden ended at once.
            WardenTimeout: It was not ready in time; it has been killed.
        """
        self.directory = directory
        self.node = node
        self.incarnation = incarnation
        self.portable = is_portable() if portable is None else portable
        self.lost: WardenLost | None = None
        self.keeper = self.starter = 0
        if self._is_fenced():
            raise WardenLost(incarnation, fenced=True)
        self.deadline = Deadline.of(directory, incarnation)
        if lease_until_ns != NEVER:
            self.deadline.set(lease_until_ns)
        self._on_lost = on_lost
        self._numbers = count(1)
        self._programs: dict[int, Running] = {}
        self._pongs: dict[int, threading.Event] = {}
        self._lock = threading.Lock()  # the tables above, and: one frame at a time on the socket
        self._closing = False
        self._is_swept = False
        self._ready = threading.Event()
        self._gone = threading.Event()
        self._socket, self._process = self._launch_warden()
        self._thread = threading.Thread(target=self._listen, name="warden-client", daemon=True)
        self._thread.start()
        if not self._ready.wait(timeout):
            self._process.kill()
            raise WardenTimeout("start", timeout)
        if self.lost is not None:
            raise self.lost

    def _launch_warden(self) -> tuple[socket.socket, subprocess.Popen[bytes]]:
        ours, theirs = socket.socketpair()
        with theirs:
            arguments = [str(_FLOOR), str(self.directory), self.node, self.incarnation, "1" if self.portable else "0"]
            # Popen without preexec_fn runs no Python between fork and exec, so the node's threads are no danger. A session
            # of its own: no terminal's Ctrl-C reaches it, nor the children that it starts.
            process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-I", "-S", "-c", BOOT, *arguments], stdin=theirs.fileno(), start_new_session=True
            )
        return ours, process

    # --- what the owner asks ----------------------------------------------------------------------------------------

    def launch(
        self,
        program: Program,
        descriptors: Sequence[int],
        *,
        on_exit: Callable[[Exit], None] | None = None,
        timeout: float = 5.0,
    ) -> Running:
        """Start a program; returns when it runs.

        Args:
            program: What to start.
            descriptors: The i-th becomes its descriptor i: standard input, output and error, then what it expects. They
                stay open here, for the caller to close.
            on_exit: Called once, from the client's thread, when it is over; possibly before `launch` returns.
            timeout: Seconds to wait for its start.

        Raises:
            ChildRefused: It could not be started; the reason is the system's.
            WardenLost: There is no warden.
            WardenTimeout: No answer in time. It will be killed as soon as it starts.
        """
        running = Running(self, next(self._numbers), on_exit)
        with self._lock:
            self._check_lost()
            self._programs[running.number] = running
        order = {
            "do": "start",
            "id": running.number,
            "argv": list(program.argv),
            "env": None if program.env is None else dict(program.env),
            "cwd": program.cwd,
            "nice": program.nice,
            "data_limit": program.data_limit,
            "count": len(descriptors),
        }
        self.tell(order, descriptors)
        if not running._answered.wait(timeout):  # noqa: SLF001 - the two classes are one idea
            self.tell({"do": "kill", "id": running.number})
            raise WardenTimeout("start", timeout)
        self._check_started(running)
        return running

    def _check_started(self, running: Running) -> None:
        answer = running._answer  # noqa: SLF001
        if not answer:  # it was answered by the warden's end
            raise self.lost or WardenLost(self.incarnation, fenced=self._is_fenced())
        if answer != "started":
            raise ChildRefused(answer)

    def ping(self, timeout: float = 1.0) -> float:
        """Seconds that the warden took to answer.

        Raises:
            WardenLost: There is none.
            WardenTimeout: It does not answer; `abandon` it.
        """
        number, answered, began = next(self._numbers), threading.Event(), time.monotonic()
        with self._lock:
            self._check_lost()
            self._pongs[number] = answered
        try:
            self.tell({"do": "ping", "id": number})
            if not answered.wait(timeout):
                raise WardenTimeout("ping", timeout)
            self._check_lost()
        finally:
            self._pongs.pop(number, None)
        return time.monotonic() - began

    def close(self, timeout: float | None = 5.0) -> bool:
        """Say goodbye: every child is killed and the tombstone written. True if it stands when this returns.

        For the end of a node alone, since a tombstone ends the incarnation.
        """
        self._closing = True
        with contextlib.suppress(OSError):
            # Not `close`: the thread is reading from it. Both directions, which the keeper sees as a hang-up.
            self._socket.shutdown(socket.SHUT_RDWR)
        return self.wait_gone(timeout) and self._is_fenced()

    def abandon(self, timeout: float | None = 5.0) -> bool:
        """Give up a warden that does not answer, with all that it runs; True if it is gone when this returns.

        Its inner half is killed, and the outer one ends the rest, without a tombstone: the incarnation goes on.
        """
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.starter, signal.SIGKILL)
        return self.wait_gone(timeout)

    def wait_gone(self, timeout: float | None) -> bool:
        """Whether there is no warden any more, and nothing that it ran; waits up to `timeout` seconds for it."""
        return self._gone.wait(timeout)

    def tell(self, what: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Send one order of the protocol. To a warden that is gone, nothing: whoever waits for an answer is told so."""
        with self._lock, contextlib.suppress(OSError):
            send_frame(self._socket, json.dumps(what).encode(), descriptors)

    def _check_lost(self) -> None:
        if self.lost is not None:
            raise self.lost

    def _is_fenced(self) -> bool:
        return tombstone.path_of(self.directory, self.incarnation).exists()

    # --- the thread -------------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        reader = FrameReader(self._socket)
        try:
            while not reader.closed:
                for content in reader.receive():
                    self._hear(json.loads(content), reader)
        finally:
            # Also when the warden made no sense: without this thread nobody would hear of any end, so it is over.
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            self._bury()

    def _hear(self, news: dict[str, Any], reader: FrameReader) -> None:
        match news.pop("is"):
            case "ready":
                self.keeper, self.starter = news["keeper"], news["starter"]
                self._ready.set()
            case "started":
                pidfd = reader.descriptors.popleft() if news["count"] else None
                self._programs[news["id"]]._set_started(news["pid"], pidfd)  # noqa: SLF001
            case "refused":
                self._programs.pop(news["id"])._set_refused(news["reason"])  # noqa: SLF001
            case "exited":
                end = Exit(news["code"], news["user"], news["system"], news["max_rss"], proven=not self.portable)
                self._programs.pop(news["id"])._set_exit(end)  # noqa: SLF001
            case "pong":
                answered = self._pongs.get(news["id"])
                if answered is not None:
                    answered.set()
            case "swept":
                self._is_swept = True
                self.tell({"do": "release"})
            case unknown:
                raise ValueError(f"the warden said {unknown!r}")

    def _bury(self) -> None:
        """The warden is gone; its last word tells whether it ended what it ran, and if not, that is done as well as can be."""
        self._process.wait()
        fenced = self._is_fenced()
        proven = self._is_swept or fenced
        if not proven and not self.portable:
            end_marked(self.incarnation)
        lost = WardenLost(self.incarnation, fenced=fenced)
        with self._lock:
            self.lost = lost
            programs, self._programs = list(self._programs.values()), {}
        for running in programs:
            end = running._outlived_warden(portable=self.portable)  # noqa: SLF001
            running._set_exit(Exit(end.code, proven=proven))  # noqa: SLF001
        for answered in list(self._pongs.values()):
            answered.set()
        self._socket.close()
        self._ready.set()
        self._gone.set()
        if self._on_lost is not None and not self._closing:
            self._on_lost(lost)


def end_marked(incarnation: str) -> list[int]:
    """Kill every process that was started under `incarnation` and still carries its mark; returns their pids.

    The last resort where node and warden were killed in the same instant: a new incarnation calls it for the earlier ones
    that left no tombstone. It is no proof. It returns when it finds none, or only such as may not be killed.
    """
    killed: set[int] = set()
    while fresh := [pid for pid in marked(f"{MARK}={incarnation}") if pid not in killed]:
        for pid in fresh:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        killed.update(fresh)
    return sorted(killed)
