"""The schedule of a handler: what its decorator may say, and how it is told."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from otpq import App, Context
from otpq.core.schedule import Declared
from otpq.errors import BadOption, UnknownOption, UsageError
from otpq.task import Options
from otpq.wire.values import unpack


def tidy(keep: int = 3, *, loud: bool = False) -> None: ...


def greet(ctx: Context, name: str) -> None: ...


def told(**said: Any) -> Any:
    """What a child tells of a handler that is defined so."""
    handler = App().task(**said)(said.pop("function", tidy))
    declared = msgspec.msgpack.decode(handler.declaration, type=Declared)
    assert declared.schedule is not None
    return declared.schedule


def test_a_schedule_travels_beside_the_options() -> None:
    handler = App().task(cron="0 3 * * *", timezone="Europe/Berlin", retries=1, cron_args=[5])(tidy)
    declared = msgspec.msgpack.decode(handler.declaration, type=Declared)
    assert declared.schedule is not None
    assert (declared.schedule.cron, declared.schedule.timezone) == ("0 3 * * *", "Europe/Berlin")
    assert unpack(declared.schedule.payload) == [[5], {}]
    assert Options.unpack(handler.declaration) == Options(retries=1)
    assert handler.options(retries=2).schedule == handler.schedule


def test_a_handler_without_one_tells_what_it_told_before() -> None:
    assert App().task(tidy).declaration == b""


def test_what_is_not_said_is_left_out() -> None:
    packed = App().task(every=60)(tidy).declaration
    assert msgspec.msgpack.decode(packed) == {"schedule": {"every": 60, "payload": b"\x92\x90\x80"}}


def test_all_policies_may_be_said() -> None:
    schedule = told(
        every=timedelta(minutes=1),
        misfire="all",
        misfire_grace=timedelta(seconds=5),
        max_catch_up=7,
        overlap="queue",
        schedule_jitter=2,
        cron_args={"loud": True},
    )
    assert (schedule.every, schedule.misfire, schedule.misfire_grace) == (60.0, "all", 5.0)
    assert (schedule.max_catch_up, schedule.overlap, schedule.jitter) == (7, "queue", 2)
    assert unpack(schedule.payload) == [[], {"loud": True}]


def test_a_handler_that_needs_arguments_needs_cron_args() -> None:
    app = App()
    with pytest.raises(UsageError, match=r"the schedule of 'greet' cannot call greet.*'name'.*cron_args="):
        app.task(name="greet", every=5)(greet)
    with pytest.raises(UsageError, match="cron_args"):
        app.register_task("tidy", tidy, every=5, cron_args={"lout": True})
    assert dict(app.tasks) == {}
    app.task(name="greet", every=5, cron_args=["Ann"])(greet)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"cron": "61 * * * *"}, "the minute '61' cannot be"),
        ({"cron": "0 0 30 2 *"}, "it would never be due"),
        ({"cron": "@daily", "every": 5}, "this has both"),
        ({"every": 0}, "every=0 is not allowed: seconds, 0.01 or more"),
        ({"every": 5, "timezone": "Nowhere/Town"}, "timezone='Nowhere/Town' is not allowed"),
        ({"every": 5, "overlap": "wait"}, "allow, skip or queue"),
        ({"overlap": "skip"}, "overlap='skip' is not allowed: only together with cron= or every="),
        ({"every": 5, "cron_args": "x"}, "cron_args='x' is not allowed: a list of arguments"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused_where_it_is_written(said: dict[str, Any], words: str) -> None:
    with pytest.raises(BadOption) as refused:
        App().task(**said)(tidy)
    assert words in str(refused.value)


def test_a_slip_in_an_options_name_is_told() -> None:
    with pytest.raises(UnknownOption):
        App().task(corn="@daily")(tidy)  # type: ignore[call-overload]
