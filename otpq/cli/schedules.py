"""The commands about schedules: `otpq schedule ...`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from otpq.cli import completion
from otpq.cli.asking import AsJson, Asking
from otpq.cli.options import Option, pairs, value
from otpq.cli.printing import columns, put, put_json, table, warnings_as_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from otpq.client.schedules import Schedule

__all__ = ["add", "disable", "enable", "list_", "next_", "pause", "remove", "resume", "run"]

_NEXT: Final = 5
"""Times that `next` shows."""

ScheduleName = Annotated[
    str, typer.Argument(metavar="NAME", help="The schedule's name.", autocompletion=completion.schedules)
]
Zone = Annotated[
    str, typer.Option("--timezone", metavar="ZONE", help="Whose clock the expression goes by, as Europe/Berlin.")
]


@dataclass(frozen=True, slots=True)
class When:
    """When a schedule is due, and its policies; what is not said is as `Client.schedules.add` has it."""

    cron: Annotated[
        str | None,
        typer.Option("--cron", metavar="EXPR", help="'0 8 * * mon-fri', with a sixth field of seconds, or @daily."),
    ] = None
    every: Annotated[
        float | None, typer.Option("--every", metavar="SECONDS", help="An interval, in place of an expression.")
    ] = None
    timezone: Zone = "UTC"
    misfire: Annotated[
        str | None, typer.Option("--misfire", metavar="POLICY", help="Of missed slots: once, skip or all. Else once.")
    ] = None
    misfire_grace: Annotated[
        float | None, typer.Option("--misfire-grace", metavar="SECONDS", help="How late is not missed. Else 60.")
    ] = None
    max_catch_up: Annotated[
        int | None, typer.Option("--max-catch-up", metavar="N", help="Of all: how many at most. Else 100.")
    ] = None
    overlap: Annotated[
        str | None,
        typer.Option("--overlap", metavar="POLICY", help="With the task before: allow, skip or queue. Else allow."),
    ] = None
    jitter: Annotated[
        float | None, typer.Option("--jitter", metavar="SECONDS", help="Put each slot off by up to that.")
    ] = None
    disabled: Annotated[bool, typer.Option("--disabled", help="It waits to be enabled.")] = False

    def options(self) -> dict[str, Any]:
        """What was said."""
        said = {name: getattr(self, name) for name in self.__slots__ if name != "disabled"}
        options = {name: one for name, one in said.items() if one is not None}
        return {**options, "enabled": False} if self.disabled else options


def add(
    schedule: Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name.")],
    task: Annotated[
        str, typer.Argument(metavar="TASK", help="The handler's name.", autocompletion=completion.handlers)
    ],
    args: Annotated[list[str] | None, typer.Argument(metavar="[ARG]...", help="JSON; what is none is text.")] = None,
    *,
    kw: Annotated[list[str] | None, typer.Option(metavar="K=V", help="A keyword argument; again for more.")] = None,
    when: When,
    option: Option = None,
    replace: Annotated[bool, typer.Option("--replace", help="In place of one that has the name.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse a handler that no node has told of.")] = False,
    to: Asking,
) -> None:
    """Add a schedule, which makes a task whenever it is due."""
    from otpq.client.calls import Call

    call = Call(task, [value(arg) for arg in args or ()], pairs(kw or ()), **pairs(option or ()))
    with to.client() as client, warnings_as_lines():
        client.schedules.add(schedule, call, replace=replace, strict=strict, **when.options())
    _done("added", schedule, as_json=to.as_json)


def remove(schedule: ScheduleName, *, to: Asking) -> None:
    """Remove a schedule; the tasks it has made stay."""
    with to.client() as client:
        client.schedules.remove(schedule)
    _done("removed", schedule, as_json=to.as_json)


def enable(schedule: ScheduleName, *, to: Asking) -> None:
    """Have a schedule go on, with the slots that come."""
    with to.client() as client:
        client.schedules.enable(schedule)
    _done("enabled", schedule, as_json=to.as_json)


def disable(schedule: ScheduleName, *, to: Asking) -> None:
    """Have a schedule make no tasks until it is enabled."""
    with to.client() as client:
        client.schedules.disable(schedule)
    _done("disabled", schedule, as_json=to.as_json)


def run(schedule: ScheduleName, *, to: Asking) -> None:
    """Have a schedule make a task now, beside its slots, and print the task's id."""
    with to.client() as client:
        id = client.schedules.run(schedule).id
    put_json({"id": id}) if to.as_json else put(id)


def list_(*, to: Asking) -> None:
    """List all schedules, with their last and their next run."""
    with to.client() as client:
        found = client.schedules.list()
    to.put(found, schedules_table)


def pause(
    *, why: Annotated[str, typer.Option("--why", metavar="TEXT", help="Whoever looks is told.")] = "", to: Asking
) -> None:
    """Hold back all schedules; slots that pass meanwhile are not made up for."""
    with to.client() as client:
        client.schedules.pause_all(why)
    put_json({"answer": "paused"}) if to.as_json else put("paused")


def resume(*, to: Asking) -> None:
    """Let all schedules go on."""
    with to.client() as client:
        client.schedules.resume_all()
    put_json({"answer": "resumed"}) if to.as_json else put("resumed")


def next_(
    expression: Annotated[str, typer.Argument(metavar="EXPR", help="A cron expression, or seconds from now.")],
    *,
    timezone: Zone = "UTC",
    as_json: AsJson = False,
) -> None:
    """Print the next five times of an expression, by the clock of its zone; asks no node."""
    from datetime import datetime
    from time import time

    from otpq.core.cron import Timing, check, next_times, zone

    number = value(expression)
    is_interval = isinstance(number, int | float)
    timing = Timing(every=float(number), timezone=timezone) if is_interval else Timing(expression, timezone=timezone)
    check(timing)
    now = time()
    times = [datetime.fromtimestamp(each, zone(timezone)) for each in next_times(timing, now, _NEXT, now)]
    put_json(times) if as_json else put("\n".join(each.isoformat(" ", _precision(each)) for each in times))


def _precision(time: datetime) -> str:
    return "milliseconds" if time.microsecond else "seconds"


def schedules_table(schedules: Sequence[Schedule]) -> str:
    """A line a schedule."""
    if not schedules:
        return "no schedules"
    return table(
        ("NAME", "TASK", "WHEN", "LAST", "NEXT", "RUNS", "STATE"),
        [
            (of.name, of.task, _when(of), _time(of.last_run), _time(of.next_run), of.runs, ", ".join(_state(of)))
            for of in schedules
        ],
        width=columns(),
        least=("RUNS", "LAST", "TASK", "STATE", "WHEN", "NAME"),
    )


def _when(of: Schedule) -> str:
    if of.every is not None:
        return f"every {of.every:g} s"
    return f"{of.cron}" if of.timezone == "UTC" else f"{of.cron} {of.timezone}"


def _time(time: datetime | None) -> str:
    return "" if time is None else time.astimezone().isoformat(" ", "seconds")


def _state(of: Schedule) -> Iterable[str]:
    if of.paused:
        yield "all paused"
    if not of.enabled:
        yield "disabled"
    if of.waiting:
        yield f"{of.waiting} waiting"


def _done(what: str, schedule: str, *, as_json: bool) -> None:
    put_json({"answer": what, "schedule": schedule}) if as_json else put(what)
