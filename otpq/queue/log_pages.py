"""A task's log, page by page: the lines that its runs wrote, and between them the steps of its life, by time.

Where a page ends is told by a *place*: how far the lines go (a lease, which is a run, and a number), and how many steps were
given. A step is in the row once it is committed, a start only with its run's end. So whoever follows a log is given that
start late, behind what the run wrote; whoever reads the log of a task that has ended gets all in order.
"""

from __future__ import annotations

from itertools import chain, takewhile
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from otpq.core.history import history_of
from otpq.queue.queries import BadQuery
from otpq.task import ENDED, TaskState
from otpq.wire.verbs import LogLine, LogPage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from otpq.core.records import LogChunk
    from otpq.store.protocol import Reading
    from otpq.task import HistoryEntry

__all__ = ["Place", "log_page"]

PAGE_BYTES: Final = 512 * 1024
"""Of packed lines, after which a page ends."""
PART: Final = 32
"""Chunks that are read at a time."""

_MOST: Final = 2**63 - 1
_LEVELS: Final = {TaskState.FAILED: "error", TaskState.RETRYING: "warning"}
"""Of the steps into these states; of others: info."""


class Place(NamedTuple):
    """How far somebody has read a log."""

    lease: int = 0
    number: int = 0
    """Of the last line given, of that lease."""
    steps: int = 0

    @classmethod
    def parse(cls, text: str | None) -> Place:
        """The place that a page's `next` tells; None: the beginning.

        Raises:
            BadQuery: It was none.
        """
        if text is None:
            return cls()
        try:
            lease, number, steps = (int(part) for part in text.split(":"))
        except ValueError:
            raise BadQuery("invalid", f"after={text!r} is not the `next` of a page", "after") from None
        if not all(0 <= part <= _MOST for part in (lease, number, steps)):
            raise BadQuery("invalid", f"after={text!r} is not the `next` of a page", "after")
        return cls(lease, number, steps)

    def __str__(self) -> str:
        return ":".join(map(str, self))


def log_page(reading: Reading, id: bytes, place: Place) -> LogPage | None:
    """What follows `place` in a task's log, about `PAGE_BYTES` of it; None: there is no such task.

    Raises:
        StoreError: The store cannot be read, or took too long.
    """
    row = reading.get(id)  # first: if it has ended, the look for its lines, which comes second, sees the last of them
    if row is None:
        return None
    chunks, more = _chunks(reading, row.seq, place)
    lines, place = _lines(chunks, place)
    steps = [_step(number, entry) for number, entry in enumerate(history_of(row), 1)][place.steps :]
    if more:  # a step that is younger than all of these belongs to a later page
        newest = max((line.time for line in lines), default=0.0)
        steps = list(takewhile(lambda step: step.time <= newest, steps))
    place = place._replace(steps=place.steps + len(steps))
    return LogPage(list(_merged(steps, lines)), str(place), more, row.state in ENDED)


def _chunks(reading: Reading, seq: int, place: Place) -> tuple[list[LogChunk], bool]:
    """Those behind a place that make one page, and whether there may be more."""
    chunks: list[LogChunk] = []
    size, after = 0, (place.lease, place.number)
    while size < PAGE_BYTES:
        part = reading.log(seq, after=after, limit=PART)
        chunks += part
        if len(part) < PART:
            return chunks, False
        size += sum(len(chunk.lines) for chunk in part)
        after = part[-1].lease, part[-1].last
    return chunks, True


def _lines(chunks: Iterable[LogChunk], place: Place) -> tuple[list[LogLine], Place]:
    """The lines behind a place, and the place behind them."""
    lines: list[LogLine] = []
    lease, last, steps = place
    behind = last
    for chunk in chunks:
        if chunk.lease != lease:
            lease, last, behind = chunk.lease, 0, 0
        for number, time, stream, level, text, fields in _decode(chunk.lines):
            if number > last:
                lines.append(LogLine(time, stream, level, text, fields, lease, number, number - last - 1))
                last = number
        behind = max(last, chunk.last)
    return lines, Place(lease, behind, steps)


def _step(number: int, entry: HistoryEntry) -> LogLine:
    """A step in a task's life as a line of its log."""
    text = entry.target.value if entry.source is None else f"{entry.source} -> {entry.target}"
    where = {"node": entry.node, "worker": entry.worker, "pid": entry.pid}
    fields: dict[str, Any] = {"attempt": entry.attempt, **{name: at for name, at in where.items() if at is not None}}
    level = _LEVELS.get(entry.target, "info")
    return LogLine(entry.time, "life", level, f"{text} ({entry.reason})" if entry.reason else text, fields, 0, number)


def _merged(steps: Sequence[LogLine], lines: Sequence[LogLine]) -> Iterator[LogLine]:
    """Both by time, each in its own order; of equals the step first."""
    at = 0
    for step in steps:
        begin = at
        while at < len(lines) and lines[at].time < step.time:
            at += 1
        yield from chain(lines[begin:at], [step])
    yield from lines[at:]


_decode: Final = msgspec.msgpack.Decoder(list[tuple[int, float, str, str, str, dict[str, Any] | None]]).decode
