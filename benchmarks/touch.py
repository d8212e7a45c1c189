"""How soon a node answers about a worker that is stuck, and ends what it is stuck in.

    python benchmarks/touch.py          all, in about a minute
    python benchmarks/touch.py --quick  fewer runs

One worker; its handler is in an endless loop of Python, in C code that keeps the interpreter lock (`re`), or in C code that does
not (`hashlib`). Each answer is checked: the stacks name the handler, the task ends as cancelled.
"""

from __future__ import annotations

import time
from collections import defaultdict
from typing import TYPE_CHECKING

from benchmarks.stand import JOBS, LONG, Line, Stand, Table, arguments, until
from otpq.client.calls import Call

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.client.client import Client

STUCK = """
import hashlib, re

@app.task(name="loop", retries=0)
def loop(file):
    open(file, "w").close()
    while True:
        pass

@app.task(name="backtrack", retries=0)
def backtrack(file):
    open(file, "w").close()
    re.match(r"(a+)+b", "a" * 64)

@app.task(name="digest", retries=0)
def digest(file):
    open(file, "w").close()
    hashlib.pbkdf2_hmac("sha256", b"x", b"y", 2_000_000_000)
"""
HANDLERS = {"loop": "a Python loop", "backtrack": "re, with the lock", "digest": "hashlib, without it"}
A_SECOND = 1_000.0
"""Milliseconds that an answer may take."""

Times = dict[str, list[float]]


def one_run(stand: Stand, client: Client, name: str, number: int, times: Times) -> None:
    """A stuck task, looked at in all ways and cancelled; notes the milliseconds of each."""
    file = stand.home / f"{name}-{number}"
    handle = client.submit(Call(name, (str(file),)), LONG)
    until(file.exists, "the handler runs")

    def timed(what: str, do: Callable[[], object]) -> object:
        begun = time.monotonic()
        answer = do()
        times[what].append((time.monotonic() - begun) * 1e3)
        return answer

    timed("tree()", client.tree)
    timed("why(id)", lambda: client.why(handle.id))
    stacks = timed("stacks(worker)", lambda: client.stacks("default/0"))
    assert f" in {name}" in str(stacks), f"{name} is not among {stacks}"
    begun = time.monotonic()
    assert timed("cancel(id, grace=0)", lambda: client.cancel(handle, grace=0)) == "cancelling"
    (task,) = client.wait([handle], LONG)
    times["    -> the task has ended"].append((time.monotonic() - begun) * 1e3)
    assert task.state == "cancelled", task.state


def main() -> None:
    """Measure what the command line asks for, and print it."""
    options = arguments(__doc__).parse_args()
    count = 5 if options.quick else 15
    table = Table.begin("A stuck worker, one node, 1 worker", options)
    with Stand(workers=1, jobs=JOBS + STUCK) as stand:
        client = stand.warm()
        for name, words in HANDLERS.items():
            times: Times = defaultdict(list)
            for number in range(count):
                one_run(stand, client, name, number, times)
            for what, values in times.items():
                table.add(Line(f"{what}, in {words}", "ms", most=A_SECOND), values)
    table.end()


if __name__ == "__main__":
    main()
