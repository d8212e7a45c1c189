"""A year in five zones, against cronsim, which follows Debian's cron as we do, and minute by minute around each change of a clock.

Where cronsim is not the oracle, by our written rule:

- Half-hour changes (Lord Howe). Cronsim walks by whole hours of real time, and then misses an hour's times at the change; there
  the minutes themselves are the oracle.
- Six fields. Cronsim takes the second first, and has no rule for fixed times then; ours is the same for five and for six.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import takewhile
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from otpq.core.cron import Timing, next_times, times

ZONES = (
    "America/New_York",
    "Europe/Berlin",
    "Africa/Cairo",  # its gap is at midnight
    "Australia/Lord_Howe",  # its clock changes by half an hour
    "Asia/Kolkata",  # its clock never changes
)
FIXED = (
    "30 2 * * *",
    "30 1 * * *",
    "0 0 * * *",
    "15 0 * * 0,3",
    "0,20,40 2 * * *",
    "5,35 1-3 * * *",
    "0 1,2 * * 7",
    "0 0 1 * *",
    "30 0 13 * 5",
    "0 12 * 2-11/3 mon-fri",
    "45 23 31 12 *",
    "59 1 L * *",
)
"""Neither minute nor hour begins with a star."""
WILD = (
    "* * * * *",
    "*/7 * * * *",
    "0 * * * *",
    "30 * * * *",
    "*/30 2 * * *",
    "0 */2 * * *",
    "*/20 1-2 * * *",
    "15 */3 */2 * 1",
)
BEGIN, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)


def ours(cron: str, zone: str, begin: datetime, end: datetime) -> list[float]:
    found = times(Timing(cron=cron, timezone=zone), begin.timestamp())
    return list(takewhile(lambda time: time < end.timestamp(), found))


def cronsims(cron: str, zone: str, begin: datetime, end: datetime) -> list[float]:
    found = (time.timestamp() for time in CronSim(cron, begin.astimezone(ZoneInfo(zone))))
    return list(takewhile(lambda time: time < end.timestamp(), found))


def by_the_minute(cron: str, zone: str, begin: datetime, end: datetime) -> list[float]:
    """All minutes, by real time, in which the clock shows what matches."""
    fields = CronSim(cron, begin)
    found, minute = [], begin + timedelta(minutes=1)
    while minute < end:
        shown = minute.astimezone(ZoneInfo(zone))
        is_day = shown.month in fields.months and fields.match_day(shown.date())
        if is_day and shown.hour in fields.hours and shown.minute in fields.minutes:
            found.append(minute.timestamp())
        minute += timedelta(minutes=1)
    return found


def changes(zone: str) -> list[datetime]:
    """The hours of the year in which a clock changes, and one in which none does."""
    hours = [BEGIN + timedelta(hours=n) for n in range(365 * 24)]
    offsets = [hour.astimezone(ZoneInfo(zone)).utcoffset() for hour in hours]
    return [BEGIN + timedelta(days=40), *(hours[n] for n in range(len(hours) - 1) if offsets[n] != offsets[n + 1])]


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("cron", FIXED)
def test_fixed_times_are_those_of_cronsim_the_whole_year(cron: str, zone: str) -> None:
    assert ours(cron, zone, BEGIN, END) == cronsims(cron, zone, BEGIN, END)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("cron", WILD)
def test_wildcards_run_in_each_minute_that_matches_around_each_change(cron: str, zone: str) -> None:
    for change in changes(zone):
        begin, end = change - timedelta(hours=9), change + timedelta(hours=9)
        assert ours(cron, zone, begin, end) == by_the_minute(cron, zone, begin, end)
        if zone != "Australia/Lord_Howe":
            assert ours(cron, zone, begin, end) == cronsims(cron, zone, begin, end)


@pytest.mark.parametrize("zone", ZONES)
def test_an_hourly_wildcard_runs_by_real_time_the_whole_year(zone: str) -> None:
    found = ours("17 * * * *", zone, BEGIN, END)
    assert found == by_the_hour(zone)


def by_the_hour(zone: str) -> list[float]:
    """Each minute 17 of the zone's clock: looked for among all minutes that can be one, for offsets of whole half hours."""
    halves = [BEGIN + timedelta(minutes=17 + 30 * n) for n in range(365 * 48)]
    return [half.timestamp() for half in halves if half.astimezone(ZoneInfo(zone)).minute == 17]


numbers = st.integers
minutes = st.one_of(st.just("*"), numbers(0, 59).map(str), numbers(2, 40).map("*/{}".format), st.just("0,30"))
hours = st.one_of(st.just("*"), numbers(0, 23).map(str), numbers(2, 9).map("*/{}".format), st.just("0-4"))
days = st.one_of(st.just("*"), st.just("*"), numbers(1, 28).map(str), st.just("*/3"))
months = st.one_of(st.just("*"), st.just("*"), st.just("3,4,10,11"))
weekdays = st.one_of(st.just("*"), st.just("*"), numbers(0, 7).map(str), st.just("mon-fri"))
expressions = st.tuples(minutes, hours, days, months, weekdays).map(" ".join)


@settings(max_examples=300, deadline=None)
@given(
    cron=expressions,
    zone=st.sampled_from([zone for zone in ZONES if zone != "Australia/Lord_Howe"]),
    minute=numbers(0, 525_599),
)
def test_any_expression_from_any_minute_of_the_year_is_that_of_cronsim(cron: str, zone: str, minute: int) -> None:
    begin = BEGIN + timedelta(minutes=minute)
    found = CronSim(cron, begin.astimezone(ZoneInfo(zone)))
    assert next_times(Timing(cron=cron, timezone=zone), begin.timestamp(), 12) == [
        next(found).timestamp() for _ in range(12)
    ]


@settings(max_examples=100, deadline=None)
@given(cron=expressions, zone=st.sampled_from(ZONES), minute=numbers(0, 525_599))
def test_times_grow_and_each_follows_from_the_one_before(cron: str, zone: str, minute: int) -> None:
    timing = Timing(cron=cron, timezone=zone)
    begin = (BEGIN + timedelta(minutes=minute)).timestamp()
    found = next_times(timing, begin, 12)
    assert found == sorted(set(found))
    assert begin < found[0]
    assert next_times(timing, found[5], 6) == found[6:]
    assert next_times(timing, found[5] - 0.5, 7) == found[5:]
