"""What stands in front of one child, as a value: jobs it was sent or is to be sent, and what their ends mean.

Jobs wait as *chunks*, which become packets. A chunk is about a millisecond of work, by what the core knows of the handlers:
what a child has not received can be taken back, and a packet is received whole.

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
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from otpq.core.events import Cancelled, Discarded, Failed, Result, RetryLater, Snoozed, Succeeded
from otpq.task import Reason
from otpq.worker.packets import Outcome, unpack_packet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from otpq.worker.blackboard import Entry, SlotView
    from otpq.worker.orders import Job
    from otpq.worker.reports import Result as ChildResult
    from otpq.worker.reports import Results

__all__ = ["Answered", "Cause", "Tray", "Verdict", "describe_exit", "pack_failure"]

_CHUNK_BYTES: Final = 64 * 1024
"""A chunk is closed when it is this long, so that it travels in the socket itself."""

_pack: Final = msgspec.msgpack.Encoder().encode

_DEFAULT_LOOK: Final = 0.5
_MEMORY_LOOK: Final = 0.2
"""As a timeout: a task whose memory is limited is looked at each 50 ms. A program can take hundreds of MiB in that time."""
_CLOSE_LOOK: Final = 0.02
"""Seconds between looks at a child: a quarter of the shortest timeout, within these bounds."""


class Cause(Enum):
    """Why a worker ends its child."""

    TIMEOUT = "timeout"
    MEMORY = "memory"
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
        self._leases: dict[int, dict[int, Job]] = {}
        """The jobs that are not answered for, by lease and seq, in the order in which the child gets them."""
        self._waiting: deque[_Chunk] = deque()
        """Those that are still to be sent: the end of that order."""
        self._ran = 0
        """How many tasks the child ran, by its answers and, before its time, by the blackboard."""
        self._dooms: dict[int, _Doom] = {}
        self._shortest: float | None = None

    def __len__(self) -> int:
        return sum(map(len, self._leases.values()))

    def __bool__(self) -> bool:
        return bool(self._leases)

    def __contains__(self, seq: int) -> bool:
        return any(seq in jobs for jobs in self._leases.values())

    def among(self, jobs: Iterable[Job]) -> set[int]:
        """Which of `jobs` are here already, by their seqs."""
        seqs = {job.seq for job in jobs}
        return {seq for here in self._leases.values() for seq in here.keys() & seqs}

    # --- on their way to the child ----------------------------------------------------------------------------------

    def give(self, lease: int, jobs: Sequence[Job], packet: int = 1) -> None:
        """Put a batch behind what is there, to be sent `packet` jobs at a time, sizes permitting."""
        self._leases.setdefault(lease, {}).update((job.seq, job) for job in jobs)
        for timeout in {job.timeout for job in jobs} | {_MEMORY_LOOK for job in jobs if job.memory is not None}:
            if timeout is not None and (self._shortest is None or timeout < self._shortest):
                self._shortest = timeout
        self._waiting.extend(_chunks(lease, jobs, packet))

    def begin(self, view: SlotView) -> None:
        """A new child is about to write where `view` was read."""
        self._ran = view.begun

    def pump(self, send: Callable[[bytes], bool]) -> None:
        """Send what can be sent now; `send` puts a packet in front of the child, False if there is no room."""
        while self._waiting:
            lease, jobs = self._waiting[0]
            if not send(_pack((lease, [job.item for job in jobs]))):
                return
            self._waiting.popleft()

    def take_out(self, taken: Iterable[bytes], wanted: Callable[[int], bool]) -> dict[int, list[int]]:
        """Take out those of `wanted` that the child has not received; by lease. `pump` sends the others again.

        Args:
            taken: The packets that were taken back from the child, in their order.
            wanted: Whether a job is to be taken out, by its seq.
        """
        chunks = [self._chunk_of(packet) for packet in taken]
        found: dict[int, list[int]] = {}
        left: deque[_Chunk] = deque()
        for lease, jobs in (*chunks, *self._waiting):
            out = [job.seq for job in jobs if wanted(job.seq)]
            if out:
                found.setdefault(lease, []).extend(out)
            self._forget(lease, out)
            here = self._leases.get(lease, {})
            rest = [job for job in jobs if job.seq in here]
            if rest:
                left.append(_Chunk(lease, rest))
        self._waiting = left
        return found

    def _chunk_of(self, packet: bytes) -> _Chunk:
        lease, items = unpack_packet(packet)
        jobs = self._leases.get(lease, {})
        return _Chunk(lease, [jobs[item.seq] for item in items if item.seq in jobs])

    # --- its answers ------------------------------------------------------------------------------------------------

    def answered(self, report: Results, ran: bytes, handlers: Sequence[str]) -> Answered:
        """What a child's frame says, as the core's results. Tasks that are not in front of it are passed over."""
        jobs = self._leases.get(report.lease, {})
        results, ok = report.results, Outcome.SUCCEEDED
        self._ran += len(results)
        if all(result.outcome is ok and result.seq in jobs for result in results):  # nearly always
            answer = Answered([Succeeded(one.seq, one.value, one.started, one.finished, ran) for one in results])
        else:
            answer = Answered()
            for result in results:
                self._note(answer, result, ran, handlers, jobs.get(result.seq))
        self._forget(report.lease, [result.seq for result in results])
        return answer

    def _note(
        self, answer: Answered, result: ChildResult, ran: bytes, handlers: Sequence[str], job: Job | None
    ) -> None:
        seq, outcome, value = result.seq, result.outcome, result.value
        if outcome is Outcome.RETURNED:
            self._ran -= 1
        if job is None:
            return
        if outcome is Outcome.SUCCEEDED:
            answer.results.append(Succeeded(seq, value, result.started, result.finished, ran))
        elif outcome is Outcome.RETURNED:
            answer.returned.append(seq)
        elif outcome in _ON_PURPOSE:
            answer.failed += outcome is not Outcome.SNOOZED and outcome is not Outcome.CANCELLED
            answer.results.append(_ON_PURPOSE[outcome](result, ran))
        else:
            if outcome is Outcome.NO_HANDLER:
                value = _no_handler(job.name, handlers)  # the child's word, made clearer
            answer.failed += 1
            reason = Reason.ERROR.value
            answer.results.append(Failed(seq, reason, value, result.started, result.finished, ran, types=_types(value)))

    def _forget(self, lease: int, seqs: Iterable[int]) -> None:
        """Be done with these; those that are not here are passed over."""
        jobs = self._leases.get(lease)
        if jobs is None:
            return
        for seq in seqs:
            jobs.pop(seq, None)
            if self._dooms:
                self._dooms.pop(seq, None)
        if not jobs:
            del self._leases[lease]
            if not self._leases:
                self._shortest = None

    # --- limits -----------------------------------------------------------------------------------------------------

    def doom(self, seq: int, cause: Cause, at_ns: int) -> bool:
        """Have a job that the child has ended from `at_ns` (boottime) on; False if it is not in front of the child."""
        is_here = seq in self
        if is_here:
            self._dooms[seq] = _Doom(cause, at_ns)
        return is_here

    @property
    def look_every(self) -> float:
        """Seconds between two looks at the child."""
        if self._dooms:
            return _CLOSE_LOOK
        quarter = _DEFAULT_LOOK if self._shortest is None else self._shortest / 4
        return min(_DEFAULT_LOOK, max(_CLOSE_LOOK, quarter))

    def judge(self, running: Entry | None, now_ns: int, resident: Callable[[], float]) -> Verdict | None:
        """Whether what runs has to be ended, and why; `resident` tells the MiB that the child has, where a job has a limit."""
        job = None if running is None else self._leases.get(running.lease, {}).get(running.seq)
        if running is None or job is None:
            return None
        doom = self._dooms.get(running.seq)
        if doom is not None and doom.at_ns <= now_ns:
            return Verdict(doom.cause, running.seq)
        timeout = job.timeout
        if timeout is not None and now_ns - running.since_ns > timeout * 1e9:
            return Verdict(Cause.TIMEOUT, running.seq, f"it ran for more than {timeout:g} s")
        if job.memory is not None and (has := resident()) > job.memory:
            return Verdict(
                Cause.MEMORY, running.seq, f"its child had {has:.0f} MiB of memory, {job.memory:g} are allowed"
            )
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
        held = [(lease, job) for lease, jobs in self._leases.items() for job in jobs.values()]
        begun = max(0, view.begun - self._ran)
        for place, (lease, job) in enumerate(held):
            seq, answer = job.seq, answers.setdefault(lease, Answered())
            if running is not None and (running.seq, running.lease) == (seq, lease):
                self._blame(answer, job, running, death)
            elif place < begun:
                answer.interrupted.append(seq)
            else:
                answer.returned.append(seq)
        self._leases.clear()
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
        elif verdict.seq == job.seq and verdict.cause is Cause.MEMORY:
            answer.fail(job, running, death, Reason.MEMORY, ("MemoryError", "Exception"))
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


def _chunks(lease: int, jobs: Sequence[Job], packet: int) -> Iterable[_Chunk]:
    chunk: list[Job] = []
    size = 0
    for job in jobs:
        if chunk and (len(chunk) >= packet or size + job.size > _CHUNK_BYTES):
            yield _Chunk(lease, chunk)
            chunk, size = [], 0
        chunk.append(job)
        size += job.size
    if chunk:
        yield _Chunk(lease, chunk)


_ON_PURPOSE: Final[dict[Outcome, Callable[[ChildResult, bytes], Result]]] = {
    Outcome.LATER: lambda it, ran: RetryLater(it.seq, it.delay, it.value, it.started, it.finished, ran),
    Outcome.SNOOZED: lambda it, ran: Snoozed(it.seq, it.delay or 0.0, it.started, it.finished, ran),
    Outcome.TIMED_OUT: lambda it, ran: Failed(
        it.seq, Reason.TIMEOUT.value, it.value, it.started, it.finished, ran, types=_types(it.value)
    ),
    Outcome.CANCELLED: lambda it, ran: Cancelled(it.seq, it.started, it.finished, ran),
    Outcome.DISCARDED: lambda it, ran: Discarded(it.seq, it.value, it.started, it.finished, ran),
}


def _end_of(running: Entry) -> float:
    return max(running.started, time.time())


def _types(error: bytes) -> tuple[str, ...]:
    """The names of an error's class and of its bases, as the child tells them."""
    return tuple(msgspec.msgpack.decode(error)[3])


def _no_handler(name: str, handlers: Sequence[str]) -> bytes:
    return pack_failure("NoHandler", f"no handler named {name!r}; known: {', '.join(handlers) or 'none'}")


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
