"""What a schedule is: when it is due, what each of its slots makes, and its policies. Values, and which of them can be."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import msgspec

from otpq.core import cron
from otpq.core.cron import Timing
from otpq.core.events import NewTask
from otpq.core.flaws import ID_BYTES, flaw_of
from otpq.core.pauses import Pausable
from otpq.errors import BadOption
from otpq.task import Options

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "BY_APP",
    "BY_FILE",
    "BY_HAND",
    "SETTING",
    "DeclaredSchedule",
    "Definition",
    "SchedulerSettings",
    "check",
    "check_packed",
    "declared_of",
    "of_settings",
    "unpack",
]

MISFIRES: Final = ("skip", "once", "all")
OVERLAPS: Final = ("allow", "skip", "queue")
MOST_CATCH_UP: Final = 1_000
SETTING: Final = "scheduler"
"""The name of the setting that keeps whether all schedules are paused."""
BY_FILE: Final = "file"
BY_HAND: Final = "set"
BY_APP: Final = "app:"
"""Where a schedule comes from; the app's reference follows."""
_TEXT_BYTES: Final = 255


class Definition(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a schedule is, as somebody wrote it."""

    timing: Timing
    task: NewTask
    """What each slot makes; its id is of no meaning."""
    enabled: bool = True
    """Until somebody says otherwise at run time."""
    misfire: str = "once"
    """What becomes of slots that were missed. `once`: one run makes up for them all. `skip`: nothing. `all`: each runs."""
    misfire_grace: float = 60.0
    """Seconds by which a slot may be late and is not missed: more than the restart of a node takes. Only `skip` heeds it."""
    max_catch_up: int = 100
    """How many missed slots `all` makes up for, and how many `queue` lets wait: the newest."""
    overlap: str = "allow"
    """When the task of an earlier slot has not ended. `skip`: this slot makes none. `queue`: it does when that one has."""
    jitter: float = 0.0
    """Seconds by which a slot is put off at most. How much follows from the schedule's name and the slot."""


class SchedulerSettings(Pausable, frozen=True, omit_defaults=True):
    """What operators set of all schedules together."""

    until: float | None = None
    """When the last pause ended: slots up to then were held back on purpose, and are not made up for."""


class Declared(msgspec.Struct, frozen=True):
    """What a handler's declaration may hold beside its options."""

    schedule: DeclaredSchedule | None = None


class DeclaredSchedule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The schedule of a handler, as its app tells it."""

    payload: bytes
    """MessagePack of [args, kwargs]."""
    cron: str | None = None
    every: float | None = None
    timezone: str = "UTC"
    misfire: str = "once"
    misfire_grace: float = 60.0
    max_catch_up: int = 100
    overlap: str = "allow"
    jitter: float = 0.0

    def definition(self, name: str) -> Definition:
        """That of the schedule which has the handler's name."""
        return Definition(
            timing=Timing(self.cron, self.every, self.timezone),
            task=NewTask(id=bytes(16), name=name, payload=self.payload),
            misfire=self.misfire,
            misfire_grace=self.misfire_grace,
            max_catch_up=self.max_catch_up,
            overlap=self.overlap,
            jitter=self.jitter,
        )


unpack: Final = msgspec.msgpack.Decoder(Definition).decode
"""A definition from its packed form."""
_declared: Final = msgspec.msgpack.Decoder(Declared).decode


def check(name: str, definition: Definition) -> None:
    """Return if this can be a schedule.

    Raises:
        BadOption: It cannot; the message says what would be right.
    """
    if not isinstance(name, str) or not name or not name.isprintable() or len(name.encode()) > _TEXT_BYTES:
        raise BadOption("name", name, f"printable text of 1 to {_TEXT_BYTES} bytes")
    cron.check(definition.timing)
    for option, is_right, allowed in _RULES:
        value = getattr(definition, option)
        if not is_right(value):
            raise BadOption(option, value, allowed)
    _check_task(definition.task)


def check_packed(name: str, packed: bytes) -> Definition:
    """The definition that a store has kept of this schedule.

    Raises:
        BadOption: It cannot be one; see `check`.
        msgspec.MsgspecError: It cannot be read.
    """
    definition = unpack(packed)
    check(name, definition)
    return definition


def of_settings(packed: bytes) -> SchedulerSettings:
    """What the store has kept of `SETTING`."""
    return msgspec.msgpack.decode(packed, type=SchedulerSettings)


def declared_of(packed: bytes) -> DeclaredSchedule | None:
    """The schedule in a handler's declaration; None: it has none."""
    return _declared(packed).schedule if packed else None


def _check_task(task: NewTask) -> None:
    flaw = flaw_of(msgspec.structs.replace(task, id=bytes(ID_BYTES)))
    if flaw is not None:
        code, right = flaw
        option = code.removeprefix("bad_")
        raise BadOption("task" if option == "name" else option, getattr(task, option), right)
    if task.eta is not None:
        raise BadOption("eta", task.eta, "a schedule says when; to put its tasks off, give delay=")
    if task.expires_at not in {None, math.inf}:
        raise BadOption("expires", task.expires_at, "seconds after the slot: a schedule's tasks are many")
    if task.key is not None:
        raise BadOption("idempotency_key", task.key, "none: only the first slot would make a task")
    if task.options:
        try:
            Options.unpack(task.options)
        except msgspec.MsgspecError as error:
            raise BadOption("options", task.options, str(error)) from None


def _is_seconds(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 86_400 * 366


_RULES: Final[tuple[tuple[str, Callable[[Any], bool], str], ...]] = (
    ("enabled", lambda value: isinstance(value, bool), "true or false"),
    ("misfire", lambda value: value in MISFIRES, "skip, once or all"),
    ("misfire_grace", _is_seconds, "seconds, 0 or more"),
    (
        "max_catch_up",
        lambda value: isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_CATCH_UP,
        f"1 to {MOST_CATCH_UP:,} slots",
    ),
    ("overlap", lambda value: value in OVERLAPS, "allow, skip or queue"),
    ("jitter", _is_seconds, "seconds, 0 or more"),
)
