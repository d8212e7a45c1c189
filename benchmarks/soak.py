"""Half a million mixed tasks while children are killed: does the node stay as it was, and does every task end as it should?

    python benchmarks/soak.py             500,000 tasks, some minutes
    python benchmarks/soak.py --quick     20,000

Four pools (process, thread, async, scripts) run tasks that return, raise and are retried, print, tell of progress, keep
checkpoints, snooze, call os._exit, run over their time, take too much memory, or are programs. A child is killed about once
a second. Printed each few seconds: what the node's process has of memory, descriptors and threads, and its whole tree of
processes. At the end every task is counted by how it ended, and the store is checked.
"""

from __future__ import annotations

import collections
import os
import random
import signal
import statistics
import sys
import threading
import time
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from benchmarks.stand import LONG, Neighbours, Stand, arguments, machine, memory_mib
from otpq.client.calls import Call
from otpq.client.questions import Selector
from otpq.store.check import check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otpq.client.client import Client

JOBS: Final = """
import asyncio, os, time
import otpq

app = otpq.App("soak")

@app.task(name="noop")
def noop(n=0): return n

@app.task(name="shaky", retry_delay=0.05)
def shaky(ctx: otpq.Context, n):
    if ctx.attempt == 1:
        raise ValueError(n)
    return n

@app.task(name="talk")
def talk(ctx: otpq.Context, n):
    print("hello", n)
    ctx.log.info("half way", n=n)
    ctx.progress(0.5, "half way")
    return n

@app.task(name="steps", retries=20)
def steps(ctx: otpq.Context, n):
    for at in range(ctx.last_checkpoint or 0, 3):
        ctx.checkpoint(at + 1)
    return n

@app.task(name="doze", retries=20)
def doze(ctx: otpq.Context, n):
    if not ctx.last_checkpoint:
        ctx.checkpoint(True)
        raise otpq.Snooze(0.05)
    return n

@app.task(name="leave", retries=0)
def leave(n): os._exit(3)

@app.task(name="late", retries=0, timeout=0.3)
def late(n): time.sleep(600)

@app.task(name="hog", retries=0, memory=150)
def hog(n):
    kept = []
    while True:
        kept.append(bytearray(1 << 20))

@app.task(name="nap", retries=20)
def nap(n):
    time.sleep(0.002)
    return n

@app.task(name="anap", retries=20)
async def anap(n):
    await asyncio.sleep(0.005)
    return n
"""

SCRIPT: Final = "import sys\nprint('argument', sys.argv[1])\n"

WORDS: Final = (
    "--pool=threads:queues=threads,executor=thread,parallel=4,min=1",
    "--pool=loop:queues=loop,executor=async,parallel=20,min=1",
    "--pool=scripts:queues=scripts,executor=script,min=1",
    "--script-dir={home}/scripts",
)

KINDS: Final = {
    "noop": ("default", 0.697, "succeeded"),
    "shaky": ("default", 0.100, "succeeded"),
    "talk": ("default", 0.060, "succeeded"),
    "nap": ("threads", 0.060, "succeeded"),
    "anap": ("loop", 0.060, "succeeded"),
    "steps": ("default", 0.010, "succeeded"),
    "doze": ("default", 0.009, "succeeded"),
    "leave": ("default", 0.0004, "failed"),
    "late": ("default", 0.0003, "failed"),
    "hog": ("default", 0.0003, "failed"),
}
"""Of each kind its queue, its share, and how it ends; what is left are scripts."""

CHUNK: Final = 1_000
SAMPLE: Final = 3.0
"""Seconds between two looks."""


class Sample(NamedTuple):
    """The node at one moment."""

    seconds: float
    ended: int
    rss: float
    descriptors: int
    threads: int


def calls(count: int, script: Path) -> Iterator[Call]:
    """So many calls, mixed by chance, the same chance each time."""
    dice = random.Random(4)  # noqa: S311 - the same dice each time
    names, shares = [*KINDS, "script"], [share for _, share, _ in KINDS.values()]
    shares.append(max(0.0, 1.0 - sum(shares)))
    for number, name in enumerate(dice.choices(names, shares, k=count)):
        if name == "script":
            yield Call("@script", (str(script),), {"args": [str(number)]}, queue="scripts", retries=20)
        else:
            yield Call(name, (number,), queue=KINDS[name][0], tags=["soak"])


def look(pid: int, begun: float, ended: int) -> Sample:
    """The node now."""
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    threads = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("Threads:"))
    descriptors = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    return Sample(time.monotonic() - begun, ended, memory_mib(pid, "Rss"), descriptors, threads)


class Killer(threading.Thread):
    """Kills a child about once a second."""

    def __init__(self, stand: Stand) -> None:
        super().__init__(daemon=True)
        self._stand = stand
        self.over = threading.Event()
        self.kills = 0

    def run(self) -> None:
        """Until `over`."""
        dice = random.Random(5)  # noqa: S311 - as above
        while not self.over.wait(dice.uniform(0.5, 1.5)):
            children = self._stand.children()
            if children:
                try:
                    os.kill(dice.choice(children), signal.SIGKILL)
                except ProcessLookupError:
                    continue
                self.kills += 1


def ended_of(client: Client) -> int:
    """How many tasks have ended."""
    return sum(n for of in client.counts().values() for state, n in of.items() if state in ENDED)


ENDED: Final = frozenset({"succeeded", "failed", "cancelled", "expired"})


def soak(stand: Stand, count: int) -> list[Sample]:
    """Submit them all, kill meanwhile, and look now and then until all have ended."""
    scripts = stand.home / "scripts"
    client, begun = stand.warm(), time.monotonic()
    before = ended_of(client)
    killer = Killer(stand)
    killer.start()
    coming = calls(count, scripts / "say.py")
    samples: list[Sample] = []
    is_all_sent, next_look = False, 0.0
    while True:
        ended = ended_of(client) - before
        now = time.monotonic()
        if now >= next_look:
            next_look = now + SAMPLE
            samples.append(look(stand.pid, begun, ended))
            print(
                "{:7.1f} s  {:9,} ended  RSS {:6.1f} MiB  {:4} descriptors  {:3} threads".format(*samples[-1]),
                flush=True,
            )
        if is_all_sent and ended >= count:
            break
        waiting = sum(n for of in client.counts().values() for state, n in of.items() if state not in ENDED)
        if not is_all_sent and waiting < 20 * CHUNK:
            chunk = list(islice(coming, CHUNK))
            is_all_sent = not chunk
            client.submit_many(chunk, LONG)
        else:
            time.sleep(0.05)
    killer.over.set()
    killer.join()
    print(f"{killer.kills} children were killed; {count / (time.monotonic() - begun):,.0f} tasks/s with all that")
    return samples


def judge(stand: Stand, samples: list[Sample]) -> bool:
    """Print how they ended and whether the node stayed as it was; whether all is well."""
    client = stand.connect()
    wrong: collections.Counter[str] = collections.Counter()
    for state in sorted(ENDED):
        names = collections.Counter(task.name for task in client.iter_tasks(Selector(state=state)))
        print(f"{state}: {dict(sorted(names.items()))}")
        for name, n in names.items():
            if KINDS.get(name, ("", 0.0, "succeeded"))[2] != state:
                wrong[f"{name} {state}"] += n
    half, last = samples[len(samples) // 2 :], samples[-max(1, len(samples) // 5) :]
    middle = half[: max(1, len(half) // 2)]
    for what in ("rss", "descriptors", "threads"):
        was, is_ = (statistics.median(getattr(each, what) for each in part) for part in (middle, last))
        print(f"{what}: {was:,.1f} at half time, {is_:,.1f} at the end")
    print(f"ended otherwise than they should: {dict(wrong) or 'none'}")
    return not wrong


def main() -> None:
    """Soak it."""
    options = arguments(__doc__).parse_args()
    count = 20_000 if options.quick else 500_000
    print(f"{count:,} mixed tasks; {machine()}")
    neighbours = Neighbours()
    stand = Stand(2, jobs=JOBS + "\n\n@app.task(name='size')\ndef size(payload): return len(payload)\n", words=WORDS)
    scripts = stand.home / "scripts"
    scripts.mkdir()
    (scripts / "say.py").write_text(SCRIPT, encoding="utf-8")
    with stand:
        samples = soak(stand, count)
        is_well = judge(stand, samples)
        stand.hang_up()
        stand.stop()
        problems = check(stand.home / "node" / "store.db")
        print(f"the store: {[str(each) for each in problems] or 'all is well'}")
    print(neighbours.words())
    sys.exit(0 if is_well and not problems else 1)


if __name__ == "__main__":
    main()
