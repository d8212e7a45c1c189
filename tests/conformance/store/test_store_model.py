"""Random histories of commits, applied to a store and to plain dicts, give the same answers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from otpq.core.cron import Timing
from otpq.core.events import NewTask
from otpq.core.records import (
    Changes,
    DueRange,
    ExpiryRange,
    LaneId,
    LaneRange,
    LaneSummary,
    LeaseRow,
    Loaded,
    LogChunk,
    Needs,
    Recovered,
    ScheduleRow,
    Success,
    TaskRow,
    TaskUpdate,
)
from otpq.core.schedule import Definition
from otpq.store.errors import CommitRefused, StaleEpoch
from tests.property.core.dict_store import kept_of, put

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.store.protocol import Store

STATES = ("pending", "queued", "retrying", "succeeded", "failed", "cancelled", "expired")
ENDED = STATES[3:]
WAITING = STATES[:3]

# Few values, so that they meet: equal due times, tasks in one lane, expiries in the past.
states = st.sampled_from(STATES)
dues = st.sampled_from([1.0, 2.0, 2.5])
expiries = st.sampled_from([None, None, 1.0, 3.0])
queues, names, partitions = (st.sampled_from(pair) for pair in (("a", "b"), ("n", "m"), ("", "t")))
priorities = st.sampled_from([0, 5])
keys = st.sampled_from([None, None, "k1", "k2", "k3", "k4"])
payloads = st.sampled_from([b"", b"x" * 2_000, b"y" * 2_001, b"z" * 9_000])
lane_ids = st.builds(LaneId, queues, names, partitions, priorities)
afters = st.tuples(st.sampled_from([-math.inf, 1.0, 2.0, 2.5]), st.integers(0, 30))
limits = st.integers(1, 5)
blobs = st.sampled_from([None, b"\x92\x00\xa0", b"\x90"])
spans = st.tuples(st.integers(1, 4), st.integers(0, 2)).map(lambda pair: (pair[0], pair[0] + pair[1]))
definitions = [
    msgspec.msgpack.encode(Definition(timing=timing, task=NewTask(id=bytes(16), name="f", payload=b"\x90")))
    for timing in (Timing(every=5.0), Timing(cron="@daily"))
]
schedules = st.builds(
    ScheduleRow,
    st.just("?"),
    st.floats(0.0, 2e9),
    st.sampled_from(["set", "app:a:b"]),
    st.sampled_from(definitions),
    st.sampled_from([None, True, False]),
    st.none() | st.floats(1e9, 2e9),
) | st.builds(
    lambda row, last, runs, waiting: msgspec.structs.replace(
        row, last=last, task=b"i" * 16, runs=runs, waiting=waiting
    ),
    st.sampled_from([ScheduleRow("?", 1.0, "file", definition, next=2e9) for definition in definitions]),
    st.floats(0.0, 1e9),
    st.integers(1, 2**40),
    st.sampled_from([b"", b"\x90", msgspec.msgpack.encode([1.5])]),
)


class Model:
    """What a store should hold, in dicts."""

    def __init__(self) -> None:
        self.tasks: dict[int, TaskRow] = {}
        self.leases: dict[int, LeaseRow] = {}
        self.settings: dict[str, bytes] = {}
        self.schedules: dict[str, ScheduleRow] = {}
        self.logs: list[LogChunk] = []
        self.next_seq = 1
        self.next_lease = 1

    def apply(self, changes: Changes) -> None:
        for row in changes.inserts:
            self.tasks[row.seq] = row
            self.next_seq = max(self.next_seq, row.seq + 1)
        for update in changes.updates:
            self.tasks[update.seq] = msgspec.structs.replace(self.tasks[update.seq], **msgspec.structs.asdict(update))
        for success in changes.successes:
            fields = msgspec.structs.asdict(success) | {
                "state": "succeeded",
                "error": None,
                "reason": None,
                "checkpoint": None,
            }
            self.tasks[success.seq] = msgspec.structs.replace(self.tasks[success.seq], **fields)
        for seq in changes.deletes:
            del self.tasks[seq]
        self.logs = kept_of(self.logs, changes, self.tasks)
        for lease in changes.leases:
            self.next_lease = max(self.next_lease, lease.lease + 1)
            self.leases.pop(lease.lease, None)
            if lease.open:
                self.leases[lease.lease] = lease
        put(self.settings, changes.settings)
        put(self.schedules, changes.schedules)

    def counts(self) -> dict[tuple[str, str], int]:
        counts: dict[tuple[str, str], int] = {}
        for task in self.tasks.values():
            counts[task.queue, task.state] = counts.get((task.queue, task.state), 0) + 1
        return counts

    def recovered(self) -> Recovered:
        lanes: dict[LaneId, int] = {}
        for task in self.tasks.values():
            if task.state == "queued":
                lanes[task.lane] = lanes.get(task.lane, 0) + 1
        return Recovered(
            next_seq=self.next_seq,
            next_lease=self.next_lease,
            lanes=[LaneSummary(lane, queued) for lane, queued in sorted(lanes.items())],
            leases=[self.leases[lease] for lease in sorted(self.leases)],
            counts=self.counts(),
            settings=self.settings,
            schedules=[self.schedules[name] for name in sorted(self.schedules)],
        )

    def loaded(self, needs: Needs) -> Loaded:
        tasks = self.tasks.values()
        queued = sorted((task for task in tasks if task.state == "queued"), key=lambda task: task.order)
        waiting = sorted((task for task in tasks if task.state in {"pending", "retrying"}), key=lambda task: task.order)
        mortal = [
            (task.expires, task.seq, task) for task in tasks if task.expires is not None and task.state in WAITING
        ]
        loaded = Loaded(
            by_id={task.id: task for task in tasks if task.id in needs.ids},
            by_seq={task.seq: task for task in tasks if task.seq in needs.seqs},
            by_key={task.key: task for task in tasks if task.key is not None and task.key in needs.keys},
        )
        for asked in needs.lanes:
            lane = [task for task in queued if task.lane == asked.lane and task.order > asked.after]
            loaded.lanes.append(lane[: asked.limit])
        if needs.due:
            loaded.due = [task for task in waiting if task.order > needs.due.after][: needs.due.limit]
        if needs.expiry:
            until = needs.expiry.until
            loaded.expiry = [task for expires, _, task in sorted(mortal) if expires <= until][: needs.expiry.limit]
        return loaded


def difference(old: dict[tuple[str, str], int], new: dict[tuple[str, str], int]) -> dict[tuple[str, str], int]:
    changed = {key: new.get(key, 0) - old.get(key, 0) for key in old.keys() | new.keys()}
    return {key: n for key, n in changed.items() if n}


def chunk_of(seq: int, lease: int, span: tuple[int, int], forget: tuple[int, int] | None) -> LogChunk:
    lines = [(number, 1.0, "out", "info", "x", None) for number in range(span[0], span[1] + 1)]
    return LogChunk(seq, lease, span[0], span[1], msgspec.msgpack.encode(lines), forget)


class StoreAgainstModel(RuleBasedStateMachine):
    kind: Callable[[], Any]

    @initialize()
    def begin(self) -> None:
        self.context = self.kind()
        self.data = self.context.__enter__()
        self.store: Store = self.data.store()
        self.store.open()
        self.reading = self.store.reading()
        self.model = Model()
        self.commits = self.store.last_commit()

    def row(self, draw: Callable[[st.SearchStrategy[Any]], Any], seq: int, free_keys: set[str]) -> TaskRow:
        key = draw(keys)
        if key not in free_keys:
            key = None
        free_keys.discard(key)
        state = draw(states)
        lane = draw(lane_ids)
        return TaskRow(
            seq=seq,
            id=seq.to_bytes(16, "little"),
            name=lane.name,
            queue=lane.queue,
            partition=lane.partition,
            priority=lane.priority,
            state=state,
            due=draw(dues),
            expires=draw(expiries),
            created=float(seq),
            updated=float(seq),
            options=b"\x80",
            payload=draw(payloads),
            key=key,
            finished=1.0 if state in ENDED else None,
            progress=draw(st.sampled_from([None, b"\x92\x00\xa0"])),
            checkpoint=draw(blobs),
        )

    def changes(self, draw: Callable[[st.SearchStrategy[Any]], Any]) -> Changes:
        """Changes that fit, with the counts they make."""
        changes = Changes()
        free_keys = {"k1", "k2", "k3", "k4"} - {task.key for task in self.model.tasks.values() if task.key}
        first = self.model.next_seq + draw(st.integers(0, 2))
        changes.inserts = [self.row(draw, first + i, free_keys) for i in range(draw(st.integers(0, 6)))]
        leased = {seq for lease in self.model.leases.values() for seq in lease.open}
        free = sorted(self.model.tasks.keys() - leased)
        chosen = draw(st.lists(st.sampled_from(free), unique=True, max_size=6)) if free else []
        for seq in chosen:
            if draw(st.booleans()):
                changes.deletes.append(seq)
                continue
            task = self.model.tasks[seq]
            if draw(st.booleans()):
                changes.successes.append(Success(seq, 3.0, task.attempt + 1, 1.5, 2.0, draw(payloads), b"\x90"))
                continue
            state = draw(states)
            update = {field: getattr(task, field) for field in TaskUpdate.__struct_fields__}
            update |= {"state": state, "due": draw(dues), "expires": draw(expiries), "attempt": task.attempt + 1}
            update |= {"finished": 2.0 if state in ENDED else None, "history": task.history + b"\x80"}
            update |= {"checkpoint": draw(blobs)}
            changes.updates.append(TaskUpdate(**update))
        queued = [seq for seq in free if self.model.tasks[seq].state == "queued" and seq not in chosen]
        if queued and draw(st.booleans()):
            batch = tuple(draw(st.lists(st.sampled_from(queued), unique=True, min_size=1, max_size=4)))
            changes.leases.append(LeaseRow(self.model.next_lease, "n@h", "i", "s", 1, 1.0, batch))
        for lease in self.model.leases.values():
            if draw(st.booleans()):
                left = tuple(seq for seq in lease.open if draw(st.booleans()))
                changes.leases.append(msgspec.structs.replace(lease, open=left))
        changes.settings = draw(
            st.dictionaries(st.sampled_from(["x", "y"]), st.sampled_from([None, b"", b"1"]), max_size=2)
        )
        for name in draw(st.sets(st.sampled_from(["s", "t"]))):
            found = draw(st.none() | schedules)
            changes.schedules[name] = None if found is None else msgspec.structs.replace(found, name=name)
        changes.logs = draw(st.lists(self.chunks(first), max_size=4))
        after = Model()
        after.tasks = dict(self.model.tasks)
        after.apply(msgspec.structs.replace(changes, leases=[]))
        changes.counts = difference(self.model.counts(), after.counts())
        return changes

    @staticmethod
    def chunks(until: int) -> st.SearchStrategy[LogChunk]:
        """Chunks of logs of a few tasks, some of which are there, in more runs than are kept."""
        seqs, leases = st.integers(max(1, until - 3), until), st.integers(1, 12)
        return st.builds(chunk_of, seqs, leases, spans, st.none() | spans)

    @rule(draws=st.data())
    def commit(self, draws: st.DataObject) -> None:
        changes = self.changes(draws.draw)
        self.store.commit(changes)
        self.model.apply(changes)
        self.commits += 1

    @precondition(lambda self: self.model.tasks)
    @rule(draws=st.data())
    def refuse(self, draws: st.DataObject) -> None:
        changes = self.changes(draws.draw)
        task = self.model.tasks[draws.draw(st.sampled_from(sorted(self.model.tasks)))]
        fault = draws.draw(st.sampled_from(["seq", "id", "update", "success", "delete", "count"]))
        new = max([self.model.next_seq, *(row.seq + 1 for row in changes.inserts)])
        if fault in {"seq", "id"}:
            deleted = task.seq in changes.deletes
            changes.deletes = [seq for seq in changes.deletes if not deleted]
            spoiled = {"id": new.to_bytes(16, "little")} if fault == "seq" else {"seq": new}
            changes.inserts.append(msgspec.structs.replace(task, key=None, **spoiled))
        elif fault == "update":
            fields = {field: getattr(task, field) for field in TaskUpdate.__struct_fields__}
            changes.updates.append(TaskUpdate(**fields | {"seq": new}))
        elif fault == "success":
            changes.successes.append(Success(new, 3.0, 1, 1.5, 2.0, b"", b"\x90"))
        elif fault == "delete":
            changes.deletes.append(new)
        else:
            changes.counts["a", "queued"] = -1_000
        with pytest.raises(CommitRefused):
            self.store.commit(changes)

    @rule(draws=st.data())
    def load(self, draws: st.DataObject) -> None:
        seqs = draws.draw(st.sets(st.integers(1, self.model.next_seq), max_size=8))
        needs = Needs(
            ids={
                seq.to_bytes(16, "little")
                for seq in draws.draw(st.sets(st.integers(1, self.model.next_seq), max_size=8))
            },
            seqs=seqs,
            keys=draws.draw(st.sets(st.sampled_from(["k1", "k2", "k3", "k5"]))),
            lanes=draws.draw(st.lists(st.builds(LaneRange, lane_ids, afters, limits), max_size=6)),
            due=draws.draw(st.none() | st.builds(DueRange, afters, limits)),
            expiry=draws.draw(st.none() | st.builds(ExpiryRange, st.sampled_from([0.5, 1.0, 5.0]), limits)),
        )
        assert self.store.load(needs) == self.model.loaded(needs)

    @rule()
    def take_over(self) -> None:
        old, self.store = self.store, self.data.store()
        self.data.break_lock()
        self.store.open()
        self.read_anew()
        with pytest.raises(StaleEpoch):
            old.commit(Changes())
        old.close()

    @precondition(lambda self: self.data.durable)
    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store.open()
        self.read_anew()

    def read_anew(self) -> None:
        self.reading.close()
        self.reading = self.store.reading()

    @invariant()
    def recovers_the_same(self) -> None:
        if hasattr(self, "model"):
            recovered = self.store.recover()
            recovered.lanes.sort(key=lambda summary: summary.lane)
            assert recovered == self.model.recovered()
            assert self.store.last_commit() == self.commits
            logs = [chunk for seq in range(1, self.model.next_seq) for chunk in self.reading.log(seq)]
            assert logs == self.model.logs

    def teardown(self) -> None:
        if hasattr(self, "model"):
            self.reading.close()
            self.store.close()
            problems = self.data.problems()
            self.context.__exit__(None, None, None)
            assert problems == []


def test_any_history_gives_the_answers_of_the_model(kind: Callable[[], Any]) -> None:
    machine = type("Machine", (StoreAgainstModel,), {"kind": staticmethod(kind)})
    quick = settings(
        max_examples=40,
        stateful_step_count=25,
        deadline=None,  # a test never asserts on time
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=quick)
