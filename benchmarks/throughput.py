"""How many tasks a second one node carries: durable, end to end, each beside the best peer, the bound and the budget.

    python benchmarks/throughput.py                     all, in some minutes
    python benchmarks/throughput.py --quick             smaller sizes, under a minute
    python benchmarks/throughput.py --only many --json  one measurement, for a program

From the first `submit` until the client has the result of every task: submit -> commit -> child -> commit -> result. Client,
node, warden and children share the CPUs. `--hold SECONDS` submits batches of 100 and prints the pids, for a profiler.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.stand import JOBS, LONG, Line, Stand, Table, arguments, cpu_seconds, repeat
from otpq.client.calls import Call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from otpq.client.client import Client
    from otpq.client.handle import TaskHandle

THREADS = 4
BURN_MS = 2.0
PAYLOAD = 100 * 1024
PEER = "PgQueuer 17,300; Huey SQLite 1,660"
BARE = (
    "import sys, time; exec(sys.stdin.read().split('import otpq')[0]); "
    "n, ms = int(sys.argv[1]), float(sys.argv[2]); print(flush=True)\n"
    "for _ in range(n):\n"
    "    end = time.thread_time_ns() + int(ms * 1e6)\n"
    "    while time.thread_time_ns() < end: pass\n"
)


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much one run does, and how many runs there are."""

    runs: int
    batched: int
    single: int
    burns: int
    payloads: int


FULL = Sizes(runs=5, batched=40_000, single=20_000, burns=2_000, payloads=400)
QUICK = Sizes(runs=3, batched=10_000, single=5_000, burns=400, payloads=80)


def calls(count: int) -> Iterator[Call]:
    """No-op calls, each made anew, as a program would."""
    return (Call("noop") for _ in range(count))


def read(handles: list[TaskHandle[Any]]) -> None:
    """Every result."""
    for handle in handles:
        handle.get(LONG)


def in_batches(client: Client, count: int, batch: int) -> None:
    """One thread: each batch is durable before the next is made."""
    handles: list[TaskHandle[Any]] = []
    for _ in range(count // batch):
        handles += client.submit_many(calls(batch), LONG)
    read(handles)


def from_threads(client: Client, count: int, batch: int) -> None:
    """As `in_batches`, from several threads of one client."""
    with ThreadPoolExecutor(THREADS) as threads:
        for _ in threads.map(lambda _: in_batches(client, count // THREADS, batch), range(THREADS)):
            pass


def one_by_one(client: Client, count: int) -> None:
    """A submit a call; nothing is waited for before all are sent."""
    receipts = [client.submit_soon(call) for call in calls(count)]
    read([receipt.handle(LONG) for receipt in receipts])


def payloads(client: Client, count: int) -> None:
    """Calls with 100 KiB that cannot be compressed."""
    payload = os.urandom(PAYLOAD)
    handles = client.submit_many((Call("size", (payload,)) for _ in range(count)), LONG)
    assert all(handle.get(LONG) == PAYLOAD for handle in handles)


def burns(client: Client, count: int) -> None:
    """Calls that use the CPU."""
    read(client.submit_many((Call("burn", (BURN_MS,)) for _ in range(count)), LONG))


def seconds(work: Callable[[], None]) -> float:
    """How long it takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


class Measurements:
    """Each prints its lines."""

    def __init__(self, table: Table, sizes: Sizes, stand: Stand, client: Client) -> None:
        self._table, self._sizes, self._stand, self._client = table, sizes, stand, client

    def many(self) -> None:
        """`submit_many`, with batches of 100 and 1,000, and what the CPUs pay for them."""
        bounds = {100: ("160,000-220,000 /s", 80_000.0), 1000: ("189,000-213,000 /s", 80_000.0)}
        for batch, (bound, least) in bounds.items():
            for threads, submit in ((1, in_batches), (THREADS, from_threads)):
                who = "1 thread" if threads == 1 else f"{threads} threads"
                line = Line(f"no-op, submit_many of {batch:,}, {who}", "/s", PEER, bound, least)
                self._rate(line, self._sizes.batched, submit, batch)

    def soon(self) -> None:
        """`submit_soon`."""
        peer = "Dramatiq 4,400; Huey SQLite 1,570"
        line = Line("no-op, one submit_soon a task, pipelined", "/s", peer, "56,000-68,000 /s", 30_000)
        self._rate(line, self._sizes.single, one_by_one)

    def cpu(self) -> None:
        """The share of the ideal, with that of bare processes beside it."""
        count, workers = self._sizes.burns, self._stand.workers
        ideal = count * BURN_MS / 1e3 / workers
        peer = "PgQueuer 0.91; process pool 0.93"
        share = Line(f"CPU-bound {BURN_MS:g} ms tasks, {workers} workers: share of ideal", "", peer, "1.0", 0.93)
        bare = Line(f"control: the same in {workers} bare processes, now", "")
        shares, controls = repeat(
            self._sizes.runs,
            lambda: (ideal / seconds(lambda: burns(self._client, count)), ideal / bare_seconds(count, workers)),
        )
        self._table.add(share, shares)
        self._table.add(bare, controls)

    def payload(self) -> None:
        """100 KiB a task, with what the disk does beside it."""
        count = self._sizes.payloads
        megabytes = count * PAYLOAD / 1e6
        peer = "Huey: Redis 307, SQLite 75 MB/s"
        rate = Line("100 KiB payloads, submit_many", "MB/s", peer, "disk", 150)
        bare = Line("control: write 1 MiB + fdatasync, now", "MB/s")
        rates, controls = repeat(
            self._sizes.runs,
            lambda: (megabytes / seconds(lambda: payloads(self._client, count)), self._disk(megabytes)),
        )
        self._table.add(rate, rates)
        self._table.add(bare, controls)

    def _rate(self, line: Line, count: int, submit: Callable[..., None], *args: int) -> None:
        def run() -> Sequence[float]:
            before = self._spent()
            rate = count / seconds(lambda: submit(self._client, count, *args))
            return (rate, *((after - since) / count * 1e6 for after, since in zip(self._spent(), before, strict=True)))

        rates, *hops = repeat(self._sizes.runs, run)
        self._table.add(line, rates)
        bounds = ("", "prototype 6.0 at 100, 98 at 1", "")
        for who, bound, column in zip(("client", "node", "children"), bounds, hops, strict=True):
            self._table.add(
                Line(f"    CPU of the {who} process{'es' * (who == 'children')}", "us/task", "", bound), column
            )

    def _spent(self) -> tuple[float, float, float]:
        mine = os.times()
        return mine.user + mine.system, cpu_seconds([self._stand.pid]), cpu_seconds(self._stand.children())

    def _disk(self, megabytes: float) -> float:
        block = os.urandom(2**20)
        count = max(1, int(megabytes * 1e6 / len(block)))

        def write() -> None:
            with (self._stand.home / "control").open("wb", buffering=0) as file:
                for _ in range(count):
                    file.write(block)
                    os.fdatasync(file.fileno())

        return count * len(block) / 1e6 / seconds(write)


def bare_seconds(count: int, workers: int) -> float:
    """The work of `burns` in processes that have nothing else to do; their start is not counted."""
    command = [sys.executable, "-c", BARE, str(count // workers), str(BURN_MS)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    processes = [subprocess.Popen(command, text=True, **pipes) for _ in range(workers)]  # type: ignore[call-overload]  # noqa: S603 - our own
    for process in processes:
        process.stdin.write(JOBS)
        process.stdin.close()
    for process in processes:
        process.stdout.readline()
    begun = time.perf_counter()
    for process in processes:
        process.wait(LONG)
        process.stdout.close()
    return time.perf_counter() - begun


def hold(stand: Stand, client: Client, how_long: float) -> None:
    """Batches of 100 from four threads for a while, for a profiler."""
    print(f"node {stand.pid}, warden {stand.warden()}, children {stand.children()}", flush=True)
    end = time.monotonic() + how_long
    while time.monotonic() < end:
        print(f"{20_000 / seconds(lambda: from_threads(client, 20_000, 100)):,.0f} /s", flush=True)


def main() -> None:
    """Measure what the command line asks for, and print it."""
    parser = arguments(__doc__)
    parser.add_argument("--only", choices=["many", "soon", "cpu", "payload"])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--hold", type=float, metavar="SECONDS", help="only submit batches of 100, for a profiler")
    options = parser.parse_args()
    if options.hold:
        with Stand(options.workers) as stand:
            hold(stand, stand.warm(), options.hold)
        return
    table = Table.begin(f"Throughput, one node, {options.workers} workers, one client, SQLite FULL", options)
    with Stand(options.workers) as stand:
        measurements = Measurements(table, QUICK if options.quick else FULL, stand, stand.warm())
        for name in ("many", "soon", "cpu", "payload"):
            if options.only in {None, name}:
                getattr(measurements, name)()
    table.end()


if __name__ == "__main__":
    main()
