"""The core against a model, under everything that can happen to it: loss of messages, of nodes, and of itself.

Each step is played on a second core too, which must give the same effects. Before or after any commit the core may be killed
and rebuilt from the store.
"""

import math
from typing import Any

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from otpq.client.reasons import in_words
from otpq.core import effects as ef
from otpq.core import events as ev
from otpq.core.core import QueueCore
from otpq.core.cron import Timing
from otpq.core.handlers import HOOKS, hook_of
from otpq.core.memory import needed
from otpq.core.records import LeaseRow, TaskRow
from otpq.core.schedule import Definition
from otpq.core.state import Config
from otpq.store.protocol import LOGGED_RUNS
from otpq.task import TRANSITIONS, Options
from tests.property.core.charges import Charges
from tests.property.core.dict_store import ENDED, DictStore

QUEUES = ("default", "b")
HANDLERS = ("f", "g", "h")
"""Of which pools have `f`, `g` or both, and the last pool of a test all."""
SCHEDULES = ("s", "t")
NAMES = (*HANDLERS, *(f"f:{kind}" for kind in HOOKS))
OPTIONS = (
    b"",
    b"",
    Options(retries=0).pack(),
    Options(retries=1, retry_delay=9.0).pack(),
    Options(at_most_once=True).pack(),
    Options(no_retry_on=("ValueError",)).pack(),
    Options(memory=60.0).pack(),
    Options(memory=500.0).pack(),
)
DECLARED = (
    b"",
    b"",
    b"",
    Options(retries=0).pack(),
    Options(retries=5, queue="b", priority=2).pack(),
    Options(at_most_once=True, max_concurrency=2).pack(),
    Options(max_concurrency=1, delay=1.0).pack(),
    Options(memory=40.0).pack(),
)
MOST_RETRIES = 5
RUN_ENDS: tuple[tuple[type[ev.Result], dict[str, Any]], ...] = (
    (ev.Failed, {"reason": "error", "error": b"\x93\xa1E\xa0\xa0", "types": ("KeyError", "LookupError")}),
    (ev.Failed, {"reason": "error", "error": None, "types": ("ValueError",)}),
    (ev.Failed, {"reason": "crashed", "error": None}),
    (ev.Failed, {"reason": "timeout", "error": None}),
    (ev.RetryLater, {"delay": 1.0, "error": None}),
    (ev.Snoozed, {"delay": 2.0}),
    (ev.Snoozed, {"delay": 0.3}),
    (ev.Cancelled, {}),
    (ev.Discarded, {"error": None}),
    (ev.HandedOver, {}),
)
WELL = len(RUN_ENDS)
"""The kind of a run that succeeds; so are all above it."""
kinds = st.integers(0, WELL + 3)
LEASE = 10.0
REACHED: set[tuple[str, str]] = set()
"""Every transition that any example made."""

small = st.integers(0, 1_000)
new_tasks = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["f", "f", "f", "g", "g", "h"]),
        "queue": st.sampled_from([None, *QUEUES]),
        "partition": st.sampled_from(["", "p", "q"]),
        "priority": st.sampled_from([None, 5, 8, 2]),
        "delay": st.sampled_from([None, 0.0, 0.0, 4.0]),
        "expires_in": st.sampled_from([None, None, 1.0, 6.0, 6.0]),
        "options": st.sampled_from(OPTIONS),
        "payload": st.sampled_from([b"x" * 10, b"x" * 10, b"x" * 300]),
        "key": st.sampled_from([None, None, None, "k1", "k2"]),
    }
)
declared = st.sampled_from(DECLARED)
both = st.fixed_dictionaries({"f": declared, "g": declared})
hooks = st.fixed_dictionaries({"f": declared, "g": declared}, optional={f"f:{kind}": st.just(b"") for kind in HOOKS})
apps = st.one_of(both, both, hooks, st.fixed_dictionaries({"f": declared}), st.fixed_dictionaries({"g": declared}))
bounds = st.sampled_from([None, None, 100.0])
member_fields = new_tasks.map(lambda fields: {**fields, "key": None})
members = st.lists(st.tuples(member_fields, st.sets(st.integers(0, 5), max_size=3)), min_size=1, max_size=6)
"""Of each task how it is made, and which places it waits for; those that do not stand before it are left out."""
policies = st.sampled_from(["fail", "fail", "continue", "collect"])


class Pool:
    """One pool of a node, as far as messages go."""

    def __init__(
        self, number: int, parallel: int, app: dict[str, bytes] | None, bounds: dict[str, float | None]
    ) -> None:
        self.app = app
        """Its handlers with what is declared of them; None: no child has told yet."""
        self.session = f"s{number}"
        self.node = (f"n{number % 2}@h", str(number))
        self.parallel = parallel
        self.memory = bounds.get(self.node[0])
        self.asked = 0
        self.received = 0
        self.held: dict[int, list[int]] = {}
        self.started: set[int] = set()
        self.orders: list[ef.TakeBack | ef.CancelRunning] = []
        self.is_open = False
        self.is_alive = True

    def opened(self) -> ev.SessionOpened:
        node, incarnation = self.node
        return ev.SessionOpened(
            session=self.session,
            node=node,
            incarnation=incarnation,
            queues=QUEUES,
            parallel=self.parallel,
            handlers=self.app,
            memory=self.memory,
        )

    def demand(self) -> ev.Demand:
        held = tuple(self.held)
        return ev.Demand(
            session=self.session, asked=self.asked, received=self.received, held=held, idle=0 if held else 2
        )

    def hear(self, effect: ef.Effect) -> None:
        match effect:
            case ef.Dispatch(lease=lease, number=number, rows=rows):
                self.received = max(self.received, number)
                self.held.setdefault(lease, [row.seq for row in rows])
            case ef.Committed(lease=lease, seqs=seqs):
                self._forget(lease, seqs)
            case ef.Stale(lease=lease, seqs=seqs):
                self._forget(lease, seqs or tuple(self.held.get(lease, ())))
            case ef.TakeBack() | ef.CancelRunning():
                self.orders.append(effect)
            case ef.Kept():
                pass
            case ef.UnknownSession():
                self.is_open = False
            case _:
                raise AssertionError(effect)

    def _forget(self, lease: int, seqs: tuple[int, ...]) -> None:
        left = [seq for seq in self.held.get(lease, ()) if seq not in seqs]
        self.started.difference_update(seqs)
        if left:
            self.held[lease] = left
        else:
            self.held.pop(lease, None)


class CoreMachine(RuleBasedStateMachine):
    """One core, its store, two pools, and a model of what must be true."""

    def __init__(self) -> None:
        super().__init__()
        self.store = DictStore()
        self.now = 1_000.0
        self.pools: list[Pool] = []
        self.births = 0
        self.submitted = 0
        self.told = 0
        self.submissions: list[ev.Submit] = []
        self.accepted: set[bytes] = set()
        self.workflows: list[ev.SubmitWorkflow] = []
        self.inbox: list[ev.Event] = []
        self.charges = Charges(LEASE)
        self.hooked: set[str] = set()
        """The settings before the last step, and those that are named in it."""
        self.bounds: dict[str, float | None] = {}
        """The memory of the nodes."""
        self.parallels: dict[str, int] = {}
        """Of all pools that there ever were."""
        self.apps: dict[str, dict[str, bytes]] = {}
        """What the sessions have told of themselves."""
        self.back = 0.0
        """Seconds by which the wall clock has been set back."""
        self.fired: set[tuple[str, float, float]] = set()
        """Of each slot that made a task: the schedule, its incarnation, the slot."""
        self.scheduled: set[bytes] = set()
        """The ids of all tasks that schedules have ever made."""
        self.requests = 0
        self.build()

    def build(self) -> None:
        recovered = self.store.recover()
        config = Config(lease=LEASE, lease_margin=0.0, max_window=4, max_rows=12, max_bytes=2_000)
        self.core = QueueCore(recovered, config)
        self.twin = QueueCore(recovered, config)
        self.charges.deadlines = None

    @initialize(
        parallel=st.sampled_from([(1, 1), (1, 1), (1, 3), (4, 2)]),
        first=apps,
        second=st.none() | apps,
        memory=st.tuples(bounds, bounds),
    )
    def two_pools(
        self,
        parallel: tuple[int, int],
        first: dict[str, bytes],
        second: dict[str, bytes] | None,
        memory: tuple[float | None, float | None],
    ) -> None:
        self.bounds = {"n0@h": memory[0], "n1@h": memory[1]}
        self.add_pool(parallel[0], first)
        self.add_pool(parallel[1], second)
        self.ask(0, 2, is_alone=False)
        self.ask(1, 2, is_alone=True)

    def add_pool(self, parallel: int, app: dict[str, bytes] | None) -> None:
        self.births += 1
        self.pools.append(Pool(self.births, parallel, app, self.bounds))
        self.parallels[self.pools[-1].session] = parallel

    # ------------------------------------------------------------------ one step

    def step(self, *, commits: bool = True, sends: bool = True, lost: int = 0) -> None:
        """Play the inbox; perhaps be killed before or after the commit; perhaps lose every `lost`-th message."""
        events, self.inbox = self.inbox, []
        now = ev.Now(self.now - self.back, self.now)
        needs = self.core.needs(now, events)
        effects = self.core.step(now, events, self.store.load(needs))
        assert self.twin.needs(now, events) == needs
        same = self.twin.step(now, events, self.store.load(needs))
        assert same == effects
        self.core.check_invariants()
        if not commits:
            self.build()
            return
        self.model(events, effects)
        REACHED.update(self.core.moves)
        if not sends:
            self.build()
            return
        self.deliver([effect for index, effect in enumerate(effects) if not lost or index % lost])

    def model(self, events: list[ev.Event], effects: list[ef.Effect]) -> None:
        """Work out from the leases before the step who is to be charged; commit; compare what was answered."""
        self.charges.hear(self.store, events, self.now)
        opened = [event for event in events if isinstance(event, ev.SessionOpened)]
        self.hooked = {*self.store.settings, *(f"declared:{name}" for one in opened for name in one.handlers or ())}
        places = self.places(events)
        before = {name: self.slots_of(name) for name in NAMES}
        old = set(self.store.leases)
        pruned = self.to_be_pruned(events, effects)
        schedules = self.firing()
        ended = {seq for seq, row in self.store.rows.items() if row.state in ENDED}
        for effect in effects:
            if isinstance(effect, ef.Persist):
                self.store.commit(effect.changes)
            elif isinstance(effect, ef.Accepted):
                self.accepted.update(effect.ids)
            elif isinstance(effect, ef.WorkflowMade) and not effect.duplicate:
                self.accepted.update(task.id for task in self.workflows[effect.request].tasks)
        last = {
            effect.id: effect.answer for effect in effects if isinstance(effect, ef.Reply) and effect.id is not None
        }
        by_id = {row.id: row for row in self.store.rows.values()}
        self.forgive(effects, ended)
        for id, answer in last.items():
            if answer == "cancelled":
                assert by_id[id].state == "cancelled"
        assert not pruned & set(by_id)
        self.accepted -= pruned | self.forgotten_members(events)
        self.accepted -= {id for id in self.accepted - set(by_id) if self.was_deleted(id, effects)}
        for id, place in places.items():
            if id in by_id:
                assert (by_id[id].queue, by_id[id].priority) == place
        sent = [effect for effect in effects if isinstance(effect, ef.Dispatch)]
        assert all(one.alone == self.store.leases[one.lease].alone for one in sent)
        self.check_schedules(events, effects, schedules)
        new = [one for one in sent if one.lease not in old]
        self.check_dispatch(new, before)
        self.check_memory(new)
        self.check_hooks(events, effects)
        self.check_kept(events, effects)

    def forgive(self, effects: list[ef.Effect], ended: set[int]) -> None:
        """Those start anew that were retried by themselves, or had ended and have not now: with their workflow."""
        again = {one.id for one in effects if isinstance(one, ef.Reply) and one.answer == "retried" and not one.request}
        for seq, row in self.store.rows.items():
            if row.id in again or (seq in ended and row.state not in ENDED):
                self.charges.forgive(seq)

    def places(self, events: list[ev.Event]) -> dict[bytes, tuple[str, int]]:
        """Where each task that is submitted now for the first time is to stand."""
        declared, places = self.store.declared(), dict[bytes, tuple[str, int]]()
        there = {row.id for row in self.store.rows.values()}
        for event in events:
            if isinstance(event, ev.SessionOpened):
                self.apps[event.session] = event.handlers or {}
                declared |= event.handlers or {}
            elif isinstance(event, ev.Submit):
                for new in event.tasks:
                    options = Options.unpack(declared.get(new.name, b""))
                    priority = options.priority if new.priority is None else new.priority
                    if new.id not in there:
                        places.setdefault(new.id, (new.queue or options.queue, priority))
        return places

    def options(self, row: TaskRow) -> Options:
        return Options.unpack(self.store.declared().get(row.name, b""), row.options)

    def to_be_pruned(self, events: list[ev.Event], effects: list[ef.Effect]) -> set[bytes]:
        """The tasks that are still as ended as they were when they were found, and that nobody starts again."""
        ended = {
            (row.id, row.finished)
            for row in self.store.rows.values()
            if row.state in ENDED and row.workflow is None  # of members see `forgotten_members`
        }
        asked = {task for event in events if isinstance(event, ev.Prune) for task in event.tasks}
        again = {effect.id for effect in effects if isinstance(effect, ef.Reply) and effect.answer == "retried"}
        return {id for id, _ in asked & ended} - again

    def forgotten_members(self, events: list[ev.Event]) -> set[bytes]:
        """The members of workflows that are there no more, if any were to be pruned."""
        if not any(isinstance(event, ev.Prune) for event in events):
            return set()
        ids = {task.id for workflow in self.workflows for task in workflow.tasks}
        return ids - {row.id for row in self.store.rows.values()}

    def was_deleted(self, id: bytes, effects: list[ef.Effect]) -> bool:
        return any(isinstance(one, ef.Reply) and one.id == id and one.answer == "deleted" for one in effects)

    def check_dispatch(self, sent: list[ef.Dispatch], before: dict[str, int]) -> None:
        """What was given out anew was rightly first in its line, and within the limits."""
        leased = {seq for lease in self.store.leases.values() for seq in lease.open}
        left = [row for row in self.store.rows.values() if row.state == "queued" and row.seq not in leased]
        slots = self.core.slots()
        for one in sent:
            assert self.store.leases[one.lease].session == one.session
            assert one.rows
            assert {row.name for row in one.rows} <= self.apps[one.session].keys()
            known = {row.name: self.store.declared().get(row.name, b"") for row in one.rows}
            assert one.declared == {name: declared for name, declared in known.items() if declared}
            assert len({row.queue for row in one.rows}) == 1
            assert sum(len(row.payload) for row in one.rows) <= 1 << 20 or len(one.rows) == 1
            for row in one.rows:
                if len(one.rows) > 1:
                    assert not row.interruptions
                    assert not self.options(row).at_most_once
                limit = slots[row.name][1]
                assert limit is None or self.slots_of(row.name) <= max(limit, before[row.name])
                for other in left:
                    if other.name in self.apps[one.session] and not self.waits_for_memory(other, left, one.session):
                        self.check_order(row, other, slots)
            assert one.alone == (one.rows[0].interruptions > 0)

    def waits_for_memory(self, row: TaskRow, left: list[TaskRow], session: str) -> bool:
        """Whether that may be why it was left: it, or one before it in its lane, needs memory, and there is a bound."""
        bound = self.bounds.get(self.node_of(session))
        lane = [other for other in left if other.lane == row.lane and other.order <= row.order]
        return bound is not None and any(self.options(other).memory for other in lane)

    def node_of(self, session: str) -> str:
        return f"n{int(session[1:]) % 2}@h"

    def check_memory(self, new: list[ef.Dispatch]) -> None:
        """What was given out anew fits into its node beside all that is there."""
        for one in new:
            node = self.node_of(one.session)
            bound = self.bounds.get(node)
            if bound is not None and any(self.options(row).memory for row in one.rows):
                leases = [lease for lease in self.store.leases.values() if lease.node == node]
                assert sum(self.memory_of(lease) for lease in leases) <= bound

    def memory_of(self, lease: LeaseRow) -> float:
        rows = [self.store.rows[seq] for seq in lease.open]
        return needed([self.options(row).memory or 0.0 for row in rows], self.parallels[lease.session])

    def check_hooks(self, events: list[ev.Event], effects: list[ef.Effect]) -> None:
        """Each end of a run whose handler has a hook for it was followed by one, and nothing else was."""
        made = [
            (row.parent, row.name)
            for effect in effects
            if isinstance(effect, ef.Persist)
            for row in effect.changes.inserts
            if hook_of(row.name) is not None
        ]
        assert all(f"declared:{name}" in self.hooked for _, name in made)
        if any(
            isinstance(event, ev.SessionOpened | ev.Retry | ev.Delete | ev.Prune | ev.RetryWorkflow) for event in events
        ):
            return  # who has hooks, or what has ended, may have changed within the step
        ends = {"succeeded": "on_success", "failed": "on_failure"}
        wanted = [
            (row.id, f"{row.name}:{kind}")
            for effect in effects
            if isinstance(effect, ef.Outcome)
            for row, kind in [(row, ends.get(row.state)) for row in effect.tasks]
            + [(row, "on_retry") for row in effect.retried]
            if kind is not None and f"declared:{row.name}:{kind}" in self.store.settings
        ]
        assert sorted(made) == sorted(wanted)

    def firing(self) -> set[str]:
        """The schedules that may fire, unless an event says otherwise."""
        paused = msgspec.msgpack.decode(self.store.settings.get("scheduler", b"\x80")).get("paused")
        return set() if paused else {name for name, row in self.store.schedules.items() if row.next or row.waiting}

    def check_schedules(self, events: list[ev.Event], effects: list[ef.Effect], firing: set[str]) -> None:
        """Each slot makes one task, once; none is made by what is paused, disabled or gone, nor before its time."""
        is_changed = any(isinstance(event, ev.AddSchedule | ev.ChangeSchedule | ev.PauseSchedules) for event in events)
        notes = [each.facts for each in effects if isinstance(each, ef.Scheduled) and each.kind == "schedule_fired"]
        for facts in notes:
            name, slot, row = str(facts["schedule"]), float(facts["slot"]), self.store.schedules[str(facts["schedule"])]
            assert (name, row.added, slot) not in self.fired
            self.fired.add((name, row.added, slot))
            assert is_changed or name in firing
        inserts = [row for each in effects if isinstance(each, ef.Persist) for row in each.changes.inserts]
        made = [row.id for row in inserts if b"slot" in row.options]
        runs = [event for event in events if isinstance(event, ev.ChangeSchedule) and event.what == "run"]
        assert len(notes) <= len(made) <= len(notes) + len(runs)
        assert self.scheduled.isdisjoint(made)
        self.scheduled.update(made)

    def check_kept(self, events: list[ev.Event], effects: list[ef.Effect]) -> None:
        """Each checkpoint is answered: it is kept, or the lease is not open to the task any more."""
        asked = [(each.lease, each.seq, each.number) for each in events if isinstance(each, ev.Checkpointed)]
        kept = [(each.lease, each.seq, each.number) for each in effects if isinstance(each, ef.Kept)]
        stale = {(each.lease, seq) for each in effects if isinstance(each, ef.Stale) for seq in each.seqs}
        assert all(one in kept or one[:2] in stale for one in asked)
        assert set(kept) <= set(asked)

    def slots_of(self, name: str) -> int:
        """How many children's slots the store's leases take of a handler."""
        parallel = {pool.session: pool.parallel for pool in self.pools}
        counts = [
            (sum(self.store.rows[seq].name == name for seq in lease.open), parallel.get(lease.session, 1))
            for lease in self.store.leases.values()
        ]
        return sum(min(pair) for pair in counts)

    def check_order(self, given: TaskRow, left: TaskRow, slots: dict[str, tuple[int, int | None]]) -> None:
        if given.queue != left.queue:
            return
        used, limit = slots.get(left.name, (0, None))
        is_free = limit is None or used < limit
        if left.priority > given.priority:
            assert not is_free or self.is_paused(left), f"{left} was passed over for {given}"
        if left.lane == given.lane:
            assert left.order > given.order

    def is_paused(self, row: TaskRow) -> bool:
        queue = self.store.settings.get(f"queue:{row.queue}", b"\x80")
        handler = self.store.settings.get(f"handler:{row.name}", b"\x80")
        return bool(msgspec.msgpack.decode(queue).get("paused") or msgspec.msgpack.decode(handler).get("paused"))

    def deliver(self, effects: list[ef.Effect]) -> None:
        by_session = {pool.session: pool for pool in self.pools if pool.is_alive}
        for effect in effects:
            session: Any = getattr(effect, "session", None)
            if session in by_session:
                by_session[session].hear(effect)

    # --------------------------------------------------------------------- rules

    @rule(count=st.integers(1, 5), fields=new_tasks)
    def submit(self, count: int, fields: dict[str, Any]) -> None:
        tasks = []
        for _ in range(count if fields["key"] is None else 1):
            self.submitted += 1
            tasks.append(ev.NewTask(id=self.submitted.to_bytes(16, "big"), **fields))
        self.submissions.append(ev.Submit(client="c", request=len(self.submissions), tasks=tasks))
        self.inbox.append(self.submissions[-1])

    @precondition(lambda self: self.submissions)
    @rule(n=small)
    def submit_again(self, n: int) -> None:
        old = self.submissions[n % len(self.submissions)]
        self.inbox.append(msgspec.structs.replace(old, resent=True))

    @rule(members=members, on_failure=policies, is_alone=st.booleans())
    def submit_workflow(
        self, members: list[tuple[dict[str, Any], set[int]]], on_failure: str, *, is_alone: bool
    ) -> None:
        tasks = []
        for fields, _ in members:
            self.submitted += 1
            tasks.append(ev.NewTask(id=self.submitted.to_bytes(16, "big"), **fields))
        request = len(self.workflows)
        workflow = ev.SubmitWorkflow(
            client="c",
            request=request,
            id=request.to_bytes(16, "little"),
            tasks=tasks,
            after=[sorted(n for n in after if n < place) for place, (_, after) in enumerate(members)],
            takes=[None] * len(tasks),
            on_failure=on_failure,
        )
        self.workflows.append(workflow)
        self.inbox.append(workflow)
        if is_alone:
            self.step()

    @precondition(lambda self: self.workflows)
    @rule(n=small, what=st.sampled_from(["cancel", "retry", "retry", "again"]), is_member=st.booleans())
    def touch_workflow(self, n: int, what: str, *, is_member: bool) -> None:
        workflow = self.workflows[n % len(self.workflows)]
        id = workflow.tasks[n % len(workflow.tasks)].id if is_member else workflow.id
        match what:
            case "cancel":
                self.inbox.append(ev.CancelWorkflow(client="c", request=1, id=id))
            case "retry":
                self.inbox.append(ev.RetryWorkflow(client="c", request=1, id=id))
            case _:
                self.inbox.append(workflow)

    @rule(members=members, on_failure=policies)
    def wait_in_vain(self, members: list[tuple[dict[str, Any], set[int]]], on_failure: str) -> None:
        """A workflow whose members all expire, those that wait for others too, and that is retried."""
        mortal = [({**fields, "expires_in": 1.0, "delay": 0.5}, after) for fields, after in members]
        self.submit_workflow(mortal, on_failure, is_alone=True)
        self.time_passes(4.0)
        self.inbox.append(ev.RetryWorkflow(client="c", request=1, id=self.workflows[-1].id))
        self.step()
        self.step()

    @rule(n=small, batches=st.integers(0, 3), is_alone=st.booleans())
    def ask(self, n: int, batches: int, *, is_alone: bool) -> None:
        pool = self.pools[n % len(self.pools)]
        if pool.is_alive:
            if not pool.is_open:
                self.inbox.append(pool.opened())
                pool.is_open = True
            pool.asked = max(pool.asked, pool.received) + batches
            self.inbox.append(pool.demand())
        if is_alone:
            self.step()

    @rule(kinds=st.lists(kinds, max_size=3))
    def work(self, kinds: list[int]) -> None:
        """The healthy way: all pools ask, get, run and, where there are any results, tell."""
        for n in range(len(self.pools)):
            self.ask(n, 2, is_alone=False)
        self.step()
        for pool in self.pools if kinds else ():
            for lease, seqs in list(pool.held.items()):
                results = [self.a_result(seq, kinds[seq % len(kinds)]) for seq in seqs]
                self.inbox.append(ev.Results(session=pool.session, lease=lease, results=results))
        self.step()
        self.ask_why()

    @rule(lost=st.integers(1, 4))
    def step_and_lose_messages(self, lost: int) -> None:
        self.step(lost=lost)

    @rule(is_committed=st.booleans())
    def step_and_be_killed(self, *, is_committed: bool) -> None:
        self.step(commits=is_committed, sends=False)

    @rule(seconds=st.sampled_from([0.001, 0.5, 1.5, 4.0, 8.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        for pool in self.pools:
            if pool.is_alive and pool.is_open:
                self.inbox.append(ev.Heartbeat(node=pool.node[0], incarnation=pool.node[1]))
        self.step()

    @rule()
    def silence(self) -> None:
        self.now += LEASE + 1
        self.step()

    @rule()
    def fail_and_fall_silent(self) -> None:
        """All that runs fails, and waits for its next run longer than it may."""
        self.work([0])
        self.silence()

    def a_lease(self, n: int) -> tuple[Pool, int, list[int]] | None:
        choices = [(pool, lease, seqs) for pool in self.pools for lease, seqs in pool.held.items()]
        return choices[n % len(choices)] if choices else None

    @rule(n=small, is_first_only=st.booleans())
    def start(self, n: int, *, is_first_only: bool) -> None:
        found = self.a_lease(n)
        if found:
            pool, _, seqs = found
            pool.started.update(seqs[:1] if is_first_only else seqs)

    @rule(n=small, fraction=st.floats(0.0, 1.0), what=st.sampled_from(["progress", "checkpoint", "log", "all"]))
    def tell(self, n: int, fraction: float, what: str) -> None:
        """A running task tells something, or one that was, to its old lease."""
        found = self.a_lease(n)
        if found:
            pool, lease, seqs = found
            where: dict[str, Any] = {"session": pool.session, "lease": lease, "seq": seqs[n % len(seqs)]}
            self.told += 1
            if what in {"progress", "all"}:
                self.inbox.append(ev.Progressed(fraction=fraction, **where))
            if what in {"checkpoint", "all"}:
                self.inbox.append(ev.Checkpointed(number=self.told, value=b"%d" % self.told, **where))
            if what in {"log", "all"}:
                self.inbox.append(ev.Logged(first=self.told, last=self.told, lines=b"\x90", **where))

    @rule(n=small, kinds=st.lists(kinds, min_size=1, max_size=6), is_alone=st.booleans())
    def results(self, n: int, kinds: list[int], *, is_alone: bool) -> None:
        found = self.a_lease(n)
        if found:
            pool, lease, seqs = found
            results = [self.a_result(seq, kind) for seq, kind in zip(seqs, kinds, strict=False)]
            self.inbox.append(ev.Results(session=pool.session, lease=lease, results=results))
        if is_alone:
            self.step()

    def a_result(self, seq: int, kind: int) -> ev.Result:
        make, fields = RUN_ENDS[kind] if kind < WELL else (ev.Succeeded, {"result": b"\xc0"})
        return make(seq=seq, started=self.now - 0.001, finished=self.now, **fields)

    @rule(n=small, count=st.integers(1, 9))
    def hand_back(self, n: int, count: int) -> None:
        found = self.a_lease(n)
        if found:
            pool, lease, seqs = found
            waiting = [seq for seq in seqs if seq not in pool.started][-count:]
            self.inbox.append(ev.HandedBack(session=pool.session, lease=lease, seqs=tuple(waiting)))

    @rule(n=small)
    def obey(self, n: int) -> None:
        pool = self.pools[n % len(self.pools)]
        orders, pool.orders = pool.orders, []
        for order in orders:
            seqs = order.seqs if isinstance(order, ef.TakeBack) else (order.seq,)
            back = tuple(seq for seq in seqs if seq in pool.held.get(order.lease, ()) and seq not in pool.started)
            self.inbox.append(ev.HandedBack(session=order.session, lease=order.lease, seqs=back))
            if isinstance(order, ef.CancelRunning) and not back:
                self.inbox.append(ev.Cancelling(session=order.session, lease=order.lease, seq=order.seq))

    @rule(n=small, app=apps)
    def deploy(self, n: int, app: dict[str, bytes]) -> None:
        """The first child of a pool is up, or one of another edition of the app."""
        pool = self.pools[n % len(self.pools)]
        pool.app = app
        if pool.is_alive:
            self.inbox.append(pool.opened())
            pool.is_open = True

    @rule(n=small, story=st.sampled_from(["blackboard", "fenced", "nothing"]), zombie=st.booleans())
    def lose_node(self, n: int, story: str, *, zombie: bool) -> None:
        pool = self.pools[n % len(self.pools)]
        started = None if story == "nothing" else frozenset(pool.started)
        node, incarnation = pool.node
        self.inbox.append(ev.NodeLost(node=node, incarnation=incarnation, started=started, fenced=story == "fenced"))
        pool.is_alive = False
        if not zombie:
            self.pools.remove(pool)
        elif len(self.pools) > 3:
            self.pools.pop(0)
        self.add_pool(pool.parallel, pool.app)

    @precondition(lambda self: self.submitted)
    @rule(n=small, state=st.sampled_from(["retrying", "retrying", "pending", "queued", "any"]))
    def cancel(self, n: int, state: str) -> None:
        known = [row.id for row in self.store.rows.values() if row.state == state]
        ids = ((known or [(1 + n % self.submitted).to_bytes(16, "big")])[n % (len(known) or 1)],)
        self.inbox.append(ev.Cancel(client="c", request=0, ids=ids))

    @rule(
        what=st.sampled_from(["delete", "retry", "retry", "pause", "resume", "limit", "prune"]),
        n=small,
        name=st.sampled_from(QUEUES + HANDLERS),
        limit=st.sampled_from([None, 1, 2]),
    )
    def operate(self, what: str, n: int, name: str, limit: int | None) -> None:
        queue, handler = (name, None) if name in QUEUES else (None, name)
        ids = tuple(row.id for row in self.store.rows.values() if row.state in ENDED or n % 5 == 0)
        match what:
            case "delete":
                self.inbox.append(ev.Delete(client="c", request=0, ids=ids[: n % 4], waiting=n % 2 == 0))
            case "retry":
                self.inbox.append(ev.Retry(client="c", request=0, ids=ids))
            case "prune":
                found = {row.id: row.finished or 0.0 for row in self.store.rows.values()}
                self.inbox.append(ev.Prune(tasks=tuple((id, found[id]) for id in ids)))
            case "pause" | "resume":
                is_paused = what == "pause"
                self.inbox.append(
                    ev.Pause(
                        client="c", request=0, queue=queue, handler=handler, paused=is_paused, by=f"u{n}", why="so"
                    )
                )
            case _:
                self.inbox.append(ev.LimitHandler(client="c", request=0, handler=name, max_concurrency=limit))

    @rule(
        name=st.sampled_from(SCHEDULES),
        every=st.sampled_from([1.0, 3.0]),
        misfire=st.sampled_from(["once", "skip", "all"]),
        overlap=st.sampled_from(["allow", "skip", "queue"]),
        replace=st.booleans(),
    )
    def schedule(self, name: str, every: float, misfire: str, overlap: str, *, replace: bool) -> None:
        definition = Definition(
            timing=Timing(every=every),
            task=ev.NewTask(id=bytes(16), name="f", payload=b"x"),
            misfire=misfire,
            misfire_grace=1.0,
            max_catch_up=3,
            overlap=overlap,
        )
        self.requests += 1
        packed = msgspec.msgpack.encode(definition)
        event = ev.AddSchedule(client="c", request=self.requests, name=name, definition=packed, replace=replace)
        self.inbox.append(event)

    @precondition(lambda self: self.store.schedules)
    @rule(
        what=st.sampled_from(["remove", "enable", "disable", "run", "pause", "resume", "set back"]),
        name=st.sampled_from(SCHEDULES),
        is_alone=st.booleans(),
    )
    def operate_schedules(self, what: str, name: str, *, is_alone: bool) -> None:
        self.requests += 1
        if what == "set back":
            self.back += 2.5
        elif what in {"pause", "resume"}:
            self.inbox.append(ev.PauseSchedules(client="c", request=self.requests, paused=what == "pause"))
        else:
            self.inbox.append(ev.ChangeSchedule(client="c", request=self.requests, name=name, what=what))
        if is_alone:
            self.step()

    def ask_why(self) -> None:
        """Of every task there is a reason that can be said in words, unless it has ended; and it is true."""
        leased = {seq for lease in self.store.leases.values() for seq in lease.open}
        ids = {row.id.hex() for seq, row in self.store.rows.items() if seq in leased}
        for seq, row in self.store.rows.items():
            why = self.core.why(row, self.now)
            assert (why is None) == (row.state in ENDED)
            if why is None:
                continue
            assert in_words({"code": why.code, "facts": why.facts}).startswith(f"{why.code}: ")
            assert (why.code == "assigned") <= (seq in leased)
            assert set(why.facts.get("held_by", ())) <= ids
            if why.code == "handler_limit":
                used, limit = self.core.slots()[row.name]
                assert limit is not None
                assert used >= limit
                assert why.facts["tasks"] >= len(why.facts["held_by"]) > 0

    # ---------------------------------------------------------------- invariants

    @invariant()
    def nothing_is_lost(self) -> None:
        assert self.accepted <= {row.id for row in self.store.rows.values()}

    @invariant()
    def counts_are_the_rows(self) -> None:
        assert {key: n for key, n in self.store.counts.items() if n} == self.store.counted()

    @invariant()
    def no_task_is_in_two_leases(self) -> None:
        seqs = [seq for lease in self.store.leases.values() for seq in lease.open]
        assert len(seqs) == len(set(seqs))
        assert all(self.store.rows[seq].state == "queued" for seq in seqs)

    @invariant()
    def only_the_guilty_are_charged(self) -> None:
        for seq, row in self.store.rows.items():
            assert row.attempt == self.charges.attempts[seq], row
            assert row.interruptions == self.charges.interruptions[seq], row

    @invariant()
    def what_tasks_told_is_kept_as_long_as_it_is_to_be(self) -> None:
        for seq, row in self.store.rows.items():
            assert row.checkpoint == self.charges.checkpoints.get(seq), row
            told = self.charges.progress.get(seq)
            assert row.progress == (None if told is None else msgspec.msgpack.encode((told, ""))), row
        runs = {seq: sorted(leases)[-LOGGED_RUNS:] for seq, leases in self.charges.runs.items()}
        wanted = [line for line in self.charges.lines if line[0] in self.store.rows and line[1] in runs[line[0]]]
        assert [(each.seq, each.lease, each.first) for each in self.store.logs] == sorted(wanted)

    @invariant()
    def workflows_are_as_their_members(self) -> None:
        for workflow in self.store.workflows.values():
            rows = [row for row in self.store.rows.values() if row.workflow == workflow.number]
            forgotten = workflow.total - workflow.kept
            ended = [row for row in rows if row.state in ENDED]
            assert len(rows) == workflow.kept > 0
            assert not forgotten or workflow.finished is not None
            assert workflow.ended == len(ended) + forgotten
            assert 0 <= workflow.failed - sum(row.state != "succeeded" for row in ended) <= forgotten
            assert (workflow.finished is None) == (workflow.ended < workflow.total or workflow.sweep is not None)

    @invariant()
    def members_wait_for_those_before_them_and_for_nothing_else(self) -> None:
        for seq, row in self.store.rows.items():
            if row.workflow is None:
                assert row.waits is None
                continue
            if row.state not in ENDED:
                is_swept = self.store.workflows[row.workflow].sweep == "cancel"
                assert (row.due == math.inf) == bool(row.waits) or (is_swept and not row.waits), row
                assert row.state == "pending" or row.due < math.inf
            link = self.store.links.get(seq)
            places = [] if link is None else msgspec.msgpack.decode(link.after)
            before = [
                self.store.rows[row.workflow + place] for place in places if row.workflow + place in self.store.rows
            ]
            if len(before) == len(places):
                assert row.waits == sum(one.state != "succeeded" and not one.told for one in before), row

    @invariant()
    def pauses_are_signed(self) -> None:
        for key, packed in self.store.settings.items():
            if key.startswith(("queue:", "handler:")):
                kept = msgspec.msgpack.decode(packed)
                signs = [kept.get("by", "")[:1], kept.get("why", ""), "since" in kept]
                assert signs == (["u", "so", True] if kept.get("paused") else ["", "", False])

    @invariant()
    def retries_are_as_many_as_allowed(self) -> None:
        for row in self.store.rows.values():
            # What a handler declares may change while its tasks run.
            retries = Options.unpack(row.options).retries if b"retries" in row.options else MOST_RETRIES
            assert row.attempt <= retries + 1
            assert row.state != "retrying" or row.attempt <= retries
            assert row.state != "failed" or row.reason in {"error", "timeout", "crashed", "lost"}
            assert row.state != "queued" or row.reason in {None, "cancelling"}

    def teardown(self) -> None:
        """Whatever has happened, with time and a good pool everything that can end does."""
        retrying = tuple(row.id for row in self.store.rows.values() if row.state == "retrying")
        ended = tuple(row.id for row in self.store.rows.values() if row.state in ENDED)
        self.inbox.append(ev.Cancel(client="c", request=0, ids=retrying[::2]))
        self.inbox.append(ev.Retry(client="c", request=0, ids=ended))
        for name in SCHEDULES:
            self.inbox.append(ev.ChangeSchedule(client="c", request=0, name=name, what="remove"))
        for pool in self.pools:
            pool.is_alive = False
            self.inbox.append(ev.NodeLost(node=pool.node[0], incarnation=pool.node[1], started=frozenset()))
        for name in QUEUES:
            self.inbox.append(ev.Pause(client="c", request=0, queue=name, paused=False))
        for name in HANDLERS:
            self.inbox.append(ev.Pause(client="c", request=0, handler=name, paused=False))
            self.inbox.append(ev.LimitHandler(client="c", request=0, handler=name, max_concurrency=None))
        self.bounds = {}
        self.add_pool(1, dict.fromkeys(NAMES, b""))
        last = self.pools[-1]
        self.step()
        for _ in range(1_000):
            if all(row.state in ENDED for row in self.store.rows.values()):
                break
            self.now += 2.0
            self.inbox.append(last.opened())
            last.asked = last.received + 20
            self.inbox.append(last.demand())
            for lease, seqs in last.held.items():
                results = [self.a_result(seq, WELL) for seq in seqs]
                self.inbox.append(ev.Results(session=last.session, lease=lease, results=results))
            self.step()
        stuck = [row for row in self.store.rows.values() if row.state not in ENDED]
        assert not stuck, f"stuck are {stuck}, of {self.store.workflows}"
        assert self.core.held == 0


def test_the_core_keeps_its_promises_and_every_transition_is_reached() -> None:
    run_state_machine_as_test(
        CoreMachine,
        settings=settings(
            max_examples=350,
            stateful_step_count=60,
            deadline=None,
            report_multiple_bugs=False,
            derandomize=True,  # so that the assertion below is no matter of luck
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
    reached = REACHED | {("queued", "running")}
    assert reached == {(source, target) for source, targets in TRANSITIONS.items() for target in targets}
