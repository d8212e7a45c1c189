"""Terms of nodes, lost messages, and a core that is built anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from otpq.core import effects as ef
from otpq.core import events as ev

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.core.driver import Driver


def test_a_silent_node_loses_its_leases_after_its_term_and_the_margin(queue_with: Callable[..., Driver]) -> None:
    queue = queue_with(lease=30.0, lease_margin=2.0)
    queue.submit(1)
    queue.open()
    queue.take()
    queue.step(seconds=31.9)
    assert queue.core.open_leases == 1
    queue.step(seconds=0.2)
    assert queue.core.open_leases == 0
    assert queue.store.rows[1].interruptions == 1


def test_heartbeats_renew_the_term_and_a_jump_of_the_wall_clock_does_nothing(queue: Driver) -> None:
    queue.submit(1)
    queue.open()
    queue.take()
    for _ in range(10):
        queue.wall += 1_000_000.0
        queue.step(ev.Heartbeat(node="n@h", incarnation="1"), seconds=20.0)
    assert queue.core.open_leases == 1


def test_a_heartbeat_of_another_incarnation_renews_nothing(queue: Driver) -> None:
    queue.submit(1)
    queue.open()
    queue.take()
    queue.step(ev.Heartbeat(node="n@h", incarnation="2"), seconds=20.0)
    queue.step(seconds=20.0)
    assert queue.core.open_leases == 0


def test_a_proven_death_ends_the_leases_at_once_and_only_those(queue: Driver) -> None:
    queue.submit(2)
    queue.open()
    queue.take()
    queue.open("t", node="m@h")
    other = queue.take("t")
    queue.step(ev.NodeLost(node="n@h", incarnation="1", started=frozenset()))
    assert list(queue.store.leases) == [other.lease]


def test_a_batch_that_was_lost_is_sent_again_as_it_was(queue: Driver) -> None:
    queue.submit(1)
    queue.open()
    queue.step(ev.Demand(session="s", asked=1))
    batch = queue.one(ef.Dispatch)
    queue.step(ev.Demand(session="s", asked=1), seconds=0.5)
    assert queue.all(ef.Dispatch) == []  # it may be on its way
    queue.step(ev.Demand(session="s", asked=1), seconds=0.6)
    assert queue.one(ef.Dispatch) == batch
    assert queue.all(ef.Persist) == []


def test_a_batch_whose_tasks_ended_in_this_very_step_is_not_sent_again(queue: Driver) -> None:
    queue.submit(1)
    queue.open()
    queue.step(ev.Demand(session="s", asked=1))
    queue.step(
        ev.Demand(session="s", asked=1),
        ev.NodeLost(node="n@h", incarnation="1", started=frozenset()),
        seconds=2.0,
    )
    assert queue.all(ef.Dispatch) == []


def test_asking_again_is_not_asking_for_more(queue: Driver) -> None:
    queue.submit(5)
    queue.open()
    queue.step(ev.Demand(session="s", asked=2))
    first = queue.all(ef.Dispatch)
    assert len(first) == 2
    queue.step(ev.Demand(session="s", asked=2, received=2, held=tuple(one.lease for one in first)))
    assert queue.all(ef.Dispatch) == []


def test_a_lease_that_is_not_open_is_refused_to_who_holds_it(queue: Driver) -> None:
    queue.open()
    queue.step(ev.Demand(session="s", asked=0, received=9, held=(77,)))
    assert queue.one(ef.Stale).lease == 77


def test_a_lease_that_its_pool_had_and_has_forgotten_is_an_interruption(queue: Driver) -> None:
    queue.submit(1)
    queue.open()
    batch = queue.take()
    queue.step(ev.Demand(session="s", asked=1, received=1, held=(batch.lease,)))
    queue.step(ev.Demand(session="s", asked=1, received=1, held=()))
    assert queue.store.rows[1].interruptions == 1
    assert queue.core.stats.vanished_leases == 1


def test_a_pool_that_begins_anew_gets_what_it_asks_for(queue: Driver) -> None:
    queue.submit(4)
    queue.open()
    held = tuple(queue.take().lease for _ in range(2))
    queue.step(ev.Demand(session="s", asked=2, received=2, held=held))
    queue.open()  # its successor, under the same name, knows nothing of that
    queue.step(ev.Demand(session="s", asked=0))
    assert queue.core.stats.vanished_leases == 2
    queue.step(ev.Demand(session="s", asked=4))
    assert len(queue.all(ef.Dispatch)) == 4


def test_an_unknown_session_is_told_to_open_itself(queue: Driver) -> None:
    queue.step(ev.Demand(session="x", asked=3))
    assert queue.one(ef.UnknownSession).session == "x"


def test_a_closed_session_gets_nothing_more_but_may_deliver(queue: Driver) -> None:
    ids = queue.submit(2)
    queue.open()
    batch = queue.take()
    queue.step(ev.SessionClosed(session="s"))
    queue.succeed(batch)
    assert queue.state(ids[0]) == "succeeded"
    assert queue.core.open_leases == 0


@pytest.fixture
def rebuilt(queue: Driver) -> Driver:
    """A core that found one lease (of task 1), one waiting task, and a delayed one."""
    queue.submit(2)
    queue.submit(1, delay=5.0)
    queue.open()
    queue.take()
    queue.crash()
    return queue


def test_leases_survive_the_core_and_get_one_fresh_full_term(rebuilt: Driver) -> None:
    rebuilt.mono += 1_000.0
    rebuilt.step()
    assert rebuilt.core.open_leases == 1
    rebuilt.step(seconds=31.0)
    assert rebuilt.core.open_leases == 1
    rebuilt.step(seconds=2.0)
    assert rebuilt.core.open_leases == 0


def test_a_result_under_an_older_core_s_lease_counts(rebuilt: Driver) -> None:
    (lease,) = rebuilt.store.leases
    rebuilt.step(ev.Results(session="s", lease=lease, results=[rebuilt.success(1)]))
    assert rebuilt.store.rows[1].state == "succeeded"


def test_what_an_older_core_leased_is_not_handed_out_again(rebuilt: Driver) -> None:
    rebuilt.open("t", node="m@h")
    assert [row.seq for batch in rebuilt.ask(5, "t") for row in batch.rows] == [2]


def test_a_batch_of_an_older_core_that_never_arrived_is_sent_at_once(rebuilt: Driver) -> None:
    (lease,) = rebuilt.store.leases
    rebuilt.open()
    rebuilt.step(ev.Demand(session="s", asked=1, received=0, held=()))
    first, *_ = rebuilt.all(ef.Dispatch)
    assert (first.lease, [row.seq for row in first.rows]) == (lease, [1])


def test_delayed_tasks_and_numbers_go_on(rebuilt: Driver) -> None:
    (id,) = rebuilt.submit(1)
    assert rebuilt.row(id).seq == 4
    rebuilt.step(seconds=6.0)
    assert rebuilt.store.rows[3].state == "queued"
