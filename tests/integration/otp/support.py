"""What the tests of running processes share: a server that does as it is told, a block to hold it, and ways to wait.

Nothing here sleeps: a test waits for a `Down`, for the answer of a call, or for an event, each with `HANG` as its guard.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from otpq import otp
from otpq.otp import (
    Attached,
    Caller,
    CallFailed,
    ChildError,
    ChildInfo,
    ChildSpec,
    DynamicSupervisor,
    Exit,
    GenServer,
    Pid,
    Reason,
    Reply,
    Server,
    Supervisor,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.otp.child_spec import Strategy

HANG = 30.0
"""Seconds after which a test that waits has failed. Never an expectation."""

MANY = 1_000_000
"""More restarts than any test makes."""

T = TypeVar("T")


class Boom(Exception):
    """What the tests' servers raise."""


class Puppet(GenServer):
    """Does what it is told: a request is a function of the puppet, and gives what the callback is to answer.

    `log` gets a line for each event of its life; puppets may share one.
    """

    def init(
        self,
        label: str = "puppet",
        log: list[Any] | None = None,
        first: Callable[[Puppet], Any] | None = None,
        *,
        traps: bool = False,
    ) -> Any:
        self.label = label
        self.log: list[Any] = [] if log is None else log
        self.caller: Caller | None = None
        otp.trap_exit(traps)
        self.log.append(("init", label))
        return None if first is None else first(self)

    def handle_call(self, request: Callable[[Puppet], Any], caller: Caller) -> Any:
        self.caller = caller
        answer = request(self)
        return Reply() if answer is None else answer

    def handle_cast(self, request: Callable[[Puppet], Any]) -> Any:
        return request(self)

    def handle_info(self, message: Any) -> Any:
        self.log.append(("info", self.label, message))
        return message(self) if callable(message) else None

    def handle_continue(self, arg: Any) -> Any:
        self.log.append(("continue", self.label, arg))
        return arg(self) if callable(arg) else None

    def terminate(self, reason: Reason) -> None:
        self.log.append(("terminate", self.label, reason))


class Block:
    """A place inside a callback where a server stays until the test lets it go: `cast(pid, block)`."""

    def __init__(self) -> None:
        self._entered = threading.Event()
        self._released = threading.Event()

    def __call__(self, _server: object = None) -> None:
        self._entered.set()
        assert self._released.wait(HANG)

    def wait_entered(self) -> None:
        assert self._entered.wait(HANG)

    def release(self) -> None:
        self._released.set()


def do(server: Server, function: Callable[[Puppet], T]) -> T:
    """What `function` gives, run by the puppet `server`."""
    value: T = otp.call(server, lambda puppet: Reply(function(puppet)), HANG)
    return value


def begin(server: Server, function: Callable[[Puppet], object]) -> None:
    """Have the puppet run `function`, and do not wait for it."""

    def run(puppet: Puppet) -> None:
        function(puppet)

    otp.cast(server, run)


def own(server: Server, release: Callable[[], object]) -> None:
    """Have the puppet own `release`."""

    def run() -> None:
        release()

    def take(puppet: Puppet) -> None:
        puppet.own(run)

    do(server, take)


def terminates_by(server: Server, function: Callable[[], object]) -> None:
    """Have the puppet run `function` for its `terminate`."""
    do(server, lambda puppet: setattr(puppet, "terminate", lambda _reason: function()))


def crash(server: Server, error: BaseException | None = None) -> None:
    """Have the puppet raise `error` in a cast."""

    def fail(_puppet: Puppet) -> None:
        raise Boom if error is None else error

    otp.cast(server, fail)


def next_message(me: Attached, kind: type[T]) -> T:
    """The next message of this kind; others before it are dropped."""
    while True:
        message = me.receive(HANG)
        if isinstance(message, kind):
            return message


def nothing_more(me: Attached) -> bool:
    """Whether the mailbox is empty now."""
    try:
        me.receive(0)
    except TimeoutError:
        return True
    return False


def end_of(me: Attached, pid: Pid) -> Reason:
    """Wait until `pid` has ended, and its links have heard of it."""
    ref = otp.monitor(pid)
    while (down := next_message(me, otp.Down)).ref is not ref:
        pass
    reason = otp.info(pid).exit_reason
    assert reason is not None
    assert down.reason in (reason, otp.NoProc())
    return reason


def exit_from(me: Attached, pid: Pid) -> Reason:
    """The reason in the `Exit` of the linked `pid`, waited for."""
    while (signal := next_message(me, Exit)).pid is not pid:
        pass
    return signal.reason


def children(supervisor: Server) -> list[ChildInfo]:
    """The children, once the supervisor has answered every death that was declared before."""
    while True:
        rows = Supervisor.which_children(supervisor, HANG)
        if all(row.pid is None or (isinstance(row.pid, Pid) and otp.is_alive(row.pid)) for row in rows):
            return rows


def pids(supervisor: Server) -> dict[str, Pid | None]:
    """The pid of each child by its id, in start order, none of them being restarted."""
    found: dict[str, Pid | None] = {}
    for row in reversed(children(supervisor)):
        assert row.id is not None
        assert row.pid != "restarting"
        found[row.id] = row.pid
    return found


def pid_of(supervisor: Server, id: str) -> Pid:
    """The pid of a child that runs."""
    pid = pids(supervisor)[id]
    assert pid is not None
    return pid


def instances(pool: Server) -> list[Pid]:
    """The children of a DynamicSupervisor, in start order."""
    found = [row.pid for row in reversed(children(pool))]
    assert all(isinstance(pid, Pid) for pid in found)
    return [pid for pid in found if isinstance(pid, Pid)]


def add(pool: Server, *args: Any, **kwargs: Any) -> Pid:
    """A new child of a DynamicSupervisor that runs."""
    pid = DynamicSupervisor.start_child(pool, *args, timeout=HANG, **kwargs)
    assert pid is not None
    return pid


def answers(server: Server) -> bool:
    """Whether the puppet still answers."""
    try:
        return do(server, lambda _puppet: True)
    except CallFailed:
        return False


def thread_of(pid: Pid) -> threading.Thread:
    """The thread of a process that runs or haunts."""
    (thread,) = (thread for thread in threading.enumerate() if thread.name == repr(pid))
    return thread


def join_new_threads(before: set[threading.Thread]) -> None:
    """Wait until all threads but `before` have ended; the clock's thread may stay."""
    for thread in threading.enumerate():
        if thread not in before and thread.name != "otp-clock":
            thread.join(HANG)
            assert not thread.is_alive(), f"{thread.name} is left over"


class Script:
    """What the workers of a tree do when they start, and what they did: a log with a line for each event.

    `script.next_starts["a"] = [Boom(), Ignore()]` has the next start of `a` raise, the one after it ignore, all others go
    well.
    """

    def __init__(self) -> None:
        self.log: list[Any] = []
        self.next_starts: dict[str, list[Any]] = {}

    def _start(self, puppet: Puppet) -> Any:
        outcomes = self.next_starts.get(puppet.label)
        outcome = outcomes.pop(0) if outcomes else None
        if isinstance(outcome, Block):
            return outcome()
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def child(self, id: str, **options: Any) -> ChildSpec:
        """The spec of a worker that follows the script."""
        traps = options.pop("traps", False)
        return Puppet.child_spec(id, self.log, self._start, id=id, traps=traps, **options)

    def template(self, **options: Any) -> ChildSpec:
        """The template of workers that follow the script; `start_child` gives each its label."""

        def start(label: str, *, traps: bool = False) -> Pid:
            return Puppet.start_link(label, self.log, self._start, traps=traps)

        return ChildSpec(id="template", start=start, **options)

    def fails(self, id: str, times: int) -> None:
        """Have the next `times` starts of `id` fail."""
        self.next_starts[id] = [Boom() for _ in range(times)]

    def starts(self) -> list[str]:
        """The labels in the order in which they were started, up to now; then the log is empty."""
        labels = [entry[1] for entry in self.log if entry[0] == "init"]
        self.log.clear()
        return labels


def tree(script: Script, ids: str, strategy: Strategy = "one_for_one", **options: Any) -> Pid:
    """A supervisor over one permanent worker for each letter of `ids`."""
    specs = [script.child(id) for id in ids]
    return Supervisor.start_link(specs, strategy=strategy, **{"max_restarts": MANY, **options})


def end(me: Attached, pid: Pid, reason: Reason) -> None:
    """Have the worker end itself with `reason`, and wait until it has."""
    otp.cast(pid, lambda _puppet: otp.Stop(reason))
    assert end_of(me, pid) == reason


def refusal(function: Callable[..., Any], *args: Any) -> str:
    with pytest.raises(ChildError) as caught:
        function(*args)
    return caught.value.code


def restarted(before: dict[str, Pid | None], after: dict[str, Pid | None]) -> str:
    """The letters of those that run as another process now."""
    return "".join(id for id, pid in after.items() if pid is not before.get(id))
