from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from otpq.core import effects as ef
from otpq.core import events as ev
from otpq.task import Options

if TYPE_CHECKING:
    from tests.unit.core.driver import Driver


def test_a_submission_is_persisted_before_it_is_acknowledged(queue: Driver) -> None:
    ids = queue.submit(3)
    persist, accepted = queue.effects
    assert isinstance(persist, ef.Persist)
    assert [row.id for row in persist.changes.inserts] == ids
    assert persist.changes.counts == {("default", "queued"): 3}
    assert isinstance(accepted, ef.Accepted)
    assert accepted.ids == ids
    assert accepted.duplicates == ()


def test_only_what_may_have_arrived_before_is_looked_up(queue: Driver) -> None:
    task = queue.new()
    queue.step(ev.Submit(client="c", request=1, tasks=[task]))
    assert queue.needs.ids == set()
    queue.step(ev.Submit(client="c", request=1, tasks=[task], resent=True))
    assert queue.needs.ids == {task.id}


def test_a_submission_sent_again_makes_no_second_task(queue: Driver) -> None:
    task = queue.new()
    queue.step(ev.Submit(client="c", request=1, tasks=[task]))
    queue.step(ev.Submit(client="c", request=1, tasks=[task], resent=True))
    assert queue.one(ef.Accepted).duplicates == (0,)
    assert len(queue.store.rows) == 1


def test_a_submission_sent_twice_into_one_step_makes_one_task(queue: Driver) -> None:
    once = ev.Submit(client="c", request=1, tasks=[queue.new()])
    queue.step(once, ev.Submit(client="c", request=1, tasks=once.tasks, resent=True))
    assert [one.duplicates for one in queue.all(ef.Accepted)] == [(), (0,)]
    assert len(queue.store.rows) == 1


def test_an_idempotency_key_gives_the_task_that_has_it(queue: Driver) -> None:
    (first,) = queue.submit(1, key="order-7")
    queue.submit(1, key="order-7")
    assert queue.one(ef.Accepted).ids == [first]
    assert queue.one(ef.Accepted).duplicates == (0,)


def test_a_key_is_free_only_after_the_commit_that_deletes_its_task(queue: Driver) -> None:
    (first,) = queue.submit(1, key="k")
    delete = ev.Delete(client="c", request=2, ids=(first,), waiting=True)
    queue.step(delete, ev.Submit(client="c", request=3, tasks=[queue.new(key="k")]))
    assert queue.one(ef.Accepted).duplicates == (0,)
    queue.submit(1, key="k")
    assert queue.one(ef.Accepted).duplicates == ()


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"name": ""}, "bad_name"),
        ({"name": "x" * 256}, "bad_name"),
        ({"name": "a\nb"}, "bad_name"),
        ({"queue": ""}, "bad_queue"),
        ({"partition": "x" * 256}, "bad_partition"),
        ({"priority": 10}, "bad_priority"),
        ({"key": ""}, "bad_key"),
        ({"delay": -1.0}, "bad_time"),
        ({"delay": float("nan")}, "bad_time"),
        ({"delay": 1.0, "eta": 2_000.0}, "bad_time"),
        ({"delay": 9.0, "expires_in": 5.0}, "bad_time"),
        ({"options": b"\xc1"}, "bad_options"),
        ({"options": b"\x81\xa7retries\xff"}, "bad_options"),
    ],
)
def test_what_cannot_be_right_is_refused_and_fails_nobody_else(
    queue: Driver, fields: dict[str, str], code: str
) -> None:
    good, other = queue.new(), queue.new()
    name = fields.pop("name", "f")
    wrong = ev.Submit(client="c", request=1, tasks=[good, queue.new(name, **fields)])
    queue.step(wrong, ev.Submit(client="d", request=2, tasks=[other]))
    (refusal,) = queue.one(ef.Refused).refusals
    assert (refusal.index, refusal.code) == (1, code)
    assert [row.id for row in queue.store.rows.values()] == [other.id]


def test_an_id_of_the_wrong_length_is_refused(queue: Driver) -> None:
    queue.step(ev.Submit(client="c", request=1, tasks=[ev.NewTask(id=b"7", name="f", payload=b"")]))
    assert queue.one(ef.Refused).refusals[0].code == "bad_id"


def test_a_full_queue_refuses_by_name_and_size(queue: Driver) -> None:
    queue.step(ev.LimitQueue(client="c", request=1, queue="default", max_size=3))
    queue.submit(2)
    queue.submit(2)
    (refusal,) = queue.one(ef.Refused).refusals
    assert refusal.code == "queue_full"
    assert "'default'" in refusal.message
    queue.submit(1)
    assert queue.all(ef.Refused) == []


def test_a_delayed_task_is_pending_until_it_is_due(queue: Driver) -> None:
    (id,) = queue.submit(1, delay=5.0)
    queue.open()
    assert queue.ask() == []
    assert queue.state(id) == "pending"
    assert queue.core.wake(ev.Now(queue.wall, queue.mono)) <= 1.0
    queue.step(seconds=4.9)
    assert queue.state(id) == "pending"
    queue.step(seconds=0.2)
    assert len(queue.all(ef.Dispatch)) == 1


def test_an_eta_in_the_past_does_not_jump_the_line(queue: Driver) -> None:
    (first,) = queue.submit(1)
    queue.wall += 1
    queue.submit(1, eta=5.0)
    queue.open()
    assert [row.id for row in queue.take().rows] == [first]


def test_a_task_that_has_not_started_in_time_expires(queue: Driver) -> None:
    waiting, delayed = queue.submit(1, expires_in=5.0)[0], queue.submit(1, delay=2.0, expires_in=3.0)[0]
    queue.step(seconds=10.0)
    assert {queue.state(waiting), queue.state(delayed)} == {"expired"}
    assert len(queue.one(ef.Outcome).tasks) == 2


def test_what_has_expired_is_not_handed_out_even_between_two_looks(queue: Driver) -> None:
    queue.step()
    (id,) = queue.submit(1, expires_in=0.5)
    queue.open()
    queue.wall += 0.6
    assert queue.ask() == []
    assert queue.state(id) == "expired"


def test_a_running_task_does_not_expire(queue: Driver) -> None:
    (id,) = queue.submit(1, expires_in=2.0)
    queue.open()
    batch = queue.take()
    queue.step(seconds=5.0)
    queue.succeed(batch)
    assert queue.state(id) == "succeeded"


def test_options_travel_unopened_but_for_what_the_core_decides_by(queue: Driver) -> None:
    packed = Options(timeout=7.0).pack()
    (id,) = queue.submit(1, options=packed, payload=b"\xc1 no MessagePack")
    assert queue.row(id).options == packed
    assert queue.row(id).payload == b"\xc1 no MessagePack"
