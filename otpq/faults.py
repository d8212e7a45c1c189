"""Fault points: places where a node that was started for a test can be made to fail, by `OTPQ_FAULT`.

`OTPQ_FAULT=point:nth:what[,...]`; the nth time that the point is passed, `what` happens: `kill` (SIGKILL of this
process), `error` (an `InjectedFault` is raised), `delay` (0.2 s) or `hang` (an hour). Unarmed, a point costs one dictionary look-up.
"""

from __future__ import annotations

import os
import signal
import time
from typing import Final, Literal, TypeAlias, cast, get_args

from otpq.errors import UsageError

__all__ = ["POINTS", "InjectedFault", "arm", "hit"]

What: TypeAlias = Literal["kill", "error", "delay", "hang"]

POINTS: Final = frozenset(
    {
        "commit.before", "commit.after", "send.before", "send.after", "dispatch.before", "dispatch.after",
        "work.before", "answers.before",
    }
)  # fmt: skip
"""Around each commit, each message to a client (the acknowledgements are some of them), and each batch to a pool, in the
queue server; before a worker takes a batch, and before a pool takes what a worker answers."""

DELAY: Final = 0.2
HANG: Final = 3600.0

_armed: dict[str, tuple[int, What]] = {}


class InjectedFault(Exception):
    """A fault that a test asked for."""


def arm(text: str) -> None:
    """Arm the points that `text` names, and no others.

    Raises:
        UsageError: It has another form, or names a point that does not exist.
    """
    _armed.clear()
    for part in filter(None, text.split(",")):
        fields = part.split(":")
        if len(fields) != 3 or fields[0] not in POINTS or not fields[1].isdigit() or fields[2] not in get_args(What):  # noqa: PLR2004
            raise UsageError(
                f"OTPQ_FAULT={part!r} is not allowed: point:nth:what, with a point of {', '.join(sorted(POINTS))} "
                f"and what of {', '.join(get_args(What))}"
            )
        _armed[fields[0]] = (int(fields[1]), cast("What", fields[2]))


def hit(point: str) -> None:
    """Pass a fault point."""
    armed = _armed.get(point)
    if armed is None:
        return
    left, what = armed
    if left > 1:
        _armed[point] = (left - 1, what)
        return
    del _armed[point]
    match what:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "error":
            raise InjectedFault(point)
        case "delay":
            time.sleep(DELAY)
        case "hang":
            time.sleep(HANG)
