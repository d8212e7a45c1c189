"""One run: the handler called within its limits, and whatever comes out of it made an outcome. What the executors share.

Nothing that a handler raises gets past this file: it is the border, and sys.exit and Ctrl-C of a handler stop here.
"""

from __future__ import annotations

import contextlib
import os
import sys
from contextvars import copy_context
from functools import partial
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from otpq.endings import LONGEST, Cancel, Discard, HandOver, Retry, Snooze, SoftTimeout
from otpq.worker.conversion import BadArgument
from otpq.worker.executors.plans import NoHandler
from otpq.worker.packets import Outcome
from otpq.worker.soft_timeout import Alarm, within
from otpq.worker.values import pack_error, pack_value

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine, Sequence
    from contextlib import AbstractContextManager

    from otpq.worker.backing import Means, RunContext
    from otpq.worker.executors.plans import Plan, Plans

__all__ = ["Await", "Caller", "Ended", "await_run", "call", "check_not_cancelled", "end_fork", "ended_by"]


Ended: TypeAlias = tuple[Outcome, bytes, float | None]
"""What became of a run: its outcome, the packed result or the packed error, seconds until the next one if that was said."""


Await: TypeAlias = "Callable[[Coroutine[Any, Any, Any], RunContext], object]"
"""Gives what the coroutine of a run returns."""


class Caller:
    """Calls handlers in one thread, one after the other; coroutines in an event loop of its own, always the same.

    So connections that belong to a loop can outlive a task.
    """

    def __init__(
        self,
        plans: Plans,
        means: Means,
        *,
        soft: Callable[[float], AbstractContextManager[None]] = Alarm,
        is_alone: bool = True,
        await_: Await | None = None,
    ) -> None:
        """Made in any thread, used in one.

        Args:
            plans: How handlers are to be called.
            means: The child's.
            soft: Limits time in this thread.
            is_alone: Whether memory can be limited, since no other task runs beside.
            await_: For coroutines; None: in a loop of its own.
        """
        self._plans = plans
        self._means = means
        self._soft = soft
        self._is_alone = is_alone
        self._await = self._run_loop if await_ is None else await_
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, context: RunContext) -> Ended:
        """Run a task, whatever it does."""
        plan = None
        try:
            means = self._means
            if means.control.has_cancelled:
                check_not_cancelled(context)
            plan = self._plans.of(context.item)
            args, kwargs = plan.arguments(context)
            value = call(plan, args, kwargs) if plan.is_free else self._limited(plan, args, kwargs, context)
            if type(value) is CoroutineType:
                value = self._await(value, context)
            if means.is_forked:
                end_fork(None)
            return Outcome.SUCCEEDED, pack_value(value), None
        except BaseException as error:  # noqa: BLE001 - see above
            return ended_by(error, context, plan)

    def _limited(self, plan: Plan, args: Sequence[Any], kwargs: dict[str, Any], context: RunContext) -> object:
        """The same under a limit of time, or memory, or both."""
        if plan.memory is None or not self._is_alone:
            return self._in_time(plan, args, kwargs, context)
        from otpq.worker.memory import within_memory

        with within_memory(plan.memory):
            return self._in_time(plan, args, kwargs, context)

    def _in_time(self, plan: Plan, args: Sequence[Any], kwargs: dict[str, Any], context: RunContext) -> object:
        soft = plan.soft_timeout
        if soft is None or plan.is_coroutine:
            value = call(plan, args, kwargs)
        else:
            with self._soft(soft):
                value = call(plan, args, kwargs)
        if type(value) is not CoroutineType:
            return value
        return self._await(value if soft is None else within(soft, value), context)

    def _run_loop(self, coroutine: Coroutine[Any, Any, Any], context: RunContext) -> object:
        from otpq.worker.executors.loops import (  # 40 ms, and only a child with an `async def` pays them
            new_loop,
            run_in,
        )

        if self._loop is None:
            self._loop = new_loop()
            self._means.control.attach(self._loop)
        return run_in(self._loop, await_run(coroutine, context), copy_context())

    def close(self) -> None:
        """End the loop, if there is one; what still runs in it is cancelled."""
        if self._loop is not None:
            from otpq.worker.executors.loops import end_loop

            self._means.control.detach(self._loop)
            end_loop(self._loop)


def check_not_cancelled(context: RunContext) -> None:
    """Return if the task may be started.

    Raises:
        Cancel: It was cancelled before.
    """
    if context.means.control.is_cancelled(context.lease, context.item.seq):
        raise Cancel("it was cancelled before it started")


def call(plan: Plan, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """What the handler returns, or its coroutine.

    Raises:
        BadArgument: It cannot be called so.
        BaseException: What it raises.
    """
    try:
        return plan.handler(*args, **kwargs)
    except TypeError as error:
        if _is_of_the_call(error, plan.handler):
            raise BadArgument(f"{plan.name} cannot be called with these arguments: {error}") from None
        raise


async def await_run(coroutine: Coroutine[Any, Any, Any], context: RunContext) -> Any:
    """What the coroutine of a run returns; it is cancelled when the task is."""
    import asyncio

    cancel = partial(asyncio.get_running_loop().call_soon_threadsafe, _current(asyncio).cancel)
    with context.means.control.watched(context.lease, context.item.seq, cancel):
        return await coroutine


def _current(aio: Any) -> asyncio.Task[Any]:
    task: asyncio.Task[Any] = aio.current_task()
    return task


def ended_by(error: BaseException, context: RunContext, plan: Plan | None) -> Ended:
    """What an exception means that came out of a run."""
    if context.means.is_forked:
        end_fork(error)
    return _outcome_of(error, context, plan), pack_error(error), _delay_of(error)


def _outcome_of(error: BaseException, context: RunContext, plan: Plan | None) -> Outcome:
    for kind, outcome in _OUTCOMES.items():
        if isinstance(error, kind):
            return outcome
    if isinstance(error, MemoryError) and plan is not None and plan.memory is not None:
        return Outcome.OUT_OF_MEMORY
    aio = sys.modules.get("asyncio")
    if (
        aio is not None
        and isinstance(error, aio.CancelledError)
        and context.means.control.is_cancelled(context.lease, context.item.seq)
    ):
        return Outcome.CANCELLED
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
    HandOver: Outcome.HANDED_OVER,
}
"""What an exception means; any other is a failure."""


def _is_of_the_call(error: TypeError, handler: Callable[..., Any]) -> bool:
    """Whether the arguments, by number or name, are not those of the handler: then no line of it was run.

    What is written in C leaves no frame either, and is given the benefit of the doubt.
    """
    trace = error.__traceback__
    return trace is not None and trace.tb_next is None and hasattr(handler, "__code__")


def end_fork(error: BaseException | None) -> None:
    """A handler forked and the copy came back out of the handler: it must not live on as a second child."""
    code: object = 0 if error is None else 1
    if isinstance(error, SystemExit):
        code = 0 if error.code is None else error.code
    elif error is not None:
        sys.excepthook(type(error), error, error.__traceback__)
    with contextlib.suppress(BaseException):
        sys.stdout.flush()
    os._exit(code if isinstance(code, int) else 1)
