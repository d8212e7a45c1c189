"""Pool: the actor that keeps a session with the queue server, shares batches out to its workers, and says how many there are.

What it decides stands in values: `desk.py` has the books of tasks, `staff.py` the workers, `sizing.py` how many there are to
be; the tree around it is in `pool_tree.py`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from otpq.core.effects import CancelRunning, Committed, Dispatch, Kept, Stale, TakeBack, UnknownSession
from otpq.core.events import Cancelling, Heartbeat, Running, SessionClosed, SessionOpened
from otpq.faults import hit
from otpq.otp import (
    Call,
    Cast,
    Down,
    GenServer,
    MailboxFull,
    call,
    cast,
    demonitor,
    monitor,
    reply,
    send,
    send_after,
    whereis,
)
from otpq.queue.messages import Beat, Beaten, OpenPool, PoolAnswer, PoolFacts, PoolOrder, Scale
from otpq.worker.blackboard import Blackboard
from otpq.worker.deadline import boottime_ns
from otpq.worker.desk import Desk
from otpq.worker.manning import Manning
from otpq.worker.orders import (
    Answers,
    CancelJob,
    ChildGone,
    ChildReady,
    DropJobs,
    End,
    Finish,
    KeptCheckpoint,
    StaffUp,
    TakeBackJobs,
    Told,
    Work,
    WorkerUp,
    jobs_of,
)
from otpq.worker.warden_server import Warden

if TYPE_CHECKING:
    from otpq.otp import Caller, MonitorRef, Pid, Server
    from otpq.worker.blackboard import Entry
    from otpq.worker.pool_config import PoolConfig
    from otpq.worker.staff import Seat

__all__ = ["QUEUE_SERVER", "Pool"]

logger = logging.getLogger("otpq.worker")

QUEUE_SERVER: Final = "queue_server"
"""The name of whom the pool works for."""

_CONNECT_EVERY: Final = 0.05
_SHOW_EVERY: Final = 0.1
_TOLD_RUNS: Final = 100
"""Runs, and leases, that are told one by one of a worker that has many."""
_BALANCE_AFTER: Final = 0.02
"""Seconds that a batch may wait behind another while a worker has nothing; as much work as a batch is meant to be."""
_END_MARGIN: Final = 20.0
"""Seconds that a drain may take beyond its grace: the kills, and the commits of the last results."""


class _Timer:
    """Names of the pool's own messages."""

    CONNECT = "connect"
    BEAT = "beat"
    SHOW = "show"
    BALANCE = "balance"
    GRACE_OVER = "grace over"


@dataclass(frozen=True, slots=True)
class _Drain:
    grace: float


@dataclass(frozen=True, slots=True)
class _Pause:
    on: bool


class Pool(GenServer):
    """The session of one pool. Its mailbox is drained at each wake-up, and one demand follows."""

    def init(self, config: PoolConfig) -> None:
        """Lay out an empty blackboard and look for the queue server."""
        self._config = config
        self._desk = Desk(config.session, config.parallel)
        self._board = Blackboard.create(config.blackboard, config.places * config.cells)
        self.own(self._board.close)
        self._manning = Manning(config, self._desk, self._answer)
        self._askers: dict[int, Pid] = {}
        """Of orders that are under way, who wants to hear of them instead of the queue server."""
        self._staff = self._manning.staff
        self._handlers: dict[str, bytes] | None = None
        """What the app declares; None until the first child has loaded it."""
        self._queue: Pid | None = None
        self._queue_ref: MonitorRef | None = None
        self._drainers: list[Caller] | None = None
        self._shown: frozenset[int] = frozenset()
        self._is_showing = False
        self._must_repeat = False
        self._surplus: frozenset[int] | None = None
        self._connect()
        self._manning.take_over()
        send_after(config.beat, self.pid, _Timer.BEAT)

    # --- for others -------------------------------------------------------------------------------------------------

    @staticmethod
    def drain(pool: Server, grace: float) -> None:
        """Take nothing new, ask what runs to end, wait up to `grace` seconds for it, end it, hand all else back uncharged.

        Returns when every result is committed or the queue server is gone, and no child is left. It is the end of the pool:
        it never takes tasks again.
        """
        call(pool, _Drain(grace), timeout=grace + _END_MARGIN)

    @staticmethod
    def begin_drain(pool: Server, grace: float) -> None:
        """As `drain`, without waiting for it: of several pools, none is to wait for another."""
        cast(pool, _Drain(grace))

    @staticmethod
    def hurry(pool: Server) -> None:
        """End at once what runs, as at the end of a drain's grace; whoever waits for the drain hears when it is over."""
        cast(pool, End())

    @staticmethod
    def status(pool: Server) -> dict[str, Any]:
        """What the pool is and does.

        Keys: `pool`, `session`, `queue_server` (whether there is one), `leases` (how many are held), `draining`, and
        `workers`, a list of: `pool`, `tags`, `executor`, `worker` (its number), `pid`, `child` (its pid or None), `seq`,
        `task` (the name of what has run longest), `since` (wall clock), `seconds`, `running` (how many run), if several do
        `runs` (of some the seq and the wall clock at its begin), `leases` (what it has, the oldest first), `done`,
        `failed`, `retried`, `mean`, `max` (of its runs, seconds), `restarts` (of the child), `error` (why there is no
        child), `failing` (whether its children end before they are ready: the app cannot be loaded, say), `leaving`.
        """
        status: dict[str, Any] = call(pool, "status")
        return status

    @staticmethod
    def scale(pool: Server, workers: int) -> dict[str, Any]:
        """Have it run so many workers from now on: how many it was to be `before`, or the `error` by which it stays so."""
        answer: dict[str, Any] = call(pool, Scale(workers))
        return answer

    @staticmethod
    def pause(pool: Server, *, on: bool) -> bool:
        """Have it ask for nothing new, or ask again (`on` is False); what it has goes on. Whether it was paused before."""
        return bool(call(pool, _Pause(on)))

    # --- the mailbox ------------------------------------------------------------------------------------------------

    def handle_batch(self, messages: list[Any]) -> None:
        """Take in what has arrived, then say what follows from it, once."""
        for message in messages:
            match message:
                case Cast(request):
                    self._hear(request)
                case Call(_Drain(grace), caller):
                    self._drain(grace, caller)
                case Call(_Pause(on), caller):
                    self._desk.is_paused, before = on, self._desk.is_paused
                    reply(caller, before)
                case Call(Scale(count), caller):
                    reply(caller, self._manning.scale(count))
                case Call(_, caller):
                    reply(caller, self._status())
                case Down():
                    self._hear_end(message)
                case timer:
                    self._hear_timer(timer)
        self._speak()

    def _hear(self, said: Any) -> None:
        match said:
            case Answers():
                self._take_answers(said)
            case Told(events=events):
                self._desk.tell(events)
            case Cancelling():
                self._tell(said)
            case Beaten(sent_ns):
                Warden.renew(self._config.warden, sent_ns + int(self._config.lease * 1e9))
            case WorkerUp(slot, pid):
                self._manning.worker_up(slot, pid)
            case ChildReady() | ChildGone():
                self._note_child(said)
            case tuple():
                for effect in said:
                    self._obey(effect)
            case _:
                self._hear_seldom(said)

    def _hear_seldom(self, said: Any) -> None:
        match said:
            case PoolOrder(number, order, asker):
                if asker is not None:
                    self._askers[number] = asker
                self._manning.take_order(number, order)
            case StaffUp(supervisor):
                self._manning.supervisor_up(supervisor)
            case _Drain(grace):
                self._drain(grace, None)
            case End():
                self._close()
                self._manning.order_all(said)
            case _:
                logger.warning("%r drops %r", self.pid, said)

    def _obey(self, effect: Any) -> None:
        desk = self._desk
        match effect:
            case Dispatch():
                self._share_out(effect)
            case Committed(lease=lease, seqs=seqs):
                desk.committed(lease, seqs)
            case Kept(lease=lease, seq=seq, number=number):
                desk.kept(lease, seq, number)
                self._order(desk.slot_of(lease), KeptCheckpoint(seq, number))
            case TakeBack(lease=lease, seqs=seqs):
                self._order(desk.slot_of(lease), TakeBackJobs(seqs))
            case CancelRunning(lease=lease, seq=seq, grace=grace):
                self._order(desk.slot_of(lease), CancelJob(lease, seq, grace))
            case Stale(lease=lease, seqs=seqs):
                slot = desk.slot_of(lease)
                at_work = desk.stale(lease, seqs)
                self._order(slot if at_work else None, DropJobs(at_work))
            case UnknownSession():
                self._open()
            case _:
                logger.warning("%r drops %r", self.pid, effect)

    def _hear_timer(self, timer: Any) -> None:
        match timer:
            case _Timer.BEAT:
                self._beat()
            case _Timer.SHOW:
                self._is_showing = False
                self._show()
            case _Timer.BALANCE:
                self._balance()
            case _Timer.CONNECT:
                self._connect()
            case _:
                self._manning.order_all(End())

    def _hear_end(self, down: Down) -> None:
        if down.ref is self._queue_ref:
            logger.warning("%r: the queue server is gone (%r); what runs goes on", self.pid, down.reason)
            self._queue = self._queue_ref = None
            self._connect()
            return
        for seat in self._manning.ended(down):
            self._bury(seat)

    def _bury(self, seat: Seat) -> None:
        """Answer for a worker that ended: its child is gone, its release waited for that; a successor waits for our welcome."""
        self._desk.worker_gone(seat.slot, {entry.seq for entry in self._running_in(seat.slot)})
        for cell in self._cells_of(seat.slot):
            self._board.clear(cell)

    # --- the queue server -------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        if self._queue is not None:
            return
        self._queue = whereis(QUEUE_SERVER)
        if self._queue is None:
            send_after(_CONNECT_EVERY, self.pid, _Timer.CONNECT)
            return
        if self._queue_ref is not None:
            demonitor(self._queue_ref)
        self._queue_ref = monitor(self._queue)
        self._open()

    def _open(self) -> None:
        """Open the session, again perhaps, and say again all that may have been forgotten."""
        config = self._config
        opened = SessionOpened(
            session=config.session,
            node=config.node,
            incarnation=config.incarnation,
            queues=config.queues,
            parallel=config.parallel,
            handlers=self._handlers,
            pool=config.name,
            tags=config.tags,
            memory=config.memory,
            script_dirs=config.script_dirs,
            app=config.app,
        )
        self._tell(OpenPool(self.pid, opened), self._sign_of_life())
        self._must_repeat = True
        self._shown = frozenset()

    def _speak(self) -> None:
        """Demand first: what is handed back for want of a child must not come back on the strength of an older demand."""
        is_anew, self._must_repeat = self._must_repeat, False
        demand = self._desk.demand(again=is_anew)
        said: list[Any] = [] if demand is None else [demand]
        said += self._desk.repeat() if is_anew else self._desk.flush()
        if is_anew and self._desk.is_closed:
            said.append(SessionClosed(session=self._config.session))
        if said:
            self._tell(*said)
        if self._surplus is None and (surplus := self._desk.surplus()):
            self._surplus = frozenset(surplus)
            send_after(_BALANCE_AFTER, self.pid, _Timer.BALANCE)
        self._manning.man()
        if self._drainers is not None:
            self._end_drain()

    def _tell(self, *events: object) -> None:
        """Tell the queue server, all at once: it is to take one step for them, not one for each."""
        if self._queue is None:
            return  # what matters is kept, and said again when there is a queue server
        try:
            cast(self._queue, events)
        except MailboxFull:
            self._must_repeat = True

    def _beat(self) -> None:
        send_after(self._config.beat, self.pid, _Timer.BEAT)
        self._manning.size()
        said: list[object] = [self._sign_of_life(), PoolFacts(self._config.session, self._workers())]
        demand = self._desk.demand(again=True)  # absolute: it makes good what was lost
        self._tell(*said, *([] if demand is None else [demand]))

    def _sign_of_life(self) -> Beat:
        event = Heartbeat(node=self._config.node, incarnation=self._config.incarnation)
        return Beat(self.pid, event, boottime_ns())

    # --- batches ----------------------------------------------------------------------------------------------------

    def _share_out(self, dispatch: Dispatch) -> None:
        jobs = jobs_of(dispatch.rows, dispatch.declared)
        slot = self._desk.take(dispatch, jobs)
        if slot is None:
            return
        strange = {job.name for job in jobs}.difference(self._staff.seats[slot].handlers)
        if strange and self._staff.is_reloading:
            # It was handed out before the queue server heard that not all children have its handler any more.
            self._desk.returned(dispatch.lease, [job.seq for job in jobs if job.name in strange])
            jobs = [job for job in jobs if job.name not in strange]
        self._order(slot, Work(dispatch.lease, jobs, dispatch.packet, dispatch.alone))
        self._show_later()

    def _take_answers(self, answers: Answers) -> None:
        hit("answers.before")
        desk, seat = self._desk, self._staff.seats.get(answers.slot)
        if answers.results:
            if seat is not None:
                seat.tally.count(answers.results, self._desk.retries_among(answers.lease, answers.results))
            desk.done(answers.lease, answers.results)
        if answers.returned:
            desk.returned(answers.lease, answers.returned)
        if answers.interrupted:
            desk.interrupted(answers.lease, answers.interrupted)

    def _balance(self) -> None:
        """Give back what still waits behind another, so that it comes again, to a worker that has nothing."""
        before, self._surplus = self._surplus or frozenset(), None
        for lease, (slot, seqs) in self._desk.surplus().items():
            if lease in before:
                self._order(slot, TakeBackJobs(seqs))

    def _show_later(self) -> None:
        if not self._is_showing:
            self._is_showing = True
            send_after(_SHOW_EVERY, self.pid, _Timer.SHOW)

    def _show(self) -> None:
        """Tell what runs, if that has changed; look again as long as something may."""
        open_ = self._desk.open_by_slot()
        running = frozenset(
            entry.seq
            for slot in self._staff.seats
            for entry in self._running_in(slot)
            if entry.seq in open_.get(slot, ())
        )
        if running != self._shown:
            self._shown = running
            self._tell(Running(session=self._config.session, seqs=running))
        if running or any(open_.values()):
            self._show_later()

    # --- workers ----------------------------------------------------------------------------------------------------

    def _note_child(self, said: ChildReady | ChildGone) -> None:
        if isinstance(said, ChildReady):
            self._manning.child_ready(said)
        else:
            self._manning.child_gone(said)
            if said.is_failing:
                self._tell(PoolFacts(self._config.session, self._workers()))
        handlers = self._staff.known_to_all()
        if (
            handlers is not None and handlers != self._handlers
        ):  # the first child of all, or of another edition of the app
            self._handlers = handlers
            self._open()

    def _order(self, slot: int | None, order: object) -> None:
        if slot is not None:
            self._manning.order(slot, order)

    def _answer(self, number: int, facts: dict[str, Any]) -> None:
        answer = PoolAnswer(number, self._config.session, {"pool": self._config.name, **facts})
        asker = self._askers.pop(number, None)
        if asker is None:
            self._tell(answer)
        else:
            send(asker, answer)

    # --- the end ----------------------------------------------------------------------------------------------------

    def _drain(self, grace: float, caller: Caller | None) -> None:
        if self._drainers is None:
            self._drainers = []
            self._close()
            send_after(grace, self.pid, _Timer.GRACE_OVER)
        if caller is not None:
            self._drainers.append(caller)

    def _close(self) -> None:
        if not self._desk.is_closed:
            self._desk.is_closed = True
            self._manning.end_reload("the pool is being drained")
            self._tell(SessionClosed(session=self._config.session))
            self._manning.order_all(Finish())

    def _end_drain(self) -> None:
        """Answer those who wait for the drain, if it is over."""
        if not self._drainers or not all(seat.is_over for seat in self._staff.seats.values()):
            return
        if self._queue is not None and not self._desk.is_empty:
            return
        for caller in self._drainers:
            reply(caller, None)
        self._drainers.clear()

    # --- looking in -------------------------------------------------------------------------------------------------

    def _status(self) -> dict[str, Any]:
        return {
            "pool": self._config.name,
            "session": self._config.session,
            "queue_server": self._queue is not None,
            "leases": len(self._desk.held),
            "draining": self._desk.is_closed,
            "paused": self._desk.is_paused,
            "workers": self._workers(),
        }

    def _workers(self) -> list[dict[str, Any]]:
        return [self._describe(seat) for seat in self._staff.facts()]

    def _describe(self, seat: Seat) -> dict[str, Any]:
        running = self._running_in(seat.slot) if seat.child is not None else []
        oldest = min(running, key=lambda entry: entry.since_ns, default=None)
        job = None if oldest is None else self._desk.job(oldest.lease, oldest.seq)
        described: dict[str, Any] = {
            "pool": self._config.name,
            "tags": list(self._config.tags),
            "executor": self._config.executor,
            "worker": seat.slot,
            "pid": repr(seat.pid),
            "child": seat.child,
            "seq": None,
            "task": None,
            "since": None,
            "seconds": None,
            "running": len(running),
            "leases": self._desk.leases_of(seat.slot)[:_TOLD_RUNS],
            **seat.tally.facts(),
            "restarts": max(0, seat.starts - 1),
            "error": seat.error,
            "failing": seat.is_failing,
            "leaving": seat.is_leaving,
        }
        if oldest is not None and job is not None:
            seconds = (boottime_ns() - oldest.since_ns) / 1e9
            described.update(seq=oldest.seq, task=job.name, since=oldest.started, seconds=seconds)
        if len(running) > 1:
            described["runs"] = [(entry.seq, entry.started) for entry in running[:_TOLD_RUNS]]
        return described

    def _cells_of(self, slot: int) -> range:
        return range(slot * self._config.cells, (slot + 1) * self._config.cells)

    def _running_in(self, slot: int) -> list[Entry]:
        """What a worker's blackboard names."""
        views = (self._board.read(cell).running for cell in self._cells_of(slot)[: self._config.parallel])
        return [entry for entry in views if entry is not None]
