"""Retention: how long an ended task is kept, by its state and its handler. A value."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Self

from otpq.errors import BadOption, did_you_mean
from otpq.task import ENDED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from otpq.store.protocol import Ended

__all__ = ["Retention", "seconds_of"]

DAY: Final = 86_400.0
_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": DAY, "w": 7 * DAY}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_STATES: Final = tuple(sorted(state.value for state in ENDED))
_RIGHT: Final = "such as succeeded=1d,failed=30d or mail.send:failed=forever; units are s, m, h, d, w"

_DEFAULTS: Final = {"succeeded": DAY, "cancelled": DAY, "failed": 30 * DAY, "expired": 30 * DAY}


@dataclass(frozen=True, slots=True)
class Retention:
    """Seconds that ended tasks are kept; None: for ever.

    Raises:
        BadOption: A state that tasks do not end in, or a time that cannot be one.
    """

    states: Mapping[str, float | None] = field(default_factory=dict)
    """By state; one left out has its default: a day for succeeded and cancelled, 30 days for failed and expired."""
    handlers: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    """By handler, then by state, where they are to be other than for all."""

    def __post_init__(self) -> None:
        for of in (self.states, *self.handlers.values()):
            for state, seconds in of.items():
                if state not in _STATES:
                    raise BadOption("retention", state, f"one of {', '.join(_STATES)}{did_you_mean(state, _STATES)}")
                if seconds is not None and (isinstance(seconds, bool) or not seconds >= 0):
                    raise BadOption("retention", seconds, "seconds, 0 or more, or None for ever")
        object.__setattr__(self, "states", MappingProxyType({**_DEFAULTS, **self.states}))

    @classmethod
    def parse(cls, text: str) -> Self:
        """As a command line has it: `succeeded=1d,failed=30d,mail.send:failed=forever`.

        Raises:
            BadOption: It is not of that form.
        """
        states: dict[str, float | None] = {}
        handlers: dict[str, dict[str, float | None]] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            what, equals, time = part.partition("=")
            handler, _, state = what.strip().rpartition(":")
            if not equals:
                raise BadOption("retention", part, _RIGHT)
            of = handlers.setdefault(handler, {}) if handler else states
            of[state] = seconds_of(time.strip())
        return cls(states, handlers)

    def of(self, name: str, state: str) -> float | None:
        """Seconds that a task of handler `name` is kept in `state`."""
        return self.handlers.get(name, {}).get(state, self.states[state])

    def before(self, now: float) -> dict[str, float]:
        """Of each state a time: some task that ended before it may go, none that ended after it. For ever: left out."""
        shortest: dict[str, float] = {}
        for state, seconds in self._all():
            if seconds is not None:
                shortest[state] = min(seconds, shortest.get(state, seconds))
        return {state: now - seconds for state, seconds in shortest.items()}

    def is_over(self, task: Ended, now: float) -> bool:
        """Whether this task may go."""
        seconds = self.of(task.name, task.state)
        return seconds is not None and task.finished < now - seconds

    @property
    def shortest(self) -> float:
        """Seconds after which the first of all tasks may go."""
        return min((seconds for _, seconds in self._all() if seconds is not None), default=float("inf"))

    def limits(self) -> list[dict[str, Any]]:
        """As `QueueCore.limits` tells of others, one a state: of `all` handlers, then those of handlers of their own."""
        of_all = [_limit("all", state, self.states[state]) for state in _STATES]
        return of_all + [_limit(name, *of) for name, each in sorted(self.handlers.items()) for of in each.items()]

    def _all(self) -> Iterator[tuple[str, float | None]]:
        for of in (self.states, *self.handlers.values()):
            yield from of.items()


def _limit(name: str, state: str, seconds: float | None) -> dict[str, Any]:
    source = "default" if (name, seconds) == ("all", _DEFAULTS[state]) else "node"
    unused = {"used": None, "available": None}
    return {"of": "retention", "name": name, "limit": state, "value": seconds, **unused, "from": source}


def seconds_of(text: str) -> float | None:
    """The seconds that a text like '30d' means; None: 'forever'.

    Raises:
        BadOption: It is not of that form.
    """
    if text == "forever":
        return None
    match = _DURATION.fullmatch(text)
    if match is None:
        raise BadOption("retention", text, _RIGHT)
    return float(match[1]) * _UNITS[match[2]]
