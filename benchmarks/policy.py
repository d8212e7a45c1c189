"""What policies cost the leader: schedules, so far.

    python benchmarks/policy.py                      all parts, some minutes
    python benchmarks/policy.py --only schedules     10,000 schedules
    python benchmarks/policy.py --quick              a tenth of everything, for a look

`schedules`: the CPU of a leader with 10,000 schedules that are not due, beside that of one with none; then all of them due at
one minute: the CPU until all tasks are made, how long that took from the slot, and how long a task of somebody else took
meanwhile, from its submission to its result.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import TYPE_CHECKING, Final

from benchmarks.stand import Stand, cpu_seconds, machine
from otpq.client.calls import Call

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.client.client import Client

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


def schedules(*, is_quick: bool) -> None:
    count, seconds = (SCHEDULES // 10, IDLE / 6) if is_quick else (SCHEDULES, IDLE)
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


PARTS: Final[dict[str, Callable[..., None]]] = {"schedules": schedules}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, help="one part")
    parser.add_argument("--quick", action="store_true", help="a tenth of everything")
    given = parser.parse_args()
    print(machine())
    for name, part in PARTS.items():
        if given.only in {None, name}:
            part(is_quick=given.quick)


if __name__ == "__main__":
    main()
