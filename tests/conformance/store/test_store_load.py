"""What `load` answers: exactly what exists, in order."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from otpq.core.records import Changes, DueRange, ExpiryRange, LaneId, LaneRange, LaneSummary, Needs

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.core.records import TaskRow
    from otpq.store.protocol import Store

LANE = LaneId("default", "mail", "", 5)
START = (-math.inf, 0)


def insert(store: Store, *rows: TaskRow) -> None:
    counts: dict[tuple[str, str], int] = {}
    for row in rows:
        counts[row.queue, row.state] = counts.get((row.queue, row.state), 0) + 1
    store.commit(Changes(inserts=list(rows), counts=counts))


def lane(store: Store, after: tuple[float, int], limit: int, lane: LaneId = LANE) -> list[int]:
    (rows,) = store.load(Needs(lanes=[LaneRange(lane, after, limit)])).lanes
    return [row.seq for row in rows]


def test_what_does_not_exist_is_absent(store: Store, row: Callable[..., TaskRow]) -> None:
    insert(store, row(1, key="k"))
    loaded = store.load(Needs(ids={row(1).id, row(2).id}, seqs={1, 2}, keys={"k", "other"}))
    assert (set(loaded.by_id), set(loaded.by_seq), set(loaded.by_key)) == ({row(1).id}, {1}, {"k"})


def test_a_lane_is_read_by_due_then_seq_after_a_key(store: Store, row: Callable[..., TaskRow]) -> None:
    insert(store, row(1, due=7.0), row(2, due=5.0), row(3, due=5.0), row(4, due=5.0), row(5, due=1.0))
    assert lane(store, START, 10) == [5, 2, 3, 4, 1]
    assert lane(store, START, 2) == [5, 2]
    assert lane(store, (5.0, 2), 2) == [3, 4]
    assert lane(store, (5.0, 3), 10) == [4, 1]
    assert lane(store, (5.0, 4), 10) == [1]
    assert lane(store, (7.0, 1), 10) == []
    assert lane(store, (6.0, 0), 10) == [1]


def test_a_lane_holds_nobody_elses_tasks(store: Store, row: Callable[..., TaskRow]) -> None:
    others: list[dict[str, Any]] = [
        {"queue": "x"},
        {"name": "x"},
        {"partition": "x"},
        {"priority": 6},
        {"state": "pending"},
        {"state": "retrying"},
    ]
    insert(store, row(1), *(row(seq, **other) for seq, other in enumerate(others, 2)))
    assert lane(store, START, 10) == [1]
    asked = [LaneRange(row(seq).lane if seq == 1 else row(seq, **others[seq - 2]).lane, START, 5) for seq in (3, 1, 5)]
    assert [[task.seq for task in rows] for rows in store.load(Needs(lanes=asked)).lanes] == [[3], [1], [5]]


def test_due_has_the_pending_and_the_retrying_in_due_order(store: Store, row: Callable[..., TaskRow]) -> None:
    states = ["pending", "retrying", "queued", "pending", "succeeded"]
    insert(store, *(row(seq, state=state, due=9.0 - seq // 3, finished=1.0) for seq, state in enumerate(states, 1)))
    assert [task.seq for task in store.load(Needs(due=DueRange(START, 10))).due] == [4, 1, 2]
    assert [task.seq for task in store.load(Needs(due=DueRange((9.0, 1), 10))).due] == [2]
    assert [task.seq for task in store.load(Needs(due=DueRange(START, 1))).due] == [4]


def test_expiry_has_what_has_not_ended_and_ran_out(store: Store, row: Callable[..., TaskRow]) -> None:
    insert(
        store,
        row(1, expires=5.0),
        row(2, expires=3.0, state="pending"),
        row(3, expires=4.0, state="retrying"),
        row(4, expires=3.5, state="expired", finished=1.0),
        row(5),
        row(6, expires=5.001),
    )
    assert [task.seq for task in store.load(Needs(expiry=ExpiryRange(5.0, 10))).expiry] == [2, 3, 1]
    assert [task.seq for task in store.load(Needs(expiry=ExpiryRange(5.0, 2))).expiry] == [2, 3]


def test_lanes_are_summed_up_for_a_new_queue_server(store: Store, row: Callable[..., TaskRow]) -> None:
    insert(store, row(1), row(2), row(3, partition="t"), row(4, state="pending"), row(5, priority=9))
    assert sorted(store.recover().lanes, key=lambda summary: summary.lane) == [
        LaneSummary(LANE, 2),
        LaneSummary(LaneId("default", "mail", "", 9), 1),
        LaneSummary(LaneId("default", "mail", "t", 5), 1),
    ]
