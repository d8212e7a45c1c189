"""A place for one value that comes later, from another thread: what callers wait for."""

from __future__ import annotations

import contextlib
from threading import Lock
from typing import TYPE_CHECKING, Generic, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Cell", "wait_all", "when_all"]

T = TypeVar("T")


class Cell(Generic[T]):
    """Empty, then filled once: by a value or by an error. Any thread may fill it, any number may wait.

    A `concurrent.futures.Future` does the same for 5 µs, of which most is a condition that few ever wait on; here a lock is
    made by who waits.
    """

    __slots__ = ("__weakref__", "_error", "_value", "_wakes", "is_filled")

    def __init__(self) -> None:
        self.is_filled = False
        self._value: T | None = None
        self._error: BaseException | None = None
        self._wakes: list[Callable[[], object]] = []

    def fill(self, value: T) -> None:
        """Put the value in, unless there is something already; who waits goes on."""
        if not self.is_filled:
            self._value = value
            self._open()

    def fail(self, error: BaseException) -> None:
        """Put an error in, unless there is something already; `get` raises it."""
        if not self.is_filled:
            self._error = error
            self._open()

    def get(self) -> T:
        """The value, or the error raised. Only of a filled cell."""
        if self._error is not None:
            raise self._error
        return cast("T", self._value)

    def when_filled(self, wake: Callable[[], object]) -> None:
        """Call `wake` once, in the thread that fills the cell; at once, in this one, if it is filled."""
        self._wakes.append(wake)
        if self.is_filled:  # perhaps since the line above: then both sides pop, and each `wake` is popped once
            self._run_wakes()

    def wait(self, timeout: float | None = None) -> bool:
        """Whether the cell is filled, after waiting up to `timeout` seconds for it."""
        return self.is_filled or wait_all([self], timeout)

    def forget(self, wake: Callable[[], object]) -> None:
        """Do not call `wake` any more."""
        with contextlib.suppress(ValueError):
            self._wakes.remove(wake)

    def _open(self) -> None:
        self.is_filled = True
        self._run_wakes()

    def _run_wakes(self) -> None:
        while self._wakes:
            with contextlib.suppress(IndexError):  # popped by the other side between the two
                self._wakes.pop()()


def wait_all(cells: Sequence[Cell[T]], timeout: float | None = None) -> bool:
    """Whether all `cells` are filled, after waiting up to `timeout` seconds. Wakes the waiting thread once, not once a cell."""
    latch = _Latch([cell for cell in cells if not cell.is_filled])
    return latch.wait(timeout)


def when_all(cells: Sequence[Cell[T]], wake: Callable[[], object]) -> None:
    """Call `wake` once, in the thread that fills the last of `cells`; at once, in this one, if all are filled."""
    left = [None] * (len(cells) + 1)  # popped once a cell, and once here: atomic, unlike a count
    called: list[Callable[[], object]] = [wake]

    def count_down() -> None:
        left.pop()
        if not left:
            with contextlib.suppress(IndexError):  # two cells filled at once may both see the list empty
                called.pop()()

    for cell in cells:
        cell.when_filled(count_down)
    count_down()


class _Latch:
    """Opens when the last of several cells has been filled."""

    def __init__(self, cells: Sequence[Cell[T]]) -> None:
        self._cells = cells
        self._open = Lock()
        self._open.acquire()
        self._left = [None] * len(cells)  # popped once a cell: atomic, unlike a count
        for cell in cells:
            cell.when_filled(self._count_down)
        if not cells:
            self._open.release()

    def wait(self, timeout: float | None) -> bool:
        is_open = self._open.acquire(timeout=-1 if timeout is None else max(0.0, timeout))
        if not is_open:
            for cell in self._cells:
                cell.forget(self._count_down)
        return is_open

    def _count_down(self) -> None:
        self._left.pop()
        if not self._left:
            with contextlib.suppress(RuntimeError):  # two cells filled at once may both see the list empty
                self._open.release()
