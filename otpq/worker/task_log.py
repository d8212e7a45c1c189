"""The logs of the tasks that run in one child, on their way to the queue server; as a value.

What goes in are *records* of the child (what handlers print and say) and *raw* lines (what C code and sub-programs write); what
comes out are `Logged` events. Each run of a task, a lease and a seq, has its own lines, counted from 1. The count is made here,
since both kinds share it: where the child's own numbers leave lines out, because its ring overwrote them, or where lines are
passed over here, so many numbers are left out.

A log is bounded. Of each run the first `HEAD` bytes are told at once. What follows goes on being told, but once a second, only
the last `TAIL` bytes of what that second brought, and with the word to forget what lies between the beginning and about the
last `TAIL` bytes. So however much a task says, its beginning and its end are kept, and one task makes the store write no more
than `TAIL` bytes a second. Raw lines stay in their blocks until then: those that are never told are counted, and that is all.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Annotated, Final, Literal, NamedTuple, TypeAlias

import msgspec
from msgspec import Meta

from otpq.core.events import Logged
from otpq.worker.raw_lines import text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["HEAD", "TAIL", "RawStream", "TaskLog"]

HEAD: Final = 128 * 1024
TAIL: Final = 128 * 1024
"""Bytes, about: a line counts as its text and `_LINE_BYTES`."""

_LINE_BYTES: Final = 32
_MOST: Final = TAIL // _LINE_BYTES
"""Lines of the tail that can be told at a time."""
_CHUNK: Final = 32 * 1024
"""Bytes of the tail that are told, and later forgotten, at a time."""
_TELL_EVERY: Final = 1.0
_MAPS: Final = frozenset({*range(0x80, 0x90), 0xDE, 0xDF})
"""With what MessagePack begins a map."""
_NIL: Final = b"\xc0"

RawStream: TypeAlias = Literal["out", "err"]

_LEVELS: Final[dict[RawStream, str]] = {"out": "info", "err": "error"}


class _Record(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A line, as the child has put it into its ring."""

    seq: int
    lease: int
    number: Annotated[int, Meta(ge=1, lt=2**48)]
    time: float
    stream: Literal["out", "err", "log"]
    level: Literal["info", "warning", "error"]
    text: str
    fields: msgspec.Raw = msgspec.Raw(_NIL)


class _Line(NamedTuple):
    number: int
    time: float
    stream: str
    level: str
    text: str
    fields: msgspec.Raw | None = None


class _Block(NamedTuple):
    """Raw lines in a row."""

    first: int
    """The number of the first."""
    time: float
    stream: RawStream
    content: bytes
    lines: int

    def last_lines(self) -> list[_Line]:
        """As many of the last ones as can be told."""
        lines = self.content.removesuffix(b"\n").rsplit(b"\n", _MOST)[-_MOST:]
        number = self.first + self.lines - len(lines)
        time, stream, level = self.time, self.stream, _LEVELS[self.stream]
        return [_Line(number + place, time, stream, level, text_of(line)) for place, line in enumerate(lines)]


class _Chunk(NamedTuple):
    """Lines of the tail that were told."""

    first: int
    last: int
    size: int


class _Run:
    """One run of a task."""

    def __init__(self) -> None:
        self.number = 0
        """Of its last line."""
        self.heard = 0
        """The child's own number of the last record."""
        self.room = HEAD
        self.head: list[_Line] = []
        self.tail: deque[tuple[int, _Line | _Block]] = deque()
        """Both are still to be told; what is in the tail stands behind its size."""
        self.size = 0
        """Bytes of the tail."""
        self.told: deque[_Chunk] = deque()
        """Of the tail, in so far as it is not forgotten."""
        self.told_at = 0.0

    def add(self, line: _Line, size: int) -> None:
        if size <= self.room:
            self.room -= size
            self.head.append(line)
        else:
            self.room = 0  # what comes later must not stand before what came earlier
            self._add_to_tail(line, size)

    def add_raw(self, stream: RawStream, block: bytes, now: float) -> None:
        at = 0
        while self.room and at < len(block):
            end = block.index(b"\n", at) + 1
            self.number += 1
            line = _Line(self.number, now, stream, _LEVELS[stream], text_of(block[at:end]))
            self.add(line, _LINE_BYTES + end - at)
            at = end
        count = block.count(b"\n", at)
        if count:
            rest = _Block(self.number + 1, now, stream, block[at:], count)
            self.number += count
            self._add_to_tail(rest, len(rest.content) + _LINE_BYTES * count)

    def _add_to_tail(self, lines: _Line | _Block, size: int) -> None:
        self.tail.append((size, lines))
        self.size += size
        while self.size - (first := self.tail[0][0]) >= TAIL:
            self.tail.popleft()
            self.size -= first

    def take_tail(self) -> Iterable[list[_Line]]:
        """The last `TAIL` bytes of the tail, some lines at a time; the tail is empty then."""
        lines: list[_Line] = []
        while self.tail:
            _, last = self.tail.pop()
            lines += (last,) if isinstance(last, _Line) else reversed(last.last_lines())
        self.size = size = 0
        for count, line in enumerate(lines):
            size += _size_of(line)
            if size > TAIL and count:
                del lines[count:]
                break
        while lines:
            yield self._next_chunk(lines)

    def _next_chunk(self, lines: list[_Line]) -> list[_Line]:
        """Some of these, which are in reverse order."""
        chunk: list[_Line] = []
        size = 0
        while lines and (not chunk or size + _size_of(lines[-1]) <= _CHUNK):
            chunk.append(lines.pop())
            size += _size_of(chunk[-1])
        self.told.append(_Chunk(chunk[0].number, chunk[-1].number, size))
        return chunk

    def forget(self) -> tuple[int, int] | None:
        """What was told of the tail and is to be forgotten: all but about `TAIL` bytes of it."""
        over = sum(chunk.size for chunk in self.told) - TAIL
        found: tuple[int, int] | None = None
        while over >= self.told[0].size:
            chunk = self.told.popleft()
            over -= chunk.size
            found = (chunk.first if found is None else found[0], chunk.last)
        return found


class TaskLog:
    """The runs of one child that have said something."""

    def __init__(self, session: str, is_open: Callable[[int, int], bool]) -> None:
        """`is_open` tells whether the child has such a job, by lease and seq: what is said of others is dropped."""
        self._session = session
        self._is_open = is_open
        self._runs: dict[tuple[int, int], _Run] = {}

    def put(self, records: Iterable[bytes]) -> None:
        """Take in what the child wrote into its ring, in its order. What makes no sense is passed over."""
        for content in records:
            try:
                record = _decode(content)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue
            run = self._run(record.lease, record.seq)
            if run is not None:
                run.number += max(1, record.number - run.heard)
                run.heard = max(run.heard, record.number)
                fields = _map_of(record.fields)
                line = _Line(run.number, record.time, record.stream, record.level, record.text, fields)
                run.add(line, len(content))  # which is about what is told of it

    def put_raw(self, owner: tuple[int, int], stream: RawStream, block: bytes, now: float) -> None:
        """Take in a block of whole lines out of a pipe; they belong to the run `owner`, a lease and a seq."""
        run = self._run(*owner)
        if run is not None:
            run.add_raw(stream, block, now)

    def _run(self, lease: int, seq: int) -> _Run | None:
        run = self._runs.get((lease, seq))
        if run is None and self._is_open(lease, seq):
            run = self._runs[lease, seq] = _Run()
        return run

    def tell(self, now: float) -> list[Logged]:
        """What is to be told at `now` (wall clock), in the order of each run."""
        found: list[Logged] = []
        for (lease, seq), run in self._runs.items():
            found += self._tell(lease, seq, run, is_due=not 0.0 <= now - run.told_at < _TELL_EVERY, now=now)
        return found

    def end(self, lease: int, seqs: Iterable[int], now: float) -> list[Logged]:
        """The last of these runs; they say nothing any more."""
        if not self._runs:
            return []
        found: list[Logged] = []
        for seq in seqs:
            run = self._runs.pop((lease, seq), None)
            if run is not None:
                found += self._tell(lease, seq, run, is_due=True, now=now)
        return found

    @property
    def runs(self) -> list[tuple[int, int]]:
        """Those that have said something and have not ended, by lease and seq."""
        return list(self._runs)

    def _tell(self, lease: int, seq: int, run: _Run, *, is_due: bool, now: float) -> Iterable[Logged]:
        if run.head:
            lines, run.head = run.head, []
            yield self._logged(lease, seq, lines)
        if run.tail and is_due:
            run.told_at = now
            for lines in run.take_tail():
                yield self._logged(lease, seq, lines, run.forget())

    def _logged(self, lease: int, seq: int, lines: list[_Line], forget: tuple[int, int] | None = None) -> Logged:
        first, last = lines[0].number, lines[-1].number
        packed = _encode(lines)
        return Logged(session=self._session, lease=lease, seq=seq, first=first, last=last, lines=packed, forget=forget)


def _size_of(line: _Line) -> int:
    return _LINE_BYTES + len(line.text) + (0 if line.fields is None else len(bytes(line.fields)))


def _map_of(fields: msgspec.Raw) -> msgspec.Raw | None:
    """Fields, if they are a map."""
    content = bytes(fields)
    return None if content == _NIL or content[0] not in _MAPS else fields


_decode: Final = msgspec.msgpack.Decoder(_Record).decode
_encode: Final = msgspec.msgpack.Encoder().encode
