"""The one thread of a client: it owns the socket and the core, and does what the core says.

Other threads only put wishes into an inbox and wake it. Its answers go into cells, from which callers take them.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from otpq.client.cell import Cell
from otpq.client.core import ClientCore, Settings
from otpq.client.effects import (
    Acknowledged,
    Answer,
    Answered,
    Connected,
    Effect,
    Ended,
    Fetched,
    NotAnswered,
    NotMade,
    Redial,
    Send,
    Submission,
    Turned,
)
from otpq.client.errors import (
    ClientClosed,
    CookieRefused,
    NodeUnreachable,
    VersionRefused,
    WrongNode,
    failed,
    refused,
)
from otpq.wire.codec import Fault, decode_from_server, encode
from otpq.wire.waker import Waker

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterable

    import zmq

    from otpq.client.link import Link
    from otpq.wire.cookie import Cookie
    from otpq.wire.dialled import Dialled
    from otpq.wire.messages import Outcome, Rejected, Welcome

__all__ = ["Io", "Target", "turned"]

RECEIVE_AT_ONCE: Final = 200
"""Messages taken before the core may act on them: enough to act on many, few enough to keep its memory small."""
ROOM_TASKS: Final = 20_000
ROOM_BYTES: Final = 64 * 1024 * 1024
"""What may wait for acknowledgement, in all, before `submit_soon` makes its caller wait."""


class Target:
    """Whom to dial and how: `address` for ZeroMQ, `node` if it must be that one, and the cookie with its file's name."""

    __slots__ = ("address", "cookie", "cookie_file", "node")

    def __init__(self, address: str, node: str, cookie: Cookie, cookie_file: str) -> None:
        self.address = address
        self.node = node
        self.cookie = cookie
        self.cookie_file = cookie_file

    @property
    def shown(self) -> str:
        """The address for messages, with the node's name if it is known."""
        return f"{self.node} ({self.address})" if self.node else self.address


class Io:
    """The running half of a client, of one process: a fork's child makes another."""

    def __init__(self, target: Target, settings: Settings | None = None) -> None:
        self.target = target
        self.core = ClientCore(
            os.urandom(16), node=target.node, client=f"pid {os.getpid()}", settings=settings or Settings()
        )
        self.welcomed: Cell[Welcome] = Cell()
        """Filled by the first welcome, or by the error that makes waiting vain."""
        self.fatal: Exception | None = None
        """Why this client will never be answered again."""
        self.counters = {"sent": 0, "received": 0, "faults": 0, "connections": 0}
        self._inbox: deque[Callable[[float], object] | Submission] = deque()
        self._dropped: deque[tuple[bytes, Cell[Outcome]]] = deque()
        self._blocked: deque[bytes] = deque()
        self._room_waiters: deque[Cell[None]] = deque()
        self._waker = Waker()
        self._closing: float | None = None
        self._is_done = False
        self._link: Link | None = None
        self._poller: zmq.Poller | None = None
        self._polled: Dialled | None = None
        self._polls_out = False
        self._end_lock = threading.Lock()
        self._start_lock = threading.Lock()
        self._thread: threading.Thread | None = None

    # ------------------------------------------------- from any thread

    def start(self) -> None:
        """Start the thread, once."""
        with self._start_lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="otpq-client", daemon=True)
                self._thread.start()

    def submit(self, submission: Submission) -> None:
        """Have the tasks made; the submission's ticket gets their ids, its slots their outcomes."""
        self._put(submission)

    def wish(self, wish: Callable[[float], object]) -> None:
        """Call `wish` with the time in the I/O thread, where it may speak to the core."""
        self._put(wish)

    def drop(self, id: bytes, slot: Cell[Outcome]) -> None:
        """Nobody will look into `slot`. Called by the garbage collector, so it takes no lock and wakes nobody."""
        self._dropped.append((id, slot))

    def wait_for_room(self, timeout: float | None) -> bool:
        """Whether few enough tasks wait for acknowledgement, after waiting up to `timeout` seconds for it."""
        if self._has_room():
            return True
        room: Cell[None] = Cell()
        self._room_waiters.append(room)
        if self._is_done:  # after the append, as in `_put`
            return True  # who submits now is told at once that it is too late
        self._waker.wake()
        return room.wait(timeout)

    def why_down(self) -> str | None:
        """Why there is no session now, in words; None while there is one."""
        link = self._link
        if link is None or (link.dialled is None and link.down is None):
            return "no attempt was made yet"
        if link.down is not None:
            return str(link.down)
        return None if self.core.is_open else "connected, but its queue server does not answer"

    @property
    def is_nobody_there(self) -> bool:
        """Whether nothing listens where the node should be, or its host is unknown, as of the last attempt."""
        from otpq.wire.dialled import Cause

        down = None if self._link is None else self._link.down
        return down is not None and down.cause in {Cause.REFUSED, Cause.UNRESOLVED}

    def close(self, linger: float) -> None:
        """End the thread, after up to `linger` seconds for what is not acknowledged yet. Callers that wait are told."""
        with self._start_lock:
            if self._thread is None:  # never started; then nobody can wait for it
                self._is_done = True
                self.welcomed.fail(ClientClosed())
                return
        self._closing = monotonic() + linger
        self._waker.wake()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _put(self, wish: Callable[[float], object] | Submission) -> None:
        self._inbox.append(wish)
        if self._is_done:  # looked at after the append: either the thread's end has seen the wish, or we see its end
            self._refuse_inbox()
        else:
            self._waker.wake()

    def _refuse_inbox(self) -> None:
        """Tell all who wait, and those who come too late, that nothing will come. The core is nobody's any more."""
        error = self.fatal or ClientClosed()
        with self._end_lock:
            self._take_wishes(monotonic())
            _fail(list(self.core.outstanding()), error)

    # ------------------------------------------------- the thread

    def _run(self) -> None:
        import zmq

        from otpq.client.link import Link

        context = zmq.Context()
        self._link = link = Link(context, self.target.address, self.target.cookie)
        try:
            self._loop(link)
        except Exception as error:  # noqa: BLE001 - the end of a thread: whoever waits must hear of it
            _logger().exception("the client's thread failed")
            self.fatal = error
        finally:
            self._is_done = True
            link.close(linger=0.2)
            context.term()
            self._refuse_inbox()
            why = self.fatal or ClientClosed()
            self.welcomed.fail(why)
            _fail(self._room_waiters, why)

    def _loop(self, link: Link) -> None:
        while not self._is_over():
            now = monotonic()
            self._tend(link, now)
            self._take_wishes(now)
            self._receive(link, now)
            self._carry_out(link, self.core.step(now), now)
            self._make_room()
            if not self._is_over():  # looked at again: what was just done may have been the last
                self._wait(link)
        if self.fatal is None and link.dialled is not None:
            self.core.goodbye()
            self._carry_out(link, self.core.step(monotonic()), monotonic())

    def _tend(self, link: Link, now: float) -> None:
        from otpq.client.link import Change

        change = link.tend(now)
        if change is Change.UP:
            self.counters["connections"] += 1
            self._blocked.clear()
            self.core.dialled(now)
        elif change is Change.DOWN:
            self._blocked.clear()
            self.core.lost()
        if link.is_refused:
            self.fatal = CookieRefused(self.target.shown, self.target.cookie_file)

    def _take_wishes(self, now: float) -> None:
        self._waker.clear()
        inbox, core = self._inbox, self.core
        for _ in range(len(inbox)):  # what comes meanwhile is for the next round: it woke us
            wish = inbox.popleft()
            if isinstance(wish, Submission):
                core.submit(wish, now)
            else:
                wish(now)
        for _ in range(len(self._dropped)):
            core.forget(*self._dropped.popleft())

    def _receive(self, link: Link, now: float) -> None:
        dialled = link.dialled
        if dialled is None or not dialled.is_up:
            return
        for _ in range(RECEIVE_AT_ONCE):
            data = dialled.receive()
            if data is None:
                return
            self.counters["received"] += 1
            message = decode_from_server(data)
            if isinstance(message, Fault):
                self.counters["faults"] += 1
                _logger().warning("a message of %s was dropped: %s: %s", self.target.shown, message.kind, message.text)
            else:
                self.core.received(message, now)

    def _carry_out(self, link: Link, effects: Iterable[Effect], now: float) -> None:
        for effect in effects:
            match effect:
                case Send():
                    self._blocked.append(encode(effect.message))
                case Connected():
                    self.welcomed.fill(effect.welcome)
                case Turned():
                    self._turned(link, effect.rejected, now)
                case Redial():
                    self._give_up(link, effect, now)
                case _:
                    _hand_on(effect)
        self._send(link)

    def _turned(self, link: Link, rejected: Rejected, now: float) -> None:
        """Go where the leader is; wait for one that does not know yet; else there is no use in trying on."""
        from otpq.wire.dialled import Cause, Down
        from otpq.wire.node_name import NodeName

        self._blocked.clear()
        if rejected.code == "not_leader" and rejected.leader:
            leader = NodeName.parse(rejected.leader)
            self.target = Target(leader.address, leader.plain, self.target.cookie, self.target.cookie_file)
            self.core.turn_to(leader.plain)
            link.turn_to(leader.address, now)
        elif rejected.code == "not_joined":
            link.drop(Down(Cause.SILENT, rejected.message), now)
        else:
            self.fatal = turned(self.target, rejected)

    def _give_up(self, link: Link, redial: Redial, now: float) -> None:
        from otpq.wire.dialled import Cause, Down

        _logger().warning("%s has said nothing for %.0f s; dialling again", self.target.shown, redial.silent_for)
        self._blocked.clear()
        link.drop(Down(Cause.SILENT, f"for {redial.silent_for:.0f} s"), now)

    def _send(self, link: Link) -> None:
        """Send what may be sent; what ZeroMQ does not take now keeps its place in the line."""
        dialled = link.dialled
        while self._blocked and dialled is not None and dialled.send(self._blocked[0]):
            self._blocked.popleft()
            self.counters["sent"] += 1

    def _wait(self, link: Link) -> None:
        """Wait until there is something to do."""
        import zmq

        from otpq.wire.sockets import milliseconds

        if link.dialled is not self._polled or self._poller is None:
            self._polled, self._poller, self._polls_out = link.dialled, zmq.Poller(), False
            self._poller.register(self._waker.fd, zmq.POLLIN)
            if link.dialled is not None:
                self._poller.register(link.dialled.monitor, zmq.POLLIN)
                self._poller.register(link.dialled.socket, zmq.POLLIN)
        if link.dialled is not None and bool(self._blocked) is not self._polls_out:
            self._polls_out = bool(self._blocked)
            self._poller.register(link.dialled.socket, zmq.POLLIN | (zmq.POLLOUT if self._polls_out else 0))
        times = [one for one in (self.core.deadline, link.redial_at, self._closing) if one is not None]
        self._poller.poll(milliseconds(min(times) - monotonic()) if times else None)

    def _make_room(self) -> None:
        if self._room_waiters and self._has_room():
            for _ in range(len(self._room_waiters)):
                self._room_waiters.popleft().fill(None)

    def _has_room(self) -> bool:
        tasks, size = self.core.load
        return tasks + len(self._inbox) < ROOM_TASKS and size < ROOM_BYTES

    def _is_over(self) -> bool:
        """Whether there is nothing left to do: an error ended it, or it was closed and nobody waits for anything."""
        if self.fatal is not None:
            return True
        if self._closing is None:
            return False
        return monotonic() >= self._closing or not (self._inbox or self.core.has_submissions)


def _hand_on(effect: Answer) -> None:
    """Put an answer where somebody waits for it."""
    match effect:
        case Ended():
            for slot, outcome in effect.outcomes:
                slot.fill(outcome)
        case Acknowledged():
            if effect.submission.ticket is not None:
                effect.submission.ticket.fill(effect)
        case NotMade():
            if effect.submission.ticket is not None:
                effect.submission.ticket.fail(refused(effect.refusal))
        case Answered():
            effect.ticket.fill(bytes(effect.body))
        case Fetched():
            effect.ticket.fill(effect.result)
        case NotAnswered():
            effect.ticket.fail(failed(effect.failed))


def _logger() -> logging.Logger:
    """Made when there is something to say: a command that only asks a question has no use for it."""
    import logging

    return logging.getLogger("otpq.client")


def _fail(cells: Iterable[Cell[Any] | None], error: BaseException) -> None:
    for cell in cells:
        if cell is not None:
            cell.fail(error)


def turned(target: Target, rejected: Rejected) -> NodeUnreachable:
    """The error for a client whom a node does not let in."""
    match rejected.code:
        case "version":
            return VersionRefused(target.shown, rejected.message)
        case "node":
            return WrongNode(target.shown, rejected.message)
        case _:
            return NodeUnreachable(target.shown, rejected.message)
