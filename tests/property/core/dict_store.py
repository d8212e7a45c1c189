"""A store as a dict: the contract of `core/records.py` in the most naive way, every index by sorting all rows."""

from collections.abc import Container
from copy import copy
from typing import TypeVar

import msgspec

from otpq.core.records import (
    Changes,
    LaneSummary,
    LeaseRow,
    Link,
    Loaded,
    LogChunk,
    Needs,
    Recovered,
    ScheduleRow,
    TaskRow,
    WorkflowRow,
)
from otpq.store.protocol import LOGGED_RUNS

V = TypeVar("V")
ENDED = {"succeeded", "failed", "cancelled", "expired"}


def kept_of(logs: list[LogChunk], changes: Changes, tasks: Container[int]) -> list[LogChunk]:
    """The chunks that are left when `changes` are made and `tasks` are there, in order."""
    kept = {(each.seq, each.lease, each.first): each for each in logs if each.seq in tasks}
    for chunk in changes.logs:
        if chunk.seq not in tasks:
            continue
        kept.setdefault((chunk.seq, chunk.lease, chunk.first), msgspec.structs.replace(chunk, forget=None))
        if chunk.forget is not None:
            begin, end = chunk.forget
            run = [key for key in kept if key[:2] == (chunk.seq, chunk.lease)]
            for key in run:
                if begin <= kept[key].first and kept[key].last <= end:
                    del kept[key]
        runs = sorted({lease for seq, lease, _ in kept if seq == chunk.seq})[-LOGGED_RUNS:]
        kept = {key: each for key, each in kept.items() if key[0] != chunk.seq or key[1] in runs}
    return [kept[key] for key in sorted(kept)]


def put(kept: dict[str, V], changes: dict[str, V | None]) -> None:
    """Keep what `changes` say; None removes."""
    for name, value in changes.items():
        if value is None:
            kept.pop(name, None)
        else:
            kept[name] = copy(value)


class DictStore:
    """Rows by seq, leases by id. It copies what goes in and out, as a disk would."""

    def __init__(self) -> None:
        self.rows: dict[int, TaskRow] = {}
        self.leases: dict[int, LeaseRow] = {}
        self.counts: dict[tuple[str, str], int] = {}
        self.settings: dict[str, bytes] = {}
        self.schedules: dict[str, ScheduleRow] = {}
        self.logs: list[LogChunk] = []
        self.workflows: dict[int, WorkflowRow] = {}
        self.links: dict[int, Link] = {}
        self.last_seq = 0
        self.last_lease = 0

    def declared(self) -> dict[str, bytes]:
        """What it keeps of what apps declare, by handler."""
        return {key[9:]: packed for key, packed in self.settings.items() if key.startswith("declared:")}

    def load(self, needs: Needs) -> Loaded:
        rows = sorted(self.rows.values(), key=lambda row: row.seq)
        loaded = Loaded(
            by_id={row.id: copy(row) for row in rows if row.id in needs.ids},
            by_seq={row.seq: copy(row) for row in rows if row.seq in needs.seqs},
            by_key={row.key: copy(row) for row in rows if row.key is not None and row.key in needs.keys},
        )
        in_order = sorted(rows, key=lambda row: row.order)
        for one in needs.lanes:
            line = [row for row in in_order if row.state == "queued" and row.lane == one.lane and row.order > one.after]
            loaded.lanes.append([copy(row) for row in line[: one.limit]])
        if needs.due is not None:
            due = [row for row in in_order if row.state in {"pending", "retrying"} and row.order > needs.due.after]
            loaded.due = [copy(row) for row in due[: needs.due.limit]]
        if needs.expiry is not None:
            mortal = [(row.expires, row.seq) for row in rows if row.expires is not None and row.state not in ENDED]
            over = sorted(one for one in mortal if one[0] <= needs.expiry.until)
            loaded.expiry = [copy(self.rows[seq]) for _, seq in over[: needs.expiry.limit]]
        asked = [*loaded.by_id.values(), *loaded.by_seq.values(), *loaded.expiry]
        followers = needs.followers.union(*(row.followers for row in asked))
        loaded.by_seq |= {seq: copy(self.rows[seq]) for seq in followers - loaded.by_seq.keys() if seq in self.rows}
        numbers = {*needs.numbers, *(row.workflow for row in asked)}
        loaded.workflows = {
            one.number: copy(one)
            for one in self.workflows.values()
            if one.number in numbers or one.id in needs.workflows
        }
        return loaded

    def commit(self, changes: Changes) -> None:
        ids = {row.id for row in self.rows.values()}
        keys = {row.key for row in self.rows.values() if row.key is not None}
        for row in changes.inserts:
            assert row.seq > self.last_seq
            assert row.id not in ids
            assert row.key is None or row.key not in keys
            ids.add(row.id)
            keys.add(row.key or "")
            self.last_seq = row.seq
            self.rows[row.seq] = copy(row)
        assert len({update.seq for update in changes.updates}) == len(changes.updates)
        for update in changes.updates:
            fields = msgspec.structs.asdict(update)
            self.rows[update.seq] = msgspec.structs.replace(self.rows[update.seq], **fields)
        assert not {update.seq for update in changes.updates} & {success.seq for success in changes.successes}
        for success in changes.successes:
            fields = msgspec.structs.asdict(success) | {
                "state": "succeeded",
                "error": None,
                "reason": None,
                "checkpoint": None,
            }
            self.rows[success.seq] = msgspec.structs.replace(self.rows[success.seq], **fields)
        assert len({lease.lease for lease in changes.leases}) == len(changes.leases)
        self._put_leases(changes)
        for seq in changes.deletes:
            del self.rows[seq]
            self.links.pop(seq, None)
        self._put_workflows(changes)
        self.logs = kept_of(self.logs, changes, self.rows)
        for key, difference in changes.counts.items():
            self.counts[key] = self.counts.get(key, 0) + difference
        put(self.settings, changes.settings)
        put(self.schedules, changes.schedules)

    def _put_leases(self, changes: Changes) -> None:
        for lease in changes.leases:
            self.last_lease = max(self.last_lease, lease.lease)
            if lease.open:
                self.leases[lease.lease] = lease
            else:
                self.leases.pop(lease.lease, None)

    def _put_workflows(self, changes: Changes) -> None:
        for link in changes.links:
            assert link.seq in self.rows
            self.links[link.seq] = link
        for number, workflow in changes.workflows.items():
            if workflow is None:
                self.workflows.pop(number, None)
            else:
                assert workflow.id not in {one.id for one in self.workflows.values() if one.number != number}
                self.workflows[number] = copy(workflow)

    def recover(self) -> Recovered:
        lanes: dict[tuple[str, str, str, int], LaneSummary] = {}
        for row in self.rows.values():
            if row.state == "queued":
                key = (row.queue, row.name, row.partition, row.priority)
                before = lanes.get(key, LaneSummary(row.lane, 0))
                lanes[key] = LaneSummary(row.lane, before.queued + 1)
        return Recovered(
            next_seq=self.last_seq + 1,
            next_lease=self.last_lease + 1,
            lanes=list(lanes.values()),
            leases=list(self.leases.values()),
            counts=dict(self.counts),
            settings=dict(self.settings),
            schedules=[copy(row) for row in self.schedules.values()],
            sweeping=[one for one in self.workflows.values() if one.sweep is not None and one.mark < one.total],
        )

    def counted(self) -> dict[tuple[str, str], int]:
        """What the counts should be, counted."""
        counts: dict[tuple[str, str], int] = {}
        for row in self.rows.values():
            counts[row.queue, row.state] = counts.get((row.queue, row.state), 0) + 1
        return counts
