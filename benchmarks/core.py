"""What the core costs: microseconds a task to submit, dispatch and resolve, without the store. CPU time, so others may run.

    PYTHONPATH=. python benchmarks/core.py [tasks] [partitions]

Three runs: one lane in steady flow (the budget: 3 us a task over its life), a backlog of a million tasks in one lane, and
the same in 100,000 partitions with priorities and pauses, whose order is compared with a sorted list's.
"""

from __future__ import annotations

import gc
import sys
import time
import tracemalloc
from bisect import bisect_right, insort
from collections import defaultdict, deque

from otpq.core import effects as ef
from otpq.core import events as ev
from otpq.core.core import QueueCore
from otpq.core.records import Changes, Loaded, Needs, Recovered, TaskRow

BATCH = 500
PAYLOAD = b"\x92\x90\x80" + b"x" * 40


class BenchStore:
    """Rows in a dict, lanes as sorted lists: fast enough not to be in the way. Keeps what the core may ask for again."""

    def __init__(self) -> None:
        self.rows: dict[int, TaskRow] = {}
        self.lanes: dict[tuple[str, str, str, int], list[tuple[float, int]]] = defaultdict(list)
        self.ended = 0
        self.reads = 0

    def load(self, needs: Needs) -> Loaded:
        """Answer what the core asks."""
        loaded = Loaded()
        for one in needs.lanes:
            self.reads += 1
            lane = self.lanes[one.lane.queue, one.lane.name, one.lane.partition, one.lane.priority]
            first = bisect_right(lane, one.after)
            loaded.lanes.append([self.rows[seq] for _, seq in lane[first : first + one.limit]])
        return loaded

    def commit(self, changes: Changes) -> None:
        """Take in what the core wants kept."""
        for row in changes.inserts:
            self.rows[row.seq] = row
            lane = self.lanes[row.queue, row.name, row.partition, row.priority]
            if lane and lane[-1] > (row.due, row.seq):
                insort(lane, (row.due, row.seq))
            else:
                lane.append((row.due, row.seq))
        for success in changes.successes:
            self.ended += 1
            del self.rows[success.seq]  # the lane's index keeps the number, as it is never asked for again


class Bench:
    """A core over a store, one pool that takes all it gets, and clocks on the core's share."""

    def __init__(self, *, keep: bool = True) -> None:
        self.core = QueueCore(Recovered())
        self.store = BenchStore()
        self.keep = keep
        self.spent: dict[str, float] = defaultdict(float)
        self.leases: deque[ef.Dispatch] = deque()
        self.order: list[int] = []
        self.now = 1_000_000.0
        self.asked = 0
        self.received = 0
        self.step("open", [ev.SessionOpened(session="s", node="n@h", incarnation="1", queues=("default",))])

    def step(self, phase: str, events: list[ev.Event]) -> None:
        """One step of the core, its time added to `phase`."""
        self.now += 0.001
        now = ev.Now(self.now, self.now)
        begin = time.thread_time()
        needs = self.core.needs(now, events)
        asked = time.thread_time()
        loaded = self.store.load(needs) if needs else Loaded()
        read = time.thread_time()
        effects = self.core.step(now, events, loaded)
        self.spent[phase] += (asked - begin) + (time.thread_time() - read)
        for effect in effects:
            if isinstance(effect, ef.Persist):
                if self.keep:
                    self.store.commit(effect.changes)
            elif isinstance(effect, ef.Dispatch):
                self.leases.append(effect)
                self.received += 1

    def submit(self, tasks: list[ev.NewTask]) -> None:
        """Submit one batch."""
        self.step("submit", [ev.Submit(client="c", request=1, tasks=tasks)])

    def demand(self, batches: int = 1) -> None:
        """Ask for batches."""
        self.asked += batches
        held = tuple(one.lease for one in self.leases)
        self.step("dispatch", [ev.Demand(session="s", asked=self.asked, received=self.received, held=held)])

    def answer(self) -> None:
        """Report that all tasks of the oldest batch have succeeded."""
        batch = self.leases.popleft()
        results: list[ev.Result] = [ev.Succeeded(row.seq, b"\xc0", self.now, self.now + 1e-5) for row in batch.rows]
        self.order += [row.seq for row in batch.rows]
        self.step("result", [ev.Results(session="s", lease=batch.lease, results=results)])

    def drain(self) -> None:
        """Have all run that was submitted."""
        while len(self.order) < self.core.next_seq - 1:
            self.demand()
            self.step("dispatch", [ev.Heartbeat(node="n@h", incarnation="1")])
            while self.leases:
                self.answer()

    def report(self, title: str, tasks: int) -> None:
        """Print what a task has cost."""
        shares = {name: self.spent[name] / tasks * 1e6 for name in ("submit", "dispatch", "result")}
        total = sum(shares.values())
        reads = self.store.reads / tasks
        words = "  ".join(f"{name} {us:.2f}" for name, us in shares.items())
        print(f"{title}: us a task: {words}  sum {total:.2f};  {reads:.4f} lane reads a task")


def check(is_true: bool, otherwise: str) -> None:  # noqa: FBT001 - an assertion's condition
    """End the program if something is not as it should be."""
    if not is_true:
        sys.exit(otherwise)


def tasks_of(first: int, count: int, partition: str = "", priority: int = 5) -> list[ev.NewTask]:
    """New tasks, numbered from `first`."""
    return [
        ev.NewTask(id=n.to_bytes(16, "big"), name="noop", payload=PAYLOAD, partition=partition, priority=priority)
        for n in range(first, first + count)
    ]


def steady(tasks: int) -> None:
    """Submit a batch, hand it out, take its results; over and over."""
    bench = Bench()
    for first in range(0, tasks, BATCH):
        bench.submit(tasks_of(first, BATCH))
        bench.drain()
    bench.report(f"steady flow, batches of {BATCH}", tasks)


def backlog(tasks: int) -> None:
    """Submit all, then hand out all."""
    bench = Bench()
    for first in range(0, tasks, BATCH):
        bench.submit(tasks_of(first, BATCH))
    print(f"  {tasks} tasks queued, {bench.core.held} rows held by the core")
    bench.drain()
    check(bench.order == sorted(bench.order), "the order is wrong")
    bench.report(f"backlog of {tasks}, one lane", tasks)


def partitions(tasks: int, count: int) -> None:
    """Tasks of many tenants in three priorities, with a pause on the way, against sorted lists taking turns."""
    bench = Bench()
    lines: dict[int, dict[str, deque[int]]] = {priority: {} for priority in (8, 5, 2)}
    seq = 0
    for first in range(0, tasks, BATCH):
        new = []
        for n in range(first, first + BATCH):
            seq += 1
            partition, priority = f"p{(n * 7919) % count}", (8, 5, 2)[(n // 3) % 3]
            new += tasks_of(n, 1, partition, priority)
            lines[priority].setdefault(partition, deque()).append(seq)
        bench.submit(new)
    print(f"  {tasks} tasks queued in {count} partitions, {bench.core.held} rows held by the core")
    bench.step("pause", [ev.Pause(client="c", request=1, queue="default")])
    bench.demand()
    check(not bench.leases, "a paused queue was served")
    bench.step("pause", [ev.Pause(client="c", request=1, queue="default", paused=False)])
    bench.drain()
    wanted: list[int] = []
    for by_partition in lines.values():
        ring = deque(by_partition.values())
        while ring:
            line = ring.popleft()
            wanted.append(line.popleft())
            if line:
                ring.append(line)
    check(bench.order == wanted, "the order is wrong")
    bench.report(f"backlog of {tasks}, {count} partitions, 3 priorities", tasks)


def memory(tasks: int) -> None:
    """What the core keeps of tasks that wait outside of its windows."""
    bench = Bench(keep=False)
    bench.submit(tasks_of(0, BATCH * 4))
    gc.collect()
    tracemalloc.start()
    for first in range(BATCH * 4, tasks, BATCH):
        bench.submit(tasks_of(first, BATCH))
    gc.collect()
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    print(
        f"memory: {size / tasks:.2f} bytes for each of {tasks} tasks queued outside the window, {bench.core.held} inside"
    )


def main() -> None:
    """Run them all."""
    tasks = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 100_000
    gc.set_threshold(100_000)
    steady(min(tasks, 500_000))
    backlog(tasks)
    partitions(tasks, count)
    memory(tasks // 4)


if __name__ == "__main__":
    main()
