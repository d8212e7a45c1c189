"""Reader: the actor that owns the process which looks into the store for operators.

A page of a million tasks costs milliseconds of Python; in the node's process it would hold up every task. The process is
started at the first question and not with the node: most nodes of a laptop are never asked, and it costs 20 MiB and a tenth
of a second. From then on it stays.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Final

from otpq.otp import GenServer, cast, self_pid, send
from otpq.queue.messages import Asked, ReaderUp
from otpq.queue.queries import BadQuery
from otpq.queue.reader_process import ReaderLost, ReaderProcess
from otpq.queue.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.otp import Server
    from otpq.queue.looking import AnyLook, Seen

__all__ = ["Reader"]

logger = logging.getLogger("otpq.queue")

_TRIES: Final = 3
_NEXT: Final = "next"


class Reader(GenServer):
    """Answers each `Asked` with an `Answered`, by one look at a time for each in turn."""

    callback_mark = 30.0  # a look waits for the process, which may be slow, and then be given up

    def init(self, url: str, queue_server: Server, clock: Callable[[], float] = time.monotonic) -> None:
        """Say that it is there.

        Args:
            url: A store in a file.
            queue_server: Who asks.
            clock: Seconds, by which the budget of a question is counted.
        """
        self._url = url
        self._queue_server = queue_server
        self._at_work: ReaderProcess | None = None
        self._clock = clock
        self._not_looking = 0.0
        """Seconds that processes took to start and were lost with: no question's fault, and so of no question's budget."""
        self._turns = Turns(clock=lambda: self._clock() - self._not_looking)
        self.own(self._let_go)
        cast(queue_server, (ReaderUp(self.pid),))

    def handle_cast(self, request: Any) -> None:
        """Take a question; the looks follow, each as a message of its own, so that later questions get in between."""
        assert isinstance(request, Asked)  # noqa: S101 - a private message
        if not self._turns:
            send(self_pid(), _NEXT)
        self._turns.add(request.number, request.inquiry)

    def handle_info(self, message: Any) -> None:  # noqa: ARG002 - _NEXT alone comes here
        """Take one look."""
        answered = self._turns.step(self._look)
        if answered is not None:
            cast(self._queue_server, (answered,))
        if self._turns:
            send(self_pid(), _NEXT)

    def _look(self, what: AnyLook) -> Seen:
        """Have it taken by the process; by another one if that is lost, since a look changes nothing."""
        for _ in range(_TRIES):
            self_pid()  # not any more if it was the killer of this server who let the process go
            begun, is_new = self._clock(), self._at_work is None
            try:
                if self._at_work is None:
                    self._at_work = ReaderProcess(self._url)
                return self._at_work.look(what)
            except (ReaderLost, OSError) as lost:  # OSError: the system has no room for a process now
                logger.warning("the reader's process is lost: %s", lost)
                self._let_go()
            finally:
                if is_new or self._at_work is None:
                    self._not_looking += self._clock() - begun
        raise BadQuery("reader_lost", f"there was no process that reads the store, {_TRIES} times; ask again")

    def _let_go(self) -> None:
        process, self._at_work = self._at_work, None
        if process is not None:
            process.kill()
