"""What is told beside the core's reason."""

from __future__ import annotations

from typing import Any

import pytest

from otpq.queue.whereabouts import whereabouts
from otpq.wire.peers import Member

NODES = [Member("a@h", "a@h:1", "a1", leads=True), Member("b@h", "b@h:1", "b2", "suspected")]


def worker(number: int, **facts: Any) -> dict[str, Any]:
    return {"node": "a@h", "pool": "cpu", "worker": number, "child": 70 + number, "state": "active", **facts}


def open_of(lease: int) -> list[bytes]:
    return {4: [b"\x04", b"\x05"], 6: [b"\x06"]}.get(lease, [])


def assigned(node: str, incarnation: str, *workers: dict[str, Any], seq: int = 7) -> dict[str, Any]:
    facts = {"node": node, "incarnation": incarnation, "running": True}
    return whereabouts("assigned", facts, seq, workers=workers, nodes=NODES, open_of=open_of)


def test_the_state_of_the_node_is_that_of_this_incarnation() -> None:
    assert assigned("a@h", "a1") == {"node_state": "up"}
    assert assigned("b@h", "b2") == {"node_state": "suspected"}
    assert assigned("b@h", "b1") == {"node_state": "down"}
    assert assigned("c@h", "c1") == {"node_state": "down"}


def test_a_run_is_found_where_a_pool_has_told_of_it() -> None:
    rows = [worker(0, seq=None, since=None), worker(1, seq=7, since=2.5)]
    assert assigned("a@h", "a1", *rows) == {"node_state": "up", "worker": 1, "child": 71, "since": 2.5}
    several = worker(2, seq=3, since=1.0, runs=[[3, 1.0], [7, 4.5]])
    assert assigned("a@h", "a1", several)["since"] == 4.5
    assert assigned("a@h", "a1", *rows, seq=8) == {"node_state": "up"}


@pytest.mark.parametrize(
    ("leases", "in_batch", "place"),
    [
        ([9], (0, None), (0, None)),
        ([4, 6, 9], (0, None), (3, "06")),
        ([4, 6, 9], (2, "aa"), (5, "aa")),
        ([8, 9, 4], (0, None), (0, None)),
    ],
    ids=["alone", "behind two batches", "within its batch too", "behind one that is over"],
)
def test_a_place_counts_all_that_is_in_front_of_the_worker(
    leases: list[int], in_batch: tuple[int, str | None], place: tuple[int, str | None]
) -> None:
    facts = {"node": "a@h", "incarnation": "a1", "running": False, "lease": 9}
    facts |= {"position": in_batch[0], "behind": in_batch[1]}
    rows = [worker(0, leases=[4]), worker(1, leases=leases)]
    told = whereabouts("assigned", facts, 7, workers=rows, nodes=NODES, open_of=open_of)
    assert told == {"node_state": "up", "worker": 1, "child": 71, "position": place[0], "behind": place[1]}
    assert whereabouts("assigned", facts, 7, workers=rows[:1], nodes=NODES, open_of=open_of) == {"node_state": "up"}


def test_the_workers_of_busy_pools_are_counted_by_state() -> None:
    facts = {"pools": 1, "there": [{"node": "a@h", "pool": "cpu", "queues": ["q"]}]}
    rows = [worker(0), worker(1, state="starting"), worker(2, pool="gpu"), worker(3, node="b@h")]
    told = whereabouts("no_worker", facts, 7, workers=rows, nodes=NODES, open_of=open_of)
    assert told == {"workers": {"active": 1, "idle": 0, "starting": 1, "offline": 0}}
    assert whereabouts("no_worker", {**facts, "pools": 0}, 7, workers=rows, nodes=NODES, open_of=open_of) == {}
    assert whereabouts("no_worker", {"pools": 0, "there": []}, 7, workers=rows, nodes=NODES, open_of=open_of) == {}
    assert whereabouts("no_worker", {**facts, "pools": 11}, 7, workers=rows, nodes=NODES, open_of=open_of) == {}
    assert whereabouts("paused", {}, 7, workers=rows, nodes=NODES, open_of=open_of) == {}
