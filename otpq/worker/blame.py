"""What the end of a child means for the jobs that stood in front of it.

One that was running when its child ended is *charged* for it, if it was the only one: it crashed, took too long, took too
much memory. Of several nobody can tell which it was; all of them are *interrupted*, uncharged, and travel alone from then on,
so that the guilty one is found out. Where the worker ended the child because of one job, the others had no part in it and are
*returned*, as is what had not begun.
"""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from otpq.core.events import Cancelled, Discarded, Failed, Result
from otpq.task import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from otpq.worker.blackboard import Entry
    from otpq.worker.orders import Job

__all__ = ["Answered", "Cause", "Death", "Verdict", "blame", "describe_exit", "pack_failure"]


class Cause(Enum):
    """Why a worker ends its child."""

    TIMEOUT = "timeout"
    MEMORY = "memory"
    CANCELLED = "cancelled"
    DROPPED = "dropped"
    """The lease is no longer ours."""
    STUCK = "stuck"
    """It was stopped, takes no packets, or its event loop stands still."""
    DRAINED = "drained"
    WARDEN_LOST = "warden lost"
    """All children of the node ended with their warden, and what a task may have had to do with it nobody knows."""


class Verdict(NamedTuple):
    """That a child is to be ended, why, and because of which job (None: of none, or of several)."""

    cause: Cause
    seq: int | None = None
    detail: str = ""


class Death(NamedTuple):
    """The end of a child, in so far as its jobs care."""

    verdict: Verdict | None
    """Why the worker ended it; None: it ended by itself."""
    words: str
    """How it ended."""
    ran: bytes
    """For the results."""


@dataclass(slots=True)
class Answered:
    """What became of jobs of one lease."""

    results: list[Result] = field(default_factory=list)
    returned: list[int] = field(default_factory=list)
    interrupted: list[int] = field(default_factory=list)
    failed: int = 0

    def fail(self, job: Job, running: Entry, death: Death, reason: Reason, types: tuple[str, ...]) -> None:
        """Charge a job for the end of its child."""
        words = death.words if death.verdict is None else death.verdict.detail
        error = pack_failure(types[0], words)
        self.failed += 1
        self.results.append(Failed(job.seq, reason.value, error, running.started, _end_of(running), death.ran, types))


def blame(held: Iterable[tuple[int, Job]], begun: int, running: Sequence[Entry], death: Death) -> dict[int, Answered]:
    """The fate of each job that is not answered for, by lease.

    Args:
        held: Lease and job, in the order in which the child got or was to get them.
        begun: How many of the first of them it began.
        running: What its blackboard names.
        death: How it ended.
    """
    answers: dict[int, Answered] = {}
    named = {(entry.lease, entry.seq): entry for entry in running}
    is_only = len(running) == 1
    for place, (lease, job) in enumerate(held):
        answer = answers.setdefault(lease, Answered())
        entry = named.get((lease, job.seq))
        if entry is not None:
            _judge(answer, job, entry, death, is_only=is_only)
        elif place < begun:
            answer.interrupted.append(job.seq)  # it ran to its end, and the answer is lost
        else:
            answer.returned.append(job.seq)
    return answers


def _judge(answer: Answered, job: Job, running: Entry, death: Death, *, is_only: bool) -> None:
    """Answer for a job that was running when the child ended; `is_only`: no other was."""
    verdict = death.verdict
    cause = None if verdict is None else verdict.cause
    is_named = verdict is not None and verdict.seq == job.seq
    if cause is Cause.WARDEN_LOST or _is_in_doubt(verdict, is_only=is_only):
        answer.interrupted.append(job.seq)
    elif cause is None or cause is Cause.STUCK:
        answer.fail(job, running, death, Reason.CRASHED, ("Crashed",))
    elif is_named and cause is Cause.TIMEOUT:
        answer.fail(job, running, death, Reason.TIMEOUT, ("TimeoutError", "OSError", "Exception"))
    elif is_named and cause is Cause.MEMORY:
        answer.fail(job, running, death, Reason.MEMORY, ("MemoryError", "Exception"))
    elif is_named and cause is Cause.CANCELLED:
        answer.results.append(Cancelled(job.seq, running.started, _end_of(running), death.ran))
    elif not job.at_most_once:
        answer.returned.append(job.seq)  # ended for no fault of its own
    elif cause is Cause.DRAINED:
        # It has begun, so nobody may run it again; and after a drain there is no pool that could let the lease vanish.
        error = pack_failure("Interrupted", "the node was stopped; at most once, so it does not run again")
        answer.failed += 1
        answer.results.append(Discarded(job.seq, error, running.started, _end_of(running), death.ran))
    else:
        answer.interrupted.append(job.seq)


_OF_THE_WHOLE_CHILD: Final = frozenset({None, Cause.STUCK, Cause.MEMORY})


def _is_in_doubt(verdict: Verdict | None, *, is_only: bool) -> bool:
    """Whether any of several may be to blame: also where they were several when the verdict was given."""
    if verdict is not None and verdict.cause is Cause.MEMORY and verdict.seq is None:
        return True
    return not is_only and (None if verdict is None else verdict.cause) in _OF_THE_WHOLE_CHILD


def _end_of(running: Entry) -> float:
    return max(running.started, time.time())


def pack_failure(type_name: str, message: str) -> bytes:
    """An error that no child could pack."""
    return msgspec.msgpack.encode([type_name, message, "", [type_name]])


def describe_exit(pid: int, code: int) -> str:
    """How a child ended, in words."""
    if code >= 0:
        return f"the child (pid {pid}) ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"the child (pid {pid}) was killed by {name}"
