"""Lookups: the questions about the store that clients wait for, and who answers them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Final

from otpq.otp import MonitorRef, Pid, cast, monitor, self_pid, send
from otpq.queue.messages import Asked
from otpq.queue.queries import BadQuery
from otpq.queue.turns import Answered, Turns, Unanswered

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.queue.looking import AnyLook, Inquiry, Seen, Selected

__all__ = ["LOOK", "Lookups"]

MAX_WAITING: Final = 1_000
"""Questions that may wait; beyond it a client hears that at once."""
BUDGET_HERE: Final = 0.5
"""Seconds of looking for one question where the queue server does it itself."""
LOOK: Final = "look"
"""The queue server's message to itself: take the next look."""


@dataclass(frozen=True, slots=True)
class _Lookup:
    inquiry: Inquiry
    then: Callable[[bytes | Selected | Unanswered], None]


class Lookups:
    """For the queue server, in its thread.

    With a Reader (`look=None`) questions go to it, wait while there is none, and are answered, though with an error, when it
    is lost. Without one the queue server looks itself, once at each wake-up.
    """

    def __init__(self, look: Callable[[AnyLook], Seen] | None) -> None:
        self._look = look
        self._turns = Turns(BUDGET_HERE)
        self._waiting: dict[int, _Lookup] = {}
        self._numbers = count(1)
        self._reader: Pid | None = None
        self._ref: MonitorRef | None = None

    def ask(self, inquiry: Inquiry, then: Callable[[bytes | Selected | Unanswered], None]) -> None:
        """Have a question answered; `then` is called once, later, with its answer.

        Raises:
            BadQuery: Too many wait.
        """
        if len(self._waiting) >= MAX_WAITING:
            raise BadQuery("busy", f"{MAX_WAITING:,} questions are waiting; ask again in a moment")
        number = next(self._numbers)
        self._waiting[number] = _Lookup(inquiry, then)
        self._put(number, inquiry)

    def _put(self, number: int, inquiry: Inquiry) -> None:
        if self._look is not None:
            if not self._turns:
                send(self_pid(), LOOK)
            self._turns.add(number, inquiry)
        elif self._reader is not None:
            cast(self._reader, Asked(number, inquiry))

    def look(self) -> None:
        """Take one look, where there is no Reader."""
        assert self._look is not None  # noqa: S101 - else nobody sends LOOK
        answered = self._turns.step(self._look)
        if self._turns:
            send(self_pid(), LOOK)
        if answered is not None:
            self.answered(answered)

    def answered(self, answered: Answered) -> None:
        """Give an answer to who waits for it."""
        lookup = self._waiting.pop(answered.number, None)
        if lookup is not None:
            lookup.then(answered.answer)

    def reader_up(self, reader: Pid) -> None:
        """There is a Reader: it gets what has waited for one."""
        self._reader, self._ref = reader, monitor(reader)
        for number, lookup in self._waiting.items():
            cast(reader, Asked(number, lookup.inquiry))

    def is_reader(self, ref: MonitorRef) -> bool:
        """Whether a `Down` with this `ref` is the Reader's."""
        return ref is self._ref

    def reader_down(self) -> None:
        """The Reader is lost, maybe through one of these questions: none of them is put again."""
        self._reader = self._ref = None
        lost, self._waiting = self._waiting, {}
        for lookup in lost.values():
            lookup.then(Unanswered("reader_lost", "the reader was lost over this question or beside it; ask again"))
