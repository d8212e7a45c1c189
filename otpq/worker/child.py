"""The program of a child: reads packets of tasks, runs them, sends back what became of them.

Started by the warden as `python -c BOOT FLOOR LABEL`, with these descriptors: 0 nothing, 1 and 2 what C code and other programs
print, 3 the packets (`task_pipe.py`), 4 a stream that brings the greeting and what concerns running tasks, and takes what they
tell and the results (`packets.py`), 5 the ring for what tasks print (`log_ring.py`), 6 a file for its stacks (`stacks.py`). It
imports msgpack, the user's app and a few neighbours.

When it ends: asked to (a packet without items, or TERM) after the tasks that run, exit code 0; when the node is gone, at
once. It need not watch the node for that while a handler runs, C code included: the warden kills it, and the kernel does
if the warden dies. Only a portable child has a thread that watches, which C code that keeps the GIL can hold up.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Protocol

import msgpack

from otpq.worker.backing import Means
from otpq.worker.blackboard import Blackboard
from otpq.worker.control import Control
from otpq.worker.executors.plans import Plans
from otpq.worker.frames import FrameReader, send_frame
from otpq.worker.intake import Intake
from otpq.worker.journal import Journal
from otpq.worker.loading import load_tasks
from otpq.worker.log_ring import LogRing
from otpq.worker.outbox import Outbox
from otpq.worker.packets import Greeting
from otpq.worker.streams import replace_streams
from otpq.worker.task_pipe import TaskReceiver
from otpq.worker.values import pack_error

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FrameType

    from otpq.worker.loading import Definition

__all__ = ["ASK", "BOOT", "INSIST", "LOG", "REFUSED", "REPORTS", "STACKS", "TASKS", "WRITER", "WRITTEN", "main"]

BOOT = "import sys; sys.path.append(sys.argv[1]); from otpq.worker.child import main; main()"
TASKS = 3
REPORTS = 4
LOG = 5
STACKS = 6

ASK: int | None = signal.SIGRTMIN + 7 if hasattr(signal, "SIGRTMIN") else getattr(signal, "SIGINFO", None)
INSIST: int | None = signal.SIGRTMIN + 8 if hasattr(signal, "SIGRTMIN") else None
"""At these it writes its stacks: Python does at the first, faulthandler at the second (`stacks.py`). Real-time signals, which nobody
else uses; where there are none, the one that asks programs for their status, and which nobody feels who does not listen for it."""
WRITTEN = "that was all\n"
WRITER = "write_stacks"
"""What stands below the stacks, and the function that they have been written by."""

REFUSED = 3
"""The exit code of a child that could not load the app."""

_NODE_GONE = 4
_BEREFT = 5
"""Of one whose descriptors a handler has closed."""


class Executor(Protocol):
    """One way of running tasks (`executors/`)."""

    def serve(self, intake: Intake) -> None:
        """Returns when the child was asked to finish and everything it received is answered for.

        Raises:
            OSError: The node is gone (`ConnectionError`), or the descriptors that lead to it.
        """

    def close(self) -> None:
        """Let go of loops and threads."""


def main() -> None:
    """Be a child until told otherwise."""
    reports = socket.socket(fileno=REPORTS)
    receiver = TaskReceiver.of_descriptor(TASKS)
    journal = Journal(LogRing.of_descriptor(LOG))
    for descriptor in (TASKS, REPORTS, LOG, STACKS):
        os.set_inheritable(descriptor, False)  # noqa: FBT003 - it takes no keyword; not for programs of handlers
    reader = FrameReader(reports)
    greeting = _greeting(reader)
    _prepare(greeting)
    replace_streams(journal)
    tasks = _load(greeting, reports)
    means = Means(Outbox(reports), Control(reader, REPORTS, _end_without_node), journal)
    executor = _executor(greeting, tasks, means)
    intake = Intake(receiver, means)
    os.register_at_fork(after_in_child=lambda: _become_fork(means))
    if greeting.portable:
        _watch_node(reports)
    try:
        send_frame(reports, msgpack.packb(["ready", os.getpid(), _declared(tasks)]))
        executor.serve(intake)
    except ConnectionError:
        _end_without_node()
    except OSError as error:
        _end_bereft(error)
    executor.close()
    _leave()


def _executor(greeting: Greeting, tasks: Mapping[str, Definition], means: Means) -> Executor:
    board, plans = Blackboard(Path(greeting.blackboard)), Plans(tasks)
    slots = [board.slot(greeting.slot + each) for each in range(greeting.parallel)]
    if greeting.executor == "thread":
        from otpq.worker.executors.thread import ThreadExecutor

        return ThreadExecutor(plans, slots, means)
    if greeting.executor == "async":
        from otpq.worker.executors.event_loop import AsyncExecutor

        return AsyncExecutor(plans, slots, board.slot(greeting.slot + greeting.parallel), means)
    from otpq.worker.executors.process import ProcessExecutor

    return ProcessExecutor(plans, slots[0], means)


def _declared(tasks: Mapping[str, Definition]) -> dict[str, bytes]:
    return {name: definition.declaration for name, definition in sorted(tasks.items())}


def _greeting(reader: FrameReader) -> Greeting:
    while True:
        for content in reader.receive():
            return Greeting.unpack(content)
        if reader.closed:
            _end_without_node()


def _prepare(greeting: Greeting) -> None:
    import faulthandler

    # Ctrl-C is for the node. Not SIG_IGN, which every program that a handler starts would inherit.
    signal.signal(signal.SIGINT, lambda *_: None)
    sys.path[:] = greeting.path
    sys.argv[:] = sys.argv[2:] or ["otpq-child"]
    faulthandler.enable()  # a crash in C code leaves its Python traceback in the log
    _be_ready_to_be_asked()


def _be_ready_to_be_asked() -> None:
    """Have the stacks of all threads written at the two signals; never into what a handler has opened under that number."""
    import faulthandler

    file = os.fstat(STACKS)

    def write_stacks(_number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(OSError):
            if os.path.samestat(file, os.fstat(STACKS)):
                faulthandler.dump_traceback(STACKS)
                os.write(STACKS, WRITTEN.encode())
                return
        if INSIST is not None:
            signal.signal(INSIST, signal.SIG_IGN)  # who is about to insist cannot see it

    if ASK is not None:
        signal.signal(ASK, write_stacks)
    if INSIST is not None:
        faulthandler.register(INSIST, file=STACKS)


def _load(greeting: Greeting, reports: socket.socket) -> Mapping[str, Definition]:
    try:
        return load_tasks(greeting.app, greeting.script_dirs, greeting.webhooks)
    except BaseException as error:  # noqa: BLE001 - a module may do anything when imported, sys.exit included
        with contextlib.suppress(OSError):
            send_frame(reports, msgpack.packb(["refused", pack_error(error)]))
        os._exit(REFUSED)


def _become_fork(means: Means) -> None:
    """In a process that a handler forked: it is not the child, and must neither take tasks nor answer for them.

    Closing also lets the worker see the child's end though the fork lives on.
    """
    means.is_forked = True
    for descriptor in (TASKS, REPORTS):
        with contextlib.suppress(OSError):
            os.close(descriptor)


def _watch_node(reports: socket.socket) -> None:
    def watch() -> None:
        poll = select.poll()
        poll.register(reports.fileno(), 0)  # only the hang-up
        poll.poll()
        _end_without_node()

    threading.Thread(target=watch, name="otpq-node-watch", daemon=True).start()


def _end_bereft(error: OSError) -> NoReturn:
    """No more can be said but by the exit code, and by the blackboard."""
    with contextlib.suppress(OSError):
        os.write(2, f"otpq: a handler has closed the descriptors that lead to the node: {error}\n".encode())
    os._exit(_BEREFT)


def _leave() -> None:
    """Return if the interpreter can end by itself; threads that handlers left behind must not keep it from that.

    Daemons too: it would wait for those of a ThreadPoolExecutor, whatever they are.
    """
    if threading.active_count() == 1:
        return
    import atexit

    atexit._run_exitfuncs()  # noqa: SLF001 - what the interpreter would do, without waiting for those threads
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    os._exit(0)


def _end_without_node() -> NoReturn:
    """No clean-up: nobody waits for it, and a handler's threads or exit hooks must not keep the process."""
    os._exit(_NODE_GONE)
