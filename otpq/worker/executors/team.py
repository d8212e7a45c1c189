"""A few threads that run tasks, each with an event loop of its own where it needs one."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeAlias

from otpq.context import running_context
from otpq.running import running_task
from otpq.worker.executors.calling import Caller
from otpq.worker.soft_timeout import Interruption

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.worker.backing import Means, RunContext
    from otpq.worker.executors.calling import Await, Ended
    from otpq.worker.executors.plans import Plans

__all__ = ["Team"]

_Job: TypeAlias = "tuple[RunContext, Callable[[Ended], object]]"


class Team:
    """As many threads as there were jobs at a time."""

    def __init__(self, plans: Plans, means: Means, await_: Await | None = None) -> None:
        """`await_` is for the coroutines of handlers; None: each thread has a loop."""
        self._plans = plans
        self._means = means
        self._await = await_
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._started = 0
        self._lock = threading.Lock()
        self._idle = 0

    def run(self, context: RunContext, then: Callable[[Ended], object]) -> None:
        """Have a task run, and `then` called with what became of it, in the thread that ran it."""
        with self._lock:
            if self._idle:
                self._idle -= 1
            else:
                self._started += 1
                # Daemons: a handler that never comes back must not keep the child from its end.
                threading.Thread(target=self._work, name=f"otpq-task-{self._started}", daemon=True).start()
        self._jobs.put((context, then))

    def _work(self) -> None:
        caller = Caller(self._plans, self._means, soft=Interruption, is_alone=False, await_=self._await)
        while (job := self._jobs.get()) is not None:
            context, then = job
            running_context.set(context)
            running_task.set(context.item.id)
            ended = caller.run(context)
            context.is_over = True
            running_context.set(None)
            running_task.set(None)
            with self._lock:
                self._idle += 1
            then(ended)
            del job, context, then, ended  # the next one may be long in coming
        caller.close()

    def close(self) -> None:
        """Let the threads go that have nothing to do."""
        for _ in range(self._started):
            self._jobs.put(None)
