"""What the OTP floor costs: casts, calls, starts, memory, restarts, each beside its limit and its budget.

    python benchmarks/otp.py                     all, in about a minute
    python benchmarks/otp.py --quick             smaller sizes, under 20 s
    python benchmarks/otp.py --only call --json  one measurement, for a program

Each figure is the median of several runs, with the lowest and the highest in brackets. Everything is measured end to end:
a cast counts when the last one has been handled, a restart when the new child's `init` has returned. The log is formatted
and written to /dev/null, as a program with a log would. `pykka` is a control: bare Pykka, measured here and now, tells how
far this machine is from the one whose figures stand in the columns.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import pykka

from otpq.otp import Caller, Cast, GenServer, Kill, Pid, Reply, Supervisor, attach, call, cast, exit, stop

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LONG = 120.0
"""Seconds after which a run has failed, not merely been slow."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much one run does, and how many runs there are."""

    runs: int
    casts: int
    calls: int
    starts: int
    crashes: int
    children: int = 1000


FULL = Sizes(runs=7, casts=200_000, calls=10_000, starts=2_000, crashes=500)
QUICK = Sizes(runs=5, casts=30_000, calls=1_500, starts=200, crashes=60)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table."""

    what: str
    unit: str
    limit: str = ""
    """The figure of the limits page to read it beside."""
    budget: float | None = None
    """The least that the design asks for, in `unit`."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A line with what was measured: one value for each run."""

    line: Line
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle value."""
        return statistics.median(self.values)


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A measurement: `run` gives one value for each of `lines`."""

    name: str
    lines: tuple[Line, ...]
    run: Callable[[Sizes], Sequence[float]]


@dataclass(slots=True)
class Finish:
    """A finishing line: the moment at which the `wanted`-th arrival crossed it."""

    wanted: int = 1
    at: float = 0.0
    _arrived: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _done: threading.Event = field(default_factory=threading.Event)

    def arrive(self) -> None:
        """Cross it."""
        with self._lock:
            self._arrived += 1
            if self._arrived == self.wanted:
                self.at = time.perf_counter()
                self._done.set()

    def again(self) -> None:
        """Begin a new race."""
        with self._lock:
            self._arrived = 0
            self._done.clear()

    def since(self, begun: float) -> float:
        """Seconds from `begun` to the last arrival, waited for."""
        if not self._done.wait(LONG):
            raise TimeoutError(f"{self._arrived} of {self.wanted} arrived within {LONG} s")
        return self.at - begun


# --- casts -----------------------------------------------------------------------------------------------------------


class Sink(GenServer):
    """Counts casts one by one."""

    def init(self) -> None:
        """Begin at 0."""
        self.seen = 0

    def handle_cast(self, request: Finish | None) -> None:
        """Count it."""
        self.seen += 1
        if request is not None:
            request.arrive()

    def handle_call(self, request: object, caller: Caller) -> Reply:  # noqa: ARG002 - GenServer's signature
        """How many casts have been handled."""
        return Reply(self.seen)


class BatchSink(GenServer):
    """Counts casts a batch at a time, and looks at each."""

    def init(self) -> None:
        """Begin at 0."""
        self.seen = 0

    def handle_batch(self, messages: list[Cast]) -> None:
        """Count them."""
        for message in messages:
            self.seen += 1
            if message.request is not None:
                message.request.arrive()


class Source(GenServer):
    """Sends casts, or makes calls, from a process of its own."""

    def handle_call(self, request: tuple[Callable[..., float], Any], caller: Caller) -> Reply:  # noqa: ARG002 - as above
        """What the function returns, run as this process."""
        function, args = request
        return Reply(function(*args))


def flood(to: Pid, count: int) -> float:
    """Send `count` casts; the million a second at which they were handled."""
    finish = Finish()
    begun = time.perf_counter()
    for _ in range(count - 1):
        cast(to, None)
    cast(to, finish)
    return count / finish.since(begun) / 1e6


def cast_from_thread(server: type[GenServer], sizes: Sizes) -> list[float]:
    """Million casts a second from the current thread to a new server."""
    to = server.start()
    rate = flood(to, sizes.casts)
    if server is Sink and call(to, "seen") != sizes.casts:
        raise RuntimeError("a cast was lost")
    stop(to)
    return [rate]


def cast_from_process(server: type[GenServer], sizes: Sizes) -> list[float]:
    """Million casts a second from one server to another."""
    to, source = server.start(), Source.start()
    rate = call(source, (flood, (to, sizes.casts)), LONG)
    stop(source)
    stop(to)
    return [rate]


# --- calls, starts ---------------------------------------------------------------------------------------------------


def round_trips(to: Pid, count: int) -> float:
    """Calls a second, one after the other."""
    begun = time.perf_counter()
    for _ in range(count):
        call(to, "seen")
    return count / (time.perf_counter() - begun)


def calls(sizes: Sizes) -> list[float]:
    """Calls a second, from a plain thread and from a server."""
    to, source = Sink.start(), Source.start()
    rates = [round_trips(to, sizes.calls), call(source, (round_trips, (to, sizes.calls)), LONG)]
    stop(source)
    stop(to)
    return rates


class Idle(GenServer):
    """Does nothing."""


def starts(sizes: Sizes) -> list[float]:
    """Microseconds to start a server, and to start and stop one; both wait until it is done."""
    begun = time.perf_counter()
    pids = [Idle.start() for _ in range(sizes.starts)]
    started = time.perf_counter() - begun
    for pid in pids:
        stop(pid)
    begun = time.perf_counter()
    for _ in range(sizes.starts):
        stop(Idle.start())
    return [started / sizes.starts * 1e6, (time.perf_counter() - begun) / sizes.starts * 1e6]


# --- memory ----------------------------------------------------------------------------------------------------------


def resident_bytes() -> int:
    """The resident set of this program now."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def memory_here(children: int) -> list[float]:
    """KiB a process and MiB in total that `children` supervised idle servers make resident."""
    with attach():
        stop(Supervisor.start_link([Idle.child_spec()]))  # what is made once is not theirs
        before = resident_bytes()
        tree = Supervisor.start_link([Idle.child_spec(id=str(number)) for number in range(children)])
        grown = resident_bytes() - before
        stop(tree)
    return [grown / children / 1024, (before + grown) / 2**20]


def memory(sizes: Sizes) -> list[float]:
    """As `memory_here`, in a new interpreter: this one has memory to spare from other runs."""
    if not Path("/proc/self/statm").exists():
        return []
    command = [sys.executable, __file__, "--memory-here", str(sizes.children)]
    output = subprocess.run(command, check=True, capture_output=True, timeout=LONG).stdout  # noqa: S603 - this very file
    values: list[float] = json.loads(output)
    return values


# --- restarts --------------------------------------------------------------------------------------------------------


class Boom(Exception):
    """What the children here die of."""


class Crasher(GenServer):
    """Crashes when told, and notes when; its successor notes when it is up."""

    def init(self, up: SimpleQueue[float]) -> None:
        """Report."""
        up.put(time.perf_counter())

    def handle_cast(self, request: list[float]) -> None:
        """Crash."""
        request.append(time.perf_counter())
        raise Boom


def crash_to_restart(sizes: Sizes) -> list[float]:
    """Microseconds from the exception to the end of the new child's `init`: median and 99th percentile."""
    up: SimpleQueue[float] = SimpleQueue()
    tree = Supervisor.start_link([Crasher.child_spec(up, name="crasher")], max_restarts=sizes.crashes)
    up.get(timeout=LONG)
    times, down = [], list[float]()
    for _ in range(sizes.crashes):
        Supervisor.which_children(tree)  # once it answers, the last restart is over for the supervisor too
        cast("crasher", down)
        times.append(up.get(timeout=LONG) - down.pop())
    stop(tree)
    cuts = statistics.quantiles(times, n=100)
    return [cuts[49] * 1e6, cuts[98] * 1e6]


class Member(GenServer):
    """One of many: reports each start."""

    def init(self, finish: Finish) -> None:
        """Report."""
        finish.arrive()

    def handle_cast(self, request: object) -> None:
        """Crash."""
        raise Boom(request)


def members(sizes: Sizes, **flags: Any) -> tuple[Pid, Finish]:
    """A supervisor with its children, all up, and their finishing line, ready for the next race."""
    finish = Finish(sizes.children)
    begun = time.perf_counter()
    specs = [Member.child_spec(finish, id=str(number)) for number in range(sizes.children)]
    tree = Supervisor.start_link(specs, max_restarts=sizes.children, **flags)
    finish.since(begun)
    finish.again()
    return tree, finish


def take_down(tree: Pid, sizes: Sizes) -> None:
    """Stop the tree, once it is seen to be whole."""
    if Supervisor.count_children(tree, LONG).active != sizes.children:
        raise RuntimeError("a child was not restarted")
    stop(tree)


def group_restart(sizes: Sizes) -> list[float]:
    """Milliseconds from the kill of one child until all have been stopped and started again."""
    tree, finish = members(sizes, strategy="one_for_all")
    victim = Supervisor.which_children(tree)[sizes.children // 2].pid
    if not isinstance(victim, Pid):
        raise TypeError(victim)
    begun = time.perf_counter()
    exit(victim, Kill())
    taken = finish.since(begun)
    take_down(tree, sizes)
    return [taken * 1e3]


def single_restarts(sizes: Sizes) -> list[float]:
    """Milliseconds from the first crash until every child has crashed once and is up again."""
    tree, finish = members(sizes, strategy="one_for_one")
    children = [child.pid for child in Supervisor.which_children(tree)]
    begun = time.perf_counter()
    for pid in children:
        if isinstance(pid, Pid):
            cast(pid, "crash")
    taken = finish.since(begun)
    take_down(tree, sizes)
    return [taken * 1e3]


# --- the control: Pykka itself ---------------------------------------------------------------------------------------


class Bare(pykka.ThreadingActor):
    """An actor of bare Pykka: sink and source at once."""

    use_daemon_thread = True

    def on_receive(self, message: Any) -> Any:
        """Cross a finishing line, or run a function as this actor."""
        if isinstance(message, Finish):
            message.arrive()
        elif message is not None:
            function, args = message
            return function(*args)
        return None


def tell_flood(to: pykka.ActorRef[Bare], count: int) -> float:
    """As `flood`, with `tell`."""
    finish = Finish()
    begun = time.perf_counter()
    for _ in range(count - 1):
        to.tell(None)
    to.tell(finish)
    return count / finish.since(begun) / 1e6


def asks(to: pykka.ActorRef[Bare], count: int) -> float:
    """As `round_trips`, with `ask`."""
    begun = time.perf_counter()
    for _ in range(count):
        to.ask(None)
    return count / (time.perf_counter() - begun)


def bare_pykka(sizes: Sizes) -> list[float]:
    """Million tells a second, asks a second, and microseconds of a start with a blocking stop."""
    to, source = Bare.start(), Bare.start()
    races = ((tell_flood, (to, sizes.casts)), (asks, (to, sizes.calls)))
    rates: list[float] = [source.ask(race, block=True, timeout=LONG) for race in races]
    source.stop()
    to.stop()
    begun = time.perf_counter()
    for _ in range(sizes.starts):
        Bare.start().stop()
    return [*rates, (time.perf_counter() - begun) / sizes.starts * 1e6]


# --- all of them -----------------------------------------------------------------------------------------------------

TELL = "Pykka 0.71, bound 3.1"

BENCHMARKS = (
    Benchmark(
        "cast_thread",
        (Line("cast, thread -> handle_cast", "M/s", TELL, 1.0),),
        lambda sizes: cast_from_thread(Sink, sizes),
    ),
    Benchmark(
        "cast_thread_batch",
        (Line("cast, thread -> handle_batch", "M/s", TELL, 1.0),),
        lambda sizes: cast_from_thread(BatchSink, sizes),
    ),
    Benchmark(
        "cast_actor",
        (Line("cast, server -> handle_cast", "M/s", TELL, 1.0),),
        lambda sizes: cast_from_process(Sink, sizes),
    ),
    Benchmark(
        "cast_actor_batch",
        (Line("cast, server -> handle_batch", "M/s", TELL, 1.0),),
        lambda sizes: cast_from_process(BatchSink, sizes),
    ),
    Benchmark(
        "call",
        (
            Line("call round trip, thread -> server", "/s", "Pykka ask 22,200", 15_000),
            Line("call round trip, server -> server", "/s", "Pykka ask 22,200", 15_000),
        ),
        calls,
    ),
    Benchmark(
        "start",
        (
            Line("start of a server, init answered", "us", "Pykka start 80, does not wait"),
            Line("start + stop of a server", "us", "Pykka start + stop 115"),
        ),
        starts,
    ),
    Benchmark(
        "memory",
        (
            Line("1,000 idle supervised servers, each", "KiB", "Pykka actor 17"),
            Line("the whole program with them", "MiB"),
        ),
        memory,
    ),
    Benchmark(
        "restart",
        (
            Line("crash -> restarted child, median", "us", "Pykka start 80"),
            Line("crash -> restarted child, p99", "us"),
        ),
        crash_to_restart,
    ),
    Benchmark(
        "one_for_all",
        (Line("one_for_all, 1,000 children, one killed: all restarted", "ms", "1,000 x start + stop 115"),),
        group_restart,
    ),
    Benchmark(
        "one_for_one",
        (Line("one_for_one, 1,000 children, each crashed: all restarted", "ms", "1,000 x start + stop 115"),),
        single_restarts,
    ),
    Benchmark(
        "pykka",
        (
            Line("control: bare Pykka tell, actor -> actor", "M/s", "0.71"),
            Line("control: bare Pykka ask, actor -> actor", "/s", "22,200"),
            Line("control: bare Pykka start + blocking stop", "us", "115"),
        ),
        bare_pykka,
    ),
)


def measure(benchmark: Benchmark, sizes: Sizes) -> list[Figure]:
    """Its figures, after one run that is not counted; none where this system cannot tell."""
    runs = []
    for number in range(sizes.runs + 1):
        gc.collect()  # what the last run left is not this one's to pay for
        with attach():
            values = benchmark.run(sizes)
        if number > 0:
            runs.append(values)
    return [Figure(line, tuple(column)) for line, column in zip(benchmark.lines, zip(*runs, strict=True), strict=False)]


class Neighbours:
    """What other programs took of the CPUs since this was made: figures are only as good as it is small."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._before = self._seconds()

    @property
    def share(self) -> float | None:
        """Their part of all CPUs, from 0 to 1; None where the system does not say."""
        if self._before is None:
            return None
        taken = (self._seconds() or 0.0) - self._before
        return max(0.0, taken / (time.monotonic() - self._begun) / (os.cpu_count() or 1))

    @staticmethod
    def _seconds() -> float | None:
        everybody = Path("/proc/stat")
        if not everybody.exists():
            return None
        user, nice, system, _idle, _wait, irq, softirq, steal = map(int, everybody.read_text("ascii").split()[1:9])
        ours = os.times()  # those of the interpreters that we started and waited for included
        return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK") - sum(ours[:4])


def number_text(value: float) -> str:
    """Three digits that matter, with thousands apart."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def row(figure: Figure) -> str:
    """Its line of the table."""
    line, median = figure.line, figure.median
    low, high = number_text(min(figure.values)), number_text(max(figure.values))
    measured = f"{number_text(median)} [{low}..{high}] {line.unit}"
    budget = ""
    if line.budget is not None:
        budget = f"{line.budget:,.0f} {line.unit}, {'met' if median >= line.budget else 'MISSED'}"
    return f"{line.what:<57}| {measured:<33}| {line.limit:<30}| {budget}".rstrip()


def main() -> None:
    """Measure what the command line asks for, and print it."""
    parser = argparse.ArgumentParser(description="What the OTP floor costs.")
    parser.add_argument("--quick", action="store_true", help="smaller sizes, under 20 s")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON, all values included")
    parser.add_argument("--only", metavar="NAME", choices=[benchmark.name for benchmark in BENCHMARKS])
    parser.add_argument("--memory-here", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    logging.basicConfig(stream=Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - open as long as the log is
    if options.memory_here is not None:
        print(json.dumps(memory_here(options.memory_here)))
        return
    sizes = QUICK if options.quick else FULL
    pythons = f"CPython {platform.python_version()}, pykka {version('pykka')}"
    machine = f"{pythons}, {os.cpu_count()} CPUs, {platform.system()}"
    neighbours = Neighbours()
    chosen = [benchmark for benchmark in BENCHMARKS if options.only in {None, benchmark.name}]
    if options.json:
        figures = [figure for benchmark in chosen for figure in measure(benchmark, sizes)]
        lines = [asdict(figure.line) | {"median": figure.median, "values": figure.values} for figure in figures]
        print(
            json.dumps(
                {"machine": machine, "others": neighbours.share, "sizes": asdict(sizes), "figures": lines}, indent=2
            )
        )
        return
    print(f"{machine}; median [lowest..highest] of {sizes.runs} runs\n")
    print(f"{'measurement':<57}| {'measured':<33}| {'limits page':<30}| budget")
    print(f"{'-' * 57}|{'-' * 34}|{'-' * 31}|{'-' * 20}")
    for benchmark in chosen:
        for figure in measure(benchmark, sizes):
            print(row(figure), flush=True)
    if neighbours.share is not None:
        print(f"\nOther programs took {neighbours.share:.0%} of the CPUs meanwhile.")


if __name__ == "__main__":
    main()
