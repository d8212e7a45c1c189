"""Worker: the actor that owns one child process. It feeds the child, hears it, watches its limits, answers for its end.

The death of a child is data for its worker, which starts another. What it decides about tasks is in `tray.py`; here is
what touches the world: one thread that listens to the child, one timer that looks at it.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from otpq.core.events import Cancelling
from otpq.faults import hit
from otpq.otp import CallFailed, GenServer, cancel_timer, cast, send, send_after
from otpq.worker.blackboard import Blackboard
from otpq.worker.child_link import ChildLink, ChildSettings
from otpq.worker.deadline import boottime_ns
from otpq.worker.errors import WardenError
from otpq.worker.orders import (
    Answers,
    CancelJob,
    ChildGone,
    ChildReady,
    DropJobs,
    End,
    Finish,
    TakeBackJobs,
    Welcome,
    Work,
    WorkerUp,
)
from otpq.worker.reports import Checkpoint, Progress, Ready, Refused, Results
from otpq.worker.tray import Answered, Cause, Tray, Verdict, describe_exit
from otpq.worker.warden_server import Warden

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.otp import Pid, TimerRef
    from otpq.worker.orders import Job
    from otpq.worker.pool_config import PoolConfig
    from otpq.worker.reports import Report
    from otpq.worker.warden_client import Exit, WardenClient

__all__ = ["Worker"]

logger = logging.getLogger("otpq.worker")

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0
"""Seconds between tries to start a child that ends before it is ready: doubling from the one to the other."""

_FAREWELL: Final = 1.0
"""Seconds between a child's last word, the end of its stream, and its exit."""

_LISTEN: Final = 1.0
"""Seconds after which the listener looks whether a child that says nothing has ended: a daemon may keep its stream open."""


@dataclass(frozen=True, slots=True)
class _Said:
    link: ChildLink
    reports: list[Report]


@dataclass(frozen=True, slots=True)
class _Ended:
    """The listener's last word; nobody but the worker touches the child's sockets any more."""

    link: ChildLink
    exit: Exit


@dataclass(frozen=True, slots=True)
class _TooSlow:
    """The time for loading the app is over."""

    link: ChildLink


_START, _LOOK = "start", "look"


class Worker(GenServer):
    """One place to run tasks: slot `slot` of its pool's blackboard, and the child that writes there."""

    callback_mark = 10.0  # a child's start may take the warden 5 s

    def init(self, config: PoolConfig, slot: int) -> None:
        """Tell the pool, and wait for its welcome before anything is written into the slot."""
        self._config = config
        self._slot = slot
        self._settings = ChildSettings(
            app=config.app,
            label=f"otpq-child:{config.name}:{slot}",
            path=(*config.path, *sys.path),
            env={**os.environ, **config.environment},
        )
        self._tray = Tray()
        self._link: ChildLink | None = None
        self._client: WardenClient | None = None
        self._disown: Callable[[], None] | None = None
        self._is_ready = False
        self._is_finishing = False
        self._timer: TimerRef | None = None
        self._looks_every = 0.0
        self._verdict: Verdict | None = None
        self._handlers: tuple[str, ...] = ()
        self._ran = b""
        self._error = ""
        self._pause = 0.0
        self._turn = -1
        self._turn_since_ns = 0
        cast(config.pool, WorkerUp(slot, self.pid))

    # --- what the pool wants ----------------------------------------------------------------------------------------

    def handle_cast(self, request: Any) -> None:
        """Do what the pool says."""
        match request:
            case Work(lease, jobs, packet):
                self._take_work(lease, jobs, packet)
            case TakeBackJobs(seqs):
                self._take_back(set(seqs))
            case CancelJob():
                self._cancel(request)
            case DropJobs(seqs):
                self._drop(set(seqs))
            case Welcome():
                self._board = Blackboard(self._config.blackboard)
                self.own(self._board.close)
                self._start()
            case Finish():
                self._finish()
            case End():
                self._finish()
                self._kill(Verdict(Cause.DRAINED))
            case _:
                logger.warning("%r drops %r", self.pid, request)

    def _take_work(self, lease: int, jobs: list[Job], packet: int) -> None:
        hit("work.before")
        # What is here already, under a lease that is stale, is about to be ended: it must not run beside itself.
        is_closed = not self._is_ready or self._is_finishing
        refused = {job.seq for job in jobs} if is_closed else self._tray.among(jobs)
        if refused:
            self._answer(lease, Answered(returned=[job.seq for job in jobs if job.seq in refused]))
            jobs = [job for job in jobs if job.seq not in refused]
        if not jobs:
            return
        if not self._tray:
            self._turn = -1  # its silence is counted from now on
        self._tray.give(lease, jobs, packet)
        self._pump()
        if self._timer is None or self._tray.look_every < self._looks_every:
            self._look_later()

    def _pump(self) -> None:
        if self._link is not None and self._verdict is None:
            self._tray.pump(self._link.send)

    def _take_back(self, seqs: set[int] | None) -> None:
        """Hand back what of these (None: of all) the child has not received."""
        for lease, found in self._take_out(seqs).items():
            self._answer(lease, Answered(returned=found))

    def _take_out(self, seqs: set[int] | None) -> dict[int, list[int]]:
        packets = self._link.take_back() if self._link is not None else []
        found = self._tray.take_out(packets, lambda seq: seqs is None or seq in seqs)
        self._pump()
        return found

    def _cancel(self, order: CancelJob) -> None:
        self._take_back({order.seq})
        if self._tray.doom(order.seq, Cause.CANCELLED, boottime_ns() + int(order.grace * 1e9)):
            self._tell(Cancelling(session=self._config.session, lease=order.lease, seq=order.seq))
            self._look_later()

    def _drop(self, seqs: set[int]) -> None:
        self._take_out(seqs)
        now_ns = boottime_ns()
        for seq in seqs:
            self._tray.doom(seq, Cause.DROPPED, now_ns)
        self._look()

    def _finish(self) -> None:
        """Run what the child has received, and start no other child."""
        self._is_finishing = True
        if self._link is None:
            self._tell(ChildGone(self._slot, self._error, is_last=True))
            return
        self._take_back(None)
        if not self._is_ready or not self._link.finish():
            self._kill(Verdict(Cause.DRAINED))

    # --- the child --------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        if self._is_finishing or self._link is not None:
            return
        try:
            client = Warden.client(self._config.warden)
            link = ChildLink.start(client, self._settings, self._board, self._slot)
        except (WardenError, CallFailed, OSError) as error:
            self._start_later(f"it could not be started: {error}")
            return
        listener = threading.Thread(
            target=_listen, args=(link, self.pid), name=f"child-listener-{self._slot}", daemon=True
        )
        self._disown = self.own(partial(_let_go, link, listener))
        listener.start()
        self._client, self._link, self._turn = client, link, -1
        self._tray.begin(self._board.read(self._slot))  # its first packet is still to be sent
        send_after(self._config.load_timeout, self.pid, _TooSlow(link))

    def _start_later(self, error: str) -> None:
        self._error = error
        self._pause = min(_LONGEST_PAUSE, max(_FIRST_PAUSE, self._pause * 2))
        logger.warning("%r: no child: %s; the next try in %.1f s", self.pid, error, self._pause)
        self._tell(ChildGone(self._slot, error, is_failing=True))
        send_after(self._pause, self.pid, _START)

    def handle_info(self, message: Any) -> None:
        """Act on what the child says and how it ends, and on the timers."""
        match message:
            case _Said(link, reports):
                if link is self._link:
                    self._hear(reports)
            case _Ended(link, exit_):
                if link is self._link:
                    self._bury(link, exit_)
            case _TooSlow(link):
                if link is self._link and not self._is_ready:
                    self._error = f"its app was not loaded within {self._config.load_timeout:g} s"
                    self._kill(Verdict(Cause.STUCK))
            case _ if message == _LOOK:
                self._timer = None
                self._look()
            case _:
                self._start()

    def _hear(self, reports: list[Report]) -> None:
        for report in reports:
            match report:
                case Results():
                    answer = self._tray.answered(report, self._ran, self._handlers)
                    self._answer(report.lease, answer)
                case Ready():
                    self._welcome(report)
                case Progress() | Checkpoint():
                    logger.debug("%r hears %r", self.pid, report)
                case Refused():
                    kind, text, *_ = msgspec.msgpack.decode(report.error)
                    self._error = f"it could not load the app {self._config.app!r}: {kind}: {text}"
        self._pump()

    def _welcome(self, ready: Ready) -> None:
        config = self._config
        self._handlers = tuple(ready.handlers)
        name = f"{config.name}/{self._slot}"
        self._ran = msgspec.msgpack.encode([config.node, config.incarnation, name, ready.pid])
        self._is_ready = True
        self._pause = 0.0
        self._error = ""
        self._tell(ChildReady(self._slot, ready.pid, ready.handlers))

    def _bury(self, link: ChildLink, exit_: Exit) -> None:
        """The child is gone: answer for all that it had, and start the next one."""
        view = self._board.read(self._slot)
        words = describe_exit(link.pid, exit_.code)
        verdict = self._verdict
        if verdict is None and self._client is not None and self._client.lost is not None:
            verdict = Verdict(Cause.WARDEN_LOST)
        answers = self._tray.ended(view, verdict, words, self._ran)
        self._board.clear(self._slot)
        if self._disown is not None:
            self._disown()
        link.close()
        was_ready, self._is_ready, self._link, self._verdict = self._is_ready, False, None, None
        # First, so that the pool does not ask for us what comes back now.
        self._tell(ChildGone(self._slot, words))
        for lease, answer in answers.items():
            self._answer(lease, answer)
        if self._is_finishing:
            self._tell(ChildGone(self._slot, words, is_last=True))
        elif was_ready:
            self._start()
        else:
            self._start_later(self._error or f"{words} before it was ready")

    def _kill(self, verdict: Verdict) -> None:
        """End the child and all that it started; `_bury` follows."""
        if self._link is not None and self._verdict is None:
            self._verdict = verdict
            self._link.running.kill(timeout=0)

    # --- its limits -------------------------------------------------------------------------------------------------

    def _look_later(self) -> None:
        """Set the one timer, which an earlier one gives way to."""
        if self._timer is not None:
            cancel_timer(self._timer)
        self._looks_every = self._tray.look_every
        self._timer = send_after(self._looks_every, self.pid, _LOOK)

    def _look(self) -> None:
        if self._link is None or not self._tray:
            return
        now_ns = boottime_ns()
        view = self._board.read(self._slot)
        resident = partial(_resident_of, self._link.pid)
        verdict = self._tray.judge(view.running, now_ns, resident) or self._judge_silence(self._link, view.turn, now_ns)
        if verdict is not None:
            self._kill(verdict)
        else:
            self._pump()
        self._look_later()

    def _judge_silence(self, link: ChildLink, turn: int, now_ns: int) -> Verdict | None:
        """A child that is stopped, or that has jobs and begins none, is ended."""
        if turn != self._turn:
            self._turn, self._turn_since_ns = turn, now_ns
            return None
        silent = (now_ns - self._turn_since_ns) / 1e9
        if silent < self._config.silence:
            return None
        if _state_of(link.pid) in {"T", "t"}:
            return Verdict(Cause.STUCK, None, f"the child (pid {link.pid}) was stopped (state T) for {silent:.0f} s")
        if turn % 2 == 0 and silent >= 2 * self._config.silence:
            return Verdict(Cause.STUCK, None, f"the child (pid {link.pid}) began no task for {silent:.0f} s")
        return None

    # --- what is told -----------------------------------------------------------------------------------------------

    def _answer(self, lease: int, answer: Answered) -> None:
        cast(
            self._config.pool,
            Answers(self._slot, lease, answer.results, answer.returned, answer.interrupted, answer.failed),
        )

    def _tell(self, message: object) -> None:
        cast(self._config.pool, message)


def _listen(link: ChildLink, worker: Pid) -> None:
    """Pass on what a child says until it is gone. The thread's whole life; it alone reads the child's stream."""
    try:
        while not link.is_closed:
            is_over = link.running.exit is not None  # asked before the read, so that nothing can come after it
            reports = link.read(0.0 if is_over else _LISTEN)
            if reports:
                send(worker, _Said(link, reports))
            elif is_over:
                break
        exit_ = link.running.wait(_FAREWELL)
    except ValueError as error:  # of the child's making: a frame or a report that makes no sense
        logger.error("child %d talks nonsense and is killed: %s", link.pid, error)  # noqa: TRY400 - not our traceback
        exit_ = None
    # A child that has no stream any more, because its handler closed it, is of no use.
    while exit_ is None:
        exit_ = link.kill(_FAREWELL)
    send(worker, _Ended(link, exit_))


def _let_go(link: ChildLink, listener: threading.Thread) -> None:
    """End a child on its worker's death: when this returns, nothing of it runs."""
    link.kill()
    if listener.ident is not None:
        listener.join(_FAREWELL + _LISTEN + 1.0)
    link.close()


def _state_of(pid: int) -> str:
    """The letter that the kernel gives a process's state; none where it does not tell."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return ""
    return stat[stat.rindex(b")") + 2 : stat.rindex(b")") + 3].decode()


def _resident_of(pid: int) -> float:
    """The MiB that a process has in memory; 0 where the system does not tell, or it has just ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_bytes().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
