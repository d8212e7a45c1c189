"""Worker: the actor that owns one child process. It feeds the child, hears it, watches its limits, answers for its end.

The death of a child is data for its worker, which starts another. What is decided is decided by values: about tasks in
`tray.py`, about whose fault an end was in `blame.py`, about stillness in `silence.py`; what the child puts out goes its way in
`output.py`; what belongs to the child that there is now is in `live_child.py`. Here is the mailbox, and one timer that looks
at the child.
"""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from otpq.core.events import Cancelling, Checkpointed, Progressed
from otpq.faults import hit
from otpq.otp import CallFailed, GenServer, Reply, call, cancel_timer, cast, send_after
from otpq.worker.blackboard import Blackboard
from otpq.worker.blame import Answered, Cause, Verdict
from otpq.worker.child_link import ChildSettings
from otpq.worker.deadline import boottime_ns
from otpq.worker.errors import WardenError
from otpq.worker.live_child import Ended, LiveChild, Said, running_of
from otpq.worker.orders import (
    Answers,
    CancelJob,
    ChildGone,
    ChildReady,
    DropJobs,
    End,
    Finish,
    KeptCheckpoint,
    TakeBackJobs,
    Told,
    Welcome,
    Work,
    WorkerUp,
)
from otpq.worker.reports import Checkpoint, Progress, Ready, Refused, Results
from otpq.worker.tray import Tray
from otpq.worker.warden_server import Warden

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from otpq.core.events import Logged
    from otpq.otp import Caller, Server, TimerRef
    from otpq.worker.child_link import ChildLink
    from otpq.worker.pool_config import PoolConfig
    from otpq.worker.reports import Report
    from otpq.worker.warden_client import Exit

__all__ = ["Glimpse", "Worker"]

logger = logging.getLogger("otpq.worker")

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0
"""Seconds between tries to start a child that ends before it is ready: doubling from the one to the other."""

_IDLE_LOOK: Final = 1.0
"""Seconds between looks at a child that has nothing to do: it may write something all the same."""
_CLOSE_LOOK: Final = 0.02
"""As `_IDLE_LOOK`, while somebody waits for room in a pipe: with a pipe of 256 KiB, 12 MiB a second."""


@dataclass(frozen=True, slots=True)
class _TooSlow:
    """The time for loading the app is over."""

    link: ChildLink


@dataclass(frozen=True, slots=True)
class Glimpse:
    """What there is to be seen of a worker's child."""

    pid: int | None
    """None: there is none."""
    running: tuple[bytes, ...] = ()
    """The ids of the tasks that it runs."""
    stacks: Callable[[], str] | None = None
    """Has it write what it runs; to be called in any thread but a process's that others wait for. Raises `NoStacks`."""
    why_not: str = ""
    """Why there are no stacks."""


_START, _LOOK = "start", "look"


class Worker(GenServer):
    """One place to run tasks: some cells of its pool's blackboard, and the child that writes there."""

    callback_mark = 10.0  # a child's start may take the warden 5 s

    def init(self, config: PoolConfig, slot: int) -> None:
        """Tell the pool, and wait for its welcome before anything is written into the cells."""
        self._config = config
        self._slot = slot
        self._settings = ChildSettings(
            app=config.app if config.executor != "script" else "",
            label=f"otpq-child:{config.name}:{slot}",
            path=(*config.path, *sys.path),
            env={**os.environ, **config.environment},
            executor=config.executor,
            parallel=config.parallel,
            script_dirs=config.script_dirs,
            webhooks=config.webhooks,
        )
        self._tray = Tray()
        self._child: LiveChild | None = None
        self._is_finishing = False
        self._timer: TimerRef | None = None
        self._looks_every = 0.0
        self._error = ""
        self._pause = 0.0
        cast(config.pool, WorkerUp(slot, self.pid))

    # --- for others -------------------------------------------------------------------------------------------------

    @staticmethod
    def glimpse(worker: Server, timeout: float) -> Glimpse:
        """What there is to be seen of its child now.

        Raises:
            CallFailed: There is no such worker, or it does not answer.
        """
        glimpse: Glimpse = call(worker, "glimpse", timeout)
        return glimpse

    # --- what the pool wants ----------------------------------------------------------------------------------------

    def handle_cast(self, request: Any) -> None:
        """Do what the pool says."""
        match request:
            case Work():
                self._take_work(request)
            case TakeBackJobs(seqs):
                self._take_back(set(seqs))
            case CancelJob():
                self._cancel(request)
            case DropJobs(seqs):
                self._drop(set(seqs))
            case KeptCheckpoint(seq, number):
                if self._child is not None:
                    self._child.link.kept(seq, number)
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

    def handle_call(self, request: Any, caller: Caller) -> Reply:  # noqa: ARG002 - the callback's form, and one question
        """Say what there is to be seen."""
        child = self._child
        if child is None:
            return Reply(Glimpse(None, why_not=f"it has no child now{self._error and f': {self._error}'}"))
        running = tuple(entry.id for entry in running_of(child.views()))
        if self._config.executor == "script":
            return Reply(Glimpse(child.link.pid, running, why_not="it runs scripts, which have no Python stacks"))
        if child.is_portable and not child.is_ready:
            return Reply(Glimpse(child.link.pid, running, why_not="its child is loading the app"))
        return Reply(Glimpse(child.link.pid, running, child.link.stacks))

    def _take_work(self, work: Work) -> None:
        hit("work.before")
        lease, jobs, child = work.lease, work.jobs, self._child
        # What is here already, under a lease that is stale, is about to be ended: it must not run beside itself.
        is_closed = child is None or not child.is_ready or self._is_finishing
        refused = {job.seq for job in jobs} if is_closed else self._tray.among(jobs)
        if refused:
            self._answer(lease, Answered(returned=[job.seq for job in jobs if job.seq in refused]))
            jobs = [job for job in jobs if job.seq not in refused]
        if not jobs:
            return
        if child is not None and not self._tray:
            child.silence.forget()
        self._tray.give(lease, jobs, work.packet, alone=work.alone)
        self._pump()
        if self._timer is None or self._tray.look_every < self._looks_every:
            self._look_later()

    def _pump(self) -> None:
        child = self._child
        if child is not None and child.verdict is None and not child.retired:
            child.memory.limit(self._tray.allowance(self._config.parallel))
            self._tray.pump(child.link.send)

    def _take_back(self, seqs: set[int] | None) -> None:
        """Hand back what of these (None: of all) the child has not received."""
        for lease, found in self._take_out(seqs).items():
            self._answer(lease, Answered(returned=found))

    def _take_out(self, seqs: set[int] | None) -> dict[int, list[int]]:
        packets = self._child.link.take_back() if self._child is not None else []
        found = self._tray.take_out(packets, lambda seq: seqs is None or seq in seqs)
        self._pump()
        return found

    def _cancel(self, order: CancelJob) -> None:
        self._take_back({order.seq})
        if self._tray.doom(order.seq, Cause.CANCELLED, boottime_ns() + int(order.grace * 1e9)):
            if self._child is not None:
                self._child.link.cancel(order.lease, order.seq)
            self._tell(Cancelling(session=self._config.session, lease=order.lease, seq=order.seq))
            self._look_later()

    def _drop(self, seqs: set[int]) -> None:
        self._take_out(seqs)
        now_ns = boottime_ns()
        for seq in seqs:
            self._tray.doom(seq, Cause.DROPPED, now_ns)
        self._look()

    def _finish(self) -> None:
        """Run what the child has received, asking it to be quick, and start no other child."""
        self._is_finishing = True
        child = self._child
        if child is None:
            self._tell(ChildGone(self._slot, self._error, is_last=True))
            return
        self._take_back(None)
        child.link.drain()
        if not child.is_ready or not (child.retired or child.link.finish()):
            self._kill(Verdict(Cause.DRAINED))

    # --- the child --------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        if self._is_finishing or self._child is not None:
            return
        try:
            client = Warden.client(self._config.warden)
            child = LiveChild(self._config, self._slot, client, self._settings, self._board, self._tray)
        except (WardenError, CallFailed, OSError) as error:
            self._start_later(f"it could not be started: {error}")
            return
        self._disown = self.own(child.let_go)
        child.listen(self.pid)
        self._child = child
        send_after(self._config.load_timeout, self.pid, _TooSlow(child.link))
        self._look_later()

    def _start_later(self, error: str) -> None:
        self._error = error
        self._pause = min(_LONGEST_PAUSE, max(_FIRST_PAUSE, self._pause * 2))
        logger.warning("%r: no child: %s; the next try in %.1f s", self.pid, error, self._pause)
        self._tell(ChildGone(self._slot, error, is_failing=True))
        send_after(self._pause, self.pid, _START)

    def handle_info(self, message: Any) -> None:
        """Act on what the child says and how it ends, and on the timers."""
        child = self._child
        match message:
            case Said(link, reports):
                if child is not None and link is child.link:
                    self._hear(child, reports)
            case Ended(link, exit_):
                if child is not None and link is child.link:
                    self._bury(child, exit_)
            case _TooSlow(link):
                if child is not None and link is child.link and not child.is_ready:
                    self._error = f"its app was not loaded within {self._config.load_timeout:g} s"
                    self._kill(Verdict(Cause.STUCK))
            case _ if message == _LOOK:
                self._timer = None
                self._look()
            case _:
                self._start()

    def _hear(self, child: LiveChild, reports: list[Report]) -> None:
        told: list[Progressed | Checkpointed | Logged] = []
        for report in reports:
            match report:
                case Results():
                    self._hear_results(child, report, told)
                case Ready():
                    self._welcome(child, report)
                case Progress() | Checkpoint():
                    told += self._read_word(report)
                case Refused():
                    kind, text, *_ = msgspec.msgpack.decode(report.error)
                    self._error = f"it could not load the app {self._config.app!r}: {kind}: {text}"
        self._tell_all(told)
        self._pump()

    def _hear_results(self, child: LiveChild, report: Results, told: list[Progressed | Checkpointed | Logged]) -> None:
        """Answer for what has ended, after all that was said before it ended."""
        lease, seqs = report.lease, [result.seq for result in report.results]
        told += child.collect_last(lease, seqs)
        self._tell_all(told)
        told.clear()
        # What a look has seen already counts too: the child's last words may come after it, and before its end.
        is_doomed = child.verdict is not None and child.verdict.cause is Cause.MEMORY
        is_oom = child.memory.has_run_out() or is_doomed
        answer = self._tray.answered(report, child.ran, child.handlers, is_oom=is_oom)
        self._answer(lease, answer)
        child.done += len(seqs)
        if not (child.retired or child.verdict or self._is_finishing) and (why := child.why_replace(lease)):
            self._retire(child, why)

    def _read_word(self, report: Progress | Checkpoint) -> Iterable[Progressed | Checkpointed]:
        lease, seq, session = report.lease, report.seq, self._config.session
        if not self._tray.is_open(lease, seq):
            return
        if isinstance(report, Progress):
            fraction, message = report.fraction, report.message
            yield Progressed(session=session, lease=lease, seq=seq, fraction=fraction, message=message)
        else:
            number, value = report.number, report.value
            yield Checkpointed(session=session, lease=lease, seq=seq, number=number, value=value)

    def _welcome(self, child: LiveChild, ready: Ready) -> None:
        config = self._config
        child.handlers = tuple(ready.handlers)
        name = f"{config.name}/{self._slot}"
        child.ran = msgspec.msgpack.encode([config.node, config.incarnation, name, ready.pid])
        child.is_ready = True
        self._pause = 0.0
        self._error = ""
        self._tell(ChildReady(self._slot, ready.pid, ready.handlers))

    def _retire(self, child: LiveChild, why: str) -> None:
        """Have a child replaced as soon as it has done what it has received. Charged to nobody."""
        child.retired = f"the child (pid {child.link.pid}) was replaced {why}"  # from here on it is sent nothing
        self._take_back(None)
        if not child.link.finish():
            child.retired = ""

    def _bury(self, child: LiveChild, exit_: Exit) -> None:
        """The child is gone: answer for all that it had, and start the next one."""
        views, words = child.views(), child.describe(exit_)
        running = running_of(views)
        told = child.collect_all(running)
        answers = self._tray.ended(views, child.explain(running), words, child.ran)
        child.clear()
        self._disown()
        child.close()
        self._child = None
        # First, so that the pool does not ask for us what comes back now.
        self._tell(ChildGone(self._slot, words))
        self._tell_all(told)
        for lease, answer in answers.items():
            self._answer(lease, answer)
        if self._is_finishing:
            self._tell(ChildGone(self._slot, words, is_last=True))
        elif child.is_ready:
            self._start()
        else:
            self._start_later(self._error or f"{words} before it was ready")

    def _kill(self, verdict: Verdict) -> None:
        """End the child and all that it started; `_bury` follows."""
        if self._child is not None:
            self._child.kill(verdict)

    # --- its limits -------------------------------------------------------------------------------------------------

    def _look_later(self) -> None:
        """Set the one timer, which an earlier one gives way to."""
        if self._timer is not None:
            cancel_timer(self._timer)
        child = self._child
        is_idle = child is not None and child.is_ready and not self._tray
        self._looks_every = _IDLE_LOOK if is_idle else self._tray.look_every
        if child is not None and child.is_held_up:
            self._looks_every = _CLOSE_LOOK
        self._timer = send_after(self._looks_every, self.pid, _LOOK)

    def _look(self) -> None:
        child = self._child
        if child is None:
            return
        self._tell_all(child.collect())
        child.link.say_rest()
        if self._tray:
            verdict = child.judge()
            if verdict is not None:
                child.kill(verdict)
            else:
                child.hurry()
                self._pump()
        self._look_later()

    # --- what is told -----------------------------------------------------------------------------------------------

    def _answer(self, lease: int, answer: Answered) -> None:
        cast(
            self._config.pool,
            Answers(self._slot, lease, answer.results, answer.returned, answer.interrupted, answer.failed),
        )

    def _tell_all(self, events: Iterable[Progressed | Checkpointed | Logged]) -> None:
        told = tuple(events)
        if told:
            self._tell(Told(self._slot, told))

    def _tell(self, message: object) -> None:
        cast(self._config.pool, message)
