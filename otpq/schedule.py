"""The schedule of a handler, as its decorator says it and a child tells it. Imported only where there is one."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from otpq.context import Context, takes_context
from otpq.errors import BadOption, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["schedule_of", "with_schedule"]


def schedule_of(name: str, function: Callable[..., Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """What is to be told of a handler's schedule.

    Args:
        name: The handler's.
        function: Its own.
        said: Some of `SCHEDULE_OPTIONS`.

    Raises:
        UsageError: The handler needs arguments that `cron_args` does not give; or an option is wrong.
    """
    from otpq.core.schedule import DeclaredSchedule, check
    from otpq.wire.values import pack_arguments

    options: dict[str, Any] = {
        key: value.total_seconds() if isinstance(value, timedelta) else value for key, value in said.items()
    }
    if options.get("cron") is None and options.get("every") is None:
        raise BadOption(next(iter(options)), next(iter(options.values())), "only together with cron= or every=")
    args, kwargs = _arguments(options.pop("cron_args", ()))
    _check_call(name, function, args, kwargs)
    if "schedule_jitter" in options:
        options["jitter"] = options.pop("schedule_jitter")
    declared = DeclaredSchedule(payload=pack_arguments(args, kwargs), **options)
    check(name, declared.definition(name))
    told: dict[str, Any] = msgspec.to_builtins(declared, builtin_types=(bytes,))
    return told


def with_schedule(options: bytes, schedule: Mapping[str, Any]) -> bytes:
    """A declaration with the schedule in it; who reads options leaves it."""
    declared: dict[str, Any] = msgspec.msgpack.decode(options) if options else {}
    return msgspec.msgpack.encode({**declared, "schedule": schedule})


def _arguments(given: object) -> tuple[Sequence[Any], Mapping[str, Any]]:
    if isinstance(given, Mapping):
        return (), given
    if isinstance(given, list | tuple):
        return given, {}
    raise BadOption("cron_args", given, "a list of arguments, or a map of them by name")


def _check_call(name: str, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    signature = inspect.signature(function)
    try:
        signature.bind(*([Context()] if takes_context(function) else []), *args, **kwargs)
    except TypeError as error:
        raise UsageError(
            f"the schedule of {name!r} cannot call {name}{signature}: {error}; give them by cron_args=[...] or cron_args={{...}}"
        ) from None
