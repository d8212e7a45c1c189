"""Which limits are in force, how much is used, and who says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otpq.core import events as ev
from otpq.task import Options, normalized, pack_said

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.core.driver import Driver


def said(**options: Any) -> bytes:
    return pack_said(normalized(options))


def declared(**options: Any) -> bytes:
    return Options.of(**options).pack()


def limit(queue: Driver, name: str, of: str) -> tuple[Any, ...]:
    (found,) = [each for each in queue.core.limits() if (each["name"], each["limit"]) == (name, of)]
    return found["value"], found["used"], found["available"], found["from"]


def set_limit(queue: Driver, most: int | None) -> None:
    queue.step(ev.LimitHandler(client="c", request=1, handler="f", max_concurrency=most))


def test_in_force_is_what_was_set_else_the_file_else_the_app(queue_with: Callable[..., Driver]) -> None:
    queue = queue_with(handlers={"f": said(max_concurrency=3)})
    assert limit(queue, "f", "max_concurrency") == (3, 0, 3, "file")
    queue.open(handlers={"f": declared(max_concurrency=9), "g": declared(max_concurrency=2), "h": b""})
    assert limit(queue, "f", "max_concurrency") == (3, 0, 3, "file")
    assert limit(queue, "g", "max_concurrency") == (2, 0, 2, "app")
    assert limit(queue, "h", "max_concurrency") == (None, None, None, "default")
    set_limit(queue, 1)
    queue.submit(2, "f")
    queue.ask(2)
    assert limit(queue, "f", "max_concurrency") == (1, 1, 0, "set")
    set_limit(queue, None)
    assert limit(queue, "f", "max_concurrency") == (None, None, None, "set")
    queue.crash()
    assert limit(queue, "f", "max_concurrency") == (None, None, None, "set")
    assert limit(queue, "g", "max_concurrency") == (2, 0, 2, "app")


def test_fewer_slots_than_are_in_use_leave_none_available(queue: Driver) -> None:
    queue.open()
    queue.submit(2)
    queue.ask(2)
    set_limit(queue, 1)
    assert limit(queue, "f", "max_concurrency") == (1, 2, 0, "set")


def test_times_and_memory_have_their_sources_too(queue_with: Callable[..., Driver]) -> None:
    queue = queue_with(handlers={"f": said(timeout=300)})
    queue.open(handlers={"f": declared(timeout=5, soft_timeout=2, memory="1G"), "g": b""})
    assert limit(queue, "f", "timeout") == (300.0, None, None, "file")
    assert limit(queue, "f", "soft_timeout") == (2.0, None, None, "app")
    assert limit(queue, "f", "memory") == (1024.0, None, None, "app")
    assert limit(queue, "g", "timeout") == (300.0, None, None, "default")
    assert limit(queue, "g", "memory") == (None, None, None, "default")


def test_a_name_that_somebody_misspelt_is_no_handler(queue: Driver) -> None:
    queue.open(handlers={"f": b""})
    queue.submit(1, "ff")
    assert {each["name"] for each in queue.core.limits() if each["of"] == "handler"} == {"f"}


def test_queues_count_what_has_not_ended(queue_with: Callable[..., Driver]) -> None:
    queue = queue_with(queues={"q": 10})
    queue.submit(2, queue="q")
    queue.submit(1, queue="q", delay=9.0)
    queue.submit(1)
    assert limit(queue, "q", "max_size") == (10, 3, 7, "file")
    assert limit(queue, "default", "max_size") == (None, 1, None, "default")
    queue.step(ev.LimitQueue(client="c", request=1, queue="q", max_size=2))
    assert limit(queue, "q", "max_size") == (2, 3, 0, "set")
    queue.step(ev.LimitQueue(client="c", request=1, queue="q", max_size=None))
    assert limit(queue, "q", "max_size") == (None, 3, None, "set")


def test_a_node_s_memory_is_told_with_what_is_reserved(queue: Driver) -> None:
    queue.open(memory=1000.0)
    queue.open("t", "free@h")
    queue.submit(1, options=said(memory=300))
    queue.take()
    assert limit(queue, "n@h", "memory") == (1000.0, 300.0, 700.0, "node")
    assert limit(queue, "free@h", "memory") == (None, None, None, "node")
