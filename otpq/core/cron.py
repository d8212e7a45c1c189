"""When a schedule is due: cron expressions and intervals as values, each time found from the one before it.

croniter is the calendar: it is asked in a local time without changes of the clock. What those changes mean is decided here,
as Debian's cron decides it:

- A *fixed* time, where neither the field of the minute nor that of the hour begins with `*`: one that the clock skips runs
  once, right after the gap; one that it passes twice runs the first time.
- Any other expression runs by real time: whenever the clock shows a time that matches, in the repeated hour twice as often.

An interval knows no calendar. croniter is imported when the first expression is looked at: nobody else pays for it (50 ms).
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from otpq.errors import BadOption, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator
    from zoneinfo import ZoneInfo

__all__ = ["LEAST_INTERVAL", "Timing", "check", "last_times", "next_time", "next_times"]

LEAST_INTERVAL: Final = 0.01
"""Seconds. A smaller interval is a mistake (milliseconds for seconds?), and would keep the queue server busy."""
_CENTURY: Final = 100 * 365 * 86_400.0
_FOLD: Final = timedelta(hours=3)
"""Clocks are set back by less than that."""
_KNOWN: Final = 4_096
"""Expressions that are kept in the form in which they are worked out."""


class Timing(msgspec.Struct, frozen=True, omit_defaults=True):
    """When: by a cron expression or an interval, one of the two."""

    cron: str | None = None
    """Five fields, six with seconds (the sixth), or `@daily` and its like."""
    every: float | None = None
    """Seconds."""
    timezone: str = "UTC"
    """Whose clock a cron expression goes by."""


class _Field(NamedTuple):
    name: str
    right: str


_FIELDS: Final = (
    _Field("minute", "0 to 59"),
    _Field("hour", "0 to 23"),
    _Field("day of the month", "1 to 31, or L for the last"),
    _Field("month", "1 to 12, or jan to dec"),
    _Field("day of the week", "0 to 7 (0 and 7 are Sunday), or sun to sat"),
    _Field("second", "0 to 59"),
)
_FORMS: Final = "each with *, ranges a-b, lists a,b and steps */n"
_NICKNAMES: Final = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
_SIX: Final = 6
_RANDOM: Final = re.compile(r"(?<![a-z])[hr](?![a-z])")


# ---------------------------------------------------------------------- refusals


def check(timing: Timing) -> None:
    """Return if this can be a schedule's timing.

    Raises:
        BadOption: It cannot, or would never be due; the message names the field, and what would be right.
    """
    if (timing.cron is None) == (timing.every is None):
        what = "neither" if timing.cron is None else "both"
        raise BadOption("cron", timing.cron, f"a schedule has cron= or every=, one of the two; this has {what}")
    if timing.every is not None:
        _check_interval(timing.every)
    if not isinstance(timing.timezone, str):
        raise BadOption("timezone", timing.timezone, "the name of a time zone, such as Europe/Berlin")
    zone(timing.timezone)
    if timing.cron is not None:
        _check_expression(timing.cron)


def _check_interval(every: object) -> None:
    is_number = isinstance(every, int | float) and not isinstance(every, bool)
    if not is_number or not LEAST_INTERVAL <= every <= _CENTURY:  # type: ignore[operator]
        raise BadOption("every", every, f"seconds, {LEAST_INTERVAL} or more")


@lru_cache(maxsize=1_024)
def zone(name: str) -> ZoneInfo:
    """The time zone of this name.

    Raises:
        BadOption: There is none; the message has the nearest name.
    """
    from zoneinfo import ZoneInfo, available_timezones

    try:
        return ZoneInfo(name)
    except (OSError, ValueError, TypeError, LookupError):  # not there; a path; no text
        near = did_you_mean(name, sorted(available_timezones())) if isinstance(name, str) else ""
    raise BadOption("timezone", name, f"the name of a time zone, such as Europe/Berlin{near}")


def _check_expression(text: object) -> None:
    if not isinstance(text, str):
        raise BadOption("cron", text, "a text such as '0 8 * * mon-fri'")
    if text.strip().startswith("@"):
        if text.strip().lower() not in _NICKNAMES:
            near = did_you_mean(text, _NICKNAMES)
            raise BadOption("cron", text, f"the words are {', '.join(_NICKNAMES)}{near}")
        return
    fields = text.split()
    if len(fields) not in {5, _SIX}:
        right = "minute, hour, day of the month, month, day of the week, and perhaps second"
        raise BadOption("cron", text, f"it has {len(fields)} fields; right are 5 or 6: {right}")
    for place, field in enumerate(fields):
        _check_field(text, place, field)
    try:
        _calendar(text).after(datetime(2024, 1, 1))  # noqa: DTZ001 - of no zone
    except LookupError:
        raise BadOption("cron", text, _never(fields)) from None


def _check_field(text: str, place: int, field: str) -> None:
    """One field in an expression that is otherwise all stars: what is wrong then, is wrong with it."""
    from croniter import CroniterError

    alone = ["*"] * max(5, place + 1)
    alone[place] = field
    is_odd = not field.isascii() or _RANDOM.search(field.lower()) or (place == 0 and field == "?")
    try:
        if is_odd:
            raise ValueError(field)  # noqa: TRY301 - the same words
        _croniter(" ".join(alone))
    except (CroniterError, ValueError, TypeError, LookupError):
        name, right = _FIELDS[place]
        words = f"the {name} {field!r} cannot be: it is {right}, {_FORMS}"
        raise BadOption("cron", text, words) from None


def _never(fields: list[str]) -> str:
    return f"it would never be due: no month {fields[3]!r} has a day {fields[2]!r} (day of the week {fields[4]!r})"


# ---------------------------------------------------------------------- next times


def next_time(timing: Timing, after: float, start: float = 0.0) -> float:
    """The first time after `after`, in seconds since the epoch.

    Args:
        timing: Checked.
        after: Seconds since the epoch.
        start: When the schedule began. An interval is due at `start` + k * `every`, k = 1, 2 ...

    Raises:
        LookupError: There is none within fifty years.
    """
    if timing.every is not None:
        return _tick(timing.every, after, start)
    assert timing.cron is not None  # noqa: S101 - it is checked
    return _next(timing.cron, timing.timezone, after)


@lru_cache(maxsize=_KNOWN)  # many schedules share few expressions, and are due together
def _next(cron: str, timezone: str, after: float) -> float:
    calendar = _calendar(cron)
    if timezone == "UTC":
        return calendar.after(_utc(after)).replace(tzinfo=UTC).timestamp()
    follow = _next_fixed if calendar.is_fixed else _next_by_real_time
    return follow(calendar, zone(timezone), after)


def times(timing: Timing, after: float, start: float = 0.0) -> Iterator[float]:
    """All times after `after`, in order."""
    while True:
        try:
            after = next_time(timing, after, start)
        except LookupError:
            return
        yield after


def next_times(timing: Timing, after: float, n: int, start: float = 0.0) -> list[float]:
    """The first `n` times after `after`; see `next_time`."""
    return list(islice(times(timing, after, start), n))


def last_times(timing: Timing, since: float, until: float, n: int, start: float = 0.0) -> list[float]:
    """The last `n` times from `since`, which is one, to `until`, in order.

    An expression is looked through from `until` backwards, in spans that grow: a year of minutes that were missed costs no more
    than the last few.
    """
    if n <= 0 or since > until:
        return []
    if timing.every is not None:
        newest = _tick(timing.every, until, start)
        first = round((newest - start) / timing.every)
        found = [start + (first - k) * timing.every for k in range(n, 0, -1)]
        return [time for time in found if since <= time <= until]
    span = 60.0
    while True:
        begin = until - span
        found = [since] if begin < since else []
        for time in times(timing, max(begin, since), start):
            if time > until:
                break
            found.append(time)
        if len(found) >= n or begin < since:
            return found[-n:]
        span *= 8


def _tick(every: float, after: float, start: float) -> float:
    """The first `start` + k * `every` after `after`, k at least 1; worked out from k, so that errors do not add up."""
    k = max(1, math.floor((after - start) / every) + 1)
    while start + k * every <= after:
        k += 1
    while k > 1 and start + (k - 1) * every > after:
        k -= 1
    return start + k * every


# ---------------------------------------------------------------------- the calendar


class _Calendar:
    """An expression in a local time that runs without change: naive times in, naive times out."""

    __slots__ = ("_cron", "is_fixed")

    def __init__(self, text: str) -> None:
        self._cron = _croniter(text)
        stars = [field for field in text.split()[:2] if field.startswith("*")]
        self.is_fixed = not stars and text.lower() != "@hourly"

    def after(self, local: datetime) -> datetime:
        """The first time after `local` that matches.

        Raises:
            LookupError: There is none.
        """
        from croniter import CroniterBadDateError

        self._cron.set_current(local.replace(tzinfo=UTC))
        try:
            found: datetime = self._cron.get_next(datetime)
        except CroniterBadDateError as never:
            raise LookupError(str(never)) from None
        return found.replace(tzinfo=None)


@lru_cache(maxsize=_KNOWN)
def _calendar(text: str) -> _Calendar:
    return _Calendar(text.strip())


def _croniter(text: str) -> Any:
    """As cron does it: where the day of the month or that of the week begins with `*`, both must match, else either."""
    from croniter import croniter

    return croniter(text, 0.0, implement_cron_bug=True)


def _utc(time: float) -> datetime:
    return datetime.fromtimestamp(time, UTC).replace(tzinfo=None)


def _next_fixed(calendar: _Calendar, where: ZoneInfo, after: float) -> float:
    naive = datetime.fromtimestamp(after, where).replace(tzinfo=None, fold=0)
    while True:
        naive = calendar.after(naive)
        time = _real(naive, where)
        if time > after:
            return time


def _next_by_real_time(calendar: _Calendar, where: ZoneInfo, after: float) -> float:
    now = datetime.fromtimestamp(after, where)
    # Where the clock is set back soon, times come again that it shows already.
    back = _offset(now) - _offset(datetime.fromtimestamp(after + _FOLD.total_seconds(), where))
    naive = now.replace(tzinfo=None, fold=0) - max(back, timedelta(0))
    best = math.inf
    while True:
        try:
            naive = calendar.after(naive)
        except LookupError:
            if best < math.inf:
                return best
            raise
        shown = [time for fold in (0, 1) if (time := _shown(naive, where, fold)) is not None]
        best = min([best, *(time for time in shown if time > after)])
        if shown and shown[0] >= best:  # what follows is shown later still
            return best


def _real(naive: datetime, where: ZoneInfo) -> float:
    """When the clock shows this for the first time; where it never does, the end of the gap."""
    time = _shown(naive, where, 0)
    return _end_of_gap(naive, where) if time is None else time


def _shown(naive: datetime, where: ZoneInfo, fold: int) -> float | None:
    """When the clock shows this, for the first or the second time; None: never."""
    time = naive.replace(tzinfo=where, fold=fold).timestamp()
    return time if datetime.fromtimestamp(time, where).replace(tzinfo=None, fold=0) == naive else None


def _end_of_gap(naive: datetime, where: ZoneInfo) -> float:
    """The moment in which the clock jumps over `naive`: in it, the offset is another than in the second before."""
    before = math.floor(naive.replace(tzinfo=where, fold=1).timestamp())
    behind = math.ceil(naive.replace(tzinfo=where, fold=0).timestamp())
    new = _offset(datetime.fromtimestamp(behind, where))
    while behind - before > 1:
        middle = (before + behind) // 2
        if _offset(datetime.fromtimestamp(middle, where)) == new:
            behind = middle
        else:
            before = middle
    return float(behind)


def _offset(aware: datetime) -> timedelta:
    offset = aware.utcoffset()
    return timedelta(0) if offset is None else offset
