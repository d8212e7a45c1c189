"""What the policies above single tasks cost: a chord of 10,000 beside as many plain tasks.

python benchmarks/policy.py                 all
python benchmarks/policy.py --quick         smaller sizes
python benchmarks/policy.py --only chord    one part
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from benchmarks.stand import LONG, Line, Stand, Table, arguments, repeat
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


PARTS: Final[dict[str, Callable[[Table, argparse.Namespace], None]]] = {"chord": chord}


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
