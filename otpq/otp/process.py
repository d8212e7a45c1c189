"""Process: a Pykka actor with the habits of an Erlang process.

This is the one place where Pykka is turned round. What Pykka does, and what is done here instead:

- An exception in an `ask` leaves the actor alive: here `main` ends, with a reason, whoever asked.
- A failing `on_start` never reaches the starter: here `main` tells it (see `server.py`).
- The registry is global, and one `BaseException` stops all that is in it: a Process never enters it.
- The inbox is a pure-Python `queue.Queue`: here a `SimpleQueue`, three times as fast.

Of Pykka remain the actor's construction, its inbox seam, its thread, its stopped flag and its futures;
`tests/unit/otp/test_pykka_contract.py` holds the internals that are used here.

Theory of operation. A thread cannot be killed, so death is a declaration: `die` sets `exit_reason`, once, under one lock.
From then on the process is dead for everybody: what is sent to it is dropped, and its own thread gets `ProcessExit` at
its next use of this package. The declarer's thread then does the rest, in this order:

1. run what the process `own`s, so that no resource outlives it unseen,
2. free its names,
3. tell its monitors, then the links that trap exits, then its waiting callers,
4. end the links that do not trap.

Links may bring more deaths; they are worked off a list, not by recursion, so that a chain of any length can fall. A
thread that was inside a callback is a *zombie* until that returns: counted and logged in the registry.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections import deque
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import pykka

from otpq.otp.errors import MailboxFull, ProcessExit, UsageError
from otpq.otp.messages import Down, Exit, Traced
from otpq.otp.pid import MonitorRef, Pid
from otpq.otp.reasons import Crash, Kill, Killed, NoProc, Normal, Reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.otp.distribution import FarProcess
    from otpq.otp.registry import Registry

__all__ = ["WAKE", "Ended", "Process", "current", "enter", "guard", "leave", "need_current", "settle", "wait"]

logger = logging.getLogger("otpq.otp")


class _Wake:
    """The type of `WAKE`."""


WAKE = _Wake()
"""An inbox item without meaning: it makes a sleeping process look whether it is still alive."""

# Guards what concerns two processes at once: links, monitors and the declaration of a death. Held for a few statements,
# never while a callback, a release or a notification runs. Re-entrant, because a finalizer may run anywhere.
_lock = threading.RLock()


_Falling: TypeAlias = "deque[Callable[[], None]]"
"""Deaths that are still to follow from one, in order."""


class _Here(threading.local):
    process: Process | None = None


_here = _Here()


def current() -> Process | None:
    """The process whose code runs on this thread; None on a plain thread."""
    return _here.process


def enter(process: Process) -> None:
    """Let this thread's code be that of `process` from now on."""
    _here.process = process


def leave() -> None:
    """Let this thread be a plain one again."""
    _here.process = None


def guard() -> Process | None:
    """The current process, provided that it lives.

    Raises:
        ProcessExit: It was declared dead; its thread is to come to an end.
    """
    me = _here.process
    if me is not None and me.exit_reason is not None:
        raise ProcessExit(me.exit_reason)
    return me


def need_current(what: str) -> Process:
    """The current process, for what only a process can do.

    Raises:
        UsageError: This is a plain thread.
        ProcessExit: As in `guard`.
    """
    me = guard()
    if me is None:
        raise UsageError(f"{what} needs a process to do it: inside a server, or in `with attach() as me:`")
    return me


class Ended:
    """What a waiting caller gets in place of a reply: the server's exit reason."""

    __slots__ = ("reason",)

    def __init__(self, reason: Reason) -> None:
        self.reason = reason


def wait(future: pykka.Future[Any], seconds: float) -> Any:
    """The value of `future`, waited for as the current process: its death ends the wait.

    Raises:
        pykka.Timeout: No value within `seconds` (`math.inf` for ever).
        ProcessExit: The current process was declared dead meanwhile.
    """
    me = _here.process
    if me is None:
        return future.get(timeout=min(seconds, threading.TIMEOUT_MAX))
    me.waits_for = future
    try:
        guard()  # after the assignment: a death sets the reason first and looks for the future then
        value = future.get(timeout=min(seconds, threading.TIMEOUT_MAX))
    finally:
        me.waits_for = None
    guard()
    return value


def settle(future: pykka.Future[Any], value: object) -> None:
    """Give `future` its value, unless it has one: a death may have ended the wait before."""
    with contextlib.suppress(queue.Full):
        future.set(value)


class Process(pykka.ThreadingActor):
    """One process: identity, mailbox, links, monitors, death. What it does is `main`, in a subclass."""

    use_daemon_thread = True  # a zombie must not keep the interpreter from exiting

    def __init__(
        self,
        label: str,
        registry: Registry,
        parent: Pid | None = None,
        *,
        trap_exit: bool = False,
        inbox: SimpleQueue[Any] | None = None,
    ) -> None:
        super().__init__()
        self.inbox: SimpleQueue[Any] = cast("SimpleQueue[Any]", self.actor_inbox) if inbox is None else inbox
        self.pid = Pid(label, self)
        self.registry = registry
        self.parent = parent
        self.trap_exit = trap_exit
        self.mailbox_limit: int | None = None
        self.from_afar: frozenset[str] = frozenset()
        self.mailbox_mark = 10_000
        self.callback_mark = 5.0
        self.is_mailbox_marked = False  # this and the next: what the watch has logged
        self.marked_callback = 0.0
        self.exit_reason: Reason | None = None
        self.started_at = time.time()
        # What it is doing now, written by its own thread and read by any.
        self.callback: str | None = None
        self.callback_since = 0.0
        self.waits_for: pykka.Future[Any] | None = None
        self.pending: deque[Any] = deque()  # drained from the inbox, not yet handled
        self.tracer: Callable[[Traced], None] | None = None
        # Guarded by _lock.
        self.links: dict[Process, None] = {}
        self._watchers: dict[MonitorRef, Callable[[Reason], None]] = {}
        self._owned: list[Callable[[], None]] = []
        self._callers: set[pykka.Future[Any]] = set()
        self._is_gone = False  # its releases have run, its links and monitors have been told
        self._thread_ended = True
        # This process's own monitors; only its thread touches it.
        self.monitors: set[MonitorRef] = set()

    # --- the seams of Pykka ------------------------------------------------------------------------------------------

    @staticmethod
    def _create_actor_inbox() -> Any:
        return SimpleQueue()

    def start_thread(self) -> None:
        """Enter the registry and start the process's thread: only now can others find it, and kill it.

        Raises:
            RuntimeError: The system gives no more threads.
        """
        self._thread_ended = False
        self.registry.enter(self.pid)
        try:
            self._start_actor_loop()
        except BaseException:
            self._thread_ended = True
            raise

    def _actor_loop(self) -> None:
        threading.current_thread().name = repr(self.pid)
        enter(self)
        try:
            reason = self.main()
        except ProcessExit as exit_:
            reason = exit_.reason
        except BaseException as error:  # noqa: BLE001 - the process boundary: nothing may pass it
            reason = Crash(error)
        self.callback = None
        self.die(reason)
        self.drop_monitors()  # again, for what a zombie was adding when it was declared dead
        with _lock:
            self._thread_ended = True
        self.registry.lay(self.pid)

    def main(self) -> Reason:
        """Do the process's work on its own thread; the answer is its exit reason."""
        raise NotImplementedError

    # --- the mailbox -------------------------------------------------------------------------------------------------

    def put(self, item: object) -> None:
        """Put `item` into the mailbox; dropped if the process is dead."""
        if self.exit_reason is None:
            self.inbox.put(item)

    def put_message(self, item: object) -> None:
        """Put a user's message into the mailbox, within its limit; signals and timers are not limited.

        Raises:
            MailboxFull: `mailbox_limit` messages wait already.
        """
        limit = self.mailbox_limit
        if limit is not None and self.mailbox_length() >= limit and self.exit_reason is None:
            raise MailboxFull(self.pid, limit)
        self.put(item)

    def mailbox_length(self) -> int:
        """How many messages wait."""
        return self.inbox.qsize() + len(self.pending)

    def trace(self, kind: str, message: object, peer: Pid | None) -> None:
        """Show one message to the tracer, if there is one. A tracer that fails is removed."""
        tracer = self.tracer
        if tracer is None:
            return
        try:
            tracer(Traced(time.time(), self.pid, kind, message, peer))
        except Exception:
            self.tracer = None
            logger.exception("%r: its tracer failed and is removed", self.pid)

    # --- links and monitors ------------------------------------------------------------------------------------------

    def link(self, other: Process) -> bool:
        """Link both; False if `other` is dead. If this one is, its reason reaches `other`."""
        with _lock:
            if not other._is_gone and not self._is_gone:
                self.links[other] = None
                other.links[self] = None
                return True
        if self.exit_reason is None:
            return False
        falling: _Falling = deque()  # killed while it started a child: the child must not be left alone
        other.hear_exit(self.pid, self.exit_reason, falling)
        _work_off(falling)
        return True

    def unlink(self, other: Process) -> None:
        """Undo `link`. An exit signal that was already received stays received."""
        with _lock:
            self.links.pop(other, None)
            other.links.pop(self, None)

    def watch(self, ref: MonitorRef, notify: Callable[[Reason], None]) -> None:
        """Have `notify` called once with the exit reason, in the declarer's thread; `NoProc` if it is over already."""
        with _lock:
            if not self._is_gone:
                self._watchers[ref] = notify
                return
        notify(NoProc())

    def unwatch(self, ref: MonitorRef) -> None:
        """Undo `watch`; nothing happens if it has fired."""
        with _lock:
            self._watchers.pop(ref, None)

    def monitor(self, other: Process | FarProcess | None, shown: Pid | str | tuple[str, str]) -> MonitorRef:
        """Have a `Down` put into this process's mailbox when `other` ends (None: there is none to end)."""
        ref = MonitorRef(other)
        self.monitors.add(ref)
        if other is None:
            self.put(Down(ref, shown, NoProc()))
        else:
            other.watch(ref, lambda reason: self.put(Down(ref, shown, reason)))
        return ref

    def is_stale(self, item: object) -> bool:
        """Whether `item` is the `Down` of a monitor that was taken back; a valid one has done its work."""
        if type(item) is not Down:
            return False
        self.monitors.discard(item.ref)
        return item.ref.is_cancelled

    def drop_monitors(self) -> None:
        """Take all monitors of this process back, at its end; otherwise long-lived processes would gather them."""
        for ref in list(self.monitors):  # a copy: a zombie's own thread may be adding one
            if ref.watched is not None:
                ref.watched.unwatch(ref)

    # --- what it owes and owns ---------------------------------------------------------------------------------------

    def own(self, release: Callable[[], None]) -> Callable[[], None]:
        """Have `release` run at the death of this process; the answer takes it back (the resource is gone already)."""
        with _lock:
            alive = self.exit_reason is None
            if alive:
                self._owned.append(release)
        if not alive:  # a zombie took hold of something: let go of it before anybody relies on its absence
            self._release([release])
            guard()

        def disown() -> None:
            with _lock:
                if release in self._owned:
                    self._owned.remove(release)

        return disown

    def add_caller(self, future: pykka.Future[Any]) -> bool:
        """Promise the exit reason to `future` if no answer comes; False if the process is dead."""
        with _lock:
            if self.exit_reason is not None:
                return False
            self._callers.add(future)
            return True

    def drop_caller(self, future: pykka.Future[Any]) -> bool:
        """Take the promise back; False if it was kept already."""
        with _lock:
            was_open = future in self._callers
            self._callers.discard(future)
            return was_open

    # --- exit signals and death --------------------------------------------------------------------------------------

    def receive_exit(self, sender: Pid, reason: Reason) -> None:
        """The exit signal `reason` of `sender`: a message, a death, or nothing."""
        if isinstance(reason, Kill):
            self.die(Killed())
        else:
            falling: _Falling = deque()
            self.hear_exit(sender, reason, falling)
            _work_off(falling)

    def hear_exit(self, sender: Pid, reason: Reason, falling: _Falling) -> None:
        """Act on an exit signal other than a direct `Kill`; what follows from a death goes into `falling`."""
        if self.trap_exit:
            self.put(Exit(sender, reason))
        elif not isinstance(reason, Normal):
            self._declare_dead(reason, falling)

    def die(self, reason: Reason) -> None:
        """Declare this process dead, for `reason`; nothing happens if it is dead."""
        falling: _Falling = deque()
        self._declare_dead(reason, falling)
        _work_off(falling)

    def _declare_dead(self, reason: Reason, falling: _Falling) -> None:
        with _lock:
            if self.exit_reason is not None:
                return
            self.exit_reason = reason
            owned, self._owned = self._owned, []
            is_zombie = self.callback is not None and not self._thread_ended and _here.process is not self
        self.actor_stopped.set()
        if is_zombie:
            self._haunt(reason)
        self._release(reversed(owned))
        with _lock:
            self._is_gone = True
            watchers, self._watchers = self._watchers, {}
            links, self.links = self.links, {}
            callers, self._callers = self._callers, set()
            for other in links:
                del other.links[self]
        self.registry.leave(self.pid)
        self.drop_monitors()
        for notify in watchers.values():
            notify(reason)
        for other in links:
            if other.trap_exit:
                other.put(Exit(self.pid, reason))
            else:
                falling.append(partial(other.hear_exit, self.pid, reason, falling))
        for future in callers:  # before those fall: their releases may take time, or wait for a caller
            settle(future, Ended(reason))
        self._wake()

    def _release(self, owned: Any) -> None:
        # As no process: a release must work in whatever thread declares the death, the dead one's own included.
        mine, _here.process = _here.process, None
        try:
            for release in owned:
                try:
                    release()
                except BaseException:
                    logger.exception("%r: a release failed; the next ones run", self.pid)
        finally:
            _here.process = mine

    def _haunt(self, reason: Reason) -> None:
        self.registry.haunt(self.pid)
        with _lock:
            if self._thread_ended:  # it came home between the two
                self.registry.lay(self.pid)
                return
        logger.warning(
            "%r ended (%r) inside %s, which has run for %.3f s: its thread is a zombie until that returns",
            self.pid,
            reason,
            self.callback,
            time.monotonic() - self.callback_since,
        )

    def _wake(self) -> None:
        if _here.process is self:
            return
        future = self.waits_for
        if future is not None:
            settle(future, WAKE)
        self.inbox.put(WAKE)


def _work_off(falling: _Falling) -> None:
    """Do what follows from a death, and what follows from that: a list, so that a chain of any length can fall."""
    while falling:
        falling.popleft()()
