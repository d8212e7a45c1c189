"""The client as a value: what was wanted goes in, with the time; messages to send and answers to hand on come out.

No socket, no thread, no clock. The driver (`io.py`) keeps these duties:

1. Tell `dialled` when a connection stands, and `lost` when it is gone.
2. Give every message that arrives to `received`, and every wish of a user to `submit`, `watch`, `ask`, ...
3. After any of them, and when `deadline` has come, call `step` and carry out its effects in order.

Theory of operation
-------------------
*Gathering.* Tasks leave at once if no submission is unanswered. Otherwise they gather until 100 wait, the oldest has waited
for 1 ms, or the unanswered are answered: whichever is first. So a lonely task waits for no timer, and a flood travels in
large messages. What is unanswered is bounded by a window; what waits behind it is the callers' to bound (`load`).

*Reconnecting.* A request stays in its table until it is answered. On each new connection all of them are sent again, in
their order, under the same numbers and ids, so that the server makes nothing twice; and every task whose outcome is awaited
is watched again. An answer takes its request out of the table, so a second one finds nobody.

*Outcomes.* A slot is registered before its task is sent, so an outcome always finds it, even one that overtakes the
acknowledgement (as it can after a reconnect). It is taken out with the first outcome, so it gets no second one.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

import msgspec

from otpq.client.effects import (
    Acknowledged,
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
from otpq.wire import messages as m

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["ClientCore", "Settings", "Submission"]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How a client gathers, bounds and doubts."""

    linger: float = 0.001
    """Seconds that a task waits at most for company."""
    gather: int = 100
    """Tasks that are company enough."""
    message_tasks: int = m.MAX_TASKS
    message_bytes: int = 1024 * 1024
    """A single task may be larger; it then travels alone."""
    window_tasks: int = 10_000
    """Tasks that may be on their way, unanswered."""
    window_bytes: int = 16 * 1024 * 1024
    unwatch: int = 1_000
    """Ids of no further interest that are told to the server at once. Most are never told: their tasks end before."""
    ping_after: float = 5.0
    """Seconds without a word, while an answer is awaited, after which the server is asked whether it is there."""
    silent_after: float = 20.0
    """Seconds without a word, a ping included, after which the connection is given up. A commit on a slow disk is shorter."""


class _Sent(msgspec.Struct, eq=False):
    """A `Submit` that is not answered yet."""

    message: m.Submit
    submissions: list[Submission]
    size: int


class ClientCore:
    """One session. `session` is 16 random bytes; `node` is whom it means to talk to; `client` says who it is."""

    def __init__(self, session: bytes, *, node: str = "", client: str = "", settings: Settings | None = None) -> None:
        self.settings: Final = settings or Settings()
        self._session: Final = session
        self._node = node
        self._client = client
        self._connection = 0
        self._is_dialled = False
        self.is_open = False
        """Whether the server has answered our greeting."""
        self._number = 0
        self._effects: list[Effect] = []
        self._waiting: deque[Submission] = deque()
        self._waiting_load = _Load()
        self._submits: dict[int, _Sent] = {}
        self._submits_load = _Load()
        self._requests: dict[int, tuple[Any, m.Query | m.Fetch]] = {}
        self._watched: dict[bytes, tuple[Any, ...]] = {}
        self._to_watch: list[bytes] = []
        self._unwanted: dict[bytes, None] = {}  # a set that keeps its order
        self._dropped = 0
        self._heard = 0.0
        self._pinged: float | None = None
        self.late = 0
        """Answers that nobody waited for: repeated ones, or later than the caller's patience."""

    # ------------------------------------------------------------------ wishes

    def submit(self, submission: Submission, now: float) -> None:
        """Have the tasks made. Answered by one `Acknowledged` or one `NotMade`; each slot then gets one outcome."""
        self._expect(now)
        submission.since = now
        if submission.slots is not None:
            for task, slot in zip(submission.tasks, submission.slots, strict=True):
                self._watched[task.id] = (*self._watched.get(task.id, ()), slot)
        self._waiting.append(submission)
        self._waiting_load.add(submission)

    def watch(self, id: bytes, slot: object, now: float) -> None:
        """Get the outcome of task `id` into `slot`; at once if it has ended."""
        self._expect(now)
        self._watched[id] = (*self._watched.get(id, ()), slot)
        self._unwanted.pop(id, None)
        self._to_watch.append(id)

    def forget(self, id: bytes, slot: object) -> None:
        """Nobody looks into `slot` any more."""
        slots = self._watched.get(id)
        if slots is None:
            return
        rest = tuple(one for one in slots if one is not slot)
        if rest:
            self._watched[id] = rest
        else:
            del self._watched[id]
            self._unwanted[id] = None

    def ask(self, ticket: object, verb: str, body: bytes, now: float) -> None:
        """Put a query. Answered by `Answered` or `NotAnswered`."""
        self._expect(now)
        self._request(ticket, m.Query(self._next_number(), verb, msgspec.Raw(body)))

    def fetch(self, ticket: object, id: bytes, now: float) -> None:
        """Get the result of task `id`. Answered by `Fetched` or `NotAnswered`."""
        self._expect(now)
        self._request(ticket, m.Fetch(self._next_number(), id))

    def give_up(self, ticket: object) -> None:
        """The caller behind `ticket` waits no longer. What has not been sent yet never is; the rest is ignored when it comes."""
        for number, (asking, _) in list(self._requests.items()):
            if asking is ticket:
                del self._requests[number]
        for submission in [one for one in self._submissions() if one.ticket is ticket]:
            submission.ticket = None
            self._forget_slots(submission)
            if submission in self._waiting:
                self._waiting.remove(submission)
                self._waiting_load.remove(submission)

    def goodbye(self) -> None:
        """Tell the server that the session is over."""
        if self.is_open:
            self._effects.append(Send(m.Goodbye()))

    # -------------------------------------------------------------- connection

    def dialled(self, now: float) -> None:
        """A connection stands: introduce yourself. Everything else waits for the answer."""
        self._connection += 1
        self._is_dialled = True
        self.is_open = False
        self._heard = now
        self._pinged = None
        hello = m.Hello(
            versions=[m.VERSION],
            session=self._session,
            connection=self._connection,
            node=self._node,
            client=self._client,
        )
        self._effects.append(Send(hello))

    def turn_to(self, node: str) -> None:
        """Mean another node from the next connection on: it leads."""
        self._node = node

    def lost(self) -> None:
        """The connection is gone. Nothing is: all that is unanswered is kept for the next one."""
        self._is_dialled = self.is_open = False

    def received(self, message: m.FromServer, now: float) -> None:
        """Take what the server says."""
        self._heard = now
        self._pinged = None
        match message:
            case m.Outcomes():
                self._on_outcomes(message.outcomes)
            case m.Accepted():
                self._on_accepted(message)
            case m.Answer() | m.Fetched() | m.Failed():
                self._on_answer(message)
            case m.Welcome():
                self._on_welcome(message)
            case m.Pong():
                self._on_pong(message)
            case m.Rejected():
                self.lost()
                self._effects.append(Turned(message))

    # -------------------------------------------------------------------- time

    def step(self, now: float) -> list[Effect]:
        """What is to be done, in order."""
        if self.is_open:
            self._send_watches()
            while self._may_send_submit(now):
                self._send_submit()
        self._doubt(now)
        effects, self._effects = self._effects, []
        return effects

    @property
    def deadline(self) -> float | None:
        """When `step` has something to do even if nothing happens; None: never."""
        times = []
        if self.is_open and self._waiting and self._has_room():
            times.append(self._waiting[0].since + self.settings.linger)
        if self._is_dialled and self._awaits_something():
            times.append(self._doubt_at())
        return min(times, default=None)

    @property
    def load(self) -> tuple[int, int]:
        """Tasks, and bytes, that are not acknowledged yet: what a caller looks at to slow down. Readable from any thread."""
        waiting, sent = self._waiting_load, self._submits_load
        return waiting.tasks + sent.tasks, waiting.bytes + sent.bytes

    @property
    def awaited(self) -> dict[str, int]:
        """How much is outstanding, by kind."""
        return {
            "submissions": len(self._waiting) + sum(len(sent.submissions) for sent in self._submits.values()),
            "requests": len(self._requests),
            "outcomes": len(self._watched),
        }

    @property
    def has_submissions(self) -> bool:
        """Whether a submission is unacknowledged that somebody still waits for."""
        return any(submission.ticket is not None for submission in self._submissions())

    def outstanding(self) -> Iterator[Any]:
        """Every ticket and slot that waits: whom to tell when nothing will come any more."""
        yield from (submission.ticket for submission in self._submissions())
        yield from (ticket for ticket, _ in self._requests.values())
        for slots in self._watched.values():
            yield from slots

    # ---------------------------------------------------------------- sending

    def _next_number(self) -> int:
        self._number += 1
        return self._number

    def _request(self, ticket: object, message: m.Query | m.Fetch) -> None:
        self._requests[message.number] = (ticket, message)
        if self.is_open:
            self._effects.append(Send(message))

    def _has_room(self) -> bool:
        """Whether the next submission fits into the window. An empty window has room for anything."""
        if not self._submits:
            return True
        first, sent, settings = self._waiting[0], self._submits_load, self.settings
        return (
            sent.tasks + len(first.tasks) <= settings.window_tasks and sent.bytes + first.size <= settings.window_bytes
        )

    def _may_send_submit(self, now: float) -> bool:
        if not self._waiting or not self._has_room():
            return False
        return (
            not self._submits
            or self._waiting_load.tasks >= self.settings.gather
            or now >= self._waiting[0].since + self.settings.linger
        )

    def _send_submit(self) -> None:
        """Send as many of those that wait as one message and the window hold, at least one."""
        taken: list[Submission] = []
        tasks: list[m.NewTask] = []
        size = 0
        while self._waiting and (not taken or self._fits(len(tasks), size)):
            submission = self._waiting.popleft()
            self._waiting_load.remove(submission)
            self._submits_load.add(submission)
            taken.append(submission)
            tasks.extend(submission.tasks)
            size += submission.size
        groups = None if len(tasks) == len(taken) else [len(one.tasks) for one in taken]
        message = m.Submit(self._next_number(), tasks, groups)
        self._submits[message.number] = _Sent(message, taken, size)
        self._effects.append(Send(message))

    def _fits(self, tasks: int, size: int) -> bool:
        first, settings = self._waiting[0], self.settings
        return (
            tasks + len(first.tasks) <= settings.message_tasks
            and size + first.size <= settings.message_bytes
            and self._has_room()
        )

    def _send_watches(self) -> None:
        if self._to_watch:
            self._send_ids(m.Watch, [id for id in self._to_watch if id in self._watched])
            self._to_watch.clear()
        if len(self._unwanted) >= self.settings.unwatch:
            self._send_ids(m.Unwatch, list(self._unwanted))
            self._unwanted.clear()

    def _send_ids(self, kind: type[m.Watch | m.Unwatch], ids: list[bytes]) -> None:
        for start in range(0, len(ids), m.MAX_WATCHED):
            self._effects.append(Send(kind(ids[start : start + m.MAX_WATCHED])))

    # --------------------------------------------------------------- receiving

    def _on_welcome(self, welcome: m.Welcome) -> None:
        if welcome.connection != self._connection or self.is_open:
            self.late += 1
            return
        self.is_open = True
        self._dropped = 0
        self._effects.append(Connected(welcome))
        self._ask_again()

    def _ask_again(self) -> None:
        """Send all that is unanswered once more, and watch all that is watched.

        First the submissions: the watches below leave out their tasks, which the server may not have heard of.
        """
        for sent in self._submits.values():
            if not sent.message.resent:
                sent.message = msgspec.structs.replace(sent.message, resent=True)
            self._effects.append(Send(sent.message))
        for _, message in self._requests.values():
            self._effects.append(Send(message))
        unmade = {task.id for submission in self._submissions() for task in submission.tasks}
        self._to_watch = [id for id in self._watched if id not in unmade]
        self._unwanted.clear()  # the server forgets watches with the connection that asked for them

    def _on_accepted(self, message: m.Accepted) -> None:
        sent = self._submits.pop(message.number, None)
        if sent is None:
            self.late += 1
            return
        start = 0
        is_plain = not (message.refused or message.duplicates or message.warnings)
        for submission in sent.submissions:
            self._submits_load.remove(submission)
            if is_plain:
                self._effects.append(Acknowledged(submission, [task.id for task in submission.tasks]))
            else:
                self._settle(submission, message, start)
            start += len(submission.tasks)

    def _settle(self, submission: Submission, message: m.Accepted, start: int) -> None:
        """Answer one submission, whose tasks begin at `start` in the message that was accepted."""
        end = start + len(submission.tasks)
        refusals = _within(message.refused, start, end)
        if refusals:
            self._forget_slots(submission)
            self._effects.append(NotMade(submission, refusals[0]))
            return
        ids = [task.id for task in submission.tasks]
        for duplicate in message.duplicates:
            if start <= duplicate.index < end:
                place = duplicate.index - start
                self._follow(ids[place], duplicate.id, submission.slots[place] if submission.slots else None)
                ids[place] = duplicate.id
        self._effects.append(Acknowledged(submission, ids, _within(message.warnings, start, end)))

    def _follow(self, id: bytes, other: bytes, slot: object) -> None:
        """Task `id` was not made since `other` stands for it: the slot of the one waits for the other."""
        if id == other or slot is None:
            return
        if slot in self._watched.get(id, ()):
            self.forget(id, slot)
            self._unwanted.pop(id, None)
            self._watched[other] = (*self._watched.get(other, ()), slot)
            self._to_watch.append(other)

    def _on_outcomes(self, outcomes: Iterable[m.Outcome]) -> None:
        pairs: list[tuple[Any, m.Outcome]] = []
        for outcome in outcomes:
            slots = self._watched.pop(outcome.id, None)
            if slots is None:
                self._unwanted.pop(outcome.id, None)
                self.late += 1
                continue
            pairs.extend((slot, outcome) for slot in slots)
        if pairs:
            self._effects.append(Ended(pairs))

    def _on_answer(self, message: m.Answer | m.Fetched | m.Failed) -> None:
        ticket, _ = self._requests.pop(message.number, (None, None))
        if ticket is None:
            self.late += 1
            return
        match message:
            case m.Answer():
                self._effects.append(Answered(ticket, message.body))
            case m.Fetched():
                self._effects.append(Fetched(ticket, message.result))
            case m.Failed():
                self._effects.append(NotAnswered(ticket, message))

    def _on_pong(self, pong: m.Pong) -> None:
        if pong.dropped > self._dropped:
            self._dropped = pong.dropped
            if self.is_open:
                self._ask_again()

    # ------------------------------------------------------------------- doubt

    def _awaits_something(self) -> bool:
        if not self.is_open:
            return self._is_dialled  # the answer to our greeting
        return bool(self._submits or self._requests or self._watched or self._waiting)

    def _expect(self, now: float) -> None:
        """Something will be awaited from `now` on; the silence of an idle connection does not count."""
        if self.is_open and not self._awaits_something():
            self._heard = now

    def _doubt_at(self) -> float:
        if self._pinged is not None:
            return self._pinged + self.settings.silent_after
        return self._heard + (self.settings.ping_after if self.is_open else self.settings.silent_after)

    def _doubt(self, now: float) -> None:
        """Ask a silent server whether it is there, and give the connection up if it does not say."""
        if not (self._is_dialled and self._awaits_something()) or now < self._doubt_at():
            return
        if self.is_open and self._pinged is None:
            self._pinged = now
            self._effects.append(Send(m.Ping(self._next_number())))
        else:
            self.lost()
            self._effects.append(Redial(now - self._heard))

    # ------------------------------------------------------------------ tables

    def _submissions(self) -> Iterator[Submission]:
        for sent in self._submits.values():
            yield from sent.submissions
        yield from self._waiting

    def _forget_slots(self, submission: Submission) -> None:
        for task, slot in zip(submission.tasks, submission.slots or (), strict=False):
            self.forget(task.id, slot)
            self._unwanted.pop(task.id, None)


class _Load(msgspec.Struct):
    """How many tasks and bytes some submissions have together."""

    tasks: int = 0
    bytes: int = 0

    def add(self, submission: Submission) -> None:
        self.tasks += len(submission.tasks)
        self.bytes += submission.size

    def remove(self, submission: Submission) -> None:
        self.tasks -= len(submission.tasks)
        self.bytes -= submission.size


def _within(refusals: Sequence[m.Refusal], start: int, end: int) -> list[m.Refusal]:
    """Those whose index lies in [start, end), counted from `start`."""
    return [msgspec.structs.replace(one, index=one.index - start) for one in refusals if start <= one.index < end]
