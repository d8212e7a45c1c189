"""Reloads and restarts of a node under continuous load: nothing lost, nothing failed, and how late tasks start.

    python benchmarks/rolling.py           a minute
    python benchmarks/rolling.py --quick   twenty seconds

A client submits at a steady rate all the while. The children are replaced every few seconds, as for new code, and the node is
stopped by TERM and started again. Long tasks keep a checkpoint at each of their steps: they are handed over and go on, at their
first attempt. A task's start is its handler's first line against when it was due, both by this machine's clock.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Final

from benchmarks.stand import LONG, Line, Stand, Table, arguments
from otpq.client.calls import Call
from otpq.errors import OtpqError

if TYPE_CHECKING:
    from otpq.client.client import Client
    from otpq.client.handle import TaskHandle

JOBS: Final = """
import time
import otpq

app = otpq.App("rolling")

@app.task(name="noop")
def noop(): pass

@app.task(name="stamp")
def stamp(due):
    begun = time.time()
    time.sleep(0.002)
    return begun - due

@app.task(name="steps")
def steps(ctx: otpq.Context, path, number, count):
    for step in range(ctx.last_checkpoint or 0, count):
        with open(path, "a") as lines:
            lines.write(f"{number} {step}\\n")
        time.sleep(0.05)
        ctx.checkpoint(step + 1)
    return count
"""

RATE: Final = 200.0
LONG_TASKS: Final = 2
"""Each keeps a worker of four."""


class Submitter(threading.Thread):
    """Submits at a steady rate until it is told to stop; while there is no node it waits for one."""

    def __init__(self, client: Client) -> None:
        super().__init__(daemon=True)
        self._client = client
        self.over = threading.Event()
        self.handles: list[TaskHandle[float]] = []

    def run(self) -> None:
        """One after the other, each due when it is."""
        due = time.time()
        while not self.over.is_set():
            due = max(due + 1 / RATE, time.time() - 1.0)
            time.sleep(max(0.0, due - time.time()))
            try:
                self.handles.append(self._client.submit(Call("stamp", (time.time(),)), LONG))
            except OtpqError as error:
                print(f"a submission was not accepted: {error}", file=sys.stderr)


def share(values: list[float], part: float) -> float:
    """That part of the values is not above it."""
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def check_steps(stand: Stand, count: int) -> int:
    """How many steps of the long tasks were not made exactly once, save the one at which each was handed over."""
    done: dict[tuple[str, str], int] = {}
    for line in (stand.home / "steps").read_text("ascii").splitlines():
        number, step = line.split()
        done[number, step] = done.get((number, step), 0) + 1
    missing = LONG_TASKS * count - len(done)
    return missing + sum(times > 1 for times in done.values())


def main() -> None:
    """Roll it."""
    options = arguments(__doc__).parse_args()
    rounds, pause = (2, 2.0) if options.quick else (6, 4.0)
    table = Table.begin("Reloads and restarts under load", options)
    with Stand(2, jobs=JOBS, words=("--workers=4",)) as stand:
        client = stand.connect()
        count = int(rounds * pause * 2 / 0.06)
        path = str(stand.home / "steps")
        steps = [client.submit(Call("steps", (path, n, count)), LONG) for n in range(LONG_TASKS)]
        submitter = Submitter(client)
        submitter.start()
        reloads: list[float] = []
        for _ in range(rounds):
            time.sleep(pause)
            begun = time.monotonic()
            client.reload(timeout=LONG)
            reloads.append((time.monotonic() - begun) * 1e3)
        calm = len(submitter.handles)
        gaps: list[float] = []
        for _ in range(max(1, rounds // 3)):
            time.sleep(pause)
            begun = time.monotonic()
            stand.stop()
            stand.start()
            gaps.append((time.monotonic() - begun) * 1e3)
        time.sleep(pause)
        submitter.over.set()
        submitter.join()
        late = [handle.get(LONG) * 1e3 for handle in submitter.handles]
        tasks = client.wait([*submitter.handles, *steps], LONG)
        bad = [task for task in tasks if (task.state, task.attempt, task.interruptions) != ("succeeded", 1, 0)]
        table.add(Line("reload of all children, asked until done", "ms"), reloads)
        table.add(Line("TERM until the next node is ready", "ms"), gaps)
        for what, some in (("while children are reloaded", late[:calm]), ("while the node is restarted", late[calm:])):
            table.add(Line(f"start after due, p50, {what}", "ms"), [share(some, 0.5)])
            table.add(Line(f"start after due, p99, {what}", "ms"), [share(some, 0.99)])
        table.add(Line("tasks", ""), [float(len(tasks))])
        table.add(Line("tasks that did not succeed at their first attempt", "", most=0), [float(len(bad))])
        table.add(Line("steps of long tasks not made exactly once", "", most=0), [float(check_steps(stand, count))])
    table.end()
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
