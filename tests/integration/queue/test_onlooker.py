"""What the queue server tells a console, if there is one: a cast a step, and never a wait."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import msgpack

from otpq.client.calls import Call
from otpq.core import effects as ef
from otpq.core import events as ev
from otpq.otp import GenServer, call, cast, stop
from otpq.queue.onlooker import CONSOLE
from tests.integration.queue.bench import SESSION, Bench

if TYPE_CHECKING:
    from queue import SimpleQueue

    from otpq.client.client import Client
    from otpq.queue.messages import RunsEnded

LONG = 10.0


class Reader(GenServer):
    """A console that passes on what it is told, when it may."""

    mailbox_limit = 1

    def init(self, told: SimpleQueue[RunsEnded], may_read: threading.Event) -> None:
        self.told, self.may_read = told, may_read

    def handle_cast(self, request: Any) -> None:
        self.told.put(request)
        assert self.may_read.wait(LONG)


class Watched:
    """A bench with such a console."""

    def __init__(self, bench: Bench) -> None:
        from queue import SimpleQueue

        self.bench = bench
        self.told: SimpleQueue[RunsEnded] = SimpleQueue()
        self.may_read = threading.Event()
        self.console = Reader.start(self.told, self.may_read, name=CONSOLE, registry=bench.me.registry)
        bench.open_pool()
        self.asked = 0

    def dispatch(self) -> ef.Dispatch:
        self.asked += 1
        self.bench.ask(self.asked)
        dispatch: ef.Dispatch = self.bench.effect(ef.Dispatch)
        return dispatch

    def run_one(self, client: Client) -> str:
        handle = client.submit(Call("echo", (1,)))
        self.bench.succeed(self.dispatch())
        handle.get(timeout=LONG)
        call(self.bench.server, ("status",))  # the console is told last: of this end too, when the server answers
        return handle.id

    def close(self) -> None:
        self.may_read.set()
        stop(self.console)


def test_a_console_hears_what_ended_and_what_will_run_again(bench: Bench, client: Client) -> None:
    watched = Watched(bench)
    watched.may_read.set()
    done = watched.run_one(client)
    (run,) = watched.told.get(timeout=LONG).runs
    assert (run.id.hex(), run.name, run.state, run.attempt, run.began, run.ended) == (
        done, "echo", "succeeded", 1, 1.0, 2.0,
    )  # fmt: skip

    again = client.submit(Call("echo", (2,), retries=1, retry_delay=3600))
    dispatch = watched.dispatch()
    (row,) = dispatch.rows
    error = msgpack.packb(["ValueError", "no", ""])
    failed: ev.Result = ev.Failed(seq=row.seq, reason="error", error=error, started=1.0, finished=2.0)
    cast(bench.server, (ev.Results(session=SESSION, lease=dispatch.lease, results=[failed]),))
    (run,) = watched.told.get(timeout=LONG).runs
    assert (run.id.hex(), run.state, run.attempt, run.error) == (again.id, "retrying", 1, error)
    watched.close()


def test_a_console_that_stands_still_holds_nobody_up_and_hears_what_it_missed(bench: Bench, client: Client) -> None:
    watched = Watched(bench)
    first = watched.run_one(client)
    assert [run.id.hex() for run in watched.told.get(timeout=LONG).runs] == [first]
    second = watched.run_one(client)  # waits in the mailbox, of which the limit is one
    for _ in range(3):
        watched.run_one(client)
    watched.may_read.set()
    waiting = watched.told.get(timeout=LONG)
    assert ([run.id.hex() for run in waiting.runs], waiting.missed) == ([second], 0)
    last = watched.run_one(client)
    told = watched.told.get(timeout=LONG)
    assert ([run.id.hex() for run in told.runs], told.missed) == ([last], 3)
    watched.close()
