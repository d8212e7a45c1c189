"""The loop of a GenServer: takes messages from the mailbox, calls callbacks, carries out their answers.

    init -> ack to the starter -> (message -> callback -> answer)* -> terminate -> dead

An answer leaves an *action*: an idle timeout for the next wait, or a `Continue` that comes before any message. The end
is a `ProcessExit`, raised here after `terminate`, or at once where the process was declared dead during a callback.
"""

from __future__ import annotations

import logging
import threading
import traceback
from queue import Empty
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Protocol

import pykka

from otpq.otp.calls import Caller, StopRequest, reply
from otpq.otp.errors import BadReturn, ProcessExit
from otpq.otp.messages import TIMEOUT, Action, Call, Cast, Continue, Down, Exit, Ignore, NoReply, Ok, Reply, Stop
from otpq.otp.process import WAKE, Ended, Process, settle
from otpq.otp.reasons import Crash, Normal, Reason, is_clean

if TYPE_CHECKING:
    from collections.abc import Callable
    from queue import SimpleQueue

    from otpq.otp.registry import Registry

__all__ = ["BATCH", "Callbacks", "Inspect", "ServerProcess"]

logger = logging.getLogger("otpq.otp")

BATCH = 1000
"""The most messages taken from the inbox at one wake-up: beyond about this, only latency grows."""

_AFTER_CALL = "Reply(value), NoReply() or Stop(reason)"
_AFTER_OTHERS = "None, NoReply() or Stop(reason)"


class Callbacks(Protocol):
    """What the loop needs of a server; `GenServer` documents each."""

    trap_exit: ClassVar[bool]
    mailbox_limit: ClassVar[int | None]
    from_afar: ClassVar[frozenset[str]]
    mailbox_mark: ClassVar[int]
    callback_mark: ClassVar[float]

    def make_inbox(self) -> SimpleQueue[Any] | None: ...  # noqa: D102
    def init(self, *args: Any, **kwargs: Any) -> Any: ...  # noqa: D102
    def handle_call(self, request: Any, caller: Caller) -> Any: ...  # noqa: D102
    def handle_cast(self, request: Any) -> Any: ...  # noqa: D102
    def handle_info(self, message: Any) -> Any: ...  # noqa: D102
    def handle_continue(self, arg: Any) -> Any: ...  # noqa: D102
    def handle_batch(self, messages: list[Any]) -> Any: ...  # noqa: D102
    def terminate(self, reason: Reason) -> None: ...  # noqa: D102
    def format_state(self) -> object: ...  # noqa: D102


class Inspect:
    """A question to a server, answered on its own thread between two callbacks."""

    __slots__ = ("future", "question")

    def __init__(self, question: Callable[[Callbacks], object]) -> None:
        self.question = question
        self.future: pykka.Future[Any] = pykka.ThreadingFuture()


_OWN = frozenset({type(WAKE), StopRequest, Inspect, Exit, Down})
"""Types of items that may concern the loop and not the server."""


class ServerProcess(Process):
    """The process of one GenServer."""

    def __init__(
        self,
        server: Callbacks,
        *,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        label: str,
        registry: Registry,
        parent: Process | None,
        is_batching: bool,
    ) -> None:
        super().__init__(
            label,
            registry,
            None if parent is None else parent.pid,
            trap_exit=server.trap_exit,
            inbox=server.make_inbox(),
        )
        self.server = server
        self.mailbox_limit = server.mailbox_limit
        self.from_afar = server.from_afar
        self.mailbox_mark = server.mailbox_mark
        self.callback_mark = server.callback_mark
        self.started: pykka.Future[Ignore | Ended | None] = pykka.ThreadingFuture()
        """None when the server is up; `Ended` if it ended before."""
        self.add_caller(self.started)
        self._arguments = args, kwargs
        self._is_batching = is_batching

    def main(self) -> Reason:
        """Run the server from `init` to its end: the reason of a failed start, else a `ProcessExit`."""
        args, kwargs = self._arguments
        del self._arguments
        self.callback_since, self.callback = monotonic(), "init"
        if self.exit_reason is not None:  # as in _run
            raise ProcessExit(self.exit_reason)
        try:
            answer = self.server.init(*args, **kwargs)
        except ProcessExit as exit_:
            answer = Stop(exit_.reason)
        except BaseException as error:  # noqa: BLE001 - the starter's to see
            answer = Stop(Crash(error))
        self.callback = None
        if answer is not None and not isinstance(answer, Ok):
            return self._fail_start(answer)
        if self.drop_caller(self.started):
            settle(self.started, None)
        return self._loop(None if answer is None else self._checked("init", answer.action))

    def _fail_start(self, answer: object) -> Reason:
        if isinstance(answer, Ignore):
            reason: Reason = Normal()
        elif isinstance(answer, Stop):
            reason = answer.reason
        else:
            reason = Crash(BadReturn("init", answer, "None, Ok(), Ignore() or Stop(reason)"))
        is_ignored = isinstance(answer, Ignore) and self.drop_caller(self.started)
        self.abandon(reason)  # the starter hears of it last, when names are free again
        if is_ignored:
            settle(self.started, answer)
        return reason

    def abandon(self, reason: Reason) -> None:
        """End a process whose start failed. Its parent hears of it from the starter, not by a signal."""
        if self.parent is not None:
            self.parent.process.unlink(self)
        self.die(reason)

    # --- the loop ----------------------------------------------------------------------------------------------------

    def _loop(self, action: Action) -> NoReturn:
        server, pending = self.server, self.pending
        while True:
            if action is not None and isinstance(action, Continue):
                action = self._run("handle_continue", server.handle_continue, action.arg)
                continue
            if not pending and not self._fill(action):
                action = self._run("handle_info", server.handle_info, TIMEOUT)
                continue
            item = pending.popleft()
            kind = type(item)
            if kind in _OWN and self._is_own(kind, item):
                continue  # as if it had not come: the action stands
            if self.tracer is not None:
                self.trace("receive", item, None)
            if self._is_batching:
                action = self._run("handle_batch", server.handle_batch, self._batch(item))
            elif kind is Cast:
                action = self._run("handle_cast", server.handle_cast, item.request)
            elif kind is Call:
                action = self._run_call(item)
            else:
                action = self._run("handle_info", server.handle_info, item)

    def _fill(self, timeout: float | None) -> bool:
        """Move what the inbox holds into `pending`, after a wait for the first; False if none came in time."""
        inbox, pending = self.inbox, self.pending
        try:
            if timeout == 0:
                pending.append(inbox.get_nowait())
            else:
                pending.append(inbox.get(timeout=None if timeout is None else min(timeout, threading.TIMEOUT_MAX)))
        except Empty:
            return False
        for _ in range(min(inbox.qsize(), BATCH - 1)):
            pending.append(inbox.get_nowait())
        return True

    def _is_own(self, kind: type, item: Any) -> bool:
        """Act on an item that may concern the loop and not the server; False if the server is to have it.

        Raises:
            ProcessExit: It was the word to end.
        """
        if kind is Exit:
            if item.pid is self.parent:
                raise self._end(item.reason, is_own=False)
            return False
        if kind is StopRequest:
            raise self._end(item.reason)
        if kind is Inspect:
            self._inspect(item)
            return True
        if item is WAKE and self.exit_reason is not None:
            raise ProcessExit(self.exit_reason)
        return item is WAKE or self.is_stale(item)

    def _batch(self, first: object) -> list[Any]:
        """`first` and what follows it in `pending`, up to what concerns the loop."""
        batch, pending = [first], self.pending
        while pending:
            item = pending[0]
            kind = type(item)
            if kind in _OWN and (kind is not Exit or item.pid is self.parent):
                break
            pending.popleft()
            if self.tracer is not None:
                self.trace("receive", item, None)
            batch.append(item)
        return batch

    # --- callbacks and their answers ---------------------------------------------------------------------------------

    def _run(self, callback: str, function: Callable[[Any], Any], arg: object) -> Action:
        self.callback_since = monotonic()
        self.callback = callback
        if self.exit_reason is not None:  # after the assignment: a death sets the reason first and looks at it then
            raise ProcessExit(self.exit_reason)
        try:
            answer = function(arg)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it ends this process and no other
            raise self._fail(callback, error) from None
        self.callback = None
        if answer is None:
            return None
        if type(answer) is NoReply:
            return self._checked(callback, answer.action)
        if type(answer) is Stop:
            raise self._end(answer.reason)
        raise self._end(Crash(BadReturn(callback, answer, _AFTER_OTHERS)), during=callback)

    def _run_call(self, item: Call) -> Action:
        self.callback_since = monotonic()
        self.callback = "handle_call"
        if self.exit_reason is not None:  # as in _run
            raise ProcessExit(self.exit_reason)
        try:
            answer = self.server.handle_call(item.request, item.caller)
        except BaseException as error:  # noqa: BLE001 - as in _run
            raise self._fail("handle_call", error) from None
        self.callback = None
        if type(answer) is Reply:
            reply(item.caller, answer.value)
            return self._checked("handle_call", answer.action)
        if type(answer) is NoReply:
            return self._checked("handle_call", answer.action)
        if type(answer) is Stop:
            raise self._end(answer.reason, lambda: reply(item.caller, answer.reply) if answer.has_reply else None)
        raise self._end(Crash(BadReturn("handle_call", answer, _AFTER_CALL)), during="handle_call")

    def _checked(self, callback: str, action: Action) -> Action:
        is_seconds = isinstance(action, int | float) and not isinstance(action, bool) and action >= 0
        if action is None or type(action) is Continue or is_seconds:
            return action
        raise self._end(
            Crash(BadReturn(callback, action, "an idle timeout of 0 s or more, or Continue(arg)")), during=callback
        )

    def _inspect(self, item: Inspect) -> None:
        try:
            answer = item.question(self.server)
        except Exception as error:  # noqa: BLE001 - the asker's to see
            answer = error
        if self.drop_caller(item.future):
            settle(item.future, answer)

    # --- the end -----------------------------------------------------------------------------------------------------

    def _fail(self, callback: str, error: BaseException) -> ProcessExit:
        """The end of a server whose callback raised `error`."""
        self.callback = None
        if isinstance(error, ProcessExit):
            return self._end(error.reason)
        return self._end(Crash(error), during=callback)

    def _end(
        self, reason: Reason, then: Callable[[], None] | None = None, *, during: str = "", is_own: bool = True
    ) -> ProcessExit:
        """Run `terminate`, then `then`; what it gives is to be raised, to leave the loop with the reason of the end."""
        if self.exit_reason is not None:
            return ProcessExit(self.exit_reason)
        if not isinstance(reason, Reason):
            reason = Crash(BadReturn("a callback", Stop(reason), "a Stop whose reason is a Reason"))
        if is_own:
            self._log(reason, during)
        self.callback, self.callback_since = "terminate", monotonic()
        try:
            self.server.terminate(reason)
        except ProcessExit as exit_:
            reason = exit_.reason
        except BaseException as error:  # noqa: BLE001 - as in _run
            reason = Crash(error)
            self._log(reason, "terminate")
        self.callback = None
        if then is not None:
            then()
        if isinstance(reason, Crash):
            # The reason may be kept for long by others: let go of what the frames of its traceback hold.
            traceback.clear_frames(reason.error.__traceback__)
        return ProcessExit(reason)

    def _log(self, reason: Reason, during: str) -> None:
        if isinstance(reason, Crash):
            logger.error("%r crashed in %s: %s", self.pid, during or "a callback", reason, exc_info=reason.error)
        elif not is_clean(reason):
            logger.error("%r ends: %r", self.pid, reason)
