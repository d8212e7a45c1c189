"""What follows a task's end: a task of its own, made in the same commit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from otpq.core import effects as ef
from otpq.core import events as ev
from otpq.core.handlers import hook_of
from otpq.task import Options

if TYPE_CHECKING:
    from otpq.core.records import TaskRow
    from tests.unit.core.driver import Driver

ALL = {"f": b"", "f:on_success": b"", "f:on_retry": b"", "f:on_failure": b"", "g": b""}


def inserted(queue: Driver) -> list[TaskRow]:
    persist = queue.all(ef.Persist)
    return persist[0].changes.inserts if persist else []


def told(hook: TaskRow) -> tuple[dict[str, Any], Any]:
    (facts, value), kwargs = msgspec.msgpack.decode(hook.payload)
    assert kwargs == {}
    return msgspec.msgpack.decode(facts), msgspec.msgpack.decode(value)


def test_a_hook_follows_in_the_commit_of_the_result(queue: Driver) -> None:
    (id,) = queue.submit(1, partition="p", priority=8, payload=b"\x92\x90\x80", title="t", tags=",a,")
    queue.open(handlers=ALL)
    batch = queue.take()
    queue.step(ev.Results(session="s", lease=batch.lease, results=[ev.Succeeded(1, b"\x07", 5.0, 6.0)]))
    (hook,) = inserted(queue)
    assert [success.seq for success in queue.one(ef.Persist).changes.successes] == [1]
    assert (hook.name, hook.queue, hook.partition, hook.priority) == ("f:on_success", "default", "p", 8)
    assert (hook.parent, hook.state, hook.due, hook.options) == (id, "queued", queue.wall, b"")
    facts, value = told(hook)
    assert value == 7
    assert (facts["id"], facts["state"], facts["attempt"], facts["result"]) == (id, "succeeded", 1, b"\x07")
    assert (facts["payload"], facts["title"], facts["tags"], facts["started"]) == (b"\x92\x90\x80", "t", ",a,", 5.0)
    assert [row.name for row in queue.take().rows] == ["f:on_success"]


def test_each_failed_run_is_followed_by_its_hook(queue: Driver) -> None:
    queue.submit(1, options=Options(retries=1, retry_delay=0.0).pack())
    queue.open(handlers={"f": b""})
    queue.open("t", handlers=ALL)
    followed = []
    for reason in ("error", "crashed"):
        queue.tell(queue.take(), queue.failure(1, reason))
        (hook,) = inserted(queue)
        facts, error = told(hook)
        assert error == ["E", "m", ""]
        followed.append((hook.name, facts["state"], facts["attempt"], facts["reason"]))
        queue.step(seconds=1.0)
    assert followed == [("f:on_retry", "retrying", 1, "error"), ("f:on_failure", "failed", 2, "crashed")]


@pytest.mark.parametrize(
    ("options", "started", "name", "type_"),
    [
        (Options(retries=0), {1}, "f:on_failure", "NodeDied"),
        (Options(), {1}, "f:on_retry", "NodeDied"),
        (Options(at_most_once=True), None, "f:on_failure", "Lost"),
    ],
)
def test_a_run_that_nobody_reported_is_followed_too(
    queue: Driver, options: Options, started: set[int] | None, name: str, type_: str
) -> None:
    queue.submit(1, options=options.pack())
    queue.open(handlers=ALL)
    queue.take()
    seqs = None if started is None else frozenset(started)
    queue.step(ev.NodeLost(node="n@h", incarnation="1", started=seqs))
    (hook,) = inserted(queue)
    assert (hook.name, told(hook)[1][0]) == (name, type_)


@pytest.mark.parametrize("end", ["snooze", "cancelled", "handed over", "handed back", "fenced", "interrupted"])
def test_what_is_no_success_and_no_failure_has_no_hook(queue: Driver, end: str) -> None:
    queue.submit(1)
    queue.open(handlers=ALL)
    batch = queue.take()
    times: dict[str, Any] = {"seq": 1, "started": 1.0, "finished": 2.0}
    match end:
        case "snooze":
            queue.tell(batch, ev.Snoozed(delay=1.0, **times))
        case "cancelled":
            queue.tell(batch, ev.Cancelled(**times))
        case "handed over":
            queue.tell(batch, ev.HandedOver(**times))
        case "handed back":
            queue.step(ev.HandedBack(session="s", lease=batch.lease, seqs=(1,)))
        case _:
            seqs = frozenset({1}) if end == "fenced" else None
            queue.step(ev.NodeLost(node="n@h", incarnation="1", started=seqs, fenced=True))
    assert inserted(queue) == []


def test_only_handlers_with_hooks_are_followed_and_hooks_are_not(queue: Driver) -> None:
    queue.open(handlers=ALL | {"f:on_success:on_success": b""})
    queue.submit(1, "g")
    queue.succeed(queue.take())
    assert inserted(queue) == []
    queue.submit(1, "f")
    queue.succeed(queue.take())
    (hook,) = inserted(queue)
    queue.succeed(queue.take())
    assert queue.row(hook.id).state == "succeeded"
    assert inserted(queue) == []


def test_of_a_batch_each_task_has_its_own_hook(queue: Driver) -> None:
    queue.open()
    queue.learn(16)
    queue.learn(16, name="g")
    queue.open("t", handlers=ALL)
    ids = [queue.submit(1, name)[0] for name in ("f", "g", "f")]
    batch = queue.take("t")
    assert len(batch.rows) == 3
    queue.succeed(batch)
    hooks = inserted(queue)
    assert [hook.parent for hook in hooks] == [ids[0], ids[2]]
    assert len({hook.id for hook in hooks}) == 2


def test_a_result_that_comes_twice_is_followed_once(queue: Driver) -> None:
    queue.submit(1)
    queue.open(handlers=ALL)
    batch = queue.take()
    queue.succeed(batch)
    queue.succeed(batch)
    assert inserted(queue) == []
    assert [row.name for row in queue.store.rows.values()] == ["f", "f:on_success"]


def test_a_hook_s_id_follows_from_the_run_and_no_other_run_has_it(queue: Driver) -> None:
    (id,) = queue.submit(1, options=Options(retries=0).pack())
    queue.open(handlers=ALL)
    batch = queue.take()
    queue.core.needs(ev.Now(queue.wall, queue.mono), [])
    queue.tell(batch, queue.failure(1))
    (first,) = inserted(queue)
    queue.retry(id)
    (batch,) = [each for each in queue.ask(5) if each.rows[0].name == "f"]
    queue.tell(batch, queue.failure(1))
    (second,) = inserted(queue)
    assert (first.name, first.parent) == (second.name, second.parent)
    assert first.id != second.id
    assert first.id[:6] == id[:6]


def test_a_hook_is_made_even_where_its_queue_is_full(queue: Driver) -> None:
    queue.submit(1)
    queue.open(handlers=ALL)
    batch = queue.take()
    queue.step(ev.LimitQueue(client="c", request=1, queue="default", max_size=0))
    queue.succeed(batch)
    assert len(inserted(queue)) == 1


def test_hooks_are_known_after_a_restart(queue: Driver) -> None:
    queue.submit(1)
    queue.open(handlers=ALL)
    batch = queue.take()
    queue.crash()
    queue.succeed(batch)
    assert [hook.name for hook in inserted(queue)] == ["f:on_success"]


def test_an_edition_without_a_hook_ends_it_and_one_with_it_brings_it_back(queue: Driver) -> None:
    queue.open(handlers=ALL)
    queue.open("t", handlers={"f": b"", "f:on_failure": b""})
    gone = {"declared:f:on_success": None, "declared:f:on_retry": None}
    assert queue.one(ef.Persist).changes.settings == gone
    queue.submit(1)
    queue.succeed(queue.take("t"))
    assert inserted(queue) == []
    queue.crash()
    queue.open(handlers=ALL)
    queue.open("u", handlers={"g": b""})  # another app: it says nothing of f
    queue.submit(1)
    queue.succeed(queue.take("s"))
    assert [hook.name for hook in inserted(queue)] == ["f:on_success"]


@pytest.mark.parametrize(
    ("name", "hook"),
    [
        ("f:on_success", ("f", "on_success")),
        ("a:b:on_retry", ("a:b", "on_retry")),
        ("f:on_sunday", None),
        (":on_success", None),
        ("on_failure", None),
        ("f:on_success:on_failure", None),
    ],
)
def test_the_name_of_a_hook_says_whom_it_follows(name: str, hook: tuple[str, str] | None) -> None:
    assert hook_of(name) == hook
