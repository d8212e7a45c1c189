"""`why`, counts, stories, histories; and what holds the core together."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, get_args

import pytest

from otpq.core import core as core_module
from otpq.core import events as ev
from otpq.core.core import QueueCore
from otpq.core.history import history_of
from otpq.core.records import Loaded, Recovered
from otpq.core.state import Config
from otpq.errors import InvalidTransition, InvariantBroken
from otpq.task import Options, TaskState

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.core.driver import Driver


def test_counts_have_all_eight_states_and_running_is_what_children_have_started(queue: Driver) -> None:
    queue.submit(2)
    queue.open()
    queue.ask(2)
    queue.step(ev.Running(session="s", seqs=frozenset({1})))
    counts = queue.core.counts()["default"]
    assert set(counts) == set(TaskState)
    assert (counts[TaskState.RUNNING], counts[TaskState.QUEUED]) == (1, 1)


def test_a_story_tells_what_happened_to_one_task(queue: Driver) -> None:
    queue.submit(2)
    queue.open()
    queue.succeed(queue.take())
    assert [note.what for note in queue.core.story(1)] == ["submitted", "leased", "results"]
    assert [note.what for note in queue.core.story(2)] == ["submitted"]


def test_an_invalid_transition_carries_the_story(queue: Driver) -> None:
    (id,) = queue.submit(1)
    queue.cancel(id)
    state = queue.core._state
    with pytest.raises(InvalidTransition, match="from cancelled to succeeded") as caught:
        state.move(queue.row(id), "cancelled", "succeeded")
    assert "submitted" in caught.value.story[0]


def test_a_store_with_fewer_tasks_than_it_counted_is_found_out(queue: Driver) -> None:
    queue.submit(3)
    recovered = queue.store.recover()
    core = QueueCore(recovered)
    now = ev.Now(1.0, 1.0)
    core.needs(now, [])
    with pytest.raises(InvariantBroken, match="should wait"):
        core.step(now, [], Loaded(lanes=[[]]))


def test_a_history_tells_all_runs(queue: Driver) -> None:
    (id,) = queue.submit(1, delay=1.0, options=Options(jitter=0.0).pack(), payload=b"\x92\x90\x80")
    queue.open()
    queue.step(seconds=1.0)
    queue.tell(queue.take(), queue.failure(1))
    queue.step(seconds=2.0)
    queue.succeed(queue.take())
    steps = [(entry.source, entry.target, entry.attempt) for entry in history_of(queue.row(id))]
    assert steps == [
        (None, "pending", 0),
        ("pending", "queued", 0),
        ("queued", "running", 1),
        ("running", "retrying", 1),
        ("retrying", "queued", 1),
        ("queued", "running", 2),
        ("running", "succeeded", 2),
    ]


def test_a_tape_played_again_gives_the_same(queue: Driver, queue_with: Callable[..., Driver]) -> None:
    recorder = queue_with(tape=1_000)
    recorder.submit(3)
    recorder.open()
    recorder.succeed(recorder.take())
    last = recorder.effects
    again = QueueCore(Recovered(), Config())
    effects = []
    for one in recorder.core.tape:
        assert again.needs(one.now, one.events) == one.needs
        effects = again.step(one.now, one.events, one.loaded)
    assert effects == last
    assert queue.core.tape == []


def test_every_event_has_a_rule() -> None:
    assert set(get_args(ev.Event)) == set(core_module._RULES)


def test_an_idle_core_wants_to_be_woken_for_what_is_next(queue: Driver) -> None:
    queue.step()
    queue.submit(1, delay=0.25)
    assert queue.core.wake(ev.Now(queue.wall, queue.mono)) == pytest.approx(0.25)


def test_the_next_result_is_due_by_the_mean_of_what_is_out(queue: Driver) -> None:
    queue.open()
    assert queue.core.next_result({}) == math.inf  # nothing is out
    queue.learn(64, 0.002)
    queue.learn(64, 5.0, "g")
    queue.submit(4)
    quick = queue.take()
    queue.submit(1, "g")
    slow = queue.take()
    assert queue.core.next_result({}) == pytest.approx(0.002)
    assert queue.core.next_result({quick.lease: len(quick.rows) - 1}) == pytest.approx(0.002)
    assert queue.core.next_result({quick.lease: len(quick.rows)}) == pytest.approx(5.0)
    assert queue.core.next_result({quick.lease: len(quick.rows), slow.lease: 1}) == math.inf


def test_nobody_knows_when_a_handler_without_history_is_done(queue: Driver) -> None:
    queue.open()
    queue.submit(1)
    queue.take()
    assert queue.core.next_result({}) == math.inf


def test_a_pause_says_who_wished_it_why_and_since_when(queue: Driver) -> None:
    (first,), (second,) = queue.submit(1, "f"), queue.submit(1, "g", queue="other")
    queue.step(ev.Pause(client="c", request=1, handler="f", by="ann@host", why="its server is down"))
    since = queue.wall
    queue.step(ev.Pause(client="c", request=1, queue="other", by="bob@host"), seconds=5.0)
    for _ in range(2):
        paused = queue.core.why(queue.row(first))
        assert paused is not None
        by = {"by": "ann@host", "why": "its server is down", "since": since}
        assert (paused.code, paused.facts) == ("paused", {"queue": None, "handler": "f", **by})
        (handler,) = [facts for facts in queue.core.handlers() if facts["handler"] == "f"]
        assert {key: handler[key] for key in ("paused", *by)} == {"paused": True, **by}
        other = queue.core.why(queue.row(second))
        assert other is not None
        assert (other.facts["queue"], other.facts["by"], other.facts["since"]) == ("other", "bob@host", since + 5.0)
        queue.crash()
    (facts,) = [each for each in queue.core.queues() if each["queue"] == "other"]
    assert facts == {
        "queue": "other",
        "paused": True,
        "by": "bob@host",
        "why": "",
        "since": since + 5.0,
        "max_size": None,
    }


def test_who_pauses_again_is_named_and_a_release_forgets_all(queue: Driver) -> None:
    queue.step(ev.LimitQueue(client="c", request=1, queue="q", max_size=7))
    queue.step(ev.Pause(client="c", request=1, queue="q", by="ann", why="one"))
    since = queue.wall
    queue.step(ev.Pause(client="c", request=1, queue="q", by="bob", why="two"), seconds=9.0)
    (facts,) = queue.core.queues()
    assert (facts["by"], facts["why"], facts["since"], facts["max_size"]) == ("bob", "two", since, 7)
    queue.step(ev.Pause(client="c", request=1, queue="q", paused=False, by="bob"))
    assert queue.core.queues() == [{"queue": "q", "paused": False, "max_size": 7}]
    queue.step(ev.LimitQueue(client="c", request=1, queue="q", max_size=None))
    assert queue.store.settings == {}


def test_statistics_of_a_handler_tell_runs_and_what_came_of_them(queue: Driver) -> None:
    queue.open()
    queue.submit(1, options=Options(retries=1, retry_delay=0.5).pack())
    queue.submit(1)
    queue.submit(1, "g")
    queue.tell(queue.take(), queue.failure(1))
    queue.succeed(queue.take(), took=0.25)
    queue.succeed(queue.take(), took=0.5)
    queue.step(seconds=1.0)
    queue.take()
    queue.step(ev.NodeLost(node="n@h", incarnation="1", started=frozenset({1})))
    facts = {each["handler"]: each for each in queue.core.handlers()}
    keys = ("runs", "succeeded", "retried", "failed")
    assert [facts["f"][key] for key in keys] == [2, 1, 1, 1]  # of the last run no child told
    assert [facts["g"][key] for key in keys] == [1, 1, 0, 0]
    assert (facts["f"]["max"], facts["g"]["max"]) == (pytest.approx(0.25), pytest.approx(0.5))
    assert 0 < facts["f"]["mean"] < 0.25


def test_a_batch_of_several_handlers_is_counted_by_handler(queue: Driver) -> None:
    queue.open()
    queue.learn(16)
    queue.learn(16, name="g")
    for name in ("f", "g", "f"):
        queue.submit(1, name)
    batch = queue.take()
    queue.tell(
        batch, queue.success(batch.rows[0].seq), queue.success(batch.rows[1].seq), queue.failure(batch.rows[2].seq)
    )
    facts = {each["handler"]: each for each in queue.core.handlers()}
    assert [(facts[name]["runs"], facts[name]["succeeded"]) for name in "fg"] == [(18, 17), (17, 17)]
