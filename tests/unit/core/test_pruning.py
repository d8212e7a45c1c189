"""Forgetting what ended long ago."""

from otpq.core import events as ev
from tests.unit.core.driver import Driver


def test_what_is_as_ended_as_it_was_found_is_forgotten_and_nothing_else(queue: Driver) -> None:
    ids = queue.submit(4)
    queue.open()
    batch = queue.take()
    queue.succeed(batch)
    queue.cancel(ids[-1])
    while len(queue.store.rows) and any(row.state == "queued" for row in queue.store.rows.values()):
        queue.succeed(queue.take())
    found = {id: queue.row(id).finished or 0.0 for id in ids}
    waiting = queue.submit(1)[0]
    queue.step(ev.Prune(tasks=((ids[0], found[ids[0]]), (ids[1], found[ids[1]] + 1.0), (waiting, 0.0), (b"none", 0.0))))
    assert {row.id for row in queue.store.rows.values()} == {*ids[1:], waiting}
    assert queue.effects[1:] == []
    assert queue.core.stats.pruned == 1


def test_what_was_started_again_meanwhile_stays(queue: Driver) -> None:
    (id,) = queue.submit(1)
    queue.cancel(id)
    finished = queue.row(id).finished or 0.0
    queue.step(ev.Retry(client="c", request=1, ids=(id,)), ev.Prune(tasks=((id, finished),)), seconds=1.0)
    assert queue.state(id) == "queued"
    queue.cancel(id)
    queue.step(ev.Prune(tasks=((id, finished),)))
    assert queue.state(id) == "cancelled"


def test_two_that_forget_the_same_task_in_one_step_do_it_once(queue: Driver) -> None:
    (id,) = queue.submit(1)
    queue.cancel(id)
    finished = queue.row(id).finished or 0.0
    prune = ev.Prune(tasks=((id, finished),))
    queue.step(prune, ev.Delete(client="c", request=1, ids=(id,)), prune)
    assert queue.answers() == ["not_found"]
    assert queue.store.rows == {}
