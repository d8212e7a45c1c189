"""What stands in front of one child, as a value: jobs it was sent or is to be sent, what it answers, when it is to be ended.

Jobs wait as *chunks*, which become packets. A chunk is about a millisecond of work, by what the core knows of the handlers:
what a child has not received can be taken back, and a packet is received whole.

When a child dies it is known exactly which jobs it had begun, by counting. A child has one or more *cells* of the blackboard,
one for each task that it may run at a time. Whatever it runs them in, one thread of it begins them all, in the order in which
it received them; so what it began is always the beginning of what it received, however the ends are mixed. Each begin adds
one to the count of some cell, so their sum is the length of that beginning, and it does not matter which cell it was. Every
answered job had begun (one that is handed back unbegun is not counted as an answer). Taking the answered ones out of the
sequence leaves its order as it was, hence: of the jobs that are still unanswered, in the order of receipt, exactly the first

    begun = sum over the cells - answered

had begun. Those of them that cells name were running, the others had run to their end and their answers are lost: they are
*interrupted*, and a task that ruins its child without dying in it is found out by that in the end. `blame.py` has the rest.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from otpq.core.events import Cancelled, Discarded, Failed, HandedOver, Result, RetryLater, Snoozed, Succeeded
from otpq.task import Reason
from otpq.worker.blame import Answered, Cause, Death, Verdict, blame, pack_failure
from otpq.worker.packets import Outcome, unpack_packet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from otpq.worker.blackboard import Entry, SlotView
    from otpq.worker.orders import Job
    from otpq.worker.reports import Result as ChildResult
    from otpq.worker.reports import Results

__all__ = ["Tray"]

_CHUNK_BYTES: Final = 64 * 1024
"""A chunk is closed when it is this long, so that it travels in the socket itself."""

_pack: Final = msgspec.msgpack.Encoder().encode

_DEFAULT_LOOK: Final = 0.1
"""Seconds between looks at a child that has jobs: as late as its log is told."""
_MEMORY_LOOK: Final = 0.2
"""As a timeout: a task whose memory is limited is looked at each 50 ms. A program can take hundreds of MiB in that time."""
_CLOSE_LOOK: Final = 0.02
"""Seconds between looks at a child: a quarter of the shortest timeout, within these bounds."""

_LONG_NS: Final = 20_000_000
"""Nanoseconds after which a run is a long one: what a child holds back, it would have sent by then."""


class _Doom(NamedTuple):
    """A job that is to be ended once it runs and the time has come."""

    cause: Cause
    at_ns: int


class _Chunk(NamedTuple):
    lease: int
    jobs: list[Job]
    is_alone: bool = False
    """Whether nothing else may be in the child with it."""


class Tray:
    """The jobs of one child, from the moment they are given until they are answered for."""

    def __init__(self) -> None:
        self._leases: dict[int, dict[int, Job]] = {}
        """The jobs that are not answered for, by lease and seq, in the order in which the child gets them."""
        self._waiting: deque[_Chunk] = deque()
        """Those that are still to be sent: the end of that order."""
        self._ran = 0
        """How many tasks the child ran, by its answers and, before its time, by the blackboard."""
        self._is_alone = False
        """Whether what the child has, if it has anything, travels alone."""
        self._dooms: dict[int, _Doom] = {}
        self._shortest: float | None = None
        self._has_memory = False
        """Whether any of the jobs, or one that was here with them, has a limit of memory."""

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

    def give(self, lease: int, jobs: Sequence[Job], packet: int = 1, *, alone: bool = False) -> None:
        """Put a batch behind what is there, to be sent `packet` jobs at a time, sizes permitting.

        If it is `alone`, each packet of it is sent when the child has nothing else, and nothing behind it before its answer.
        """
        self._leases.setdefault(lease, {}).update((job.seq, job) for job in jobs)
        self._has_memory |= any(job.memory is not None for job in jobs)
        for timeout in {job.timeout for job in jobs} | {_MEMORY_LOOK for job in jobs if job.memory is not None}:
            if timeout is not None and (self._shortest is None or timeout < self._shortest):
                self._shortest = timeout
        self._waiting.extend(_chunks(lease, jobs, packet, is_alone=alone))

    def begin(self, views: Iterable[SlotView]) -> None:
        """A new child is about to write where `views` were read."""
        self._ran = sum(view.begun for view in views)

    def pump(self, send: Callable[[bytes], bool]) -> None:
        """Send what can be sent now; `send` puts a packet in front of the child, False if there is no room."""
        while self._waiting:
            lease, jobs, is_alone = self._waiting[0]
            if (is_alone or self._is_alone) and self._has_sent():
                return
            if not send(_pack((lease, [job.item for job in jobs]))):
                return
            self._is_alone = is_alone
            self._waiting.popleft()

    def _has_sent(self) -> bool:
        """Whether anything was sent that is not answered for."""
        return len(self) > sum(len(chunk.jobs) for chunk in self._waiting)

    def take_out(self, taken: Iterable[bytes], wanted: Callable[[int], bool]) -> dict[int, list[int]]:
        """Take out those of `wanted` that the child has not received; by lease. `pump` sends the others again.

        Args:
            taken: The packets that were taken back from the child, in their order.
            wanted: Whether a job is to be taken out, by its seq.
        """
        chunks = [self._chunk_of(packet) for packet in taken]
        found: dict[int, list[int]] = {}
        left: deque[_Chunk] = deque()
        for lease, jobs, is_alone in (*chunks, *self._waiting):
            out = [job.seq for job in jobs if wanted(job.seq)]
            if out:
                found.setdefault(lease, []).extend(out)
            self._forget(lease, out)
            here = self._leases.get(lease, {})
            rest = [job for job in jobs if job.seq in here]
            if rest:
                left.append(_Chunk(lease, rest, is_alone))
        self._waiting = left
        return found

    def _chunk_of(self, packet: bytes) -> _Chunk:
        lease, items = unpack_packet(packet)
        jobs = self._leases.get(lease, {})
        return _Chunk(lease, [jobs[item.seq] for item in items if item.seq in jobs], self._is_alone)

    # --- its answers ------------------------------------------------------------------------------------------------

    def answered(self, report: Results, ran: bytes, handlers: Sequence[str], *, is_oom: bool = False) -> Answered:
        """What a child's frame says, as the core's results. Tasks that are not in front of it are passed over.

        Args:
            report: The frame.
            ran: For the results.
            handlers: What the child's app knows.
            is_oom: Whether the kernel killed something of the child for want of memory: failures of jobs that have a limit
                come from that.
        """
        jobs = self._leases.get(report.lease, {})
        results, ok = report.results, Outcome.SUCCEEDED
        self._ran += len(results)
        if all(result.outcome is ok and result.seq in jobs for result in results):  # nearly always
            answer = Answered([Succeeded(one.seq, one.value, one.started, one.finished, ran) for one in results])
        else:
            answer = Answered()
            for result in results:
                self._ran -= result.outcome is Outcome.RETURNED  # it had not begun
                job = jobs.get(result.seq)
                if job is not None:
                    _note(answer, result, ran, handlers, job, is_oom=is_oom)
        self._forget(report.lease, [result.seq for result in results])
        return answer

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
                self._has_memory = False

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

    def judge(self, running: Sequence[Entry], now_ns: int, resident: Callable[[float], float]) -> Verdict | None:
        """Whether the child is to be ended, and why.

        Args:
            running: What its cells name.
            now_ns: Of `boottime_ns`.
            resident: Tells the MiB that the child has, all that it started included, if they are more than those given to it.
        """
        found = [(entry, job) for entry in running if (job := self._job(entry.lease, entry.seq)) is not None]
        for entry, job in found:
            doom = self._dooms.get(job.seq)
            if doom is not None and doom.at_ns <= now_ns:
                return Verdict(doom.cause, job.seq)
            timeout = job.timeout
            if timeout is not None and now_ns - entry.since_ns > timeout * 1e9:
                return Verdict(Cause.TIMEOUT, job.seq, f"it ran for more than {timeout:g} s")
        # What one of several takes cannot be told from what the others take: they have their limits together, or none.
        limits = [job.memory for _, job in found if job.memory is not None]
        if limits and len(limits) == len(running) and (has := resident(sum(limits))) > sum(limits):
            return _too_much(found[0][1].seq if len(found) == 1 else None, has, limits)
        return None

    def _job(self, lease: int, seq: int) -> Job | None:
        return self._leases.get(lease, {}).get(seq)

    def is_open(self, lease: int, seq: int) -> bool:
        """Whether this job is in front of the child under this lease."""
        return seq in self._leases.get(lease, ())

    def has_lease(self, lease: int) -> bool:
        """Whether any job of it is in front of the child."""
        return lease in self._leases

    def allowance(self, parallel: int) -> float | None:
        """The MiB that the child may need for any `parallel` of its jobs; None if one of them has no limit, or there is none.

        For a wall that stands while they come and go: what is right for each of them is for `judge`.
        """
        if not self._has_memory:
            return None
        limits = [job.memory for jobs in self._leases.values() for job in jobs.values()]
        known = sorted((limit for limit in limits if limit is not None), reverse=True)
        return sum(known[:parallel]) if known and len(known) == len(limits) else None

    # --- what it holds back -----------------------------------------------------------------------------------------

    def holds_back(self, views: Sequence[SlotView], now_ns: int) -> bool:
        """Whether results of jobs that have ended wait in the child, behind a run that takes long.

        Args:
            views: What its cells say.
            now_ns: Of `boottime_ns`.
        """
        running = [view.running for view in views if view.running is not None]
        ended = sum(view.begun for view in views) - self._ran - len(running)
        return ended > 0 and any(now_ns - entry.since_ns > _LONG_NS for entry in running)

    # --- its end ----------------------------------------------------------------------------------------------------

    def ended(self, views: Sequence[SlotView], verdict: Verdict | None, words: str, ran: bytes) -> dict[int, Answered]:
        """Answer for all that is left when the child is gone; by lease.

        Args:
            views: What its cells say.
            verdict: Why the worker ended it; None: it ended by itself.
            words: How it ended.
            ran: For the result.
        """
        held = [(lease, job) for lease, jobs in self._leases.items() for job in jobs.values()]
        begun = max(0, sum(view.begun for view in views) - self._ran)
        running = [view.running for view in views if view.running is not None]
        answers = blame(held, begun, running, Death(verdict, words, ran))
        self._leases.clear()
        self._waiting.clear()
        self._dooms.clear()
        self._is_alone = self._has_memory = False
        self._shortest = None
        return answers


def _too_much(seq: int | None, has: float, limits: Sequence[float]) -> Verdict:
    whose = "" if seq is not None else f" to its {len(limits)} tasks together"
    return Verdict(Cause.MEMORY, seq, f"its child had {has:.0f} MiB of memory, {sum(limits):g} are allowed{whose}")


def _chunks(lease: int, jobs: Sequence[Job], packet: int, *, is_alone: bool) -> Iterable[_Chunk]:
    chunk: list[Job] = []
    size = 0
    for job in jobs:
        if chunk and (len(chunk) >= packet or size + job.size > _CHUNK_BYTES):
            yield _Chunk(lease, chunk, is_alone)
            chunk, size = [], 0
        chunk.append(job)
        size += job.size
    if chunk:
        yield _Chunk(lease, chunk, is_alone)


def _note(
    answer: Answered, result: ChildResult, ran: bytes, handlers: Sequence[str], job: Job, *, is_oom: bool
) -> None:
    """Add one result of any kind."""
    seq, outcome, value = result.seq, result.outcome, result.value
    if outcome is Outcome.SUCCEEDED:
        answer.results.append(Succeeded(seq, value, result.started, result.finished, ran))
    elif outcome is Outcome.RETURNED:
        answer.returned.append(seq)
    elif outcome in _ON_PURPOSE:
        answer.failed += outcome not in _NO_FAILURES
        answer.results.append(_ON_PURPOSE[outcome](result, ran))
    else:
        if outcome is Outcome.NO_HANDLER:
            value = _no_handler(job.name, handlers)  # the child's word, made clearer
        answer.failed += 1
        reason = Reason.MEMORY if is_oom and job.memory is not None else Reason.ERROR
        answer.results.append(
            Failed(seq, reason.value, value, result.started, result.finished, ran, types=_types(value))
        )


_NO_FAILURES: Final = frozenset({Outcome.SNOOZED, Outcome.CANCELLED, Outcome.HANDED_OVER})

_ON_PURPOSE: Final[dict[Outcome, Callable[[ChildResult, bytes], Result]]] = {
    Outcome.LATER: lambda it, ran: RetryLater(it.seq, it.delay, it.value, it.started, it.finished, ran),
    Outcome.SNOOZED: lambda it, ran: Snoozed(it.seq, it.delay or 0.0, it.started, it.finished, ran),
    Outcome.TIMED_OUT: lambda it, ran: Failed(
        it.seq, Reason.TIMEOUT.value, it.value, it.started, it.finished, ran, types=_types(it.value)
    ),
    Outcome.OUT_OF_MEMORY: lambda it, ran: Failed(
        it.seq, Reason.MEMORY.value, it.value, it.started, it.finished, ran, types=_types(it.value)
    ),
    Outcome.CANCELLED: lambda it, ran: Cancelled(it.seq, it.started, it.finished, ran),
    Outcome.HANDED_OVER: lambda it, ran: HandedOver(it.seq, it.started, it.finished, ran),
    Outcome.DISCARDED: lambda it, ran: Discarded(it.seq, it.value, it.started, it.finished, ran),
}


def _types(error: bytes) -> tuple[str, ...]:
    """The names of an error's class and of its bases, as the child tells them."""
    return tuple(msgspec.msgpack.decode(error)[3])


def _no_handler(name: str, handlers: Sequence[str]) -> bytes:
    return pack_failure("NoHandler", f"no handler named {name!r}; known: {', '.join(handlers) or 'none'}")
