"""What the policies above single tasks cost: a chord of 10,000 beside as many plain tasks, and 10,000 schedules.

python benchmarks/policy.py                 all
python benchmarks/policy.py --quick         smaller sizes
python benchmarks/policy.py --only chord    one part
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any, Final

from benchmarks.stand import LONG, Line, Stand, Table, arguments, cpu_seconds, repeat
from otpq.client.calls import Call
from otpq.client.workflows import chord as chord_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from otpq.client.client import Client

JOBS: Final = """
import otpq

app = otpq.App("bench")


@app.task(name="noop")
def noop():
    return None


@app.task(name="count")
def count(results):
    return len(results)
"""


def chord(table: Table, options: argparse.Namespace) -> None:
    """A chord of no-ops, from its submission to its callback's result; as many plain tasks, to the last result."""
    size, runs = (2_000, 3) if options.quick else (10_000, 5)
    with Stand(2, jobs=JOBS) as stand:
        client = stand.warm()
        figures = repeat(runs, lambda: (*_chord_rates(client, size), _plain_rate(client, size)))
    for line, values in zip(
        (
            Line(f"chord of {size:,} no-ops, until the callback's result", "/s"),
            Line("    until it is durable", "s"),
            Line(f"control: {size:,} plain no-ops by submit_many, now", "/s"),
        ),
        figures,
        strict=True,
    ):
        table.add(line, values)


def _chord_rates(client: Client, size: int) -> tuple[float, float]:
    begun = time.perf_counter()
    handle: Any = client.submit(chord_of((Call("noop") for _ in range(size)), Call("count")))
    durable = time.perf_counter() - begun
    assert handle.get(LONG) == size
    return size / (time.perf_counter() - begun), durable


def _plain_rate(client: Client, size: int) -> float:
    begun = time.perf_counter()
    for handle in client.submit_many(Call("noop") for _ in range(size)):
        handle.get(LONG)
    return size / (time.perf_counter() - begun)


SCHEDULES: Final = 10_000
IDLE: Final = 30.0
"""Seconds for which an idle leader is watched."""
NEVER: Final = "0 0 29 2 *"


def cpu(stand: Stand) -> float:
    """Seconds of CPU that the node's own process has used."""
    return cpu_seconds([stand.pid])


def watched(stand: Stand, seconds: float) -> float:
    """The share of one CPU that the node uses while nothing is asked of it, in per cent."""
    before, begin = cpu(stand), time.monotonic()
    time.sleep(seconds)
    return (cpu(stand) - before) / (time.monotonic() - begin) * 100


def schedules(_table: Table, options: argparse.Namespace) -> None:
    """10,000 schedules: an idle leader, and all of them due at one minute. Prints its figures as it gets them."""
    count, seconds = (SCHEDULES // 10, IDLE / 6) if options.quick else (SCHEDULES, IDLE)
    with Stand() as stand:
        client = stand.warm()
        nothing = watched(stand, seconds)
        begin = time.monotonic()
        for number in range(count):
            client.schedules.add(f"s{number}", Call("noop"), cron=NEVER)
        print(
            f"adding {count:,} schedules, one after the other: {(time.monotonic() - begin) / count * 1e6:,.0f} us each"
        )
        idle = watched(stand, seconds)
        print(
            f"an idle leader: {nothing:.2f} % of a CPU without schedules, {idle:.2f} % with {count:,} that are not due"
        )
        stand.hang_up()
        stand.stop()
        print(f"a start with {count:,} schedules takes {stand.start():.2f} s")
        client = stand.warm()
        _all_at_once(stand, client, count)


def _all_at_once(stand: Stand, client: Client, count: int) -> None:
    """All due at the begin of one minute, in which somebody else has tasks too."""
    slot = (time.time() // 60 + 2) * 60  # to add them takes longer than this minute may have left
    minute = time.gmtime(slot).tm_min
    for number in range(count):
        client.schedules.add(f"s{number}", Call("noop", queue="scheduled"), cron=f"{minute} * * * *", replace=True)
    if time.time() > slot:
        print("adding took longer than until the minute; nothing is measured")
        return
    time.sleep(max(0.0, slot - time.time() - 0.5))
    before, waits = cpu(stand), []
    made = 0
    while made < count and time.time() < slot + 50:
        begin = time.monotonic()
        client.submit(Call("noop")).get(60)
        if time.time() > slot:
            waits.append(time.monotonic() - begin)
        made = sum(client.counts("scheduled")["scheduled"].values())
    took = time.time() - slot
    waits.sort()
    print(
        f"{count:,} due at one minute: {made:,} tasks made within {took:.2f} s of the slot, {cpu(stand) - before:.2f} s of CPU; "
        f"meanwhile others' tasks took {statistics.median(waits) * 1e3:.1f} ms (median), {waits[-1] * 1e3:.1f} ms (longest of {len(waits)})"
    )


PARTS: Final[dict[str, Callable[[Table, argparse.Namespace], None]]] = {"chord": chord, "schedules": schedules}


def main() -> None:
    """Measure what the command line asks for, and print it."""
    parser = arguments(__doc__)
    parser.add_argument("--only", choices=[*PARTS])
    options = parser.parse_args()
    table = Table.begin("Policies, one node, 2 workers, one client, SQLite FULL", options)
    for name, part in PARTS.items():
        if options.only in {None, name}:
            part(table, options)
    table.end()


if __name__ == "__main__":
    main()
