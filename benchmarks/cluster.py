"""What a cluster of nodes on this machine does: rates by where the workers are, recovery, joining, and what idling costs.

    python benchmarks/cluster.py           some minutes
    python benchmarks/cluster.py --quick   smaller sizes

All nodes share this machine's CPUs, so two nodes are not faster than one: what is to be seen is what the wire costs. Nodes
listen on 127.0.0.1 to 3. Recovery is measured by the tasks themselves, on the machine's monotonic clock.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from benchmarks.stand import LONG, ROOT, Line, Stand, Table, arguments, cpu_seconds, offspring, until
from otpq.client.calls import Call

if TYPE_CHECKING:
    from types import TracebackType

    from otpq.client.client import Client


class Worker:
    """A node without a store, which joins the stand's."""

    def __init__(self, stand: Stand, place: int, workers: int) -> None:
        port = stand.name.rpartition(":")[2]
        self.name = f"w{place}@127.0.0.{place}:{port}"
        words = [
            "--name", self.name, "--join", stand.name, "--app", f"{stand.home / 'jobs.py'}:app", "--workers", str(workers),
            "--dir", str(stand.home / f"node{place}"), "--cookie-file", str(stand.home / "cookie"), "--grace", "1",
        ]  # fmt: skip
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("OTPQ_", "PYTHON"))}
        environment = {**kept, "HOME": str(stand.home), "PYTHONPATH": str(ROOT), "OTPQ_LOG_LEVEL": "ERROR"}
        begun = time.monotonic()
        self.process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", "otpq", "node", *words], env=environment, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline().startswith("ready "), "it did not join"
        self.joined_in = time.monotonic() - begun

    def pids(self) -> list[int]:
        """Its processes."""
        found = [self.process.pid]
        for pid in found:
            found += offspring(pid)
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.process.terminate()
        self.process.wait(LONG)
        assert self.process.stdout is not None
        self.process.stdout.close()


def rate(client: Client, count: int) -> float:
    """No-op tasks a second, submitted a thousand at a time."""
    begun = time.monotonic()
    handles = client.submit_many("noop" for _ in range(count))
    for handle in handles:
        handle.get(LONG)
    return count / (time.monotonic() - begun)


def rates(client: Client, count: int, runs: int) -> list[float]:
    """So many runs of it, after one that is not counted."""
    rate(client, count)
    return [rate(client, count) for _ in range(runs)]


def recovery(stand: Stand, client: Client, number: int) -> float:
    """Milliseconds from the SIGKILL of a worker node until its task runs elsewhere."""
    client.scale("default", 0)
    with Worker(stand, 2, 1) as killed, Worker(stand, 3, 0) as _spare:
        file = stand.home / f"runs-{number}"
        handle = client.submit(Call("stay", (str(file),)), LONG)
        until(lambda: file.exists() and file.read_text().count("\n") == 1, "it runs")
        client.scale("default", 1)  # now the others have a place for it, too
        at = time.monotonic()
        killed.process.send_signal(signal.SIGKILL)
        handle.get(LONG)
    return (float(file.read_text().splitlines()[1].split()[1]) - at) * 1e3


def bytes_of_loopback() -> int:
    """Bytes that the loopback has carried."""
    for line in Path("/proc/net/dev").read_text("ascii").splitlines():
        if line.strip().startswith("lo:"):
            return int(line.split(":")[1].split()[0])
    return 0


def main() -> None:
    """Measure, and print."""
    options = arguments(__doc__).parse_args()
    count, runs = (4_000, 3) if options.quick else (20_000, 5)
    table = Table.begin("A cluster on one machine", options)
    with Stand(1) as stand:
        client = stand.warm()
        local = rates(client, count, runs)
        table.add(Line("no-op, one local worker", "/s"), local)
        client.scale("default", 0)
        with Worker(stand, 2, 1) as one:
            remote = rates(client, count, runs)
            table.add(Line("no-op, one worker on another node", "/s"), remote)
            share = statistics.median(remote) / statistics.median(local)
            table.add(Line("the same, share of local", "", least=0.7), [share])
            with Worker(stand, 3, 1) as two:
                table.add(Line("no-op, a worker on each of two other nodes", "/s"), rates(client, count, runs))
                time.sleep(3)
                pids = [stand.pid, *one.pids(), *two.pids(), *stand.warden(), *stand.children()]
                before, cpu, at = bytes_of_loopback(), cpu_seconds(pids), time.monotonic()
                time.sleep(5 if options.quick else 20)
                seconds = time.monotonic() - at
                table.add(Line("idle cluster of 3: bytes", "B/s"), [(bytes_of_loopback() - before) / seconds])
                table.add(Line("idle cluster of 3: CPU", "% of one"), [(cpu_seconds(pids) - cpu) / seconds * 100])
        joins = []
        for _ in range(runs):
            with Worker(stand, 2, 0) as node:
                joins.append(node.joined_in * 1e3)
        table.add(Line("start of a node until it has joined", "ms"), joins)
        times = [recovery(stand, client, number) for number in range(runs)]
        table.add(Line("SIGKILL of a node until its task runs elsewhere", "ms", most=500), times)
    table.end()


if __name__ == "__main__":
    main()
