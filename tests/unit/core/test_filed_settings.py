"""What the cluster's file says of handlers and queues: over what apps declare, under what is set or said at run time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otpq.core import effects as ef
from otpq.core import events as ev
from otpq.task import Options, normalized, pack_said

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.core.driver import Driver


def declared(**options: Any) -> bytes:
    return Options.of(**options).pack()


def said(**options: Any) -> bytes:
    return pack_said(normalized(options))


def facts_of(queue: Driver, name: str = "f") -> dict[str, Any]:
    (facts,) = [each for each in queue.core.handlers() if each["handler"] == name]
    return facts


def test_the_file_counts_more_than_the_app_and_less_than_the_caller(queue_with: Callable[..., Driver]) -> None:
    queue = queue_with(handlers={"f": said(retries=0)})
    queue.open(handlers={"f": declared(retries=5, retry_delay=7, jitter=0)})
    by_file, by_caller = queue.submit()[0], queue.submit(1, options=said(retries=1))[0]
    for batch in queue.ask(2):
        queue.tell(batch, *(queue.failure(row.seq) for row in batch.rows))
    assert queue.state(by_file) == "failed"
    assert queue.state(by_caller) == "retrying"
    assert queue.row(by_caller).due == queue.wall + 7  # what the file leaves open is the app's


def test_the_file_may_say_the_default_against_the_app(queue_with: Callable[..., Driver]) -> None:
    queue = queue_with(handlers={"f": said(timeout=300)})
    queue.open(handlers={"f": declared(timeout=5)})
    assert facts_of(queue)["options"].get("timeout", 300.0) == 300.0
    queue.submit()
    (batch,) = queue.ask()
    assert batch.declared == {}


def test_children_get_what_is_in_force(queue_with: Callable[..., Driver]) -> None:
    queue = queue_with(handlers={"f": said(timeout=9)})
    queue.open(handlers={"f": declared(soft_timeout=4)})
    queue.submit()
    (batch,) = queue.ask()
    assert batch.declared == {"f": declared(timeout=9, soft_timeout=4)}
    assert queue.core.declared == batch.declared


def test_the_source_of_a_limit_is_told(queue_with: Callable[..., Driver]) -> None:
    queue = queue_with(handlers={"f": said(max_concurrency=3), "g": said(timeout=1)})
    queue.open(handlers={"f": declared(max_concurrency=9), "g": declared(max_concurrency=2), "h": b""})
    found = {name: (facts["limit"], facts["limit_from"]) for name in "fgh" for facts in [facts_of(queue, name)]}
    assert found == {"f": (3, "file"), "g": (2, "app"), "h": (None, "app")}
    queue.step(ev.LimitHandler(client="c", request=1, handler="f", max_concurrency=None))
    assert (facts_of(queue)["limit"], facts_of(queue)["limit_from"]) == (None, "set")
    queue.crash()  # what was set is durable, and the file is read again
    assert (facts_of(queue)["limit"], facts_of(queue)["limit_from"]) == (None, "set")
    assert facts_of(queue, "g")["options"] == {"max_concurrency": 2, "timeout": 1.0}


def test_a_limit_of_the_file_is_heeded(queue_with: Callable[..., Driver]) -> None:
    queue = queue_with(handlers={"f": said(max_concurrency=1)})
    queue.open()
    queue.submit(2)
    assert [len(batch.rows) for batch in queue.ask(2)] == [1]


def test_the_file_makes_no_handler_known_and_leaves_nothing_in_the_store(queue_with: Callable[..., Driver]) -> None:
    queue = queue_with(handlers={"later": said(retries=0)})
    queue.open(handlers={"f": b""})
    assert facts_of(queue, "later")["known"] is False
    assert set(queue.store.settings) == {"declared:f"}
    queue.submit(1, "later", strict=True)
    assert queue.one(ef.Refused).refusals


def test_another_edition_of_the_app_stays_under_the_file(queue_with: Callable[..., Driver]) -> None:
    queue = queue_with(handlers={"f": said(max_concurrency=2)})
    queue.open(handlers={"f": b""})
    queue.open("t", "m@h", handlers={"f": declared(max_concurrency=7, retries=1)})
    assert (facts_of(queue)["limit"], facts_of(queue)["options"]["retries"]) == (2, 1)


def test_a_queue_holds_what_the_file_says_unless_an_operator_says_otherwise(
    queue_with: Callable[..., Driver],
) -> None:
    queue = queue_with(queues={"default": 1})
    queue.submit(2)
    assert [each.code for each in queue.one(ef.Refused).refusals] == ["queue_full"]
    queue.step(ev.LimitQueue(client="c", request=1, queue="default", max_size=2))
    queue.submit(2)
    assert not queue.all(ef.Refused)
    queue.step(ev.LimitQueue(client="c", request=1, queue="default", max_size=None))
    queue.crash()
    queue.submit(5)
    assert not queue.all(ef.Refused)


def test_a_pause_leaves_the_file_s_size(queue_with: Callable[..., Driver]) -> None:
    queue = queue_with(queues={"default": 1})
    queue.step(ev.Pause(client="c", request=1, queue="default"))
    (facts,) = queue.core.queues()
    assert (facts["paused"], facts["max_size"]) == (True, 1)
