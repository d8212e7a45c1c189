"""What stands in front of one child, as a value: jobs it was sent or is to be sent, and what their ends mean.

Jobs wait as *chunks*, which become packets. A chunk is about a millisecond of work, since a batch is about twenty: what a
child has not received can be taken back, and a packet is received whole.

A child runs what it receives in its order and answers in that order, and the blackboard counts the tasks that it began. So
when it dies it is known exactly which jobs it had begun: as many of the first unanswered ones as the count is ahead of the
answers. The one that the blackboard names is to blame; of those before it, which ran to their end, the answers are lost:
they are *interrupted*, and a task that ruins its child without dying in it is found out by that in the end.
"""

from __future__ import annotations

import signal
import time
from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from otpq.core.events import Cancelled, Discarded, Failed, Result, Succeeded
from otpq.task import Reason
from otpq.worker.packets import Outcome, pack_packet, unpack_packet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from otpq.worker.blackboard import Entry, SlotView
    from otpq.worker.orders import Job
    from otpq.worker.reports import Results

__all__ = ["Answered", "Cause", "Tray", "Verdict", "describe_exit", "pack_failure"]

_CHUNKS: Final = 20
"""Into how many packets a batch is cut at most, sizes permitting."""

_CHUNK_BYTES: Final = 64 * 1024
"""A chunk is closed when it is this long, so that it travels in the socket itself."""

_DEFAULT_LOOK: Final = 0.5
_CLOSE_LOOK: Final = 0.02
"""Seconds between looks at a child: a quarter of the shortest timeout, within these bounds."""


class Cause(Enum):
    """Why a worker ends its child."""

    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    DROPPED = "dropped"
    """The lease is no longer ours."""
    STUCK = "stuck"
    """It was stopped, or takes no packets."""
    DRAINED = "drained"
    WARDEN_LOST = "warden lost"
    """All children of the node ended with their warden, and what a task may have had to do with it nobody knows."""


class Verdict(NamedTuple):
    """That a child is to be ended, why, and because of which job (None: of none)."""

    cause: Cause
    seq: int | None = None
    detail: str = ""


class _Doom(NamedTuple):
    """A job that is to be ended once it runs and the time has come."""

    cause: Cause
    at_ns: int


class _Chunk(NamedTuple):
    lease: int
    jobs: list[Job]


class _Held(NamedTuple):
    job: Job
    lease: int


class _Death(NamedTuple):
    """The end of a child, in so far as its jobs care."""

    verdict: Verdict | None
    words: str
    ran: bytes


@dataclass(slots=True)
class Answered:
    """What became of jobs of one lease."""

    results: list[Result] = field(default_factory=list)
    returned: list[int] = field(default_factory=list)
    interrupted: list[int] = field(default_factory=list)
    failed: int = 0

    def fail(self, job: Job, running: Entry, death: _Death, reason: Reason, types: tuple[str, ...]) -> None:
        """Charge a job for the end of its child."""
        words = death.words if death.verdict is None else death.verdict.detail
        error = pack_failure(types[0], words)
        self.failed += 1
        self.results.append(Failed(job.seq, reason.value, error, running.started, _end_of(running), death.ran, types))


class Tray:
    """The jobs of one child, from the moment they are given until they are answered for."""

    def __init__(self) -> None:
        self._jobs: dict[int, _Held] = {}
        self._waiting: deque[_Chunk] = deque()
        self._sent: dict[int, None] = {}
        """The jobs that the child has or will receive, in that order; those that were answered are gone."""
        self._ran = 0
        """How many tasks the child ran, by its answers and, before its time, by the blackboard."""
        self._dooms: dict[int, _Doom] = {}
        self._shortest: float | None = None

    def __len__(self) -> int:
        return len(self._jobs)

    def __contains__(self, seq: int) -> bool:
        return seq in self._jobs

    # --- on their way to the child ----------------------------------------------------------------------------------

    def give(self, lease: int, jobs: Sequence[Job]) -> None:
        """Put a batch behind what is there."""
        for job in jobs:
            self._jobs[job.seq] = _Held(job, lease)
            if job.timeout is not None and (self._shortest is None or job.timeout < self._shortest):
                self._shortest = job.timeout
        self._waiting.extend(_chunks(lease, jobs))

    def begin(self, view: SlotView) -> None:
        """A new child is about to write where `view` was read."""
        self._ran = view.begun

    def pump(self, send: Callable[[bytes], bool]) -> None:
        """Send what can be sent now; `send` puts a packet in front of the child, False if there is no room."""
        while self._waiting:
            lease, jobs = self._waiting[0]
            if not send(pack_packet(lease, [job.item for job in jobs])):
                return
            self._waiting.popleft()
            for job in jobs:
                self._sent[job.seq] = None

    def take_out(self, taken: Iterable[bytes], wanted: Callable[[int], bool]) -> dict[int, list[int]]:
        """Take out those of `wanted` that the child has not received; by lease. `pump` sends the others again.

        Args:
            taken: The packets that were taken back from the child, in their order.
            wanted: Whether a job is to be taken out, by its seq.
        """
        chunks = [self._chunk_of(packet) for packet in taken]
        for job in (job for chunk in chunks for job in chunk.jobs):
            self._sent.pop(job.seq, None)
        found: dict[int, list[int]] = {}
        left: deque[_Chunk] = deque()
        for lease, jobs in (*chunks, *self._waiting):
            out = [job.seq for job in jobs if wanted(job.seq)]
            if out:
                found.setdefault(lease, []).extend(out)
            for seq in out:
                self._forget(seq)
            rest = [job for job in jobs if job.seq in self._jobs]
            if rest:
                left.append(_Chunk(lease, rest))
        self._waiting = left
        return found

    def _chunk_of(self, packet: bytes) -> _Chunk:
        lease, items = unpack_packet(packet)
        return _Chunk(lease, [self._jobs[item.seq].job for item in items if item.seq in self._jobs])

    # --- its answers ------------------------------------------------------------------------------------------------

    def answered(self, report: Results, ran: bytes, handlers: Sequence[str]) -> Answered:
        """What a child's frame says, as the core's results. Tasks that are not in front of it are passed over."""
        answer = Answered()
        for result in report.results:
            seq, outcome, value = result.seq, result.outcome, result.value
            started, finished = result.started, result.finished
            if outcome is not Outcome.RETURNED:
                self._ran += 1
            held = self._jobs.get(seq)
            if held is None or held.lease != report.lease:
                continue
            if outcome is Outcome.SUCCEEDED:
                answer.results.append(Succeeded(seq, value, started, finished, ran))
            elif outcome is Outcome.RETURNED:
                answer.returned.append(seq)
            elif outcome is Outcome.DISCARDED:
                answer.failed += 1
                answer.results.append(Discarded(seq, value, started, finished, ran))
            else:
                if outcome is Outcome.NO_HANDLER:
                    value = _no_handler(held.job.name, handlers)  # the child's word, made clearer
                answer.failed += 1
                answer.results.append(
                    Failed(seq, Reason.ERROR.value, value, started, finished, ran, types=_types(value))
                )
            self._forget(seq)
        return answer

    def _forget(self, seq: int) -> None:
        del self._jobs[seq]
        self._sent.pop(seq, None)
        if self._dooms:
            self._dooms.pop(seq, None)
        if not self._jobs:
            self._shortest = None

    # --- limits -----------------------------------------------------------------------------------------------------

    def doom(self, seq: int, cause: Cause, at_ns: int) -> bool:
        """Have a job that the child has ended from `at_ns` (boottime) on; False if it is not in front of the child."""
        if seq in self._jobs:
            self._dooms[seq] = _Doom(cause, at_ns)
        return seq in self._jobs

    @property
    def look_every(self) -> float:
        """Seconds between two looks at the child."""
        if self._dooms:
            return _CLOSE_LOOK
        quarter = _DEFAULT_LOOK if self._shortest is None else self._shortest / 4
        return min(_DEFAULT_LOOK, max(_CLOSE_LOOK, quarter))

    def judge(self, running: Entry | None, now_ns: int) -> Verdict | None:
        """Whether what runs has to be ended, and why."""
        held = None if running is None else self._jobs.get(running.seq)
        if running is None or held is None:
            return None
        doom = self._dooms.get(running.seq)
        if doom is not None and doom.at_ns <= now_ns:
            return Verdict(doom.cause, running.seq)
        timeout = held.job.timeout
        if timeout is not None and now_ns - running.since_ns > timeout * 1e9:
            return Verdict(Cause.TIMEOUT, running.seq, f"it ran for more than {timeout:g} s")
        return None

    # --- its end ----------------------------------------------------------------------------------------------------

    def ended(self, view: SlotView, verdict: Verdict | None, words: str, ran: bytes) -> dict[int, Answered]:
        """Answer for all that is left when the child is gone; by lease.

        Args:
            view: What its blackboard says.
            verdict: Why the worker ended it; None: it ended by itself.
            words: How it ended.
            ran: For the result.
        """
        answers: dict[int, Answered] = {}
        death = _Death(verdict, words, ran)
        running = view.running
        begun = set(islice(self._sent, max(0, view.begun - self._ran)))
        for seq, (job, lease) in self._jobs.items():
            answer = answers.setdefault(lease, Answered())
            if running is not None and (running.seq, running.lease) == (seq, lease):
                self._blame(answer, job, running, death)
            elif seq in begun:
                answer.interrupted.append(seq)
            else:
                answer.returned.append(seq)
        self._jobs.clear()
        self._sent.clear()
        self._waiting.clear()
        self._dooms.clear()
        self._shortest = None
        return answers

    def _blame(self, answer: Answered, job: Job, running: Entry, death: _Death) -> None:
        """Answer for the job that was running when the child ended."""
        verdict = death.verdict
        if verdict is None or verdict.cause is Cause.STUCK:
            answer.fail(job, running, death, Reason.CRASHED, ("Crashed",))
        elif verdict.cause is Cause.WARDEN_LOST:
            answer.interrupted.append(job.seq)
        elif verdict.seq == job.seq and verdict.cause is Cause.TIMEOUT:
            answer.fail(job, running, death, Reason.TIMEOUT, ("TimeoutError", "OSError", "Exception"))
        elif verdict.seq == job.seq and verdict.cause is Cause.CANCELLED:
            answer.results.append(Cancelled(job.seq, running.started, _end_of(running), death.ran))
        elif not job.at_most_once:
            answer.returned.append(job.seq)  # ended for no fault of its own
        elif verdict.cause is Cause.DRAINED:
            # It has begun, so nobody may run it again; and after a drain there is no pool that could let the lease vanish.
            error = pack_failure("Interrupted", "the node was stopped; at most once, so it does not run again")
            answer.failed += 1
            answer.results.append(Discarded(job.seq, error, running.started, _end_of(running), death.ran))
        else:
            answer.interrupted.append(job.seq)


def _chunks(lease: int, jobs: Sequence[Job]) -> Iterable[_Chunk]:
    share = -(-len(jobs) // _CHUNKS)
    chunk: list[Job] = []
    size = 0
    for job in jobs:
        if chunk and (len(chunk) >= share or size + len(job.item) > _CHUNK_BYTES):
            yield _Chunk(lease, chunk)
            chunk, size = [], 0
        chunk.append(job)
        size += len(job.item)
    if chunk:
        yield _Chunk(lease, chunk)


def _end_of(running: Entry) -> float:
    return max(running.started, time.time())


def _types(error: bytes) -> tuple[str, ...]:
    """The name of an error's type, with and without its module: all that a child tells."""
    name = str(msgspec.msgpack.decode(error)[0])
    short = name.rpartition(".")[2]
    return (name,) if short == name else (name, short)


def _no_handler(name: str, handlers: Sequence[str]) -> bytes:
    return pack_failure("NoHandler", f"no handler named {name!r}; known: {', '.join(handlers) or 'none'}")


def pack_failure(type_name: str, message: str) -> bytes:
    """An error that no child could pack."""
    return msgspec.msgpack.encode([type_name, message, ""])


def describe_exit(pid: int, code: int) -> str:
    """How a child ended, in words."""
    if code >= 0:
        return f"the child (pid {pid}) ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"the child (pid {pid}) was killed by {name}"
