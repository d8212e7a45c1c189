"""One round: a node at work, a SIGKILL or SIGSTOP of some of its processes at a random moment, and what must hold after.

    PYTHONPATH=. python -m tests.integration.worker.rounds 300        that many, each kind in turn; prints a table

What is checked, from what the processes themselves wrote with the time of writing:

1. Once the tombstone of an incarnation stands, nothing of it writes any more: no handler, no daemon of a handler.
2. A task's second run, under a new warden or a new incarnation, begins after the last sign of life of its first.
3. No process survives, whether it carries the mark of the incarnation in its environment or not.
4. The tombstone comes whenever a process of the warden lived and the node is gone or stopped.
5. A stopped node that wakes up finds that it is over, and ends.
"""

from __future__ import annotations

import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from otpq.worker import tombstone
from otpq.worker.descendants import marked
from otpq.worker.spawn import MARK
from otpq.worker.warden_client import end_marked
from tests.integration.worker.busy_app import odd_sleep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parent
FENCED = 9
SHORT_LEASE, LONG_LEASE = 0.8, 10.0
"""Seconds. Short where the round is about its end; else so long that a busy machine does not end it."""

LONG = 20.0
"""Seconds after which something will not happen any more."""

KILL, STOP = signal.SIGKILL, signal.SIGSTOP
T = TypeVar("T")


class Kind(Enum):
    """Whom it hits: (process, signal), sent without a pause between them."""

    KILL_NODE = (("node", KILL),)
    STOP_NODE = (("node", STOP),)
    KILL_STARTER = (("starter", KILL),)
    KILL_KEEPER = (("keeper", KILL),)
    KILL_NODE_AND_STARTER = (("node", KILL), ("starter", KILL))
    KILL_STARTER_AND_NODE = (("starter", KILL), ("node", KILL))
    KILL_NODE_AND_KEEPER = (("node", KILL), ("keeper", KILL))
    STOP_STARTER_KILL_NODE = (("starter", STOP), ("node", KILL))
    STOP_NODE_AND_STARTER = (("node", STOP), ("starter", STOP))
    STOP_NODE_KILL_STARTER = (("node", STOP), ("starter", KILL))
    STOP_ALL_CHILDREN_KILL_NODE = (("children", STOP), ("node", KILL))
    KILL_KEEPER_AND_STARTER = (("keeper", KILL), ("starter", KILL))
    KILL_ALL = (("node", KILL), ("keeper", KILL), ("starter", KILL))

    @property
    def hits_node(self) -> bool:
        return any(who == "node" for who, _ in self.value)

    @property
    def lease(self) -> float:
        return SHORT_LEASE if ("node", STOP) in self.value else LONG_LEASE

    @property
    def leaves_a_witness(self) -> bool:
        """Whether a half of the warden lives on, or the node."""
        return not {("keeper", KILL), ("starter", KILL)} <= set(self.value)


class Sign(NamedTuple):
    """A line of the journal."""

    kind: str
    incarnation: str
    task: int
    pid: int
    at: int


@dataclass(frozen=True)
class Report:
    """What a round took: seconds from the signals to the proof (or, without one, to the last survivor's end)."""

    kind: Kind
    seconds: float
    daemons: int


class Journal:
    """What the handlers and their daemons wrote."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def signs(self) -> Iterator[Sign]:
        if self.path.exists():
            for line in self.path.read_text().splitlines():
                kind, incarnation, task, pid, at = line.split()
                yield Sign(kind, incarnation, int(task), int(pid), int(at))

    def last(self, incarnation: str) -> int:
        return max((sign.at for sign in self.signs() if sign.incarnation == incarnation), default=0)

    def beats(self, incarnation: str) -> bool:
        return any(sign.kind == "beat" and sign.incarnation == incarnation for sign in self.signs())


class NodeProgram:
    """A running `node_program.py`."""

    def __init__(self, directory: Path, incarnation: str, lease: float, journal: Journal, seed: int) -> None:
        self.directory = directory
        self.incarnation = incarnation
        self.stone = tombstone.path_of(directory, incarnation)
        self.process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, HERE / "node_program.py", directory, incarnation, str(lease), journal.path, str(seed)],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(HERE.parents[2])},
        )
        self.pids = self.read_pids()

    def read_pids(self) -> dict[str, int]:
        """Of the warden that it started last; waits for its line."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("warden "), f"the node ended at its start: {self.process.wait(LONG)}"
        _, keeper, starter = line.split()
        return {"node": self.process.pid, "keeper": int(keeper), "starter": int(starter)}

    def hit(self, kind: Kind) -> None:
        for who, what in kind.value:
            pids = marked(f"{MARK}={self.incarnation}") if who == "children" else [self.pids[who]]
            for pid in pids:
                with suppress(ProcessLookupError):  # the first signal may have ended the second's addressee already
                    os.kill(pid, what)

    def end(self) -> None:
        """Whatever became of it, nothing of it is left after this. Only for the end of a round: it hides survivors."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        for pid in self.pids.values():
            if pid != self.process.pid and is_ours(pid, self.incarnation):
                os.kill(pid, KILL)
        end_marked(self.incarnation)
        for pid in sleepers(self.incarnation):
            os.kill(pid, KILL)


def is_ours(pid: int, incarnation: str) -> bool:
    try:
        return incarnation.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


def eventually(what: Callable[[], T], seconds: float = LONG) -> T:
    """What it returns once that is true; fails after `seconds`."""
    end = time.monotonic() + seconds
    while not (value := what()):
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.001)
    return value


def is_running(pid: int) -> bool:
    """Whether it exists and is no zombie (which does nothing any more, and waits for whoever started it)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat[stat.rindex(")") + 2] not in "ZX"


def sleepers(incarnation: str) -> set[int]:
    """The programs that `busy_app` starts with a clean environment: nothing but its parents tells whose they are."""
    found = set()
    wanted = odd_sleep(incarnation).encode()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if wanted in words and is_running(int(path.parent.name)):
            found.add(int(path.parent.name))
    return found


def survivors(incarnation: str) -> list[int]:
    """Of an incarnation, marked or not."""
    return [pid for pid in marked(f"{MARK}={incarnation}") if is_running(pid)] + sorted(sleepers(incarnation))


def run_round(kind: Kind, chance: random.Random) -> Report:
    """One round of `kind`; raises AssertionError when something does not hold."""
    with tempfile.TemporaryDirectory(prefix="otpq-round-") as name:
        directory = Path(name)
        journal = Journal(directory / "journal")
        first = NodeProgram(directory, f"one-{directory.name}", kind.lease, journal, chance.randrange(1 << 30))
        second = None
        try:
            eventually(lambda: journal.beats(first.incarnation))
            time.sleep(chance.uniform(0.0, 0.04))  # the random moment; nothing waits for it
            began = time.monotonic()
            first.hit(kind)
            if kind.hits_node:
                check_end_of_node(first, kind, journal)
            else:
                check_new_warden(first, kind, journal)
            seconds = time.monotonic() - began
            second = NodeProgram(directory, f"two-{directory.name}", LONG_LEASE, journal, chance.randrange(1 << 30))
            eventually(lambda: journal.beats(second.incarnation))
            second.hit(Kind.KILL_NODE)
            check_end_of_node(second, Kind.KILL_NODE, journal)
            check_no_overlap(journal)
            return Report(kind, seconds, len({sign.pid for sign in journal.signs() if sign.kind == "beat"}))
        finally:
            first.end()
            if second is not None:
                second.end()


def check_end_of_node(node: NodeProgram, kind: Kind, journal: Journal, *, unmarked_too: bool = True) -> None:
    if not kind.leaves_a_witness:
        check_without_witness(node)
        return
    eventually(node.stone.exists)
    left = set(survivors(node.incarnation))
    assert left - (set() if unmarked_too else sleepers(node.incarnation)) == set()
    stone = tombstone.read(node.stone)
    assert (stone.node, stone.incarnation) == ("a@test", node.incarnation)
    assert stone.reason == ("lease" if ("node", STOP) in kind.value else "gone")
    assert journal.last(node.incarnation) <= stone.boottime_ns
    # Its processes end right after; they are nobody's descendants and would be noise in the next round.
    eventually(lambda: not any(is_ours(node.pids[who], node.incarnation) for who in ("keeper", "starter")))
    if ("node", STOP) in kind.value:
        os.kill(node.process.pid, signal.SIGCONT)
        assert node.process.wait(LONG) == FENCED
    assert journal.last(node.incarnation) <= stone.boottime_ns


def check_without_witness(node: NodeProgram) -> None:
    """Nobody is left to see: children die by the kernel, marked daemons by the next incarnation, and nothing is proven."""
    end_marked(node.incarnation)
    eventually(lambda: not set(survivors(node.incarnation)) - sleepers(node.incarnation))
    assert not node.stone.exists()


def check_new_warden(node: NodeProgram, kind: Kind, journal: Journal) -> None:
    """The node lives: it has another warden, and runs its tasks again, alone."""
    old = dict(node.pids)
    node.pids = node.read_pids()
    assert node.pids["starter"] != old["starter"]
    assert not node.stone.exists()
    again = journal.last(node.incarnation)
    eventually(lambda: any(sign.kind == "beat" and sign.at > again for sign in journal.signs()))
    node.hit(Kind.KILL_NODE)
    # The hole that is left: unmarked, and both halves killed at once.
    check_end_of_node(node, Kind.KILL_NODE, journal, unmarked_too=kind.leaves_a_witness)


def check_no_overlap(journal: Journal) -> None:
    """The signs of life of one task's runs follow one another, where a run was cut off; a daemon belongs to its run.

    Within one warden's life a task may run again while a daemon of its *finished* run lives: only what was cut off counts.
    """
    spans: dict[tuple[int, str], list[int]] = defaultdict(list)
    for sign in journal.signs():
        spans[sign.task, sign.incarnation].append(sign.at)
    for task in {task for task, _ in spans}:
        runs = sorted((min(times), max(times)) for (each, _), times in spans.items() if each == task)
        for (_, end), (begin, _) in pairwise(runs):
            assert end < begin, f"two runs of task {task} at once: {runs}"


def main(count: int) -> None:
    chance = random.Random()  # noqa: S311 - a moment, no secret
    took: dict[Kind, list[float]] = defaultdict(list)
    failed = daemons = 0
    for number in range(count):
        kind = list(Kind)[number % len(Kind)]
        try:
            report = run_round(kind, chance)
        except AssertionError:
            failed += 1
            print("FAILED", kind.name, traceback.format_exc(), flush=True)  # noqa: T201 - a script too
            continue
        took[kind].append(report.seconds)
        daemons += report.daemons
    for kind, seconds in took.items():
        print(  # noqa: T201 - a script too
            f"{kind.name:<30} {len(seconds):>4} rounds  median {statistics.median(seconds) * 1e3:7.1f} ms"
            f"  most {max(seconds) * 1e3:7.1f} ms"
        )
    print(f"{count} rounds, {failed} failed, {daemons} daemons ended")  # noqa: T201 - a script too


if __name__ == "__main__":
    main(int(sys.argv[1]))
