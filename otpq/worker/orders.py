"""What a pool and its workers say to each other. Values; the pool casts the first half, a worker the second."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import msgspec

from otpq.task import Options

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from otpq.core.events import Checkpointed, Logged, Progressed, Result
    from otpq.core.records import TaskRow
    from otpq.otp import Pid

__all__ = [
    "Answers",
    "CancelJob",
    "ChildGone",
    "ChildReady",
    "DropJobs",
    "End",
    "Finish",
    "Job",
    "KeptCheckpoint",
    "StaffUp",
    "TakeBackJobs",
    "Told",
    "Welcome",
    "Work",
    "WorkerUp",
    "jobs_of",
]


_ITEM_BYTES: Final = 64
"""About what an item takes beside its payload."""


class Job(msgspec.Struct, frozen=True, gc=False):
    """What pool and worker need of a task."""

    seq: int
    name: str
    timeout: float | None
    at_most_once: bool
    item: tuple[Any, ...]
    """For the child, with the fields of `packets.Item`."""
    size: int
    """Bytes that it takes in a packet, about."""
    memory: float | None = None
    """MiB that its child may have resident."""

    @property
    def attempt(self) -> int:
        """Which run of its task this is, from 1."""
        return int(self.item[3])


def jobs_of(rows: Iterable[TaskRow], declared: Mapping[str, bytes]) -> list[Job]:
    """The jobs of a batch; `declared` is as in `Dispatch`."""
    jobs = []
    for row in rows:
        timeout, at_most_once, memory = _limits(declared.get(row.name, b""), row.options)
        item = (row.seq, row.id, row.name, row.attempt + 1, row.options, row.payload, row.checkpoint)
        jobs.append(Job(row.seq, row.name, timeout, at_most_once, item, _ITEM_BYTES + len(row.payload), memory))
    return jobs


@lru_cache(maxsize=1024)
def _limits(declared: bytes, said: bytes) -> tuple[float | None, bool, float | None]:
    """Timeout, at-most-once and memory; cached, since a handler's tasks mostly share their options."""
    options = Options.unpack(declared, said)
    return options.timeout, options.at_most_once, options.memory


# ------------------------------------------------------------------ pool to worker


@dataclass(frozen=True, slots=True)
class Welcome:
    """Start your child: what your predecessor's blackboard said has been read."""


@dataclass(frozen=True, slots=True)
class Work:
    """Run these, `packet` of them to a packet."""

    lease: int
    jobs: list[Job]
    packet: int = 1
    alone: bool = False
    """Whether nothing else may be in the child while they are."""


@dataclass(frozen=True, slots=True)
class TakeBackJobs:
    """Hand back what of these the child has not received."""

    seqs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CancelJob:
    """Take it back or, if the child has it, end it when `grace` seconds are over."""

    lease: int
    seq: int
    grace: float


@dataclass(frozen=True, slots=True)
class DropJobs:
    """These are nobody's any more: tell nothing of them, and end what of them runs."""

    seqs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class KeptCheckpoint:
    """A checkpoint that a job waits for is durable."""

    seq: int
    number: int


@dataclass(frozen=True, slots=True)
class Finish:
    """Hand back what the child has not received, ask the rest to end soon and let it, and start no other child."""


@dataclass(frozen=True, slots=True)
class End:
    """As `Finish`, but at once."""


# ------------------------------------------------------------------ to the pool


@dataclass(frozen=True, slots=True)
class StaffUp:
    """The supervisor of the pool's workers is there, and has none yet."""

    supervisor: Pid


@dataclass(frozen=True, slots=True)
class WorkerUp:
    """A worker waits for its `Welcome`."""

    slot: int
    pid: Pid


@dataclass(frozen=True, slots=True)
class ChildReady:
    """Work can be given."""

    slot: int
    child: int
    handlers: dict[str, bytes]
    """What its app declares, as in `SessionOpened`."""


@dataclass(frozen=True, slots=True)
class ChildGone:
    """The child has ended; all that it had has been answered for."""

    slot: int
    error: str
    """Why, in words."""
    is_last: bool = False
    """Whether no other follows."""
    is_failing: bool = False
    """Whether it ended, or could not be started, before it was ready: the next one may do no better."""


@dataclass(frozen=True, slots=True)
class Told:
    """What jobs tell while they run, on its way to the queue server: `Progressed`, `Checkpointed`, `Logged`, in order."""

    slot: int
    events: tuple[Progressed | Checkpointed | Logged, ...]


@dataclass(slots=True)  # as `Cast`: one for each frame of a child
class Answers:
    """What became of jobs of one lease."""

    slot: int
    lease: int
    results: list[Result] = field(default_factory=list)
    returned: list[int] = field(default_factory=list)
    """They were not started and will not be."""
    interrupted: list[int] = field(default_factory=list)
    """They may have been started, and nobody can tell how they ended."""
    failed: int = 0
    """How many of the results are no successes."""
