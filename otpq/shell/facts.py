"""What the node has, for completion: asked at most so often, waited for at most so long, and never in the way of typing."""

from __future__ import annotations

import contextlib
import time
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Final

from otpq.errors import OtpqError
from otpq.shell.completion import Candidate
from otpq.task import TaskState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from otpq.client.client import Client

__all__ = ["BOUND", "FRESH", "Facts", "asks"]

FRESH: Final = 2.0
"""Seconds for which an answer is good enough, and no other is asked for."""
BOUND: Final = 0.3
"""Seconds that one is waited for. One that comes later is there for the next time."""
_TASKS: Final = 50
"""As many of the newest tasks are offered."""


class Facts:
    """What there is of each kind, as of the last answer."""

    def __init__(
        self,
        asks: Mapping[str, Callable[[], Iterable[Candidate]]],
        *,
        bound: float = BOUND,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._known = {kind: _Known(ask, bound, clock) for kind, ask in asks.items()}

    def of(self, kind: str) -> Sequence[Candidate]:
        """What there is of a kind. It may wait a moment for the node, so it is not for the thread that takes what is typed."""
        known = self._known.get(kind)
        return () if known is None else known.now()


class _Known:
    def __init__(self, ask: Callable[[], Iterable[Candidate]], bound: float, clock: Callable[[], float]) -> None:
        self._ask = ask
        self._bound = bound
        self._clock = clock
        self._asked = float("-inf")
        self._found: Sequence[Candidate] = ()
        self._answered = Event()
        self._answered.set()

    def now(self) -> Sequence[Candidate]:
        if self._answered.is_set() and self._clock() - self._asked >= FRESH:
            self._asked = self._clock()
            self._answered.clear()
            Thread(target=self._look, name="otpq-shell-facts", daemon=True).start()
        self._answered.wait(self._bound)
        return self._found

    def _look(self) -> None:
        try:
            # When the node is away the prompt says so, and what was there last is offered on.
            with contextlib.suppress(OtpqError):
                self._found = tuple(self._ask())
        finally:
            self._answered.set()


def asks(client: Callable[[], Client]) -> dict[str, Callable[[], Iterable[Candidate]]]:
    """How to ask for each kind, of the client that there is then."""
    return {
        "queue": lambda: _named(client().queues(), "queue"),
        "handler": lambda: _named(client().handlers(), "handler"),
        "schedule": lambda: [Candidate(each.name, each.task) for each in client().schedules.list()],
        "node": lambda: _named(client().nodes(), "node", "state"),
        "pool": lambda: sorted({Candidate(str(row["pool"])) for row in client().workers()}),
        "worker": lambda: [_worker(row) for row in client().workers()],
        "task": lambda: [Candidate(task.id, f"{task.name} {task.state}") for task in client().tasks(limit=_TASKS)],
        "pid": lambda: _processes(client().stats().get("tree") or {}),
        "state": lambda: map(Candidate, TaskState),
    }


def _named(rows: Iterable[Mapping[str, Any]], name: str, about: str | None = None) -> list[Candidate]:
    return [Candidate(str(row[name]), str(row[about]) if about else "") for row in rows]


def _worker(row: Mapping[str, Any]) -> Candidate:
    return Candidate(f"{row['pool']}/{row['worker']}", f"{row['node']} {row.get('state', '')}")


def _processes(tree: Mapping[str, Any]) -> Iterator[Candidate]:
    if tree.get("pid"):
        yield Candidate(str(tree["pid"]), str(tree.get("id") or "node"))
    for child in tree.get("children") or ():
        yield from _processes(child)
