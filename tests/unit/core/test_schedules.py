"""Schedules: each slot makes one task, once; what is missed, what overlaps, and what operators do."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from otpq.core import effects as ef
from otpq.core import events as ev
from otpq.core.cron import Timing
from otpq.core.schedule import Definition, check
from otpq.core.slots import FIRINGS
from otpq.errors import BadOption
from otpq.task import Options

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.core.records import TaskRow
    from tests.unit.core.driver import Driver

START = 1_000.0


def definition(task: dict[str, Any] | None = None, **said: Any) -> Definition:
    """Every ten seconds, unless a test says otherwise."""
    timing = {name: said.pop(name) for name in ("cron", "every", "timezone") if name in said} or {"every": 10.0}
    new = ev.NewTask(id=bytes(16), name="f", payload=b"x") if task is None else ev.NewTask(id=bytes(16), **task)
    return Definition(timing=Timing(**timing), task=new, **said)


def add(queue: Driver, name: str = "s", *, request: int = 9, replace: bool = False, **said: Any) -> str:
    made = definition(**said)
    check(name, made)
    packed = msgspec.msgpack.encode(made)
    queue.step(ev.AddSchedule(client="c", request=request, name=name, definition=packed, replace=replace))
    return queue.answers()[0]


def change(queue: Driver, what: str, name: str = "s", request: int = 10) -> str:
    queue.step(ev.ChangeSchedule(client="c", request=request, name=name, what=what))
    return queue.answers()[0]


def slot(row: TaskRow) -> float:
    found: float = msgspec.msgpack.decode(row.options)["slot"]
    return found


def fired(queue: Driver) -> list[float]:
    """The slots of all tasks that are in the store, from the start of the test on."""
    return [slot(row) - START for row in queue.store.rows.values()]


def pass_time(queue: Driver, seconds: float, pace: float = 1.0) -> None:
    """Let time pass, with a step now and then, and until nothing is left to do."""
    until = queue.wall + seconds
    while queue.wall < until:
        queue.step(seconds=min(pace, until - queue.wall))
        settle(queue)


def settle(queue: Driver) -> None:
    while queue.core.wake(ev.Now(queue.wall, queue.mono)) == 0:
        queue.step()


def notes(queue: Driver, kind: str) -> list[dict[str, Any]]:
    return [dict(one.facts) for one in queue.all(ef.Scheduled) if one.kind == kind]


def facts(queue: Driver, name: str = "s") -> dict[str, Any]:
    (found,) = [of for of in queue.core.schedules() if of["schedule"] == name]
    return found


# ------------------------------------------------------------------ slots


def test_each_slot_makes_one_task_the_first_one_interval_after_it_was_added(queue: Driver) -> None:
    assert add(queue) == "done"
    pass_time(queue, 35.0)
    assert fired(queue) == [10.0, 20.0, 30.0]
    assert (facts(queue)["last_run"], facts(queue)["next_run"], facts(queue)["runs"]) == (1_030.0, 1_040.0, 3)


def test_a_task_is_made_in_the_commit_that_moves_its_schedule_on(queue: Driver) -> None:
    add(queue)
    queue.step(seconds=10.0)
    changes = queue.one(ef.Persist).changes
    ((name, row),) = changes.schedules.items()
    (task,) = changes.inserts
    assert row is not None
    assert (name, row.last, row.next, row.task) == ("s", 1_010.0, 1_020.0, task.id)
    assert notes(queue, "schedule_fired") == [{"schedule": "s", "slot": 1_010.0, "id": task.id.hex(), "name": "f"}]


def test_a_core_wakes_up_for_the_next_slot(queue: Driver) -> None:
    queue.step()
    idle = queue.core.wake(ev.Now(queue.wall, queue.mono))
    add(queue, every=0.25)
    assert idle == 1.0
    assert queue.core.wake(ev.Now(queue.wall, queue.mono)) == 0.25


def test_a_slot_is_fired_once_whatever_becomes_of_the_core(queue: Driver) -> None:
    add(queue, misfire="all")
    for _ in range(5):
        queue.crash()
        pass_time(queue, 7.0)
        queue.crash()
        queue.step()
    assert fired(queue) == [10.0, 20.0, 30.0]


def test_a_clock_that_is_set_back_fires_no_slot_again(queue: Driver) -> None:
    add(queue)
    pass_time(queue, 25.0)
    queue.wall -= 24.0
    pass_time(queue, 5.0)
    change(queue, "disable")
    assert change(queue, "enable") == "done"
    assert facts(queue)["next_run"] == 1_030.0
    pass_time(queue, 15.0)
    assert fired(queue) == [10.0, 20.0]
    change(queue, "disable")
    change(queue, "enable")
    queue.crash()
    pass_time(queue, 10.0)
    assert fired(queue) == [10.0, 20.0, 30.0]


def test_a_slot_whose_task_is_there_makes_no_other(queue: Driver) -> None:
    add(queue)
    before = msgspec.structs.replace(queue.store.schedules["s"])
    pass_time(queue, 10.0)
    queue.store.schedules["s"] = before  # as an old copy of the row would be
    queue.crash()
    pass_time(queue, 1.0)
    assert fired(queue) == [10.0]
    assert facts(queue)["next_run"] == 1_020.0


def test_a_schedule_that_is_removed_and_added_again_is_another_one(queue: Driver) -> None:
    add(queue)
    pass_time(queue, 10.0)
    change(queue, "remove")
    assert queue.store.schedules == {}
    queue.wall -= 10.0  # its slots are those of the one before, but it was added 10 s earlier, by the clock
    queue.wall += 0.5
    add(queue)
    pass_time(queue, 10.0)
    assert fired(queue) == [10.0, 10.5]


def test_the_options_of_the_call_and_of_its_handler_apply(queue: Driver) -> None:
    queue.open(handlers={"f": Options(queue="slow", priority=2, tags=("a",)).pack()})
    said = msgspec.msgpack.encode({"retries": 7})
    add(queue, task={"name": "f", "payload": b"x", "priority": 8, "options": said, "delay": 3.0})
    queue.step(seconds=10.0)
    (row,) = queue.store.rows.values()
    assert (row.queue, row.priority, row.tags, row.state, row.due) == ("slow", 8, ",a,", "pending", 1_013.0)
    assert Options.unpack(row.options).retries == 7
    assert slot(row) == 1_010.0


def test_a_cron_slot_is_of_its_zone(queue: Driver) -> None:
    begin = datetime(2026, 10, 24, 23, tzinfo=ZoneInfo("America/New_York"))
    queue.wall = begin.timestamp()
    add(queue, cron="30 1 * * *", timezone="America/New_York")
    pass_time(queue, 3 * 86_400.0, pace=1_800.0)
    zone = ZoneInfo("America/New_York")
    assert [datetime.fromtimestamp(slot(row), zone).day for row in queue.store.rows.values()] == [25, 26, 27]


def test_a_zone_that_is_gone_stops_its_schedule_and_nothing_else(queue: Driver) -> None:
    add(queue, "here")
    add(queue, "gone", cron="* * * * *")
    row = queue.store.schedules["gone"]
    nowhere = msgspec.structs.replace(
        definition(cron="* * * * *"), timing=Timing(cron="* * * * *", timezone="Moon/Sea")
    )
    row.definition = msgspec.msgpack.encode(nowhere)
    queue.crash()
    pass_time(queue, 60.0)
    assert facts(queue, "gone")["next_run"] is None
    assert facts(queue, "here")["runs"] == 6


def test_a_full_queue_is_not_filled_further(queue_with: Callable[..., Driver]) -> None:
    queue = queue_with(queues={"default": 1})
    add(queue)
    pass_time(queue, 10.0)
    queue.step(seconds=10.0)
    (missed,) = notes(queue, "schedule_missed")
    assert (missed["slot"], missed["why"]) == (1_020.0, "queue_full")
    assert fired(queue) == [10.0]


def test_jitter_puts_a_slot_off_by_the_same_each_time(queue: Driver) -> None:
    for name in ("a", "b", "c"):
        add(queue, name, every=100.0, jitter=50.0)
    pass_time(queue, 250.0, pace=0.5)
    rows = list(queue.store.rows.values())
    put_off = {(row.created - slot(row)) for row in rows}
    assert {slot(row) - START for row in rows} == {100.0, 200.0}
    assert len(rows) == len(put_off) == 6
    assert all(0.0 <= seconds <= 50.5 for seconds in put_off)
    queue.crash()
    pass_time(queue, 10.0)
    assert len(queue.store.rows) == 6


# ------------------------------------------------------------------ what was missed


def test_once_makes_up_for_all_that_was_missed_with_one_run(queue: Driver) -> None:
    add(queue)
    queue.step(seconds=1_005.0)
    assert fired(queue) == [1_000.0]
    (missed,) = notes(queue, "schedule_missed")
    assert (missed["slot"], missed["why"], missed["by"]) == (1_010.0, "superseded", 2_000.0)
    pass_time(queue, 5.0)
    assert fired(queue) == [1_000.0, 1_010.0]


def test_skip_makes_up_for_nothing_that_is_later_than_the_grace(queue: Driver) -> None:
    add(queue, "late", every=100.0, misfire="skip", misfire_grace=4.0)
    add(queue, "soon", every=100.0, misfire="skip", misfire_grace=6.0)
    queue.step(seconds=105.0)
    assert fired(queue) == [100.0]
    (missed,) = notes(queue, "schedule_missed")
    assert (missed["schedule"], missed["slot"], missed["why"]) == ("late", 1_100.0, "late")
    pass_time(queue, 100.0)
    assert sorted(fired(queue)) == [100.0, 200.0, 200.0]


def test_all_makes_up_for_each_and_for_no_more_than_its_bound(queue: Driver) -> None:
    add(queue, misfire="all", max_catch_up=3)
    queue.step(seconds=75.0)
    settle(queue)
    assert fired(queue) == [50.0, 60.0, 70.0]


def test_no_burst_follows_a_stall(queue: Driver) -> None:
    add(queue, every=0.5)
    queue.step(seconds=60.0)
    settle(queue)
    assert fired(queue) == [60.0]


def test_a_stalled_expression_costs_no_walk_over_all_it_has_missed(queue: Driver) -> None:
    queue.wall = 0.0
    add(queue, cron="* * * * *", misfire="all", max_catch_up=2)
    queue.step(seconds=50 * 366 * 86_400.0)
    assert len(queue.store.rows) == 2


def test_many_that_are_due_together_are_fired_in_several_steps(queue: Driver) -> None:
    for number in range(3 * FIRINGS):
        add(queue, f"s{number}")
    queue.step(seconds=10.0)
    assert len(queue.store.rows) == FIRINGS
    assert queue.core.wake(ev.Now(queue.wall, queue.mono)) == 0
    settle(queue)
    assert fired(queue) == [10.0] * (3 * FIRINGS)


def test_a_catching_up_schedule_shares_the_steps_with_others(queue: Driver) -> None:
    add(queue, "many", every=0.1, misfire="all", max_catch_up=1_000)
    queue.step(seconds=50.0)
    assert len(queue.store.rows) == FIRINGS
    settle(queue)
    assert len(queue.store.rows) == 500
    assert sorted(fired(queue)) == fired(queue)


# ------------------------------------------------------------------ overlaps


def test_by_default_slots_do_not_wait_for_each_other(queue: Driver) -> None:
    add(queue)
    pass_time(queue, 20.0)
    assert fired(queue) == [10.0, 20.0]


def test_skip_leaves_out_a_slot_while_the_task_before_has_not_ended(queue: Driver) -> None:
    queue.open()
    add(queue, overlap="skip")
    queue.step(seconds=10.0)
    batch = queue.take()
    queue.step(seconds=10.0)
    assert [(one["slot"], one["why"]) for one in notes(queue, "schedule_missed")] == [(1_020.0, "overlap")]
    queue.succeed(batch)
    pass_time(queue, 10.0)
    assert fired(queue) == [10.0, 30.0]


@pytest.mark.parametrize("crash", [False, True])
def test_queue_has_a_slot_wait_for_the_end_of_the_task_before(queue: Driver, *, crash: bool) -> None:
    queue.open()
    add(queue, overlap="queue")
    pass_time(queue, 20.0)
    assert (fired(queue), facts(queue)["waiting"]) == ([10.0], 1)
    if crash:
        queue.crash()
        queue.open()
        queue.asked = queue.received = 0
    batch = queue.take()
    pass_time(queue, 5.0)
    assert fired(queue) == [10.0]
    queue.succeed(batch)
    (task,) = queue.one(ef.Persist).changes.inserts
    assert slot(task) == 1_020.0
    assert facts(queue)["waiting"] == 0


def test_a_slot_waits_no_longer_when_the_task_before_is_cancelled_or_thrown_away(queue: Driver) -> None:
    add(queue, overlap="queue")
    pass_time(queue, 30.0)
    first = next(iter(queue.store.rows.values())).id
    queue.step(ev.Delete(client="c", request=1, ids=(first,), waiting=True))
    assert fired(queue) == [20.0]
    queue.cancel(next(iter(queue.store.rows.values())).id)
    assert fired(queue) == [20.0, 30.0]


def test_no_more_than_the_bound_wait(queue: Driver) -> None:
    add(queue, overlap="queue", max_catch_up=2)
    pass_time(queue, 50.0)
    assert facts(queue)["waiting"] == 2
    queue.cancel(next(iter(queue.store.rows.values())).id)
    assert fired(queue) == [10.0, 40.0]


def test_what_waits_while_all_are_paused_goes_on_afterwards(queue: Driver) -> None:
    queue.open()
    add(queue, overlap="queue")
    pass_time(queue, 20.0)
    batch = queue.take()
    queue.step(ev.PauseSchedules(client="c", request=1))
    queue.succeed(batch)
    pass_time(queue, 3.0)
    assert fired(queue) == [10.0]
    queue.step(ev.PauseSchedules(client="c", request=2, paused=False))
    settle(queue)
    assert fired(queue) == [10.0, 20.0]


# ------------------------------------------------------------------ operators


def test_a_name_that_is_taken_is_refused_unless_it_is_to_be_replaced(queue: Driver) -> None:
    assert add(queue) == "done"
    assert add(queue) == "done"  # the same request, sent again
    assert add(queue, request=11, every=5.0) == "exists"
    assert facts(queue)["every"] == 10.0
    assert add(queue, request=11, every=5.0, replace=True) == "done"
    pass_time(queue, 12.0)
    assert fired(queue) == [5.0, 10.0]


def test_a_handler_that_nobody_knows_is_warned_of(queue: Driver) -> None:
    queue.open(handlers={"resize": b""})
    assert (
        add(queue, task={"name": "rezise", "payload": b"x"}) == "no handler 'rezise' is known; did you mean 'resize'?"
    )


def test_a_disabled_schedule_fires_nothing_and_goes_on_with_the_slots_that_come(queue: Driver) -> None:
    add(queue)
    assert change(queue, "disable") == "done"
    pass_time(queue, 25.0)
    assert (facts(queue)["enabled"], facts(queue)["next_run"]) == (False, None)
    queue.crash()
    assert change(queue, "enable") == "done"
    pass_time(queue, 10.0)
    assert fired(queue) == [30.0]


def test_one_that_was_added_disabled_waits_to_be_enabled(queue: Driver) -> None:
    add(queue, enabled=False)
    pass_time(queue, 15.0)
    change(queue, "enable")
    pass_time(queue, 10.0)
    assert fired(queue) == [20.0]


def test_run_now_makes_a_task_beside_the_slots_and_once_a_request(queue: Driver) -> None:
    add(queue)
    queue.step(seconds=3.0)
    id = change(queue, "run")
    assert change(queue, "run") == id
    assert change(queue, "run", request=11) != id
    assert next(row.id.hex() for row in queue.store.rows.values()) == id
    pass_time(queue, 7.0)
    assert fired(queue) == [3.0, 3.0, 10.0]
    assert facts(queue)["runs"] == 1


def test_what_is_not_there_is_not_found(queue: Driver) -> None:
    assert [change(queue, what) for what in ("remove", "enable", "disable", "run")] == ["not_found"] * 4


def test_a_schedule_that_is_removed_fires_nothing_more(queue: Driver) -> None:
    add(queue)
    change(queue, "remove")
    queue.crash()
    pass_time(queue, 20.0)
    assert fired(queue) == []
    assert queue.core.schedules() == []


def test_what_is_changed_in_the_step_of_its_slot_does_not_fire_by_what_it_was(queue: Driver) -> None:
    for name in ("removed", "disabled", "replaced"):
        add(queue, name)
    queue.wall += 10.0
    packed = msgspec.msgpack.encode(definition(every=4.0))
    queue.step(
        ev.ChangeSchedule(client="c", request=1, name="removed", what="remove"),
        ev.ChangeSchedule(client="c", request=2, name="disabled", what="disable"),
        ev.AddSchedule(client="c", request=3, name="replaced", definition=packed, replace=True),
    )
    assert fired(queue) == []
    pass_time(queue, 4.0)
    assert fired(queue) == [14.0]


def test_a_pause_of_all_holds_back_what_passes_and_survives_a_crash(queue: Driver) -> None:
    add(queue, misfire="all")
    queue.step(ev.PauseSchedules(client="c", request=1, by="me@here", why="maintenance"))
    queue.crash()
    pass_time(queue, 25.0)
    assert fired(queue) == []
    assert (facts(queue)["paused"], facts(queue)["by"], facts(queue)["next_run"]) == (True, "me@here", None)
    queue.step(ev.PauseSchedules(client="c", request=2, paused=False))
    queue.crash()
    pass_time(queue, 6.0)
    assert fired(queue) == [30.0]
    assert facts(queue)["paused"] is False


def test_a_scheduler_that_is_not_enabled_makes_nothing(queue_with: Callable[..., Driver]) -> None:
    queue = queue_with(scheduler=False)
    add(queue)
    pass_time(queue, 30.0)
    assert fired(queue) == []
    assert facts(queue)["why"] == "scheduler: {enabled: false}"


# ------------------------------------------------------------------ declared, and in the file


def told(every: float | None = 10.0, **said: Any) -> bytes:
    schedule = {"payload": b"x", "every": every, **said}
    return msgspec.msgpack.encode({"retries": 1, "schedule": schedule})


def test_a_declared_schedule_has_its_handlers_name_and_is_kept(queue: Driver) -> None:
    queue.open(handlers={"f": told(), "g": b""}, app="app:app")
    queue.crash()
    pass_time(queue, 10.0)
    assert fired(queue) == [10.0]
    assert (facts(queue, "f")["source"], facts(queue, "f")["task"]) == ("app:app:app", "f")
    assert Options.unpack(told()).retries == 1


def test_a_declaration_that_is_told_again_changes_nothing(queue: Driver) -> None:
    queue.open(handlers={"f": told()}, app="app:app")
    change(queue, "disable", "f")
    queue.crash()
    queue.open(handlers={"f": told()}, app="app:app")
    assert facts(queue, "f")["enabled"] is False
    queue.open(handlers={"f": told(misfire="all")}, app="app:app")
    assert (facts(queue, "f")["enabled"], facts(queue, "f")["misfire"]) == (False, "all")


def test_a_declaration_with_another_timing_begins_anew(queue: Driver) -> None:
    queue.open(handlers={"f": told()}, app="app:app")
    queue.step(seconds=5.0)
    queue.open(handlers={"f": told(every=7.0)}, app="app:app")
    pass_time(queue, 15.0)
    assert fired(queue) == [12.0, 19.0]


def test_what_an_app_declares_no_more_is_removed(queue: Driver) -> None:
    queue.open(handlers={"f": told(), "g": told(), "h": told()}, app="app:app")
    queue.open("t", handlers={"x": b""}, app="other:app")
    assert sorted(queue.store.schedules) == ["f", "g", "h"]
    queue.open(handlers={"f": told(), "g": b""}, app="app:app")
    assert sorted(queue.store.schedules) == ["f"]


def test_a_zone_that_this_machine_does_not_have_is_refused_and_noted(queue: Driver) -> None:
    queue.open(handlers={"f": told(timezone="Moon/Sea"), "g": told()}, app="app:app")
    assert list(queue.store.schedules) == ["g"]
    assert "Moon/Sea" in notes(queue, "schedule_refused")[0]["why"]


def test_a_file_adds_changes_and_removes_its_own(queue_with: Callable[..., Driver]) -> None:
    def packed(**said: Any) -> bytes:
        return msgspec.msgpack.encode(definition(**said))

    queue = queue_with(schedules={"a": packed(), "b": packed()})
    queue.step()
    add(queue, "mine")
    change(queue, "disable", "a")
    queue.config = msgspec.structs.replace(queue.config, schedules={"a": packed(every=5.0), "c": packed()})
    queue.crash()
    queue.step()
    assert sorted(queue.store.schedules) == ["a", "c", "mine"]
    assert (facts(queue, "a")["enabled"], facts(queue, "a")["every"]) == (False, 5.0)
    assert facts(queue, "c")["source"] == "file"


def test_what_would_come_back_is_not_removed(queue_with: Callable[..., Driver]) -> None:
    queue = queue_with(schedules={"filed": msgspec.msgpack.encode(definition())})
    queue.open(handlers={"f": told()}, app="app:app")
    assert [change(queue, "remove", name) for name in ("filed", "f")] == ["filed", "declared"]
    queue.open(handlers={"g": b""}, app="another:app")  # the same pool with another app: nobody has the handler now
    assert change(queue, "remove", "f") == "done"


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"misfire": "never"}, "misfire='never' is not allowed: skip, once or all"),
        ({"misfire_grace": -1.0}, "misfire_grace=-1.0 is not allowed: seconds, 0 or more"),
        ({"max_catch_up": 0}, "max_catch_up=0 is not allowed: 1 to 1,000 slots"),
        ({"overlap": "wait"}, "overlap='wait' is not allowed: allow, skip or queue"),
        ({"jitter": float("nan")}, "jitter=nan is not allowed: seconds, 0 or more"),
        ({"every": 0}, "every=0 is not allowed: seconds, 0.01 or more"),
        ({"task": {"name": "f", "payload": b"x", "eta": 5.0}}, "eta=5.0 is not allowed: a schedule says when"),
        ({"task": {"name": "f", "payload": b"x", "key": "k"}}, "idempotency_key='k' is not allowed"),
        (
            {"task": {"name": "f", "payload": b"x", "expires_at": 5.0}},
            "expires=5.0 is not allowed: seconds after the slot",
        ),
    ],
)
def test_what_cannot_be_is_refused(said: dict[str, Any], words: str) -> None:
    with pytest.raises(BadOption, match="is not allowed") as refused:
        check("s", definition(**said))
    assert str(refused.value).startswith(words)


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ({"priority": 77}, "priority=77"),
        ({"queue": ""}, "queue=''"),
        ({"queue": "x" * 300}, "queue="),
        ({"partition": "\x1b"}, "partition="),
        ({"name": "\n"}, "task="),
    ],
)
def test_a_schedule_of_a_task_that_cannot_be_is_refused_and_one_that_was_kept_is_missed(
    queue: Driver, task: dict[str, Any], words: str
) -> None:
    made = definition(task={"name": "f", "payload": b"x", **task})
    with pytest.raises(BadOption) as refused:
        check("s", made)
    assert str(refused.value).startswith(words)
    packed = msgspec.msgpack.encode(made)
    queue.step(ev.AddSchedule(client="c", request=9, name="s", definition=packed, replace=False))
    queue.step(seconds=11.0)
    assert notes(queue, "schedule_missed")[0]["why"].startswith("bad_")
    assert queue.store.rows == {}
