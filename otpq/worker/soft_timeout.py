"""Raise `SoftTimeout` in a handler whose soft time is over, so that it can put its things in order before the hard one.

A plain function is interrupted by SIGALRM, between two lines of Python: code in C is not, and a program that takes that
signal for itself has no soft timeouts. A coroutine is cancelled where it waits.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import msgpack

from otpq.endings import SoftTimeout

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import FrameType

    from otpq.worker.loading import Definition

__all__ = ["Alarm", "SoftTimeouts", "within"]


class SoftTimeouts:
    """The soft timeouts of tasks: what their callers said, else what their handlers declare. Each set is opened once."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, bytes], float | None] = {}

    def of(self, definition: Definition, name: str, said: bytes) -> float | None:
        """Seconds; None: as long as it likes."""
        key = (name, said)
        if key not in self._known:
            if len(self._known) >= 1_000:  # noqa: PLR2004 - callers name few sets of options
                self._known.clear()
            options = {**_options(definition.declaration), **_options(said)}
            self._known[key] = options.get("soft_timeout")
        return self._known[key]


def _options(packed: bytes) -> dict[str, Any]:
    return msgpack.unpackb(packed, timestamp=3) if packed else {}


class Alarm:
    """A context manager: rings after `seconds`, unless it has been left before."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._is_armed = False

    def __enter__(self) -> None:
        self._is_armed = True
        signal.signal(signal.SIGALRM, self._ring)
        signal.setitimer(signal.ITIMER_REAL, self._seconds)

    def __exit__(self, *_exc: object) -> None:
        self._is_armed = False  # first: a signal that has come by now finds nobody to raise in
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _ring(self, _number: int, _frame: FrameType | None) -> None:
        if self._is_armed:
            raise _over(self._seconds)


async def within(seconds: float, coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What the coroutine returns; `SoftTimeout` in it, and from it, when the time is over."""
    import asyncio

    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await coroutine
    except TimeoutError:
        if limit.expired():
            raise _over(seconds) from None
        raise


def _over(seconds: float) -> SoftTimeout:
    return SoftTimeout(f"its soft timeout of {seconds:g} s is over")
