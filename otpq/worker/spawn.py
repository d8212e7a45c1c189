"""Start a program from the warden: fork, set the stage, exec.

Between fork and exec this runs Python, which is safe in a process of one thread and nowhere else; a node must never do
it. Of the standard library alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import signal
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from otpq.worker.kernel import become_subreaper, die_with_parent

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MARK", "Order", "spawn"]

MARK = "OTPQ_INCARNATION"
"""The variable of the environment that tells whose descendant a process is (`descendants.marked`)."""

_OUT_OF_THE_WAY = 64
"""Descriptors are first moved above this number, so that none stands where another must go."""

_FIRST_VICTIM = "500"
"""Added to a child's badness (of 1000): when memory runs out, the kernel takes a child, not the node or its warden."""

_EXEC_FAILED = 127  # a shell's exit code for it


class Order(NamedTuple):
    """A program to start.

    Each ends up in a session of its own, so that no terminal's signal reaches it and its group can be killed as one.
    """

    argv: list[str]
    descriptors: list[int]
    """The i-th becomes descriptor i of the program; there are no others."""
    env: dict[str, str] | None = None
    """None: the warden's own, that of the node's start."""
    cwd: str | None = None
    nice: int = 0
    data_limit: int | None = None
    """Bytes of private memory (RLIMIT_DATA)."""


def spawn(order: Order, incarnation: str, *, portable: bool) -> tuple[int, int]:
    """Start it; returns its pid, and a descriptor that tells how it went.

    The descriptor reads as end of file once the program runs, and before that as the reason why it does not.

    Raises:
        OSError: No process could be made at all.
    """
    warden = os.getpid()
    news, stage = os.pipe()
    try:
        pid = os.fork()
    except OSError:
        os.close(news)
        os.close(stage)
        raise
    if pid == 0:
        _become(order, incarnation, warden, stage, portable=portable)
    os.close(stage)
    os.set_blocking(news, False)
    return pid, news


def _become(order: Order, incarnation: str, warden: int, stage: int, *, portable: bool) -> NoReturn:
    """The new process: never returns to the warden's code."""
    try:
        signal.set_wakeup_fd(-1)  # it is shared with the warden, who would take our signals for its own
        if not portable:
            # First of all: from here on nothing that this process starts can be lost, nor it itself.
            become_subreaper()
            die_with_parent(warden)
        os.setsid()
        _restore_signals()
        stage = _arrange(order.descriptors, stage)
        _set_limits(order)
        env = dict(os.environ if order.env is None else order.env)
        env[MARK] = incarnation
        os.execvpe(order.argv[0], order.argv, env)  # noqa: S606 - no shell is what is wanted
    except BaseException as error:  # noqa: BLE001 - whatever it is, the process must not go on as a second warden
        with contextlib.suppress(BaseException):
            os.write(stage, f"{type(error).__name__}: {error}".encode("utf-8", "replace")[:4000])
    finally:
        os._exit(_EXEC_FAILED)


def _restore_signals() -> None:
    """What Python and the warden ignore would stay ignored after exec."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)


def _arrange(descriptors: Sequence[int], stage: int) -> int:
    """Put the i-th of `descriptors` at number i. All others close at exec. Returns where `stage` is now."""
    stage, *moved = [fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, _OUT_OF_THE_WAY) for each in (stage, *descriptors)]
    for number, each in enumerate(moved):
        os.dup2(each, number)
    return stage


def _set_limits(order: Order) -> None:
    with contextlib.suppress(OSError):  # a courtesy of Linux, not everywhere granted
        Path("/proc/self/oom_score_adj").write_text(_FIRST_VICTIM, encoding="ascii")
    if order.nice:
        os.nice(order.nice)
    if order.data_limit is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (order.data_limit, order.data_limit))
    if order.cwd is not None:
        os.chdir(order.cwd)
