"""Questions about the store in turn: each gets its own answer, none waits for another's end, none takes for ever."""

from collections.abc import Generator
from typing import Any

import msgspec

from otpq.queue.looking import Look, Seen
from otpq.queue.queries import BadQuery
from otpq.queue.turns import Answered, Turns, Unanswered
from otpq.store.errors import StoreUnreachable, TookTooLong
from otpq.store.protocol import Filters

WHAT = Look(Filters(), frozenset())


def inquiry(looks: int, answer: bytes = b"done") -> Generator[Look, Seen, bytes]:
    for _ in range(looks):
        yield WHAT
    return answer


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def see(_what: Look) -> Seen:
    return Seen([], None)


def run(turns: Turns, look: Any = see) -> list[Answered]:
    answers = []
    while turns:
        answered = turns.step(look)
        if answered is not None:
            answers.append(answered)
    return answers


def test_a_short_question_is_answered_before_a_long_one_that_came_first() -> None:
    turns = Turns()
    turns.add(1, inquiry(50))
    turns.add(2, inquiry(1))
    turns.add(3, inquiry(3))
    assert [answered.number for answered in run(turns)] == [2, 3, 1]


def test_a_question_gets_what_its_own_look_saw() -> None:
    def two() -> Generator[Look, Seen, bytes]:
        first = yield Look(Filters(name="first"), frozenset())
        second = yield Look(Filters(name="second"), frozenset())
        return first.found[0][0] + second.found[0][0]

    turns = Turns()
    turns.add(1, two())
    turns.add(2, two())

    def echo(what: Look) -> Seen:
        return Seen([(str(what.filters.name).encode(), msgspec.Raw(b""))], None)

    assert {answered.answer for answered in run(turns, echo)} == {b"firstsecond"}


def test_a_question_that_costs_too_much_is_given_up_and_the_others_are_not() -> None:
    clock = Clock()
    turns = Turns(budget=1.0, clock=clock)
    turns.add(1, inquiry(1000))
    turns.add(2, inquiry(2))

    def slow(_what: Look) -> Seen:
        clock.now += 0.4
        return Seen([], None)

    first, second = run(turns, slow)
    assert (first.number, first.answer) == (2, b"done")
    assert second.number == 1
    assert isinstance(second.answer, Unanswered)
    assert second.answer.code == "too_slow"
    assert "narrow" in second.answer.text


def test_an_error_of_a_look_is_the_answer_of_its_question_alone() -> None:
    for error, code in [
        (TookTooLong("x"), "too_slow"),
        (StoreUnreachable("x", "y"), "store_unavailable"),
        (BadQuery("reader_lost", "z"), "reader_lost"),
    ]:
        failing = iter([error])

        def fail_once(what: Look, failing: Any = failing) -> Seen:
            for error in failing:
                raise error
            return see(what)

        turns = Turns()
        turns.add(1, inquiry(2))
        turns.add(2, inquiry(2))
        first, second = run(turns, fail_once)
        assert isinstance(first.answer, Unanswered)
        assert (first.number, first.answer.code) == (1, code)
        assert second == Answered(2, b"done")
