"""A process in the place of a child, that runs one script: what is to be done comes on standard input, what came of it is printed.

A process of its own, since a runner ends what is below its process, and becomes a subreaper for that.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otpq.context import Context, running_context
from otpq.endings import SoftTimeout
from otpq.worker import leftovers
from otpq.worker.descendants import descendants_of
from otpq.worker.kernel import become_subreaper, is_portable
from otpq.worker.scripts import ScriptRunner

if TYPE_CHECKING:
    from types import FrameType

KEPT = 200


class Audience:
    """The run that the script belongs to. A line may be a cue: the task is cancelled then, or its soft timeout is over."""

    def __init__(self, cues: dict[str, str]) -> None:
        self.cues = cues
        self.lines: list[tuple[str, str]] = []
        self.count = 0
        self.characters = 0
        self.cancelled = cues.get("") == "cancel"

    def output(self, stream: str, line: str) -> None:
        self.count += 1
        self.characters += len(line)
        if len(self.lines) < KEPT:
            self.lines.append((stream, line))
        cue = self.cues.get(line)
        if cue == "cancel":
            self.cancelled = True
        elif cue == "soft":
            _ring()

    def is_cancelled(self) -> bool:
        return self.cancelled


def _ring() -> None:
    """The soft timeout, as the executors bring it: by a signal to the main thread, into another thread by Python."""
    if threading.current_thread() is threading.main_thread():
        signal.raise_signal(signal.SIGALRM)
    else:
        thread = ctypes.c_ulong(threading.get_ident())
        ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(SoftTimeout))


def _raise(_number: int, _frame: FrameType | None) -> None:
    raise SoftTimeout


def _interrupt(where: str) -> None:
    """Have the soft timeout come once at a moment that a test could not hit."""
    is_due = [True]

    def interrupt() -> None:
        if is_due.pop() if is_due else False:
            raise SoftTimeout

    if where == "start":
        start = subprocess.Popen.__init__

        def interrupted_start(*args: Any, **kwargs: Any) -> None:
            start(*args, **kwargs)
            interrupt()

        subprocess.Popen.__init__ = interrupted_start  # type: ignore[method-assign]
    elif where == "watch":
        watch = os.pidfd_open

        def interrupted_watch(pid: int) -> int:
            interrupt()
            return watch(pid)

        os.pidfd_open = interrupted_watch  # type: ignore[assignment]
    elif where == "end":
        end = leftovers.Leftovers.end

        def interrupted_end(self: leftovers.Leftovers, leader: int | None) -> list[int]:
            interrupt()
            return end(self, leader)

        leftovers.Leftovers.end = interrupted_end  # type: ignore[method-assign]


def _call(order: dict[str, Any]) -> dict[str, Any]:
    audience = Audience(order.get("cues", {}))
    running_context.set(Context(audience, id="ab" * 16))  # type: ignore[arg-type] # as much of one as a runner needs
    came: dict[str, Any] = {}
    try:
        came["value"] = ScriptRunner(order["dirs"])(order["path"], **order.get("kwargs", {}))
    except Exception as error:  # noqa: BLE001 - it is what the test is about
        came["error"] = [type(error).__name__, str(error), getattr(error, "details", None)]
    return {**came, "lines": audience.lines, "count": audience.count, "characters": audience.characters}


def peak_mib() -> float:
    """The most that this program had in memory. `getrusage` would count what its parent had before exec."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0.0
    return int(re.findall(r"VmHWM:\s*(\d+)", status.read_text())[0]) / 1024


def main() -> None:
    order = json.load(sys.stdin)
    if not is_portable():
        become_subreaper()
    signal.signal(signal.SIGALRM, _raise)
    if order.get("ignores_children"):
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    neighbour = subprocess.Popen(["/bin/sleep", "60"], env={})  # as an earlier task may have left one
    _interrupt(order.get("interrupted_at", ""))
    came: dict[int, dict[str, Any]] = {}
    calls = order.get("at_once") or [order]
    if order.get("threads"):
        threads = [
            threading.Thread(target=lambda n=n, call=call: came.update({n: _call({**order, **call})}))
            for n, call in enumerate(calls)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    else:
        came[0] = _call(order)
    lives = neighbour.poll() is None
    neighbour.kill()
    neighbour.wait()
    left = descendants_of(os.getpid())
    peak = peak_mib()
    print(json.dumps({**came[0], "all": [came[n] for n in sorted(came)], "left": left, "peak": peak, "lives": lives}))  # noqa: T201


if __name__ == "__main__":
    main()
