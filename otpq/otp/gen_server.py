"""GenServer: a process with state that answers calls, casts and messages one at a time.

    class Counter(GenServer):
        def init(self, start: int = 0) -> None:
            self.value = start

        def handle_call(self, request: object, caller: Caller) -> Reply:
            self.value += 1
            return Reply(self.value)

        @staticmethod
        def next(server: Server) -> int:
            return call(server, "next")

    pid = Counter.start(5)
    Counter.next(pid)  # 6

Callbacks run on the server's own thread, one after the other; client functions run on the caller's and stand beside
them, so that no other module spells a message. An exception in a callback ends the server, with `Crash`.

When not to write one: a process stands for something that happens at run time (state shared by many, concurrency, a
failure to contain). To organise code, use functions and classes.

Source:
    Erlang's gen_server; callbacks and answers bear its names.
"""

from __future__ import annotations

import logging
import math
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import pykka

from otpq.otp.calls import Caller, cause
from otpq.otp.child_spec import ChildSpec, ChildType, Restart, ShutdownTime
from otpq.otp.errors import AlreadyStarted, NameTaken, StartFailed, StartIgnored, UsageError
from otpq.otp.messages import Ignore, NoReply, Ok, Reply, Stop
from otpq.otp.process import Ended, Process, guard, need_current, wait
from otpq.otp.reasons import Crash, Failure, Killed, Normal, Reason
from otpq.otp.registry import Registry
from otpq.otp.server_loop import ServerProcess
from otpq.otp.signals import check_seconds

if TYPE_CHECKING:
    from collections.abc import Callable
    from queue import SimpleQueue

    from otpq.otp.pid import Pid

__all__ = ["GenServer"]

logger = logging.getLogger("otpq.otp")


class GenServer:
    """Subclass it, override callbacks, keep state on `self`. Make no instance: `start` and `start_link` do."""

    trap_exit: ClassVar[bool] = False
    """Whether exit signals arrive as `Exit` messages from the start. A server that traps runs `terminate` when its
    supervisor stops it; one that does not, dies at once."""
    mailbox_limit: ClassVar[int | None] = None
    """How many messages may wait; then `call`, `cast` and `send` raise `MailboxFull` at the sender. None: no limit.

    It is looked at before a message is put, so senders at the same moment may exceed it, each by one.
    """
    from_afar: ClassVar[frozenset[str]] = frozenset()
    """What processes of other nodes may send it: 'call', 'cast', 'info'. From afar come plain values of anybody who is in the
    cluster, and a server that is written for its own node's processes alone need not be ready for them. Monitoring is free."""
    mailbox_mark: ClassVar[int] = 10_000
    """A mailbox longer than this is logged, once until it is short again."""
    callback_mark: ClassVar[float] = 5.0
    """A callback that runs longer than this many seconds is logged, once."""

    child_type: ClassVar[ChildType] = "worker"
    """What `child_spec` says it is."""

    _process: Process

    # --- starting ----------------------------------------------------------------------------------------------------

    @classmethod
    def start(
        cls,
        *args: Any,
        name: str | None = None,
        registry: Registry | None = None,
        timeout: float = math.inf,
        **kwargs: Any,
    ) -> Pid:
        """Start a server that nobody is linked to; returns when `init(*args, **kwargs)` has answered.

        Args:
            *args: For `init`.
            name: Register it under this name before `init` runs.
            registry: Where it, and all that it starts, belongs. Default: the current process's; on a plain thread a
                new one of its own (then a name could be found by nobody, and is refused).
            timeout: Seconds to wait for `init`, which is killed after them.
            **kwargs: For `init`, whose own keywords must have other names than these here.

        Raises:
            StartFailed: `init` failed, answered `Stop`, or took too long. `AlreadyStarted` if the name is held.
            StartIgnored: `init` answered `Ignore`.
            UsageError: A wrong argument; also one that `init` itself found wrong.
        """
        me = guard()
        if registry is None:
            if me is None and name is not None:
                raise UsageError(f"name={name!r} needs a registry that others can look in: pass registry=Registry()")
            registry = me.registry if me is not None else Registry()
        return _start(cls(), args, kwargs, name=name, registry=registry, parent=None, timeout=timeout)

    @classmethod
    def start_link(cls, *args: Any, name: str | None = None, timeout: float = math.inf, **kwargs: Any) -> Pid:
        """As `start`, linked to the current process, its parent, from before `init` on. What supervisors use.

        The parent's exit signal ends a server that traps exits whatever its reason, after `terminate`; one that does
        not dies at once, of any reason but `Normal()`. A failed start sends the parent no exit signal, the error is all.

        Raises:
            UsageError: Also on a plain thread, which has no pid to link to; `attach()` gives it one.
        """
        parent = need_current(f"{cls.__name__}.start_link")
        return _start(cls(), args, kwargs, name=name, registry=parent.registry, parent=parent, timeout=timeout)

    @classmethod
    def child_spec(
        cls,
        *args: Any,
        id: str | None = None,
        restart: Restart = "permanent",
        shutdown: ShutdownTime | None = None,
        significant: bool = False,
        **kwargs: Any,
    ) -> ChildSpec:
        """A spec that has a supervisor run `start_link(*args, **kwargs)`; the id is the class's name unless given."""
        return ChildSpec(
            id=cls.__name__ if id is None else id,
            start=partial(cls.start_link, *args, **kwargs),
            restart=restart,
            shutdown=shutdown,
            type=cls.child_type,
            significant=significant,
        )

    def make_inbox(self) -> SimpleQueue[Any] | None:
        """The mailbox, if it is to be a special one: a SimpleQueue whose `get` also waits for something else.

        For a server that owns sockets: it must return when either has something, and `put` must wake it.
        """
        return None

    # --- callbacks ---------------------------------------------------------------------------------------------------

    def init(self, *args: Any, **kwargs: Any) -> Ok | Ignore | Stop | None:
        """Set the state up. The starter waits; `Ok(Continue(...))` lets it go and does the slow part afterwards."""

    def handle_call(self, request: Any, caller: Caller) -> Reply | NoReply | Stop:
        """Answer a `call`: `Reply(value)`, or `NoReply()` and `reply(caller, value)` later."""
        raise UsageError(f"{type(self).__name__} has no handle_call, and was called with {request!r} by {caller}")

    def handle_cast(self, request: Any) -> NoReply | Stop | None:
        """Act on a `cast`."""
        raise UsageError(f"{type(self).__name__} has no handle_cast, and got {request!r}")

    def handle_info(self, message: Any) -> NoReply | Stop | None:
        """Act on any other message: a `send`, a timer, an `Exit`, a `Down`, `TIMEOUT`. By default it is logged and dropped."""
        logger.warning("%r has no handle_info and drops %r", self.pid, message)
        return None

    def handle_continue(self, arg: Any) -> NoReply | Stop | None:
        """Go on after an answer that carried `Continue(arg)`."""
        raise UsageError(f"{type(self).__name__} has no handle_continue, and got {arg!r}")

    def handle_batch(self, messages: list[Any]) -> NoReply | Stop | None:
        """Act on all that waits, in order, at once. Overridden, it takes the place of call, cast and info.

        Args:
            messages: At least one and at most `BATCH` of `Call`, `Cast` and plain messages. Each `Call` is owed a
                `reply(message.caller, value)`.
        """
        raise UsageError(f"{type(self).__name__} has no handle_batch for {len(messages)} messages")

    def terminate(self, reason: Reason) -> None:
        """Clean up before the end.

        Not run on a `Kill`, nor on another's exit signal if exits are not trapped: what must be released whatever
        happens is `own`ed.
        """

    def format_state(self) -> object:
        """What `state(pid)` shows: by default the attributes of `self`, a shallow copy."""
        return {name: value for name, value in vars(self).items() if name != "_process"}

    # --- for the server's own code -----------------------------------------------------------------------------------

    @property
    def pid(self) -> Pid:
        """This server's pid."""
        return self._process.pid

    @property
    def registry(self) -> Registry:
        """The registry that this server belongs to."""
        return self._process.registry

    def own(self, release: Callable[[], None]) -> Callable[[], None]:
        """Have `release` run at this server's death, whatever the cause, before any monitor or link hears of it.

        It runs in the thread that declares the death, as no process, the last owned first; it must be bounded in time
        and be safe beside a callback that still runs. What it gives back undoes it, for a resource that ended before.
        """
        return self._process.own(release)


def _start(
    server: GenServer,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    name: str | None,
    registry: Registry,
    parent: Process | None,
    timeout: float,
) -> Pid:
    check_seconds("timeout", timeout)
    limit = server.mailbox_limit
    if limit is not None and (type(limit) is not int or limit < 0):
        raise UsageError(f"mailbox_limit={limit!r} is not allowed: a whole number, 0 or more, or None for no limit")
    what = type(server).__name__
    is_batching = type(server).handle_batch is not GenServer.handle_batch
    process = ServerProcess(
        server,
        args=args,
        kwargs=kwargs,
        label=name or what,
        registry=registry,
        parent=parent,
        is_batching=is_batching,
    )
    server._process = process  # noqa: SLF001 - the two are one
    try:
        if name is not None:
            registry.register(name, process.pid)
        if parent is not None:
            parent.link(process)
        started = process.started
        process.start_thread()
        outcome = wait(started, timeout)
    except NameTaken as taken:
        process.abandon(Normal())
        raise AlreadyStarted(what, taken.name, taken.pid) from None
    except pykka.Timeout:
        process.abandon(Killed())
        raise StartFailed(what, Failure(f"init has not answered within {timeout} s")) from None
    except RuntimeError as error:  # the system gives no more threads
        process.abandon(Crash(error))
        raise StartFailed(what, Crash(error)) from error
    except BaseException:
        process.abandon(Killed())
        raise
    if isinstance(outcome, Ignore):
        raise StartIgnored(f"{what} ignored the start")
    if isinstance(outcome, Ended):
        _raise_failure(what, outcome.reason)
    return process.pid


def _raise_failure(what: str, reason: Reason) -> NoReturn:
    if isinstance(reason, Crash) and isinstance(reason.error, UsageError):
        raise reason.error  # the caller's mistake, found by init: hand it over as it is
    raise StartFailed(what, reason) from cause(reason)
