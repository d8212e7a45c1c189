"""The child that a worker has now, with all that goes with it: started together, looked after together, let go together.

Its link, its cells of the blackboard, what it puts out, its memory, its silence, and the thread that listens to it. It knows no
pool; what the child's jobs are is asked of the tray.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from otpq.otp import send
from otpq.worker.blame import Cause, Verdict, describe_exit
from otpq.worker.child_link import ChildLink, ChildSettings
from otpq.worker.child_memory import ChildMemory
from otpq.worker.deadline import boottime_ns
from otpq.worker.output import ChildOutput
from otpq.worker.silence import Silence
from otpq.worker.task_log import TaskLog

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otpq.core.events import Logged
    from otpq.otp import Pid
    from otpq.worker.blackboard import Blackboard, Entry, SlotView
    from otpq.worker.output import Owner
    from otpq.worker.pool_config import PoolConfig
    from otpq.worker.reports import Report
    from otpq.worker.tray import Tray
    from otpq.worker.warden_client import Exit, WardenClient

__all__ = ["Ended", "LiveChild", "Said"]

logger = logging.getLogger("otpq.worker")

_FAREWELL: Final = 1.0
"""Seconds between a child's last word, the end of its stream, and its exit."""

_LISTEN: Final = 1.0
"""Seconds after which the listener looks whether a child that says nothing has ended: a daemon may keep its stream open."""

_WEIGH_EVERY_NS: Final = 1_000_000_000
"""Nanoseconds between looks at the memory of a child that may have to be replaced for it."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a child has said, for its worker."""

    link: ChildLink
    reports: list[Report]


@dataclass(frozen=True, slots=True)
class Ended:
    """The listener's last word; nobody but the worker touches the child's sockets any more."""

    link: ChildLink
    exit: Exit


class LiveChild:
    """One child, from its start until everything about it is let go."""

    def __init__(  # noqa: PLR0917 - what a worker has, from one caller
        self,
        config: PoolConfig,
        slot: int,
        client: WardenClient,
        settings: ChildSettings,
        board: Blackboard,
        tray: Tray,
    ) -> None:
        """Start it; `slot` is the number of its worker.

        Raises:
            WardenError, OSError: It cannot be started.
        """
        self.ran = b""
        """For results: node, incarnation, worker, pid."""
        self.handlers: tuple[str, ...] = ()
        self.is_ready = False
        self.verdict: Verdict | None = None
        """Why the worker ended it."""
        self.retired = ""
        """Why it gets nothing more, and is replaced when it has done what it has."""
        self.done = 0
        """How many answers it gave."""
        self._weighed_ns = 0
        self._hurried = -1
        """In which turn of its cells it was last asked to send what it holds back."""
        self._config = config
        self._client = client
        self._board = board
        self._first = slot * config.cells
        """Its first cell."""
        self._tray = tray
        self._listener: threading.Thread | None = None
        # Before it writes there, and before it is there: a worker that was ended meanwhile has no blackboard any more, and an
        # error here leaves no child behind.
        tray.begin(self.views())
        self.link = ChildLink.start(client, settings, board, self._first, log=None)
        try:
            log = TaskLog(config.session, tray.is_open)
            assert self.link.pipes is not None  # noqa: S101 - we asked for them
            self._output = ChildOutput(self.link.pipes, self.link.ring, log, settings.label)
            self.memory = ChildMemory.of(self.link.pid, f"{config.incarnation}.{config.name}.{slot}")
            self.silence = Silence(self.link.pid, config.silence)
        except BaseException:
            self.link.kill()
            self.link.close()
            raise

    def listen(self, worker: Pid) -> None:
        """Have what it says sent to `worker`, as `Said` and at last `Ended`."""
        self._listener = threading.Thread(
            target=_listen, args=(self.link, worker), name=f"child-listener-{self.link.pid}", daemon=True
        )
        self._listener.start()

    @property
    def is_portable(self) -> bool:
        """Whether nobody can tell what signals it is prepared for but itself."""
        return self._client.portable

    # --- its cells --------------------------------------------------------------------------------------------------

    def views(self) -> list[SlotView]:
        """What the cells of its tasks say."""
        return [self._board.read(self._first + cell) for cell in range(self._config.parallel)]

    def _pulse(self) -> int | None:
        """The turn of its event loop's cell, the last one."""
        config = self._config
        return self._board.read(self._first + config.parallel).turn if config.cells > config.parallel else None

    def clear(self) -> None:
        """Say that nothing runs there, when it is gone and has been answered for."""
        for cell in range(self._config.cells):
            self._board.clear(self._first + cell)

    # --- what it puts out -------------------------------------------------------------------------------------------

    def collect(self) -> list[Logged]:
        """What its tasks have put out since it was last collected, as far as it is to be told now."""
        return self._output.collect(lambda: _only(running_of(self.views())), time.time())

    def collect_last(self, lease: int, seqs: list[int]) -> list[Logged]:
        """As `collect`, with all that is left of these tasks, which have ended."""
        now = time.time()
        told = self._output.collect(partial(self._owner, lease, seqs), now)
        return told + self._output.end(lease, seqs, now)

    def _owner(self, lease: int, ended: list[int]) -> Owner:
        """Whose the raw output is that is read when these have ended.

        A child of one cell tells at once that a task has ended, if that took more than a moment, and begins the next one
        after; so it is that one's. Of several that were quick nobody can tell. If it tells in the middle of a run, as it was
        asked to, all that is older than that was collected then.
        """
        views = self.views()
        if self._hurried == _turn_of(views):
            return _only(running_of(views))
        if self._config.parallel > 1:
            ended = [*ended, *(entry.seq for entry in running_of(views) if entry.seq not in ended)]
        return (lease, ended[0]) if len(ended) == 1 else None

    def collect_all(self, running: Sequence[Entry]) -> list[Logged]:
        """As `collect`, with all that is left, when it is gone; `running` is what it did then."""
        return self._output.end_all(_only(running), time.time())

    @property
    def is_held_up(self) -> bool:
        """Whether something of it waits until its output is collected again."""
        return self._output.is_full

    def hurry(self) -> None:
        """Have it send the results that it holds back, if they wait behind a run that takes long; once for each such run.

        For just after `collect`. A child of several tasks holds nothing back.
        """
        views = self.views()
        turn = _turn_of(views)
        if self._config.parallel == 1 and turn != self._hurried and self._tray.holds_back(views, boottime_ns()):
            self._hurried = turn
            self.link.hurry()

    # --- its limits -------------------------------------------------------------------------------------------------

    def judge(self) -> Verdict | None:
        """Whether it is to be ended now, and why; for a child that has jobs."""
        now_ns, views = boottime_ns(), self.views()
        running = running_of(views)
        verdict = self._tray.judge(running, now_ns, self.memory.resident)
        if verdict is None and self.memory.has_run_out():
            verdict = _out_of_memory(running)
        if verdict is None:
            verdict = self.silence.judge(_turn_of(views), self._pulse(), now_ns, is_running=bool(running))
        return verdict

    def why_replace(self, lease: int) -> str:
        """Why it should be replaced, now that jobs of this lease are answered: it did enough, or has grown; else nothing."""
        config, now_ns = self._config, boottime_ns()
        if config.recycle_tasks is not None and self.done >= config.recycle_tasks:
            return f"after {self.done} tasks"
        if config.recycle_memory is None or now_ns - self._weighed_ns < _WEIGH_EVERY_NS or self._tray.has_lease(lease):
            return ""
        self._weighed_ns = now_ns
        has = self.memory.own()
        return f"as it had {has:.0f} MiB of memory" if has > config.recycle_memory else ""

    # --- its end ----------------------------------------------------------------------------------------------------

    def kill(self, verdict: Verdict) -> None:
        """End it and all that it started, without waiting for that; the first verdict stands."""
        if self.verdict is None:
            self.verdict = verdict
            self.link.running.kill(timeout=0)

    def explain(self, running: Sequence[Entry]) -> Verdict | None:
        """Why it ended, when it has; None: by itself."""
        if self.verdict is None and self._client.lost is not None:
            return Verdict(Cause.WARDEN_LOST)
        if self.verdict is None and self.memory.has_run_out():
            return _out_of_memory(running)
        return self.verdict

    def describe(self, exit_: Exit) -> str:
        """How it ended, in words."""
        return self.retired if self.retired and exit_.code == 0 else describe_exit(self.link.pid, exit_.code)

    def let_go(self) -> None:
        """End it, if it lives; when this returns, nothing of it runs, and nothing of ours is left. For any thread."""
        self.link.kill()
        if self._listener is not None and self._listener.ident is not None:
            self._listener.join(_FAREWELL + _LISTEN + 1.0)
        self.close()

    def close(self) -> None:
        """Let go of what was shared with it. It and its listener are gone."""
        self._output.close()
        self.memory.close()
        self.link.close()


def running_of(views: Sequence[SlotView]) -> list[Entry]:
    """The tasks that these cells name."""
    return [view.running for view in views if view.running is not None]


def _turn_of(views: Sequence[SlotView]) -> int:
    return sum(view.turn for view in views)


def _only(running: Sequence[Entry]) -> Owner:
    return (running[0].lease, running[0].seq) if len(running) == 1 else None


def _out_of_memory(running: Sequence[Entry]) -> Verdict:
    """The kernel has killed something of a child for want of memory."""
    seq = running[0].seq if len(running) == 1 else None
    return Verdict(Cause.MEMORY, seq, "the kernel ended it, or something that it had started, for want of memory")


def _listen(link: ChildLink, worker: Pid) -> None:
    """Pass on what a child says until it is gone. The thread's whole life; it alone reads the child's stream."""
    try:
        while not link.is_closed:
            is_over = link.running.exit is not None  # asked before the read, so that nothing can come after it
            reports = link.read(0.0 if is_over else _LISTEN)
            if reports:
                send(worker, Said(link, reports))
            elif is_over:
                break
        exit_ = link.running.wait(_FAREWELL)
    except ValueError as error:  # of the child's making: a frame or a report that makes no sense
        logger.error("child %d talks nonsense and is killed: %s", link.pid, error)  # noqa: TRY400 - not our traceback
        exit_ = None
    # A child that has no stream any more, because its handler closed it, is of no use.
    while exit_ is None:
        exit_ = link.kill(_FAREWELL)
    send(worker, Ended(link, exit_))
