"""How soon work goes on after a SIGKILL of a child, or of the node, and after a start.

    python benchmarks/recovery.py          all, in about half a minute
    python benchmarks/recovery.py --quick  fewer runs

The killed task writes down when each of its runs begins, on the machine's monotonic clock, so nothing else is in the figure.
The node is started again as soon as its old process is gone. Each task is checked: it ended once, after two runs. All with
default settings: a task whose first run was killed runs again without a wait.
"""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any

from benchmarks.stand import LONG, Line, Stand, Table, arguments, until
from otpq.client.calls import Call

if TYPE_CHECKING:
    from pathlib import Path

    from otpq.client.client import Client
    from otpq.client.handle import TaskHandle

Run = tuple[int, float]
"""Who ran it, and since when."""


def runs_in(file: Path) -> list[Run]:
    """What the task has written so far."""
    if not file.exists():
        return []
    return [(int(pid), float(begun)) for pid, begun in map(str.split, file.read_text("ascii").splitlines())]


def begin(stand: Stand, client: Client, number: int) -> tuple[TaskHandle[Any], Path, int]:
    """A task that runs and stays, and the process that runs it."""
    file = stand.home / f"runs-{number}"
    handle = client.submit(Call("stay", (str(file),)), LONG)
    until(lambda: bool(runs_in(file)), "the task runs")
    return handle, file, runs_in(file)[0][0]


def again(handle: TaskHandle[Any], file: Path) -> float:
    """When it ran again, once it has succeeded."""
    handle.get(LONG)
    runs = runs_in(file)
    if len(runs) != 2:
        raise RuntimeError(f"it ran {len(runs)} times")
    return runs[1][1]


def all_ready(stand: Stand, client: Client) -> bool:
    """Whether every worker has a child that has loaded the app; the pool tells of them once a second."""
    children = stand.children()
    return len(children) == stand.workers and sorted(row["child"] or 0 for row in client.workers()) == children


def kill_child(stand: Stand, client: Client, number: int) -> float:
    """Milliseconds from the SIGKILL of a child until its task runs again."""
    handle, file, pid = begin(stand, client, number)
    until(lambda: all_ready(stand, client), "the children are ready, that of the last kill too", pause=0.05)
    killed = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    return (again(handle, file) - killed) * 1e3


def kill_node(stand: Stand, number: int) -> tuple[float, float]:
    """Milliseconds from the SIGKILL of the node until it is ready, and until its task runs again."""
    handle, file, _pid = begin(stand, stand.connect(), number)
    killed = stand.kill()
    stand.start()
    ready = time.monotonic()
    ran = again(handle, file)
    stand.hang_up()
    return (ready - killed) * 1e3, (ran - killed) * 1e3


def first_result() -> tuple[float, float]:
    """Milliseconds from the start of a new node until it is ready, and until a first result."""
    begun = time.monotonic()
    with Stand() as stand:
        ready = time.monotonic()
        stand.connect().submit(Call("noop"), LONG).get(LONG)
        return (ready - begun) * 1e3, (time.monotonic() - begun) * 1e3


def children(table: Table, count: int) -> None:
    """The lines for a killed child."""
    peer = "PgQueuer 31 s; tuned 4.7 s"
    with Stand() as stand:
        client = stand.warm()
        ran = [kill_child(stand, client, number) for number in range(count)]
    table.add(Line("SIGKILL of a child -> its task runs again", "ms", peer, "10 ms", most=100), ran)
    with Stand(workers=1) as stand:
        client = stand.warm()
        ran = [kill_child(stand, client, number) for number in range(count)]
    table.add(Line("    where no other child is free", "ms", peer, "10 ms", most=100), ran)


def nodes(table: Table, count: int) -> None:
    """The lines for a killed node."""
    with Stand() as stand:
        ready, ran = zip(*(kill_node(stand, number) for number in range(count)), strict=True)
    table.add(Line("SIGKILL of the node, restarted -> ready", "ms"), ready)
    table.add(Line("    -> the task that ran runs again", "ms", "PgQueuer 31 s; tuned 4.7 s", most=500), ran)


def main() -> None:
    """Measure what the command line asks for, and print it."""
    options = arguments(__doc__).parse_args()
    count = 3 if options.quick else 7
    table = Table.begin("Recovery, one node, 2 workers, SQLite FULL", options)
    children(table, count)
    nodes(table, count)
    first_result()
    ready, result = zip(*(first_result() for _ in range(count)), strict=True)
    table.add(Line("start of a new node -> ready", "ms"), ready)
    table.add(Line("    -> first result", "ms", "Huey 120 ms", most=500), result)
    table.end()


if __name__ == "__main__":
    main()
