"""Whatever is asked for and answered: what runs on a node fits into its memory, and what fits is not kept waiting."""

from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otpq.core import effects as ef
from otpq.core import events as ev
from otpq.core.memory import needed
from otpq.task import Options
from tests.unit.core.driver import Driver

if TYPE_CHECKING:
    from otpq.core.records import TaskRow

CAPACITY = {"a@h": 100.0, "b@h": 50.0}
POOLS = {"a1": ("a@h", 1), "a2": ("a@h", 3), "b1": ("b@h", 1)}
"""Their nodes, and how many tasks their children run at a time."""
DECLARED = {"f": b"", "g": Options(memory=30.0).pack()}

submissions = st.fixed_dictionaries(
    {
        "count": st.integers(1, 4),
        "name": st.sampled_from(["f", "g"]),
        "partition": st.sampled_from(["", "p", "q"]),
        "priority": st.sampled_from([2, 5]),
        "options": st.sampled_from(
            [
                b"",
                *(Options(memory=mib).pack() for mib in (20.0, 45.0, 70.0, 100.0, 500.0)),
                Options(at_most_once=True).pack(),
            ]
        ),
    }
)
steps = st.one_of(
    st.tuples(st.just("submit"), submissions),
    st.tuples(st.just("ask"), st.sampled_from(sorted(POOLS))),
    st.tuples(st.just("answer"), st.integers(0, 50)),
    st.tuples(st.just("answer"), st.integers(0, 50)),
    st.tuples(st.just("restart"), st.none()),
)


class Cluster:
    """Two nodes of different sizes, the larger one with two pools."""

    def __init__(self) -> None:
        self.queue = Driver()
        self.asked = dict.fromkeys(POOLS, 0)
        self.received = dict.fromkeys(POOLS, 0)
        self.open()

    def open(self) -> None:
        for session, (node, parallel) in POOLS.items():
            self.queue.open(session, node, parallel=parallel, memory=CAPACITY[node], handlers=DECLARED)
            self.hear()
            self.demand(session)

    def hear(self) -> None:
        """Note what was sent, and step until nothing more comes."""
        while True:
            for batch in self.queue.all(ef.Dispatch):
                self.received[batch.session] = max(self.received[batch.session], batch.number)
            self.nothing_is_overbooked()
            if self.queue.core.wake(ev.Now(self.queue.wall, self.queue.mono)) > 0:
                return
            self.queue.step()

    def demand(self, session: str, batches: int = 0) -> None:
        self.asked[session] = max(self.asked[session], self.received[session]) + batches
        held = tuple(lease.lease for lease in self.queue.store.leases.values() if lease.session == session)
        self.queue.step(
            ev.Demand(session=session, asked=self.asked[session], received=self.received[session], held=held)
        )
        self.hear()

    def do(self, what: str, how: Any) -> None:
        match what:
            case "submit":
                self.queue.submit(**how)
                self.hear()
            case "ask":
                self.demand(how, 2)
            case "answer":
                leases = list(self.queue.store.leases.values())
                if leases:
                    lease = leases[how % len(leases)]
                    result = self.queue.success(lease.open[how % len(lease.open)])
                    self.queue.step(ev.Results(session=lease.session, lease=lease.lease, results=[result]))
                    self.hear()
            case _:
                self.queue.crash()
                self.open()
        self.nothing_waits_that_fits()

    def memory(self, seq: int) -> float:
        row = self.queue.store.rows[seq]
        return Options.unpack(DECLARED[row.name], row.options).memory or 0.0

    def free(self, node: str) -> float:
        taken = [
            needed(map(self.memory, lease.open), POOLS[lease.session][1])
            for lease in self.queue.store.leases.values()
            if lease.node == node
        ]
        return CAPACITY[node] - sum(taken)

    def nothing_is_overbooked(self) -> None:
        for node in CAPACITY:
            assert self.free(node) >= 0

    def nothing_waits_that_fits(self) -> None:
        """No pool that waits for a batch is kept from a task that would fit, by whatever else waits."""
        leased = {seq for lease in self.queue.store.leases.values() for seq in lease.open}
        rows = [row for row in self.queue.store.rows.values() if row.state == "queued" and row.seq not in leased]
        lanes: dict[Any, list[TaskRow]] = {}
        for row in sorted(rows, key=lambda row: row.order):
            lanes.setdefault(row.lane, []).append(row)
        for session, (node, _) in POOLS.items():
            if self.queue.core._state.sessions[session].open:
                for lane in lanes.values():
                    possible = [mib for row in lane if (mib := self.memory(row.seq)) <= CAPACITY[node]]
                    assert not possible or possible[0] > self.free(node)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(steps, max_size=40))
def test_tasks_overlap_only_where_they_fit_and_wait_only_where_they_do_not(story: list[tuple[str, Any]]) -> None:
    cluster = Cluster()
    for what, how in story:
        cluster.do(what, how)
    rows = cluster.queue.store.rows
    possible = {row.seq for row in rows.values() if cluster.memory(row.seq) <= max(CAPACITY.values())}
    for _ in range(10 * len(rows)):
        for session in POOLS:
            cluster.do("ask", session)
        cluster.do("answer", 0)
    assert {row.seq for row in rows.values() if row.state == "succeeded"} == possible
