"""What a child costs: tasks a second in packets of 1, 10 and 100, CPU on both sides, starts, kills, memory.

    PYTHONPATH=. python benchmarks/child.py            all, in about half a minute
    PYTHONPATH=. python benchmarks/child.py --quick    a fifth of it

Each figure is the median of several runs, with the lowest and the highest in brackets. One node thread, one child, handlers
that do nothing; a result counts when the node has read and decoded it. The node's CPU is that of its whole process, packing
of packets and decoding of reports included, packing of items not (the queue server has done it).
"""

from __future__ import annotations

import argparse
import gc
import os
import resource
import statistics
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

import msgpack

from otpq.worker.blackboard import Blackboard
from otpq.worker.child_link import ChildLink, ChildSettings
from otpq.worker.packets import Item, pack_packet
from otpq.worker.reports import Results
from otpq.worker.warden_client import WardenClient

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

APP = """
from types import SimpleNamespace as N
app = N(tasks={
    "noop": N(handler=lambda: None, declaration=b""),
    "echo": N(handler=lambda value: value, declaration=b""),
})
"""

Values = list[float]


class Bench:
    """A warden, a blackboard and an app in a directory of their own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "app.py").write_text(APP)
        self.warden = WardenClient(directory, "bench@here", f"bench-{os.getpid()}")
        self.board = Blackboard.create(directory / "board", 1)

    def child(self) -> ChildLink:
        """A child that is ready."""
        link = ChildLink.start(self.warden, ChildSettings(f"{self.directory / 'app.py'}:app"), self.board, 0)
        link.wait_ready()
        return link


def items(count: int, name: str, argument: tuple[object, ...] = ()) -> list[Item]:
    """Tasks for a child."""
    payload = msgpack.packb([list(argument), {}])
    return [Item(seq, seq.to_bytes(16, "big"), name, 1, b"", payload) for seq in range(count)]


def drive(link: ChildLink, tasks: Sequence[Item], size: int, window: int) -> None:
    """Run `tasks` in packets of `size`, at most `window` of them unanswered."""
    waiting = deque(tasks[at : at + size] for at in range(0, len(tasks), size))
    sent = done = 0
    while done < len(tasks):
        while waiting and sent - done < window and link.send(pack_packet(1, waiting[0])):
            sent += len(waiting.popleft())
        for report in link.read(5.0):
            assert isinstance(report, Results)
            done += len(report.results)


def cpu_of(pid: int) -> float:
    """Seconds of CPU of a process, from its clock: `stat` counts in steps of 10 ms."""
    return time.clock_gettime((~pid << 3) | 2)  # CLOCK_PROCESS_CPUTIME_ID of another process


def throughput(
    bench: Bench, size: int, *, count: int, runs: int, name: str = "noop", argument: bytes | None = None
) -> None:
    """Print the line of one packet size."""
    link = bench.child()
    tasks = items(count, name, () if argument is None else (argument,))
    drive(link, tasks[: count // 5], size, 4 * size)
    rate, node, child = [], [], []
    for _ in range(runs):
        gc.collect()
        began, ours, theirs = time.perf_counter(), time.process_time(), cpu_of(link.pid)
        drive(link, tasks, size, max(2, 4 * size))
        rate.append(count / (time.perf_counter() - began))
        node.append((time.process_time() - ours) / count * 1e6)
        child.append((cpu_of(link.pid) - theirs) / count * 1e6)
    what = f"{name}, packets of {size}" + ("" if argument is None else f", {len(argument)} bytes")
    show(what, "tasks/s", rate, 0)
    show("  node's CPU", "us/task", node, 2)
    show("  child's CPU", "us/task", child, 2)
    link.kill()
    link.close()


def timed(runs: int, what: Callable[[], Callable[[], object]]) -> Values:
    """Milliseconds of each run; `what` does one and returns how to tidy up, which is not counted."""
    values = []
    for _ in range(runs):
        began = time.perf_counter()
        tidy = what()
        values.append((time.perf_counter() - began) * 1e3)
        tidy()
    return values


def lives(bench: Bench, runs: int) -> None:
    """Print starts, round trips and kills."""
    task = pack_packet(1, items(1, "noop"))

    def warden() -> Callable[[], object]:
        return WardenClient(bench.directory, "bench@here", f"other-{time.monotonic_ns()}").close

    def first_result() -> Callable[[], object]:
        link = ChildLink.start(bench.warden, ChildSettings(f"{bench.directory / 'app.py'}:app"), bench.board, 0)
        link.send(task)
        while not any(isinstance(report, Results) for report in link.read(5.0)):
            pass

        def tidy() -> None:
            link.kill()
            link.close()

        return tidy

    show("start of a warden", "ms", timed(runs, warden), 1)
    show("start of a child to its first result", "ms", timed(runs, first_result), 1)
    kills = []
    for _ in range(runs):
        link = bench.child()
        began = time.perf_counter()
        link.kill()
        kills.append((time.perf_counter() - began) * 1e3)
        link.close()
    show("kill to reaped, with nothing left of it", "ms", kills, 2)
    link = bench.child()
    one = items(1, "noop")

    def round_trip() -> Callable[[], object]:
        drive(link, one, 1, 1)
        return lambda: None

    trips = [value * 1e3 for value in timed(50 * runs, round_trip)]
    show("round trip of one task, idle", "us", trips, 0)
    show("PSS of a child", "MiB", [pss(link.pid)], 1)
    show("PSS of the warden, both halves", "MiB", [pss(bench.warden.keeper) + pss(bench.warden.starter)], 1)
    link.kill()
    link.close()


def pss(pid: int) -> float:
    """MiB of a process, what it shares with others divided by their number."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def show(what: str, unit: str, values: Sequence[float], digits: int) -> None:
    """Print one line."""
    low, middle, high = min(values), statistics.median(values), max(values)
    print(f"{what:<42} {middle:>12,.{digits}f} {unit:<8} [{low:,.{digits}f}..{high:,.{digits}f}]", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a fifth of it")
    quick = parser.parse_args().quick
    runs, part = (3, 5) if quick else (7, 1)
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name))
        try:
            for size, count in ((1, 20_000), (10, 100_000), (100, 300_000)):
                throughput(bench, size, count=count // part, runs=runs)
            throughput(bench, 1, count=2_000 // part, runs=runs, name="echo", argument=bytes(100 * 1024))
            throughput(bench, 1, count=400 // part, runs=runs, name="echo", argument=bytes(1024 * 1024))
            lives(bench, 21 // part + 2)
        finally:
            bench.warden.close()
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} CPUs; {used.ru_utime + used.ru_stime:.0f} s of CPU here")


if __name__ == "__main__":
    main()
