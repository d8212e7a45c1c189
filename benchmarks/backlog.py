"""What a backlog costs: memory of the node for tasks that nobody serves, and its start with them.

    python benchmarks/backlog.py         100,000 tasks, in about half a minute
    python benchmarks/backlog.py --full  1 million
    python benchmarks/backlog.py --quick 20,000

`started` is from the start of the process to its line `ready`; the start of a node without tasks stands beside it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from benchmarks.stand import LONG, Line, Stand, Table, arguments, memory_mib
from otpq.client.calls import Call

if TYPE_CHECKING:
    from otpq.client.client import Client

MILLION = 1_000_000
CHUNK = 10_000


def fill(client: Client, count: int) -> float:
    """Queue as many; how many a second. The handles are dropped at once."""
    begun = time.perf_counter()
    for _ in range(count // CHUNK):
        client.submit_many((Call("noop", queue="nobody") for _ in range(CHUNK)), LONG)
    return count / (time.perf_counter() - begun)


def check(client: Client, count: int) -> None:
    """None may be missing."""
    queued = client.counts("nobody")["nobody"]["queued"]
    if queued != count:
        raise RuntimeError(f"{queued} of {count} tasks are queued")


def measure(table: Table, count: int) -> None:
    """All lines."""
    million = count == MILLION
    most = 250 if million else None
    with Stand() as stand:
        idle = memory_mib(stand.pid, "Rss")
        table.add(Line("RSS of the node without tasks", "MiB"), [idle])
        client = stand.connect()
        table.add(Line(f"submit_many of {count:,}, nobody serves them", "/s"), [fill(client, count)])
        check(client, count)
        held = memory_mib(stand.pid, "Rss")
        table.add(
            Line(f"RSS of the node with {count:,} tasks, their client connected", "MiB", "", "324 B a task", most=most),
            [held],
        )
        table.add(Line("    a task", "B", "", "324"), [(held - idle) * 2**20 / count])
        stand.hang_up()
        stand.stop()
        table.add(Line("    their part of the store's file", "MiB"), [size_mib(stand)])
        for how in ("TERM", "SIGKILL"):
            restart(table, stand, count, how)
    with Stand() as stand:
        stand.stop()
        table.add(Line("started again without tasks", "s"), [stand.start()])


def restart(table: Table, stand: Stand, count: int, how: str) -> None:
    """Start it with the tasks; then end it as the next start wants it."""
    most = (3, 250) if count == MILLION else (None, None)
    started = stand.start()
    table.add(Line(f"started with {count:,} tasks, after {how}", "s", "", "0.6 at 1 M", most=most[0]), [started])
    check(stand.connect(), count)
    memory = memory_mib(stand.pid, "Rss")
    table.add(Line("    RSS then", "MiB", "", "324 B a task", most=most[1]), [memory])
    stand.hang_up()
    stand.kill()


def size_mib(stand: Stand) -> float:
    """The store."""
    return sum(file.stat().st_size for file in (stand.home / "node").glob("store.db*")) / 2**20


def main() -> None:
    """Measure what the command line asks for, and print it."""
    parser = arguments(__doc__)
    parser.add_argument("--full", action="store_true", help="1 million tasks, for the budgets")
    options = parser.parse_args()
    count = MILLION if options.full else 20_000 if options.quick else 100_000
    table = Table.begin(f"Backlog of {count:,} tasks; the budgets are for 1 M", options)
    measure(table, count)
    table.end()


if __name__ == "__main__":
    main()
