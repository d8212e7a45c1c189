"""QueueServer: the actor in charge. Its one thread owns the socket, the core and the store's writing connection.

At each wake-up it takes what has arrived, from clients (bytes) and from pools (events), and does one *step*:

    needs -> load -> step -> commit -> send

What arrived during the commit makes the next step, so one fsync serves as many tasks as came together, and a single task
waits for no timer. Nothing is sent before the commit. A commit that is refused, or whose fate is unknown, sends nothing:
the core is thrown away and rebuilt from the store, and meanwhile the server is *degraded*: no dispatch, submissions are
refused with the cause, pools keep their results, and each second it tries again. Damage is not tried again: it does not mend.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from otpq.core import effects as ef
from otpq.core import events as ev
from otpq.core.core import QueueCore
from otpq.core.records import Changes, Loaded, Needs
from otpq.core.state import Config
from otpq.errors import StoreError
from otpq.faults import hit
from otpq.otp import Call, Cast, Crash, Down, GenServer, NoReply, Ok, Pid, Stop, TreeNode, cast, monitor, reply, tree
from otpq.queue import queries
from otpq.queue.clients import Clients, session_of
from otpq.queue.inbox import Arrived, PolledInbox
from otpq.queue.messages import OpenPool, PoolFacts
from otpq.store.errors import CommitRefused, CommitUnknown, StaleEpoch, StoreDamaged
from otpq.task import ENDED, TaskState
from otpq.wire import messages as wire
from otpq.wire import verbs
from otpq.wire.codec import Fault, decode_from_client, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from otpq.queue.clients import Submission
    from otpq.store.protocol import Store
    from otpq.wire.listener import Listener

__all__ = ["QueueServer"]

logger = logging.getLogger("otpq.queue")

STEP: Final = 1_000
"""Tasks in one step, about: beyond that a commit takes longer and nothing is gained."""
PROBE: Final = 1.0
"""Seconds between two tries of a store that refuses."""


def now() -> ev.Now:
    """The time, by both clocks of the core."""
    return ev.Now(time.time(), time.clock_gettime(time.CLOCK_BOOTTIME))


class QueueServer(GenServer):
    """See the module."""

    trap_exit = True  # its supervisor's word to end finds it between two steps, never inside a commit

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
    ) -> Ok | None:
        """Take over the store, listen, and go on where the last queue server was.

        Args:
            open_store: Makes the store object, not yet opened.
            listen: Makes the listening socket.
            node: The name that clients must have meant.
            incarnation: This start of the node.
            lost: Incarnations of which the death is proven.
        """
        self._node, self._incarnation = node, incarnation
        self._store = open_store()
        self.own(self._store.close)
        self._epoch = self._store.open()
        self._reading = self._store.reading()
        self.own(self._reading.close)
        self._listener = listen()
        self._inbox.attend(self._listener)
        self.own(self._inbox.close)
        self._clients = Clients(node, incarnation, self._epoch)
        self._pools: dict[str, Pid] = {}
        self._sessions: dict[Any, str] = {}
        self._running: dict[str, frozenset[int]] = {}
        self._pool_facts: dict[str, list[dict[str, Any]]] = {}
        self._bulks: dict[tuple[str, int], list[int]] = {}
        self._queue: deque[ev.Event] = deque(lost)
        self._degraded: str | None = None
        """None, or as one word why the store cannot be written; `_why` is the sentence."""
        self._why = ""
        self._probe_at = 0.0
        self._commits = 0
        self._faults = dict.fromkeys(("oversized", "garbage", "invalid", "unknown_session"), 0)
        self._numbers = 0
        self._make_core()
        return None

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
            case Cast(OpenPool() as opened):
                self._open_pool(opened)
            case Cast(ev.Running() as event):
                self._running[event.session] = event.seqs
                self._queue.append(event)
            case Cast(PoolFacts() as facts):
                self._pool_facts[facts.session] = facts.workers
            case Cast(event):
                self._queue.append(event)
            case Call(("status",), caller):
                reply(caller, self._facts())
            case Down(ref=ref):
                session = self._sessions.pop(ref, None)
                if session is not None:
                    self._pools.pop(session, None)
            case _:
                logger.warning("%r drops %r", self.pid, message)

    def _open_pool(self, opened: OpenPool) -> None:
        session = opened.event.session
        if self._pools.get(session) is not opened.pid:
            self._pools[session] = opened.pid
            self._sessions[monitor(opened.pid)] = session
        self._queue.append(opened.event)

    # --- the step ----------------------------------------------------------------------------------------------------

    def _go_on(self) -> NoReply | Stop:
        try:
            if self._degraded is not None and not self._recovers():
                return NoReply(max(0.0, self._probe_at - time.monotonic()))
            self._step()
            while self._queue and self._degraded is None:
                self._step()
        except StaleEpoch as stale:
            return Stop(Crash(stale))
        if self._degraded is not None:
            return NoReply(PROBE)
        return NoReply(min(self._core.wake(now()), 3600.0))

    def _step(self) -> None:
        events = self._some_events()
        time_ = now()
        try:
            needs = self._core.needs(time_, events)
            loaded = self._store.load(needs) if needs else Loaded()
            effects = self._core.step(time_, events, loaded)
            self._carry_out(effects)
        except StaleEpoch:
            raise
        except StoreError as failed:
            self._degrade(failed, events)

    def _some_events(self) -> list[ev.Event]:
        events: list[ev.Event] = []
        weight = 0
        while self._queue and weight < STEP:
            event = self._queue.popleft()
            events.append(event)
            weight += len(event.tasks) if isinstance(event, ev.Submit) else 1
            if isinstance(event, ev.Results):
                weight += len(event.results)
        return events

    def _carry_out(self, effects: list[ef.Effect]) -> None:
        begin = 0
        if effects and isinstance(effects[0], ef.Persist):
            hit("commit.before")
            self._commit(effects[0].changes)
            hit("commit.after")
            self._commits += 1
            begin = 1
        self._send_all(effects[begin:])

    def _commit(self, changes: Changes) -> None:
        try:
            self._store.commit(changes)
        except CommitUnknown as unknown:
            if not self._was_committed(unknown):
                raise

    def _send_all(self, effects: Sequence[ef.Effect]) -> None:
        for effect in effects:
            _SEND[type(effect)](self, effect)
        self._send_outbox()

    def _send_outbox(self) -> None:
        outbox, self._clients.outbox = self._clients.outbox, []
        for peer, message in outbox:
            hit("send.before")
            if not self._listener.send(peer, encode(message)):
                self._clients.count_dropped(peer)
            hit("send.after")

    # --- a store that refuses ----------------------------------------------------------------------------------------

    def _make_core(self) -> None:
        self._core = QueueCore(self._store.recover(), Config(epoch=self._epoch))

    def _was_committed(self, failed: CommitUnknown) -> bool:
        try:
            return self._store.last_commit() >= failed.number
        except StoreError:
            return False

    def _degrade(self, failed: StoreError, events: Sequence[ev.Event]) -> None:
        """Send nothing of the step; refuse what can be refused; forget the core."""
        self._degraded, self._why = _trouble_of(failed)
        logger.error("no dispatch, no submissions: %s", self._why)
        self._probe_at = time.monotonic() + PROBE
        self._clients.outbox = []
        self._refuse(event for event in [*events, *self._queue] if isinstance(event, ev.Submit))
        # Results come again from the pools when they are asked to open anew; requests fail now.
        for event in [*events, *self._queue]:
            if isinstance(event, ev.Cancel | ev.Retry | ev.Delete | ev.Pause):
                self._fail(event)
        self._queue.clear()
        self._bulks.clear()
        self._send_outbox()

    def _recovers(self) -> bool:
        if time.monotonic() < self._probe_at:
            return False
        self._probe_at = time.monotonic() + PROBE
        if self._degraded == "store_damaged":
            return False
        try:
            self._store.last_commit()
            self._make_core()
            self._store.commit(Changes())
        except StaleEpoch:
            raise
        except StoreError as still:
            logger.info("the store still refuses: %s", still)
            return False
        logger.warning("the store works again")
        self._degraded = None
        for session, pool in self._pools.items():
            cast(
                pool, ef.UnknownSession(session=session)
            )  # they open anew, and send their results again: these come first
        return True

    def _refuse(self, events: Iterable[ev.Submit]) -> None:
        submissions = [
            s for event in events if (s := self._clients.submission(event.client, event.request)) is not None
        ]
        self._clients.refuse(submissions, self._degraded or "store_unavailable", self._why)

    def _fail(self, event: ev.Cancel | ev.Retry | ev.Delete | ev.Pause) -> None:
        failed = wire.Failed(event.request, self._degraded or "store_unavailable", self._why)
        self._clients.tell(session_of(event.client), failed)

    # --- clients -----------------------------------------------------------------------------------------------------

    def _arrived(self, peer: bytes, data: bytes) -> None:
        message = decode_from_client(data)
        if isinstance(message, Fault):
            self._faults[message.kind] += 1
            return
        if isinstance(message, wire.Hello):
            self._clients.hello(peer, message)
            self._send_outbox()
            return
        session = self._clients.session_of(peer)
        if session is None:
            self._faults["unknown_session"] += 1
            return
        _HEAR[type(message)](self, peer, session, message)
        if self._clients.outbox:
            self._send_outbox()

    def _hear_submit(self, _peer: bytes, session: bytes, message: wire.Submit) -> None:
        self._submit(self._clients.submit(session, message))

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
        if self._degraded is not None:
            self._clients.refuse([submission], self._degraded, self._why)
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
            answer = _ANSWER[query.verb](self, session, query, body)
        except queries.BadQuery as bad:
            self._clients.tell(session, wire.Failed(query.number, bad.code, str(bad), bad.field))
        except StoreError as error:
            self._clients.tell(session, wire.Failed(query.number, "store_unavailable", str(error)))
        else:
            if answer is not None:
                self._clients.tell(session, queries.answer(query.number, answer))

    def _running_now(self) -> frozenset[int]:
        return frozenset().union(*self._running.values())

    def _get(self, _session: bytes, _query: wire.Query, body: Any) -> object:
        running = self._running_now()
        found = self._store.load(Needs(ids=set(body.ids))).by_id
        return [queries.view_of(found[id_], running) for id_ in body.ids if id_ in found]

    def _list(self, _session: bytes, _query: wire.Query, body: Any) -> object:
        return queries.page_of(self._reading, body, self._running_now())

    def _counts(self, _session: bytes, _query: wire.Query, body: Any) -> object:
        counts = self._core.counts()
        return counts if body.queue is None else {body.queue: counts.get(body.queue, dict.fromkeys(TaskState, 0))}

    def _cancel(self, session: bytes, query: wire.Query, body: Any) -> None:
        self._ask_core(ev.Cancel(client=_name(session), request=query.number, ids=(body.id,), grace=body.grace))

    def _bulk(self, session: bytes, query: wire.Query, body: Any) -> None:
        ids = [id_ for page in queries.matching(self._reading, body) for id_ in page]
        self._ask_bulk(session, query.number, ids, queries.BULK[query.verb])

    def _purge(self, session: bytes, query: wire.Query, body: Any) -> None:
        selector = verbs.Selector(queue=body.queue)
        ids = [id_ for page in queries.matching(self._reading, selector) for id_ in page]
        found = self._store.load(Needs(ids=set(ids))).by_id
        waiting = [id_ for id_ in ids if id_ in found and found[id_].state not in ENDED]

        def delete(**fields: Any) -> ev.Delete:
            return ev.Delete(waiting=True, **fields)

        self._ask_bulk(session, query.number, waiting, delete)

    def _ask_bulk(self, session: bytes, number: int, ids: Sequence[bytes], event: Callable[..., ev.Event]) -> None:
        if not ids:
            self._clients.tell(session, queries.answer(number, verbs.Affected(0)))
            return
        self._bulks[_name(session), number] = [len(ids), 0]
        for begin in range(0, len(ids), STEP):
            self._ask_core(event(client=_name(session), request=number, ids=tuple(ids[begin : begin + STEP])))

    def _pause(self, session: bytes, query: wire.Query, body: Any) -> None:
        self._bulks[_name(session), query.number] = [1, 0]
        paused = query.verb == "pause"
        self._ask_core(ev.Pause(client=_name(session), request=query.number, queue=body.queue, paused=paused))

    def _ask_core(self, event: ev.Event) -> None:
        if self._degraded is not None:
            raise queries.BadQuery(self._degraded, self._why)
        self._queue.append(event)

    def _health(self, *_: object) -> object:
        return {"ok": self._degraded is None, "node": self._node, "incarnation": self._incarnation,
                "store": self._degraded or "ok", **({"why": self._why} if self._degraded else {}), "epoch": self._epoch, "pools": sorted(self._pools)}  # fmt: skip

    def _facts(self, *_: object) -> dict[str, Any]:
        stats = self._core.stats
        return {
            "commits": self._commits,
            "clients": len(self._clients),
            "held": self._core.held,
            "open_leases": self._core.open_leases,
            "faults": dict(self._faults),
            "tree": self._tree(),
            **{name: getattr(stats, name) for name in stats.__struct_fields__},
        }

    def _tree(self) -> dict[str, Any] | None:
        node = self.registry.whereis("node")
        return None if node is None else _plain(tree(node))

    def _queues(self, *_: object) -> object:
        return [{"queue": name, **counts} for name, counts in sorted(self._core.counts().items())]

    def _handlers(self, *_: object) -> object:
        return [{"handler": name, "used": used, "limit": limit} for name, (used, limit) in self._core.slots().items()]

    def _workers(self, *_: object) -> object:
        return [worker for facts in self._pool_facts.values() for worker in facts]

    def _nodes(self, *_: object) -> object:
        return [{"node": self._node, "incarnation": self._incarnation, "leads": True}]

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
        key = (effect.client, effect.request)
        bulk = self._bulks.get(key)
        if bulk is None:
            self._tell_reply(effect)
            return
        bulk[0] -= 1
        bulk[1] += effect.answer not in {"not_found", "too_late", "too_early"}
        if bulk[0] == 0:
            del self._bulks[key]
            answer = queries.answer(effect.request, verbs.Affected(bulk[1]))
            self._clients.tell(session_of(effect.client), answer)

    def _tell_reply(self, effect: ef.Reply) -> None:
        if effect.answer == "not_found":
            answer: wire.FromServer = wire.Failed(effect.request, "not_found", "there is no such task")
        else:
            answer = queries.answer(effect.request, effect.answer)
        self._clients.tell(session_of(effect.client), answer)

    def _send_outcome(self, effect: ef.Outcome) -> None:
        self._clients.ended(effect.tasks)

    def _send_to_pool(self, effect: Any) -> None:
        pool = self._pools.get(effect.session)
        if pool is not None:
            cast(pool, effect)

    def _send_dispatch(self, effect: ef.Dispatch) -> None:
        hit("dispatch.before")
        self._send_to_pool(effect)
        hit("dispatch.after")


def _trouble_of(failed: StoreError) -> tuple[str, str]:
    """Why the store cannot be written: as the word that clients are told, and in words, with what is to be done."""
    because = failed.because if isinstance(failed, CommitRefused) else None
    if isinstance(failed, StoreDamaged) or because == "damaged":
        return (
            "store_damaged",
            f"{failed}. The node does not touch it any more: stop it, then see what `otpq check` says",
        )
    if because == "full":
        return "store_full", f"{failed}; it is tried each second, and goes on when there is room"
    return "store_unavailable", f"{failed}; it is tried each second, and goes on when the store can be written"


def _plain(node: TreeNode) -> dict[str, Any]:
    return {
        "id": node.id,
        "pid": repr(node.pid),
        "type": node.type,
        "restarts": node.restarts,
        "mailbox": None if node.info is None else node.info.mailbox,
        "callback": None if node.info is None else node.info.callback,
        "children": [_plain(child) for child in node.children],
    }


def _name(session: bytes) -> str:
    return session.decode("latin-1")


_SEND: Final[dict[type, Callable[[QueueServer, Any], None]]] = {
    ef.Accepted: QueueServer._send_accepted,  # noqa: SLF001 - a table of its own methods
    ef.Refused: QueueServer._send_refused,  # noqa: SLF001
    ef.Reply: QueueServer._send_reply,  # noqa: SLF001
    ef.Outcome: QueueServer._send_outcome,  # noqa: SLF001
    ef.Dispatch: QueueServer._send_dispatch,  # noqa: SLF001
    ef.Committed: QueueServer._send_to_pool,  # noqa: SLF001
    ef.Stale: QueueServer._send_to_pool,  # noqa: SLF001
    ef.TakeBack: QueueServer._send_to_pool,  # noqa: SLF001
    ef.CancelRunning: QueueServer._send_to_pool,  # noqa: SLF001
    ef.UnknownSession: QueueServer._send_to_pool,  # noqa: SLF001
}

_HEAR: Final[dict[type, Callable[[QueueServer, bytes, bytes, Any], None]]] = {
    wire.Submit: QueueServer._hear_submit,  # noqa: SLF001 - a table of its own methods
    wire.Watch: QueueServer._hear_watch,  # noqa: SLF001
    wire.Unwatch: QueueServer._hear_unwatch,  # noqa: SLF001
    wire.Fetch: QueueServer._hear_fetch,  # noqa: SLF001
    wire.Query: QueueServer._hear_query,  # noqa: SLF001
    wire.Ping: QueueServer._hear_ping,  # noqa: SLF001
    wire.Goodbye: QueueServer._hear_goodbye,  # noqa: SLF001
}

_ANSWER: Final[dict[str, Callable[[QueueServer, bytes, wire.Query, Any], object]]] = {
    "get": QueueServer._get,  # noqa: SLF001 - a table of its own methods
    "list": QueueServer._list,  # noqa: SLF001
    "counts": QueueServer._counts,  # noqa: SLF001
    "cancel": QueueServer._cancel,  # noqa: SLF001
    "cancel_all": QueueServer._bulk,  # noqa: SLF001
    "retry": QueueServer._bulk,  # noqa: SLF001
    "delete": QueueServer._bulk,  # noqa: SLF001
    "purge": QueueServer._purge,  # noqa: SLF001
    "pause": QueueServer._pause,  # noqa: SLF001
    "resume": QueueServer._pause,  # noqa: SLF001
    "queues": QueueServer._queues,  # noqa: SLF001
    "handlers": QueueServer._handlers,  # noqa: SLF001
    "workers": QueueServer._workers,  # noqa: SLF001
    "nodes": QueueServer._nodes,  # noqa: SLF001
    "health": QueueServer._health,  # noqa: SLF001
    "stats": QueueServer._facts,  # noqa: SLF001
}
