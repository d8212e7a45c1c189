"""QueueServer: the actor in charge. Its one thread owns the socket, the core and the store's writing connection.

At each wake-up it takes what has arrived, from clients (bytes) and from pools (events), and does one *step*:

    needs -> load -> step -> commit -> send

What arrived during the commit makes the next step, so one fsync serves as many tasks as came together, and a single task
waits for no timer. Nothing is sent before the commit: `engine.py` decides and commits. A commit that is refused, or whose fate
is unknown, sends nothing, and the server is *degraded* until the store works again: no dispatch, submissions are refused with
the cause, pools keep their results.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from otpq.core import effects as ef
from otpq.core import events as ev
from otpq.core.records import Needs
from otpq.core.state import Config
from otpq.errors import StoreError
from otpq.faults import hit
from otpq.otp import Call, Cast, Crash, Down, GenServer, NoReply, Ok, Pid, Response, Stop, cast, monitor, reply, send
from otpq.queue import queries
from otpq.queue.answers import ANSWERS, Answers, facts, name_of
from otpq.queue.clients import Clients, session_of
from otpq.queue.engine import Engine, now
from otpq.queue.federation import LOOK_EVERY, Federation, Hooks, RemotePool
from otpq.queue.happenings import Happenings
from otpq.queue.inbox import Arrived, PolledInbox
from otpq.queue.inputs import filled
from otpq.queue.looking import PATIENCE, look
from otpq.queue.lookups import LOOK, Lookups
from otpq.queue.messages import (
    AreYouAlive,
    Beat,
    Beaten,
    EndedTasks,
    IAmAlive,
    OpenPool,
    PoolAnswer,
    PoolFacts,
    ReaderUp,
)
from otpq.queue.onlooker import Onlooker
from otpq.queue.pace import hold
from otpq.queue.pools import Pools
from otpq.queue.retention import Retention
from otpq.queue.script_check import AskedScripts, ScriptChecks, has_scripts
from otpq.queue.turns import Answered
from otpq.store.errors import StaleEpoch
from otpq.wire import messages as wire
from otpq.wire import peers
from otpq.wire.codec import Fault, encode
from otpq.wire.peer_codec import decode_at_leader
from otpq.wire.peers import Member

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from otpq.core.records import Changes
    from otpq.otp import Caller, MonitorRef
    from otpq.queue.clients import Submission
    from otpq.queue.trouble import Trouble
    from otpq.store.protocol import EndedPage, Store
    from otpq.wire.listener import Listener

__all__ = ["QueueServer"]

logger = logging.getLogger("otpq.queue")

STEP: Final = 1_000
"""Tasks in one step, about: beyond that a commit takes longer and nothing is gained."""
FAULTY: Final = 1_000
"""Peers that are remembered to have sent what makes no sense."""
_ASKED: Final = ev.Cancel | ev.Retry | ev.Delete | ev.Pause | ev.SubmitWorkflow | ev.CancelWorkflow | ev.RetryWorkflow
"""Events that somebody waits for to be answered by a query's number."""
PATIENT: Final = frozenset({ev.Results, ev.Demand, ev.Heartbeat, ev.Running})
"""Events that may wait for others. Demand comes with results, and before a worker has nothing left."""


class QueueServer(GenServer):
    """See the module."""

    trap_exit = True  # its supervisor's word to end finds it between two steps, never inside a commit
    from_afar = frozenset({"call"})

    def make_inbox(self) -> PolledInbox:
        """One wait for messages and for the socket."""
        self._inbox = PolledInbox()
        return self._inbox

    def init(
        self,
        open_store: Callable[[], Store],
        listen: Callable[[], Listener],
        node: str,
        incarnation: str,
        lost: Sequence[ev.NodeLost] = (),
        *,
        has_reader: bool = False,
        lease: float = 30.0,
        address: str = "",
        handlers: Mapping[str, bytes] | None = None,
        queues: Mapping[str, int] | None = None,
        retention: Retention | None = None,
    ) -> Ok | None:
        """Take over the store, listen, and go on where the last queue server was.

        Args:
            open_store: Makes the store object, not yet opened.
            listen: Makes the listening socket.
            node: The name that clients must have meant.
            incarnation: This start of the node.
            lost: Incarnations of which the death is proven.
            has_reader: Whether a `Reader` will look into the store for it; else it does so itself, a little at a time.
            lease: Seconds that a node's leases last after its last heartbeat, as the node counts them.
            address: Where other nodes find it, `name@host:port`; else as its name says.
            handlers: Options of handlers by the cluster's file, packed; see `Config`.
            queues: How many tasks a queue may hold, by the same.
            retention: How long ended tasks are kept, for whoever asks: the pruner sees to it.
        """
        self._node, self._incarnation = node, incarnation
        self._store = open_store()
        self.own(self._store.close)
        epoch = self._store.open()
        self._reading = self._store.reading(patience=PATIENCE)
        self.own(self._reading.close)
        self._listener = listen()
        self._inbox.attend(self._listener)
        self.own(self._inbox.close)
        self._clients = Clients(node, incarnation, epoch)
        self._onlooker = Onlooker(self.registry)
        self._happenings = Happenings(now)
        self._pools = Pools()
        self._scripts = ScriptChecks(self._scripts_checked)
        self._sessions: dict[Any, str] = {}
        self._queue: deque[ev.Event] = deque(lost)
        self._stepped_at = 0.0
        self._faulty: set[bytes] = set()
        self._faults = dict.fromkeys(("oversized", "garbage", "invalid", "unknown_session"), 0)
        self._answers = Answers(
            node=node,
            incarnation=incarnation,
            epoch=epoch,
            store=self._store,
            reading=self._reading,
            clients=self._clients,
            lookups=Lookups(None if has_reader else partial(look, self._reading)),
            core=lambda: self._engine.core,
            degraded=lambda: self._engine.trouble,
            ask=self._ask,
            counters=self._counters,
            registry=self.registry,
            pools=self._pools,
            tell_pool=self._tell,
            federation=lambda: self._federation,
            happenings=self._happenings,
            retention=retention or Retention(),
        )
        self._federation = self._federate(address, epoch, lease)
        config = Config(epoch=epoch, lease=lease, handlers=dict(handlers or {}), queues=dict(queues or {}))
        self._engine = Engine(self._store, config, self._note_commit)
        return None

    def _federate(self, address: str, epoch: int, lease: float) -> Federation:
        me = Member(self._node, address or self._node, self._incarnation, leads=True, since=now().wall)
        if self.registry.distribution is not None:
            # An earlier queue server's connections ended with it, and whatever was under way on them.
            self.registry.distribution.all_down()
        hooks = Hooks(
            ask=self._hear,  # as what a pool of this node says
            opened=self._pools.opened,
            closed=self._pools.closed,
            gone=self._answers.pool_gone,
            facts=lambda session, workers: self._answers.workers.told(session, self._pools.node_of(session), workers),
            answered=self._answers.pool_answered,
            happened=self._happenings.note,
            distribution=self.registry.distribution,
        )
        return Federation(me, epoch, lease, self._listener, hooks)

    # --- waking up ---------------------------------------------------------------------------------------------------

    def handle_batch(self, messages: list[Any]) -> NoReply | Stop:
        """Take in what has arrived, and step until nothing is left to decide."""
        for message in messages:
            self._take(message)
        self._listener.wait(0)  # lets in who dials
        for _ in range(STEP):
            arrived = self._listener.receive()
            if arrived is None:
                break
            self._arrived(*arrived)
        return self._go_on()

    def handle_info(self, message: Any) -> NoReply | Stop:  # noqa: ARG002 - TIMEOUT alone comes here
        """Nothing came, but time has passed."""
        return self._go_on()

    def _take(self, message: Any) -> None:
        match message:
            case Arrived(peer, data):
                self._arrived(peer, data)
            case Cast(told):
                for each in told:
                    self._hear(each)
            case Call(request, caller):
                self._answer(request, caller)
            case Down(ref=ref):
                self._hear_end(ref)
            case Response(label=AskedScripts()) as response:
                self._scripts.answered(response)
            case Response() as response:
                self._answers.returned(response)
                self._send_outbox()
            case AreYouAlive(asker):
                send(asker, IAmAlive())
            case _ if message == LOOK:
                self._answers.lookups.look()
                self._send_outbox()
            case _:
                logger.warning("%r drops %r", self.pid, message)

    def _hear(self, request: Any) -> None:
        match request:
            case OpenPool() as opened:
                self._open_pool(opened)
            case ev.Running() as event:
                self._answers.running[event.session] = event.seqs
                self._queue.append(event)
            case Beat(pid, event, sent_ns):
                # Now and not after the step: the core counts the term from then, or anew from a new queue server's start.
                self._queue.append(event)
                cast(pid, Beaten(sent_ns))
            case PoolFacts() as told:
                self._answers.workers.told(told.session, self._pools.node_of(told.session), told.workers)
            case PoolAnswer() as answer:
                self._answers.pool_answered(answer)
                self._send_outbox()
            case Answered() as answered:
                self._answers.lookups.answered(answered)
                self._send_outbox()
            case peers.Signal() as signal:
                self._federation.send(signal)
            case ReaderUp(reader):
                self._answers.lookups.reader_up(reader)
            case event:
                if isinstance(event, ev.SessionClosed):
                    self._pools.closed(event.session)
                self._queue.append(event)

    def _answer(self, request: Any, caller: Caller) -> None:
        match request:
            case EndedTasks():
                reply(caller, self._read(request))
            case ("holders",):
                reply(caller, self._holders())
            case ("status",):
                reply(caller, facts(self._answers))
            case _:
                logger.warning("%r drops %r", self.pid, request)

    def _holders(self) -> list[str] | None:
        """The incarnations that hold a lease in the store; None: not now."""
        if self._engine.trouble is not None:
            return None
        try:
            return sorted({lease.incarnation for lease in self._reading.leases()})
        except StoreError as error:
            logger.warning("it cannot be read who holds leases: %s", error)
            return None

    def _read(self, request: EndedTasks) -> EndedPage | None:
        if self._engine.trouble is not None:
            return None
        try:
            return self._reading.ended(request.before, after=request.after, scan=request.scan)
        except StoreError as error:
            logger.warning("the pruner cannot be answered: %s", error)
            return None

    def _hear_end(self, ref: MonitorRef) -> None:
        if self._answers.lookups.is_reader(ref):
            self._answers.lookups.reader_down()
            self._send_outbox()
            return
        session = self._sessions.pop(ref, None)
        if session is not None:
            self._answers.pool_gone(session)
            self._send_outbox()

    def _open_pool(self, opened: OpenPool) -> None:
        if self._pools.opened(opened.event, opened.pid):
            self._sessions[monitor(opened.pid)] = opened.event.session
        self._queue.append(opened.event)

    # --- the step ----------------------------------------------------------------------------------------------------

    def _go_on(self) -> NoReply | Stop:
        self._federation.look()
        self._scripts.look(time.monotonic())
        engine = self._engine
        try:
            if engine.trouble is not None and not self._recovers():
                return NoReply(engine.until_probe)
            patience = self._patience()
            if patience > 0:
                return NoReply(patience)
            self._step()
            while self._queue and engine.trouble is None:
                self._step()
            self._stepped_at = time.monotonic()
        except StaleEpoch as stale:
            return Stop(Crash(stale))
        return NoReply(
            engine.until_probe
            if engine.trouble is not None
            else min(engine.core.wake(now()), 3600.0 if self._federation.is_alone else LOOK_EVERY)
        )

    def _patience(self) -> float:
        """Seconds that what has arrived may wait for more (`pace.py`); 0 or less: it may not."""
        if any(type(event) not in PATIENT for event in self._queue):
            return 0.0
        arrived: Counter[int] = Counter()
        for event in self._queue:
            if isinstance(event, ev.Results):
                arrived[event.lease] += len(event.results)
        if not arrived:
            return 0.0
        return self._stepped_at + hold(self._engine.core.next_result(arrived)) - time.monotonic()

    def _step(self) -> None:
        events = self._some_events()
        try:
            effects = self._engine.step(events)
        except StaleEpoch:
            raise
        except StoreError:
            self._degrade(events)
        else:
            self._send(effects)

    def _note_commit(self, changes: Changes) -> None:
        self._happenings.submitted(changes.inserts)

    def _some_events(self) -> list[ev.Event]:
        events: list[ev.Event] = []
        weight = 0
        while self._queue and weight < STEP:
            event = self._queue.popleft()
            events.append(event)
            weight += len(event.tasks) if isinstance(event, ev.Submit | ev.SubmitWorkflow) else 1
            if isinstance(event, ev.Results):
                weight += len(event.results)
        return events

    def _send(self, effects: list[ef.Told]) -> None:
        """Send what follows from a commit, in its order: what clients hear, what pools hear, what a console hears.

        A pool that wakes up takes the interpreter from us, and a client who waits would wait for that too.
        """
        to_pools: dict[str, list[ef.Told]] = {}
        outcome: ef.Outcome | None = None
        for effect in effects:
            match effect:
                case ef.Accepted():
                    self._send_accepted(effect)
                case ef.Outcome(tasks):
                    self._clients.ended(tasks)
                    self._happenings.ended(effect)
                    outcome = effect
                case ef.Refused():
                    self._send_refused(effect)
                case ef.Reply():
                    self._send_reply(effect)
                case ef.WorkflowMade() | ef.WorkflowRefused():
                    self._answers.workflow_made(effect)
                case _:
                    to_pools.setdefault(effect.session, []).append(effect)
        self._send_outbox()
        for session, told in to_pools.items():
            self._tell_pool(session, told)
        if outcome is not None:
            self._onlooker.tell(outcome)

    def _tell(self, pool: Pid | RemotePool, message: Any) -> None:
        """Tell a pool something, here or on another node."""
        if isinstance(pool, RemotePool):
            self._federation.tell(pool, message if isinstance(message, tuple) else (message,))
        else:
            cast(pool, message)

    def _tell_pool(self, session: str, effects: list[ef.Told]) -> None:
        pool = self._pools.pid_of(session)
        if pool is None:
            return
        effects = [filled for effect in effects if (filled := self._filled(effect)) is not None]
        is_dispatch = any(isinstance(effect, ef.Dispatch) for effect in effects)
        if is_dispatch:
            hit("dispatch.before")
        self._tell(pool, tuple(effects))
        if is_dispatch:
            hit("dispatch.after")

    def _filled(self, effect: ef.Told) -> ef.Told | None:
        """What is told to a pool; a batch with what its tasks take from others. None: nothing, or not now."""
        if not isinstance(effect, ef.Dispatch) or all(row.workflow is None for row in effect.rows):
            return effect
        try:
            batch, results = filled(effect, self._reading, now().wall)
        except StoreError as error:
            logger.warning("what a batch takes from others cannot be read, it is sent later: %s", error)
            return None
        if results is not None:
            self._queue.append(results)
        return batch

    def _send_outbox(self) -> None:
        outbox, self._clients.outbox = self._clients.outbox, []
        for peer, message in outbox:
            hit("send.before")
            if not self._listener.send(peer, encode(message)):
                self._clients.count_dropped(peer)
            hit("send.after")

    # --- a store that refuses ----------------------------------------------------------------------------------------

    def _degrade(self, events: Sequence[ev.Event]) -> None:
        """Send nothing of the step; refuse what can be refused."""
        trouble = self._engine.trouble
        assert trouble is not None  # noqa: S101 - it has just come
        self._happenings.note("store_trouble", {"code": trouble.code, "why": trouble.words})
        self._clients.outbox = []
        lost = [*events, *self._queue]
        self._queue.clear()
        self._refuse((event for event in lost if isinstance(event, ev.Submit)), trouble)
        # Results come again from the pools when they are asked to open anew; requests fail now.
        for event in lost:
            if isinstance(event, _ASKED):
                self._answers.fail(session_of(event.client), event.request, *trouble)
        self._answers.core_lost(trouble)
        self._send_outbox()

    def _recovers(self) -> bool:
        if not self._engine.recovers():
            return False
        self._happenings.note("store_well", {})
        for session, pool in self._pools.items:
            # They open anew, and send their results again: these come first.
            self._tell(pool, (ef.UnknownSession(session=session),))
        return True

    def _refuse(self, events: Iterable[ev.Submit], trouble: Trouble) -> None:
        submissions = [
            s for event in events if (s := self._clients.submission(event.client, event.request)) is not None
        ]
        self._clients.refuse(submissions, *trouble)

    # --- clients -----------------------------------------------------------------------------------------------------

    def _arrived(self, peer: bytes, data: bytes) -> None:
        message = decode_at_leader(data)
        if isinstance(message, Fault):
            self._note_fault(peer, message)
            return
        if isinstance(message, wire.Hello):
            self._clients.hello(peer, message)
            self._send_outbox()
            return
        if self._federation.hear(peer, message):
            self._send_outbox()
            return
        session = self._clients.session_of(peer)
        if session is None:
            self._faults["unknown_session"] += 1
            return
        _HEAR[type(message)](self, peer, session, message)
        if self._clients.outbox:
            self._send_outbox()

    def _note_fault(self, peer: bytes, fault: Fault) -> None:
        """Count bytes that are no message; of each peer the first is logged too."""
        self._faults[fault.kind] += 1
        if peer not in self._faulty:
            if len(self._faulty) >= FAULTY:
                self._faulty.clear()
            self._faulty.add(peer)
            logger.warning("a message of peer %s was dropped, others of it are counted: %s", peer.hex(), fault.text)

    def _hear_submit(self, _peer: bytes, session: bytes, message: wire.Submit) -> None:
        submission = self._clients.submit(session, message)
        if has_scripts(message.tasks):
            self._check_scripts(submission)
        else:
            self._submit(submission)

    def _check_scripts(self, submission: Submission) -> None:
        """Submit it without the scripts that may not run, now or when other nodes have said what they have."""
        message, there = submission.message, frozenset[bytes]()
        if message.resent:  # what was accepted stays so, though the script or its pool be gone by now
            try:
                there = frozenset(self._store.load(Needs(ids={task.id for task in message.tasks})).by_id)
            except StoreError:
                self._submit(submission)  # the step will say why
                return
        dirs = self._pools.script_dirs
        here = dirs.pop(self._node, set())
        elsewhere = {node: of for node, of in dirs.items() if self._federation.reaches(node)}
        self._scripts.begin(submission, here, elsewhere, there, time.monotonic())

    def _scripts_checked(self, submission: Submission, refusals: Sequence[ef.Refusal]) -> None:
        client, request = name_of(submission.session), submission.message.number
        refused = ef.Refused(client=client, request=request, refusals=list(refusals))
        left = self._clients.refused(refused)
        if left is not None:
            self._submit(left)
        self._send_outbox()

    def _hear_watch(self, _peer: bytes, session: bytes, message: wire.Watch) -> None:
        self._clients.watch(session, message.ids)  # first: no end may fall between
        self._look_up(session, message.ids)

    def _hear_unwatch(self, _peer: bytes, session: bytes, message: wire.Unwatch) -> None:
        self._clients.unwatch(session, message.ids)

    def _hear_ping(self, peer: bytes, _session: bytes, message: wire.Ping) -> None:
        self._clients.pong(peer, message.number)

    def _hear_goodbye(self, peer: bytes, _session: bytes, _message: wire.Goodbye) -> None:
        self._clients.goodbye(peer)

    def _submit(self, submission: Submission) -> None:
        if self._engine.trouble is not None:
            self._clients.refuse([submission], *self._engine.trouble)
        else:
            self._queue.append(submission.event())

    def _look_up(self, session: bytes, ids: Sequence[bytes]) -> None:
        try:
            found = self._store.load(Needs(ids=set(ids))).by_id
        except StoreError:
            return  # a later pong or reconnect has the client ask again
        self._clients.looked_up(session, ids, found)

    def _hear_fetch(self, _peer: bytes, session: bytes, message: wire.Fetch) -> None:
        try:
            row = self._store.load(Needs(ids={message.id})).by_id.get(message.id)
        except StoreError as failed:
            answer: wire.FromServer = wire.Failed(message.number, "store_unavailable", str(failed))
        else:
            if row is None or row.result is None:
                answer = wire.Failed(message.number, "not_found", "there is no such result")
            else:
                answer = wire.Fetched(message.number, row.result)
        self._clients.tell(session, answer)

    # --- queries -----------------------------------------------------------------------------------------------------

    def _hear_query(self, _peer: bytes, session: bytes, query: wire.Query) -> None:
        try:
            body = queries.decode(query)
            answer = ANSWERS[query.verb](self._answers, session, query, body)
        except queries.BadQuery as bad:
            self._clients.tell(session, wire.Failed(query.number, bad.code, str(bad), bad.field, bad.facts))
        except StoreError as error:
            self._clients.tell(session, wire.Failed(query.number, "store_unavailable", str(error)))
        else:
            if answer is not None:
                self._clients.tell(session, queries.answer(query.number, answer))

    def _ask(self, event: ev.Event) -> None:
        self._queue.append(event)

    def _counters(self) -> dict[str, Any]:
        return {"commits": self._engine.commits, "faults": dict(self._faults)}

    # --- effects -----------------------------------------------------------------------------------------------------

    def _send_accepted(self, effect: ef.Accepted) -> None:
        known = self._clients.accepted(effect)
        if known:
            self._look_up(session_of(effect.client), known)

    def _send_refused(self, effect: ef.Refused) -> None:
        left = self._clients.refused(effect)
        if left is not None:
            self._queue.appendleft(left.event())

    def _send_reply(self, effect: ef.Reply) -> None:
        self._answers.replied(effect)


_HEAR: Final[dict[type, Callable[[QueueServer, bytes, bytes, Any], None]]] = {
    wire.Submit: QueueServer._hear_submit,  # noqa: SLF001 - a table of its own methods
    wire.Watch: QueueServer._hear_watch,  # noqa: SLF001
    wire.Unwatch: QueueServer._hear_unwatch,  # noqa: SLF001
    wire.Fetch: QueueServer._hear_fetch,  # noqa: SLF001
    wire.Query: QueueServer._hear_query,  # noqa: SLF001
    wire.Ping: QueueServer._hear_ping,  # noqa: SLF001
    wire.Goodbye: QueueServer._hear_goodbye,  # noqa: SLF001
}
