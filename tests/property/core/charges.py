"""Who is to be charged, and what is to be kept of what tasks told, worked out again from the events and the store's leases."""

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, TypeAlias

from otpq.core import events as ev
from otpq.task import Options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otpq.core.records import LeaseRow, TaskRow
    from tests.property.core.dict_store import DictStore

NodeId: TypeAlias = tuple[str, str]


class Charges:
    """What `attempt` and `interruptions` of each task should be."""

    def __init__(self, term: float) -> None:
        self.term = term
        self.attempts = Counter[int]()
        self.interruptions = Counter[int]()
        self.checkpoints: dict[int, bytes] = {}
        self.progress: dict[int, float] = {}
        self.lines: set[tuple[int, int, int]] = set()
        """(task, lease, number)."""
        self.runs: defaultdict[int, set[int]] = defaultdict(set)
        """Of each task the leases under which it has logged anything."""
        self.deadlines: dict[NodeId, float] | None = None
        """None: the core is new, and its first step gives each node a full term."""
        self.leases: dict[int, LeaseRow] = {}
        self.open: dict[int, list[int]] = {}
        self.rows: dict[int, TaskRow] = {}
        self.declared: dict[str, bytes] = {}
        """What the latest session said of each handler."""
        self.doomed: set[int] = set()
        self.ids: dict[bytes, int] = {}

    def hear(self, store: "DictStore", events: "Sequence[ev.Event]", now: float) -> None:
        """Work out one step; the store is still as it was before."""
        self.leases = dict(store.leases)
        self.open = {id: list(lease.open) for id, lease in store.leases.items()}
        self.rows = dict(store.rows)
        self.declared = store.declared()
        self.doomed = {seq for seq, row in store.rows.items() if row.reason == "cancelling"}
        self.ids = {row.id: row.seq for row in store.rows.values()}
        if self.deadlines is None:
            self.deadlines = {(one.node, one.incarnation): now + self.term for one in store.leases.values()}
        for event in events:
            self._hear_one(event, now, self.deadlines)
        for node in [node for node, deadline in self.deadlines.items() if deadline <= now]:
            del self.deadlines[node]
            self._end(node, None, fenced=False)

    def forgive(self, seq: int) -> None:
        """An operator starts the task again."""
        self.attempts[seq] = self.interruptions[seq] = 0
        self.progress.pop(seq, None)

    def _hear_one(self, event: ev.Event, now: float, deadlines: dict[NodeId, float]) -> None:
        match event:
            case ev.Results():
                self._resolve(event)
            case ev.Checkpointed() | ev.Progressed() | ev.Logged():
                self._note(event)
            case ev.HandedBack():
                for seq in event.seqs:
                    self._takes(event.lease, event.session, seq)
            case ev.NodeLost():
                deadlines.pop((event.node, event.incarnation), None)
                self._end((event.node, event.incarnation), event.started, fenced=event.fenced)
            case ev.Cancel():
                leased = {seq for seqs in self.open.values() for seq in seqs}
                self.doomed |= {self.ids[id] for id in event.ids if id in self.ids} & leased
            case ev.SessionOpened() | ev.Heartbeat():
                deadlines[event.node, event.incarnation] = now + self.term
                if isinstance(event, ev.SessionOpened):
                    self.declared |= event.handlers or {}
            case _:
                pass

    def _resolve(self, event: ev.Results) -> None:
        for result in event.results:
            if self._takes(event.lease, event.session, result.seq):
                self.attempts[result.seq] += not self._is_free(result)
                if isinstance(result, ev.Succeeded):
                    self.checkpoints.pop(result.seq, None)

    def _takes(self, lease: int, session: str, seq: int) -> bool:
        """Whether the lease is open to this session for this task; from now on it is not."""
        is_open = self._has(lease, session, seq)
        if is_open:
            self.open[lease].remove(seq)
        return is_open

    def _has(self, lease: int, session: str, seq: int) -> bool:
        return lease in self.leases and self.leases[lease].session == session and seq in self.open[lease]

    def _note(self, event: ev.Checkpointed | ev.Progressed | ev.Logged) -> None:
        if not self._has(event.lease, event.session, event.seq):
            return
        match event:
            case ev.Checkpointed():
                self.checkpoints[event.seq] = event.value
            case ev.Progressed():
                self.progress[event.seq] = event.fraction
            case ev.Logged():
                self.lines.add((event.seq, event.lease, event.first))
                self.runs[event.seq].add(event.lease)

    def _is_free(self, result: ev.Result) -> bool:
        return isinstance(result, ev.Snoozed | ev.HandedOver) and result.seq not in self.doomed

    def _end(self, node: NodeId, started: frozenset[int] | None, *, fenced: bool) -> None:
        for id, lease in self.leases.items():
            if (lease.node, lease.incarnation) == node:
                for seq in self.open[id]:
                    self._end_one(lease, seq, started, fenced=fenced)
                self.open[id] = []

    def _end_one(self, lease: "LeaseRow", seq: int, started: frozenset[int] | None, *, fenced: bool) -> None:
        if started is None:
            self.interruptions[seq] += 1
            row = self.rows[seq]
            options = Options.unpack(self.declared.get(row.name, b""), row.options)
            is_guilty = lease.alone and not options.at_most_once
        else:
            is_guilty = seq in started and not fenced
        self.attempts[seq] += is_guilty and seq not in self.doomed
