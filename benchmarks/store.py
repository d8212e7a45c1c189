"""What the SQLite store costs, beside the bare driver of the machine's limits: python benchmarks/store.py [--quick].

The bare figures are those of limits.md, section 3 (apsw, synchronous=FULL, a random id and a ready index, 8 columns); a row
of the store has 26 columns, six indexes, a count and an epoch checked in each commit.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from otpq.core.records import Changes, LaneId, LaneRange, LeaseRow, Needs, Success, TaskRow
from otpq.store.protocol import Filters
from otpq.store.sqlite import SqliteStore
from otpq.store.sqlite_place import FilePlace

if TYPE_CHECKING:
    from collections.abc import Callable

BARE: Final = {
    1: (1e6 / 8_500, 1e6 / 9_900),
    10: (None, None),
    100: (1e6 / 150_000, 1e6 / 372_000),
    1000: (1e6 / 273_000, 1e6 / 630_000),
}
"""Batch to us a row of limits.md, insert and update."""

QUEUE: Final = "default"


def task(seq: int, partition: str = "") -> TaskRow:
    now = 1.8e9 + seq / 1e5
    id = int(now * 1000).to_bytes(6, "big") + os.urandom(10)  # ordered by time, as clients make them
    return TaskRow(seq, id, "email.send", QUEUE, partition, 5, "queued", now, None, now, now, b"\x80", b"x" * 60)


def done(row: TaskRow) -> Success:
    end = row.due + 0.01
    return Success(row.seq, end, 1, row.due, end, b"x" * 10, b"y" * 30)


def flow(folder: Path, batch: int, commits: int) -> tuple[float, float, float]:
    """Us a row, wall: insert; update with its lease's end; and CPU of both, all in commits of `batch`."""
    store = SqliteStore(FilePlace(folder / f"flow{batch}.db"))
    store.open()
    rows = [task(seq) for seq in range(1, batch * commits + 1)]
    batches = [rows[i : i + batch] for i in range(0, len(rows), batch)]
    inserts, updates = [], []
    cpu = time.process_time()
    for number, part in enumerate(batches, 1):
        begin = time.perf_counter()
        store.commit(Changes(inserts=part, counts={(QUEUE, "queued"): batch}))
        inserts.append(time.perf_counter() - begin)
        store.commit(Changes(leases=[LeaseRow(number, "a@host", "i", "s", 1, 1.0, tuple(row.seq for row in part))]))
        begin = time.perf_counter()
        counts = {(QUEUE, "queued"): -batch, (QUEUE, "succeeded"): batch}
        ended = LeaseRow(number, "a@host", "i", "s", 1, 1.0, ())
        store.commit(Changes(successes=[done(row) for row in part], leases=[ended], counts=counts))
        updates.append(time.perf_counter() - begin)
    cpu = time.process_time() - cpu
    store.close()
    return statistics.median(inserts) / batch * 1e6, statistics.median(updates) / batch * 1e6, cpu / len(rows) * 1e6


def large_payloads(folder: Path, size: int, tasks: int) -> float:
    """MB/s of payload through insert and update, in commits of 20."""
    store = SqliteStore(FilePlace(folder / "large.db"))
    store.open()
    payload = os.urandom(size)
    begin = time.perf_counter()
    for first in range(1, tasks, 20):
        rows = [task(seq) for seq in range(first, first + 20)]
        for row in rows:
            row.payload = payload
        store.commit(Changes(inserts=rows))
        store.commit(Changes(successes=[done(row) for row in rows]))
    seconds = time.perf_counter() - begin
    store.close()
    return tasks * size / seconds / 1e6


def backlog(folder: Path, tasks: int) -> None:
    """A store with one quiet lane and one that has everything else: refill, recover, lists."""
    path = folder / "backlog.db"
    store = SqliteStore(FilePlace(path))
    store.open()
    begin = time.perf_counter()
    for first in range(1, tasks, 1000):
        rows = [task(seq, "quiet" if seq % 5_000 == 0 else "busy") for seq in range(first, first + 1000)]
        store.commit(Changes(inserts=rows, counts={(QUEUE, "queued"): len(rows)}))
    print(f"\n{tasks:,} tasks queued in {time.perf_counter() - begin:.1f} s; files per task: ", end="")
    print(f"{sum(file.stat().st_size for file in folder.glob('backlog.db*')) / tasks:.0f} bytes (payload 60)")
    middle = 1.8e9 + tasks / 2 / 1e5
    for partition, after in (("quiet", -math.inf), ("busy", -math.inf), ("busy", middle)):
        needs = Needs(lanes=[LaneRange(LaneId(QUEUE, "email.send", partition, 5), (after, 0), 100)])
        print(f"  refill 100 of {partition:5} after {after:>14}: {median_ms(partial(store.load, needs)):8.2f} ms")
    print(f"  recover():                             {median_ms(store.recover):8.1f} ms")
    reading = store.reading()
    for filters in (Filters(), Filters(state="failed"), Filters(state="queued", name="none"), Filters(tag="none")):
        words = ", ".join(
            f"{field}={getattr(filters, field)}" for field in ("state", "name", "tag") if getattr(filters, field)
        )
        print(f"  list of 100, {words or 'all':25} {median_ms(partial(reading.tasks, filters)):8.2f} ms")
    print(f"  counts():                              {median_ms(reading.counts):8.2f} ms")
    reading.close()
    store.close()


def median_ms(function: Callable[[], object], runs: int = 5) -> float:
    """Of a function without arguments."""
    times = []
    for _ in range(runs):
        begin = time.perf_counter()
        function()
        times.append(time.perf_counter() - begin)
    return statistics.median(times) * 1e3


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of it: under 30 s")
    parser.add_argument("--dir", type=Path, default=None, help="a directory on the disk to measure")
    options = parser.parse_args()
    part = 10 if options.quick else 1
    with tempfile.TemporaryDirectory(dir=options.dir) as name:
        folder = Path(name)
        print("batch   insert us/row (bare)   update us/row (bare)   CPU us/task, insert + lease + update")
        for batch, commits in ((1, 3_000), (10, 2_000), (100, 800), (1000, 150)):
            insert, update, cpu = flow(folder, batch, commits // part)
            bare = [f"({figure:6.1f})" if figure else "(     -)" for figure in BARE[batch]]
            print(f"{batch:5} {insert:12.1f} {bare[0]} {update:14.1f} {bare[1]} {cpu:14.1f}")
        print(f"\npayloads of 100 KiB, insert + update: {large_payloads(folder, 102_400, 2_000 // part):.0f} MB/s")
        backlog(folder, 1_000_000 // part)


if __name__ == "__main__":
    main()
