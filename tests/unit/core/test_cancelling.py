from __future__ import annotations

from typing import TYPE_CHECKING

from otpq.core import effects as ef
from otpq.core import events as ev

if TYPE_CHECKING:
    from tests.unit.core.driver import Driver


def test_what_waits_is_cancelled_durably_before_the_answer(queue: Driver) -> None:
    waiting, delayed = *queue.submit(1), *queue.submit(1, delay=60.0)
    assert queue.cancel(waiting, delayed) == ["cancelled", "cancelled"]
    assert isinstance(queue.effects[0], ef.Persist)
    assert queue.state(waiting) == queue.state(delayed) == "cancelled"
    assert len(queue.one(ef.Outcome).tasks) == 2
    queue.open()
    assert queue.ask() == []


def test_what_has_ended_or_never_was_is_told(queue: Driver) -> None:
    (id,) = queue.submit(1)
    queue.cancel(id)
    assert queue.cancel(id, b"?" * 16) == ["too_late", "not_found"]


def test_a_task_in_front_of_a_child_is_taken_back_and_cancelled(queue: Driver) -> None:
    (id,) = queue.submit(1)
    queue.open()
    batch = queue.take()
    assert queue.cancel(id) == []
    order = queue.one(ef.CancelRunning)
    assert (order.session, order.lease, order.seq, order.grace) == ("s", batch.lease, 1, 5.0)
    queue.step(ev.HandedBack(session="s", lease=batch.lease, seqs=(1,)))
    assert queue.answers() == ["cancelled"]
    assert (queue.state(id), queue.row(id).attempt) == ("cancelled", 0)


def test_a_started_task_is_cancelling_and_then_cancelled(queue: Driver) -> None:
    (id,) = queue.submit(1)
    queue.open()
    batch = queue.take()
    queue.cancel(id)
    queue.step(ev.Cancelling(session="s", lease=batch.lease, seq=1))
    assert queue.answers() == ["cancelling"]
    queue.tell(batch, queue.failure(1, "crashed"))
    assert queue.state(id) == "cancelled"
    assert queue.answers() == []


def test_a_task_that_is_faster_than_its_cancelling_has_succeeded(queue: Driver) -> None:
    (id,) = queue.submit(1)
    queue.open()
    batch = queue.take()
    queue.cancel(id)
    queue.succeed(batch)
    assert queue.answers() == ["too_late"]
    assert (queue.state(id), queue.row(id).reason) == ("succeeded", None)


def test_a_cancelling_is_durable_whatever_becomes_of_the_node_and_of_the_core(queue: Driver) -> None:
    (id,) = queue.submit(1)
    queue.open()
    batch = queue.take()
    queue.cancel(id)
    queue.crash()
    queue.open()
    queue.step(ev.Demand(session="s", asked=1, received=1, held=(batch.lease,)))
    assert queue.one(ef.CancelRunning).seq == 1
    queue.step(ev.NodeLost(node="n@h", incarnation="1", started=None))
    assert queue.state(id) == "cancelled"


def test_two_who_cancel_are_both_answered(queue: Driver) -> None:
    (id,) = queue.submit(1)
    queue.open()
    batch = queue.take()
    cancels = [ev.Cancel(client=name, request=4, ids=(id,)) for name in "ab"]
    queue.step(*cancels)
    queue.step(ev.HandedBack(session="s", lease=batch.lease, seqs=(1,)))
    assert [reply.client for reply in queue.all(ef.Reply)] == ["a", "b"]


def test_a_task_submitted_and_cancelled_in_one_step_is_one_insert(queue: Driver) -> None:
    new = queue.new()
    queue.step(ev.Submit(client="c", request=1, tasks=[new]), ev.Cancel(client="c", request=2, ids=(new.id,)))
    changes = queue.one(ef.Persist).changes
    assert [row.state for row in changes.inserts] == ["cancelled"]
    assert changes.updates == []
    assert changes.counts == {("default", "cancelled"): 1}
