"""A bench for one worker: a warden, a blackboard, and the test in the place of its pool."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import msgpack

from otpq.core.events import Logged
from otpq.otp import Attached, Cast, Exit, Kill, cast, exit
from otpq.worker.blackboard import Blackboard
from otpq.worker.orders import Answers, ChildReady, Job, Told, Welcome, Work, WorkerUp
from otpq.worker.packets import Item
from otpq.worker.warden_server import Warden
from otpq.worker.worker import Worker
from tests.integration.worker.rounds import eventually

if TYPE_CHECKING:
    from otpq.worker.pool_config import PoolConfig


class Bench:
    """The pool's side of one worker."""

    def __init__(self, me: Attached, config: PoolConfig, slot: int = 0) -> None:
        self.me = me
        self.config = config
        self.slot = slot
        self.told: list[Any] = []
        """What the worker told of its tasks, in passing."""
        self.seqs = itertools.count(1)
        self.board = Blackboard.create(config.blackboard, 2 * config.cells)
        me.registry.register(config.pool, me.pid)
        self.warden = Warden.start_link(config.directory, config.node, config.incarnation, name=config.warden)
        self.worker = Worker.start_link(config, slot)

    def hear(self, kind: Any, timeout: float = 10.0) -> Any:
        """The next word of the worker, which is of this kind; what it tells of its tasks goes to `told`."""
        message = self.me.receive(timeout)
        while isinstance(message, Exit) or (isinstance(message, Cast) and isinstance(message.request, Told)):
            if isinstance(message, Cast):
                self.told += message.request.events
            message = self.me.receive(timeout)
        assert isinstance(message, Cast)
        assert isinstance(message.request, kind), message
        return message.request

    def answers(self, *seqs: int) -> dict[int, Any]:
        """What each of these was answered with: its result, or a word."""
        found: dict[int, Any] = {}
        while set(found) != set(seqs):
            answer = self.hear(Answers)
            found.update((each.seq, each) for each in answer.results)
            found.update(dict.fromkeys(answer.returned, "returned"))
            found.update(dict.fromkeys(answer.interrupted, "interrupted"))
        return found

    def until_told(self, kind: type, timeout: float = 10.0) -> Any:
        """The next event of this kind that the worker tells, all else that it says being nothing but events."""
        while not (found := [event for event in self.told if isinstance(event, kind)]):
            message = self.me.receive(timeout)
            assert isinstance(message, Cast)
            assert isinstance(message.request, Told), message
            self.told += message.request.events
        self.told.remove(found[0])
        return found[0]

    def lines(self, seq: int) -> list[list[Any]]:
        """The log of a task, as it was told so far."""
        logged = [event for event in self.told if isinstance(event, Logged) and event.seq == seq]
        return [line for event in logged for line in msgpack.unpackb(event.lines)]

    def start(self) -> int:
        """Have the child started; its pid."""
        assert self.hear(WorkerUp) == WorkerUp(self.slot, self.worker)
        cast(self.worker, Welcome())
        return self.ready()

    def ready(self) -> int:
        return int(self.hear(ChildReady).child)

    def give(self, lease: int, *calls: tuple[Any, ...], timeout: float | None = 300.0, packet: int = 1) -> list[int]:
        jobs = [self.job(name, args, timeout) for name, *args in calls]
        cast(self.worker, Work(lease, jobs, packet))
        return [job.seq for job in jobs]

    def job(self, name: str, args: list[Any], timeout: float | None, memory: float | None = None) -> Job:
        seq = next(self.seqs)
        item = Item(seq, bytes(16), name, 1, b"", msgpack.packb([args, {}]))
        return Job(seq, name, timeout, at_most_once=False, item=item, size=100, memory=memory)

    def running(self) -> set[int]:
        """The tasks that the worker's cells name."""
        first = self.slot * self.config.cells
        views = [self.board.read(first + cell) for cell in range(self.config.parallel)]
        return {view.running.seq for view in views if view.running is not None}

    def until_running(self, *seqs: int) -> None:
        eventually(lambda: self.running() == set(seqs))

    def close(self) -> None:
        """End all of it."""
        exit(self.worker, Kill())
        exit(self.warden, Kill())
        self.board.close()
