"""Raise `SoftTimeout` in a handler whose soft time is over, so that it can put its things in order before the hard one.

A plain function in the main thread is interrupted by SIGALRM, one in another thread by an exception that is raised in it from
outside: both between two lines of Python. Code in C is not, and a program that takes that signal for itself has no soft
timeouts in its main thread. A coroutine is cancelled where it waits.

Our own code that a handler calls is not to be torn in the middle either. So a thread is interrupted only while it is among
`_interruptible`, and what must be whole takes it out for its time (`uninterrupted`). Between the look at that set and the
raising, the thread in question cannot run: the look is made by itself, or under the interpreter lock, which changes hands
only where an exception from outside is raised, too.
"""

from __future__ import annotations

import signal
import threading
import time
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final

from otpq.endings import SoftTimeout

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import FrameType

__all__ = ["Alarm", "Interruption", "uninterrupted", "within"]

_SHORTLY: Final = 0.005
"""Seconds until the next try to interrupt a thread that could not be just now."""

_interruptible: set[int] = set()
"""The threads, by their idents, in which a soft timeout may be raised at this moment."""


class _Uninterrupted:
    """A context manager: no soft timeout is raised in this thread meanwhile. It comes a little later."""

    def __enter__(self) -> None:
        ident = get_ident()
        if ident in _interruptible:
            _interruptible.discard(ident)
            _depths[ident] = 0
        elif ident in _depths:
            _depths[ident] += 1

    def __exit__(self, *_exc: object) -> None:
        ident = get_ident()
        depth = _depths.get(ident)
        if depth == 0:
            del _depths[ident]
            _interruptible.add(ident)
        elif depth is not None:
            _depths[ident] = depth - 1


_depths: dict[int, int] = {}
"""Of the threads that were taken out: how many more times than once."""

uninterrupted: Final = _Uninterrupted()


class Alarm:
    """A context manager for the main thread: rings after `seconds`, unless it has been left before."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._is_armed = False

    def __enter__(self) -> None:
        self._is_armed = True
        self._ident = get_ident()
        _interruptible.add(self._ident)
        signal.signal(signal.SIGALRM, self._ring)
        signal.setitimer(signal.ITIMER_REAL, self._seconds)

    def __exit__(self, *_exc: object) -> None:
        self._is_armed = False  # first: a signal that has come by now finds nobody to raise in
        _interruptible.discard(self._ident)
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _ring(self, _number: int, _frame: FrameType | None) -> None:
        if not self._is_armed:
            return
        if self._ident not in _interruptible:
            signal.setitimer(signal.ITIMER_REAL, _SHORTLY)
            return
        raise _over(self._seconds)


class Interruption:
    """The same for any other thread, by a thread that waits."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._is_armed = False

    def __enter__(self) -> None:
        from ctypes import c_ulong, py_object, pythonapi  # 4 ms, and only a child with such a task pays them

        self._ident = get_ident()
        self._raise = pythonapi.PyThreadState_SetAsyncExc
        self._arguments = (c_ulong(self._ident), py_object(SoftTimeout))
        self._timer = threading.Timer(self._seconds, self._fire)
        self._timer.daemon = True
        self._is_armed = True
        self._timer.start()
        _interruptible.add(self._ident)

    def __exit__(self, kind: object, error: BaseException | None, _trace: object) -> None:
        try:
            self._is_armed = False
            _interruptible.discard(self._ident)
            self._timer.cancel()
        except SoftTimeout:  # it was raised by then, and had not come out yet
            raise _over(self._seconds) from None
        if type(error) is SoftTimeout and not error.args:  # only a class can be raised from outside, without words
            error.args = _over(self._seconds).args

    def _fire(self) -> None:
        while self._is_armed:
            if self._ident in _interruptible:
                self._raise(*self._arguments)
                return
            time.sleep(_SHORTLY)


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
