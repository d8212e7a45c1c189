"""An event loop that runs handlers, and what they leave behind in it, which must not harm those that come after."""

from __future__ import annotations

import asyncio
import contextlib
import traceback
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextvars import Context

__all__ = ["end_loop", "new_loop", "run_in", "run_until"]

_PATIENCE: Final = 1.0
"""Seconds that what was left behind has to end when it is cancelled."""


def new_loop() -> asyncio.AbstractEventLoop:
    """A loop for this thread."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)  # some libraries look for it before they are in it
    return loop


def run_until(loop: asyncio.AbstractEventLoop, is_done: Callable[[], bool]) -> None:
    """Run the loop until that is true, and is looked at: whoever makes it true stops the loop.

    asyncio lets SystemExit and KeyboardInterrupt of any of its tasks through, and any of them can stop the loop. It goes on.
    """
    while not is_done():
        try:
            loop.run_forever()
        except (SystemExit, KeyboardInterrupt):
            if not is_done():  # of a task that a handler left behind
                traceback.print_exc()


def run_in(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], context: Context) -> Any:
    """What the coroutine returns, or raises."""
    task = loop.create_task(coroutine, context=context)
    task.add_done_callback(lambda _: loop.stop())
    try:
        run_until(loop, task.done)
    except BaseException:  # of a signal handler of the user's, in the middle of the loop itself
        task.cancel()
        run_until(loop, task.done)
        raise
    return task.result()


def end_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what was left behind, and close it. Nobody waits for what does not let itself be cancelled, nor for threads."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    with contextlib.suppress(BaseException):  # whatever they do on their way out
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks, timeout=_PATIENCE))
        loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
