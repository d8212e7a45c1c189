"""Answers to queries: a table of verb to function. What changes something is asked of the core, and answered when it is done."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from otpq.core import events as ev
from otpq.core.records import Needs
from otpq.otp import TreeNode, tree
from otpq.queue import queries
from otpq.queue.clients import session_of
from otpq.task import ENDED, TaskState
from otpq.wire import messages as wire
from otpq.wire import verbs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from otpq.core import effects as ef
    from otpq.core.core import QueueCore
    from otpq.otp import Registry
    from otpq.queue.clients import Clients
    from otpq.store.protocol import Reading, Store

__all__ = ["ANSWERS", "Answers", "facts"]

BATCH: Final = 1_000
"""Ids in one event of a bulk verb, which is one step's work."""


@dataclass(kw_only=True)
class Answers:
    """What the answers are made of: what the pools tell, and what they may use of the queue server."""

    node: str
    incarnation: str
    epoch: int
    store: Store
    reading: Reading
    clients: Clients
    core: Callable[[], QueueCore]
    """The core is a new one after each trouble with the store."""
    degraded: Callable[[], str | None]
    """Why nothing can be written now; None: it can."""
    ask: Callable[[ev.Event], None]
    """Has the core decide about an event, in the next step."""
    counters: Callable[[], dict[str, Any]]
    """The queue server's own."""
    registry: Registry
    pools: Iterable[str]
    """Their sessions."""
    running: dict[str, frozenset[int]] = field(default_factory=dict)
    """The seqs that have started, by session."""
    workers: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """What the pools tell of their workers, by session."""
    bulks: dict[tuple[str, int], list[int]] = field(default_factory=dict)
    """Of each request about many: the answers that are missing, the tasks it was done to."""

    def ask_core(self, event: ev.Event) -> None:
        """As `ask`.

        Raises:
            BadQuery: The store refuses.
        """
        because = self.degraded()
        if because is not None:
            raise queries.BadQuery(because, "the store refuses to write")
        self.ask(event)

    def running_now(self) -> frozenset[int]:
        """The seqs of the tasks that have started."""
        return frozenset().union(*self.running.values())

    def replied(self, effect: ef.Reply) -> None:
        """The core has answered for one task: tell the client, if that was the last one it asked for."""
        bulk = self.bulks.get((effect.client, effect.request))
        if bulk is None:
            self.clients.tell(session_of(effect.client), _single(effect))
            return
        bulk[0] -= 1
        bulk[1] += effect.answer not in {"not_found", "too_late", "too_early"}
        if bulk[0] == 0:
            del self.bulks[effect.client, effect.request]
            answer = queries.answer(effect.request, verbs.Affected(bulk[1]))
            self.clients.tell(session_of(effect.client), answer)


def _single(effect: ef.Reply) -> wire.FromServer:
    if effect.answer == "not_found":
        return wire.Failed(effect.request, "not_found", "there is no such task")
    return queries.answer(effect.request, effect.answer)


def _name(session: bytes) -> str:
    return session.decode("latin-1")


# --- tasks -----------------------------------------------------------------------------------------------------------


def _get(on: Answers, _session: bytes, _query: wire.Query, body: verbs.GetTasks) -> object:
    running = on.running_now()
    found = on.store.load(Needs(ids=set(body.ids))).by_id
    return [queries.view_of(found[id_], running) for id_ in body.ids if id_ in found]


def _list(on: Answers, _session: bytes, _query: wire.Query, body: verbs.ListTasks) -> object:
    return queries.page_of(on.reading, body, on.running_now())


def _counts(on: Answers, _session: bytes, _query: wire.Query, body: verbs.CountsOf) -> object:
    counts = on.core().counts()
    return counts if body.queue is None else {body.queue: counts.get(body.queue, dict.fromkeys(TaskState, 0))}


# --- requests of the core --------------------------------------------------------------------------------------------


def _cancel(on: Answers, session: bytes, query: wire.Query, body: verbs.CancelTask) -> None:
    on.ask_core(ev.Cancel(client=_name(session), request=query.number, ids=(body.id,), grace=body.grace))


def _bulk(on: Answers, session: bytes, query: wire.Query, body: verbs.Selector) -> None:
    ids = [id_ for page in queries.matching(on.reading, body) for id_ in page]
    _ask_bulk(on, session, query.number, ids, queries.BULK[query.verb])


def _purge(on: Answers, session: bytes, query: wire.Query, body: verbs.QueueName) -> None:
    selector = verbs.Selector(queue=body.queue)
    ids = [id_ for page in queries.matching(on.reading, selector) for id_ in page]
    found = on.store.load(Needs(ids=set(ids))).by_id
    waiting = [id_ for id_ in ids if id_ in found and found[id_].state not in ENDED]

    def delete(**fields: Any) -> ev.Delete:
        return ev.Delete(waiting=True, **fields)

    _ask_bulk(on, session, query.number, waiting, delete)


def _ask_bulk(on: Answers, session: bytes, number: int, ids: Sequence[bytes], event: Callable[..., ev.Event]) -> None:
    if not ids:
        on.clients.tell(session, queries.answer(number, verbs.Affected(0)))
        return
    on.bulks[_name(session), number] = [len(ids), 0]
    for begin in range(0, len(ids), BATCH):
        on.ask_core(event(client=_name(session), request=number, ids=tuple(ids[begin : begin + BATCH])))


def _pause(on: Answers, session: bytes, query: wire.Query, body: verbs.QueueName) -> None:
    on.bulks[_name(session), query.number] = [1, 0]
    paused = query.verb == "pause"
    on.ask_core(ev.Pause(client=_name(session), request=query.number, queue=body.queue, paused=paused))


# --- the node --------------------------------------------------------------------------------------------------------


def _health(on: Answers, *_: object) -> object:
    degraded = on.degraded()
    return {"ok": degraded is None, "node": on.node, "incarnation": on.incarnation,
            "store": degraded or "ok", "epoch": on.epoch, "pools": sorted(on.pools)}  # fmt: skip


def facts(on: Answers, *_: object) -> dict[str, Any]:
    """Counters since the start, and the supervision tree."""
    core, node = on.core(), on.registry.whereis("node")
    return {
        **on.counters(),
        "clients": len(on.clients),
        "held": core.held,
        "open_leases": core.open_leases,
        "tree": None if node is None else _plain(tree(node)),
        **{name: getattr(core.stats, name) for name in core.stats.__struct_fields__},
    }


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


def _queues(on: Answers, *_: object) -> object:
    return [{"queue": name, **counts} for name, counts in sorted(on.core().counts().items())]


def _handlers(on: Answers, *_: object) -> object:
    return [{"handler": name, "used": used, "limit": limit} for name, (used, limit) in on.core().slots().items()]


def _workers(on: Answers, *_: object) -> object:
    return [worker for workers in on.workers.values() for worker in workers]


def _nodes(on: Answers, *_: object) -> object:
    return [{"node": on.node, "incarnation": on.incarnation, "leads": True}]


ANSWERS: Final[dict[str, Callable[[Answers, bytes, wire.Query, Any], object]]] = {
    "get": _get,
    "list": _list,
    "counts": _counts,
    "cancel": _cancel,
    "cancel_all": _bulk,
    "retry": _bulk,
    "delete": _bulk,
    "purge": _purge,
    "pause": _pause,
    "resume": _pause,
    "queues": _queues,
    "handlers": _handlers,
    "workers": _workers,
    "nodes": _nodes,
    "health": _health,
    "stats": facts,
}
"""What answers each verb; None: the answer follows, when the core has decided."""
