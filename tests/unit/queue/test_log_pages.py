"""A task's log in pages: nothing twice, nothing left out, in order, and gaps told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otpq.core.history import note, note_run
from otpq.core.records import LogChunk, TaskRow
from otpq.queue import log_pages
from otpq.queue.log_pages import Place, log_page
from otpq.queue.queries import BadQuery

if TYPE_CHECKING:
    from otpq.wire.verbs import LogLine, LogPage

ID = b"i" * 16
RAN = msgspec.msgpack.encode(["a@h", "1", 2, 77])


class FakeReading:
    """One task and its log."""

    def __init__(self) -> None:
        self.row: TaskRow | None = TaskRow(
            seq=1,
            id=ID,
            name="f",
            queue="default",
            partition="",
            priority=5,
            state="queued",
            due=1.0,
            expires=None,
            created=1.0,
            updated=1.0,
            options=b"",
            payload=b"",
        )
        self.chunks: list[LogChunk] = []

    def get(self, id: bytes) -> TaskRow | None:
        return self.row if id == ID else None

    def log(self, seq: int, *, after: tuple[int, int] = (0, 0), limit: int = 100) -> list[LogChunk]:
        assert seq == 1
        return [chunk for chunk in self.chunks if (chunk.lease, chunk.last) > after][:limit]

    def say(self, lease: int, *lines: tuple[int, float]) -> None:
        """A chunk of lines, (number, time) each."""
        packed = msgspec.msgpack.encode(
            [[number, at, "out", "info", f"{lease}/{number}", None] for number, at in lines]
        )
        self.chunks.append(LogChunk(1, lease, lines[0][0], lines[-1][0], packed))

    def ran(self, begin: float, end: float, target: str, reason: str | None = None) -> None:
        """A run as the core notes it."""
        assert self.row is not None
        self.row.attempt += 1
        self.row.started, self.row.ran = begin, RAN
        note_run(self.row, end, target, reason, self.row.attempt)
        self.row.started = None
        self.row.state = target


def page(reading: Any, after: str | None = None) -> LogPage:
    found = log_page(reading, ID, Place.parse(after))
    assert found is not None
    return found


def texts(lines: list[LogLine]) -> list[str]:
    return [line.text for line in lines]


def test_steps_stand_between_lines_by_time() -> None:
    reading = FakeReading()
    reading.say(7, (1, 10.1), (2, 10.2))
    reading.say(9, (1, 20.1))
    reading.ran(10.0, 10.5, "retrying", "error")
    assert reading.row is not None
    note(reading.row, 15.0, "retrying", "queued")
    reading.ran(20.0, 21.0, "succeeded")
    found = page(reading)
    assert texts(found.lines) == [
        "queued",
        "queued -> running",
        "7/1",
        "7/2",
        "running -> retrying (error)",
        "retrying -> queued",
        "queued -> running",
        "9/1",
        "running -> succeeded",
    ]
    assert (found.more, found.ended) == (False, True)
    step = found.lines[1]
    assert (step.stream, step.run, step.number, step.fields) == (
        "life",
        0,
        2,
        {"attempt": 1, "node": "a@h", "worker": 2, "pid": 77},
    )
    assert [(line.run, line.number) for line in found.lines if line.stream == "out"] == [(7, 1), (7, 2), (9, 1)]
    assert [line.level for line in found.lines if line.stream == "life"] == ["info", "info", "warning", *["info"] * 3]
    assert page(reading, found.next).lines == []


def test_who_follows_is_given_each_line_and_step_once() -> None:
    reading = FakeReading()
    first = page(reading)
    assert (texts(first.lines), first.ended) == (["queued"], False)
    reading.say(7, (1, 10.1), (2, 10.2))
    second = page(reading, first.next)
    assert texts(second.lines) == ["7/1", "7/2"]
    reading.chunks.clear()
    reading.say(7, (2, 10.2), (3, 10.3))  # a chunk that begins before
    reading.ran(10.0, 11.0, "failed", "timeout")
    third = page(reading, second.next)
    assert texts(third.lines) == ["queued -> running", "7/3", "running -> failed (timeout)"]
    assert third.lines[2].level == "error"
    assert third.ended


def test_missing_lines_are_counted_before_the_next_one() -> None:
    reading = FakeReading()
    reading.say(7, (3, 10.0), (4, 10.0), (8, 10.0))
    reading.say(7, (10, 10.0))
    reading.say(8, (1, 20.0))
    found = page(reading)
    assert [(line.number, line.dropped) for line in found.lines if line.run] == [
        (3, 2),
        (4, 0),
        (8, 3),
        (10, 1),
        (1, 0),
    ]
    reading.say(8, (5, 21.0))
    assert [(line.number, line.dropped) for line in page(reading, found.next).lines] == [(5, 3)]


def test_a_page_is_bounded_by_bytes_and_the_rest_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_pages, "PAGE_BYTES", 100)
    monkeypatch.setattr(log_pages, "PART", 2)
    reading = FakeReading()
    for number in range(1, 40):
        reading.say(7, (number, 10.0 + number))
    reading.ran(10.0, 100.0, "succeeded")
    given_, after = list[str](), None
    pages = 0
    while True:
        found = page(reading, after)
        pages += 1
        given_ += texts(found.lines)
        after = found.next
        if not found.more:
            break
    assert pages > 3
    assert given_ == ["queued", "queued -> running", *(f"7/{n}" for n in range(1, 40)), "running -> succeeded"]


def test_a_chunk_without_a_line_behind_the_place_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_pages, "PAGE_BYTES", 1)
    monkeypatch.setattr(log_pages, "PART", 1)
    reading = FakeReading()
    reading.chunks.append(LogChunk(1, 7, 1, 5, msgspec.msgpack.encode([])))
    reading.say(7, (6, 10.0))
    first = page(reading)
    assert first.more
    assert texts(page(reading, first.next).lines)[-1] == "7/6"


def test_there_is_no_log_of_no_task() -> None:
    reading: Any = FakeReading()
    reading.row = None
    assert log_page(reading, ID, Place()) is None


@pytest.mark.parametrize("text", ["", "1", "1:2", "1:2:3:4", "a:b:c", "1:-2:3", f"{2**63}:0:0"])
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(BadQuery, match="is not the `next` of a page"):
        Place.parse(text)
    assert str(Place.parse("1:2:3")) == "1:2:3"


runs = st.lists(
    st.lists(st.tuples(st.integers(1, 3), st.integers(0, 5)), min_size=1, max_size=6), max_size=4
)  # per run: (step of the number, tenths of a second since the line before)


@given(runs, st.integers(1, 400), st.integers(1, 3))
def test_pages_of_any_size_give_the_same_lines(written: list[list[tuple[int, int]]], size: int, part: int) -> None:
    reading = FakeReading()
    now = 10.0
    for lease, lines in enumerate(written, 1):
        begin, number = now, 0
        for more, tenths in lines:
            number += more
            now += tenths / 10
            reading.say(lease, (number, now))
        reading.ran(begin, now + 1, "retrying", "error")
        now += 2
    whole = page(reading)
    assert [line.time for line in whole.lines] == sorted(line.time for line in whole.lines)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_pages, "PAGE_BYTES", size)
        patch.setattr(log_pages, "PART", part)
        parts, after, more = list[Any](), None, True
        while more:
            found = page(reading, after)
            parts += found.lines
            after, more = found.next, found.more
    assert sorted(parts, key=lambda line: (line.run, line.number)) == sorted(
        whole.lines, key=lambda line: (line.run, line.number)
    )
    assert [line for line in parts if line.run] == [line for line in whole.lines if line.run]
    assert [line.time for line in parts] == sorted(line.time for line in parts)
