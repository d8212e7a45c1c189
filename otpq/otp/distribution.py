"""Distribution: the processes of other nodes, which are called, cast to, sent to and monitored by (name, node).

    call(("queue_server", "a@host"), ("status",))
    ref = monitor(("queue_server", "a@host"))  # Down(ref, ("queue_server", "a@host"), NoConnection()) if a@host goes away

How bytes get to another node is not known here: whoever connects nodes gives a function that *carries* a signal, gives what
comes to `deliver`, and says by `node_up` and `node_down` which nodes can be reached. A `FarProcess` stands where this package
expects a process of its own, so calls and monitors need know nothing of all this.

A connection that is lost loses signals. So it ends all that is open towards that node, by `NoConnection`: whoever called or
monitored hears of it, and may ask again when the node is up.

Source:
    Erlang's distribution: registered names as (name, node), noconnection, monitor_nodes. There is no process of another
    node by its pid, and a message from afar reaches only servers that are written for it (`GenServer.from_afar`).
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

import pykka

from otpq.otp.calls import Caller
from otpq.otp.errors import MailboxFull, UsageError
from otpq.otp.messages import Call, Cast, NodeDown, NodeUp
from otpq.otp.pid import MonitorRef
from otpq.otp.process import Ended, settle
from otpq.otp.reasons import Failure, NoConnection, NoProc, Reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.otp.process import Process
    from otpq.otp.registry import Registry

__all__ = ["Distribution", "FarProcess", "Kind", "Signal"]

Kind: TypeAlias = Literal["call", "cast", "info", "watch", "unwatch", "reply", "down"]


@dataclass(frozen=True, slots=True)
class Signal:
    """What one node has for a process of another, or answers to one."""

    kind: Kind
    number: int = 0
    """Of a call or a monitor, given by the node that asks; `reply` and `down` bear it home."""
    name: str = ""
    """Whom it is for."""
    body: Any = None
    """The request, message or answer; of `down` the `Reason`."""


class _Open(NamedTuple):
    """A call or a monitor that has yet to be answered."""

    node: str
    key: object
    then: Callable[[Any], None]
    """Takes the answer, or an `Ended`."""


class Distribution:
    """The way from one node's processes to those of others, and back. Thread-safe."""

    def __init__(self, node: str, registry: Registry, carry: Callable[[str, Signal], bool]) -> None:
        """Be the way of `registry`'s processes.

        Args:
            node: The name of this node.
            registry: Its processes.
            carry: Sends a signal to a node, from any thread; False: there is no way. Raises `UsageError` if what is in it
                cannot travel.
        """
        self.node = node
        self._registry = registry
        self._carry = carry
        self._lock = threading.RLock()  # re-entrant, because a finalizer may run anywhere
        self._numbers = count(1)
        self._up: dict[str, None] = {}
        self._open: dict[int, _Open] = {}
        self._number_of: dict[object, int] = {}
        self._watches: dict[tuple[str, int], MonitorRef] = {}
        """What other nodes monitor here."""
        self._onlookers: dict[Process, None] = {}
        registry.distribution = self

    # --- which nodes there are --------------------------------------------------------------------------------------

    def nodes(self) -> list[str]:
        """The nodes that can be reached, this one not among them."""
        with self._lock:
            return sorted(self._up)

    def node_up(self, node: str) -> None:
        """From now on `node` can be reached."""
        with self._lock:
            is_new = node not in self._up
            self._up[node] = None
        if is_new:
            self._tell(NodeUp(node))

    def node_down(self, node: str) -> None:
        """The connection to `node` is gone, and with it all that was open towards it."""
        with self._lock:
            was_up = node in self._up
            self._up.pop(node, None)
            lost = [number for number, one in self._open.items() if one.node == node]
            watches = [self._watches.pop(key) for key in list(self._watches) if key[0] == node]
        for ref in watches:
            _unwatch(ref)
        for number in lost:
            self._end(number, Ended(NoConnection()))
        if was_up:
            self._tell(NodeDown(node))

    def all_down(self) -> None:
        """No node can be reached any more."""
        for node in self.nodes():
            self.node_down(node)

    def monitor_nodes(self, process: Process, *, on: bool) -> None:
        """Have `process` told of each node that comes or goes, or no longer."""
        with self._lock:
            if on:
                self._onlookers[process] = None
            else:
                self._onlookers.pop(process, None)

    def _tell(self, message: NodeUp | NodeDown) -> None:
        with self._lock:
            for dead in [each for each in self._onlookers if each.exit_reason is not None]:
                del self._onlookers[dead]
            onlookers = list(self._onlookers)
        for process in onlookers:
            process.put(message)

    # --- from here to there -----------------------------------------------------------------------------------------

    def far(self, name: str, node: str) -> FarProcess:
        """What stands for the process `name` of another node, whether there is one or not."""
        return FarProcess(self, name, node)

    def ask(self, node: str, signal: Signal, key: object, then: Callable[[Any], None]) -> None:
        """Send, under a number of its own, what is answered once: by `then`, with the answer or an `Ended`.

        `key` takes it back (`forget`).
        """
        with self._lock:
            number = next(self._numbers)
            self._open[number] = _Open(node, key, then)
            self._number_of[key] = number
            is_up = node in self._up
        try:
            is_on_its_way = is_up and self._carry(node, replace(signal, number=number))
        except UsageError:
            self.forget(key)
            raise
        if not is_on_its_way:
            self._end(number, Ended(NoConnection()))

    def tell(self, node: str, signal: Signal) -> None:
        """Send what is not answered; where there is no way, nothing happens."""
        self._carry(node, signal)

    def forget(self, key: object) -> int | None:
        """Take back what was asked under `key`; its number, None if it was answered already."""
        with self._lock:
            number = self._number_of.pop(key, None)
            if number is not None:
                del self._open[number]
            return number

    def withdraw(self, node: str, key: object) -> None:
        """Take back a monitor, here and there."""
        number = self.forget(key)
        if number is not None:
            self._carry(node, Signal("unwatch", number))

    def _end(self, number: int, answer: Any) -> None:
        with self._lock:
            one = self._open.pop(number, None)
            if one is not None:
                del self._number_of[one.key]
        if one is not None:
            one.then(answer)

    # --- from there to here -----------------------------------------------------------------------------------------

    def deliver(self, node: str, signal: Signal) -> None:
        """Act on what has come from `node`. What is wrong with it is answered there and raises nothing here."""
        _DELIVER[signal.kind](self, node, signal)

    def _call(self, node: str, signal: Signal) -> None:
        process = self._process(signal.name)
        owed = _Owed(self, node, signal.number)
        if process is None or not process.add_caller(owed):
            self.answer(node, Signal("down", signal.number, body=NoProc()))
        elif "call" not in process.from_afar:
            process.drop_caller(owed)
            self.answer(node, Signal("down", signal.number, body=Failure("takes_no_call_from_afar")))
        else:
            try:
                process.put_message(Call(signal.body, Caller(process, None, owed)))
            except MailboxFull:
                process.drop_caller(owed)
                self.answer(node, Signal("down", signal.number, body=Failure("mailbox_full")))

    def _message(self, _node: str, signal: Signal) -> None:
        process = self._process(signal.name)
        if process is not None and signal.kind in process.from_afar:
            try:
                process.put_message(Cast(signal.body) if signal.kind == "cast" else signal.body)
            except MailboxFull:
                return  # nobody waits for an answer, and its sender cannot be slowed from here

    def _watch(self, node: str, signal: Signal) -> None:
        process, key = self._process(signal.name), (node, signal.number)
        if process is None:
            self.answer(node, Signal("down", signal.number, body=NoProc()))
            return
        ref = MonitorRef(process)
        with self._lock:
            self._watches[key] = ref
        process.watch(ref, lambda reason: self._watched_ended(key, reason))

    def _watched_ended(self, key: tuple[str, int], reason: Reason) -> None:
        with self._lock:
            was_wanted = self._watches.pop(key, None) is not None
        if was_wanted:
            node, number = key
            self.answer(node, Signal("down", number, body=reason))

    def _unwatch(self, node: str, signal: Signal) -> None:
        with self._lock:
            ref = self._watches.pop((node, signal.number), None)
        if ref is not None:
            _unwatch(ref)

    def _answered(self, node: str, signal: Signal) -> None:
        with self._lock:
            one = self._open.get(signal.number)
        if one is not None and one.node == node:  # nobody answers for another
            self._end(signal.number, Ended(signal.body) if signal.kind == "down" else signal.body)

    def answer(self, node: str, signal: Signal) -> None:
        """Send an answer home; if what is in it cannot travel, say that instead."""
        try:
            self._carry(node, signal)
        except UsageError as error:
            self._carry(node, Signal("down", signal.number, body=Failure(str(error))))

    def _process(self, name: str) -> Process | None:
        pid = self._registry.whereis(name)
        return None if pid is None else pid.process


_DELIVER: Final[dict[Kind, Callable[[Distribution, str, Signal], None]]] = {
    "call": Distribution._call,  # noqa: SLF001 - a table of its own methods
    "cast": Distribution._message,  # noqa: SLF001
    "info": Distribution._message,  # noqa: SLF001
    "watch": Distribution._watch,  # noqa: SLF001
    "unwatch": Distribution._unwatch,  # noqa: SLF001
    "reply": Distribution._answered,  # noqa: SLF001
    "down": Distribution._answered,  # noqa: SLF001
}


def _unwatch(ref: MonitorRef) -> None:
    if ref.watched is not None:
        ref.watched.unwatch(ref)


class _Owed(pykka.Future[Any]):
    """The answer that a call from afar waits for: whoever fills it sends it home."""

    def __init__(self, at: Distribution, node: str, number: int) -> None:
        super().__init__()
        self._at = at
        self._node = node
        self._number = number

    def set(self, value: Any = None) -> None:
        """Send the reply, or the end of who was to give it."""
        if isinstance(value, Ended):
            self._at.answer(self._node, Signal("down", self._number, body=value.reason))
        else:
            self._at.answer(self._node, Signal("reply", self._number, body=value))


class FarProcess:
    """A process of another node, with the face of a `Process` as far as it has one from here."""

    mailbox_limit: Final = 0  # so that everybody puts by `put_message`
    from_afar: Final = frozenset[str]()
    exit_reason: Final = None
    pid: Final = None

    def __init__(self, at: Distribution, name: str, node: str) -> None:
        self._at = at
        self._name = name
        self._node = node

    def put_message(self, item: object) -> None:
        """Send a call, a cast or a message on its way.

        Raises:
            UsageError: What is in it cannot travel.
        """
        match item:
            case Call(request, caller):
                future = caller.future
                signal = Signal("call", name=self._name, body=request)
                self._at.ask(self._node, signal, future, lambda answer: settle(future, answer))
            case Cast(request):
                self._at.tell(self._node, Signal("cast", name=self._name, body=request))
            case _:
                self._at.tell(self._node, Signal("info", name=self._name, body=item))

    def add_caller(self, _future: pykka.Future[Any]) -> bool:
        """Whether it lives cannot be said from here; a call to it will tell."""
        return True

    def drop_caller(self, future: pykka.Future[Any]) -> bool:
        """Wait for the answer no longer; False if it has come."""
        return self._at.forget(future) is not None

    def watch(self, ref: MonitorRef, notify: Callable[[Reason], None]) -> None:
        """Have `notify` called once with the reason of its end, or `NoConnection` when its node cannot be reached."""
        self._at.ask(self._node, Signal("watch", name=self._name), ref, lambda ended: notify(ended.reason))

    def unwatch(self, ref: MonitorRef) -> None:
        """Undo `watch`."""
        self._at.withdraw(self._node, ref)
