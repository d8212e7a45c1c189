"""An app whose handler leaves processes behind that write what they do, and when, until somebody ends them.

Loaded by children from its path. Each line of the journal is one write: `kind incarnation task pid boottime_ns`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
import zlib
from dataclasses import dataclass
from types import MappingProxyType, SimpleNamespace
from typing import TYPE_CHECKING, Any

from otpq.worker.deadline import boottime_ns

if TYPE_CHECKING:
    from collections.abc import Callable

SAFETY_SECONDS = 60.0
"""After which a survivor ends by itself: a failing test must not fill the machine."""


def odd_sleep(incarnation: str) -> str:
    """Seconds that nobody else sleeps: such a process is ours, whatever its environment."""
    return f"86411.{zlib.crc32(incarnation.encode())}"


@dataclass(frozen=True)
class Definition:
    handler: Callable[..., Any]
    declaration: bytes = b""


def note(journal: int, kind: str, incarnation: str, task: int) -> None:
    os.write(journal, f"{kind} {incarnation} {task} {os.getpid()} {boottime_ns()}\n".encode())


def beat(journal: int, incarnation: str, task: int) -> None:
    """Be busy until killed, and deaf to requests."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    end = time.monotonic() + SAFETY_SECONDS
    while time.monotonic() < end:
        note(journal, "beat", incarnation, task)
        time.sleep(0.002)


def daemonise(journal: int, incarnation: str, task: int) -> None:
    """The double fork of the books: a process of another session, group and parent."""
    if os.fork() != 0:
        return
    os.setsid()
    if os.fork() != 0:
        os._exit(0)
    try:
        beat(journal, incarnation, task)
    finally:
        os._exit(0)


def work(path: str, incarnation: str, task: int, seconds: float) -> int:
    journal = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    note(journal, "start", incarnation, task)
    daemonise(journal, incarnation, task)
    # A program in a session of its own whose environment carries no mark.
    subprocess.Popen(["/bin/sleep", odd_sleep(incarnation)], env={}, start_new_session=True)  # noqa: S603 - ours
    time.sleep(seconds)
    note(journal, "end", incarnation, task)
    os.close(journal)
    return task


def hang_in_c() -> None:
    """Deaf to everything but SIGKILL: a match that keeps the GIL for years."""
    import re

    re.match(r"(a+)+b", "a" * 64)


def bomb(count: int, incarnation: str) -> int:
    """The first children of a fork bomb: sleepers, half of them daemons."""
    for number in range(count):
        if os.fork() == 0:
            if number % 2:
                os.setsid()
                if os.fork():
                    os._exit(0)
            os.execv("/bin/sleep", ["sleep", odd_sleep(incarnation)])  # noqa: S606
    return count


def pid() -> int:
    return os.getpid()


def echo(value: Any) -> Any:
    return value


def stop_clock() -> None:
    """Let no time pass for the executor of this child from now on: how much it batches is no matter of the machine's speed."""
    from otpq.worker.executors import process

    now_ns, now = boottime_ns(), time.time()
    vars(process).update(boottime_ns=lambda: now_ns, time=SimpleNamespace(time=lambda: now))


app = SimpleNamespace(
    tasks=MappingProxyType({each.__name__: Definition(each) for each in (work, hang_in_c, bomb, pid, echo, stop_clock)})
)
