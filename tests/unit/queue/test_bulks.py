"""What is done to many tasks, a thousand at a time."""

from otpq.core import events as ev
from otpq.queue.bulks import bulk_of
from otpq.queue.looking import Selected
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
    assert bulk.event(client="c", request=1, ids=(b"a",)) == ev.Cancel(client="c", request=1, ids=(b"a",), grace=2.5)


def test_purge_forgets_what_waits_in_the_order_in_which_tasks_become_due() -> None:
    bulk = bulk_of("purge", verbs.QueueName("q"))
    assert [selector.state for selector in bulk.selectors] == ["pending", "retrying", "queued"]
    assert bulk.event(client="c", request=1, ids=(b"a",)) == ev.Delete(client="c", request=1, ids=(b"a",), waiting=True)


def test_each_selector_is_walked_from_its_newest_task() -> None:
    bulk = bulk_of("purge", verbs.QueueName("q"))
    bulk.selected(Selected([b"a"], 100))
    assert bulk.after == 100
    bulk.selected(Selected([], None))
    assert bulk.after is None
    assert bulk.selectors[0].state == "retrying"
