"""When schedules are due: expressions, intervals, zones and the changes of their clocks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from otpq.core.cron import Timing, check, last_times, next_time, next_times
from otpq.errors import BadOption


def at(text: str, zone: str = "UTC") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def shown(cron: str, after: str, n: int = 3, zone: str = "UTC") -> list[str]:
    """The next times by the zone's clock, with its offset where it is not UTC."""
    times = next_times(Timing(cron=cron, timezone=zone), at(after, zone), n)
    texts = [datetime.fromtimestamp(time, ZoneInfo(zone)).isoformat(" ") for time in times]
    return [text.removesuffix("+00:00").removesuffix(":00") for text in texts] if zone == "UTC" else texts


def refusal(**timing: Any) -> str:
    with pytest.raises(BadOption) as refused:
        check(Timing(**timing))
    return str(refused.value)


# ------------------------------------------------------------------ the calendar


@pytest.mark.parametrize(
    ("cron", "after", "times"),
    [
        ("*/5 * * * *", "2026-03-01 10:02", ["2026-03-01 10:05", "2026-03-01 10:10", "2026-03-01 10:15"]),
        ("0 0 * * 7", "2026-11-28 00:00", ["2026-11-29 00:00", "2026-12-06 00:00", "2026-12-13 00:00"]),
        ("0 0 * * 0", "2026-11-28 00:00", ["2026-11-29 00:00", "2026-12-06 00:00", "2026-12-13 00:00"]),
        ("5/20 * * * *", "2026-01-01 00:00", ["2026-01-01 00:05", "2026-01-01 00:25", "2026-01-01 00:45"]),
        ("0 9-17/4 * * *", "2026-01-01 00:00", ["2026-01-01 09:00", "2026-01-01 13:00", "2026-01-01 17:00"]),
        ("0 0 29 2 *", "2026-01-01 00:00", ["2028-02-29 00:00", "2032-02-29 00:00", "2036-02-29 00:00"]),
        ("0 0 31 * *", "2026-01-31 00:00", ["2026-03-31 00:00", "2026-05-31 00:00", "2026-07-31 00:00"]),
        ("59 23 31 12 *", "2026-12-31 23:58", ["2026-12-31 23:59", "2027-12-31 23:59", "2028-12-31 23:59"]),
        ("* * * * *", "2026-12-31 23:59", ["2027-01-01 00:00", "2027-01-01 00:01", "2027-01-01 00:02"]),
        ("0 0 L * *", "2028-02-01 00:00", ["2028-02-29 00:00", "2028-03-31 00:00", "2028-04-30 00:00"]),
        ("0 8 * jan-mar mon,fri", "2026-03-26 00:00", ["2026-03-27 08:00", "2026-03-30 08:00", "2027-01-01 08:00"]),
        ("@daily", "2026-12-31 00:00", ["2027-01-01 00:00", "2027-01-02 00:00", "2027-01-03 00:00"]),
        ("@Yearly", "2026-12-31 00:00", ["2027-01-01 00:00", "2028-01-01 00:00", "2029-01-01 00:00"]),
        ("@hourly", "2026-12-31 22:30", ["2026-12-31 23:00", "2027-01-01 00:00", "2027-01-01 01:00"]),
    ],
)
def test_an_expression_is_due_when_cron_would_be(cron: str, after: str, times: list[str]) -> None:
    assert shown(cron, after) == times


def test_the_sixth_field_is_of_seconds() -> None:
    times = next_times(Timing(cron="0 12 * * * */25"), at("2026-01-01 12:00:30"), 3)
    assert times == [at("2026-01-01 12:00:50"), at("2026-01-02 12:00:00"), at("2026-01-02 12:00:25")]


def test_day_of_month_and_of_week_are_either_unless_one_begins_with_a_star() -> None:
    assert shown("0 0 13 * 5", "2026-02-10 00:00") == ["2026-02-13 00:00", "2026-02-20 00:00", "2026-02-27 00:00"]
    assert shown("0 0 */2 * 1", "2026-02-10 00:00") == ["2026-02-23 00:00", "2026-03-09 00:00", "2026-03-23 00:00"]


def test_a_zone_converts() -> None:
    (time,) = next_times(Timing(cron="0 9 * * *", timezone="Asia/Tokyo"), at("2026-06-01 00:30"), 1)
    assert datetime.fromtimestamp(time, UTC).isoformat() == "2026-06-02T00:00:00+00:00"


# ------------------------------------------------------------------ changes of the clock


def test_a_fixed_time_in_the_gap_runs_once_right_after_it() -> None:
    berlin = "Europe/Berlin"
    assert shown("30 2 * * *", "2026-03-28 12:00", 2, berlin) == [
        "2026-03-29 03:00:00+02:00",
        "2026-03-30 02:30:00+02:00",
    ]
    several = shown("0,20,40 2 * * *", "2026-03-28 12:00", 2, berlin)
    assert several == ["2026-03-29 03:00:00+02:00", "2026-03-30 02:00:00+02:00"]
    assert shown("0 2,3 * * *", "2026-03-28 12:00", 2, berlin)[0] == "2026-03-29 03:00:00+02:00"
    assert shown("0 2,3 * * *", "2026-03-28 12:00", 2, berlin)[1] == "2026-03-30 02:00:00+02:00"


def test_a_gap_at_midnight_and_one_of_half_an_hour() -> None:
    assert shown("15 0 * * *", "2026-04-23 12:00", 1, "Africa/Cairo") == ["2026-04-24 01:00:00+03:00"]
    assert shown("15 2 * * *", "2026-10-03 12:00", 1, "Australia/Lord_Howe") == ["2026-10-04 02:30:00+11:00"]


def test_a_fixed_time_in_the_repeated_hour_runs_once_the_first_time() -> None:
    assert shown("30 1 * * *", "2026-10-31 12:00", 2, "America/New_York") == [
        "2026-11-01 01:30:00-04:00",
        "2026-11-02 01:30:00-05:00",
    ]


def test_within_the_repeated_hour_what_has_run_the_first_time_is_over() -> None:
    second = datetime(2026, 11, 1, 1, 15, tzinfo=ZoneInfo("America/New_York"), fold=1).timestamp()
    first = datetime(2026, 11, 1, 1, 15, tzinfo=ZoneInfo("America/New_York")).timestamp()
    timing = Timing(cron="30 1 * * *", timezone="America/New_York")
    assert next_time(timing, first) == first + 900
    assert next_time(timing, second) == second + 86_400 + 900


def test_wildcards_run_by_real_time() -> None:
    berlin = "Europe/Berlin"
    repeated = shown("*/30 * * * *", "2026-10-25 01:45", 5, berlin)
    assert [text[11:] for text in repeated] == [
        "02:00:00+02:00",
        "02:30:00+02:00",
        "02:00:00+01:00",
        "02:30:00+01:00",
        "03:00:00+01:00",
    ]
    assert shown("*/30 2 * * *", "2026-03-28 12:00", 1, berlin) == ["2026-03-30 02:00:00+02:00"]
    rare = shown("0 * 25 10 *", "2026-10-25 01:30", 4, berlin)
    assert [text[11:] for text in rare] == ["02:00:00+02:00", "02:00:00+01:00", "03:00:00+01:00", "04:00:00+01:00"]


# ------------------------------------------------------------------ intervals


def test_an_interval_is_due_one_interval_after_its_start_and_on_its_grid() -> None:
    every = Timing(every=10.0)
    assert next_times(every, 100.0, 3, start=100.0) == [110.0, 120.0, 130.0]
    assert next_time(every, 50.0, start=100.0) == 110.0
    assert next_time(every, 119.9, start=100.0) == 120.0
    assert next_time(every, 120.0, start=100.0) == 130.0


def test_errors_of_an_interval_do_not_add_up() -> None:
    every, start = Timing(every=0.1), 1_700_000_000.3
    time = start
    for k in range(1, 10_000):
        time = next_time(every, time, start)
        assert time == start + k * 0.1


# ------------------------------------------------------------------ looking back


@pytest.mark.parametrize("cron", ["*/5 * * * *", "0 0 * * 1", "30 2 * * *", "0 0 29 2 *", "* * * * * */20"])
def test_the_last_times_are_the_end_of_all_times(cron: str) -> None:
    timing = Timing(cron=cron, timezone="Europe/Berlin")
    first, *rest = next_times(timing, at("2026-10-24 20:00"), 50)
    until = rest[-1] + 7.0
    assert last_times(timing, first, until, 10) == rest[-10:]
    assert last_times(timing, first, until, 1_000) == [first, *rest]
    assert last_times(timing, first, first, 3) == [first]
    assert last_times(timing, first, first - 1.0, 3) == []


def test_the_last_ticks_of_an_interval_are_found_without_walking() -> None:
    assert last_times(Timing(every=0.5), 100.5, 100.0 + 1e9, 3, start=100.0) == [1e9 + 99.0, 1e9 + 99.5, 1e9 + 100.0]
    assert last_times(Timing(every=0.5), 100.5, 101.2, 5, start=100.0) == [100.5, 101.0]


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("cron", "field", "right"),
    [
        ("60 * * * *", "minute '60'", "0 to 59"),
        ("* 24 * * *", "hour '24'", "0 to 23"),
        ("* * 0 * *", "day of the month '0'", "1 to 31"),
        ("* * * 13 *", "month '13'", "1 to 12"),
        ("* * * * 8", "day of the week '8'", "0 to 7"),
        ("* * * * * 60", "second '60'", "0 to 59"),
        ("* * * foo *", "month 'foo'", "jan to dec"),
        ("*/0 * * * *", "minute '*/0'", "0 to 59"),
        ("H * * * *", "minute 'H'", "0 to 59"),
        ("* R * * *", "hour 'R'", "0 to 23"),
        ("٣ * * * *", "minute '٣'", "0 to 59"),
    ],
)
def test_a_bad_field_is_named_with_what_would_be_right(cron: str, field: str, right: str) -> None:
    words = refusal(cron=cron)
    assert f"the {field} cannot be" in words
    assert right in words


def test_other_refusals_say_what_would_be_right() -> None:
    assert "4 fields; right are 5 or 6: minute, hour" in refusal(cron="* * * *")
    assert "7 fields" in refusal(cron="* * * * * * 2030")
    assert "never be due: no month '2' has a day '30'" in refusal(cron="0 0 30 2 *")
    assert "no month '4,6' has a day '31'" in refusal(cron="0 0 31 4,6 *")
    assert "did you mean '@daily'?" in refusal(cron="@dayly")
    assert "@yearly" in refusal(cron="@reboot")
    assert "did you mean 'Europe/Berlin'?" in refusal(cron="@daily", timezone="Europe/Berln")
    assert "Europe/Berlin" in refusal(cron="@daily", timezone="../../etc/passwd")
    assert "Europe/Berlin" in refusal(cron="@daily", timezone=["UTC"])
    assert "one of the two; this has neither" in refusal()
    assert "one of the two; this has both" in refusal(cron="@daily", every=1.0)
    for every in (0, -1.0, 0.001, float("nan"), float("inf"), True, "1"):
        assert "seconds, 0.01 or more" in refusal(every=every)


def test_what_is_right_is_not_refused() -> None:
    for cron in (
        "0 0 * * mon#2",
        "0 0 L * *",
        "0 0 15W * *",
        "0 0 ? * *",
        "59/15 * * * *",
        "0 0 * * L5",
        " 0  0 * * * ",
    ):
        check(Timing(cron=cron))
    check(Timing(every=0.5))
