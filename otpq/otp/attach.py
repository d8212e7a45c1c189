"""attach: make the current thread a process, for a program's main thread, a test or a prompt.

with attach() as me:
shop = Shop.start_link()
me.receive(timeout=1)
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from queue import Empty
from typing import TYPE_CHECKING, Any

from otpq.otp import process as _process
from otpq.otp.errors import ProcessExit, UsageError
from otpq.otp.process import WAKE, Process, current, guard
from otpq.otp.reasons import Crash, Reason, Shutdown
from otpq.otp.registry import Registry
from otpq.otp.signals import check_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otpq.otp.pid import Pid

__all__ = ["Attached", "attach"]


class Attached:
    """The current thread's process: it links, monitors and calls like any other, and reads its mailbox itself."""

    def __init__(self, process: Process) -> None:
        self._process = process

    @property
    def pid(self) -> Pid:
        """Its pid."""
        return self._process.pid

    @property
    def registry(self) -> Registry:
        """Its registry, and that of all that it starts."""
        return self._process.registry

    def receive(self, timeout: float) -> Any:
        """The next message: what was sent, an `Exit`, a `Down`; from `call` and `cast` a `Call` and a `Cast`.

        Raises:
            TimeoutError: None came within `timeout` seconds.
            ProcessExit: This process was ended by a link or by another.
        """
        deadline = time.monotonic() + check_seconds("timeout", timeout)
        while True:
            guard()
            try:
                wait = min(max(0.0, deadline - time.monotonic()), threading.TIMEOUT_MAX)
                item = self._process.inbox.get(timeout=wait)
            except Empty:
                raise TimeoutError(f"no message within {timeout} s") from None
            if item is not WAKE and not self._process.is_stale(item):
                return item


@contextmanager
def attach(label: str = "main", *, registry: Registry | None = None, trap_exit: bool = False) -> Iterator[Attached]:
    """Make the current thread a process until the block ends.

    At the end of the block the process ends, with `Shutdown()` or the exception that left the block, and what is linked
    to it hears of it. It does not wait: `stop` a tree to see it down.

    Args:
        label: How its pid shows.
        registry: Where it belongs; a new one by default.
        trap_exit: Whether the ends of linked processes come as `Exit` messages. If not, they end this process, and the
            next use of this package raises `ProcessExit`.

    Raises:
        UsageError: This thread is a process already.
    """
    me = current()
    if me is not None:
        raise UsageError(f"this thread is the process {me.pid} already")
    process = Process(label, registry if registry is not None else Registry(), trap_exit=trap_exit)
    process.registry.enter(process.pid)
    _process.enter(process)
    reason: Reason = Shutdown()
    try:
        yield Attached(process)
    except ProcessExit as exit_:
        reason = exit_.reason
        raise
    except BaseException as error:
        reason = Crash(error)
        raise
    finally:
        _process.leave()
        process.die(reason)
