"""What operators see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from otpq.core.records import Changes, LeaseRow
from otpq.store.errors import StoreClosed, StoreDamaged
from otpq.store.protocol import Ended, Filters
from otpq.task import TaskState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from otpq.core.records import TaskRow
    from otpq.store.protocol import Reading, Store


@pytest.fixture
def reading(store: Store) -> Iterator[Reading]:
    reading = store.reading()
    yield reading
    reading.close()


def insert(store: Store, *rows: TaskRow) -> None:
    counts: dict[tuple[str, str], int] = {}
    for row in rows:
        counts[row.queue, row.state] = counts.get((row.queue, row.state), 0) + 1
    store.commit(Changes(inserts=list(rows), counts=counts))


def is_in(state: str) -> Callable[[TaskRow], bool]:
    return lambda row: row.state == state


def seqs(reading: Reading, *, limit: int = 100, scan: int = 1_000, **filters: Any) -> list[int]:
    """All pages, put together."""
    found: list[int] = []
    after = None
    while True:
        page = reading.tasks(Filters(**filters), limit=limit, after=after, scan=scan)
        assert len(page.rows) <= limit
        found += [row.seq for row in page.rows]
        if page.next is None:
            return found
        assert after is None or page.next < after
        after = page.next


def test_a_task_is_found_by_its_id(store: Store, reading: Reading, row: Callable[..., TaskRow]) -> None:
    insert(store, row(1))
    assert reading.get(row(1).id) == row(1)
    assert reading.get(row(2).id) is None
    assert reading.get(b"of another form") is None


def test_a_reader_sees_what_is_committed_and_only_that(
    store: Store, reading: Reading, row: Callable[..., TaskRow]
) -> None:
    for seq in range(1, 4):
        insert(store, row(seq))
        assert seqs(reading) == list(range(seq, 0, -1))


@pytest.mark.parametrize("scan", [1, 2, 1_000])
@pytest.mark.parametrize("limit", [1, 3, 100])
def test_lists_are_newest_first_by_all_filters_in_pages_of_any_size(
    store: Store, reading: Reading, row: Callable[..., TaskRow], limit: int, scan: int
) -> None:
    states = ["queued", "succeeded", "failed", "pending", "retrying", "cancelled", "expired"]
    rows = [
        row(
            seq,
            state=states[seq % 7],
            finished=5.0,
            queue=f"q{seq % 2}",
            name=f"n{seq % 3}",
            tags=",a,b," if seq % 4 else "",
        )
        for seq in range(1, 60)
        if seq % 5
    ]
    insert(store, *rows)
    wanted: list[tuple[dict[str, Any], Callable[[TaskRow], bool]]] = [
        ({}, lambda _: True),
        *((({"state": state}, is_in(state))) for state in [*states, "running"]),
        ({"queue": "q1", "name": "n2"}, lambda r: r.queue == "q1" and r.name == "n2"),
        ({"state": "failed", "queue": "q1"}, lambda r: r.state == "failed" and r.queue == "q1"),
        ({"state": "queued", "queue": "q1"}, lambda r: r.state == "queued" and r.queue == "q1"),
        ({"tag": "b"}, lambda r: bool(r.tags)),
        ({"tag": "a,b"}, lambda r: bool(r.tags)),
        ({"tag": "c"}, lambda _: False),
        ({"before": 1030.0}, lambda r: r.created < 1030.0),
        ({"ids": (row(8).id, row(3).id, row(999).id)}, lambda r: r.seq in {3, 8}),
        ({"ids": (row(8).id, row(3).id), "state": states[1]}, lambda r: r.seq == 8),
        ({"ids": ()}, lambda _: False),
    ]
    for filters, matches in wanted:
        expected = [r.seq for r in reversed(rows) if matches(r)]
        assert seqs(reading, limit=limit, scan=scan, **filters) == expected, filters


def count(reading: Reading, *, scan: int = 1_000, without: tuple[int, ...] = (), **filters: Any) -> int:
    """All steps, put together."""
    found, after = 0, None
    while True:
        step = reading.count(Filters(**filters), after=after, scan=scan, without=without)
        found += step.count
        if step.next is None:
            return found
        assert after is None or step.next < after
        after = step.next


@pytest.mark.parametrize("scan", [1, 2, 1_000])
def test_what_a_list_would_have_is_counted(
    store: Store, reading: Reading, row: Callable[..., TaskRow], scan: int
) -> None:
    states = ["queued", "succeeded", "failed"]
    rows = [
        row(seq, state=states[seq % 3], finished=5.0, queue=f"q{seq % 2}", name=f"n{seq % 4}", tags=",a," * (seq % 2))
        for seq in range(1, 30)
    ]
    insert(store, *rows)
    for filters in (
        {},
        {"state": "failed"},
        {"state": "queued", "name": "n?"},
        {"queue": "q1", "name": "n1", "tag": "a"},
        {"ids": (rows[3].id, rows[7].id, b"0" * 16)},
        {"state": "queued", "seqs": (3, 6, 7)},
    ):
        assert count(reading, scan=scan, **filters) == len(seqs(reading, **filters)), filters
    assert count(reading, scan=scan, state="queued", without=(3, 4, 6)) == len(seqs(reading, state="queued")) - 2


@pytest.mark.parametrize(
    "pattern",
    [
        ("email.*", {"email.send", "email.", "email.é"}),
        ("email.?", {"email.é"}),
        ("email.send", {"email.send"}),
        ("*.send", {"email.send", "sms.send"}),
        ("a[*]b", {"a*b"}),
        ("a[[]*", {"a[1]"}),
        ("a[1]", {"a[1]"}),
        ("a*", {"a*b", "a[1]"}),
        ("EMAIL.*", set()),
        ("a[*", set()),
    ],
)
@pytest.mark.parametrize(
    "others", [{}, {"queue": "default"}, {"state": "queued"}, {"state": "queued", "queue": "default"}]
)
def test_a_pattern_finds_the_handlers_whose_names_are_like_it(
    store: Store,
    reading: Reading,
    row: Callable[..., TaskRow],
    pattern: tuple[str, set[str]],
    others: dict[str, Any],
) -> None:
    glob, names = pattern
    known = ["email.send", "email.", "email.é", "emails", "sms.send", "a*b", "a[1]"]
    insert(store, *(row(seq, name=name, queue="default", state="queued") for seq, name in enumerate(known, 1)))
    found = seqs(reading, name=glob, **others)
    assert {known[seq - 1] for seq in found} == names
    assert count(reading, name=glob, **others) == len(names)


def test_a_list_without_room_is_refused(reading: Reading) -> None:
    with pytest.raises(ValueError, match="1 or more"):
        reading.tasks(Filters(), limit=0)


def test_counts_have_all_eight_states(store: Store, reading: Reading, row: Callable[..., TaskRow]) -> None:
    assert reading.counts() == {}
    assert reading.counts("none") == {"none": dict.fromkeys(TaskState, 0)}
    insert(store, row(1), row(2), row(3, queue="other", state="failed", finished=1.0))
    nothing = dict.fromkeys(TaskState, 0)
    other = nothing | {TaskState.FAILED: 1}
    assert reading.counts() == {"default": nothing | {TaskState.QUEUED: 2}, "other": other}
    assert reading.counts("other") == {"other": other}


def test_open_leases_are_shown(store: Store, reading: Reading, row: Callable[..., TaskRow]) -> None:
    leases = [
        LeaseRow(2, "a@h", "i", "s", 1, 5.0, (2, 1)),
        LeaseRow(3, "b@h", "i", "s", 1, 6.0, (3,), alone=True),
    ]
    insert(store, row(1), row(2), row(3))
    store.commit(Changes(leases=leases))
    assert reading.leases() == leases


def test_a_history_is_decoded(store: Store, reading: Reading, row: Callable[..., TaskRow]) -> None:
    entries = [{"at": 1.5, "to": "queued"}, {"at": 2, "node": "a@h", "more": [1, None]}]
    insert(store, row(1, history=b"".join(map(msgspec.msgpack.encode, entries))), row(2))
    assert reading.history(row(1).id) == entries
    assert reading.history(row(2).id) == []
    assert reading.history(row(3).id) is None


def test_a_damaged_history_is_no_surprise(store: Store, reading: Reading, row: Callable[..., TaskRow]) -> None:
    insert(store, row(1, history=b"\x80\x82\xa1"))
    with pytest.raises(StoreDamaged, match="byte 1"):
        reading.history(row(1).id)
    insert(store, row(2))
    store.commit(Changes(deletes=[1], counts={("default", "queued"): -1}))


@pytest.mark.parametrize("scan", [1, 2, 3, 100])
def test_a_walk_finds_all_that_ended_before_its_states_time(
    store: Store, reading: Reading, row: Callable[..., TaskRow], scan: int
) -> None:
    insert(
        store,
        row(1, state="succeeded", finished=5.0, created=1.0),
        row(2, state="succeeded", finished=15.0, created=1.0),
        row(3, state="failed", finished=5.0, created=1.0),
        row(4, created=1.0),
        row(5, state="cancelled", finished=5.0, created=2.0),
        row(6, state="expired", finished=1.0, created=2.0),
    )
    found: list[Ended] = []
    after = None
    for _ in range(10):
        page = reading.ended({"succeeded": 10.0, "failed": 4.0, "expired": 10.0}, after=after, scan=scan)
        found += page.found
        after = page.next
        if after is None:
            break
    assert after is None
    assert found == [
        Ended(1, row(1).id, "mail", "default", "succeeded", 5.0),
        Ended(6, row(6).id, "mail", "default", "expired", 1.0),
    ]


def test_a_walk_stops_where_everything_is_younger(store: Store, reading: Reading, row: Callable[..., TaskRow]) -> None:
    insert(store, row(1, state="failed", finished=5.0, created=1.0), *(row(seq, created=50.0) for seq in range(2, 100)))
    assert reading.ended({"failed": 10.0}, scan=5).next is None
    assert reading.ended({}, scan=5).next is None


def test_a_closed_reader_says_so(store: Store) -> None:
    reading = store.reading()
    reading.close()
    reading.close()
    with pytest.raises(StoreClosed):
        reading.counts()
