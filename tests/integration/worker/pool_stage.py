"""A stage for pools: a fake queue server that keeps books on every task, an app, and the words of the tests."""

from __future__ import annotations

import itertools
import os
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgpack

from otpq.core.effects import Committed, Dispatch, Stale
from otpq.core.events import (
    Cancelling,
    Demand,
    Discarded,
    Failed,
    HandedBack,
    Logged,
    Progressed,
    Results,
    Running,
    SessionClosed,
)
from otpq.core.records import TaskRow
from otpq.otp import Attached, GenServer, Pid, Supervisor, attach, cast, stop
from otpq.queue.messages import Beat, Beaten, OpenPool, PoolAnswer, PoolFacts, PoolOrder, Reload, Scale
from otpq.task import Options
from otpq.worker.descendants import marked
from otpq.worker.pool import Pool
from otpq.worker.pool_config import PoolConfig
from otpq.worker.pool_tree import pool_tree
from otpq.worker.spawn import MARK
from tests.integration.worker.rounds import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

APP = """
import os, signal, sys, time

def add(a, b): return a + b
def nap(seconds): time.sleep(seconds)
def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.002)
def pid(): return os.getpid()
def fail(): raise ValueError("no")
def die(number): os.kill(os.getpid(), number)
def leave(code): os._exit(code)
def hang():
    import re
    re.match(r"(a+)+b", "a" * 64)
def daemon():
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        time.sleep(60)
        os._exit(0)
def note(path, text):
    with open(path, "a") as file:
        file.write(text + "\\n")
def note_and_wait(path, gate):
    note(path, str(os.getpid()))
    wait_for(gate)
def close_all():
    os.closerange(3, 64)
def stop_clock():
    from tests.integration.worker.busy_app import stop_clock
    stop_clock()

from types import SimpleNamespace
app = SimpleNamespace(tasks={
    each.__name__: SimpleNamespace(handler=each, declaration=b"")
    for each in (add, nap, wait_for, pid, fail, die, leave, hang, daemon, note, note_and_wait, close_all, stop_clock)
})
from otpq.task import Options
app.tasks["declared"] = SimpleNamespace(handler=nap, declaration=Options.of(retries=0, timeout=7).pack())
"""


class Books:
    """What the fake queue server knows; it outlives its crashes, as a store does."""

    def __init__(self) -> None:
        self.seqs = itertools.count(1)
        self.leases = itertools.count(1)
        self.queued: list[TaskRow] = []
        self.rows: dict[int, TaskRow] = {}
        self.open: dict[int, list[int]] = {}
        self.ended: dict[int, Any] = {}
        self.handed_back: Counter[int] = Counter()
        self.interrupted: Counter[int] = Counter()
        self.events: list[Any] = []
        self.twice: list[int] = []
        self.facts: list[PoolFacts] = []
        self.mute = False
        """Whether nothing is committed for now."""
        self.is_deaf = False
        """Whether no sign of life is acknowledged."""


class FakeQueueServer(GenServer):
    """As the core deals with one session, in little: batches for demand, commits for results."""

    def init(self, books: Books, batch: int) -> None:
        self.books = books
        self.batch = batch
        self.pool: Pid | None = None
        self.session = ""
        self.sent: int | None = None
        self.asked = 0
        self.arrived: set[int] = set()
        self.numbers: dict[int, int] = {}

    def handle_cast(self, said: Any) -> None:
        for each in said if isinstance(said, tuple) else (said,):  # what the pool tells, or what the test tells
            self.hear(each)
        self.dispatch()

    def hear(self, said: Any) -> None:
        books = self.books
        if isinstance(said, list):
            books.rows.update((row.seq, row) for row in said)
            books.queued.extend(said)
        elif isinstance(said, PoolFacts | Beat):
            self.hear_sign_of_life(said)
        elif isinstance(said, OpenPool):
            self.pool, self.session, self.sent = said.pid, said.event.session, None
        elif isinstance(said, Results):
            self.commit(said.lease, [each.seq for each in said.results], said)
        elif isinstance(said, HandedBack):
            self.commit(said.lease, list(said.seqs), said)
        elif isinstance(said, Demand):
            self.hear_demand(said)
        elif isinstance(said, SessionClosed):
            self.asked = 0
        elif not isinstance(said, Running | Cancelling | PoolAnswer | Progressed | Logged):
            assert self.pool is not None
            cast(self.pool, (said,))  # an effect, from the test
        if not isinstance(said, list | Beat):
            books.events.append(said)

    def hear_sign_of_life(self, said: PoolFacts | Beat) -> None:
        if isinstance(said, PoolFacts):
            self.books.facts.append(said)
        elif not self.books.is_deaf:
            cast(said.pid, Beaten(said.sent_ns))

    def commit(self, lease: int, seqs: list[int], said: Results | HandedBack) -> None:
        books = self.books
        if books.mute:
            return
        assert self.pool is not None
        here = [seq for seq in seqs if seq in books.open.get(lease, ())]
        for seq in here:
            books.open[lease].remove(seq)
        if isinstance(said, Results):
            for each in said.results:
                if each.seq in here:
                    if each.seq in books.ended:
                        books.twice.append(each.seq)
                    books.ended[each.seq] = each
        else:
            books.handed_back.update(here)
            books.queued[:0] = [books.rows[seq] for seq in here]
        if here:
            cast(self.pool, (Committed(session=self.session, lease=lease, seqs=tuple(here)),))
        if len(here) < len(seqs):
            cast(self.pool, (Stale(session=self.session, lease=lease, seqs=tuple(set(seqs) - set(here))),))

    def hear_demand(self, said: Demand) -> None:
        books = self.books
        self.asked = said.asked
        if self.sent is None:
            self.sent = said.received
        for lease in [lease for lease, seqs in books.open.items() if seqs]:
            if lease in said.held:
                self.arrived.add(lease)
            elif lease in self.arrived and not books.mute:  # it vanished
                seqs, books.open[lease] = books.open[lease], []
                books.interrupted.update(seqs)
                books.queued.extend(books.rows[seq] for seq in seqs)
            elif lease not in self.arrived:  # it may have been lost on the way, or be on it still
                self.send(lease, self.numbers.get(lease, 0))

    def dispatch(self) -> None:
        books = self.books
        while self.pool is not None and self.sent is not None and self.sent < self.asked and books.queued:
            rows, books.queued[: self.batch] = books.queued[: self.batch], []
            self.sent += 1
            lease = next(books.leases)
            books.open[lease] = [row.seq for row in rows]
            self.numbers[lease] = self.sent
            self.send(lease, self.sent)

    def send(self, lease: int, number: int) -> None:
        assert self.pool is not None
        rows = [self.books.rows[seq] for seq in self.books.open[lease]]
        cast(self.pool, (Dispatch(session=self.session, lease=lease, number=number, rows=rows),))


class Stage:
    """One node's pool tree and its fake queue server."""

    def __init__(self, me: Attached, config: PoolConfig, batch: int) -> None:
        self.me = me
        self.config = config
        self.batch = batch
        self.books = Books()
        self.numbers = itertools.count(1)
        self.server = self.start_server()
        self.tree = Supervisor.start_link([pool_tree(config)], max_restarts=0)

    def start_server(self) -> Pid:
        self.server = FakeQueueServer.start(self.books, self.batch, name="queue_server", registry=self.me.registry)
        return self.server

    @property
    def pool(self) -> Pid:
        pid = self.me.registry.whereis(self.config.pool)
        assert pid is not None
        return pid

    @property
    def status(self) -> dict[str, Any]:
        return Pool.status(self.pool)

    def children(self) -> list[int]:
        return [worker["child"] for worker in self.status["workers"] if worker["child"] is not None]

    def order(self, order: Scale | Reload) -> dict[str, Any]:
        """What comes of an operator's order."""
        number = next(self.numbers)
        cast(self.pool, PoolOrder(number, order))
        answers: list[PoolAnswer] = []

        def look() -> bool:
            answers[:] = [answer for answer in self.seen(PoolAnswer) if answer.number == number]
            return bool(answers)

        self.until(look)
        return answers[0].facts

    def seats(self) -> dict[int, int | None]:
        """The child of each worker that is not leaving."""
        return {each["worker"]: each["child"] for each in self.status["workers"] if not each["leaving"]}

    def wait_ready(self) -> None:
        self.until(lambda: len(self.children()) == self.config.size)

    def give(self, name: str, *args: Any, **options: Any) -> int:
        """Submit one task; its seq."""
        return self.give_many(1, name, *args, **options)[0]

    def give_many(self, count: int, name: str, *args: Any, **options: Any) -> list[int]:
        """Submit equal tasks at once, so that they travel in full batches."""
        return self.give_each(*((name, *args) for _ in range(count)), **options)

    def give_each(self, *calls: tuple[Any, ...], **options: Any) -> list[int]:
        """Submit (name, argument, ...) at once."""
        rows = [self._row(name, args, options) for name, *args in calls]
        cast(self.server, rows)
        return [row.seq for row in rows]

    def _row(self, name: str, args: list[Any], options: dict[str, Any]) -> TaskRow:
        seq = next(self.books.seqs)
        packed = Options.of(**options).pack()
        payload = msgpack.packb([args, {}])
        id = seq.to_bytes(16, "big")
        return TaskRow(seq, id, name, "default", "", 5, "queued", 0.0, None, 0.0, 0.0, packed, payload)

    def until_given(self, seq: int) -> int:
        """Wait until it is in an open lease, which it gives."""
        self.until(lambda: any(seq in seqs for seqs in list(self.books.open.values())))
        return next(lease for lease, seqs in self.books.open.items() if seq in seqs)

    def tell(self, effect: Any) -> None:
        cast(self.server, effect)

    def until(self, condition: Callable[[], object], timeout: float = 20.0) -> None:
        end = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < end, f"never; ended {len(self.books.ended)}, {self.status}"
            time.sleep(0.005)

    def result(self, seq: int, timeout: float = 20.0) -> Any:
        self.until(lambda: seq in self.books.ended, timeout)
        return self.books.ended[seq]

    def until_running(self, seq: int) -> dict[str, Any]:
        found: list[dict[str, Any]] = []

        def look() -> bool:
            found[:] = [worker for worker in self.status["workers"] if worker["seq"] == seq]
            return bool(found)

        self.until(look)
        return found[0]

    def seen(self, kind: type) -> list[Any]:
        return [event for event in list(self.books.events) if isinstance(event, kind)]

    def survivors(self) -> list[int]:
        return marked(f"{MARK}={self.config.incarnation}")


def error_of(result: Failed | Discarded) -> tuple[str, str, str]:
    assert result.error is not None
    kind, message, trace, *_ = msgpack.unpackb(result.error)
    return kind, message, trace


@contextmanager
def staged(directory: Path, *, size: int = 2, batch: int = 10, **settings: Any) -> Iterator[Stage]:
    app = directory / "pool_app.py"
    app.write_text(APP)
    incarnation = f"{directory.name}-{os.getpid()}"
    config = PoolConfig(
        node="a@test", incarnation=incarnation, directory=directory, app=f"{app}:app", size=size, **settings
    )
    with attach(trap_exit=True) as me:
        stage = Stage(me, config, batch)
        try:
            yield stage
        finally:
            stop(stage.tree)
            stop(stage.server)
            eventually(lambda: not stage.survivors())
