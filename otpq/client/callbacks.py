"""The thread on which a client calls its users back. One, so that callbacks of one client never run side by side."""

from __future__ import annotations

import os
from threading import Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from queue import SimpleQueue

__all__ = ["Callbacks"]


class Callbacks:
    """Runs functions one after the other; a failing one is logged and stops nobody."""

    def __init__(self) -> None:
        self._lines: dict[int, SimpleQueue[Callable[[], object] | None]] = {}

    def put(self, function: Callable[[], object]) -> None:
        """Run `function` after those put before it. Its thread starts with the first, and anew in a forked child."""
        pid = os.getpid()
        line = self._lines.get(pid)
        if line is None:
            from queue import SimpleQueue  # here: most clients call nobody back

            fresh: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
            line = self._lines.setdefault(pid, fresh)
            if line is fresh:
                Thread(target=_run, args=(line,), name="otpq-callbacks", daemon=True).start()
        line.put(function)

    def close(self) -> None:
        """End the thread after what was put before."""
        line = self._lines.pop(os.getpid(), None)
        if line is not None:
            line.put(None)


def _run(line: SimpleQueue[Callable[[], object] | None]) -> None:
    import logging

    while (function := line.get()) is not None:
        try:
            function()
        except Exception:
            logging.getLogger("otpq.client").exception("a callback failed")
