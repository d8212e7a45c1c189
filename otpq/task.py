"""What a task is: its states and the table of its transitions, its options, its retry policy, and the value users see.

Values only: nothing here knows a queue, a store or a clock.
"""

from __future__ import annotations

import math
from collections.abc import Mapping  # noqa: TC003 - msgspec reads the annotations of Task
from datetime import datetime, timedelta
from enum import StrEnum
from functools import reduce
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

from otpq.errors import BadOption, UnknownOption

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = [
    "DEFAULT_HANDLER",
    "ENDED",
    "HOOKS",
    "PRIORITIES",
    "SCHEDULE_OPTIONS",
    "SCRIPT_HANDLER",
    "TRANSITIONS",
    "WEBHOOK_HANDLER",
    "HistoryEntry",
    "LogLine",
    "Options",
    "Reason",
    "RetryPolicy",
    "Task",
    "TaskError",
    "TaskState",
]


class TaskState(StrEnum):
    """Where a task is in its life."""

    PENDING = "pending"
    """Not due yet, or waiting for others."""
    QUEUED = "queued"
    RUNNING = "running"
    """In an open lease and started by a child."""
    RETRYING = "retrying"
    """Waiting for its next attempt."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """With a `Reason`."""
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class Reason(StrEnum):
    """Why a task is `failed`."""

    ERROR = "error"
    """The handler raised."""
    TIMEOUT = "timeout"
    CRASHED = "crashed"
    """The child died while it ran."""
    MEMORY = "memory"
    LOST = "lost"
    """At most once, and nobody can prove that it did not start."""


_S = TaskState

TRANSITIONS: Final[Mapping[TaskState, Mapping[TaskState, str]]] = MappingProxyType(
    {
        _S.PENDING: {
            _S.QUEUED: "due, parents done",
            _S.CANCELLED: "cancelled",
            _S.EXPIRED: "expired",
        },
        _S.QUEUED: {
            _S.RUNNING: "started",
            _S.CANCELLED: "cancelled",
            _S.EXPIRED: "expired",
        },
        _S.RUNNING: {
            _S.SUCCEEDED: "returned",
            _S.FAILED: "failed for good",
            _S.RETRYING: "failed, runs left",
            _S.CANCELLED: "cancelled",
            _S.PENDING: "snoozed",
            _S.QUEUED: "handed back, interrupted",
        },
        _S.RETRYING: {
            _S.QUEUED: "delay over",
            _S.CANCELLED: "cancelled",
            _S.EXPIRED: "expired",
        },
        _S.SUCCEEDED: {},
        _S.FAILED: {_S.QUEUED: "retried by an operator"},
        _S.CANCELLED: {_S.QUEUED: "retried by an operator", _S.PENDING: "retried, its workflow's others first"},
        _S.EXPIRED: {_S.QUEUED: "retried by an operator", _S.PENDING: "retried, its workflow's others first"},
    }
)
"""From a state to those that may follow it, and what causes the step."""

ENDED: Final = frozenset({_S.SUCCEEDED, _S.FAILED, _S.CANCELLED, _S.EXPIRED})
"""The states that only an operator's retry leaves, if anything does."""

DEFAULT_HANDLER: Final = "@default"
"""The name of an app's `@app.default` handler, which gets the maps that name no job, or one that no handler is known for."""

SCRIPT_HANDLER: Final = "@script"
"""The name under which children run scripts; its payload is [[path], {"args", "cwd", "env"}]."""

WEBHOOK_HANDLER: Final = "@webhook"
"""The name under which children tell webhooks of events; its payload is [[webhook, event, time, facts], {}]."""

HOOKS: Final = ("on_success", "on_retry", "on_failure")
"""What a handler NAME may hook on; the hook is a handler of the same app named 'NAME:on_success', and no other ends so."""

SCHEDULE_OPTIONS: Final = (
    "cron",
    "every",
    "timezone",
    "cron_args",
    "misfire",
    "misfire_grace",
    "max_catch_up",
    "overlap",
    "schedule_jitter",
)
"""What a decorator may say of a handler's schedule, beside the options of its tasks."""

PRIORITIES: Final[Mapping[str, int]] = MappingProxyType({"low": 2, "normal": 5, "high": 8})
"""Words for priorities; as numbers they are 0 to 9, 9 first."""


class RetryPolicy(msgspec.Struct, frozen=True):
    """Whether a task that failed runs again, and after how long. Pure: the jitter's number is given.

    With the defaults the waits are about 1, 2 and 4 s, each up to a tenth shorter or longer.
    """

    retries: int = 3
    retry_delay: float = 1.0
    backoff: float = 2.0
    max_delay: float = 3600.0
    jitter: float = 0.1
    retry_on: tuple[str, ...] | None = None
    no_retry_on: tuple[str, ...] = ()

    def wait(self, n: int, jitter: float) -> float:
        """Seconds to wait before retry `n`: min(max_delay, retry_delay * backoff ** (n - 1)) * (1 ± self.jitter).

        Args:
            n: 1 after the first run. Any size: the power never overflows.
            jitter: In [0, 1): 0 is the shortest wait, 0.5 the exact one.
        """
        try:
            exact = self.retry_delay * self.backoff ** (n - 1)
        except OverflowError:
            exact = self.max_delay if self.retry_delay else 0.0
        return min(self.max_delay, exact) * (1 + self.jitter * (2 * jitter - 1))

    def covers(self, error_types: Iterable[str]) -> bool:
        """Whether an error is worth a retry, by the names of its type and of that type's bases.

        A name in an option matches the full name (`requests.exceptions.Timeout`) or its last part (`Timeout`).
        """
        names = {part for name in error_types for part in (name, name.rpartition(".")[2])}
        if names.intersection(self.no_retry_on):
            return False
        return self.retry_on is None or bool(names.intersection(self.retry_on))


class Options(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All options of a task, with their defaults. Durations are seconds; `of` takes them as users write them."""

    queue: str = "default"
    partition: str = ""
    """Tasks of one handler take turns by partition, so that no tenant starves another."""
    priority: int = 5
    """0 to 9, 9 first; or 'low', 'normal', 'high'."""
    delay: float = 0.0
    """Seconds after submission."""
    eta: datetime | None = None
    """An aware time before which it does not run."""
    expires: float | datetime | None = None
    """Seconds after submission, or an aware time: if it has not started by then, it never does."""
    retries: int = 3
    """Runs after the first."""
    retry_delay: float = 1.0
    """Seconds before the second run; before each further one `backoff` times as long as the last. After a run that *crashed*
    (its child or node died) the wait is the one before: none after the first run, `retry_delay` after the second."""
    backoff: float = 2.0
    max_delay: float = 3600.0
    jitter: float = 0.1
    """Each wait is up to this share shorter or longer."""
    retry_on: tuple[str, ...] | None = None
    """Names of error types that are retried; None: all."""
    no_retry_on: tuple[str, ...] = ()
    timeout: float | None = 300.0
    soft_timeout: float | None = None
    """Seconds after which `SoftTimeout` is raised in the handler."""
    memory: float | None = None
    """MiB that the child may have in memory while it runs this (Linux); as a text with a unit: '512M'. Above it the child is
    ended, and the attempt fails with reason `memory`."""
    max_concurrency: int | None = None
    """Of a handler only: how many children of the whole cluster may run it."""
    tags: tuple[str, ...] = ()
    title: str | None = None
    unique: str | None = None
    idempotency_key: str | None = None
    at_most_once: bool = False

    @classmethod
    def of(cls, **given: Any) -> Options:
        """Options from keywords as users write them.

        Raises:
            UnknownOption: There is no such option; the message has the nearest.
            BadOption: A value cannot be right; the message says what would be.
        """
        return cls(**normalized(given))

    def __post_init__(self) -> None:
        _check(self)

    @property
    def retry(self) -> RetryPolicy:
        """The part that decides about retries."""
        return RetryPolicy(
            retries=self.retries,
            retry_delay=self.retry_delay,
            backoff=self.backoff,
            max_delay=self.max_delay,
            jitter=self.jitter,
            retry_on=self.retry_on,
            no_retry_on=self.no_retry_on,
        )

    def pack(self) -> bytes:
        """What a handler declares: a MessagePack map of the options that differ from their defaults.

        Nothing at all where there are none, as with most handlers.
        """
        return _encoder.encode(self) if self != DEFAULTS else b""

    @staticmethod
    def unpack(*packed: bytes) -> Options:
        """The options of maps that lie one over the other, the topmost last; what none of them has is at its default.

        Raises:
            msgspec.MsgspecError: These are no options.
        """
        maps = [each for each in packed if each]
        if len(maps) <= 1:
            return _decoder.decode(maps[0]) if maps else DEFAULTS
        return msgspec.convert(reduce(overlaid, map(_maps.decode, maps)), Options)


def overlaid(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """The options `under`, but for those that `over` has; to say an eta is to say no delay, and the other way round."""
    if not _START.isdisjoint(over):
        under = {name: value for name, value in under.items() if name not in _START}
    return {**under, **over}


def pack_said(said: Mapping[str, Any]) -> bytes:
    """The options of a row: a MessagePack map of what its caller said, as `normalized`, and has no column of its own.

    Also what equals a default: it may be said against what the handler declares. Nothing at all where nothing is said.
    """
    rest = {name: value for name, value in said.items() if name not in COLUMNS}
    return _encoder.encode(rest) if rest else b""


_NOT_YET: Final = frozenset({"unique"})


def normalized(given: Mapping[str, Any]) -> dict[str, Any]:
    """Option values in the form that `Options` keeps: seconds, MiB, numbers for words, names for types."""
    fields = Options.__struct_fields__
    for name in given:
        if name not in fields:
            raise UnknownOption(name, fields)
        if name in _NOT_YET and given[name] is not None:  # better refused than taken and not heeded
            raise BadOption(name, given[name], "None: this version cannot do that yet")
    return {name: _FORMS[name](name, value) if name in _FORMS else value for name, value in given.items()}


def _seconds(name: str, value: object) -> object:
    if isinstance(value, timedelta):
        return value.total_seconds()
    return _number(name, value)


def _number(name: str, value: object) -> object:
    if isinstance(value, bool):
        raise BadOption(name, value, "a number")
    return float(value) if isinstance(value, int) else value


def _priority(name: str, value: object) -> object:
    if isinstance(value, str):
        if value not in PRIORITIES:
            raise BadOption(name, value, "0 to 9, 9 first, or 'low', 'normal', 'high'")
        return PRIORITIES[value]
    return value


_UNITS = {"": 1.0, "K": 1 / 1024, "M": 1.0, "G": 1024.0, "T": 1024.0**2}


def _mebibytes(name: str, value: object) -> object:
    if not isinstance(value, str):
        return _number(name, value)
    digits = value.strip().upper().removesuffix("IB").removesuffix("B")
    unit = digits[-1:] if digits[-1:].isalpha() else ""
    try:
        return float(digits.removesuffix(unit)) * _UNITS[unit]
    except (KeyError, ValueError):
        raise BadOption(name, value, "MiB as a number, or a text with a unit such as '512M'") from None


def _names(name: str, value: object) -> object:
    if value is None:
        return None
    several: tuple[object, ...] = tuple(value) if isinstance(value, list | tuple | set | frozenset) else (value,)
    return tuple(_type_name(name, one) for one in several)


def _type_name(name: str, value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, type) and issubclass(value, BaseException):
        # A program's own file has another name in its children: there, and so here, its classes go without one.
        is_bare = value.__module__ == "builtins" or value.__module__.startswith("__")
        return value.__qualname__ if is_bare else f"{value.__module__}.{value.__qualname__}"
    raise BadOption(name, value, "exception types, or their names")


def _tags(name: str, value: object) -> object:
    if isinstance(value, str):
        raise BadOption(name, value, "a list of texts, as in ['red']")
    return tuple(value) if isinstance(value, list | tuple | set | frozenset) else value


_FORMS: Final[dict[str, Callable[[str, Any], object]]] = {
    "priority": _priority,
    "delay": _seconds,
    "expires": lambda name, value: value if isinstance(value, datetime) else _seconds(name, value),
    "retry_delay": _seconds,
    "backoff": _number,
    "max_delay": _seconds,
    "jitter": _number,
    "retry_on": _names,
    "no_retry_on": _names,
    "timeout": _seconds,
    "soft_timeout": _seconds,
    "memory": _mebibytes,
    "tags": _tags,
}


def _check(options: Options) -> None:
    """Raise `BadOption` for the first value that cannot be right."""
    for name, is_right, allowed in _RULES:
        value = getattr(options, name)
        if not is_right(value):
            raise BadOption(name, value, allowed)
    if options.delay and options.eta is not None:
        raise BadOption("delay", options.delay, "not together with eta")


_TEXT_BYTES: Final = 255
_LONG_TEXT: Final = 4096
"""Characters of a title, or of all tags with a comma around each: what a message can carry."""
_CENTURY: Final = 100 * 365 * 86_400.0
"""Seconds; a time beyond it is a mistake, and may be one that no calendar can show."""
_MOST_RETRIES: Final = 1_000_000_000


def _is_text(value: Any) -> bool:
    # Printable: neither line breaks, which would tear a table or a log, nor what is no Unicode text.
    return isinstance(value, str) and value.isprintable() and 0 < len(value.encode()) <= _TEXT_BYTES


def _is_title(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable() and len(value) <= _LONG_TEXT


def _is_texts(value: Any) -> bool:
    return isinstance(value, tuple) and all(_is_text(one) for one in value)


def _is_tags(value: Any) -> bool:
    # A store keeps them as ",a,b,".
    return _is_texts(value) and not any("," in tag for tag in value) and len(",".join(value)) + 2 <= _LONG_TEXT


def _is_at_least(value: Any, least: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and least <= value < math.inf


def _is_seconds(value: Any) -> bool:
    return _is_at_least(value, 0.0) and value <= _CENTURY


def _is_whole(value: Any, least: int, most: float = math.inf) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_aware(value: Any) -> bool:
    return isinstance(value, datetime) and value.utcoffset() is not None


def _is_positive(value: Any) -> bool:
    return _is_at_least(value, 0.0) and value > 0


_RULES: Final[tuple[tuple[str, Callable[[Any], bool], str], ...]] = (
    ("queue", _is_text, "printable text of 1 to 255 bytes"),
    ("partition", lambda v: v == "" or _is_text(v), "printable text of at most 255 bytes"),
    ("priority", lambda v: _is_whole(v, 0, 9), "0 to 9, 9 first, or 'low', 'normal', 'high'"),
    ("delay", _is_seconds, "seconds, 0 or more (up to 100 years), or a timedelta"),
    ("eta", lambda v: v is None or _is_aware(v), "a datetime with a time zone"),
    (
        "expires",
        lambda v: v is None or _is_aware(v) or _is_seconds(v),
        "seconds after submission, 0 or more (up to 100 years), a timedelta, or a datetime with a time zone",
    ),
    ("retries", lambda v: _is_whole(v, 0, _MOST_RETRIES), "a whole number, 0 or more (up to 1,000,000,000)"),
    ("retry_delay", _is_seconds, "seconds, 0 or more (up to 100 years), or a timedelta"),
    ("backoff", lambda v: _is_at_least(v, 1.0), "a factor of 1 or more"),
    ("max_delay", _is_seconds, "seconds, 0 or more (up to 100 years), or a timedelta"),
    ("jitter", lambda v: _is_at_least(v, 0.0) and v <= 1, "a share from 0 to 1"),
    ("retry_on", lambda v: v is None or _is_texts(v), "exception types, or their names"),
    ("no_retry_on", _is_texts, "exception types, or their names"),
    ("timeout", lambda v: v is None or _is_positive(v), "seconds, more than 0, or None for no limit"),
    ("soft_timeout", lambda v: v is None or _is_positive(v), "seconds, more than 0, or None for no limit"),
    ("memory", lambda v: v is None or _is_positive(v), "MiB, more than 0, or a text such as '512M'"),
    ("max_concurrency", lambda v: v is None or _is_whole(v, 1), "a whole number, 1 or more, or None for no limit"),
    ("tags", _is_tags, "a list of printable texts of 1 to 255 bytes without commas, 4,096 characters in all"),
    ("title", lambda v: v is None or _is_title(v), "printable text of at most 4,096 characters"),
    ("unique", lambda v: v is None or _is_text(v), "printable text of 1 to 255 bytes"),
    ("idempotency_key", lambda v: v is None or _is_text(v), "printable text of 1 to 255 bytes"),
    ("at_most_once", lambda v: isinstance(v, bool), "True or False"),
)

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Options)
_maps = msgspec.msgpack.Decoder(dict[str, Any])
DEFAULTS: Final = Options()
_START: Final = frozenset({"delay", "eta"})
COLUMNS: Final = frozenset(
    {"queue", "partition", "priority", "delay", "eta", "expires", "tags", "title", "idempotency_key"}
)
"""Options that say where and when, and have columns in a row: decided when a task is submitted, the others when they are needed."""


class TaskError(msgspec.Struct, frozen=True):
    """What a run ended with: the error's type, its message, and the traceback as the child saw it."""

    type: str
    message: str = ""
    traceback: str = ""
    details: Any = None
    """More of it in plain values, where its kind has them: of a script that failed, its exit code, signal and last lines."""


class HistoryEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One transition in a task's life. `source` is None where it begins."""

    time: float
    source: TaskState | None = msgspec.field(default=None, name="from")
    target: TaskState = msgspec.field(name="to")
    reason: str | None = None
    attempt: int = 0
    node: str | None = None
    incarnation: str | None = None
    worker: str | None = None
    pid: int | None = None


class LogLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a task's log."""

    time: datetime
    """When it was written, by the clock of the node that ran it; aware, UTC."""
    stream: str
    """`out` and `err` (what the handler's process wrote), `log` (`ctx.log`), or `life`: a step in the task's life."""
    level: str
    """`info`, `warning` or `error`."""
    text: str
    """Without a line's end."""
    fields: Mapping[str, Any] = msgspec.field(default_factory=dict)
    """What was said beside the text. Of a step in its life: `attempt`, and where it ran: `node`, `worker`, `pid`."""
    run: int
    """Which run wrote it: a number that grows from run to run. 0: none, it is a step in the task's life."""
    number: int
    """Its place among the lines of that run, or among the steps, from 1."""
    dropped: int = 0
    """How many lines of its run are missing before it: a log is bounded, and keeps its beginning and its end."""


Progress: TypeAlias = tuple[float, str]
"""(fraction, message)."""


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A task as users see it. Times are aware UTC."""

    id: str
    name: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = msgspec.field(default_factory=dict)
    queue: str = "default"
    partition: str = ""
    priority: int = 5
    tags: tuple[str, ...] = ()
    title: str | None = None
    state: TaskState = TaskState.QUEUED
    reason: str | None = None
    attempt: int = 0
    interruptions: int = 0
    progress: Progress | None = None
    result: Any = None
    error: TaskError | None = None
    parent: str | None = None
    workflow: str | None = None
    """The id of the workflow that it is a member of."""
    waits: int | None = None
    """Of a member that has not begun: for how many others it waits."""
    created_at: datetime
    due_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    updated_at: datetime
    history: tuple[HistoryEntry, ...] = ()
    options: Mapping[str, Any] = msgspec.field(default_factory=dict)
    """The options in force that have no field of their own: `retries`, `timeout`, ...; empty in a list of tasks."""

    @property
    def has_ended(self) -> bool:
        """Whether it has come to its end: succeeded, failed, cancelled or expired."""
        return self.state in ENDED
