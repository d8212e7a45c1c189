"""Intake: where packets come in, and all else that a child waits for beside them: signals, threads of its own, the node's end."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from otpq.worker.packets import unpack_packet

if TYPE_CHECKING:
    from types import FrameType

    from otpq.worker.backing import Means
    from otpq.worker.packets import Packet
    from otpq.worker.task_pipe import TaskReceiver

__all__ = ["Intake"]

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Intake:
    """The packets of a child, for its main thread."""

    def __init__(self, tasks: TaskReceiver, means: Means) -> None:
        self._tasks = tasks
        self._means = means
        self._is_last = False
        self._alarm, self._alarm_write = os.pipe()
        for end in (self._alarm, self._alarm_write):
            os.set_blocking(end, False)
        self._poll = select.poll()
        for each in (self._alarm, means.control.fileno(), tasks.fileno()):
            self._poll.register(each, select.POLLIN)
        self._listens = True
        self._streams = sys.stdout, sys.stderr
        self._directory = Path.cwd()
        self._place = os.open(self._directory, _DIRECTORY)
        signal.signal(signal.SIGTERM, self._finish)

    def fileno(self) -> int:
        """To wait for a packet."""
        return self._tasks.fileno()

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to be run: the node has said so, or a signal."""
        return self._is_last or self._means.is_finishing

    def receive(self) -> Packet | None:
        """The next packet, never waiting; None if there is none now, or ever.

        Raises:
            ConnectionError: The node is gone.
        """
        if self._is_last:
            return None
        content = self._tasks.receive()
        if content is None:
            if self._tasks.closed:
                raise ConnectionAbortedError("the node is gone")
            return None
        packet = unpack_packet(content)
        self._is_last = not packet.items
        return packet if packet.items else None

    def wait(self, *, for_packets: bool = True) -> None:
        """Until a packet comes (if one is wanted), or a signal, or somebody calls `wake`; what the node tells is noted."""
        if for_packets is not self._listens:
            self._listens = for_packets
            self._poll.modify(self._tasks.fileno(), select.POLLIN if for_packets else 0)
        # Again each time, since a handler's event loop may have taken the wakeup descriptor; then a last look, since a
        # signal may have come before this line.
        signal.set_wakeup_fd(self._alarm_write, warn_on_full_buffer=False)
        if for_packets and self._means.is_finishing:
            return
        for descriptor, _ in self._poll.poll():
            if descriptor == self._alarm:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._alarm, 512)
            elif descriptor != self._tasks.fileno():
                self._means.control.look()

    def wake(self) -> None:
        """End `wait`, from any thread."""
        with contextlib.suppress(BlockingIOError):  # full: it is awake
            os.write(self._alarm_write, b"w")

    def _finish(self, _number: int, _frame: FrameType | None) -> None:
        self._means.is_finishing = True

    # --- tidying up -------------------------------------------------------------------------------------------------

    def tidy(self) -> None:
        """Put back what a handler changed for all that come after it: directory and streams. For when none runs."""
        try:
            os.fchdir(self._place)
        except OSError:  # it has closed that descriptor too
            with contextlib.suppress(OSError):
                self._place = os.open(self._directory, _DIRECTORY)
                os.fchdir(self._place)
        if sys.stdout is not self._streams[0] or sys.stderr is not self._streams[1]:
            sys.stdout, sys.stderr = self._streams
