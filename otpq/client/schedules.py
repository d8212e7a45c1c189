"""`client.schedules`: what makes tasks when it is their time. Both clients put the same questions."""

from __future__ import annotations

import warnings
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import msgspec

from otpq.client.calls import as_call, new_task
from otpq.client.errors import UnknownHandlerWarning
from otpq.client.questions import Question, who
from otpq.wire import verbs
from otpq.wire.values import unpack

if TYPE_CHECKING:
    import builtins
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from typing import Unpack

    from otpq.client.calls import Call
    from otpq.client.handle import AsyncTaskHandle, TaskHandle
    from otpq.core.schedule import Definition
    from otpq.typed import ScheduleOptions

__all__ = ["AsyncSchedules", "Schedule", "Schedules", "definition_of"]

T = TypeVar("T")


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule as it is now. Times are aware, in UTC."""

    name: str
    task: str
    """The handler's name."""
    args: tuple[Any, ...] | None
    """None, and so `kwargs`, where they are too long for a list."""
    kwargs: dict[str, Any] | None
    cron: str | None
    every: float | None
    timezone: str
    enabled: bool
    misfire: str
    misfire_grace: float
    max_catch_up: int
    overlap: str
    jitter: float
    source: str
    """Who says that there is such a schedule: `set` (at run time), `file`, or `app:` and the app's reference."""
    added_at: datetime
    """When it was added, or got another timing."""
    last_run: datetime | None
    """The latest slot that made a task."""
    next_run: datetime | None
    """The next slot; None: it is disabled, or all are paused."""
    last_task: str | None
    """The id of the task that the latest slot made."""
    runs: int
    """Slots that made a task."""
    waiting: int
    """Slots that wait until that task has ended."""
    paused: bool
    """Whether all are."""


def definition_of(call: Call | str | Mapping[str, Any], options: Mapping[str, Any]) -> Definition:
    """What a schedule is, by the call that it makes and by its options; checked.

    Raises:
        UsageError: It cannot be one; the message says what would be right.
    """
    from otpq.core import schedule
    from otpq.core.cron import Timing
    from otpq.core.events import NewTask
    from otpq.errors import UnknownOption

    known = (
        *Timing.__struct_fields__,
        *(name for name in schedule.Definition.__struct_fields__ if name not in _PARTS),
    )
    for name in options:
        if name not in known:
            raise UnknownOption(name, known)
    said: dict[str, Any] = {
        name: value.total_seconds() if isinstance(value, timedelta) else value for name, value in options.items()
    }
    timing = Timing(**{name: said.pop(name) for name in Timing.__struct_fields__ if name in said})
    task = new_task(as_call(call), bytes(16), watch=False)
    made = schedule.Definition(
        timing=timing, task=NewTask(**{name: getattr(task, name) for name in NewTask.__struct_fields__}), **said
    )
    schedule.check("name", made)
    return made


_PARTS: Final = ("timing", "task")


# ---------------------------------------------------------------------- questions


def _add(
    name: str, call: Call | str | Mapping[str, Any], options: Mapping[str, Any], *, replace: bool, strict: bool
) -> Question[str]:
    from otpq.core.schedule import check

    definition = definition_of(call, options)
    check(name, definition)
    packed = msgspec.msgpack.encode(definition)
    body = verbs.AddSchedule(name=name, definition=packed, replace=replace, strict=strict)
    return Question("schedule_add", body, _warned)


def _warned(answer: str) -> str:
    if answer != "done":
        warnings.warn(answer, UnknownHandlerWarning, stacklevel=5)
    return answer


def _change(name: str, what: Any) -> Question[str]:
    return Question("schedule_change", verbs.ChangeSchedule(name, what), str)


def _pause(why: str, *, paused: bool) -> Question[str]:
    return Question("schedules_pause", verbs.PauseSchedules(paused, who() if paused else "", why), str)


def _list() -> Question[list[Schedule]]:
    return Question("schedules", None, _schedules_of)


def _schedules_of(facts: Iterable[Mapping[str, Any]]) -> list[Schedule]:
    return [_schedule_of(dict(of)) for of in facts]


def _schedule_of(of: dict[str, Any]) -> Schedule:
    payload = of["payload"]
    args, kwargs = (None, None) if payload is None else unpack(payload)
    times: dict[str, Any] = {
        name: None if of[name] is None else datetime.fromtimestamp(of[name], UTC) for name in _TIMES
    }
    plain = {name: of[name] for name in Schedule.__struct_fields__ if name in of and name not in times}
    return Schedule(
        name=of["schedule"],
        args=None if args is None else tuple(args),
        kwargs=kwargs,
        added_at=datetime.fromtimestamp(of["added"], UTC),
        **times,
        **plain,
    )


_TIMES: Final = ("last_run", "next_run")


# ---------------------------------------------------------------------- the two faces


class _Ask(Protocol):
    def __call__(self, question: Question[T], /) -> T: ...


class _AsyncAsk(Protocol):
    def __call__(self, question: Question[T], /) -> Awaitable[T]: ...


class Schedules:
    """The schedules of a cluster: each makes a task when it is its time."""

    def __init__(self, ask: _Ask, handle: Callable[[str], TaskHandle[Any]]) -> None:
        self._ask = ask
        self._handle = handle

    def add(
        self,
        name: str,
        call: Call | str | Mapping[str, Any],
        *,
        replace: bool = False,
        strict: bool = False,
        **options: Unpack[ScheduleOptions],
    ) -> None:
        """Add a schedule; when this returns, it is durable.

        Args:
            name: Its own; a declared schedule has its handler's.
            call: What each slot makes: `handler.s(...)`, a `Call`, a handler's name or a map. Its options apply.
            replace: Whether it takes the place of one that has the name. With the same timing it keeps its slots.
            strict: Refuse a handler that no node has ever told of. Else a warning says so.
            options: `cron` (five fields, six with seconds, or `@daily` and the like) or `every` (seconds: first one interval
                from now, then on that grid); `timezone` of the cron ('UTC'); `enabled` (True); `misfire` ('once', 'skip',
                'all') with `misfire_grace` (60 s) and `max_catch_up` (100); `overlap` ('allow', 'skip', 'queue'); `jitter` (0 s).

        Raises:
            UsageError: An option cannot be right: the message names it, the field of the expression, and what would be.
            QueryFailed: There is one of this name (`exists`), or nobody knows the handler (`unknown_handler`, with `strict`).
        """
        self._ask(_add(name, call, options, replace=replace, strict=strict))

    def remove(self, name: str) -> None:
        """Remove a schedule; its tasks stay.

        Raises:
            QueryFailed: There is none, or the app or the file declares it, and it would come back.
        """
        self._ask(_change(name, "remove"))

    def enable(self, name: str) -> None:
        """Have it go on, with the slots that come."""
        self._ask(_change(name, "enable"))

    def disable(self, name: str) -> None:
        """Have it make no tasks until it is enabled. That survives restarts, also where it is declared."""
        self._ask(_change(name, "disable"))

    def run(self, name: str) -> TaskHandle[Any]:
        """Have it make a task now, beside its slots, whatever else holds it back; the task's handle."""
        return self._handle(self._ask(_change(name, "run")))

    def list(self) -> builtins.list[Schedule]:
        """All schedules, by name."""
        return self._ask(_list())

    def pause_all(self, why: str = "") -> None:
        """Hold back all schedules until `resume_all`, over restarts. Slots that pass meanwhile are not made up for."""
        self._ask(_pause(why, paused=True))

    def resume_all(self) -> None:
        """Let all go on, with the slots that come."""
        self._ask(_pause("", paused=False))


class AsyncSchedules:
    """As `Schedules`, awaitable."""

    def __init__(self, ask: _AsyncAsk, handle: Callable[[str], AsyncTaskHandle[Any]]) -> None:
        self._ask = ask
        self._handle = handle

    async def add(
        self,
        name: str,
        call: Call | str | Mapping[str, Any],
        *,
        replace: bool = False,
        strict: bool = False,
        **options: Unpack[ScheduleOptions],
    ) -> None:
        """Add a schedule; as `Schedules.add`."""
        await self._ask(_add(name, call, options, replace=replace, strict=strict))

    async def remove(self, name: str) -> None:
        """Remove a schedule; as `Schedules.remove`."""
        await self._ask(_change(name, "remove"))

    async def enable(self, name: str) -> None:
        """Have it go on, with the slots that come."""
        await self._ask(_change(name, "enable"))

    async def disable(self, name: str) -> None:
        """Have it make no tasks until it is enabled."""
        await self._ask(_change(name, "disable"))

    async def run(self, name: str) -> AsyncTaskHandle[Any]:
        """Have it make a task now, beside its slots; the task's handle."""
        return self._handle(await self._ask(_change(name, "run")))

    async def list(self) -> builtins.list[Schedule]:
        """All schedules, by name."""
        return await self._ask(_list())

    async def pause_all(self, why: str = "") -> None:
        """Hold back all schedules; as `Schedules.pause_all`."""
        await self._ask(_pause(why, paused=True))

    async def resume_all(self) -> None:
        """Let all go on, with the slots that come."""
        await self._ask(_pause("", paused=False))
