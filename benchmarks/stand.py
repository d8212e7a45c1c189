"""A real node for a benchmark, in a directory and on a port of its own, and the table in which the figures are told."""

from __future__ import annotations

import argparse
import compileall
import contextlib
import gc
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from otpq.client.client import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType

    from otpq.client.client import Client

LONG = 120.0
"""Seconds after which something has failed, not merely been slow."""

ROOT = Path(__file__).parents[1]

JOBS = '''
import os, time
import otpq

app = otpq.App("bench")


@app.task(name="noop")
def noop():
    return None


@app.task(name="burn")
def burn(milliseconds):
    """Use the CPU, in CPU time: who has to share it takes longer."""
    end = time.thread_time_ns() + int(milliseconds * 1e6)
    while time.thread_time_ns() < end:
        pass


@app.task(name="size")
def size(payload):
    return len(payload)


@app.task(name="stay")
def stay(file):
    """Write down who runs it and since when; the first run then stays until it is killed."""
    with open(file, "a") as lines:
        is_first = lines.tell() == 0
        lines.write(f"{os.getpid()} {time.monotonic()}\\n")
    if is_first:
        time.sleep(600)
'''


class Stand:
    """A node with its directory and its clients. A context manager: at its end nothing is left."""

    def __init__(self, workers: int = 2, *, jobs: str = JOBS, words: Sequence[str] = ()) -> None:
        """`jobs`: the app's code; `words`: more for the command line, `{home}` being the stand's directory."""
        self.home = Path(tempfile.mkdtemp(prefix="otpq-bench-"))
        self.name = f"bench@127.0.0.1:{free_port()}"
        self.workers = workers
        self._log = self.home / "log"
        self._jobs = self.home / "jobs.py"
        self._jobs.write_text(jobs, encoding="utf-8")
        self._words = [word.format(home=self.home) for word in words]
        compileall.compile_dir(ROOT / "otpq", quiet=1)  # as pip leaves an installed package
        self._node: subprocess.Popen[str] | None = None
        self._lifeline = -1
        self._wardens: list[int] = []
        self._clients: list[Client] = []

    @property
    def pid(self) -> int:
        """The process id of the node."""
        return self._running().pid

    def start(self) -> float:
        """Start the node; the seconds from there until it said `ready`."""
        assert self._node is None, "a node runs already"
        theirs, self._lifeline = os.pipe()  # the node ends with us, however we end
        begun = time.monotonic()
        with self._log.open("a", encoding="utf-8") as log:
            self._node = subprocess.Popen(  # noqa: S603 - our own program
                self._command(),
                env=self._environment() | {"OTPQ_PARENT_FD": str(theirs)},
                pass_fds=[theirs],
                cwd=self.home,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        os.close(theirs)
        assert self._node.stdout is not None
        for line in self._node.stdout:
            if line.startswith("ready "):
                return time.monotonic() - begun
        raise RuntimeError(f"the node ended before it was ready: {self.log()}")

    def connect(self) -> Client:
        """A new client; the stand closes it at its end."""
        client = connect(self.name, timeout=LONG, cookie_file=self.home / "cookie")
        self._clients.append(client)
        return client

    def warm(self) -> Client:
        """A client that has seen every worker at work."""
        client = self.connect()
        for handle in client.submit_many("noop" for _ in range(2_000)):
            handle.get(LONG)
        until(lambda: len(self.children()) >= self.workers, "all children are up")  # `words` may ask for more
        return client

    def warden(self) -> list[int]:
        """The warden's two processes: the one that keeps, and the one that starts the children."""
        keepers = offspring(self.pid)
        return keepers + [starter for keeper in keepers for starter in offspring(keeper)]

    def children(self) -> list[int]:
        """The processes in which tasks run."""
        return [child for starter in self.warden()[1:] for child in offspring(starter)]

    def kill(self) -> float:
        """End the node with SIGKILL; when that was done, on the monotonic clock."""
        node = self._running()
        self._wardens += self.warden()
        at = time.monotonic()
        node.kill()
        self._reap(node)
        return at

    def stop(self) -> None:
        """End the node with TERM, and with SIGKILL if it does not obey."""
        node = self._running()
        node.terminate()
        try:
            node.wait(30)
        except subprocess.TimeoutExpired:
            print(f"the node ignored TERM and was killed: {self.log()}", file=sys.stderr)
            node.kill()
        self._reap(node)

    def hang_up(self) -> None:
        """Close the clients."""
        while self._clients:
            self._clients.pop().close()

    def log(self) -> str:
        """The end of what the node has logged."""
        return self._log.read_text(encoding="utf-8")[-2_000:]

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        self.hang_up()
        if self._node is not None:
            self.stop()
        until(lambda: not any(map(lives, self._wardens)), "the wardens of killed nodes have left their tombstones")
        shutil.rmtree(self.home, ignore_errors=True)

    def _running(self) -> subprocess.Popen[str]:
        assert self._node is not None, "no node runs"
        return self._node

    def _reap(self, node: subprocess.Popen[str]) -> None:
        node.wait(LONG)
        assert node.stdout is not None
        node.stdout.close()
        os.close(self._lifeline)
        self._node = None

    def _command(self) -> list[str]:
        options = {
            "--name": self.name,
            "--app": f"{self._jobs}:app",
            "--workers": self.workers,
            "--dir": self.home / "node",
            "--cookie-file": self.home / "cookie",
            "--grace": 1,
        }
        return [
            sys.executable,
            "-m",
            "otpq",
            "node",
            *(f"{option}={value}" for option, value in options.items()),
            *self._words,
        ]

    def _environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("OTPQ_", "PYTHON"))}
        return {**kept, "HOME": str(self.home), "PYTHONPATH": str(ROOT), "OTPQ_LOG_LEVEL": "WARNING"}


# --- processes, as /proc tells of them ------------------------------------------------------------------------------


def free_port() -> int:
    """A port that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def offspring(pid: int) -> list[int]:
    """The processes that a process has started and that live."""
    found: list[int] = []
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, thread.read_text("ascii").split())
    return sorted(found)


def lives(pid: int) -> bool:
    """Whether there is such a process, and it is not merely still to be waited for."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] != "Z"
    return False


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time of these processes, in steps of 10 ms."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_mib(pid: int, what: str) -> float:
    """`Pss` or `Rss` of a process, from `smaps_rollup`."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) / 1024
    raise KeyError(what)


def until(is_so: Callable[[], bool], what: str, pause: float = 0.005) -> None:
    """Wait until it is so."""
    deadline = time.monotonic() + LONG
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {LONG:g} s: {what}")
        time.sleep(pause)


class Neighbours:
    """What other programs had of the CPUs since this was made: figures are only as good as it is small."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._load = _load()
        self._before = self._seconds()

    def words(self) -> str:
        """To be asked once the stands are closed: a process counts as ours when it has been waited for."""
        taken = (self._seconds() - self._before) / (time.monotonic() - self._begun) / (os.cpu_count() or 1)
        shown = f"load average before {self._load}, after {_load()} (1, 5, 15 min, this benchmark included)"
        return f"Other programs took {max(0.0, taken):.0%} of the {os.cpu_count()} CPUs meanwhile; {shown}."

    @staticmethod
    def _seconds() -> float:
        fields = Path("/proc/stat").read_text("ascii").split()[1:9]
        user, nice, system, _idle, _wait, irq, softirq, steal = map(int, fields)
        ours = os.times()  # with the children that ended
        return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK") - sum(ours[:4])


def _load() -> str:
    return "/".join(f"{value:.1f}" for value in os.getloadavg())


# --- the table ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table."""

    what: str
    unit: str
    peer: str = ""
    """The best peer, as measured on the machine of the design."""
    bound: str = ""
    """The limit of the parts, or what the prototype reached, there."""
    least: float | None = None
    """The budget, if more is better."""
    most: float | None = None
    """The budget, if less is better."""

    def verdict(self, value: float) -> str:
        """The budget, and whether the value keeps it."""
        if self.least is not None:
            return f">= {figure_text(self.least)}, {'met' if value >= self.least else 'MISSED'}"
        if self.most is not None:
            return f"<= {figure_text(self.most)}, {'met' if value <= self.most else 'MISSED'}"
        return ""


@dataclass(frozen=True, slots=True)
class Table:
    """Figures, printed as they come, or collected for a program."""

    title: str
    as_json: bool
    figures: list[dict[str, object]]
    neighbours: Neighbours

    @classmethod
    def begin(cls, title: str, options: argparse.Namespace) -> Self:
        """Start one; says what was run where."""
        table = cls(title, options.json, [], Neighbours())
        table.print(f"{title}\n{machine()}; median [lowest..highest] of the runs\n")
        table.print(row("measurement", "measured", "best peer", "bound or prototype", "budget"))
        table.print("|".join("-" * width for width in (59, 33, 35, 31, 20)))
        return table

    def add(self, line: Line, values: Sequence[float]) -> None:
        """One line with what was measured."""
        median = statistics.median(values)
        spread = f" [{figure_text(min(values))}..{figure_text(max(values))}]" if len(values) > 1 else ""
        measured = f"{figure_text(median)}{spread} {line.unit}"
        self.figures.append(asdict(line) | {"median": median, "values": list(values)})
        self.print(row(line.what, measured, line.peer, line.bound, line.verdict(median)))

    def end(self) -> None:
        """The last words; all of it, if it is for a program."""
        words = self.neighbours.words()
        self.print(f"\n{words}\n")
        if self.as_json:
            whole = {"title": self.title, "machine": machine(), "others": words, "figures": self.figures}
            print(json.dumps(whole, indent=2))

    def print(self, text: str) -> None:
        """Text for people."""
        if not self.as_json:
            print(text, flush=True)


def row(what: str, measured: str, peer: str, bound: str, budget: str) -> str:
    """A line of the table."""
    return f"{what:<58} | {measured:<31} | {peer:<33} | {bound:<29} | {budget}".rstrip()


def figure_text(value: float) -> str:
    """Three digits that matter, with thousands apart."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def machine() -> str:
    """Where this runs."""
    return f"CPython {platform.python_version()}, {os.cpu_count()} CPUs, {platform.system()}, store in {tempfile.gettempdir()}"


def arguments(words: str | None) -> argparse.ArgumentParser:
    """The command line that all have."""
    parser = argparse.ArgumentParser(description=(words or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="smaller sizes")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON, all values included")
    return parser


def repeat(runs: int, run: Callable[[], Sequence[float]]) -> list[tuple[float, ...]]:
    """Its values, a column each, after one run that is not counted."""
    rows = []
    for number in range(runs + 1):
        gc.collect()  # what the last run left is not this one's to pay for
        values = run()
        if number:
            rows.append(values)
    return list(zip(*rows, strict=True))
