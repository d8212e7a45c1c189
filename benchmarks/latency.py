"""How long a task takes from `submit` to its result at the client: alone on an idle node, and at a steady rate.

    python benchmarks/latency.py          all, in about a minute
    python benchmarks/latency.py --quick  shorter runs, under 30 s

The open loop submits by the clock, whether or not results come, and counts from the moment at which a task was due: a sender
that is late makes the figures worse, never better. One thread reads the results in the order of submission, so a result that
overtook another counts as late as that one. Both threads are the client's and share its interpreter lock.
"""

from __future__ import annotations

import statistics
import sys
import threading
import time
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from benchmarks.stand import LONG, Line, Stand, Table, arguments, repeat
from otpq.client.calls import Call

if TYPE_CHECKING:
    from otpq.client.client import Client, Receipt

RATES = (1_000, 5_000, 10_000)
ALONE_PEER = ("Huey 0.67; durable 1.5", "Huey 1.2; durable 2.6")
BOUNDS = {1_000: ("0.78", "1.27"), 5_000: ("0.65", "1.97"), 10_000: ("0.66", "2.16")}


def cuts(times: list[float]) -> tuple[float, float]:
    """The median and the 99th percentile, in ms."""
    quantiles = statistics.quantiles(times, n=100)
    return quantiles[49] * 1e3, quantiles[98] * 1e3


def alone(client: Client, count: int) -> tuple[float, float]:
    """One task at a time."""
    times = []
    for _ in range(count):
        begun = time.perf_counter()
        client.submit(Call("noop"), LONG).get(LONG)
        times.append(time.perf_counter() - begun)
    return cuts(times)


def at_rate(client: Client, rate: int, seconds: float) -> tuple[float, float, float]:
    """As many a second; also how many results came a second."""
    sent: SimpleQueue[tuple[float, Receipt[Any]] | None] = SimpleQueue()
    times: list[float] = []
    reader = threading.Thread(target=read, args=(sent, times), daemon=True)
    reader.start()
    begun = time.perf_counter()
    for number in range(int(rate * seconds)):
        due = begun + number / rate
        if (early := due - time.perf_counter()) > 0:
            time.sleep(early)
        sent.put((due, client.submit_soon(Call("noop"))))
    sent.put(None)
    reader.join(LONG)
    if len(times) != int(rate * seconds):
        raise TimeoutError(f"{len(times)} results of {int(rate * seconds)}")
    return (*cuts(times), len(times) / (time.perf_counter() - begun))


def read(sent: SimpleQueue[tuple[float, Receipt[Any]] | None], times: list[float]) -> None:
    """Note when each result is there."""
    while (one := sent.get()) is not None:
        due, receipt = one
        receipt.handle(LONG).get(LONG)
        times.append(time.perf_counter() - due)


def add_alone(table: Table, client: Client, runs: int, count: int) -> None:
    """The lines for a task alone."""
    p50, p99 = repeat(runs, lambda: alone(client, count))
    table.add(Line("one at a time, idle node: p50", "ms", ALONE_PEER[0], "0.62", most=0.9), p50)
    table.add(Line("one at a time, idle node: p99", "ms", ALONE_PEER[1], most=2), p99)


def add_rate(table: Table, client: Client, runs: int, rate: int, seconds: float) -> None:
    """The lines for one rate."""
    p50, p99, reached = repeat(runs, lambda: at_rate(client, rate, seconds))
    what, peer = f"open loop, {rate:,}/s", "none reaches it" if rate == 10_000 else ""
    table.add(Line(f"{what}: p50", "ms", peer, BOUNDS[rate][0]), p50)
    table.add(Line(f"{what}: p99", "ms", peer, BOUNDS[rate][1], most=6 if rate == 10_000 else None), p99)
    table.add(Line(f"{what}: results a second, the wait at the end included", "/s"), reached)


def main() -> None:
    """Measure what the command line asks for, and print it."""
    parser = arguments(__doc__)
    parser.add_argument("--switch", type=float, help="sys.setswitchinterval of the client; else Python's own, 0.005")
    options = parser.parse_args()
    if options.switch:
        sys.setswitchinterval(options.switch)
    runs, count, seconds = (3, 300, 1.0) if options.quick else (5, 2_000, 2.0)
    table = Table.begin("Latency, submit -> result, one node, 2 workers, SQLite FULL", options)
    with Stand() as stand:
        client = stand.warm()
        add_alone(table, client, runs, count)
        for rate in RATES:
            add_rate(table, client, runs, rate, seconds)
    table.end()


if __name__ == "__main__":
    main()
