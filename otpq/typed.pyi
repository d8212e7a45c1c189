# Types for checkers and editors alone: nothing here exists when a program runs.

from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Concatenate, Literal, ParamSpec, Protocol, TypeAlias, TypedDict, TypeVar, overload

from otpq.app import AsyncHandler, Handler
from otpq.context import Context

_P = ParamSpec("_P")
_R = TypeVar("_R")
_C = TypeVar("_C", bound=Context)

Seconds: TypeAlias = float | timedelta
Errors: TypeAlias = str | type[BaseException] | Sequence[str | type[BaseException]]

# The options of one call; `otpq.task.Options` says what each means.
class CallOptions(TypedDict, total=False):
    queue: str
    partition: str
    priority: int | Literal["low", "normal", "high"]
    delay: Seconds
    eta: datetime | None
    expires: Seconds | datetime | None
    retries: int
    retry_delay: Seconds
    backoff: float
    max_delay: Seconds
    jitter: float
    retry_on: Errors | None
    no_retry_on: Errors
    timeout: Seconds | None
    soft_timeout: Seconds | None
    memory: float | str | None
    tags: Sequence[str]
    title: str | None
    unique: str | None
    idempotency_key: str | None
    at_most_once: bool

# The options of a handler: those of its calls, and what holds for all of them together.
class HandlerOptions(CallOptions, total=False):
    max_concurrency: int | None
    cron: str | None
    every: Seconds | None
    timezone: str
    cron_args: Sequence[Any] | Mapping[str, Any]
    misfire: Literal["skip", "once", "all"]
    misfire_grace: Seconds
    max_catch_up: int
    overlap: Literal["allow", "skip", "queue"]
    schedule_jitter: Seconds

# When a schedule is due, and its policies; `Client.schedules.add` says what each means.
class ScheduleOptions(TypedDict, total=False):
    cron: str | None
    every: Seconds | None
    timezone: str
    enabled: bool
    misfire: Literal["skip", "once", "all"]
    misfire_grace: Seconds
    max_catch_up: int
    overlap: Literal["allow", "skip", "queue"]
    jitter: Seconds

# What `@app.task(...)` is before it meets its function.
class TaskDecorator(Protocol):
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, function: Callable[Concatenate[_C, _P], Coroutine[Any, Any, _R]], /
    ) -> AsyncHandler[_P, _R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[_C, _P], _R], /) -> Handler[_P, _R]: ...
    @overload
    def __call__(self, function: Callable[_P, Coroutine[Any, Any, _R]], /) -> AsyncHandler[_P, _R]: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, function: Callable[_P, _R], /) -> Handler[_P, _R]: ...
