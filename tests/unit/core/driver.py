"""A core with a store and a clock in the hands of a test: says what happens, looks at what is wanted."""

from typing import Any, TypeVar

from otpq.core import effects as ef
from otpq.core import events as ev
from otpq.core.core import QueueCore
from otpq.core.records import Needs, TaskRow
from otpq.core.state import Config
from tests.property.core.dict_store import DictStore

E = TypeVar("E")
HANDLERS = ("f", "g", "h")


class Driver:
    """Plays the queue server; one pool `s` on node n@h (incarnation 1) unless a test opens others."""

    def __init__(self, **config: Any) -> None:
        self.store = DictStore()
        self.config = Config(**config)
        self.core = QueueCore(self.store.recover(), self.config)
        self.wall = 1_000.0
        self.mono = 50.0
        self.effects: list[ef.Effect] = []
        self.needs = Needs()
        self.made = 0
        self.asked = 0
        self.received = 0

    # ------------------------------------------------------------------ stepping

    def step(self, *events: ev.Event, seconds: float = 0.0) -> list[ef.Effect]:
        self.wall += seconds
        self.mono += seconds
        now = ev.Now(self.wall, self.mono)
        self.needs = self.core.needs(now, events)
        self.effects = self.core.step(now, events, self.store.load(self.needs))
        self.core.check_invariants()
        for index, effect in enumerate(self.effects):
            if isinstance(effect, ef.Persist):
                assert index == 0
                self.store.commit(effect.changes)
            elif isinstance(effect, ef.Dispatch) and effect.session == "s":
                self.received = max(self.received, effect.number)
        assert {key: n for key, n in self.store.counts.items() if n} == self.store.counted()
        return self.effects

    def crash(self) -> None:
        """Throw the core away and make a new one from the store."""
        self.core = QueueCore(self.store.recover(), self.config)

    def all(self, kind: type[E]) -> list[E]:
        return [effect for effect in self.effects if isinstance(effect, kind)]

    def one(self, kind: type[E]) -> E:
        (effect,) = self.all(kind)
        return effect

    # ------------------------------------------------------------------- clients

    def new(self, name: str = "f", **fields: Any) -> ev.NewTask:
        self.made += 1
        return ev.NewTask(id=self.made.to_bytes(16, "big"), name=name, payload=fields.pop("payload", b"x"), **fields)

    def submit(self, count: int = 1, name: str = "f", **fields: Any) -> list[bytes]:
        tasks = [self.new(name, **fields) for _ in range(count)]
        self.step(ev.Submit(client="c", request=1, tasks=tasks))
        return [task.id for task in tasks]

    def row(self, id: bytes) -> TaskRow:
        (row,) = [row for row in self.store.rows.values() if row.id == id]
        return row

    def state(self, id: bytes) -> str:
        return self.row(id).state

    def cancel(self, *ids: bytes) -> list[str]:
        self.step(ev.Cancel(client="c", request=2, ids=ids))
        return self.answers()

    def retry(self, *ids: bytes) -> list[str]:
        self.step(ev.Retry(client="c", request=3, ids=ids))
        return self.answers()

    def answers(self) -> list[str]:
        return [reply.answer for reply in self.all(ef.Reply)]

    # --------------------------------------------------------------------- pools

    def open(self, session: str = "s", node: str = "n@h", incarnation: str = "1", **fields: Any) -> None:
        """Open a session; `handlers` are all that the tests name, unless a test tells them, be it only by their names."""
        fields.setdefault("queues", ("default",))
        handlers = fields.pop("handlers", HANDLERS)
        if handlers is not None:
            handlers = {name: handlers[name] if isinstance(handlers, dict) else b"" for name in handlers}
        self.step(ev.SessionOpened(session=session, node=node, incarnation=incarnation, handlers=handlers, **fields))

    def ask(self, batches: int = 1, session: str = "s", held: tuple[int, ...] | None = None) -> list[ef.Dispatch]:
        """Ask for more batches, and step until nothing more comes."""
        if session == "s":
            self.asked += batches
        asked = self.asked if session == "s" else batches
        received = self.received if session == "s" else 0
        if held is None:
            held = tuple(lease.lease for lease in self.store.leases.values() if lease.session == session)
        self.step(ev.Demand(session=session, asked=asked, received=received, held=held))
        sent = self.all(ef.Dispatch)
        while self.core.wake(ev.Now(self.wall, self.mono)) == 0:
            before = self.effects
            self.step()
            sent += self.all(ef.Dispatch)
            self.effects = before + self.effects
        return sent

    def take(self, session: str = "s") -> ef.Dispatch:
        """Ask for one batch and get it."""
        (batch,) = self.ask(1, session)
        return batch

    def tell(self, batch: ef.Dispatch, *results: ev.Result) -> list[ef.Effect]:
        return self.step(ev.Results(session=batch.session, lease=batch.lease, results=list(results)))

    def succeed(self, batch: ef.Dispatch, took: float = 0.001) -> list[ef.Effect]:
        return self.tell(batch, *[self.success(row.seq, took) for row in batch.rows])

    def success(self, seq: int, took: float = 0.001) -> ev.Succeeded:
        return ev.Succeeded(seq, b"\xc0", self.wall, self.wall + took)

    def failure(self, seq: int, reason: str = "error", types: tuple[str, ...] = ("KeyError",)) -> ev.Failed:
        return ev.Failed(seq, reason, b"\x93\xa1E\xa1m\xa0", self.wall, self.wall + 0.001, None, types)

    def learn(self, runs: int = 512, took: float = 0.0001, name: str = "f") -> None:
        """Let the core learn how long a handler runs."""
        self.submit(runs, name)
        done = 0
        while done < runs:
            batch = self.take()
            self.succeed(batch, took)
            done += len(batch.rows)
