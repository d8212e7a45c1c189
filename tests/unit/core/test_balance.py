"""What waits behind a long run is asked back for who has nothing to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otpq.core import effects as ef
from otpq.core import events as ev
from otpq.core.balance import AGAIN, WAITS

if TYPE_CHECKING:
    from tests.unit.core.driver import Driver


def stuck(queue: Driver, of: str = "default") -> tuple[ef.Dispatch, ef.Dispatch]:
    """A pool with one worker, whose child runs the first of two batches; the other one waits."""
    queue.submit(2, queue=of)
    queue.open(queues=(of,))
    first, second = queue.ask(2)
    queue.step(ev.Running(session="s", seqs=frozenset({first.rows[0].seq})))
    return first, second


def idle(queue: Driver, seconds: float = 0.0, *, asked: int = 2, workers: int = 1, session: str = "t") -> None:
    queue.step(ev.Demand(session=session, asked=asked, idle=workers), seconds=seconds)


def test_a_batch_that_waits_is_asked_back_for_a_pool_without_work(queue: Driver) -> None:
    _, second = stuck(queue)
    queue.open("t", node="m@h")
    idle(queue, WAITS - 0.01)
    assert queue.all(ef.TakeBack) == [], "it has not waited long"
    idle(queue, WAITS)
    assert queue.one(ef.TakeBack) == ef.TakeBack(session="s", lease=second.lease, seqs=(second.rows[0].seq,))
    queue.step(ev.HandedBack(session="s", lease=second.lease, seqs=(second.rows[0].seq,)))
    batch = queue.one(ef.Dispatch)
    assert (batch.session, batch.rows[0].seq, batch.rows[0].attempt) == (
        "t",
        second.rows[0].seq,
        second.rows[0].attempt,
    )


def test_it_goes_to_who_has_nothing_and_not_back_to_who_asked_for_one_more(queue: Driver) -> None:
    first, second = stuck(queue)
    queue.open("t", node="m@h")
    idle(queue, 1.0)
    held = (first.lease,)
    queue.step(
        ev.Demand(session="s", asked=3, received=2, held=(*held, second.lease)),
        ev.HandedBack(session="s", lease=second.lease, seqs=(second.rows[0].seq,)),
    )
    assert queue.one(ef.Dispatch).session == "t"


def test_what_waits_behind_the_long_one_in_its_own_batch_is_asked_back_too(queue: Driver) -> None:
    queue.open()
    queue.learn()
    queue.submit(5)
    batch = queue.take()
    seqs = [row.seq for row in batch.rows]
    queue.step(ev.Running(session="s", seqs=frozenset(seqs[:1])))
    queue.open("t", node="m@h")
    idle(queue, 1.0)
    assert queue.one(ef.TakeBack).seqs == tuple(seqs[1:])


def test_nobody_is_asked_for_what_runs_or_for_what_the_other_cannot_run(queue: Driver) -> None:
    first, second = stuck(queue, "mail")
    queue.open("t", node="m@h")
    queue.open("u", node="l@h", queues=("mail",), handlers={"other": b""})
    idle(queue, 1.0)
    idle(queue, 1.0, session="u")
    assert queue.all(ef.TakeBack) == []
    queue.step(ev.Running(session="s", seqs=frozenset({first.rows[0].seq, second.rows[0].seq})))
    queue.open("v", node="k@h", queues=("mail",))
    idle(queue, 1.0, session="v")
    assert queue.all(ef.TakeBack) == []


def test_a_pool_whose_workers_are_all_at_work_is_not_thought_of(queue: Driver) -> None:
    stuck(queue)
    queue.open("t", node="m@h")
    idle(queue, 1.0, workers=0)
    assert queue.all(ef.TakeBack) == []
    idle(queue, 1.0, asked=0)
    assert queue.all(ef.TakeBack) == []


def test_no_more_is_asked_back_than_there_are_workers_without_work(queue: Driver) -> None:
    queue.submit(4)
    queue.open()
    queue.ask(4)
    queue.open("t", node="m@h")
    idle(queue, 1.0, asked=4, workers=2)
    assert len(queue.all(ef.TakeBack)) == 2


def test_the_same_batch_is_asked_for_again_only_after_a_while(queue: Driver) -> None:
    stuck(queue)
    queue.open("t", node="m@h")
    idle(queue, 1.0)
    assert queue.all(ef.TakeBack)
    idle(queue, AGAIN - 1)
    assert queue.all(ef.TakeBack) == []
    idle(queue, 1.1)
    assert queue.all(ef.TakeBack)
