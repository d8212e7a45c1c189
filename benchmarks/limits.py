"""Do limits of time and memory end what a task does, with all that it has started, every time? A hundred rounds each.

    python benchmarks/limits.py                 the executors process, thread, async and script; 100 rounds, some minutes
    python benchmarks/limits.py --quick         10 rounds
    python benchmarks/limits.py --rounds 1000 --only thread

In a round of time, a task starts a program, a deaf one, and a deaf daemon, and then blocks in C, beside neighbours; in a round
of memory, a task takes more than it may, itself or by a program. After each it is asked how the task ended, whether a neighbour
was charged, and whether a process that it had started still lives a moment after the node has told of its end. Printed: how
many rounds ended otherwise, how many neighbours were charged, how many processes survived, and how long after its limit a task
was known to have ended.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from benchmarks.stand import LONG, Neighbours, Stand, figure_text, lives, machine
from otpq.client.calls import Call
from otpq.worker.descendants import marked
from otpq.worker.spawn import MARK

if TYPE_CHECKING:
    from pathlib import Path

    from otpq.client.client import Client
    from otpq.client.handle import TaskHandle

JOBS: Final = r'''
import collections, itertools, os, signal, subprocess, sys, time
import otpq

app = otpq.App("limits")

@app.task(name="noop")
def noop(): return None

def deaf():
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)

def start(file, *, is_daemon):
    if os.fork() != 0:
        return
    try:
        deaf()
        if is_daemon:
            os.setsid()
            if os.fork() != 0:
                os._exit(0)
        with open(file, "a") as pids:
            pids.write(f"{os.getpid()} ")
        os.execv("/bin/sleep", ["sleep", "600"])
    finally:
        os._exit(1)

@app.task(name="block", retries=0)
def block(file):
    for is_daemon in (False, True):
        start(file, is_daemon=is_daemon)
    while not os.path.exists(file) or len(open(file).read().split()) < 2:
        time.sleep(0.002)
    collections.deque(itertools.repeat(0), maxlen=0)

TAKE = """
import time
kept = []
try:
    while len(kept) < 1500: kept.append(b"x" * (1 << 20))
except MemoryError:
    time.sleep(600)
"""

@app.task(name="take", retries=0, memory=150)
def take(file):
    kept = [b'x' * (1 << 20) for _ in range(1500)]

@app.task(name="take_by_another", retries=0, memory=150)
def take_by_another(file):
    process = subprocess.Popen([sys.executable, "-c", TAKE])
    with open(file, "w") as pids:
        pids.write(str(process.pid))
    if process.wait() != 0:
        raise RuntimeError("it did not succeed")
'''

SCRIPT: Final = """#!/bin/sh
trap '' TERM HUP INT
setsid sh -c 'trap "" TERM HUP INT; echo $$ >> "$0"; while :; do sleep 1; done' "$1" &
echo $$ >> "$1"
while :; do :; done
"""

POOLS: Final = {
    "process": "executor=process,queues=process,min=1,max=1",
    "thread": "executor=thread,parallel=4,queues=thread,min=1,max=1",
    "async": "executor=async,parallel=4,queues=async,min=1,max=1",
    "script": "executor=script,queues=script,min=1,max=1",
}
LIMIT: Final = 0.3
"""Seconds."""


class Round(NamedTuple):
    """What was seen in one."""

    wrong: str
    """How the task ended, if not as it should; else nothing."""
    charged: int
    survivors: int
    late: float
    """Seconds between the limit and the end as a client was told of it; of a limit of memory, from the begin."""


def submit(stand: Stand, client: Client, executor: str, kind: str, file: Path) -> TaskHandle[Any]:
    """The task of a round."""
    if executor == "script":
        script = stand.home / "scripts" / "deaf"
        return client.submit_script(script, [file], queue=executor, retries=0, timeout=LIMIT)
    options: dict[str, Any] = {"timeout": LIMIT} if kind == "block" else {}
    return client.submit(Call(kind, (str(file),), queue=executor, **options))


def run_round(stand: Stand, client: Client, executor: str, kind: str, number: int) -> Round:
    """One task over its limit, and what became of it and of what it had started."""
    file = stand.home / f"pids-{executor}-{kind}-{number}"
    beside = [] if executor == "script" else [Call("noop", queue=executor)] * 10
    before = client.submit_many(beside)
    handle = submit(stand, client, executor, kind, file)
    after = client.submit_many(beside)
    (task,) = client.wait([handle], LONG)
    told = time.time()
    others = client.wait([*before, *after], LONG)
    wanted = "timeout" if kind == "block" else "memory"
    begun = task.started_at.timestamp() if task.started_at is not None else told
    is_right = (task.state.value, task.reason, task.attempt) == ("failed", wanted, 1)
    return Round(
        wrong=""
        if is_right
        else f"{task.state} ({task.reason}) at attempt {task.attempt}: {task.error or task.result}",
        charged=sum((other.state.value, other.attempt) != ("succeeded", 1) for other in others),
        survivors=sum(map(lives, pids_in(file))),
        late=told - begun - (LIMIT if kind == "block" else 0.0),
    )


def pids_in(file: Path) -> list[int]:
    """Those that the task wrote down, if it came to that."""
    return [int(word) for word in file.read_text("ascii").split()] if file.exists() else []


def run(stand: Stand, client: Client, executor: str, kind: str, rounds: int) -> bool:
    """A line of the table; whether all was as it should be."""
    seen = [run_round(stand, client, executor, kind, number) for number in range(rounds)]
    wrong = [each.wrong for each in seen if each.wrong]
    charged, survivors = sum(each.charged for each in seen), sum(each.survivors for each in seen)
    late = sorted(each.late for each in seen)
    shown = f"{figure_text(late[len(late) // 2])} [{figure_text(late[0])}..{figure_text(late[-1])}] s"
    print(
        f"{executor:<8} | {kind:<16} | {rounds:>6} | {len(wrong):>5} | {charged:>7} | {survivors:>9} | {shown}",
        flush=True,
    )
    for how in sorted(set(wrong)):
        print(f"         {how}")
    return not (wrong or charged or survivors)


def main() -> int:
    """All executors and kinds; the exit code says whether every round was as it should be."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="10 rounds")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--only", choices=POOLS, action="append", help="this executor")
    said = parser.parse_args()
    rounds = 10 if said.quick else said.rounds
    executors = said.only or list(POOLS)
    others = Neighbours()
    print(f"Limits\n{machine()}\n")
    print(
        "executor | kind             | rounds | wrong | charged | survivors | told after the limit (memory: the begin)"
    )
    words = [f"--pool={name}:{POOLS[name]}" for name in executors]
    stand = Stand(1, jobs=JOBS, words=[*words, "--script-dir={home}/scripts"])
    scripts = stand.home / "scripts"
    scripts.mkdir()
    (scripts / "deaf").write_text(SCRIPT, encoding="ascii")
    (scripts / "deaf").chmod(0o755)
    with stand:
        client = stand.connect()
        client.submit(Call("noop")).get(LONG)
        incarnation = next(iter(client.nodes()))["incarnation"]
        results = [
            run(stand, client, executor, kind, rounds)
            for executor in executors
            for kind in (["block"] if executor == "script" else ["block", "take", "take_by_another"])
        ]
    left = marked(f"{MARK}={incarnation}")
    print(f"\nafter the end of the node: {len(left)} processes of it\n{others.words()}")
    return 0 if all(results) and not left else 1


if __name__ == "__main__":
    sys.exit(main())
