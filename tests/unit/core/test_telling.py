"""What running tasks tell, and how long it is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from otpq.core import effects as ef
from otpq.core import events as ev
from otpq.core.history import history_of
from otpq.task import Options

if TYPE_CHECKING:
    from tests.unit.core.driver import Driver


@pytest.fixture
def taken(queue: Driver) -> ef.Dispatch:
    """One task `f` in a lease."""
    queue.submit(1)
    queue.open()
    return queue.take()


def checkpoint(batch: ef.Dispatch, value: bytes = b"\x05", **fields: Any) -> ev.Checkpointed:
    where: dict[str, Any] = {
        "session": batch.session,
        "lease": batch.lease,
        "seq": batch.rows[0].seq,
        "number": 3,
    } | fields
    return ev.Checkpointed(value=value, **where)


def logged(batch: ef.Dispatch, first: int = 1, last: int = 2, **fields: Any) -> ev.Logged:
    where: dict[str, Any] = {"session": batch.session, "lease": batch.lease, "seq": batch.rows[0].seq} | fields
    return ev.Logged(first=first, last=last, lines=b"\x90", **where)


def handed_over() -> ev.HandedOver:
    return ev.HandedOver(1, 5.0, 6.0, msgspec.msgpack.encode(["n@h", "1", 2, 77]))


def test_the_newest_word_on_progress_is_kept(queue: Driver, taken: ef.Dispatch) -> None:
    for fraction in (0.25, 0.5):
        queue.step(ev.Progressed(session="s", lease=taken.lease, seq=1, fraction=fraction, message="half"))
    assert msgspec.msgpack.decode(queue.store.rows[1].progress or b"") == [0.5, "half"]
    queue.succeed(taken)
    assert queue.store.rows[1].progress is not None


def test_a_checkpoint_is_durable_before_the_child_may_go_on(queue: Driver, taken: ef.Dispatch) -> None:
    persist, kept = queue.step(checkpoint(taken))
    assert isinstance(persist, ef.Persist)
    assert [update.checkpoint for update in persist.changes.updates] == [b"\x05"]
    assert kept == ef.Kept(session="s", lease=taken.lease, seq=1, number=3)


@pytest.mark.parametrize("fields", [{"session": "thief"}, {"lease": 99}, {"seq": 99}])
def test_what_is_told_by_who_does_not_hold_the_task_changes_nothing(
    queue: Driver, taken: ef.Dispatch, fields: dict[str, Any]
) -> None:
    where: dict[str, Any] = {"session": "s", "lease": taken.lease, "seq": 1} | fields
    queue.step(ev.Progressed(fraction=0.5, **where), checkpoint(taken, **fields), logged(taken, **fields))
    assert queue.all(ef.Persist) == []
    assert queue.one(ef.Stale).lease == fields.get("lease", taken.lease)
    assert (queue.store.rows[1].progress, queue.store.rows[1].checkpoint, queue.store.logs) == (None, None, [])


@pytest.mark.parametrize(
    "end", ["error", "crashed", "retry later", "snooze", "interrupted", "fenced", "handed over", "core", "operator"]
)
def test_a_checkpoint_is_there_for_the_next_run_however_the_last_one_ended(queue: Driver, end: str) -> None:
    (id,) = queue.submit(1, options=Options(retries=0 if end == "operator" else 3, retry_delay=0.0).pack())
    queue.open()
    batch = queue.take()
    queue.step(checkpoint(batch, b"\x01"))
    queue.step(checkpoint(batch, b"\x02"))
    match end:
        case "error" | "crashed" | "operator":
            queue.tell(batch, queue.failure(1, "error" if end == "operator" else end))
        case "retry later":
            queue.tell(batch, ev.RetryLater(1, 0.0, None, 1.0, 2.0))
        case "snooze":
            queue.tell(batch, ev.Snoozed(1, 0.0, 1.0, 2.0))
        case "handed over":
            queue.tell(batch, handed_over())
        case "core":
            queue.crash()
            queue.step(ev.NodeLost(node="n@h", incarnation="1", started=frozenset()))
        case _:
            started = None if end == "interrupted" else frozenset({1})
            queue.step(ev.NodeLost(node="n@h", incarnation="1", started=started, fenced=True))
    if end == "operator":
        assert queue.retry(id) == ["retried"]
    queue.step(seconds=1.0)
    queue.open("t", incarnation="2")
    (row,) = queue.take("t").rows
    assert row.checkpoint == b"\x02"


def test_a_checkpoint_goes_with_success(queue: Driver, taken: ef.Dispatch) -> None:
    queue.step(checkpoint(taken))
    queue.succeed(taken)
    assert queue.store.rows[1].checkpoint is None


def test_a_checkpoint_and_the_success_in_one_step_are_one_update_without_it(queue: Driver, taken: ef.Dispatch) -> None:
    queue.step(checkpoint(taken), ev.Results(session="s", lease=taken.lease, results=[queue.success(1)]))
    assert queue.one(ef.Kept).number == 3
    assert (queue.store.rows[1].state, queue.store.rows[1].checkpoint) == ("succeeded", None)


def test_an_operator_s_retry_begins_without_the_old_progress(queue: Driver) -> None:
    (id,) = queue.submit(1, options=Options(retries=0).pack())
    queue.open()
    batch = queue.take()
    queue.step(ev.Progressed(session="s", lease=batch.lease, seq=1, fraction=0.5))
    queue.tell(batch, queue.failure(1))
    assert queue.row(id).progress is not None
    queue.retry(id)
    assert queue.row(id).progress is None


def test_lines_are_kept_under_their_run(queue: Driver, taken: ef.Dispatch) -> None:
    queue.step(logged(taken), logged(taken, 5, 6, forget=(1, 2)))
    assert [(chunk.seq, chunk.lease, chunk.first) for chunk in queue.store.logs] == [(1, taken.lease, 5)]


@pytest.mark.parametrize(
    ("first", "last", "forget"),
    [(0, 2, None), (3, 2, None), (1, 2**63, None), (1, 2, (1, 2**63)), (1, 2, (-(2**70), 2))],
)
def test_lines_with_numbers_that_cannot_be_are_dropped_and_refuse_no_commit(
    queue: Driver, taken: ef.Dispatch, first: int, last: int, forget: tuple[int, int] | None
) -> None:
    queue.step(logged(taken, first, last, forget=forget))
    assert queue.all(ef.Persist) == []


def test_lines_of_a_task_that_is_deleted_in_the_same_step_go_with_it(queue: Driver, taken: ef.Dispatch) -> None:
    results = ev.Results(session="s", lease=taken.lease, results=[queue.success(1)])
    queue.step(logged(taken), results, ev.Delete(client="c", request=1, ids=(taken.rows[0].id,)))
    assert queue.one(ef.Persist).changes.logs == []


# ------------------------------------------------------------ hand-overs


def test_a_task_that_hands_over_goes_back_to_its_place_uncharged(queue: Driver) -> None:
    queue.submit(1)
    queue.open()
    batch = queue.take()
    queue.submit(1)
    queue.tell(batch, handed_over())
    row = queue.store.rows[1]
    assert (row.state, row.attempt, row.interruptions, row.finished) == ("queued", 0, 0, None)
    steps = [(entry.source, entry.target, entry.reason, entry.pid) for entry in history_of(row)]
    assert steps[1:] == [("queued", "running", None, 77), ("running", "queued", "handed over", 77)]
    again = queue.take()
    assert ([row.seq for row in again.rows], again.alone) == ([1], False)


def test_a_task_that_may_run_at_most_once_and_hands_over_has_asked_to_go_on(queue: Driver) -> None:
    (id,) = queue.submit(1, options=Options(at_most_once=True).pack())
    queue.open()
    queue.tell(queue.take(), handed_over())
    assert queue.state(id) == "queued"


def test_cancelling_a_task_whose_run_hands_over_ends_it(queue: Driver, taken: ef.Dispatch) -> None:
    id = taken.rows[0].id
    queue.cancel(id)
    queue.tell(taken, handed_over())
    assert queue.answers() == ["cancelled"]
    assert (queue.state(id), queue.row(id).reason, queue.row(id).attempt) == ("cancelled", None, 1)


def test_a_hand_over_under_a_lease_that_is_over_is_refused(queue: Driver, taken: ef.Dispatch) -> None:
    queue.step(ev.NodeLost(node="n@h", incarnation="1", started=frozenset({1}), fenced=True))
    queue.tell(taken, handed_over())
    assert queue.one(ef.Stale).seqs == (1,)
