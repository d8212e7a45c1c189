"""Webhooks: which tasks tell of what, in which commit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from otpq.core import effects as ef
from otpq.core.webhooks import EVENTS, Webhook
from otpq.errors import BadOption
from otpq.task import WEBHOOK_HANDLER, Options
from otpq.wire.verbs import EVENT_KINDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.core.records import TaskRow
    from tests.unit.core.driver import Driver

URL = "https://hooks.example.com:8443/T0/secret"
RIGHT: dict[str, Any] = {"url": URL, "events": ("failed",), "secret_file": Path("/s")}


def webhook(*events: str, **more: Any) -> Webhook:
    return Webhook(**{**RIGHT, "events": events, **more})


def deliveries(queue: Driver) -> list[TaskRow]:
    return [row for row in queue.one(ef.Persist).changes.inserts if row.name == WEBHOOK_HANDLER]


def told(queue: Driver) -> list[tuple[str, str, str]]:
    """Event, name and the last digit of the id of each delivery of the last commit."""
    bodies = [msgspec.msgpack.decode(row.payload)[0] for row in deliveries(queue)]
    return [(event, facts["name"], facts["id"][-1]) for _, event, _, facts in bodies]


def test_a_task_tells_of_what_became_of_another_in_the_same_commit(queue_with: Callable[..., Driver]) -> None:
    queue = queue_with(webhooks=(webhook("failed", via="hooks"),))
    (id,) = queue.submit(1, options=Options(retries=0).pack())
    assert deliveries(queue) == []
    queue.open()
    queue.tell(queue.take(), queue.failure(1))
    (row,) = deliveries(queue)
    assert (row.queue, row.state, row.parent, row.title) == ("hooks", "queued", id, "failed f to hooks.example.com")
    ((key, event, time, facts), kwargs) = msgspec.msgpack.decode(row.payload)
    assert (key, event, time, kwargs) == (webhook("failed").key, "failed", queue.wall, {})
    assert facts == {"id": id.hex(), "name": "f", "queue": "default", "attempt": 1, "reason": "error", "error": "E: m"}
    assert b"secret" not in row.payload, "addresses are often secrets"
    queue.open("t", handlers={WEBHOOK_HANDLER: b""}, queues=("hooks",))
    assert [row.name for row in queue.take("t").rows] == [WEBHOOK_HANDLER]


def test_every_kind_is_told_once(queue_with: Callable[..., Driver]) -> None:
    queue = queue_with(webhooks=(webhook("submitted", "succeeded", "failed", "retried", "cancelled", "expired"),))
    queue.submit(2, options=Options(retries=1, retry_delay=0.0, jitter=0.0).pack())
    assert told(queue) == [("submitted", "f", "1"), ("submitted", "f", "2")]
    queue.open(handlers={"f": b""})
    queue.tell(queue.take(), queue.success(1))
    assert told(queue) == [("succeeded", "f", "1")]
    queue.tell(queue.take(), queue.failure(2))
    assert told(queue) == [("retried", "f", "2")]
    assert msgspec.msgpack.decode(deliveries(queue)[0].payload)[0][3]["reason"] == "error"
    queue.step(seconds=1.0)
    queue.tell(queue.take(), queue.failure(2))
    assert told(queue) == [("failed", "f", "2")]
    gone = queue.submit(1, delay=10.0)
    queue.cancel(*gone)
    assert told(queue) == [("cancelled", "f", "3")]
    queue.submit(1, "g", expires_in=1.0)
    queue.step(seconds=2.0)
    queue.step(seconds=30.0)
    rows = [row for row in queue.store.rows.values() if row.title == "expired g to hooks.example.com"]
    assert len(rows) == 1
    assert len({row.id for row in queue.store.rows.values()}) == len(queue.store.rows)


def test_what_expires_as_its_turn_comes_is_told_of_too(queue_with: Callable[..., Driver]) -> None:
    queue = queue_with(webhooks=(webhook("expired"),))
    queue.open()
    queue.step(seconds=0.5)
    queue.submit(1, expires_in=1.0)
    queue.step(seconds=0.5)  # it is looked for what has expired, and a second later again
    queue.wall += 0.6
    assert queue.ask(1) == []
    titles = [row.title for row in queue.store.rows.values() if row.name == WEBHOOK_HANDLER]
    assert titles == ["expired f to hooks.example.com"]


def test_only_what_is_wanted_is_told_and_each_that_wants_it_is(queue_with: Callable[..., Driver]) -> None:
    hooks = (webhook("submitted", name="mail.*"), webhook("submitted", queue="q"), webhook("failed"))
    queue = queue_with(webhooks=hooks)
    queue.submit(1, "mail.send", queue="q")
    assert [name for _, name, _ in told(queue)] == ["mail.send", "mail.send"]
    queue.submit(1, "mail", queue="other")
    assert told(queue) == []
    assert hooks[1].wants("submitted", None, "q")
    assert not hooks[0].wants("submitted", None, None)


def test_of_deliveries_nobody_is_told(queue_with: Callable[..., Driver]) -> None:
    queue = queue_with(webhooks=(webhook("submitted", "succeeded", "failed", "retried", "cancelled"),))
    queue.submit(1)
    (delivery,) = deliveries(queue)
    queue.open(handlers={WEBHOOK_HANDLER: Options(retries=1, retry_delay=0.0).pack()})
    queue.tell(queue.take(), queue.failure(delivery.seq))
    assert deliveries(queue) == []
    queue.step(seconds=1.0)
    queue.tell(queue.take(), queue.failure(delivery.seq))
    assert deliveries(queue) == []


def test_what_a_full_queue_cannot_hold_is_told_all_the_same(queue_with: Callable[..., Driver]) -> None:
    queue = queue_with(webhooks=(webhook("submitted", via="hooks"),), queues={"hooks": 0})
    queue.submit(2)
    assert len(deliveries(queue)) == 2


def test_an_end_that_is_told_again_is_told_of_once(queue_with: Callable[..., Driver]) -> None:
    queue = queue_with(webhooks=(webhook("succeeded"),))
    queue.submit(1)
    queue.open()
    batch = queue.take()
    queue.crash()
    queue.open()
    queue.tell(batch, queue.success(1))
    assert told(queue) == [("succeeded", "f", "1")]
    queue.tell(batch, queue.success(1))
    assert [row.name for row in queue.store.rows.values()].count(WEBHOOK_HANDLER) == 1


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("url", "ftp://h/x", "url='ftp://h/x' is not allowed: https://host/path"),
        ("url", "https:///x", "https://host/path"),
        ("url", "https://h:port/x", "https://host/path"),
        ("url", "https://h/a b", "https://host/path"),
        ("url", "https://me:pass@h/", "url='one with a user' is not allowed"),
        ("events", (), "one or more of submitted"),
        ("events", ("fialed",), "did you mean 'failed'"),
        ("events", ("started",), "events='started' is not allowed: submitted,"),
        ("via", "", "via='' is not allowed"),
    ],
)
def test_what_cannot_be_right_is_refused(option: str, value: object, words: str) -> None:
    with pytest.raises(BadOption) as caught:
        Webhook(**{**RIGHT, option: value})
    assert words in str(caught.value)
    assert "pass" not in str(caught.value)
    assert caught.value.option == option


def test_every_event_of_a_webhook_is_one_that_there_is() -> None:
    assert set(EVENTS) == set(EVENT_KINDS) - {"started", "progress", "store_trouble", "gap"}
