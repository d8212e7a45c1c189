"""The pool's books: by example, and against a model of a queue server that loses and repeats messages."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from otpq.core.effects import Dispatch
from otpq.core.events import Cancelled, Demand, HandedBack, Results, Succeeded
from otpq.worker.desk import BATCHES, Desk, Said
from otpq.worker.orders import Job

if TYPE_CHECKING:
    from collections.abc import Iterable


def job(seq: int, *, at_most_once: bool = False) -> Job:
    return Job(seq, "name", 300.0, at_most_once, (), 0)


def give(desk: Desk, lease: int, *seqs: int, number: int | None = None) -> int | None:
    dispatch = Dispatch(session="s", lease=lease, number=lease if number is None else number, rows=[])
    return desk.take(dispatch, [job(seq) for seq in seqs])


def result(seq: int) -> Succeeded:
    return Succeeded(seq, b"", 1.0, 2.0)


def asks(desk: Desk) -> Demand:
    demand = desk.demand(again=True)
    assert demand is not None
    return demand


def desk_of(*ready: int) -> Desk:
    desk = Desk("s")
    for slot in ready:
        desk.worker_ready(slot)
    return desk


def test_each_ready_worker_is_to_have_two_batches() -> None:
    desk = desk_of()
    assert asks(desk).asked == 0
    desk.worker_ready(0)
    desk.worker_ready(1)
    assert asks(desk).asked == 4
    give(desk, 1, 10)
    assert (asks(desk).asked, asks(desk).received, asks(desk).held) == (4, 1, (1,))
    desk.worker_paused(1)
    assert asks(desk).asked == 2


def test_the_next_batch_is_asked_for_when_one_is_done_though_it_is_not_committed() -> None:
    desk = desk_of(0)
    give(desk, 1, 10, 11)
    desk.done(1, [result(10)])
    assert asks(desk).asked == 2
    desk.done(1, [result(11)])
    assert (asks(desk).asked, asks(desk).held) == (3, (1,))
    desk.committed(1, (10, 11))
    assert asks(desk).held == ()


def test_what_has_not_changed_is_not_said_twice() -> None:
    desk = desk_of(0)
    assert desk.demand() is not None
    assert desk.demand() is None
    assert desk.demand(again=True) is not None


def test_a_worker_has_the_leases_of_which_it_has_something_open() -> None:
    desk = desk_of(0)
    give(desk, 1, 10)
    give(desk, 2, 20)
    assert desk.leases_of(0) == [1, 2]
    desk.done(1, [result(10)])  # kept until it is committed, and no longer the worker's
    assert desk.leases_of(0) == [2]
    assert desk.leases_of(1) == []


def test_a_batch_goes_to_who_has_least() -> None:
    desk = desk_of(0, 1)
    first, second, third, fourth = (give(desk, lease, lease) for lease in range(1, 5))
    assert {first, second} == {third, fourth} == {0, 1}


def test_a_paused_desk_asks_for_nothing_new_and_goes_on_where_it_was() -> None:
    desk = desk_of(0, 1)
    give(desk, 1, 10)
    demand = desk.demand()
    assert demand is not None
    assert (demand.asked, demand.received, demand.idle) == (4, 1, 1)
    desk.is_paused = True
    demand = desk.demand()
    assert demand is not None
    assert (demand.asked, demand.held, demand.idle) == (1, (1,), 0)
    assert desk.demand() is None, "it has been said"
    desk.is_paused = False
    demand = desk.demand()
    assert demand is not None
    assert demand.asked == 4


def test_a_batch_behind_another_is_surplus_while_a_worker_has_nothing() -> None:
    desk = desk_of(0)
    give(desk, 1, 10)
    give(desk, 2, 20, 21)
    assert desk.surplus() == {}
    desk.worker_ready(1)
    assert desk.surplus() == {2: (0, (20, 21))}
    give(desk, 3, 30)
    assert desk.surplus() == {}
    desk.done(3, [result(30)])
    desk.returned(2, (20, 21))
    assert desk.surplus() == {}


def test_a_batch_without_a_child_to_run_it_is_handed_back() -> None:
    desk = desk_of()
    assert give(desk, 1, 10, 11) is None
    assert desk.flush() == [HandedBack(session="s", lease=1, seqs=(10, 11))]
    assert desk.held == (1,)


def test_a_batch_that_comes_twice_is_not_run_twice_and_one_that_is_over_is_held_once_more() -> None:
    desk = desk_of(0)
    assert give(desk, 1, 10) == 0
    assert give(desk, 1, 10) is None
    desk.interrupted(1, [10])
    assert asks(desk).held == ()
    assert give(desk, 1, 10) is None
    assert asks(desk).held == (1,)
    assert asks(desk).held == ()
    assert desk.flush() == []


def test_results_of_what_is_not_open_are_dropped() -> None:
    desk = desk_of(0)
    give(desk, 1, 10)
    desk.done(1, [result(10), result(99)])
    desk.done(1, [result(10)])
    desk.done(7, [result(10)])
    assert desk.flush() == [Results(session="s", lease=1, results=[result(10)])]


def test_a_worker_that_ends_is_answered_for() -> None:
    desk = desk_of(0, 1)
    desk.take(Dispatch(session="s", lease=1, number=1, rows=[]), [job(10), job(11), job(12, at_most_once=True)])
    desk.worker_gone(0, {10})
    assert desk.flush() == [HandedBack(session="s", lease=1, seqs=(11,))]
    assert desk.held == (1,)
    desk.committed(1, (11,))
    assert not desk.held  # the core ends the rest as interrupted


def test_a_stale_lease_is_forgotten_and_what_runs_of_it_is_named() -> None:
    desk = desk_of(0)
    give(desk, 1, 10, 11, 12)
    desk.done(1, [result(10)])
    assert desk.stale(1, (10, 11)) == (11,)
    assert desk.stale(1) == (12,)
    assert desk.stale(1) == ()
    assert desk.is_empty
    assert asks(desk).asked == 3


def test_all_that_is_kept_is_said_again() -> None:
    desk = desk_of(0)
    give(desk, 1, 10, 11, 12)
    desk.done(1, [result(10)])
    desk.done(1, [result(11)])
    desk.returned(1, [12])
    desk.flush()
    assert desk.repeat() == [
        Results(session="s", lease=1, results=[result(10), result(11)]),
        HandedBack(session="s", lease=1, seqs=(12,)),
    ]
    assert desk.flush() == []


def test_numbers_go_on_when_the_session_is_opened_again() -> None:
    desk = desk_of(0)
    give(desk, 5, 10, number=5)
    desk.repeat()
    assert (asks(desk).received, asks(desk).asked) == (5, 6)


def test_a_closed_desk_asks_for_nothing_and_takes_nothing() -> None:
    desk = desk_of(0)
    desk.is_closed = True
    assert desk.demand(again=True) is None
    assert give(desk, 1, 10) is None
    assert desk.flush() == [HandedBack(session="s", lease=1, seqs=(10,))]


SLOTS = st.integers(0, 2)
DATA = st.data()


class DeskMachine(RuleBasedStateMachine):
    """A desk, and a queue server that commits some of what it hears, sometimes, and sends batches again."""

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk("s")
        self.ready: set[int] = set()
        self.leases = itertools.count(1)
        self.seqs = itertools.count(100)
        self.sent: dict[int, tuple[int, ...]] = {}
        self.server: dict[int, set[int]] = {}
        """What is open at the queue server."""
        self.at_work: dict[int, tuple[int, set[int]]] = {}
        """Lease to (slot, seqs): what the workers have."""
        self.heard: list[Said] = []
        self.said: set[int] = set()
        self.interrupted: set[int] = set()
        self.dropped: set[int] = set()

    def flush(self) -> None:
        for event in self.desk.flush():
            seqs = seqs_of(event)
            assert not self.said & set(seqs), "said twice, unasked"
            assert not self.dropped & set(seqs), "said though it is nobody's"
            assert not self.interrupted & set(seqs), "said though nobody knows"
            self.said.update(seqs)
            self.heard.append(event)

    @rule(slot=SLOTS)
    def ready_worker(self, slot: int) -> None:
        self.desk.worker_ready(slot)
        self.ready.add(slot)

    @rule(count=st.integers(1, 4))
    def dispatch(self, count: int) -> None:
        lease = next(self.leases)
        seqs = tuple(itertools.islice(self.seqs, count))
        self.sent[lease], self.server[lease] = seqs, set(seqs)
        slot = give(self.desk, lease, *seqs)
        assert (slot in self.ready) if self.ready else slot is None
        if slot is not None:
            self.at_work[lease] = slot, set(seqs)
        self.flush()

    @precondition(lambda self: self.sent)
    @rule(data=DATA)
    def send_again(self, data: st.DataObject) -> None:
        lease = data.draw(st.sampled_from(sorted(self.sent)))
        assert give(self.desk, lease, *self.sent[lease]) is None
        self.flush()

    @precondition(lambda self: any(seqs for _, seqs in self.at_work.values()))
    @rule(data=DATA, how=st.sampled_from(["done", "returned", "interrupted"]))
    def answer(self, data: st.DataObject, how: str) -> None:
        lease = data.draw(st.sampled_from(sorted(lease for lease, (_, seqs) in self.at_work.items() if seqs)))
        seqs = self.at_work[lease][1]
        some = data.draw(st.sets(st.sampled_from(sorted(seqs)), min_size=1))
        seqs -= some
        if how == "done":
            self.desk.done(lease, [Cancelled(seq, 0.0, 1.0) for seq in sorted(some)])
        elif how == "returned":
            self.desk.returned(lease, sorted(some))
        else:
            self.desk.interrupted(lease, some)
            self.interrupted |= some
        self.flush()

    @rule(slot=SLOTS, data=DATA)
    def end_worker(self, slot: int, data: st.DataObject) -> None:
        has = sorted(seq for at, seqs in self.at_work.values() if at == slot for seq in seqs)
        running = data.draw(st.sampled_from([None, *has]))
        self.desk.worker_gone(slot, set() if running is None else {running})
        self.ready.discard(slot)
        if running is not None:
            self.interrupted.add(running)
        for at, seqs in self.at_work.values():
            if at == slot:
                seqs.clear()
        self.flush()

    @precondition(lambda self: self.heard)
    @rule(data=DATA)
    def commit(self, data: st.DataObject) -> None:
        event = self.heard.pop(data.draw(st.integers(0, len(self.heard) - 1)))
        self.server[event.lease] -= set(seqs_of(event))
        self.desk.committed(event.lease, seqs_of(event))

    @precondition(lambda self: self.sent)
    @rule(data=DATA)
    def go_stale(self, data: st.DataObject) -> None:
        lease = data.draw(st.sampled_from(sorted(self.sent)))
        some = data.draw(st.sets(st.sampled_from(self.sent[lease])))
        has = self.at_work.get(lease, (0, set()))[1]
        dropped = some or set(self.sent[lease])
        assert set(self.desk.stale(lease, sorted(some))) == has & dropped
        self.dropped |= has & dropped
        has -= dropped
        self.server[lease] -= dropped

    @rule()
    def open_again(self) -> None:
        self.heard = self.desk.repeat()

    @invariant()
    def asks_for_two_batches_a_worker(self) -> None:
        demand = asks(self.desk)
        loads = dict.fromkeys(self.ready, 0)
        for slot, seqs in self.at_work.values():
            if seqs and slot in loads:
                loads[slot] += 1
        assert demand.asked - demand.received == sum(max(0, BATCHES - load) for load in loads.values())
        assert demand.received == max(self.sent, default=0)

    @invariant()
    def holds_what_is_at_work_or_not_durable(self) -> None:
        at_work = {lease for lease, (_, seqs) in self.at_work.items() if seqs}
        kept = {event.lease for event in self.desk.repeat()}
        self.desk.flush()
        assert set(self.desk.held) == at_work | kept
        for lease in self.desk.held:
            assert self.server[lease], "held though nothing of it is open"

    def teardown(self) -> None:
        for lease, (_, seqs) in self.at_work.items():
            self.desk.done(lease, [result(seq) for seq in seqs])
        for event in self.desk.repeat():
            self.desk.committed(event.lease, seqs_of(event))
        assert self.desk.is_empty


def seqs_of(event: Said) -> tuple[int, ...]:
    assert isinstance(event, Results | HandedBack)
    seqs: Iterable[int] = event.seqs if isinstance(event, HandedBack) else (each.seq for each in event.results)
    return tuple(seqs)


DeskMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=30)
TestDesk = DeskMachine.TestCase
