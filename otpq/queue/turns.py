"""Turns: the questions under way, each a look at a time, so that a long one does not hold up the others. A value."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from otpq.errors import StoreError
from otpq.queue.queries import BadQuery
from otpq.store.errors import TookTooLong

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from otpq.queue.looking import AnyLook, Inquiry, Seen, Selected

__all__ = ["Answered", "Turns", "Unanswered"]

BUDGET: Final = 5.0
"""Seconds of looking that one question may cost, waiting for others not counted."""
NARROW: Final = "it looks at too many tasks; narrow it by state, queue, ids, or a smaller limit"


@dataclass(frozen=True, slots=True)
class Unanswered:
    """Why a question has no answer: the wire's code and words for it, and the values behind it."""

    code: str
    text: str
    field: str = ""
    facts: Mapping[str, str | int | float] | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer to question `number`."""

    number: int
    answer: bytes | Selected | Unanswered


@dataclass(slots=True)
class _Turn:
    number: int
    inquiry: Inquiry
    seen: Seen | None = None
    """What its last look saw; None before the first."""
    spent: float = 0.0


class Turns:
    """Who is next."""

    def __init__(self, budget: float = BUDGET, clock: Callable[[], float] = time.monotonic) -> None:
        self._turns: deque[_Turn] = deque()
        self._budget = budget
        self._clock = clock

    def __len__(self) -> int:
        """How many are under way."""
        return len(self._turns)

    def add(self, number: int, inquiry: Inquiry) -> None:
        """One more question, the last in turn."""
        self._turns.append(_Turn(number, inquiry))

    def step(self, look: Callable[[AnyLook], Seen]) -> Answered | None:
        """Take one look for the question whose turn it is; its answer, if that was the last one it needed.

        Args:
            look: Carries the look out; may raise `StoreError` and `BadQuery`.
        """
        if not self._turns:
            return None
        turn = self._turns.popleft()
        try:
            what = next(turn.inquiry) if turn.seen is None else turn.inquiry.send(turn.seen)
            if turn.spent > self._budget:
                text = f"after {self._budget:g} s there is no answer: {NARROW}"
                return Answered(turn.number, Unanswered("too_slow", text))
            begun = self._clock()
            turn.seen = look(what)
            turn.spent += self._clock() - begun
        except StopIteration as done:
            return Answered(turn.number, done.value)
        except (BadQuery, StoreError) as error:
            return Answered(turn.number, _unanswered(error))
        self._turns.append(turn)
        return None


def _unanswered(error: BadQuery | StoreError) -> Unanswered:
    match error:
        case BadQuery():
            return Unanswered(error.code, str(error), error.field, error.facts)
        case TookTooLong():
            return Unanswered("too_slow", f"{error}: {NARROW}")
        case _:
            return Unanswered("store_unavailable", str(error))
