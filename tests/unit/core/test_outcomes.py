"""Who is charged for what, and what follows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from otpq.core import effects as ef
from otpq.core import events as ev
from otpq.task import Options

if TYPE_CHECKING:
    from tests.unit.core.driver import Driver


@pytest.fixture
def taken(queue: Driver) -> ef.Dispatch:
    """One task `f` in a lease."""
    queue.submit(1)
    queue.open()
    return queue.take()


def test_a_result_is_durable_before_the_pool_may_forget_it(queue: Driver, taken: ef.Dispatch) -> None:
    persist, committed, outcome = queue.succeed(taken)
    assert isinstance(persist, ef.Persist)
    assert persist.changes.leases[0].open == ()
    assert persist.changes.counts == {("default", "queued"): -1, ("default", "succeeded"): 1}
    assert isinstance(committed, ef.Committed)
    assert committed.seqs == (1,)
    assert isinstance(outcome, ef.Outcome)
    row = queue.row(taken.rows[0].id)
    assert (row.state, row.attempt, row.result) == ("succeeded", 1, b"\xc0")


def test_a_lease_is_rewritten_once_for_all_that_it_resolves(queue: Driver) -> None:
    queue.open()
    queue.learn()
    queue.submit(4)
    batch = queue.take()
    first, second, third, fourth = (row.seq for row in batch.rows)
    queue.step(
        ev.Results(session="s", lease=batch.lease, results=[queue.success(first)]),
        ev.Results(session="s", lease=batch.lease, results=[queue.failure(second)]),
        ev.HandedBack(session="s", lease=batch.lease, seqs=(fourth,)),
    )
    (lease,) = [one for one in queue.one(ef.Persist).changes.leases if one.lease == batch.lease]
    assert lease.open == (third,)


@pytest.mark.parametrize("session", ["s", "thief"])
def test_a_result_counts_only_under_the_lease_as_granted(queue: Driver, taken: ef.Dispatch, session: str) -> None:
    lease = taken.lease + (session == "s")
    queue.step(ev.Results(session=session, lease=lease, results=[queue.success(1)]))
    assert queue.one(ef.Stale).seqs == (1,)
    assert queue.all(ef.Persist) == []
    assert queue.core.stats.stale_results == 1
    assert queue.state(taken.rows[0].id) == "queued"


def test_a_result_that_comes_twice_counts_once(queue: Driver, taken: ef.Dispatch) -> None:
    queue.succeed(taken)
    queue.succeed(taken)
    assert queue.one(ef.Stale).seqs == (1,)
    assert queue.row(taken.rows[0].id).attempt == 1


def test_an_error_is_retried_after_the_wait_of_the_policy(queue: Driver) -> None:
    (id,) = queue.submit(1, options=Options(jitter=0.0, retry_delay=2.0).pack())
    queue.open()
    batch = queue.take()
    queue.tell(batch, queue.failure(1))
    row = queue.row(id)
    assert (row.state, row.attempt, row.due, row.reason) == ("retrying", 1, queue.wall + 2.0, None)
    (outcome,) = queue.all(ef.Outcome)
    assert (outcome.tasks, [row.id for row in outcome.retried]) == ([], [id])
    queue.step(seconds=1.9)
    assert queue.state(id) == "retrying"
    queue.step(seconds=0.2)
    assert queue.state(id) == "queued"


def test_runs_are_told_with_what_they_took_and_waited_though_others_follow(queue: Driver) -> None:
    queue.submit(1, delay=10.0, options=Options(jitter=0.0, retry_delay=2.0).pack())
    queue.open()
    queue.step(seconds=10.0)
    batch = queue.take()
    due = batch.rows[0].due
    queue.tell(batch, msgspec.structs.replace(queue.failure(1), started=due + 0.25, finished=due + 1.75))
    (runs,) = queue.all(ef.Outcome)[0].runs
    assert (runs.queue, runs.seconds, runs.waits, runs.succeeded) == ("default", [1.5], [0.25], 0)


def test_a_first_run_that_crashed_runs_again_in_the_next_step_and_a_second_waits(queue: Driver) -> None:
    (id,) = queue.submit(1, options=Options(jitter=0.0, retry_delay=2.0).pack())
    queue.open()
    queue.tell(queue.take(), queue.failure(1, "crashed"))
    queue.step()
    assert (queue.state(id), queue.row(id).attempt) == ("queued", 1)
    queue.tell(queue.take(), queue.failure(1, "crashed"))
    assert (queue.state(id), queue.row(id).due) == ("retrying", queue.wall + 2.0)


def test_the_death_of_its_node_is_a_crash_too(queue: Driver, taken: ef.Dispatch) -> None:
    queue.step(ev.NodeLost(node="n@h", incarnation="1", started=frozenset({1})))
    queue.step()
    row = queue.row(taken.rows[0].id)
    assert (row.state, row.attempt) == ("queued", 1)


@pytest.mark.parametrize("reason", ["error", "timeout", "crashed", "memory"])
def test_a_task_that_always_fails_runs_retries_plus_one_times(queue: Driver, reason: str) -> None:
    (id,) = queue.submit(1)
    queue.open()
    runs = 0
    while queue.state(id) != "failed":
        queue.tell(queue.take(), queue.failure(1, reason))
        runs += 1
        queue.step(seconds=10.0)
        queue.step(ev.Heartbeat(node="n@h", incarnation="1"))
    assert (runs, queue.row(id).attempt, queue.row(id).reason) == (4, 4, reason)


def test_an_error_that_is_not_to_be_retried_fails_at_once(queue: Driver) -> None:
    (id,) = queue.submit(1, options=Options(no_retry_on=("LookupError",)).pack())
    queue.open()
    queue.tell(queue.take(), queue.failure(1, types=("KeyError", "LookupError")))
    assert (queue.state(id), queue.row(id).attempt) == ("failed", 1)


def test_a_handler_may_ask_for_its_own_delay(queue: Driver, taken: ef.Dispatch) -> None:
    queue.tell(taken, ev.RetryLater(seq=1, delay=7.0, error=None, started=0.0, finished=0.0))
    row = queue.row(taken.rows[0].id)
    assert (row.state, row.due, row.attempt) == ("retrying", queue.wall + 7.0, 1)


def test_a_snooze_is_not_charged(queue: Driver, taken: ef.Dispatch) -> None:
    queue.tell(taken, ev.Snoozed(seq=1, delay=7.0, started=0.0, finished=0.0))
    row = queue.row(taken.rows[0].id)
    assert (row.state, row.due, row.attempt) == ("pending", queue.wall + 7.0, 0)


def test_a_handler_may_cancel_or_discard_its_task(queue: Driver) -> None:
    one, two = queue.submit(2)
    queue.open()
    first, second = queue.ask(2)
    queue.tell(first, ev.Cancelled(seq=1, started=0.0, finished=0.0))
    queue.tell(second, ev.Discarded(seq=2, error=b"\x93\xa1E\xa0\xa0", started=0.0, finished=0.0))
    assert queue.state(one) == "cancelled"
    assert (queue.state(two), queue.row(two).reason, queue.row(two).attempt) == ("failed", "error", 1)


def test_what_is_handed_back_takes_its_old_place_uncharged(queue: Driver) -> None:
    queue.submit(3)
    queue.open()
    batch = queue.take()
    queue.step(ev.HandedBack(session="s", lease=batch.lease, seqs=(1,)))
    assert queue.one(ef.Committed).seqs == (1,)
    assert (queue.store.rows[1].attempt, queue.store.rows[1].interruptions) == (0, 0)
    assert [row.seq for row in queue.take().rows] == [1]


def lost(started: set[int] | None = None, *, fenced: bool = False) -> ev.NodeLost:
    seqs = None if started is None else frozenset(started)
    return ev.NodeLost(node="n@h", incarnation="1", started=seqs, fenced=fenced)


def test_only_what_the_blackboard_names_is_charged_for_a_node_s_death(queue: Driver) -> None:
    queue.open()
    queue.learn(took=0.001)
    ids = queue.submit(3)
    seqs = [row.seq for row in queue.take().rows]
    queue.step(lost({seqs[0]}))
    assert [queue.row(id).attempt for id in ids] == [1, 0, 0]
    assert [queue.state(id) for id in ids] == ["queued", "queued", "queued"]
    assert [queue.row(id).interruptions for id in ids] == [0, 0, 0]


def test_what_was_fenced_is_not_charged(queue: Driver, taken: ef.Dispatch) -> None:
    queue.step(lost({1}, fenced=True))
    row = queue.row(taken.rows[0].id)
    assert (row.state, row.attempt, row.interruptions) == ("queued", 0, 0)


def test_without_a_blackboard_all_are_interrupted_and_travel_alone(queue: Driver) -> None:
    queue.open()
    queue.learn(took=0.001)
    ids = queue.submit(3)
    assert len(queue.take().rows) == 3
    queue.step(lost(None))
    assert [queue.row(id).attempt for id in ids] == [0, 0, 0]
    assert [queue.row(id).interruptions for id in ids] == [1, 1, 1]
    queue.open("t", incarnation="2")
    batches = queue.ask(3, "t")
    assert [len(batch.rows) for batch in batches] == [1, 1, 1]
    assert all(lease.alone for lease in queue.store.leases.values())


def test_a_task_that_is_interrupted_alone_is_charged_until_it_has_no_run_left(queue: Driver) -> None:
    (id,) = queue.submit(1, options=Options(retries=1).pack())
    charged = []
    for incarnation in ("1", "2", "3"):
        queue.open(f"s{incarnation}", incarnation=incarnation)
        queue.take(f"s{incarnation}")
        queue.step(ev.NodeLost(node="n@h", incarnation=incarnation, started=None))
        charged.append((queue.state(id), queue.row(id).attempt, queue.row(id).interruptions))
        queue.step(seconds=5.0)
    assert charged == [("queued", 0, 1), ("queued", 1, 2), ("failed", 2, 3)]
    assert queue.row(id).reason == "crashed"


def at_most_once(queue: Driver) -> tuple[bytes, ef.Dispatch]:
    queue.open()
    queue.learn()
    once, _ = queue.submit(1, options=Options(at_most_once=True).pack())[0], queue.submit(3)
    batch = queue.take()
    assert [row.id for row in batch.rows] == [once]
    return once, batch


def test_an_at_most_once_task_travels_alone_and_is_not_retried(queue: Driver) -> None:
    once, batch = at_most_once(queue)
    queue.tell(batch, queue.failure(batch.rows[0].seq))
    assert (queue.state(once), queue.row(once).reason) == ("failed", "error")


def test_an_at_most_once_task_is_lost_without_proof(queue: Driver) -> None:
    once, _ = at_most_once(queue)
    queue.step(lost(None))
    row = queue.row(once)
    assert (row.state, row.reason, row.attempt) == ("failed", "lost", 0)
    message = msgspec.msgpack.decode(row.error or b"")[1]
    assert "n@h" in message
    assert "incarnation 1" in message


def test_an_at_most_once_task_that_may_have_ended_unheard_is_lost(queue: Driver) -> None:
    once, _ = at_most_once(queue)
    queue.step(ev.NodeLost(node="n@h", incarnation="1", started=frozenset(), is_complete=False))
    assert (queue.state(once), queue.row(once).reason) == ("failed", "lost")


def test_an_at_most_once_task_that_was_fenced_after_its_start_is_lost(queue: Driver) -> None:
    once, batch = at_most_once(queue)
    queue.step(lost({batch.rows[0].seq}, fenced=True))
    assert (queue.state(once), queue.row(once).reason) == ("failed", "lost")


@pytest.mark.parametrize("proof", ["handed back", "blackboard"])
def test_an_at_most_once_task_goes_back_with_proof_that_it_did_not_start(queue: Driver, proof: str) -> None:
    once, batch = at_most_once(queue)
    seq = batch.rows[0].seq
    queue.step(ev.HandedBack(session="s", lease=batch.lease, seqs=(seq,)) if proof == "handed back" else lost(set()))
    assert (queue.state(once), queue.row(once).attempt) == ("queued", 0)


def test_an_ended_task_starts_again_at_attempt_one_and_keeps_its_history(queue: Driver) -> None:
    (id,) = queue.submit(1, options=Options(retries=0).pack(), expires_in=60.0)
    queue.open()
    queue.tell(queue.take(), queue.failure(1))
    assert queue.retry(id) == ["retried"]
    row = queue.row(id)
    assert (row.state, row.attempt, row.expires, row.error, row.reason) == ("queued", 0, None, None, None)
    assert row.history
    queue.succeed(queue.take())
    assert queue.row(id).attempt == 1
    assert queue.retry(id, b"?" * 16) == ["too_late", "not_found"]


def test_an_expired_task_that_is_retried_does_not_expire_again(queue: Driver) -> None:
    (id,) = queue.submit(1, expires_in=1.0)
    queue.step(seconds=5.0)
    assert queue.retry(id) == ["retried"]
    queue.step(seconds=500.0)
    assert queue.state(id) == "queued"


def test_what_waits_is_deleted_only_by_a_purge_and_what_is_leased_never(queue: Driver, taken: ef.Dispatch) -> None:
    leased, (waiting,) = taken.rows[0].id, queue.submit(1)
    queue.step(ev.Delete(client="c", request=1, ids=(leased, waiting)))
    assert queue.answers() == ["too_early", "too_early"]
    queue.step(ev.Delete(client="c", request=1, ids=(leased, waiting), waiting=True))
    assert queue.answers() == ["too_early", "deleted"]
    queue.succeed(taken)
    queue.step(ev.Delete(client="c", request=1, ids=(leased,)))
    assert queue.answers() == ["deleted"]
    assert queue.store.rows == {}
