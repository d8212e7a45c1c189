"""What is done to many tasks, a thousand at a time."""

import pytest

from otpq.core import events as ev
from otpq.queue.bulks import bulk_of
from otpq.queue.looking import Selected
from otpq.queue.queries import BadQuery
from otpq.wire import verbs


def test_it_goes_on_where_the_last_selection_ended_and_counts_what_was_done() -> None:
    bulk = bulk_of("cancel_all", verbs.CancelAll(queue="q"))
    bulk.selected(Selected([b"a", b"b", b"c"], 7))
    assert (bulk.after, bulk.missing, len(bulk.selectors)) == (7, 3, 1)
    for answer in ("cancelled", "too_late", "cancelling"):
        bulk.replied(answer)
    assert (bulk.missing, bulk.affected) == (0, 2)
    bulk.selected(Selected([], None))
    assert not bulk.selectors


def test_those_that_run_have_the_grace_that_was_given() -> None:
    bulk = bulk_of("cancel_all", verbs.CancelAll(queue="q", grace=2.5))
    assert bulk.event is not None
    assert bulk.event(client="c", request=1, ids=(b"a",)) == ev.Cancel(client="c", request=1, ids=(b"a",), grace=2.5)


def test_purge_forgets_what_waits_in_the_order_in_which_tasks_become_due() -> None:
    bulk = bulk_of("purge", verbs.PurgeQueue("q"))
    assert [selector.state for selector in bulk.selectors] == ["pending", "retrying", "queued"]
    assert bulk.event is not None
    assert bulk.event(client="c", request=1, ids=(b"a",)) == ev.Delete(client="c", request=1, ids=(b"a",), waiting=True)


def test_each_selector_is_walked_from_its_newest_task() -> None:
    bulk = bulk_of("purge", verbs.PurgeQueue("q"))
    bulk.selected(Selected([b"a"], 100))
    assert bulk.after == 100
    bulk.selected(Selected([], None))
    assert bulk.after is None
    assert bulk.selectors[0].state == "retrying"


def test_a_part_ends_after_its_rounds_and_the_next_one_goes_on_there() -> None:
    first = bulk_of("purge", verbs.PurgeQueue("q", rounds=2))
    first.selected(Selected([b"a"], None))
    assert not first.has_ended
    first.selected(Selected([b"b"], 40))
    assert (first.has_ended, first.place) == (True, "2:40")
    second = bulk_of("purge", verbs.PurgeQueue("q", rounds=2, after=first.place))
    assert ([selector.state for selector in second.selectors], second.after) == (["retrying", "queued"], 40)
    for _ in range(2):
        second.selected(Selected([], None))
    assert (second.has_ended, second.place) == (True, None)


@pytest.mark.parametrize("place", ["", "4:1", "0:", "1:x", "x"])
def test_a_place_that_is_none_is_refused(place: str) -> None:
    with pytest.raises(BadQuery, match="is not the `next` of an answer"):
        bulk_of("purge", verbs.PurgeQueue("q", after=place))


@pytest.mark.parametrize(
    ("to", "states"),
    [
        (None, [None]),
        ("cancel", ["pending", "retrying", "queued", "running"]),
        ("retry", ["failed", "cancelled", "expired"]),
        ("delete", ["cancelled", "expired", "failed", "succeeded"]),
        ("purge", ["pending", "retrying", "queued"]),
    ],
)
def test_those_are_counted_that_it_would_be_done_to(to: str | None, states: list[str | None]) -> None:
    bulk = bulk_of("count", verbs.CountTasks(name="mail", to=to))
    assert [selector.state for selector in bulk.selectors] == states
    assert {selector.name for selector in bulk.selectors} == {"mail"}
    bulk.selected(Selected([], 7, counted=3))
    bulk.selected(Selected([], None, counted=4))
    assert (bulk.affected, bulk.missing) == (7, 0)


def test_of_a_state_that_cannot_be_touched_nothing_is_counted() -> None:
    assert bulk_of("count", verbs.CountTasks(state="succeeded", to="retry")).has_ended
    assert [each.state for each in bulk_of("count", verbs.CountTasks(state="failed", to="retry")).selectors] == [
        "failed"
    ]
    with pytest.raises(BadQuery, match="to='kill' is none of cancel, retry, delete, purge"):
        bulk_of("count", verbs.CountTasks(to="kill"))
