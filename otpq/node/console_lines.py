"""ConsoleLines: what a node says on a terminal about its tasks. A value: ended runs and the time go in, lines come out.

Time is cut into seconds, the first of which begins with the first run after a silence. Below ten runs a second each has a
line of its own. From the tenth on, and in the seconds that follow until one is quiet again, runs are only counted, and the
second ends with a line a handler; failures keep their lines, at most ten a second. So each run is told of at once or
counted, and however many there are, the lines of a second are bounded.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from otpq.core.history import error_line
from otpq.task import TaskState

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Literal, TypeAlias

    from otpq.queue.messages import RunEnd

    Tone: TypeAlias = Literal["plain", "retry", "failure"]

__all__ = ["BUSY", "FAILURES", "HANDLERS", "ConsoleLines", "Line"]

SECOND: Final = 1.0
BUSY: Final = 10
"""So many runs in a second are no longer told one by one."""
FAILURES: Final = 10
"""Lines of failures in a second."""
HANDLERS: Final = 20
"""Lines of handlers in a second; the others are counted together."""

_GONE_WRONG: Final = frozenset({TaskState.FAILED.value, TaskState.RETRYING.value})
_TONES: Final[dict[str, Tone]] = {TaskState.FAILED.value: "failure", TaskState.RETRYING.value: "retry"}


class Line(NamedTuple):
    """A text without newline, and what it is about, for whoever has colours."""

    text: str
    tone: Tone = "plain"


class ConsoleLines:
    """See the module. `now` is seconds of any clock that does not jump."""

    def __init__(self) -> None:
        self._ends_at: float | None = None
        """When the current second is over; None in a silence."""
        self._is_busy = False
        self._seen = 0
        self._failures = 0
        self._unshown = 0
        """Failures beyond their lines."""
        self._missed = 0
        self._counts: defaultdict[str, _Counts] = defaultdict(_Counts)

    def take(self, now: float, runs: Iterable[RunEnd], missed: int = 0) -> list[Line]:
        """The lines for runs that have ended; `missed` others were not told of."""
        lines = self.tick(now)
        if self._ends_at is None:
            self._ends_at = now + SECOND
        self._missed += missed
        for run in runs:
            self._seen += 1
            if self._seen >= BUSY:
                self._is_busy = True
            if self._is_busy:
                self._counts[run.name].add(run)
            if run.state in _GONE_WRONG:
                lines += self._failure(run)
            elif not self._is_busy:
                lines.append(_run_line(run))
        return lines

    def tick(self, now: float) -> list[Line]:
        """The lines that are due since time has passed."""
        if self._ends_at is None or now < self._ends_at:
            return []
        lines = self.end()
        if self._seen:  # a second without runs begins the silence
            self._ends_at = now + SECOND
            self._is_busy = self._seen >= BUSY
        else:
            self._ends_at, self._is_busy = None, False
        self._seen = self._failures = 0
        return lines

    def end(self) -> list[Line]:
        """The lines for what has been counted so far."""
        lines = _count_lines(self._counts)
        if self._unshown:
            lines.append(Line(f"  and {self._unshown:,} more failures: otpq list --state failed", "failure"))
        if self._missed:
            lines.append(Line(f"  {self._missed:,} ends are not in these lines: the terminal was too slow"))
        self._counts.clear()
        self._unshown = self._missed = 0
        return lines

    def wait(self, now: float) -> float | None:
        """Seconds until `tick` has something to say; None: nothing, until a run ends."""
        return None if self._ends_at is None else max(0.0, self._ends_at - now)

    def _failure(self, run: RunEnd) -> list[Line]:
        if self._failures >= FAILURES:
            self._unshown += 1
            return []
        self._failures += 1
        tone = _TONES[run.state]
        line = _run_line(run)
        error = (run.reason or "") if run.error is None else error_line(run.error)
        return [line, Line(f"  {error}", tone)] if error else [line]


class _Counts:
    """What is counted of one handler."""

    __slots__ = ("by_state", "seconds", "timed")

    def __init__(self) -> None:
        self.by_state: defaultdict[str, int] = defaultdict(int)
        self.seconds = 0.0
        self.timed = 0

    def add(self, run: RunEnd) -> None:
        self.by_state[run.state] += 1
        if run.began is not None:
            self.seconds += run.ended - run.began
            self.timed += 1

    def merge(self, other: _Counts) -> None:
        for state, count in other.by_state.items():
            self.by_state[state] += count
        self.seconds += other.seconds
        self.timed += other.timed

    @property
    def total(self) -> int:
        return sum(self.by_state.values())

    def line(self, name: str) -> Line:
        done, failed, retried = (self.by_state.get(state, 0) for state in ("succeeded", "failed", "retrying"))
        parts = [f"{name:<24}", f"{done:>7,} done", f"{failed:,} failed", f"{retried:,} retried"]
        parts += [f"{count:,} {state}" for state in ("cancelled", "expired") if (count := self.by_state.get(state))]
        if self.timed:
            parts.append(f"mean {_duration(self.seconds / self.timed)}")
        return Line("  ".join(parts), "failure" if failed else "retry" if retried else "plain")


def _count_lines(counts: dict[str, _Counts]) -> list[Line]:
    """A line a handler, the busiest first, of the others one together."""
    ranked = sorted(counts.items(), key=lambda item: -item[1].total)
    lines = [of.line(name) for name, of in ranked[:HANDLERS]]
    if len(ranked) > HANDLERS:
        others = _Counts()
        for _, of in ranked[HANDLERS:]:
            others.merge(of)
        lines.append(others.line(f"{len(ranked) - HANDLERS} other handlers"))
    return lines


def _run_line(run: RunEnd) -> Line:
    took = "" if run.began is None else _duration(run.ended - run.began)
    # The id stands last, and whole: it is for `otpq show`.
    parts = [_clock(run.ended), f"{run.name:<24}", f"{run.state:<9}", f"{took:>8}", *_notes(run), run.id.hex()]
    return Line("  ".join(parts), _TONES.get(run.state, "plain"))


def _notes(run: RunEnd) -> Iterable[str]:
    if run.state == TaskState.RETRYING:
        yield f"in {_duration(max(0.0, run.due - run.ended))}"
    if run.attempt:
        yield f"attempt {run.attempt}"
    if run.ran is not None:
        _node, _incarnation, worker, pid = msgspec.msgpack.decode(run.ran)
        yield f"worker {worker} (pid {pid})"


def _clock(wall: float) -> str:
    return datetime.fromtimestamp(wall).astimezone().strftime("%H:%M:%S")


def _duration(seconds: float) -> str:
    """Three digits or so, with a unit."""
    if seconds < 0.001:  # noqa: PLR2004 - a millisecond
        return f"{seconds * 1e6:.0f} us"
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    return f"{seconds:.3g} s" if seconds < 1000 else f"{seconds:,.0f} s"  # noqa: PLR2004 - three digits
