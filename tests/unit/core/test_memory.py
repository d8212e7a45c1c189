"""Tasks that need memory: never more at a time on a node than it has, and nobody hidden behind who waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from otpq.core import effects as ef
from otpq.core import events as ev
from otpq.core.memory import needed
from otpq.task import Options

if TYPE_CHECKING:
    from tests.unit.core.driver import Driver


def mib(memory: float) -> bytes:
    return Options(memory=memory).pack()


def seqs(batches: list[ef.Dispatch]) -> list[list[int]]:
    return [[row.seq for row in batch.rows] for batch in batches]


@pytest.mark.parametrize(("parallel", "mib"), [(1, 5.0), (2, 8.0), (9, 10.0), (None, 10.0)])
def test_what_runs_at_the_same_time_is_added_up(parallel: int | None, mib: float) -> None:
    assert needed([2.0, 5.0, 3.0], parallel) == mib
    assert needed([], parallel) == 0.0


def test_two_tasks_that_do_not_fit_together_do_not_overlap(queue: Driver) -> None:
    queue.submit(3, options=mib(600))
    queue.open(memory=1000.0)
    (first,) = queue.ask(3)
    assert seqs([first]) == [[1]]
    queue.succeed(first)
    assert seqs(queue.all(ef.Dispatch)) == [[2]]


def test_memory_is_that_of_the_node_whichever_of_its_pools_asks(queue: Driver) -> None:
    queue.submit(2, options=mib(600))
    queue.open(memory=1000.0)
    queue.open("t", memory=1000.0)
    queue.open("u", "other@h", memory=1000.0)
    assert seqs(queue.ask(1)) == [[1]]
    assert queue.ask(1, "t") == []
    assert seqs(queue.ask(1, "u")) == [[2]]


def test_a_node_without_a_bound_takes_what_it_gets(queue: Driver) -> None:
    queue.submit(2, options=mib(1e6))
    queue.open()
    assert len(queue.ask(2)) == 2


def test_what_its_handler_declares_counts_and_what_a_caller_says_counts_more(queue: Driver) -> None:
    queue.open(handlers={"f": mib(600)}, memory=1000.0)
    queue.submit(2)
    queue.submit(1, options=mib(300))
    first, *rest = queue.ask(3)
    assert (seqs([first]), rest) == ([[1]], [])
    queue.succeed(first)
    assert seqs(queue.all(ef.Dispatch) + queue.ask(1)) == [[2], [3]]


def test_a_batch_for_one_process_reserves_its_largest(queue: Driver) -> None:
    queue.open(memory=1000.0)
    queue.learn()
    queue.submit(2, options=mib(300))
    queue.submit(1, options=mib(900))
    queue.submit(2, options=mib(200))
    assert [len(batch.rows) for batch in queue.ask(2)] == [5]
    assert queue.core._state.reservations.of("n@h") == 900.0


def test_a_batch_for_threads_holds_as_many_as_fit_together(queue: Driver) -> None:
    queue.open()
    queue.learn(took=0.001)
    queue.open("t", "other@h", memory=1000.0, parallel=2)
    queue.submit(3, options=mib(400))
    queue.submit(1, options=mib(700))
    batch = queue.take("t")
    assert len(batch.rows) == 3
    assert queue.core._state.reservations.of("other@h") == 800.0
    queue.tell(batch, *[queue.success(row.seq) for row in batch.rows[:2]])
    assert queue.core._state.reservations.of("other@h") == 400.0


def test_a_lane_that_waits_for_memory_hides_no_other(queue: Driver) -> None:
    queue.open(memory=1000.0)
    queue.submit(1, options=mib(600), partition="a", priority=9)
    assert seqs(queue.ask(1)) == [[1]]
    queue.submit(2, options=mib(600), partition="a", priority=9)
    queue.submit(1, options=mib(300), partition="b", priority=9)  # the same handler
    queue.submit(1, "g", options=mib(100), priority=9)  # the same priority
    queue.submit(1, priority=1)
    assert seqs(queue.ask(5)) == [[4], [5], [6]]


def test_a_lane_that_was_passed_over_keeps_its_turn(queue: Driver) -> None:
    queue.open(memory=1000.0)
    queue.submit(1, "g", options=mib(600))
    (blocker,) = queue.ask(1)
    queue.submit(2, options=mib(600), partition="a")
    queue.submit(3, options=mib(300), partition="b")
    (small,) = queue.ask(1)
    assert seqs([small]) == [[4]]
    queue.succeed(small)
    queue.succeed(blocker)
    assert seqs(queue.ask(1)) == [[2]]


def test_within_a_lane_nobody_overtakes_who_waits_for_memory(queue: Driver) -> None:
    queue.open(memory=1000.0)
    queue.submit(1, "g", options=mib(600))
    queue.ask(1)
    queue.submit(1, options=mib(600))
    queue.submit(1, options=mib(100))
    assert queue.ask(2) == []


def test_a_task_that_is_larger_than_a_node_hides_nobody_and_waits_for_a_larger_one(queue: Driver) -> None:
    (large,) = queue.submit(1, options=mib(5000))
    queue.submit(2, options=mib(500))
    queue.submit(1, "g")
    queue.open(memory=1000.0)
    assert seqs(queue.ask(5)) == [[2], [3], [4]]
    why = queue.core.why(queue.row(large))
    assert why is not None
    room = {"needs": 5000.0, "free": 0.0, "capacity": 1000.0, "node": "n@h"}
    assert (why.code, {**why.facts, **room}) == ("no_memory", why.facts)
    assert (len(why.facts["held_by"]), why.facts["tasks"]) == (2, 2)
    queue.open("t", "large@h", memory=8000.0)
    assert seqs(queue.ask(1, "t")) == [[1]]


def test_who_waits_for_memory_does_not_keep_the_core_busy(queue: Driver) -> None:
    queue.open(memory=1000.0)
    queue.submit(5, options=mib(600), partition="a")
    queue.submit(5, options=mib(600), partition="b")
    queue.ask(5)
    assert queue.core.wake(ev.Now(queue.wall, queue.mono)) > 0


def test_a_session_that_cannot_have_it_starves_no_other(queue: Driver) -> None:
    queue.open(memory=100.0)
    queue.open("t", "other@h", memory=1000.0)
    queue.ask(1)
    queue.ask(2, "t")
    queue.submit(2, options=mib(300))
    assert [(batch.session, len(batch.rows)) for batch in queue.all(ef.Dispatch)] == [("t", 1), ("t", 1)]


def test_why_names_the_memory_that_is_missing(queue: Driver) -> None:
    (first,) = queue.submit(1, options=mib(600))
    (second,) = queue.submit(1, options=mib(700))
    (behind,) = queue.submit(1)
    queue.open("t", "small@h", memory=500.0)
    queue.open(memory=1000.0)
    queue.ask(3)
    why = queue.core.why(queue.row(second))
    assert why is not None
    room = {"needs": 700.0, "free": 400.0, "capacity": 1000.0, "node": "n@h", "held_by": [first.hex()], "tasks": 1}
    assert (why.code, why.facts) == ("no_memory", room)
    queue.step(ev.SessionClosed(session="t"))
    why = queue.core.why(queue.row(behind))
    assert why is not None
    assert (why.code, why.facts["needs"], why.facts["behind"]) == ("no_memory", 700.0, second.hex())
    queue.open("u", "free@h")
    why = queue.core.why(queue.row(second))
    assert why is not None
    assert why.code == "no_worker"


def test_reservations_are_counted_again_after_a_restart_of_the_queue_server(queue: Driver) -> None:
    queue.open("t", handlers={"f": mib(400)}, memory=1000.0, parallel=2)
    queue.submit(1, options=mib(600))
    batch = queue.take("t")
    queue.crash()
    queue.open(memory=1000.0, handlers={"f": mib(400)})
    queue.submit(2)
    assert seqs(queue.ask(5)) == [[2]]
    queue.open("t", handlers={"f": mib(400)}, memory=1000.0, parallel=2)
    queue.succeed(batch)
    assert seqs(queue.all(ef.Dispatch)) == [[3]]


def test_the_memory_of_a_lost_node_is_free_for_its_next_incarnation(queue: Driver) -> None:
    queue.open(memory=1000.0)
    queue.submit(1, options=mib(600))
    queue.ask(1)
    queue.open("t", incarnation="2", memory=1000.0)
    assert queue.ask(1, "t") == []  # the first may still run it
    queue.step(ev.NodeLost(node="n@h", incarnation="1", started=frozenset()))
    assert len(queue.all(ef.Dispatch)) == 1
    assert queue.core._state.reservations.of("n@h") == 600.0


def test_a_new_edition_that_needs_more_is_counted_while_the_old_one_runs(queue: Driver) -> None:
    queue.open(handlers={"f": mib(400)}, memory=1000.0)
    queue.submit(2)
    assert len(queue.ask(1)) == 1
    queue.open("t", handlers={"f": mib(700)}, memory=1000.0)
    assert queue.core._state.reservations.of("n@h") == 700.0
    assert queue.ask(1, "t") == []


@pytest.mark.parametrize("partitions", [1, 3])
def test_a_task_that_travels_alone_reserves_too(queue: Driver, partitions: int) -> None:
    for number in range(partitions):
        queue.submit(1, options=Options(memory=600.0, at_most_once=True).pack(), partition=f"p{number}")
    queue.open(memory=1000.0)
    assert seqs(queue.ask(3)) == [[1]]
    queue.step(ev.NodeLost(node="n@h", incarnation="1", started=None))
    assert queue.core._state.reservations.of("n@h") == 0.0
