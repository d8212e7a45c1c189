"""What a commit promises: all or none, and exactly one of three errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from otpq.core.records import Changes, LeaseRow, Needs, Recovered, Success, TaskRow, TaskUpdate, WorkflowRow
from otpq.store.errors import CommitRefused, StaleEpoch, StoreClosed, StoreTaken

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.store.protocol import Store


def update(task: TaskRow, **columns: object) -> TaskUpdate:
    fields = {field: getattr(task, field) for field in TaskUpdate.__struct_fields__}
    return TaskUpdate(**{**fields, **columns})


def lease(number: int, *open_seqs: int, epoch: int = 1) -> LeaseRow:
    return LeaseRow(number, "a@host", "inc1", "pool", epoch, 1000.5, open_seqs)


def added(*rows: TaskRow) -> Changes:
    """The insert of `rows`, with its counts."""
    counts: dict[tuple[str, str], int] = {}
    for row in rows:
        counts[row.queue, row.state] = counts.get((row.queue, row.state), 0) + 1
    return Changes(inserts=list(rows), counts=counts)


def by_seq(store: Store, *seqs: int) -> dict[int, TaskRow]:
    return store.load(Needs(seqs=set(seqs))).by_seq


def test_every_column_comes_back_as_it_went_in(store: Store, row: Callable[..., TaskRow]) -> None:
    full = row(
        7,
        id=bytes(range(16)),
        name="é\U0001f600",
        partition="tenant",
        priority=9,
        state="failed",
        due=1e9 + 0.123456,
        expires=2e9,
        created=0.5,
        updated=-1.5,
        options=b"\x81\xa1a\x01",
        payload=b"\x00" * 100,
        key="k",
        parent=b"\xff" * 16,
        tags=",a,b,",
        title='it\'s "x"',
        attempt=2,
        interruptions=1,
        started=1.25,
        finished=2.5,
        result=b"",
        error=b"\x90",
        reason="error",
        ran=b"\x90",
        history=b"\x80\x80",
        progress=b"\x92\xcb\x3f\xe0\x00\x00\x00\x00\x00\x00\xa0",
        checkpoint=b"\x01",
        workflow=7,
        member=b"\x93\x91\x01\xcb\x00\x00\x00\x00\x00\x00\x00\x00\xc0",
        waits=0,
        told=True,
    )
    workflow = WorkflowRow(7, bytes(16), 1, "fail", None, 1.0, 1, ended=1, failed=1)
    store.commit(msgspec.structs.replace(added(full), workflows={7: workflow}))
    assert store.load(Needs(ids={full.id})).by_id == {full.id: full}
    assert all(getattr(full, field) is not None for field in TaskRow.__struct_fields__)


@pytest.mark.parametrize("size", [0, 1, 1_999, 2_000, 2_001, 4_096, 1_000_000])
def test_a_payload_of_any_size_stays_whole_through_updates(
    store: Store, row: Callable[..., TaskRow], size: int
) -> None:
    task = row(1, payload=bytes(i % 251 for i in range(size)))
    store.commit(added(task))
    store.commit(Changes(updates=[update(task, updated=5.0)]))
    assert by_seq(store, 1)[1].payload == task.payload


def test_an_update_changes_its_columns_and_no_other(store: Store, row: Callable[..., TaskRow]) -> None:
    task, other = row(1, key="k", expires=9.0, title="t"), row(2)
    store.commit(added(task, other))
    changed = {
        "state": "failed",
        "due": 2.0,
        "updated": 3.0,
        "attempt": 4,
        "interruptions": 5,
        "started": 6.0,
        "finished": 7.0,
        "result": b"r",
        "error": b"\x90",
        "reason": "timeout",
        "ran": b"\x90",
        "history": b"\x80",
        "expires": None,
        "progress": b"\x92\x00\xa0",
        "checkpoint": b"\x01",
        "waits": 3,
        "told": True,
    }
    assert set(changed) | {"seq"} == set(TaskUpdate.__struct_fields__)
    counts = {("default", "queued"): -1, ("default", "failed"): 1}
    store.commit(Changes(updates=[update(task, **changed)], counts=counts))
    assert by_seq(store, 1, 2) == {1: msgspec.structs.replace(task, **changed), 2: other}


@pytest.mark.parametrize("count", [1, 9, 10, 49, 50, 173])
def test_successes_change_their_columns_and_no_other(store: Store, row: Callable[..., TaskRow], count: int) -> None:
    tasks = [row(seq, state="queued", due=float(seq), title=str(seq)) for seq in range(1, count + 2)]
    store.commit(added(*tasks))
    told = {"progress": b"\x92\x00\xa0", "checkpoint": b"\x01"}
    before = update(tasks[0], error=b"\x90", reason="cancelling", history=b"\x80", expires=9.0, **told)
    store.commit(Changes(updates=[before]))
    tasks[0] = by_seq(store, 1)[1]
    ends = [Success(seq, seq + 0.5, 2, seq + 0.25, seq + 0.75, b"%d" % seq, b"\x90") for seq in range(1, count + 1)]
    counts = {("default", "queued"): -count, ("default", "succeeded"): count}
    store.commit(Changes(successes=ends, counts=counts))
    wanted = [
        msgspec.structs.replace(
            task, state="succeeded", error=None, reason=None, checkpoint=None, **msgspec.structs.asdict(end)
        )
        for task, end in zip(tasks, ends, strict=False)
    ]
    assert by_seq(store, *range(1, count + 2)) == {task.seq: task for task in [*wanted, tasks[-1]]}


def test_lanes_of_a_refused_commit_leave_nothing_behind(store: Store, row: Callable[..., TaskRow]) -> None:
    store.commit(added(row(1, name="first")))
    with pytest.raises(CommitRefused):
        store.commit(added(row(2, name="second"), row(1, name="third")))
    store.commit(added(row(2, name="fourth"), row(3, name="second")))
    assert {seq: task.name for seq, task in by_seq(store, 1, 2, 3).items()} == {1: "first", 2: "fourth", 3: "second"}


def test_a_deleted_task_is_gone_with_its_payload_and_its_key_is_free(store: Store, row: Callable[..., TaskRow]) -> None:
    store.commit(added(row(1, key="k", payload=b"x" * 10_000)))
    store.commit(Changes(deletes=[1], counts={("default", "queued"): -1}))
    assert store.load(Needs(ids={row(1).id}, seqs={1}, keys={"k"})) == type(store.load(Needs()))()
    store.commit(added(row(2, key="k", id=row(1).id)))
    assert by_seq(store, 2)[2].key == "k"


def test_a_lease_is_rewritten_and_goes_with_its_last_task(store: Store, row: Callable[..., TaskRow]) -> None:
    store.commit(added(row(1), row(2), row(3)))
    store.commit(Changes(leases=[lease(1, 3, 1), lease(2, 2)]))
    assert store.recover().leases == [lease(1, 3, 1), lease(2, 2)]
    store.commit(Changes(leases=[lease(1, 1), lease(2)]))
    assert store.recover().leases == [lease(1, 1)]
    store.commit(Changes(leases=[lease(1), lease(99)]))
    assert store.recover().leases == []


def test_numbers_are_never_given_twice_even_if_the_highest_is_deleted(
    store: Store, row: Callable[..., TaskRow]
) -> None:
    store.commit(added(row(5)))
    store.commit(Changes(leases=[lease(8, 5)]))
    store.commit(Changes(leases=[lease(8)], deletes=[5], counts={("default", "queued"): -1}))
    recovered = store.recover()
    assert (recovered.next_seq, recovered.next_lease) == (6, 9)


def test_settings_are_set_replaced_and_removed(store: Store) -> None:
    store.commit(Changes(settings={"pause": b"1", "limit": b"3"}))
    store.commit(Changes(settings={"pause": None, "limit": b"4", "none": None}))
    assert store.recover().settings == {"limit": b"4"}


def bad_changes(row: Callable[..., TaskRow]) -> dict[str, Changes]:
    """Changes that do not fit a store with tasks 1 (key "k") and 2, each beside good ones before and after."""
    present = row(1, key="k")
    return {
        "seq that exists": Changes(inserts=[row(3), row(1, id=b"n" * 16)]),
        "id that exists": Changes(inserts=[row(3), row(4, id=present.id)]),
        "id twice in the batch": Changes(inserts=[row(3), row(4, id=row(3).id)]),
        "key that exists": Changes(inserts=[row(3), row(4, key="k")]),
        "key twice in the batch": Changes(inserts=[row(3, key="new"), row(4, key="new")]),
        "update of nothing": Changes(inserts=[row(3)], updates=[update(present, updated=0.0), update(row(99))]),
        "delete of nothing": Changes(inserts=[row(3)], deletes=[1, 99]),
        "count below zero": Changes(inserts=[row(3)], counts={("default", "queued"): -3}),
        "count below zero of a new queue": Changes(inserts=[row(3)], counts={("new", "queued"): -1}),
        "state that no row has": Changes(inserts=[row(3), row(4, state="running")]),
        "state that is none": Changes(updates=[update(present, state="asleep")]),
        "id of another length": Changes(inserts=[row(3), row(4, id=b"short")]),
        "number too large": Changes(inserts=[row(3), row(4, attempt=2**63)]),
        "text that is no Unicode": Changes(inserts=[row(3), row(4, title="\ud800")]),
        "time that is no number": Changes(inserts=[row(3), row(4, due=float("nan"))]),
    }


BAD = [
    "seq that exists",
    "id that exists",
    "id twice in the batch",
    "key that exists",
    "key twice in the batch",
    "update of nothing",
    "delete of nothing",
    "count below zero",
    "count below zero of a new queue",
    "state that no row has",
    "state that is none",
    "id of another length",
    "number too large",
    "text that is no Unicode",
    "time that is no number",
]


@pytest.mark.parametrize("what", BAD)
def test_a_change_that_does_not_fit_is_refused_as_a_whole(store: Store, row: Callable[..., TaskRow], what: str) -> None:
    store.commit(added(row(1, key="k"), row(2)))
    before, number = (store.recover(), by_seq(store, *range(100))), store.last_commit()
    bad = bad_changes(row)
    assert list(bad) == BAD
    changes = bad[what]
    changes.leases.append(lease(1, 1))
    changes.settings["x"] = b"x"
    with pytest.raises(CommitRefused) as refused:
        store.commit(changes)
    assert refused.value.because in {"constraint", "value"}
    assert (store.recover(), by_seq(store, *range(100))) == before
    assert store.last_commit() == number
    store.commit(added(row(3)))
    assert by_seq(store, 3) == {3: row(3)}


def test_commits_are_numbered_one_by_one_through_all_epochs(data: Any, row: Callable[..., TaskRow]) -> None:
    first, second = data.store(), data.store()
    first.open()
    number = first.last_commit()
    first.commit(added(row(1)))
    first.commit(Changes())
    assert first.last_commit() == number + 2
    data.break_lock()
    second.open()
    assert second.last_commit() == number + 2
    second.commit(added(row(2)))
    assert second.last_commit() == number + 3
    first.close()
    second.close()


def test_every_opening_takes_a_higher_epoch(data: Any) -> None:
    stores = [data.store() for _ in range(3)]
    epochs = []
    for store in stores:
        epochs.append(store.open())
        data.break_lock()
    assert epochs == sorted(set(epochs))
    for store in stores:
        store.close()


def test_who_was_taken_over_writes_nothing_any_more(data: Any, row: Callable[..., TaskRow]) -> None:
    old, new = data.store(), data.store()
    old_epoch = old.open()
    old.commit(added(row(1)))
    data.break_lock()
    new_epoch = new.open()
    before = new.recover()
    for changes in (added(row(2)), Changes(), Changes(deletes=[1])):
        with pytest.raises(StaleEpoch) as stale:
            old.commit(changes)
        assert (stale.value.mine, stale.value.found) == (old_epoch, new_epoch)
    with pytest.raises(StaleEpoch):
        old.last_commit()
    assert new.recover() == before
    new.commit(added(row(2)))
    assert set(by_seq(new, 1, 2)) == {1, 2}
    old.close()
    new.close()


def test_a_second_opener_is_refused(data: Any) -> None:
    store = data.store()
    store.open()
    with pytest.raises(StoreTaken):
        store.open()
    store.close()


def test_a_store_that_is_not_open_says_so(data: Any) -> None:
    store = data.store()
    store.close()
    for use in (
        store.recover,
        store.last_commit,
        store.reading,
        lambda: store.load(Needs()),
        lambda: store.commit(Changes()),
    ):
        with pytest.raises(StoreClosed):
            use()
    store.open()
    store.close()
    store.close()
    with pytest.raises(StoreClosed):
        store.recover()


def test_a_new_store_is_empty(store: Store) -> None:
    assert store.recover() == Recovered()


def test_what_was_committed_is_there_after_closing_and_opening(data: Any, row: Callable[..., TaskRow]) -> None:
    if not data.durable:
        pytest.skip("memory: nothing survives, and it says so")
    store = data.store()
    store.open()
    store.commit(added(row(1), row(2, payload=b"x" * 5_000)))
    before = store.recover()
    store.close()
    store = data.store()
    store.open()
    assert store.recover() == before
    assert by_seq(store, 1, 2) == {1: row(1), 2: row(2, payload=b"x" * 5_000)}
    store.close()
