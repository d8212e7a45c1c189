"""Which task runs here: told by whoever runs it, read by a client for the `parent` of what is submitted meanwhile.

Of the standard library alone, as every child imports it.
"""

from __future__ import annotations

from contextvars import ContextVar

__all__ = ["running_task"]

running_task: ContextVar[bytes | None] = ContextVar("running_task", default=None)
"""The id of the task that this thread, or this asyncio task, works on; None: none."""
