"""Run tasks one at a time, in the child's main thread: the executor `process`."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from contextvars import copy_context
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgpack

from otpq.endings import LONGEST, Cancel, Discard, Retry, Snooze, SoftTimeout
from otpq.running import running_task
from otpq.worker.conversion import BadArgument
from otpq.worker.deadline import boottime_ns
from otpq.worker.packets import Item, Outcome, Packet
from otpq.worker.soft_timeout import Alarm, SoftTimeouts, within
from otpq.worker.values import pack_error, pack_value

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from otpq.worker.blackboard import Slot
    from otpq.worker.loading import Definition
    from otpq.worker.outbox import Outbox

__all__ = ["Convert", "ProcessExecutor"]

Convert: TypeAlias = "Callable[[Definition, list[Any], dict[str, Any]], tuple[Sequence[Any], dict[str, Any]]]"
"""Makes of plain arguments those that the handler's annotations ask for; raises `BadArgument` where they do not fit."""

_QUICK = 0.0005
"""Seconds. Results are held back only behind tasks of handlers whose latest run was shorter, so that they are not late."""


class NoHandler(LookupError):
    """The app has no handler of this name."""


class ProcessExecutor:
    """Runs packets. Nothing that a handler raises leaves it, only the loss of the node (`OSError`)."""

    def __init__(
        self, tasks: Mapping[str, Definition], slot: Slot, outbox: Outbox, convert: Convert | None = None
    ) -> None:
        """`convert` is a hook; None passes the arguments on as they came."""
        self._tasks = tasks
        self._slot = slot
        self._outbox = outbox
        self._convert = convert
        self._quick: set[str] = set()
        self._soft_timeouts = SoftTimeouts()
        self._runner: asyncio.Runner | None = None
        self.is_finishing = False
        """Set by whoever wants the child to end: the task that runs is the last, the others are handed back."""
        self.is_forked = False
        """Whether this is a copy of the child that a handler made with `os.fork`."""

    def run(self, packet: Packet) -> None:
        """Run its tasks in their order; their results go to the outbox."""
        outbox, slot, quick, lease = self._outbox, self._slot, self._quick, packet.lease
        for item in packet.items:
            now_ns = boottime_ns()
            if item.name not in quick or outbox.is_due(now_ns):
                outbox.flush()
            if self.is_finishing:
                outbox.add(lease, item.seq, Outcome.RETURNED, b"", 0.0, 0.0, now_ns)
                continue
            started = time.time()
            slot.begin(item.seq, lease, item.id, item.attempt, started, now_ns)
            running_task.set(item.id)
            outcome, value, delay = self._run(item)
            running_task.set(None)
            slot.end()
            finished = time.time()
            outbox.add(lease, item.seq, outcome, value, started, finished, now_ns, delay)
            self._learn(item.name, finished - started)

    def _learn(self, name: str, seconds: float) -> None:
        if seconds > _QUICK:
            self._quick.discard(name)
        elif name not in self._quick:
            self._quick.add(name)

    def _run(self, item: Item) -> tuple[Outcome, bytes, float | None]:
        try:
            value = self._call(item)
            if self.is_forked:
                self._end_fork(None)
            return Outcome.SUCCEEDED, pack_value(value), None
        except BaseException as error:  # noqa: BLE001 - this is the border: sys.exit and Ctrl-C of a handler stop here
            if self.is_forked:
                self._end_fork(error)
            return _outcome_of(error), pack_error(error), _delay_of(error)

    def _call(self, item: Item) -> object:
        definition = self._tasks.get(item.name)
        if definition is None:
            raise NoHandler(f"the app has no handler {item.name!r}")
        args, kwargs = msgpack.unpackb(item.payload, timestamp=3, strict_map_key=False)
        if self._convert is not None:
            args, kwargs = self._convert(definition, args, kwargs)
        soft = self._soft_timeouts.of(definition, item.name, item.options)
        try:
            if soft is None:
                value = definition.handler(*args, **kwargs)
            else:
                with Alarm(soft):
                    value = definition.handler(*args, **kwargs)
        except TypeError as error:
            if _is_of_the_call(error, definition.handler):
                raise BadArgument(f"{item.name} cannot be called with these arguments: {error}") from None
            raise
        if type(value) is not CoroutineType:
            return value
        return self._await(value if soft is None else within(soft, value))

    def _await(self, coroutine: Coroutine[Any, Any, Any]) -> object:
        """Run it in the loop of this child, always the same, so that connections can outlive a task."""
        if self._runner is None:
            import asyncio  # 40 ms, and only a child with an `async def` pays them

            self._runner = asyncio.Runner()
        # In today's context: the runner's own is that of its first task.
        return self._runner.run(coroutine, context=copy_context())

    def _end_fork(self, error: BaseException | None) -> None:
        """A handler forked and the copy came back out of the handler: it must not live on as a second child."""
        code: object = 0 if error is None else 1
        if isinstance(error, SystemExit):
            code = 0 if error.code is None else error.code
        elif error is not None:
            sys.excepthook(type(error), error, error.__traceback__)
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
        os._exit(code if isinstance(code, int) else 1)

    def close(self) -> None:
        """End the loop, if there is one; what still runs in it is cancelled."""
        if self._runner is not None:
            self._runner.close()


def _outcome_of(error: BaseException) -> Outcome:
    for kind, outcome in _OUTCOMES.items():
        if isinstance(error, kind):
            return outcome
    return Outcome.FAILED


def _delay_of(error: BaseException) -> float | None:
    """Seconds until the next run, if the handler said so. A class of the user's own may have put anything there."""
    delay = getattr(error, "delay", None) if isinstance(error, Retry | Snooze) else None
    return delay if isinstance(delay, float) and 0.0 <= delay <= LONGEST else None


_OUTCOMES: Final[dict[type[BaseException], Outcome]] = {
    NoHandler: Outcome.NO_HANDLER,
    BadArgument: Outcome.DISCARDED,
    Retry: Outcome.LATER,
    Snooze: Outcome.SNOOZED,
    SoftTimeout: Outcome.TIMED_OUT,
    Cancel: Outcome.CANCELLED,
    Discard: Outcome.DISCARDED,
}
"""What an exception means; any other is a failure."""


def _is_of_the_call(error: TypeError, handler: Callable[..., Any]) -> bool:
    """Whether the arguments, by number or name, are not those of the handler: then no line of it was run.

    What is written in C leaves no frame either, and is given the benefit of the doubt.
    """
    trace = error.__traceback__
    return trace is not None and trace.tb_next is None and hasattr(handler, "__code__")
