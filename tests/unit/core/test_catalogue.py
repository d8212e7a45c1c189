"""What apps declare of their handlers, and what the core makes of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from otpq.core import effects as ef
from otpq.core import events as ev
from otpq.task import DEFAULT_HANDLER, Options, normalized, pack_said

if TYPE_CHECKING:
    from tests.unit.core.driver import Driver


def declared(**options: Any) -> bytes:
    return Options.of(**options).pack()


def said(**options: Any) -> bytes:
    return pack_said(normalized(options))


def ids_of(batches: list[ef.Dispatch]) -> list[int]:
    return [row.seq for batch in batches for row in batch.rows]


def warned(queue: Driver) -> list[tuple[int, str]]:
    return [(each.index, each.message) for each in queue.one(ef.Accepted).warnings]


# ------------------------------------------------------------ options in force


def test_a_task_submitted_by_name_has_the_options_of_its_handler(queue: Driver) -> None:
    queue.open(handlers={"f": declared(retries=0)})
    (id,) = queue.submit()
    queue.tell(queue.take(), queue.failure(1))
    assert queue.state(id) == "failed"
    assert queue.row(id).options == b""


def test_what_the_caller_says_counts_more_even_if_it_is_the_default(queue: Driver) -> None:
    queue.open(handlers={"f": declared(retries=0, retry_delay=7, jitter=0)})
    (id,) = queue.submit(1, options=said(retries=3))
    queue.tell(queue.take(), queue.failure(1))
    assert queue.state(id) == "retrying"
    assert queue.row(id).due == queue.wall + 7


def test_options_are_those_that_are_known_when_they_are_needed(queue: Driver) -> None:
    (id,) = queue.submit()  # before anybody has told of its handler
    queue.open(handlers={"f": declared(retries=0)})
    batch = queue.take()
    queue.open("t", "m@h", handlers={"f": declared(retries=1)})  # another edition, while it runs
    queue.tell(batch, queue.failure(1))
    assert queue.state(id) == "retrying"


def test_a_batch_brings_what_is_declared_of_its_handlers(queue: Driver) -> None:
    once = declared(at_most_once=True)
    queue.open(handlers={"f": once, "g": b""})
    queue.submit(1, "g")
    queue.submit(1, "f")
    assert [batch.declared for batch in queue.ask(2)] == [{}, {"f": once}]
    queue.crash()
    queue.open(handlers={"f": once, "g": b""})
    again = queue.step(ev.Demand(session="s", asked=2, received=0, held=()))
    assert [each.declared for each in again if isinstance(each, ef.Dispatch)] == [{}, {"f": once}]


def test_what_is_declared_to_run_at_most_once_travels_alone(queue: Driver) -> None:
    queue.open(handlers={"f": b""})
    queue.learn()
    queue.open(handlers={"f": declared(at_most_once=True)})
    ids = queue.submit(3)
    queue.submit(1, options=said(at_most_once=False))
    queue.asked = 0
    queue.received = 0
    batches = queue.ask(4)
    assert [len(batch.rows) for batch in batches] == [1, 1, 1, 1]
    queue.step(ev.NodeLost(node="n@h", incarnation="1", started=None))
    assert [queue.state(id) for id in ids] == ["failed"] * 3


# ------------------------------------------------------------ places


PLACED: dict[str, Any] = {"queue": "mail", "priority": 8, "partition": "p", "tags": ["a", "b"], "title": "t"}


def test_a_task_goes_where_its_handler_says_unless_its_caller_says_otherwise(queue: Driver) -> None:
    queue.open(handlers={"f": declared(**PLACED)}, queues=("mail",))
    by_name = queue.row(queue.submit()[0])
    assert (by_name.queue, by_name.priority, by_name.partition) == ("mail", 8, "p")
    assert (by_name.tags, by_name.title) == (",a,b,", "t")
    assert queue.store.counts["mail", "queued"] == 1
    own = queue.row(queue.submit(1, queue="other", priority=5, partition="", tags="", title="")[0])
    assert (own.queue, own.priority, own.partition, own.tags, own.title) == ("other", 5, "", "", None)


def test_times_of_a_handler_count_unless_its_caller_says_otherwise(queue: Driver) -> None:
    queue.open(handlers={"f": declared(delay=60, expires=90)})
    row = queue.row(queue.submit()[0])
    assert (row.state, row.due, row.expires) == ("pending", queue.wall + 60, queue.wall + 90)
    own = queue.row(queue.submit(1, delay=0.0, expires_at=math.inf)[0])
    assert (own.state, own.expires) == ("queued", None)
    dated = queue.row(queue.submit(1, eta=queue.wall + 5, expires_in=7.0)[0])
    assert (dated.due, dated.expires) == (queue.wall + 5, queue.wall + 7)


def test_tasks_of_handlers_with_different_places_may_come_together(queue: Driver) -> None:
    queue.open(handlers={"f": declared(queue="mail"), "g": b""}, queues=("mail", "default"))
    tasks = [queue.new(name) for name in ("f", "g", "f", "f", "h", "g")]
    queue.step(ev.Submit(client="c", request=1, tasks=tasks))
    assert [queue.row(task.id).queue for task in tasks] == ["mail", "default", "mail", "mail", "default", "default"]


def test_a_task_of_a_handler_not_yet_known_goes_where_all_tasks_go(queue: Driver) -> None:
    row = queue.row(queue.submit()[0])
    assert (row.queue, row.priority) == ("default", 5)


def test_a_full_queue_is_the_one_that_the_handler_names(queue: Driver) -> None:
    queue.step(ev.LimitQueue(client="c", request=1, queue="mail", max_size=1))
    queue.open(handlers={"f": declared(queue="mail"), "g": b""})
    tasks = [queue.new("g"), queue.new("f"), queue.new("f")]
    queue.step(ev.Submit(client="c", request=1, tasks=tasks))
    (refusal,) = queue.one(ef.Refused).refusals
    assert (refusal.index, refusal.code) == (1, "queue_full")


# ------------------------------------------------------------ what is kept


def test_declarations_are_durable_when_they_change(queue: Driver) -> None:
    queue.open(handlers={"f": declared(queue="mail", retries=0)})
    assert queue.one(ef.Persist).changes.settings == {"declared:f": declared(queue="mail", retries=0)}
    queue.open(handlers={"f": declared(queue="mail", retries=0)})
    assert not queue.all(ef.Persist)
    queue.open(handlers={"f": b""})
    assert queue.one(ef.Persist).changes.settings == {"declared:f": b""}
    queue.open(handlers={"f": declared(queue="mail")})
    queue.crash()
    assert queue.row(queue.submit()[0]).queue == "mail"


def test_a_handler_that_no_app_has_any_more_stays_known(queue: Driver) -> None:
    queue.open(handlers={"f": declared(queue="mail"), "g": b""})
    queue.open(handlers={"g": b""})
    assert queue.row(queue.submit(1, "f", strict=True)[0]).queue == "mail"


# ------------------------------------------------------------ limits


def test_the_declared_limit_counts_until_an_operator_sets_one(queue: Driver) -> None:
    queue.open(handlers={"f": declared(max_concurrency=2)})
    queue.submit(4)
    assert ids_of(queue.ask(4)) == [1, 2]
    assert queue.core.slots()["f"] == (2, 2)
    queue.step(ev.LimitHandler(client="c", request=1, handler="f", max_concurrency=3))
    queue.open(handlers={"f": declared(max_concurrency=1)})
    assert queue.core.slots()["f"] == (3, 3)


def test_a_limit_that_is_declared_while_tasks_run_counts_them(queue: Driver) -> None:
    queue.open()
    queue.submit(2)
    assert len(queue.ask(2)) == 2
    queue.open(handlers={"f": declared(max_concurrency=1)})
    assert queue.core.slots()["f"] == (2, 1)
    queue.open(handlers={"f": b""})
    assert queue.core.slots()["f"] == (0, None)


def test_the_declared_limit_holds_before_the_first_child_of_a_new_start_is_up(queue: Driver) -> None:
    queue.open(handlers={"f": declared(max_concurrency=1)})
    queue.crash()
    assert queue.core.slots()["f"] == (0, 1)


# ------------------------------------------------------------ who runs what


def code(queue: Driver, id: bytes) -> str | None:
    why = queue.core.why(queue.row(id))
    return None if why is None else why.code


def test_a_task_of_a_handler_that_no_pool_has_waits_for_one(queue: Driver) -> None:
    queue.open(handlers={"f"})
    (id,) = queue.submit(1, "g")
    assert queue.ask(3) == []
    assert code(queue, id) == "no_handler"
    assert queue.core.wake(ev.Now(queue.wall, queue.mono)) > 0
    queue.open("t", "m@h", handlers={"g"})
    assert code(queue, id) == "no_worker"
    assert ids_of(queue.ask(1, "t")) == [1]


def test_a_pool_whose_handlers_are_not_known_gets_nothing(queue: Driver) -> None:
    (id,) = queue.submit()
    queue.open(handlers=None)
    assert queue.ask(1) == []
    assert code(queue, id) == "no_worker"
    queue.open(handlers={"f"})
    queue.asked = 0
    assert ids_of(queue.ask(1)) == [1]


def test_two_pools_with_different_handlers_get_each_their_own(queue: Driver) -> None:
    queue.open("s", handlers={"f"})
    queue.open("t", "m@h", handlers={"g"})
    tasks = [queue.new(name) for name in ("g", "f", "g", "f")]
    queue.step(ev.Submit(client="c", request=1, tasks=tasks))
    assert ids_of(queue.ask(2)) == [2, 4]
    assert ids_of(queue.ask(2, "t")) == [1, 3]


def test_lanes_that_nobody_serves_hide_nobody_and_hold_nothing_when_room_is_short() -> None:
    from tests.unit.core.driver import Driver

    queue = Driver(max_rows=8, max_window=4)
    queue.open(handlers={"f"})
    for name in ("a", "b", "c", "d"):
        queue.submit(4, name, priority=9)
    (id,) = queue.submit(1, "f")
    (batch,) = queue.ask(1)
    assert [row.id for row in batch.rows] == [id]
    assert queue.core.held == 0
    assert not queue.needs.lanes
    queue.open("t", "m@h", handlers={"a"})
    assert len(queue.ask(4, "t")) == 4


def test_what_no_pool_serves_any_more_is_read_again_when_one_comes() -> None:
    from tests.unit.core.driver import Driver

    queue = Driver(max_rows=8, max_window=4)
    queue.open(handlers={"f"})
    queue.submit(20, "f")
    queue.open(handlers={"g"})
    queue.submit(20, "g")
    assert len(queue.ask(2)) == 2
    queue.step(ev.SessionClosed(session="s"))
    queue.open("t", "m@h", handlers={"f"})
    batches = queue.ask(3, "t")
    assert {row.name for batch in batches for row in batch.rows} == {"f"}
    assert len(batches) == 3


# ------------------------------------------------------------ names nobody knows


def test_a_misspelt_name_is_accepted_with_a_warning_that_names_the_nearest(queue: Driver) -> None:
    queue.open(handlers={"email.send", "resize"})
    names = ("resize", "emial.send", "emial.send", "zzz")
    queue.step(ev.Submit(client="c", request=1, tasks=[queue.new(name) for name in names]))
    assert warned(queue) == [
        (1, "no handler 'emial.send' is known; did you mean 'email.send'?"),
        (3, "no handler 'zzz' is known"),
    ]
    queue.open(handlers={"email.send", "zzzz"})
    queue.submit(1, "zzz")
    assert warned(queue) == [(0, "no handler 'zzz' is known; did you mean 'zzzz'?")]


def test_a_misspelt_name_is_refused_where_that_was_asked_for(queue: Driver) -> None:
    queue.open(handlers={"email.send"})
    tasks = [queue.new("email.send", strict=True), queue.new("emial.send"), queue.new("emial.send", strict=True)]
    queue.step(ev.Submit(client="c", request=1, tasks=tasks))
    (refusal,) = queue.one(ef.Refused).refusals
    assert (refusal.index, refusal.code) == (2, "unknown_handler")
    assert "did you mean 'email.send'" in refusal.message


def test_before_any_app_has_told_nothing_is_misspelt_but_nothing_is_known_either(queue: Driver) -> None:
    queue.submit(1, "anything")
    assert warned(queue) == []
    queue.submit(1, "anything", strict=True)
    assert queue.one(ef.Refused).refusals[0].code == "unknown_handler"


def test_while_a_pool_has_yet_to_tell_nothing_is_called_misspelt(queue: Driver) -> None:
    queue.open(handlers={"email.send"})
    queue.open("t", "m@h", handlers=None)
    queue.submit(1, "just.deployed")
    assert warned(queue) == []
    queue.open("t", "m@h", handlers={"other"})
    queue.submit(1, "just.deployed")
    assert len(warned(queue)) == 1


# ------------------------------------------------------------ maps


@pytest.mark.parametrize("strict", [False, True])
def test_a_map_whose_job_nobody_knows_goes_whole_to_the_default_handler(queue: Driver, *, strict: bool) -> None:
    queue.open(handlers={"f": b"", DEFAULT_HANDLER: declared(queue="rest")}, queues=("rest",))
    row = queue.row(queue.submit(1, "nobody", whole=b"map", strict=strict)[0])
    assert (row.name, row.payload, row.queue) == (DEFAULT_HANDLER, b"map", "rest")
    assert warned(queue) == []
    assert [row.payload for row in queue.take().rows] == [b"map"]


def test_a_map_whose_job_is_known_goes_there_and_so_does_every_call_by_name(queue: Driver) -> None:
    queue.open(handlers={"f": b"", DEFAULT_HANDLER: b""})
    tasks = [queue.new("f", whole=b"map"), queue.new("nobody"), queue.new("nobody", whole=b"map"), queue.new("nobody")]
    queue.step(ev.Submit(client="c", request=1, tasks=tasks))
    rows = [queue.row(task.id) for task in tasks]
    assert [(row.name, row.payload) for row in rows] == [
        ("f", b"x"),
        ("nobody", b"x"),
        (DEFAULT_HANDLER, b"map"),
        ("nobody", b"x"),
    ]
    assert ids_of(queue.ask(4)) == [1, 3]


def test_a_map_goes_to_its_job_where_no_default_handler_is_known(queue: Driver) -> None:
    queue.open(handlers={"f"})
    row = queue.row(queue.submit(1, "nobody", whole=b"map")[0])
    assert (row.name, row.payload) == ("nobody", b"x")
