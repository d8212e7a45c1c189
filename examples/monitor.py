"""A monitor for the console: twice a second how queues, handlers and workers stand, and between that what happened.

python examples/monitor.py                 a node with some work to watch, until it is done
python examples/monitor.py shop@127.0.0.1  a cluster that is there, until Ctrl-C
"""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING, Any

import otpq

if TYPE_CHECKING:
    from collections.abc import Iterator

app = otpq.App("monitor")
NEWS = ("failed", "retried", "expired", "worker_offline", "node_up", "node_suspected", "node_down", "gap")


@app.task(name="work", max_concurrency=3, retries=0)
def work(number: int) -> int:
    """Take a while; one in five fails."""
    time.sleep(1.0)
    if number % 5 == 0:
        raise ValueError(f"{number} is a multiple of 5")
    return number


def report(client: otpq.Client) -> Iterator[str]:
    """How all stands, in lines."""
    for name, of in client.queue_stats().items():
        slots = (
            ""
            if of["slots_in_use"] is None
            else f"; slots {of['slots_in_use']} in use, {of['slots_available']} available"
        )
        yield f"queue {name}: {of['queued']} queued, {of['running']} running, {of['pending']} pending{slots}"
        yield f"    waited {spread(of['wait']['1m'])}"
    for name, of in client.handler_stats().items():
        rates = of["rates"]["1m"]
        yield f"handler {name}: {rates['succeeded']:.1f} done/s, {rates['failed']:.1f} failed/s, ran {spread(of['run']['1m'])}"
    for of in client.worker_stats()["pools"]:
        yield f"pool {of['pool']} on {of['node']}: {of['active']} active, {of['idle']} idle, {of['offline']} offline"


def spread(percents: dict[str, Any]) -> str:
    """Percentiles of seconds, in words."""
    if not percents["count"]:
        return "never"
    return f"p50 {percents['p50']:.3g} s, p95 {percents['p95']:.3g} s, p99 {percents['p99']:.3g} s"


def line(event: otpq.Event) -> str:
    """What happened, in a line."""
    facts = " ".join(f"{name}={fact}" for name, fact in event.facts.items())
    return f"{event.time.astimezone():%H:%M:%S} {event.kind} {facts}"


def watch(client: otpq.Client, work_left: list[Any] | None = None) -> None:
    """Tell how all stands and what happens, until nothing of the work is left, or for ever."""
    cursor = None
    while True:
        is_done = work_left is not None and all(handle.ready for handle in work_left)
        for event in client.events(cursor, kinds=NEWS):
            cursor = event.cursor
            print(line(event))
        print("\n".join(report(client)), end="\n\n", flush=True)
        if is_done:
            return
        time.sleep(0.5)


def main(node: str | None = None) -> None:
    """Watch a cluster, or ten tasks that may run three at a time."""
    if node is not None:
        with otpq.connect(node) as client, contextlib.suppress(KeyboardInterrupt):
            watch(client)
        return
    with otpq.start(app, workers=4) as here:
        list(here.client.events())  # from now on events of tasks are kept
        watch(here.client, [work.submit(number) for number in range(1, 11)])


if __name__ == "__main__":
    main(*sys.argv[1:])
