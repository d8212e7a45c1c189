"""Pool: the actor that keeps a session with the queue server and shares batches out to its workers.

    pool_tree (rest_for_one)
    ├── Pool        the books: what is held, and results until they are committed
    ├── Warden      the process that starts the children
    └── Workers (one_for_one) ── Worker 1 … Worker n, each with its child

The order says who can do without whom. A lost warden takes all children with it, so the workers start anew, while the pool
keeps its results and answers for what ran. Without the pool's books nothing of what the workers do has a keeper: all start
anew, and the queue server learns from the new pool's first demand that nothing is held any more.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from otpq.core.effects import CancelRunning, Committed, Dispatch, Kept, Stale, TakeBack, UnknownSession
from otpq.core.events import Cancelling, Heartbeat, Running, SessionClosed, SessionOpened
from otpq.faults import hit
from otpq.otp import (
    Call,
    CallFailed,
    Cast,
    ChildSpec,
    Down,
    GenServer,
    MailboxFull,
    Supervisor,
    call,
    cast,
    demonitor,
    monitor,
    reply,
    send_after,
    whereis,
)
from otpq.queue.messages import Beat, Beaten, OpenPool, PoolFacts
from otpq.worker.blackboard import Blackboard
from otpq.worker.deadline import boottime_ns
from otpq.worker.desk import Desk
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
    jobs_of,
)
from otpq.worker.pool_config import PoolConfig
from otpq.worker.warden_server import Warden
from otpq.worker.worker import Worker

if TYPE_CHECKING:
    from otpq.otp import Caller, MonitorRef, Pid, Server

__all__ = ["QUEUE_SERVER", "Pool", "PoolConfig", "pool_tree"]

logger = logging.getLogger("otpq.worker")

QUEUE_SERVER: Final = "queue_server"
"""The name of whom the pool works for."""

_CONNECT_EVERY: Final = 0.05
_SHOW_EVERY: Final = 0.1
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


@dataclass(slots=True)
class _Seat:
    """A worker, as its pool sees it."""

    slot: int
    pid: Pid
    ref: MonitorRef
    child: int | None = None
    done: int = 0
    failed: int = 0
    starts: int = 0
    error: str = ""
    is_failing: bool = False
    """Whether no child of it became ready at the last try."""
    is_over: bool = False
    """Whether it starts no other child."""


class Pool(GenServer):
    """The session of one pool. Its mailbox is drained at each wake-up, and one demand follows."""

    def init(self, config: PoolConfig) -> None:
        """Lay out an empty blackboard and look for the queue server."""
        self._config = config
        self._desk = Desk(config.session)
        self._board = Blackboard.create(config.blackboard, config.size * config.cells)
        self.own(self._board.close)
        self._seats: dict[int, _Seat] = {}
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
        send_after(config.beat, self.pid, _Timer.BEAT)

    # --- for others -------------------------------------------------------------------------------------------------

    @staticmethod
    def drain(pool: Server, grace: float) -> None:
        """Take nothing new, wait up to `grace` seconds for what runs, end it, hand all else back uncharged.

        Returns when every result is committed or the queue server is gone, and no child is left; the warden's tombstone
        stands then. It is the end of the pool: it never takes tasks again.
        """
        call(pool, _Drain(grace), timeout=grace + _END_MARGIN)

    @staticmethod
    def hurry(pool: Server) -> None:
        """End at once what runs, as at the end of a drain's grace; whoever waits for the drain hears when it is over."""
        cast(pool, End())

    @staticmethod
    def status(pool: Server) -> dict[str, Any]:
        """What the pool is and does.

        Keys: `pool`, `session`, `queue_server` (whether there is one), `leases` (how many are held), `draining`, and
        `workers`, a list of: `pool`, `worker` (its number), `pid`, `child` (its pid or None), `seq`, `task` (its name),
        `since` (wall clock), `seconds`, `done`, `failed`, `restarts` (of the child), `error` (why there is no child),
        `failing` (whether its children end before they are ready: the app cannot be loaded, say).
        """
        status: dict[str, Any] = call(pool, "status")
        return status

    # --- the mailbox ------------------------------------------------------------------------------------------------

    def handle_batch(self, messages: list[Any]) -> None:
        """Take in what has arrived, then say what follows from it, once."""
        for message in messages:
            match message:
                case Cast(request):
                    self._hear(request)
                case Call(_Drain(grace), caller):
                    self._drain(grace, caller)
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
            case Cancelling():
                self._tell(said)
            case Told(events=events):
                self._tell(*events)
            case Beaten(sent_ns):
                Warden.renew(self._config.warden, sent_ns + int(self._config.lease * 1e9))
            case WorkerUp(slot, pid):
                self._seat(slot, pid)
            case ChildReady() | ChildGone():
                self._note_child(said)
            case End():
                self._close()
                self._order_all(said)
            case tuple():
                for effect in said:
                    self._obey(effect)
            case _:
                logger.warning("%r drops %r", self.pid, said)

    def _obey(self, effect: Any) -> None:
        desk = self._desk
        match effect:
            case Dispatch():
                self._share_out(effect)
            case Committed(lease=lease, seqs=seqs):
                desk.committed(lease, seqs)
            case TakeBack(lease=lease, seqs=seqs):
                self._order(desk.slot_of(lease), TakeBackJobs(seqs))
            case CancelRunning(lease=lease, seq=seq, grace=grace):
                self._order(desk.slot_of(lease), CancelJob(lease, seq, grace))
            case Kept(lease=lease, seq=seq, number=number):
                self._order(desk.slot_of(lease), KeptCheckpoint(seq, number))
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
                self._order_all(End())

    def _hear_end(self, down: Down) -> None:
        if down.ref is self._queue_ref:
            logger.warning("%r: the queue server is gone (%r); what runs goes on", self.pid, down.reason)
            self._queue = self._queue_ref = None
            self._connect()
            return
        for seat in [seat for seat in self._seats.values() if seat.ref is down.ref]:
            # Its child is gone: the worker's release waited for that. Its successor starts none before our welcome.
            running = self._board.read(seat.slot).running
            self._desk.worker_gone(seat.slot, None if running is None else running.seq)
            self._board.clear(seat.slot)
            seat.child, seat.error = None, f"its worker ended: {down.reason!r}"
            seat.is_over = self._desk.is_closed

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
            handlers=self._handlers,
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
        if slot is not None:
            self._order(slot, Work(dispatch.lease, jobs, dispatch.packet, dispatch.alone))
            self._show_later()

    def _take_answers(self, answers: Answers) -> None:
        hit("answers.before")
        desk, seat = self._desk, self._seats[answers.slot]
        if answers.results:
            desk.done(answers.lease, answers.results)
            seat.done += len(answers.results)
            seat.failed += answers.failed
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
        views = {slot: self._board.read(slot).running for slot in self._seats}
        running = frozenset(
            entry.seq for slot, entry in views.items() if entry is not None and entry.seq in open_.get(slot, ())
        )
        if running != self._shown:
            self._shown = running
            self._tell(Running(session=self._config.session, seqs=running))
        if running or any(open_.values()):
            self._show_later()

    # --- workers ----------------------------------------------------------------------------------------------------

    def _seat(self, slot: int, pid: Pid) -> None:
        before = self._seats.get(slot)
        seat = self._seats[slot] = _Seat(slot, pid, monitor(pid))
        if before is not None:
            seat.done, seat.failed, seat.starts = before.done, before.failed, before.starts
        if self._desk.is_closed:
            seat.is_over = True
        else:
            cast(pid, Welcome())

    def _note_child(self, said: ChildReady | ChildGone) -> None:
        seat = self._seats[said.slot]
        if isinstance(said, ChildReady):
            seat.child, seat.error, seat.is_failing = said.child, "", False
            seat.starts += 1
            self._desk.worker_ready(said.slot)
            if said.handlers != self._handlers:  # the first child of all, or of another edition of the app
                self._handlers = said.handlers
                self._open()
        else:
            seat.child, seat.error, seat.is_over = None, said.error, said.is_last
            seat.is_failing |= said.is_failing
            self._desk.worker_paused(said.slot)
            if said.is_failing:
                self._tell(PoolFacts(self._config.session, self._workers()))

    def _order(self, slot: int | None, order: object) -> None:
        if slot is not None:
            cast(self._seats[slot].pid, order)

    def _order_all(self, order: object) -> None:
        for seat in self._seats.values():
            cast(seat.pid, order)

    # --- the end ----------------------------------------------------------------------------------------------------

    def _drain(self, grace: float, caller: Caller) -> None:
        if self._drainers is None:
            self._drainers = []
            self._close()
            send_after(grace, self.pid, _Timer.GRACE_OVER)
        self._drainers.append(caller)

    def _close(self) -> None:
        if not self._desk.is_closed:
            self._desk.is_closed = True
            self._tell(SessionClosed(session=self._config.session))
            self._order_all(Finish())

    def _end_drain(self) -> None:
        """Answer those who wait for the drain, if it is over."""
        if not self._drainers or not all(seat.is_over for seat in self._seats.values()):
            return
        if self._queue is not None and not self._desk.is_empty:
            return
        try:
            Warden.bury(self._config.warden)
        except CallFailed as failed:  # the node's own exit writes the tombstone
            logger.warning("%r: the warden was not there to be closed: %s", self.pid, failed)
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
            "workers": self._workers(),
        }

    def _workers(self) -> list[dict[str, Any]]:
        return [self._describe(seat) for _, seat in sorted(self._seats.items())]

    def _describe(self, seat: _Seat) -> dict[str, Any]:
        entry = self._board.read(seat.slot).running if seat.child is not None else None
        job = None if entry is None else self._desk.job(entry.lease, entry.seq)
        described: dict[str, Any] = {
            "pool": self._config.name,
            "worker": seat.slot,
            "pid": repr(seat.pid),
            "child": seat.child,
            "seq": None,
            "task": None,
            "since": None,
            "seconds": None,
            "done": seat.done,
            "failed": seat.failed,
            "restarts": max(0, seat.starts - 1),
            "error": seat.error,
            "failing": seat.is_failing,
        }
        if entry is not None and job is not None:
            seconds = (boottime_ns() - entry.since_ns) / 1e9
            described.update(seq=entry.seq, task=job.name, since=entry.started, seconds=seconds)
        return described


def pool_tree(config: PoolConfig) -> ChildSpec:
    """A supervisor of the pool, its warden and its workers, for the node's tree. Raise no pool without one."""
    workers = [
        Worker.child_spec(config, slot, id=f"worker {slot}", shutdown=10.0)  # its release waits for its child
        for slot in range(config.size)
    ]
    children = [
        ChildSpec(id="pool", start=partial(Pool.start_link, config, name=config.pool)),
        ChildSpec(
            id="warden",
            start=partial(
                Warden.start_link,
                config.directory,
                config.node,
                config.incarnation,
                config.lease,
                name=config.warden,
            ),
            shutdown=10.0,
        ),
        ChildSpec(
            id="workers",
            # A worker's crash is a fault of ours, and rare; each may have some before the whole pool is in doubt.
            start=partial(Supervisor.start_link, workers, max_restarts=3 + config.size, max_seconds=10.0),
            type="supervisor",
        ),
    ]
    # A warden may be lost now and then, by an operator's hand or the kernel's; one that is lost five times in ten seconds
    # is lost for a reason, such as its tombstone, and only a new incarnation helps.
    start = partial(
        Supervisor.start_link,
        children,
        strategy="rest_for_one",
        max_restarts=5,
        max_seconds=10.0,
        name=f"pool tree {config.name}",
    )
    return ChildSpec(id=f"pool {config.name}", start=start, type="supervisor")
