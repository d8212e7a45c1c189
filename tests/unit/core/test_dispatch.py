from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from otpq.core import effects as ef
from otpq.core import events as ev
from otpq.core.retries import jitter

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.core.driver import Driver


def ids_of(batches: list[ef.Dispatch]) -> list[int]:
    return [row.seq for batch in batches for row in batch.rows]


def test_nothing_is_pushed_to_who_did_not_ask(queue: Driver) -> None:
    queue.open()
    queue.submit(3)
    assert queue.all(ef.Dispatch) == []


def test_demand_that_cannot_be_met_is_served_when_something_comes(queue: Driver) -> None:
    queue.open()
    assert queue.ask() == []
    queue.submit(1)
    persist, accepted, dispatch = queue.effects
    assert isinstance(persist, ef.Persist)
    assert persist.changes.inserts  # insert and lease in one commit,
    assert persist.changes.leases[0].open == (1,)
    assert isinstance(accepted, ef.Accepted)  # then the answer,
    assert isinstance(dispatch, ef.Dispatch)  # then the work


def test_a_lease_is_one_row_however_many_tasks(queue: Driver) -> None:
    queue.open()
    queue.learn()
    queue.submit(10)
    batch = queue.take()
    (lease,) = queue.one(ef.Persist).changes.leases
    assert lease.open == tuple(row.seq for row in batch.rows)
    assert queue.one(ef.Persist).changes.updates == []


def test_a_handler_without_history_starts_with_one(queue: Driver) -> None:
    queue.open()
    queue.submit(20)
    sizes = []
    for _ in range(4):
        batch = queue.take()
        sizes.append(len(batch.rows))
        queue.succeed(batch, took=0.0001)
    assert sizes == [1, 1, 2, 4]


@pytest.mark.parametrize(("took", "size"), [(0.00001, 500), (0.001, 20), (0.005, 4), (2.0, 1)])
def test_a_batch_is_twenty_milliseconds_of_work(queue: Driver, took: float, size: int) -> None:
    queue.open()
    queue.learn(1024 if took < 0.001 else 48, took)
    queue.submit(600 if took < 0.001 else 60)
    assert len(queue.take().rows) == size


@pytest.mark.parametrize(("took", "packet"), [(0.0, 32), (0.00001, 32), (0.0001, 10), (0.0006, 1), (2.0, 1)])
def test_a_packet_is_a_millisecond_of_work(queue: Driver, took: float, packet: int) -> None:
    queue.open()
    queue.learn(1024, took)
    queue.submit(60)
    assert queue.take().packet in {packet, packet - 1}  # the mean is no exact number


def test_a_handler_without_history_gets_a_packet_of_one(queue: Driver) -> None:
    queue.open()
    queue.submit(5)
    assert queue.take().packet == 1


def test_a_batch_is_at_most_a_mebibyte(queue: Driver) -> None:
    queue.open()
    queue.learn()
    queue.submit(5, payload=b"x" * 400_000)
    assert [len(batch.rows) for batch in queue.ask(3)] == [2, 2, 1]


def test_one_payload_above_the_bound_travels_alone(queue: Driver) -> None:
    queue.open()
    queue.learn()
    queue.submit(2, payload=b"x" * 2_000_000)
    assert [len(batch.rows) for batch in queue.ask(2)] == [1, 1]


def test_what_is_worth_it_is_shared_among_all_who_ask(queue: Driver) -> None:
    queue.open()
    queue.learn(took=0.002)
    queue.open("t")
    queue.step(ev.Demand(session="t", asked=1))
    queue.step(ev.Demand(session="s", asked=queue.asked + 1, received=queue.received))
    queue.submit(8)
    assert sorted(len(batch.rows) for batch in queue.all(ef.Dispatch)) == [4, 4]


def test_what_is_too_little_is_not_split(queue: Driver) -> None:
    queue.open()
    queue.learn(took=0.00001)
    queue.ask(4)
    queue.submit(8)
    assert [len(batch.rows) for batch in queue.all(ef.Dispatch)] == [8]


def test_order_is_priority_then_due_then_seq(queue: Driver) -> None:
    queue.submit(1)
    queue.submit(1, priority=2)
    queue.submit(1, priority=9)
    queue.wall += 1
    queue.submit(1)
    queue.submit(1, priority=9)
    queue.open()
    assert ids_of(queue.ask(5)) == [3, 5, 1, 4, 2]


def test_handlers_of_one_priority_are_served_by_age(queue: Driver) -> None:
    for name in ("f", "g", "g", "f"):
        queue.submit(1, name)
    queue.open()
    assert ids_of(queue.ask(4)) == [1, 2, 3, 4]


def test_partitions_take_turns(queue: Driver) -> None:
    queue.submit(4, partition="big")
    queue.submit(1, partition="small")
    queue.submit(2, partition="middle")
    queue.open()
    assert ids_of(queue.ask(7)) == [1, 5, 6, 2, 7, 3, 4]


def test_queues_of_a_pool_take_turns(queue: Driver) -> None:
    queue.submit(2, queue="a")
    queue.submit(2, queue="b")
    queue.open(queues=("a", "b"))
    assert ids_of(queue.ask(4)) == [1, 3, 2, 4]


def test_a_pool_gets_only_from_its_queues_and_for_its_handlers(queue: Driver) -> None:
    queue.submit(1, queue="other")
    queue.submit(1, "g")
    queue.submit(1, "f")
    queue.open(handlers=frozenset({"f"}))
    assert ids_of(queue.ask(3)) == [3]


def test_a_handler_at_its_limit_hides_nobody(queue: Driver) -> None:
    queue.step(ev.LimitHandler(client="c", request=1, handler="f", max_concurrency=1))
    queue.submit(3, "f", priority=9)
    queue.submit(1, "g")
    queue.open()
    assert ids_of(queue.ask(3)) == [1, 4]


def test_a_limit_counts_children_and_a_result_frees_one(queue: Driver) -> None:
    queue.step(ev.LimitHandler(client="c", request=1, handler="f", max_concurrency=3))
    queue.submit(10)
    queue.open()
    batches = queue.ask(10)
    assert len(batches) == 3
    assert queue.core.slots()["f"] == (3, 3)
    queue.succeed(batches[0])
    assert len(queue.all(ef.Dispatch)) == 1
    assert queue.core.slots()["f"] == (3, 3)


def test_a_batch_takes_one_slot_in_a_process_and_several_in_threads(queue: Driver) -> None:
    queue.step(ev.LimitHandler(client="c", request=1, handler="f", max_concurrency=4))
    queue.open()
    queue.learn(64)
    queue.submit(4)
    batch = queue.take()
    assert len(batch.rows) == 4
    assert queue.core.slots()["f"] == (1, 4)
    queue.succeed(batch)
    queue.open("t", parallel=3)
    queue.submit(8)
    batch = queue.take("t")
    assert queue.core.slots()["f"] == (3, 4)
    queue.tell(batch, *[queue.success(row.seq) for row in batch.rows[:-2]])
    assert queue.core.slots()["f"] == (2, 4)


def test_a_limit_survives_a_restart(queue: Driver) -> None:
    queue.step(ev.LimitHandler(client="c", request=1, handler="f", max_concurrency=1))
    queue.crash()
    queue.submit(2, "f")
    queue.submit(2, "g")
    queue.open()
    assert ids_of(queue.ask(4)) == [1, 3, 4]


def test_a_paused_queue_holds_nothing_and_survives_a_restart(queue: Driver) -> None:
    queue.submit(5)
    assert queue.core.held == 5
    queue.step(ev.Pause(client="c", request=1, queue="default"))
    assert queue.core.held == 0
    queue.crash()
    queue.submit(1)
    queue.open()
    assert queue.ask(2) == []
    assert queue.core.held == 0
    queue.step(ev.Pause(client="c", request=1, queue="default", paused=False))
    assert ids_of(queue.ask(0)) == [1, 2]


def test_a_pause_asks_back_what_waits_in_front_of_children(queue: Driver) -> None:
    queue.submit(1)
    queue.open()
    batch = queue.take()
    queue.step(ev.Pause(client="c", request=1, handler="f"))
    assert queue.one(ef.TakeBack).seqs == (1,)
    queue.step(ev.HandedBack(session="s", lease=batch.lease, seqs=(1,)))
    assert queue.ask() == []
    assert queue.row(batch.rows[0].id).attempt == 0


def test_memory_does_not_grow_with_the_backlog(queue_with: Callable[..., Driver]) -> None:
    queue = queue_with(max_window=10, max_rows=25)
    for partition in "abcd":
        queue.submit(50, partition=partition)
    assert queue.core.held <= 40
    queue.open()
    assert len(ids_of(queue.ask(200))) == 200
    assert queue.core.held == 0


def test_a_lane_with_an_unread_head_is_not_overtaken_by_a_lower_priority(queue: Driver) -> None:
    queue.submit(2, priority=9)
    queue.submit(2, priority=1)
    queue.crash()
    queue.open()
    queue.step(ev.Demand(session="s", asked=4))
    first = queue.all(ef.Dispatch)
    assert ids_of(first + queue.ask(4))[:2] == [1, 2]


def test_an_earlier_arrival_evicts_the_tail_of_a_window(queue_with: Callable[..., Driver]) -> None:
    queue = queue_with(max_window=2)
    queue.submit(3, delay=1.0)
    queue.submit(2)
    queue.open()
    taken = ids_of(queue.ask(2))
    queue.step(seconds=2.0)
    assert taken + ids_of(queue.all(ef.Dispatch) + queue.ask(5)) == [4, 5, 1, 2, 3]


@pytest.mark.parametrize("seq", [1, 2, 10**12])
def test_jitter_is_in_range_and_always_the_same(seq: int) -> None:
    assert 0 <= jitter(seq, 1) < 1
    assert jitter(seq, 1) == jitter(seq, 1) != jitter(seq, 2)


def test_a_child_of_threads_gets_as_many_as_it_runs_at_a_time_whatever_they_are(queue: Driver) -> None:
    queue.open("t", parallel=4)
    queue.submit(6)
    first = queue.take("t")
    assert (len(first.rows), first.packet) == (4, 1)
    queue.succeed(first, took=2.0)
    queue.open("u", parallel=4)
    queue.submit(6)
    assert len(queue.take("u").rows) == 4  # slow ones: none of them waits for another


def test_new_tasks_for_threads_are_shared_too(queue: Driver) -> None:
    for session in "tu":
        queue.open(session, parallel=4)
        queue.step(ev.Demand(session=session, asked=1))
    queue.submit(4)
    assert [len(batch.rows) for batch in queue.all(ef.Dispatch)] == [2, 2]


@pytest.mark.parametrize(("limit", "sizes"), [(3, [3]), (5, [4, 1]), (8, [4, 4]), (None, [4, 4])])
def test_threads_never_run_more_of_a_handler_than_its_limit(queue: Driver, limit: int | None, sizes: list[int]) -> None:
    queue.step(ev.LimitHandler(client="c", request=1, handler="f", max_concurrency=limit))
    queue.open("t", parallel=4)
    queue.submit(9)
    queue.step(ev.Demand(session="t", asked=len(sizes)))
    batches = queue.all(ef.Dispatch)
    assert [len(batch.rows) for batch in batches] == sizes
    assert queue.core.slots()["f"] == (0 if limit is None else sum(sizes), limit)
    queue.tell(batches[0], queue.success(batches[0].rows[0].seq))
    assert queue.core.slots()["f"] == (0 if limit is None else sum(sizes) - 1, limit)


def test_what_was_interrupted_is_alone_in_its_child_also_when_it_is_sent_again(queue: Driver) -> None:
    queue.submit(2)
    queue.open("t", parallel=4)
    assert not queue.take("t").alone
    queue.step(ev.NodeLost(node="n@h", incarnation="1", started=None))
    queue.open("u", incarnation="2", parallel=4)
    first, second = queue.ask(2, "u")
    assert [(len(batch.rows), batch.alone) for batch in (first, second)] == [(1, True), (1, True)]
    queue.step(ev.Demand(session="u", asked=2), seconds=2.0)
    assert [batch.alone for batch in queue.all(ef.Dispatch)] == [True, True]
    queue.crash()
    queue.open("u", incarnation="2", parallel=4)
    queue.step(ev.Demand(session="u", asked=2))
    assert [(batch.lease, batch.alone) for batch in queue.all(ef.Dispatch)] == [
        (first.lease, True),
        (second.lease, True),
    ]
