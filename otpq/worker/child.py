"""The program of a child: reads packets of tasks, runs them, sends back what became of them.

Started by the warden as `python -c BOOT FLOOR LABEL`, with these descriptors: 0 nothing, 1 and 2 the log, 3 the packets
(`task_pipe.py`), 4 a stream that brings the greeting and takes the results (`packets.py`). It imports msgpack, the user's
app and a few neighbours.

When it ends: asked to (a packet without items, or TERM) after the task that runs, exit code 0; when the node is gone, at
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
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import msgpack

from otpq.worker.blackboard import Blackboard
from otpq.worker.conversion import Converter
from otpq.worker.executors.process import ProcessExecutor
from otpq.worker.frames import FrameReader, send_frame
from otpq.worker.loading import load_app
from otpq.worker.outbox import Outbox
from otpq.worker.packets import Greeting, unpack_packet
from otpq.worker.task_pipe import TaskReceiver
from otpq.worker.values import pack_error

if TYPE_CHECKING:
    from types import FrameType

    from otpq.worker.loading import AppLike

__all__ = ["BOOT", "REFUSED", "REPORTS", "TASKS", "main"]

BOOT = "import sys; sys.path.append(sys.argv[1]); from otpq.worker.child import main; main()"
TASKS = 3
REPORTS = 4

REFUSED = 3
"""The exit code of a child that could not load the app."""

_NODE_GONE = 4


class Child:
    """The loop around an executor."""

    def __init__(self, executor: ProcessExecutor, tasks: TaskReceiver, outbox: Outbox) -> None:
        self._executor = executor
        self._tasks = tasks
        self._outbox = outbox
        self._poll = select.poll()
        self._poll.register(tasks.fileno(), select.POLLIN)
        self._alarm, self._alarm_write = os.pipe()
        for end in (self._alarm, self._alarm_write):
            os.set_blocking(end, False)
        self._poll.register(self._alarm, select.POLLIN)
        signal.signal(signal.SIGTERM, self._finish)

    def serve(self) -> None:
        """Returns when it was asked to finish and everything it received is answered for."""
        while True:
            content = self._tasks.receive()
            if content is not None:
                packet = unpack_packet(content)
                if not packet.items:
                    break
                self._executor.run(packet)
                continue
            self._outbox.flush()  # nothing to do is the moment to send
            if self._tasks.closed:
                _end_without_node()
            if self._executor.is_finishing:
                break
            self._wait()
        self._outbox.flush()

    def _wait(self) -> None:
        """Until a packet or a signal comes."""
        # Again each time, since a handler's event loop may have taken the wakeup descriptor; then a last look, since a
        # signal may have come before this line.
        signal.set_wakeup_fd(self._alarm_write, warn_on_full_buffer=False)
        if self._executor.is_finishing:
            return
        self._poll.poll()
        with contextlib.suppress(BlockingIOError):
            os.read(self._alarm, 512)

    def _finish(self, _number: int, _frame: FrameType | None) -> None:
        self._executor.is_finishing = True


def main() -> None:
    """Be a child until told otherwise."""
    reports = socket.socket(fileno=REPORTS)
    tasks = TaskReceiver.of_descriptor(TASKS)
    for descriptor in (TASKS, REPORTS):
        os.set_inheritable(descriptor, False)  # noqa: FBT003 - it takes no keyword; not for programs of handlers
    greeting = _greeting(reports)
    _prepare(greeting)
    app = _load(greeting, reports)
    outbox = Outbox(reports)
    slot = Blackboard(Path(greeting.blackboard)).slot(greeting.slot)
    executor = ProcessExecutor(app.tasks, slot, outbox, Converter())
    os.register_at_fork(after_in_child=lambda: _become_fork(executor))
    if greeting.portable:
        _watch_node(reports)
    child = Child(executor, tasks, outbox)
    try:
        send_frame(reports, msgpack.packb(["ready", os.getpid(), _declared(app)]))
        child.serve()
    except ConnectionError:
        _end_without_node()
    executor.close()


def _declared(app: AppLike) -> dict[str, bytes]:
    return {name: definition.declaration for name, definition in sorted(app.tasks.items())}


def _greeting(reports: socket.socket) -> Greeting:
    reader = FrameReader(reports)
    while True:
        for content in reader.receive():
            return Greeting.unpack(content)
        if reader.closed:
            _end_without_node()


def _prepare(greeting: Greeting) -> None:
    import faulthandler

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the node
    sys.path[:] = greeting.path
    sys.argv[:] = sys.argv[2:] or ["otpq-child"]
    faulthandler.enable()  # a crash in C code leaves its Python traceback in the log
    for stream in (sys.stdout, sys.stderr):
        # A line that was printed is in the log even if the next one kills the child.
        stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]


def _load(greeting: Greeting, reports: socket.socket) -> AppLike:
    try:
        return load_app(greeting.app)
    except BaseException as error:  # noqa: BLE001 - a module may do anything when imported, sys.exit included
        with contextlib.suppress(OSError):
            send_frame(reports, msgpack.packb(["refused", pack_error(error)]))
        os._exit(REFUSED)


def _become_fork(executor: ProcessExecutor) -> None:
    """In a process that a handler forked: it is not the child, and must neither take tasks nor answer for them.

    Closing also lets the worker see the child's end though the fork lives on.
    """
    executor.is_forked = True
    for descriptor in (TASKS, REPORTS):
        with contextlib.suppress(OSError):
            os.close(descriptor)


def _watch_node(reports: socket.socket) -> None:
    import threading

    def watch() -> None:
        poll = select.poll()
        poll.register(reports.fileno(), 0)  # only the hang-up
        poll.poll()
        _end_without_node()

    threading.Thread(target=watch, name="otpq-node-watch", daemon=True).start()


def _end_without_node() -> NoReturn:
    """No clean-up: nobody waits for it, and a handler's threads or exit hooks must not keep the process."""
    os._exit(_NODE_GONE)
