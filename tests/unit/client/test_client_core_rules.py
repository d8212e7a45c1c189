"""The core's rules, one each: when tasks leave, what is sent again, what is doubted. Time is a number here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from otpq.client.core import ClientCore, Settings, Submission
from otpq.client.effects import Acknowledged, Answered, Ended, Fetched, NotAnswered, NotMade, Redial, Send, Turned
from otpq.wire import messages as m

if TYPE_CHECKING:
    from otpq.client.effects import Effect

SESSION = b"s" * 16
LINGER = 0.001


def an_id(n: int) -> bytes:
    return n.to_bytes(16, "big")


def a_submission(first: int, count: int = 1, size: int = 100) -> Submission:
    tasks = [m.NewTask(an_id(first + i), "ok", b"") for i in range(count)]
    return Submission(tasks, [f"slot {first + i}" for i in range(count)], size * count, ticket=f"ticket {first}")


def sent(effects: list[Effect]) -> list[m.FromClient]:
    return [effect.message for effect in effects if isinstance(effect, Send)]


def sizes(effects: list[Effect]) -> list[int]:
    return [len(message.tasks) for message in sent(effects) if isinstance(message, m.Submit)]


def connect(core: ClientCore, now: float = 0.0) -> list[Effect]:
    core.dialled(now)
    (hello,) = sent(core.step(now))
    assert isinstance(hello, m.Hello)
    core.received(m.Welcome(1, SESSION, hello.connection, "a@b", "i", 1), now)
    return core.step(now)


@pytest.fixture
def core() -> ClientCore:
    core = ClientCore(SESSION)
    connect(core)
    return core


def test_a_lonely_task_leaves_at_once(core: ClientCore) -> None:
    core.submit(a_submission(1), now=5.0)
    assert sizes(core.step(5.0)) == [1]


def test_tasks_gather_while_one_is_unanswered_for_a_millisecond_at_most(core: ClientCore) -> None:
    core.submit(a_submission(1), now=5.0)
    core.step(5.0)
    for n in range(2, 12):
        core.submit(a_submission(n), now=5.0002)
        assert sizes(core.step(5.0002)) == []
    assert core.deadline == pytest.approx(5.0002 + LINGER)
    assert sizes(core.step(5.0011)) == []
    assert sizes(core.step(5.0013)) == [10]


def test_an_answer_ends_the_gathering(core: ClientCore) -> None:
    core.submit(a_submission(1), now=5.0)
    (message,) = sent(core.step(5.0))
    assert isinstance(message, m.Submit)
    core.submit(a_submission(2), now=5.0)
    core.received(m.Accepted(message.number), now=5.0001)
    assert sizes(core.step(5.0001)) == [1]


def test_a_hundred_are_company_enough(core: ClientCore) -> None:
    core.submit(a_submission(1), now=5.0)
    core.step(5.0)
    for n in range(2, 101):
        core.submit(a_submission(n), now=5.0)
    assert sizes(core.step(5.0)) == []
    core.submit(a_submission(101), now=5.0)
    assert sizes(core.step(5.0)) == [100]


def test_a_message_has_at_most_a_thousand_tasks_and_a_mebibyte(core: ClientCore) -> None:
    for n in range(0, 5_000, 2):
        core.submit(a_submission(n, 2), now=5.0)
    assert sizes(core.step(5.0)) == [1_000] * 5
    core = ClientCore(SESSION)
    connect(core)
    for n in range(5):
        core.submit(a_submission(n, size=600_000), now=5.0)
    core.submit(a_submission(9, size=15_000_000), now=5.0)
    assert sizes(core.step(5.0 + LINGER)) == [1, 1, 1, 1, 1]  # the large one does not fit into the window any more


def test_groups_are_told_only_where_there_are_any(core: ClientCore) -> None:
    for submission in (a_submission(1), a_submission(2)):
        core.submit(submission, now=5.0)
    (message,) = sent(core.step(5.0))
    assert isinstance(message, m.Submit)
    assert message.groups is None
    core.received(m.Accepted(message.number), 5.0)
    core.submit(a_submission(3, 2), now=5.0)
    core.submit(a_submission(5), now=5.0)
    (message,) = sent(core.step(5.0))
    assert isinstance(message, m.Submit)
    assert message.groups == [2, 1]


def test_the_window_bounds_what_is_unanswered() -> None:
    core = ClientCore(SESSION, settings=Settings(window_tasks=10, message_tasks=4))
    connect(core)
    for n in range(100):
        core.submit(a_submission(n), now=5.0)
    effects = core.step(6.0)
    assert sizes(effects) == [4, 4, 2]
    assert core.load == (100, 10_000)
    assert core.deadline is not None
    assert core.deadline > 6.0  # nothing to do before an answer, or doubt
    first = sent(effects)[0]
    assert isinstance(first, m.Submit)
    core.received(m.Accepted(first.number), 6.0)
    assert sizes(core.step(6.0)) == [4]
    assert core.load == (96, 9_600)


def test_nothing_leaves_before_the_welcome() -> None:
    core = ClientCore(SESSION)
    core.submit(a_submission(1), now=0.0)
    core.ask("t", "health", b"\xc0", 0.0)
    core.watch(an_id(9), "slot", 0.0)
    assert core.step(1.0) == []
    assert core.deadline is None
    effects = connect(core, 2.0)
    assert [type(message) for message in sent(effects)] == [m.Query, m.Watch, m.Submit]


def test_everything_unanswered_is_sent_again_under_the_same_numbers(core: ClientCore) -> None:
    core.submit(a_submission(1), now=5.0)
    core.ask("t", "health", b"\xc0", 5.0)
    core.watch(an_id(9), "slot", 5.0)
    (query,) = (message for message in sent(core.step(5.0)) if isinstance(message, m.Query))
    core.lost()
    again = sent(connect(core, 6.0))
    resent = [message for message in again if isinstance(message, m.Submit)]
    assert [message.resent for message in resent] == [True]
    assert [task.id for task in resent[0].tasks] == [an_id(1)]
    assert query in again
    assert m.Watch([an_id(9)]) in again  # and not the id of the submission, which the server may not have yet


def test_a_late_welcome_of_an_older_connection_opens_nothing() -> None:
    core = ClientCore(SESSION)
    core.dialled(0.0)
    core.lost()
    core.dialled(1.0)
    core.received(m.Welcome(1, SESSION, 1, "a@b", "i", 1), 1.0)
    assert not core.is_open
    core.received(m.Welcome(1, SESSION, 2, "a@b", "i", 1), 1.0)
    assert core.is_open


def test_a_refusal_is_of_the_group_and_counts_within_it(core: ClientCore) -> None:
    submissions = [a_submission(1, 2), a_submission(3, 3), a_submission(6)]
    for submission in submissions:
        core.submit(submission, now=5.0)
    (message,) = sent(core.step(5.0))
    assert isinstance(message, m.Submit)
    core.received(m.Accepted(message.number, refused=[m.Refusal(2, "queue_full", "full")]), 5.0)
    first, second, third = core.step(5.0)
    assert isinstance(first, Acknowledged)
    assert isinstance(second, NotMade)
    assert isinstance(third, Acknowledged)
    assert (first.submission, second.submission, third.submission) == tuple(submissions)
    assert second.refusal.index == 0
    assert core.awaited["outcomes"] == 3


def test_a_duplicate_gets_the_outcome_of_the_task_that_was_there(core: ClientCore) -> None:
    core.submit(a_submission(1), now=5.0)
    (message,) = sent(core.step(5.0))
    assert isinstance(message, m.Submit)
    core.received(m.Accepted(message.number, duplicates=[m.Duplicate(0, an_id(77))]), 5.0)
    effects = core.step(5.0)
    assert isinstance(effects[0], Acknowledged)
    assert effects[0].ids == [an_id(77)]
    assert sent(effects) == [m.Watch([an_id(77)])]
    outcome = m.Outcome(an_id(77), "succeeded")
    core.received(m.Outcomes([outcome]), 5.0)
    assert core.step(5.0) == [Ended([("slot 1", outcome)])]


def test_an_outcome_that_overtakes_its_acknowledgement_is_not_lost(core: ClientCore) -> None:
    core.submit(a_submission(1), now=5.0)
    (message,) = sent(core.step(5.0))
    outcome = m.Outcome(an_id(1), "succeeded")
    core.received(m.Outcomes([outcome]), 5.0)
    core.received(m.Outcomes([outcome]), 5.0)
    assert isinstance(message, m.Submit)
    core.received(m.Accepted(message.number), 5.0)
    kinds = [type(effect) for effect in core.step(5.0)]
    assert kinds == [Ended, Acknowledged]
    assert core.late == 1


def test_answers_find_their_questions_once(core: ClientCore) -> None:
    core.ask("a", "health", b"\xc0", 0.0)
    core.fetch("b", an_id(1), 0.0)
    core.ask("c", "stats", b"\xc0", 0.0)
    numbers = [message.number for message in sent(core.step(0.0)) if isinstance(message, m.Query | m.Fetch)]
    failed = m.Failed(numbers[2], "not_found", "no")
    for _ in range(2):
        core.received(m.Answer(numbers[0], msgspec.Raw(b"\x01")), 0.0)
        core.received(m.Fetched(numbers[1], b"r"), 0.0)
        core.received(failed, 0.0)
    assert core.step(0.0) == [Answered("a", msgspec.Raw(b"\x01")), Fetched("b", b"r"), NotAnswered("c", failed)]
    assert core.late == 3


def test_who_gives_up_is_forgotten(core: ClientCore) -> None:
    first = a_submission(1)
    core.submit(first, now=0.0)
    (message,) = sent(core.step(0.0))
    waiting = a_submission(2)
    core.submit(waiting, now=0.0)
    core.ask("q", "health", b"\xc0", 0.0)
    for ticket in (first.ticket, waiting.ticket, "q"):
        core.give_up(ticket)
    assert core.awaited == {"submissions": 1, "requests": 0, "outcomes": 0}
    assert not core.has_submissions
    core.step(0.0)
    assert isinstance(message, m.Submit)
    core.received(m.Accepted(message.number), 0.0)
    (effect,) = core.step(0.0)
    assert isinstance(effect, Acknowledged)
    assert effect.submission.ticket is None


def test_forgotten_tasks_are_told_to_the_server_by_the_thousand() -> None:
    core = ClientCore(SESSION, settings=Settings(unwatch=3))
    connect(core)
    for n in range(3):
        core.watch(an_id(n), n, 0.0)
    core.step(0.0)
    for n in range(2):
        core.forget(an_id(n), n)
    assert core.step(0.0) == []
    core.forget(an_id(2), 2)
    assert sent(core.step(0.0)) == [m.Unwatch([an_id(0), an_id(1), an_id(2)])]


def test_two_slots_of_one_task_both_get_its_outcome(core: ClientCore) -> None:
    core.watch(an_id(1), "a", 0.0)
    core.watch(an_id(1), "b", 0.0)
    core.watch(an_id(1), "c", 0.0)
    core.forget(an_id(1), "b")
    core.step(0.0)
    outcome = m.Outcome(an_id(1), "failed")
    core.received(m.Outcomes([outcome]), 0.0)
    assert core.step(0.0) == [Ended([("a", outcome), ("c", outcome)])]


def test_silence_is_doubted_and_then_given_up(core: ClientCore) -> None:
    core.watch(an_id(1), "slot", 100.0)
    core.step(100.0)
    assert core.deadline == 105.0
    (ping,) = sent(core.step(105.0))
    assert isinstance(ping, m.Ping)
    assert core.deadline == 125.0
    assert core.step(124.9) == []
    assert core.step(125.0) == [Redial(25.0)]
    assert not core.is_open


def test_any_word_ends_the_doubt(core: ClientCore) -> None:
    core.watch(an_id(1), "slot", 100.0)
    core.step(105.0)
    core.received(m.Pong(1), 106.0)
    assert core.step(125.0) == [Send(m.Ping(2))]


def test_an_idle_connection_is_left_alone(core: ClientCore) -> None:
    assert core.deadline is None
    assert core.step(1_000.0) == []


def test_no_welcome_is_a_silence_too() -> None:
    core = ClientCore(SESSION)
    core.dialled(0.0)
    core.step(0.0)
    assert core.deadline == 20.0
    assert core.step(20.0) == [Redial(20.0)]


def test_what_the_server_had_to_drop_is_asked_for_again(core: ClientCore) -> None:
    core.watch(an_id(1), "slot", 0.0)
    core.step(0.0)
    core.received(m.Pong(1, dropped=2), 1.0)
    assert sent(core.step(1.0)) == [m.Watch([an_id(1)])]
    core.received(m.Pong(2, dropped=2), 2.0)
    assert core.step(2.0) == []


def test_a_rejection_is_for_good(core: ClientCore) -> None:
    rejected = m.Rejected("version", "no")
    core.received(rejected, 0.0)
    assert core.step(0.0) == [Turned(rejected)]
    assert not core.is_open


def test_goodbye_is_said_only_where_somebody_listens() -> None:
    core = ClientCore(SESSION)
    core.goodbye()
    assert core.step(0.0) == []
    connect(core)
    core.goodbye()
    assert sent(core.step(0.0)) == [m.Goodbye()]
