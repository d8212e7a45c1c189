"""What the processes of one scenario share: the log of events, the names of processes, the gates."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from otp_terms import Script, Term, term_of

from otpq.otp import (
    Caller,
    Down,
    GenServer,
    MonitorRef,
    Pid,
    Reply,
    Server,
    call,
    cast,
    demonitor,
    info,
    is_alive,
    monitor,
    self_pid,
    stop,
    whereis,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Event", "Monitors", "Stage"]

Event = list[Term]


class Log(GenServer):
    """Keeps the events in their order.

    All of them, the ends of processes too, come through this one mailbox, so its order is the order in which they
    happened. A process that was declared dead cannot send any more, so nothing of it is seen after its end.
    """

    def init(self, stage: Stage) -> None:
        """Begin with no event."""
        self.stage = stage
        self.events: list[Event] = []
        self.last_at = 0.0
        self.watched: dict[MonitorRef, str] = {}
        self.started: set[str] = set()

    def handle_call(self, request: Any, caller: Caller) -> Reply:
        """Watch the caller; say when the last event came; hand out those that nobody has got yet."""
        match request:
            case ("watch", label):
                assert caller.pid is not None
                self.watched[monitor(caller.pid)] = label
                return Reply()
            case "last_at":
                return Reply(self.last_at)
            case _:
                events, self.events = self.events, []
                return Reply(events)

    def handle_cast(self, request: Any) -> None:
        """Note an event, or that a start succeeds."""
        match request:
            case ("event", event):
                self._note(event)
            case _:
                self.started.add(request[1])

    def handle_info(self, message: Any) -> None:
        """Note the end of a process; that of one whose start failed is no event."""
        if isinstance(message, Down):
            label = self.watched.pop(message.ref)
            if label in self.started:
                self._note(["down", label, self.stage.term(message.reason)])

    def _note(self, event: Event) -> None:
        self.events.append(event)
        self.last_at = time.monotonic()


class Monitors:
    """The monitors of one process, by the tags that a scenario gives them."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._tags: dict[MonitorRef, str] = {}

    def add(self, pid: Pid, tag: str) -> None:
        """Monitor `pid` as the current process."""
        self._tags[monitor(pid)] = tag

    def remove(self, tag: str) -> MonitorRef:
        """Take the latest monitor of this tag back: its reference, by which its message would be known."""
        ref = next(ref for ref, its_tag in reversed(self._tags.items()) if its_tag == tag)
        demonitor(ref)
        return ref

    def shown(self, down: Down) -> Term:
        """A message of one of these monitors as the trace shows it."""
        return ["DOWN", self._tags[down.ref], self._stage.term(down.pid), self._stage.term(down.reason)]


class Gate:
    """Holds processes until it is opened; then it stays open."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.waiting: set[Pid] = set()


def _is_at_work(pid: Pid, *, is_idle: bool) -> bool:
    """Whether a process is about to take a message, or inside a callback in which it is not idle."""
    seen = info(pid)
    return (seen.status == "waiting" and seen.mailbox > 0) or (seen.status == "running" and not is_idle)


class Stage:
    """The shared state of one scenario; safe to use from all its threads. Its log is linked to who makes it."""

    def __init__(self) -> None:
        self._log = Log.start_link(self)
        self._nobody = Log.start(self)
        stop(self._nobody)  # a pid that is dead from the beginning
        self._lock = threading.Lock()
        self._attempts: Counter[str] = Counter()
        self._labels: dict[Pid, str] = {}
        self._attempted: dict[str, Pid] = {}
        self._started: dict[str, Pid] = {}
        self._extras: dict[Pid, str] = {}
        self._supervisors: dict[Pid, Script] = {}
        self._gates: defaultdict[str, Gate] = defaultdict(Gate)
        self._resting: set[Pid] = set()

    # --- for a scripted process --------------------------------------------------------------------------------------

    def enter(self, id_: str, sup: Script | None = None) -> tuple[str, int]:
        """Begin a start attempt of `id_` as the current process, with `sup` a supervisor: its label, which attempt."""
        me = self_pid()
        with self._lock:
            self._attempts[id_] += 1
            attempt = self._attempts[id_]
            label = self._labels[me] = f"{id_}#{attempt}"
            self._attempted[id_] = me
            if sup is not None:
                self._supervisors[me] = sup
        call(self._log, ("watch", label))
        return label, attempt

    def succeed(self, id_: str) -> None:
        """Note that the start of the current process, `id_`, succeeds."""
        me = self_pid()
        cast(self._log, ("started", self.label(me)))  # first, for this fails in a process that was declared dead
        with self._lock:
            self._started[id_] = me

    def log(self, *event: Term) -> None:
        """Log an event."""
        cast(self._log, ("event", list(event)))

    def wait_at(self, name: str) -> None:
        """Wait at a gate as the current process."""
        me = self_pid()
        with self._lock:
            gate = self._gates[name]
            if not gate.opened.is_set():
                gate.waiting.add(me)  # before the event, so that whoever sees that finds us waiting
        self.log("gate", self.label(me), name)
        gate.opened.wait()

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Let a step settle while the current process, inside a callback, waits for others or for long."""
        me = self_pid()
        with self._lock:
            self._resting.add(me)
        try:
            yield
        finally:
            with self._lock:
                self._resting.discard(me)

    # --- names and values --------------------------------------------------------------------------------------------

    def add_extra(self, pid: Pid, label: str) -> None:
        """Let `pid`, which no script has started, be known as `label`."""
        with self._lock:
            self._extras[pid] = label

    def label(self, pid: Pid) -> str:
        """What `pid` is called in the trace."""
        return self._labels.get(pid) or self._extras.get(pid, "other")

    def term(self, value: object) -> Term:
        """A value as the trace shows it."""
        return term_of(value, self.label)

    def find(self, id_: str) -> Pid | None:
        """The process last started under `id_`, dead or alive; where none was yet, the one that is being started."""
        return self._started.get(id_) or self._attempted.get(id_)

    def server(self, to: str) -> Server:
        """The server that an id or an `@name` means. An id that was never started means one that is dead."""
        return to[1:] if to.startswith("@") else self.find(to) or self._nobody

    def pid(self, to: str) -> Pid:
        """As `server`, where only a pid will do."""
        server = self.server(to)
        return server if isinstance(server, Pid) else whereis(str(server)) or self._nobody

    def supervisor(self, pid: Pid) -> Script:
        """The script of a supervisor."""
        return self._supervisors[pid]

    # --- for the driver ----------------------------------------------------------------------------------------------

    def open(self, name: str) -> None:
        """Open a gate."""
        with self._lock:
            gate = self._gates[name]
            gate.waiting.clear()
            gate.opened.set()

    def is_at_gate(self) -> bool:
        """Whether some process waits at a gate."""
        with self._lock:
            return any(is_alive(pid) for gate in self._gates.values() for pid in gate.waiting)

    def is_at_work(self) -> bool:
        """Whether some process has something to do or is doing it, a `sleep` action included.

        On a busy machine a process may wait longer for its turn than any quiet time lasts.
        """
        with self._lock:
            pids = list(self._labels)
            idle = self._resting.union(self._supervisors, *(gate.waiting for gate in self._gates.values()))
        return any(_is_at_work(pid, is_idle=pid in idle) for pid in pids)

    def living(self) -> list[str]:
        """The labels of the scripted processes that live."""
        with self._lock:
            return [label for pid, label in self._labels.items() if is_alive(pid)]

    def supervisors(self) -> list[Pid]:
        """The supervisors that live."""
        with self._lock:
            return [pid for pid in self._supervisors if is_alive(pid)]

    def last_event_at(self) -> float:
        """When the last event was logged, on `time.monotonic`'s scale."""
        at: float = call(self._log, "last_at")
        return at

    def take(self) -> list[Event]:
        """The events logged since the last time."""
        events: list[Event] = call(self._log, "take")
        return events
