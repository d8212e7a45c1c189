"""The Pruner with a real queue server and store, and a clock that the test sets."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from otpq.client.calls import Call
from otpq.client.questions import Selector
from otpq.core import effects as ef
from otpq.otp import stop
from otpq.queue.pruner import Pruner
from otpq.queue.retention import Retention
from otpq.store.errors import CommitRefused
from tests.integration.queue.test_queue_server import Refusing

if TYPE_CHECKING:
    from otpq.client.client import Client
    from otpq.otp import Pid
    from tests.integration.queue.bench import Bench

DAY = 86_400.0


class Clock:
    """Real time, moved on by a test."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self.looks = 0

    def __call__(self) -> float:
        self.looks += 1
        return time.time() + self.ahead

    def wait_looks(self, looks: int) -> None:
        wanted = self.looks + looks
        while self.looks < wanted:
            threading.Event().wait(0.01)


def start_pruner(bench: Bench, retention: Retention, clock: Clock) -> Pid:
    return Pruner.start("queue_server", retention, clock, registry=bench.me.registry)


def quick(**states: float) -> Retention:
    """As given, and a handler whose short time has the Pruner begin a walk every 20 ms."""
    return Retention(states, {"nobody": {"succeeded": 0.0}})


def test_each_goes_after_its_own_time_and_what_has_not_ended_never(bench: Bench, client: Client) -> None:
    bench.open_pool()
    done = client.submit_many(Call("done", (n,)) for n in range(700))
    asked = ended = 0
    while ended < 700:
        asked += 1
        bench.ask(asked)
        dispatch = bench.effect(ef.Dispatch)
        bench.succeed(dispatch, finished=time.time())
        bench.effect(ef.Committed)
        ended += len(dispatch.rows)
    cancelled = client.submit_many(Call("over", (n,), {}, delay=3600) for n in range(300))
    client.cancel(Selector(name="over"))
    waiting = [handle.id for handle in client.submit_many(Call("later", (n,), {}, delay=9e6) for n in range(50))]
    again = [handle.id for handle in cancelled[:20]]
    clock = Clock()
    pruner = start_pruner(bench, quick(succeeded=3600.0, cancelled=7200.0), clock)
    clock.wait_looks(5)
    assert len(list(client.iter_tasks())) == 1050
    assert client.retry(Selector(ids=again)) == 20
    clock.ahead = 3700.0
    while client.counts()["default"]["succeeded"]:
        clock.wait_looks(1)
    clock.wait_looks(5)
    assert client.counts()["default"]["cancelled"] == 280
    clock.ahead = 7300.0
    while client.counts()["default"]["cancelled"]:
        clock.wait_looks(1)
    clock.ahead = 1e6
    clock.wait_looks(5)
    assert {task.id for task in client.iter_tasks()} == {*waiting, *again}
    assert client.stats()["pruned"] == 980
    assert len(done) == 700
    stop(pruner)


def test_while_the_store_refuses_nothing_is_pruned_and_afterwards_it_goes_on(bench: Bench) -> None:
    stop(bench.server)
    stores: list[Refusing] = []
    make = bench.open_store

    def open_refusing() -> Any:
        stores.append(Refusing(make()))
        return stores[-1]

    bench.open_store = open_refusing
    bench.start()
    with bench.connect() as client:
        handle = client.submit(Call("over", (1,), {}, delay=3600))
        client.cancel(handle.id)
        stores[0].error = CommitRefused("full", "disk full")
        clock = Clock()
        clock.ahead = 2 * DAY
        pruner = start_pruner(bench, quick(), clock)
        clock.wait_looks(3)
        while client.health()["ok"]:
            clock.wait_looks(1)
        assert client.counts()["default"]["cancelled"] == 1, "as the store has it"
        assert [task.id for task in client.iter_tasks()] == [handle.id]
        stores[0].error = None
        while client.counts()["default"]["cancelled"]:
            clock.wait_looks(1)
        assert client.health()["ok"], "it was the store that forgot, not a step that came to nothing"
        stop(pruner)
