"""Answers to queries: a table of verb to function. What changes something is asked of the core, and answered when it is done."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from otpq.core import effects as ef
from otpq.core import events as ev
from otpq.core.records import Needs
from otpq.errors import did_you_mean
from otpq.otp import NoConnection, send_request, tree
from otpq.queue import queries
from otpq.queue.bulks import Bulk, bulk_of, states_of
from otpq.queue.clients import session_of
from otpq.queue.inputs import check
from otpq.queue.looking import Selected, get_tasks, list_tasks, list_workflows, read_log, read_workflow
from otpq.queue.messages import Reload, Scale
from otpq.queue.schedules import REFUSALS, SCHEDULES
from otpq.queue.stats import Workers, handler_stats, queue_stats, worker_stats
from otpq.queue.turns import Unanswered
from otpq.queue.whereabouts import whereabouts
from otpq.queue.workflows import event_of, waits_for
from otpq.task import SCRIPT_HANDLER, TaskState
from otpq.wire import messages as wire
from otpq.wire import verbs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from otpq.core.core import QueueCore
    from otpq.core.records import TaskRow
    from otpq.core.why import Why
    from otpq.otp import Pid, Registry, Response
    from otpq.queue.clients import Clients
    from otpq.queue.federation import Federation, RemotePool
    from otpq.queue.happenings import Happenings
    from otpq.queue.looking import Inquiry
    from otpq.queue.lookups import Lookups
    from otpq.queue.measures import Measures
    from otpq.queue.messages import PoolAnswer
    from otpq.queue.pools import Ordered, Pools
    from otpq.queue.retention import Retention
    from otpq.queue.trouble import Trouble
    from otpq.store.protocol import Counts, Reading, Store
    from otpq.wire.peers import Member

__all__ = ["ANSWERS", "Answers", "facts", "name_of"]


def name_of(session: bytes) -> str:
    """The core's name of a client."""
    return session.decode("latin-1")


class _Called(NamedTuple):
    """A client's request that a management function of a node answers."""

    session: bytes
    number: int
    node: str


@dataclass(kw_only=True)
class Answers:
    """What the answers are made of: what the pools tell, and what they may use of the queue server."""

    node: str
    incarnation: str
    epoch: int
    store: Store
    reading: Reading
    clients: Clients
    lookups: Lookups
    core: Callable[[], QueueCore]
    """The core is a new one after each trouble with the store."""
    degraded: Callable[[], Trouble | None]
    """Why nothing can be written now; None: it can."""
    ask: Callable[[ev.Event], None]
    """Has the core decide about an event, in the next step."""
    counters: Callable[[], dict[str, Any]]
    """The queue server's own."""
    registry: Registry
    pools: Pools
    tell_pool: Callable[[Pid | RemotePool, object], None]
    """Tells a pool something, here or on another node."""
    federation: Callable[[], Federation]
    """The other nodes."""
    happenings: Happenings
    measures: Measures
    retention: Retention
    running: dict[str, frozenset[int]] = field(default_factory=dict)
    """The seqs that have started, by session."""
    workers: Workers = field(default_factory=lambda: Workers(time.monotonic))
    """What the pools tell of their workers."""
    bulks: dict[tuple[str, int], Bulk] = field(default_factory=dict)
    """The requests about many that are under way, by client and number."""

    def ask_core(self, event: ev.Event) -> None:
        """As `ask`.

        Raises:
            BadQuery: The store refuses.
        """
        trouble = self.degraded()
        if trouble is not None:
            raise queries.BadQuery(*trouble)
        self.ask(event)

    def counts(self) -> Counts:
        """Tasks by queue and state. While the store refuses, as it has them: the core's may be of a step that is void."""
        return self.core().counts() if self.degraded() is None else self.reading.counts()

    def running_now(self) -> frozenset[int]:
        """The seqs of the tasks that have started."""
        return frozenset().union(*self.running.values())

    def workers_told(self, session: str, rows: list[dict[str, Any]]) -> None:
        """A pool tells of its workers, all of them."""
        self.workers.told(session, self.pools.node_of(session), rows)
        for row in self.workers.newly_offline():
            self._note_offline(row, "no_child")

    def pool_gone(self, session: str) -> None:
        """What a pool told is true no longer, and what it was ordered is not answered by it."""
        self.running.pop(session, None)
        self.happenings.gone(session)
        gone = self.workers.gone(session)
        members = self.federation().members()
        for row in gone:
            if any(member.node == row["node"] and member.state == "down" for member in members):
                self._note_offline(row, "node_down")
        for ordered in self.pools.gone(session):
            self._order_ended(ordered)

    def _note_offline(self, row: dict[str, Any], why: str) -> None:
        error = {} if row.get("error") is None else {"error": row["error"]}
        facts = {"node": row["node"], "pool": row.get("pool"), "worker": row.get("worker"), "why": why, **error}
        self.happenings.note("worker_offline", facts)

    # --- orders to pools -------------------------------------------------------------------------------------------------

    def order(self, session: bytes, number: int, pool: str | None, order: Scale | Reload) -> None:
        """Have pools told what an operator wants of them; answered when all have answered.

        Raises:
            BadQuery: There is no such pool.
        """
        for pid, told in self.pools.order(session, number, pool, order):
            self.tell_pool(pid, told)

    def pool_answered(self, answer: PoolAnswer) -> None:
        """A pool says what became of an order."""
        ordered = self.pools.answered(answer)
        if ordered is not None:
            self._order_ended(ordered)

    def _order_ended(self, ordered: Ordered) -> None:
        failure = ordered.failure
        if failure is None:
            self._note_order(ordered)
            self.clients.tell(ordered.client, queries.answer(ordered.request, ordered.facts))
        else:
            self.fail(ordered.client, ordered.request, failure.code, str(failure), failure.field)

    def _note_order(self, ordered: Ordered) -> None:
        order, facts = ordered.order, {"pool": ordered.name, "answers": ordered.facts}
        if isinstance(order, Scale):
            self.happenings.note("scaled", {**facts, "workers": order.workers})
        else:
            self.happenings.note("reloaded", facts)

    # --- management functions --------------------------------------------------------------------------------------------

    def call_node(self, session: bytes, number: int, node: str, request: tuple[str, dict[str, Any]]) -> None:
        """Have a management function of a node called; answered when it has returned.

        Raises:
            BadQuery: There is no such node.
        """
        label = _Called(session, number, node)
        if node == self.node:
            send_request("rpc", request, label)
        elif self.federation().reaches(node):
            send_request(("rpc", node), request, label)
        else:
            raise _no_node(self, node)

    def returned(self, response: Response) -> None:
        """A management function has returned, or never will."""
        label = response.label
        assert isinstance(label, _Called)  # noqa: S101 - nothing else is asked of other processes
        match response.reason, response.value:
            case None, ("ok", value):
                self.clients.tell(label.session, queries.answer(label.number, value))
            case None, (_, words):
                self.fail(label.session, label.number, "refused", f"{label.node}: {words}")
            case reason, _:
                what = "went down" if reason == NoConnection() else f"could not ({reason!r})"
                self.fail(label.session, label.number, "refused", f"{label.node} {what} before it had answered")

    # --- what is read from the store -------------------------------------------------------------------------------------

    def look_up(self, session: bytes, number: int, inquiry: Inquiry) -> None:
        """Have a question about the store answered to the client."""

        def then(answer: bytes | Selected | Unanswered) -> None:
            if isinstance(answer, Unanswered):
                self.fail(session, number, answer.code, answer.text, answer.field, facts=answer.facts)
            elif isinstance(answer, bytes):
                self.clients.tell(session, queries.packed(number, answer))

        self.lookups.ask(inquiry, then)

    def fail(
        self,
        session: bytes,
        number: int,
        code: str,
        text: str,
        field: str = "",
        *,
        facts: Mapping[str, str | int | float] | None = None,
    ) -> None:
        """Tell a client that its request has no answer; if it was about many, it ends here."""
        self.bulks.pop((name_of(session), number), None)
        self.clients.tell(session, wire.Failed(number, code, text, field, {} if facts is None else dict(facts)))

    # --- requests about many ---------------------------------------------------------------------------------------------

    def begin(self, session: bytes, number: int, bulk: Bulk) -> None:
        """Do something to many tasks; a request that comes again while it is under way is the same one."""
        if (name_of(session), number) not in self.bulks:
            self.bulks[name_of(session), number] = bulk
            self._go_on(session, number, bulk)

    def replied(self, effect: ef.Reply) -> None:
        """The core has answered for one task."""
        bulk = self.bulks.get((effect.client, effect.request))
        session = session_of(effect.client)
        if bulk is None:
            self.clients.tell(session, _single(effect))
            return
        bulk.replied(effect.answer)
        if not bulk.missing:
            self._go_on(session, effect.request, bulk)

    def workflow_made(self, effect: ef.WorkflowMade | ef.WorkflowRefused) -> None:
        """The core has decided about the tasks of a workflow."""
        session = session_of(effect.client)
        if isinstance(effect, ef.WorkflowMade):
            warnings = [wire.Refusal(each.index, each.code, each.message) for each in effect.warnings]
            self.clients.tell(session, queries.answer(effect.request, verbs.Made(effect.duplicate, warnings)))
            return
        first = effect.refusals[0]
        self.fail(session, effect.request, first.code, first.message, "members", facts={"index": first.index})

    def core_lost(self, trouble: Trouble) -> None:
        """The core is thrown away, and with it the answers that it owes."""
        for (client, number), bulk in list(self.bulks.items()):
            if bulk.missing:
                self.fail(session_of(client), number, *trouble)

    def _go_on(self, session: bytes, number: int, bulk: Bulk) -> None:
        if bulk.has_ended:
            del self.bulks[name_of(session), number]
            if bulk.happening is not None:
                self.happenings.note(*bulk.happening)
            self.clients.tell(session, queries.answer(number, verbs.Affected(bulk.affected, bulk.place)))
            return

        def then(answer: bytes | Selected | Unanswered) -> None:
            if isinstance(answer, Unanswered):
                self.fail(session, number, answer.code, answer.text, answer.field)
            elif isinstance(answer, Selected) and self.bulks.get((name_of(session), number)) is bulk:
                self._selected(session, number, bulk, answer)

        try:
            self.lookups.ask(bulk.inquiry(self.running_now()), then)
        except queries.BadQuery as bad:
            self.fail(session, number, bad.code, str(bad))

    def _selected(self, session: bytes, number: int, bulk: Bulk, selected: Selected) -> None:
        bulk.selected(selected)
        if not selected.ids:
            self._go_on(session, number, bulk)
            return
        assert bulk.event is not None  # noqa: S101 - a count selects no ids
        try:
            self.ask_core(bulk.event(client=name_of(session), request=number, ids=tuple(selected.ids)))
        except queries.BadQuery as bad:
            self.fail(session, number, bad.code, str(bad))


def _single(effect: ef.Reply) -> wire.FromServer:
    if effect.answer in REFUSALS and effect.id is None:
        return wire.Failed(effect.request, *REFUSALS[effect.answer])
    facts: dict[str, str | int | float] = {} if effect.id is None else {"id": effect.id.hex()}
    if effect.answer == "not_found":
        return wire.Failed(effect.request, "not_found", "there is no such task", facts=facts)
    if effect.answer == "incomplete":
        text = "some of its tasks have been forgotten, and perhaps what others take from them"
        return wire.Failed(effect.request, "incomplete", text, facts=facts)
    return queries.answer(effect.request, effect.answer)


# --- tasks -----------------------------------------------------------------------------------------------------------


def _get(on: Answers, session: bytes, query: wire.Query, body: verbs.GetTasks) -> None:
    on.look_up(session, query.number, get_tasks(body.ids, on.running_now(), on.core().declared))


def _list(on: Answers, session: bytes, query: wire.Query, body: verbs.ListTasks) -> None:
    on.look_up(session, query.number, list_tasks(body, on.running_now()))


def _logs(on: Answers, session: bytes, query: wire.Query, body: verbs.LogsOf) -> None:
    on.look_up(session, query.number, read_log(body))


def _counts(on: Answers, _session: bytes, _query: wire.Query, body: verbs.CountsOf) -> object:
    counts = on.counts()
    return counts if body.queue is None else {body.queue: counts.get(body.queue, dict.fromkeys(TaskState, 0))}


def _why(on: Answers, session: bytes, query: wire.Query, body: verbs.TaskRef) -> None:
    row = on.store.load(Needs(ids={body.id})).by_id.get(body.id)
    if row is None:
        raise queries.BadQuery("not_found", "there is no such task", facts={"id": body.id.hex()})
    why = on.core().why(row, time.time())
    reason = why and verbs.Reason(why.code, {**why.facts, **_beside(on, row, why)})
    on.clients.tell(session, queries.answer(query.number, reason))


def _beside(on: Answers, row: TaskRow, why: Why) -> dict[str, Any]:
    if why.code == "blocked_by" and row.workflow is not None:
        return {"tasks": waits_for(on.reading, row.seq, row.workflow)}
    rows, members = on.workers.rows(), on.federation().members()
    return whereabouts(why.code, why.facts, row.seq, workers=rows, nodes=members, open_of=on.core().open_of)


# --- workflows -------------------------------------------------------------------------------------------------------


def _submit_workflow(on: Answers, session: bytes, query: wire.Query, body: verbs.NewWorkflow) -> None:
    if sum(len(member.after) for member in body.members) > verbs.MAX_EDGES:
        raise queries.BadQuery("invalid", f"a task waits for another at most {verbs.MAX_EDGES:,} times", "members")
    if any(member.task.name == SCRIPT_HANDLER for member in body.members):
        raise queries.BadQuery("invalid", "a script cannot be a member of a workflow yet", "members")
    for place, member in enumerate(body.members):
        try:
            check(member)
        except (ValueError, RecursionError) as error:  # MessagePack nested without end is the latter
            raise queries.BadQuery("invalid", f"member {place}: {error}", "members", {"index": place}) from None
    on.ask_core(event_of(name_of(session), query.number, body))


def _workflow(on: Answers, session: bytes, query: wire.Query, body: verbs.WorkflowOf) -> None:
    on.look_up(session, query.number, read_workflow(body, on.running_now()))


def _workflows(on: Answers, session: bytes, query: wire.Query, body: verbs.ListWorkflows) -> None:
    on.look_up(session, query.number, list_workflows(body))


def _cancel_workflow(on: Answers, session: bytes, query: wire.Query, body: verbs.CancelTask) -> None:
    on.ask_core(ev.CancelWorkflow(client=name_of(session), request=query.number, id=body.id, grace=body.grace))


def _retry_workflow(on: Answers, session: bytes, query: wire.Query, body: verbs.TaskRef) -> None:
    on.ask_core(ev.RetryWorkflow(client=name_of(session), request=query.number, id=body.id))


# --- requests of the core --------------------------------------------------------------------------------------------


def _cancel(on: Answers, session: bytes, query: wire.Query, body: verbs.CancelTask) -> None:
    on.ask_core(ev.Cancel(client=name_of(session), request=query.number, ids=(body.id,), grace=body.grace))


def _bulk(on: Answers, session: bytes, query: wire.Query, body: Any) -> None:
    on.begin(session, query.number, bulk_of(query.verb, body))


def _count(on: Answers, session: bytes, query: wire.Query, body: verbs.CountTasks) -> object:
    if body.after is None and not (body.name or body.tag or body.before is not None or body.ids is not None):
        states = states_of(body)  # these are counted anyway
        of = [counts for queue, counts in on.counts().items() if body.queue in (None, queue)]
        return verbs.Affected(sum(counts[state] for counts in of for state in states))
    _bulk(on, session, query, body)
    return None


def _purge(on: Answers, session: bytes, query: wire.Query, body: verbs.PurgeQueue) -> None:
    known = {*on.counts(), *(of["queue"] for of in on.core().queues())}  # those too that are empty, and served
    if body.queue not in known:
        raise queries.BadQuery("no_queue", f"there is no queue {body.queue!r}{did_you_mean(body.queue, known)}")
    _bulk(on, session, query, body)


def _pause(on: Answers, session: bytes, query: wire.Query, body: verbs.PauseOf) -> None:
    if body.queue is None and body.handler is None:
        raise queries.BadQuery("invalid", f"{query.verb}: a queue, a handler, or both", "queue")
    event = ev.Pause(
        client=name_of(session),
        request=query.number,
        queue=body.queue,
        handler=body.handler,
        paused=query.verb == "pause",
        by=body.by,
        why=body.why,
    )
    on.ask_core(event)
    facts = {"queue": body.queue, "handler": body.handler, "by": body.by, "why": body.why}
    happening = (f"{query.verb}d", facts)
    on.bulks[name_of(session), query.number] = Bulk(ev.Pause, deque(), missing=1, happening=happening)


# --- pools -----------------------------------------------------------------------------------------------------------


def _scale(on: Answers, session: bytes, query: wire.Query, body: verbs.ScalePool) -> None:
    on.order(session, query.number, body.pool, Scale(body.workers))


def _reload(on: Answers, session: bytes, query: wire.Query, body: verbs.PoolName) -> None:
    on.order(session, query.number, body.pool, Reload())


# --- the node --------------------------------------------------------------------------------------------------------


def _health(on: Answers, _session: bytes, _query: wire.Query, body: verbs.NodeOf | None) -> object:
    trouble = on.degraded()
    member = _member(on, on.node if body is None else body.node)
    problems = _problems_of(row for row in on.workers.rows() if body is None or row["node"] == member.node)
    if member.state != "up":
        problems.insert(0, f"node {member.node} is {member.state}")
    pools = (pool for pool in on.pools if body is None or pool.startswith(f"{member.node}/"))
    return {
        "ok": trouble is None and not problems,
        "node": member.node,
        "state": member.state,
        "incarnation": member.incarnation,
        "leader": on.node,
        "epoch": on.epoch,
        "store": "ok" if trouble is None else trouble.code,
        **({} if trouble is None else {"why": trouble.words}),
        "pools": sorted(pools),
        "problems": problems,
    }


def _member(on: Answers, name: str) -> Member:
    for member in on.federation().members():
        if member.node == name:
            return member
    raise _no_node(on, name)


def _no_node(on: Answers, name: str) -> queries.BadQuery:
    names = ", ".join(member.node for member in on.federation().members() if member.state != "down")
    return queries.BadQuery("no_node", f"no node {name!r} is in the cluster; there are: {names}")


def _problems_of(workers: Iterable[Mapping[str, Any]]) -> list[str]:
    """What is wrong with workers: those whose children do not come to be ready."""
    return [f"worker {each['pool']}/{each['worker']}: {each['error']}" for each in workers if each.get("failing")]


def facts(on: Answers, *_: object) -> dict[str, Any]:
    """Counters since the start, and the supervision tree."""
    core, node = on.core(), on.registry.whereis("node")
    return {
        **on.counters(),
        "clients": len(on.clients),
        "held": core.held,
        "open_leases": core.open_leases,
        "tree": None if node is None else tree(node).plain(),
        **{name: getattr(core.stats, name) for name in core.stats.__struct_fields__},
        "submitted": core.next_seq - 1,
        **_ended(core.moves),
    }


def _ended(moves: Mapping[tuple[str, str], int]) -> dict[str, int]:
    """Runs since the core was made, by what they came to, and what was cancelled or expired before one."""
    targets = {
        "succeeded": "succeeded",
        "failed": "failed",
        "retried": "retrying",
        "cancelled": "cancelled",
        "expired": "expired",
    }
    return {name: sum(count for (_, to), count in moves.items() if to == target) for name, target in targets.items()}


def _queues(on: Answers, *_: object) -> object:
    """Those that have tasks, had some, or of which something is set."""
    counts, nothing = on.counts(), dict.fromkeys(TaskState, 0)
    settings = {of["queue"]: of for of in on.core().queues()}
    names = {*counts, *(name for name, of in settings.items() if of["paused"] or of["max_size"] is not None)}
    unset = {"paused": False}
    return [{"queue": name, **counts.get(name, nothing), **settings.get(name, unset)} for name in sorted(names)]


def _handlers(on: Answers, *_: object) -> object:
    return on.core().handlers()


def _limits(on: Answers, *_: object) -> object:
    return [*on.core().limits(), *on.retention.limits()]


def _workers(on: Answers, *_: object) -> object:
    return on.workers.rows()


def _worker_stats(on: Answers, *_: object) -> object:
    return worker_stats(on.workers.rows())


def _queue_stats(on: Answers, *_: object) -> object:
    return queue_stats(on.counts(), on.core().handlers(), on.measures.queues(), on.reading.blocked())


def _handler_stats(on: Answers, *_: object) -> object:
    return handler_stats(on.core().handlers(), on.measures.handlers())


def _events(on: Answers, _session: bytes, _query: wire.Query, body: verbs.EventsOf) -> object:
    return on.happenings.read(body)


def _nodes(on: Answers, *_: object) -> object:
    return [
        {
            "node": member.node,
            "address": member.address,
            "incarnation": member.incarnation,
            "state": member.state,
            "leads": member.leads,
            "since": member.since,
        }
        for member in on.federation().members()
    ]


def _rpc(on: Answers, session: bytes, query: wire.Query, body: verbs.CallNode) -> None:
    on.call_node(session, query.number, body.node, (body.function, body.arguments))


def _node_lost(on: Answers, _session: bytes, _query: wire.Query, body: verbs.NodeDeath) -> object:
    """A node's warden, or whoever else has its tombstone, tells of its end."""
    death = ev.NodeLost(
        node=body.node,
        incarnation=body.incarnation,
        started=None if body.started is None else frozenset(body.started),
        fenced=body.fenced,
        is_complete=body.is_complete,
    )
    on.federation().lost(death)
    on.ask_core(death)
    return "noted"


ANSWERS: Final[dict[str, Callable[[Answers, bytes, wire.Query, Any], object]]] = {
    "get": _get,
    "list": _list,
    "counts": _counts,
    "why": _why,
    "logs": _logs,
    "cancel": _cancel,
    "cancel_all": _bulk,
    "retry": _bulk,
    "delete": _bulk,
    "purge": _purge,
    "count": _count,
    "pause": _pause,
    "resume": _pause,
    "scale": _scale,
    "reload": _reload,
    "queues": _queues,
    "handlers": _handlers,
    "workers": _workers,
    "nodes": _nodes,
    "rpc": _rpc,
    "node_lost": _node_lost,
    "queue_stats": _queue_stats,
    "handler_stats": _handler_stats,
    "worker_stats": _worker_stats,
    "health": _health,
    "stats": facts,
    "events": _events,
    "limits": _limits,
    **SCHEDULES,
    "submit_workflow": _submit_workflow,
    "workflow": _workflow,
    "workflows": _workflows,
    "cancel_workflow": _cancel_workflow,
    "retry_workflow": _retry_workflow,
}
"""What answers each verb; None: it has answered, or will when the store was looked into or the core has decided."""
