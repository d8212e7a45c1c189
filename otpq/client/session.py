"""What the blocking and the asyncio client share: the I/O of this process, and everything that can be prepared for it."""

from __future__ import annotations

import os
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from otpq.client.calls import as_call, new_task
from otpq.client.cell import Cell
from otpq.client.effects import Acknowledged, Submission
from otpq.client.errors import NodeUnreachable, NotAnswered
from otpq.client.ids import IdMaker
from otpq.client.io import Io, Target
from otpq.errors import UsageError
from otpq.running import running_task
from otpq.wire.messages import MAX_MESSAGE, MAX_TASKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from otpq.client.calls import Call
    from otpq.client.core import Settings
    from otpq.client.lowering import Plan
    from otpq.client.questions import Question
    from otpq.client.workflows import Flow
    from otpq.wire.messages import NewTask, Outcome
    from otpq.wire.verbs import Made, NewWorkflow

__all__ = ["CHUNKS_UNDER_WAY", "CHUNK_BYTES", "POLL", "Session"]

CHUNK_BYTES: Final = 1024 * 1024
CHUNKS_UNDER_WAY: Final = 8
"""Chunks of one `submit_many` that are sent before the first is answered."""
POLL: Final = 0.2
"""Seconds after which who follows a log, or events, asks for more."""
_TASK_BYTES: Final = 64
"""About what a task takes in a message beside its payload and its names."""

MAX_BODY: Final = MAX_MESSAGE - 64
"""Bytes of a question's body: room is left for the verb and its number."""

_inherited: Final[list[object]] = []
"""I/O of the parent, in a forked child. Kept for ever: its sockets must not be touched, and collecting them would."""


class Session:
    """The way to one node. Made once a client; in a forked child it starts anew by itself."""

    def __init__(self, target: Target, timeout: float, settings: Settings | None = None) -> None:
        self.target = target
        self.timeout = timeout
        """Seconds that a call waits for the server's answer."""
        self._settings = settings
        self._ios: dict[int, Io] = {}
        self.new_id = IdMaker().new
        self._warned: set[str] = set()

    @property
    def io(self) -> Io:
        """The I/O of this process.

        In the child of a fork the parent's thread does not exist and its sockets are not ours, so a new one is made, under a
        new session id. No lock guards this, since the fork may have happened while another thread held it: `setdefault` is
        atomic, and the `Io` that loses was never started.
        """
        pid = os.getpid()
        io = self._ios.get(pid)
        if io is None:
            _inherited.extend(self._ios.values())
            io = self._ios.setdefault(pid, Io(self.target, self._settings))
            io.start()
        return io

    def task(self, what: Call | str | Mapping[str, Any], *, strict: bool = False) -> NewTask:
        """The task that `what` asks for, packed; its parent is the task that asks, if one does."""
        return new_task(as_call(what), self.new_id(), parent=running_task.get(), strict=strict)

    def workflow(self, flow: Flow, *, strict: bool = False) -> tuple[Plan, NewWorkflow]:
        """The workflow that `flow` asks for, and its plan; its parent is the task that asks, if one does."""
        from otpq.client.lowering import new_workflow, planned

        plan = planned(flow)
        return plan, new_workflow(plan, self.new_id(), parent=running_task.get(), strict=strict)

    def warnings(self, acknowledged: Acknowledged | Made) -> list[str]:
        """What an acknowledgement warns of, each once in this session's life: a handler that nobody knows."""
        fresh = [each.message for each in acknowledged.warnings if each.message not in self._warned]
        self._warned.update(fresh)
        return fresh

    def send(self, tasks: list[NewTask]) -> tuple[Cell[Acknowledged], list[Cell[Outcome]]]:
        """Have the tasks made, as a whole; the acknowledgement and the outcomes will be in these cells."""
        ticket: Cell[Acknowledged] = Cell()
        slots: list[Cell[Outcome]] = [Cell() for _ in tasks]
        self.io.submit(Submission(tasks, slots, sum(map(_size, tasks)), ticket))
        return ticket, slots

    def ask(self, question: Question[Any]) -> Cell[bytes]:
        """Put a question; the packed answer will be in the cell."""
        io, cell, body = self.io, Cell[bytes](), question.packed()
        if len(body) > MAX_BODY:
            raise UsageError(
                f"{question.verb!r} would be a message of {len(body):,} bytes, and one has {MAX_MESSAGE:,} at most; "
                "what is large belongs into a file or a database"
            )
        io.wish(partial(io.core.ask, cell, question.verb, body))
        return cell

    def fetch(self, id: bytes) -> Cell[bytes]:
        """Ask for a large result; it will be in the cell."""
        io, cell = self.io, Cell[bytes]()
        io.wish(partial(io.core.fetch, cell, id))
        return cell

    def watch(self, id: bytes) -> Cell[Outcome]:
        """Ask how a task ends; its outcome will be in the cell."""
        io, cell = self.io, Cell["Outcome"]()
        io.wish(partial(io.core.watch, id, cell))
        return cell

    def give_up(self, cell: Cell[Any], what: str, seconds: float) -> NodeUnreachable | NotAnswered:
        """The error for a caller who has waited long enough; nothing is kept for it any more."""
        io = self.io
        io.wish(lambda _now: io.core.give_up(cell))
        why = io.why_down()
        if why is not None:
            return NodeUnreachable(self.target.shown, why, seconds)
        return NotAnswered(what, self.target.shown, seconds)

    def close(self, linger: float = 0.0) -> None:
        """End this process's I/O; what is not acknowledged has up to `linger` seconds to be."""
        io = self._ios.get(os.getpid())
        if io is None:  # before the first use, or in a child that never used it: nothing to end, but to mark
            io = self._ios.setdefault(os.getpid(), Io(self.target, self._settings))
        io.close(linger)


def chunks(tasks: Iterable[NewTask]) -> Iterator[list[NewTask]]:
    """`tasks` in order, in lists of at most 1,000 and about 1 MiB, each with one at least."""
    chunk: list[NewTask] = []
    size = 0
    for task in tasks:
        more = _size(task)
        if chunk and (len(chunk) == MAX_TASKS or size + more > CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(task)
        size += more
    if chunk:
        yield chunk


def in_thousands(ids: list[bytes]) -> Iterator[list[bytes]]:
    """`ids` in order, in lists of at most 1,000."""
    rest = iter(ids)
    while part := list(islice(rest, MAX_TASKS)):
        yield part


def _size(task: NewTask) -> int:
    whole = 0 if task.whole is None else len(task.whole)
    return _TASK_BYTES + len(task.payload) + whole + len(task.options) + len(task.name) + len(task.tags or "")
