"""Context: what a running handler can say and ask about its own task. `otpq.Context` as an annotation, or `otpq.current()`.

A context is a thin face; what stands behind it (`Backing`) is the child's, or nobody where a handler is called as a plain
function: then progress, checkpoints and log lines go nowhere, and nothing is ever cancelled. A child imports this file, so it
needs nothing but msgpack.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Protocol

from otpq.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

__all__ = [
    "MAX_CHECKPOINT",
    "MAX_PROGRESS",
    "Backing",
    "Context",
    "TaskLog",
    "current",
    "running_context",
    "takes_context",
]

MAX_CHECKPOINT: Final = 1 << 20
"""Bytes of a packed checkpoint. What is larger belongs into a file or a database, and its name into the checkpoint."""
MAX_PROGRESS: Final = 1_000
"""Characters of a progress message."""


class Backing(Protocol):
    """What a child does for the context of one run."""

    def progress(self, fraction: float, message: str) -> None:
        """Tell how far it is; at once or a little later, the newest word."""

    def checkpoint(self, value: Any) -> None:
        """Return when `value` is durable. Raises `HandOver` instead of returning if the run is asked to end."""

    def acheckpoint(self, value: Any) -> Awaitable[None]:
        """As `checkpoint`, without blocking the event loop."""

    def is_cancelled(self) -> bool:
        """Whether somebody wants the task to end."""

    def is_draining(self) -> bool:
        """Whether its child is to end soon."""

    def log(self, level: str, message: str, fields: dict[str, Any]) -> None:
        """Put a line into the task's log."""

    def output(self, stream: str, line: str) -> None:
        """Put a line that something else wrote for the task into its log, as of stream "out" or "err"."""


class TaskLog:
    """A task's own log: `ctx.log.info('sent', to=address)`."""

    __slots__ = ("_backing",)

    def __init__(self, backing: Backing | None) -> None:
        self._backing = backing

    def info(self, message: str, **fields: Any) -> None:
        """A line at level info."""
        self._put("info", message, fields)

    def warning(self, message: str, **fields: Any) -> None:
        """A line at level warning."""
        self._put("warning", message, fields)

    def error(self, message: str, **fields: Any) -> None:
        """A line at level error."""
        self._put("error", message, fields)

    def _put(self, level: str, message: str, fields: dict[str, Any]) -> None:
        if self._backing is not None:
            self._backing.log(level, str(message), fields)


class Context:
    """One run of a task, as its handler sees it."""

    __slots__ = ("_backing", "attempt", "id", "last_checkpoint", "log", "name", "slot")

    def __init__(
        self,
        backing: Backing | None = None,
        *,
        id: str = "",
        name: str = "",
        attempt: int = 1,
        last_checkpoint: Any = None,
        slot: datetime | None = None,
    ) -> None:
        self._backing = backing
        self.id = id
        """The task's id, 32 hexadecimal digits; empty outside a child."""
        self.name = name
        """The handler's."""
        self.attempt = attempt
        """1 in the first run; runs that do not count, count not here either."""
        self.last_checkpoint = last_checkpoint
        """The newest value that an earlier run kept by `checkpoint`; None if none did."""
        self.log = TaskLog(backing)
        """Lines for the task's log."""
        self.slot = slot
        """Of a task that a schedule has made: the time that it was scheduled for, aware, in UTC; else None."""

    def progress(self, fraction: float, message: str = "") -> None:
        """Tell how far the task is: 0 to 1, and a few words. Cheap; of many in a tenth of a second, the last one counts.

        Raises:
            UsageError: The fraction is no number from 0 to 1.
        """
        if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not 0 <= fraction <= 1:
            raise UsageError(f"progress({fraction!r}): the fraction is a number from 0 to 1")
        if self._backing is not None:
            self._backing.progress(float(fraction), str(message)[:MAX_PROGRESS])

    def checkpoint(self, value: Any) -> None:
        """Keep `value` for the next run of this task; returns when it is durable, in some milliseconds.

        The newest value counts; the next run has it as `last_checkpoint`. It is what a task may be started with, at most 1 MiB
        packed. When the node or the child is to end (a deploy, a reload), this call is where the run ends too: the value
        is kept, the call does not return, and the task goes on elsewhere from there, no attempt charged, also one that runs at
        most once. On the way out `finally` and `with` do their work.

        Raises:
            BadValue: The value cannot travel; the message names the place. Nothing is kept.
        """
        if self._backing is not None:
            self._backing.checkpoint(value)

    async def acheckpoint(self, value: Any) -> None:
        """As `checkpoint`, for an `async def` handler: it blocks no event loop."""
        if self._backing is not None:
            await self._backing.acheckpoint(value)

    def cancelled(self) -> bool:
        """Whether somebody has cancelled this task: clean up and end, before the grace is over. Cheap enough for a loop."""
        return self._backing is not None and self._backing.is_cancelled()

    def draining(self) -> bool:
        """Whether the child is to end soon: the next `checkpoint` will end this run. Cheap enough for a loop."""
        return self._backing is not None and self._backing.is_draining()

    def __repr__(self) -> str:
        return f"<Context of {self.name or 'no task'} {self.id} attempt {self.attempt}>"


running_context: ContextVar[Context | None] = ContextVar("running_context", default=None)
"""The context of the run that this thread, or this asyncio task, works on."""


def current() -> Context:
    """The context of the task that runs here. Outside of any, one of no task: it does nothing, so that code can be tested.

    In a thread that a handler has started itself there is none, unless it was started in a copy of the handler's context
    (`contextvars.copy_context().run`), as `asyncio.to_thread` does.
    """
    return running_context.get() or Context()


def takes_context(function: Callable[..., Any]) -> bool:
    """Whether the first parameter of a handler is annotated as a `Context`: then it is given to it, and never sent.

    The annotation is the class or its text, quoted or not. What is no function, such as a `partial`, takes none. A decorator
    that stands before a function (`__wrapped__`) passes on what it gets.
    """
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    code = getattr(function, "__code__", None)
    is_bound = getattr(function, "__self__", None) is not None
    if code is None or code.co_argcount <= is_bound:
        return False
    annotation = function.__annotations__.get(code.co_varnames[is_bound])
    return _is_context(annotation, function.__globals__) if isinstance(annotation, str) else annotation is Context


def _is_context(annotation: str, names: dict[str, Any]) -> bool:
    """Whether a text means the `Context` of here, and no other library's; where its name is not there, by its words alone."""
    first, *rest = annotation.strip(" '\"").split(".")
    if first not in names:  # imported for type checkers alone
        return [first, *rest] in (["Context"], ["otpq", "Context"])
    found: Any = names[first]
    for name in rest:
        found = getattr(found, name, None)
    return found is Context
