"""The queue as a value: events with the time go in, effects come out in the order to carry out.

A driver's duties, for each batch of events:

1. `needs(now, events)` says what must be seen; read it from a store in which all that was persisted before is committed.
2. `step(now, events, loaded)` decides, and changes the core's memory.
3. Carry out the effects in their order. The first is the `Persist`; nothing after it may be sent before it is durable.
4. If the commit was refused or its fate is unknown, send nothing, throw the core away, and make a new one from what the
   store has (`Recovered`).
5. After `wake(now)` seconds at the latest, step again, with no events if there are none.

The same core, told the same at the same times, gives the same effects. It reads no clock, has no randomness, and opens no
payload. Not thread-safe; it has one owner.
"""

from __future__ import annotations

import math
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from otpq.core import admission, catalogue, outcomes, pools, requests, settings, telling, workflows
from otpq.core import events as ev
from otpq.core.balance import balance
from otpq.core.clockwork import Clockwork
from otpq.core.dispatch import dispatch
from otpq.core.invariants import check_invariants
from otpq.core.leases import Lease
from otpq.core.ledger import Ledger
from otpq.core.limits import limits
from otpq.core.needs import add_members, needs_of
from otpq.core.records import Loaded, Needs
from otpq.core.state import QUEUED, Config, State, Stats
from otpq.core.story import Note, Stimulus
from otpq.core.why import Why, why
from otpq.errors import InvariantBroken
from otpq.task import TaskState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from otpq.core.effects import Effect
    from otpq.core.records import LeaseRow, Recovered, TaskRow

__all__ = ["QueueCore"]

LOOK_AT: Final = 8
"""Leases that `next_result` looks at, the oldest: enough to find one that is due, and few enough to cost nothing."""


def _nothing(_state: State, _event: ev.Tick) -> None:
    """Time passes in every step; a tick only causes one."""


_RULES: Final[dict[type, Callable[[State, Any], None]]] = {
    ev.Submit: admission.submit,
    ev.SubmitWorkflow: workflows.submit,
    ev.CancelWorkflow: workflows.cancel,
    ev.RetryWorkflow: workflows.retry,
    ev.Results: outcomes.results,
    ev.HandedBack: outcomes.handed_back,
    ev.Cancelling: outcomes.cancelling,
    ev.Progressed: telling.progressed,
    ev.Checkpointed: telling.checkpointed,
    ev.Logged: telling.logged,
    ev.Demand: pools.demand,
    ev.Running: pools.running,
    ev.Heartbeat: pools.heartbeat,
    ev.SessionOpened: pools.session_opened,
    ev.SessionClosed: pools.session_closed,
    ev.NodeLost: pools.node_lost,
    ev.Cancel: requests.cancel,
    ev.Retry: requests.retry,
    ev.Delete: requests.delete,
    ev.Prune: requests.prune,
    ev.Pause: settings.pause,
    ev.LimitHandler: settings.limit_handler,
    ev.LimitQueue: settings.limit_queue,
    ev.Tick: _nothing,
}
"""Which rule takes which event; a test holds it against the union."""


class QueueCore:
    """All queues of a cluster, and who works on what."""

    def __init__(self, recovered: Recovered, config: Config | None = None) -> None:
        self._state = State(recovered, config or Config())
        catalogue.file(self._state, self._state.config.handlers)
        settings.restore(self._state, recovered.settings)
        workflows.restore(self._state, recovered.sweeping)
        self._clockwork = Clockwork(self._state)
        self._orphans: dict[int, LeaseRow] = {row.lease: row for row in recovered.leases}
        """Leases found in the store, until their rows have been read."""
        self._needs = Needs()
        self._settled = 0
        """Of how many of the ledger's ended tasks it has been seen to what follows."""

    # -------------------------------------------------------------- the two verbs

    def needs(self, now: ev.Now, events: Sequence[ev.Event]) -> Needs:
        """What `step` must see to decide about these events: a few indexed reads, often none."""
        needs, leases = Needs(), self._state.leases
        needs_of(events, leases, needs)
        if now.mono >= leases.next_deadline:
            add_members(leases.open.values(), needs)
        for orphan in self._orphans.values():
            needs.seqs.update(orphan.open)
        workflows.ask(self._state, needs)
        needs.lanes = self._state.lanes.ask()
        self._clockwork.ask(now, needs)
        self._needs = needs
        return needs

    def step(self, now: ev.Now, events: Sequence[ev.Event], loaded: Loaded) -> list[Effect]:
        """Decide about these events, and about what has become due meanwhile.

        Args:
            now: By both clocks. The steady one never goes back.
            events: In the order of their arrival; the same that `needs` was asked about.
            loaded: The answers to `needs`.

        Returns:
            Effects in the order to carry out: at most one `Persist`, first; then the answers, in the order of the events;
            then the `Outcome`s; then work for the pools.

        Raises:
            InvalidTransition: A bug, with the task's story. The core is to be thrown away.
            InvariantBroken: The store and the core contradict each other. Likewise.
        """
        state = self._state
        state.story.tape.append(Stimulus(now, events, self._needs, loaded))
        state.now, state.loaded, state.ledger = now, loaded, Ledger()
        if self._orphans:
            self._adopt(loaded)
        if loaded.lanes:
            state.lanes.refill(loaded.lanes, state.leases.by_seq)
        self._clockwork.refill(loaded)
        for event in events:
            _RULES[type(event)](state, event)
            self._settle()
        self._clockwork.expire(loaded)
        self._clockwork.release_due()
        pools.end_overdue(state)
        self._settle()
        if state.sweeps:
            workflows.go_on(state)
            self._settle()
        pools.send_again(state)
        dispatch(state)
        balance(state)
        return self._close()

    def _settle(self) -> None:
        """Have follow what follows from the ends that are new; before the next event, which may start these tasks again."""
        ended = self._state.ledger.ended
        if len(ended) > self._settled:
            workflows.settle(self._state, ended[self._settled :])
            self._settled = len(ended)

    def _close(self) -> list[Effect]:
        state = self._state
        self._settled = 0
        counts = state.counts
        for key, difference in state.ledger.counts.items():
            counts[key] = counts.get(key, 0) + difference
        effects = state.ledger.effects()
        state.ledger = Ledger()
        return effects

    def _adopt(self, loaded: Loaded) -> None:
        """Take over the leases of an earlier queue server, each with one fresh full term."""
        state = self._state
        for orphan in self._orphans.values():
            rows = {seq: row for seq in orphan.open if (row := loaded.by_seq.get(seq)) is not None}
            if len(rows) < len(orphan.open):
                raise InvariantBroken(f"lease {orphan.lease} is open for tasks that are not in the store")
            lease = Lease(
                orphan.lease,
                orphan.session,
                (orphan.node, orphan.incarnation),
                rows,
                epoch=orphan.epoch,
                granted=orphan.granted,
                alone=orphan.alone,
            )
            lease.waits_since = state.now.mono
            state.leases.grant(lease)
            state.take_slots(lease)
            state.leases.renew(lease.node, state.now.mono)
            for row in rows.values():
                state.lanes.discount(row)
        self._orphans = {}

    # ----------------------------------------------------------------- looking in

    def wake(self, now: ev.Now) -> float:
        """Seconds after which a step is due though nothing arrives; 0: at once."""
        state = self._state
        if state.is_hungry or self._orphans or state.sweeps:
            return 0.0
        lease = state.leases.next_deadline - now.mono
        return max(0.0, min(self._clockwork.seconds_until(now), lease))

    def next_result(self, arrived: Mapping[int, int]) -> float:
        """Seconds in which another result may come, by the handlers' recent means; infinite: none that is known of.

        Args:
            arrived: How many results of each lease have come already, and are not taken in yet.
        """
        state = self._state
        soon = math.inf
        for lease in islice(state.leases.open.values(), LOOK_AT):
            if len(lease.rows) > arrived.get(lease.id, 0):
                handler = state.handlers[next(iter(lease.rows.values())).name]
                soon = min(soon, handler.mean if handler.runs else math.inf)
        return soon

    def why(self, row: TaskRow, wall: float | None = None) -> Why | None:
        """Why the task of `row`, as the store has it now, is not at work; None: it has ended.

        Args:
            row: From the store, as of the last step.
            wall: The time, for "in so many seconds"; None: that of the last step, which may be long ago.
        """
        return why(self._state, row, self._state.now.wall if wall is None else wall)

    def open_of(self, lease: int) -> list[bytes]:
        """The ids of the open tasks of a lease, in their order; none of one that is not open."""
        found = self._state.leases.open.get(lease)
        return [] if found is None else [row.id for row in found.rows.values()]

    def counts(self) -> dict[str, dict[TaskState, int]]:
        """How many tasks are in each of the eight states, by queue. `running` is as the pools last told."""
        counts: dict[str, dict[TaskState, int]] = {}
        for (queue, name), count in self._state.counts.items():
            counts.setdefault(queue, dict.fromkeys(TaskState, 0))[TaskState(name)] = count
        for session in self._state.sessions.values():
            for seq in session.running:
                lease = self._state.leases.by_seq.get(seq)
                if lease is not None:
                    of_queue = counts[lease.rows[seq].queue]
                    of_queue[TaskState.RUNNING] += 1
                    of_queue[TaskState(QUEUED)] -= 1
        return counts

    def slots(self) -> dict[str, tuple[int, int | None]]:
        """Of each handler the slots in use and how many there are (None: no limit)."""
        return {name: (handler.used, handler.limit) for name, handler in self._state.handlers.items()}

    def queues(self) -> list[dict[str, Any]]:
        """What operators have set of each queue; see `catalogue.queues`."""
        return catalogue.queues(self._state)

    def handlers(self) -> list[dict[str, Any]]:
        """What is known of each handler; see `catalogue.facts`."""
        return catalogue.facts(self._state)

    def limits(self) -> list[dict[str, Any]]:
        """Which limits are in force; see `limits.limits`."""
        return limits(self._state)

    @property
    def declared(self) -> dict[str, bytes]:
        """The options in force of each handler that has others than the defaults, as `Options.pack` gives it."""
        handlers = self._state.handlers
        return handlers.declared_of(handlers)

    def story(self, seq: int) -> list[Note]:
        """What is remembered of a task, oldest first."""
        return self._state.story.of(seq)

    @property
    def tape(self) -> list[Stimulus]:
        """The last steps, to be played again; empty unless `Config.tape` says how many to keep."""
        return list(self._state.story.tape)

    @property
    def stats(self) -> Stats:
        """Plain counters since the start."""
        return self._state.stats

    @property
    def moves(self) -> Mapping[tuple[str, str], int]:
        """How often each transition was made since the start."""
        return self._state.moves

    @property
    def next_seq(self) -> int:
        """The number that the next task gets."""
        return self._state.next_seq

    @property
    def held(self) -> int:
        """How many rows of waiting tasks are in memory."""
        return self._state.room.rows

    @property
    def open_leases(self) -> int:
        """How many batches are out."""
        return len(self._state.leases.open)

    def check_invariants(self) -> None:
        """Return if every part of the core agrees with every other.

        Raises:
            InvariantBroken: It names what does not hold.
        """
        check_invariants(self._state)
