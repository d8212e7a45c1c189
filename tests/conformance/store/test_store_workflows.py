"""Workflows in a store: with what may end come its workflow and those that wait for it; members are kept as long as it is."""

from __future__ import annotations

import msgspec
import pytest

from otpq.core.records import Changes, ExpiryRange, Link, Member, Needs, TaskRow, WorkflowRow
from otpq.store.errors import CommitRefused
from otpq.store.protocol import End, Store
from tests.integration.store.rows import make_row

pack = msgspec.msgpack.encode
ID = b"w" * 16


def a_workflow(number: int = 1, total: int = 3, **fields: object) -> WorkflowRow:
    return msgspec.structs.replace(WorkflowRow(number, ID, total, "fail", "title", 5.0, total), **fields)


def a_member(seq: int, followers: list[int], waits: int = 0, **fields: object) -> TaskRow:
    state = {"state": "pending", "due": float("inf")} if waits else {}
    return make_row(seq, workflow=1, member=pack(Member(followers)), waits=waits, **{**state, **fields})


def a_chain() -> Changes:
    rows = [a_member(1, [1]), a_member(2, [2], 1), a_member(3, [], 1)]
    links = [Link(2, pack([0]), pack(0)), Link(3, pack([1]), None)]
    counts = {("default", "queued"): 1, ("default", "pending"): 2}
    return Changes(inserts=rows, counts=counts, workflows={1: a_workflow()}, links=links)


def test_with_a_member_come_its_workflow_and_those_that_wait_for_it(store: Store) -> None:
    changes = a_chain()
    store.commit(changes)
    first, second, third = changes.inserts
    for needs in (Needs(seqs={1}), Needs(ids={first.id})):
        loaded = store.load(needs)
        assert loaded.workflows == {1: a_workflow()}
        assert {seq: row for seq, row in loaded.by_seq.items() if seq != 1} == {2: second}
    assert store.load(Needs(seqs={2})).by_seq == {2: second, 3: third}
    assert store.load(Needs(workflows={ID})).workflows == {1: a_workflow()}
    assert store.load(Needs(workflows={b"x" * 16})).workflows == {}


def test_with_a_member_that_expires_come_those_that_wait_for_it(store: Store) -> None:
    changes = a_chain()
    changes.inserts[1].expires = 9.0
    store.commit(changes)
    loaded = store.load(Needs(expiry=ExpiryRange(9.0, 5)))
    assert [row.seq for row in loaded.expiry] == [2]
    assert set(loaded.by_seq) == {3}
    assert set(loaded.workflows) == {1}


def test_a_workflow_is_written_again_and_forgotten(store: Store) -> None:
    store.commit(a_chain())
    later = a_workflow(cancelled=True, sweep="cancel", mark=1)
    store.commit(Changes(workflows={1: later}))
    assert store.load(Needs(workflows={ID})).workflows == {1: later}
    assert store.recover().sweeping == [later]
    store.commit(Changes(workflows={1: msgspec.structs.replace(later, mark=3)}))
    assert store.recover().sweeping == []
    counts = {("default", "queued"): -1, ("default", "pending"): -2}
    store.commit(Changes(deletes=[1, 2, 3], counts=counts, workflows={1: None}))
    assert store.load(Needs(workflows={ID})).workflows == {}


def test_the_id_of_a_workflow_is_unique(store: Store) -> None:
    store.commit(a_chain())
    with pytest.raises(CommitRefused, match="UNIQUE"):
        store.commit(Changes(workflows={9: a_workflow(9)}))


def test_readers_see_members_links_and_ends(store: Store) -> None:
    changes = a_chain()
    changes.inserts[0] = a_member(1, [1], state="succeeded", finished=1.0, result=b"\x07")
    changes.inserts[1].waits, changes.inserts[1].due = 0, 9.0
    changes.counts = {("default", "succeeded"): 1, ("default", "pending"): 2}
    changes.workflows = {1: a_workflow(ended=1)}
    store.commit(changes)
    reading = store.reading()
    try:
        first = changes.inserts[0]
        assert reading.ends(1, 1) == {1: End(1, first.id, first.name, "succeeded", b"\x07", None)}
        assert reading.links(1, 3) == {2: Link(2, pack([0]), pack(0)), 3: Link(3, pack([1]), None)}
        assert [(line.seq, line.state) for line in reading.members(2, 3, 1)] == [(2, "pending")]
        assert reading.member_counts(1, 3) == {"succeeded": 1, "pending": 2}
        assert reading.blocked() == {"default": 1}
        assert reading.workflow(1) == reading.workflow(id=ID) == a_workflow(ended=1)
        assert reading.workflow(2) is None
        assert reading.workflows(limit=5) == [a_workflow(ended=1)]
        assert reading.workflows(limit=5, after=1) == []
    finally:
        reading.close()


def test_links_go_with_their_tasks(store: Store) -> None:
    store.commit(a_chain())
    store.commit(Changes(deletes=[2], counts={("default", "pending"): -1}, workflows={1: a_workflow(kept=2, ended=1)}))
    reading = store.reading()
    try:
        assert set(reading.links(1, 3)) == {3}
    finally:
        reading.close()


@pytest.mark.parametrize(
    ("finished", "failed", "found"), [(None, 0, []), (50.0, 0, [1, 2, 3]), (90.0, 0, []), (50.0, 1, [])]
)
def test_members_may_be_forgotten_when_their_workflow_may(
    store: Store, finished: float | None, failed: int, found: list[int]
) -> None:
    """As a task that succeeded (before 60), or failed (before 40) if one of them did not succeed."""
    changes = a_chain()
    last = "cancelled" if failed else "succeeded"
    states = ("succeeded", "succeeded", last)
    changes.inserts = [a_member(seq, [], state=state, finished=1.0) for seq, state in enumerate(states, 1)]
    changes.counts = {("default", state): states.count(state) for state in states}
    changes.workflows = {1: a_workflow(finished=finished, ended=3, failed=failed)}
    store.commit(changes)
    reading = store.reading()
    try:
        assert [one.seq for one in reading.ended({"succeeded": 60.0, "failed": 40.0}).found] == found
    finally:
        reading.close()
