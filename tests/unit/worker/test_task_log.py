"""What is told of the lines of a child's tasks: each run counted from 1, gaps kept, the beginning and the end of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgpack
from hypothesis import given
from hypothesis import strategies as st

from otpq.worker.task_log import HEAD, TAIL, TaskLog

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otpq.core.events import Logged

RUN = (1, 7)
"""Lease and seq."""
ROOM = 1.5
"""What a line counts is not what it takes in the end."""


def log_of(*runs: tuple[int, int]) -> TaskLog:
    open_ = set(runs or (RUN,))
    return TaskLog("s", lambda lease, seq: (lease, seq) in open_)


def record(number: int, text: str = "line", *, seq: int = 7, lease: int = 1, fields: Any = None, **other: Any) -> bytes:
    stream, level = other.get("stream", "out"), other.get("level", "info")
    return bytes(msgpack.packb([seq, lease, number, 5.0, stream, level, text, fields]))


def lines_of(event: Logged) -> list[list[Any]]:
    lines: list[list[Any]] = msgpack.unpackb(event.lines)
    assert (lines[0][0], lines[-1][0]) == (event.first, event.last)
    return lines


class Kept:
    """What a store has of a run, after what it was told."""

    def __init__(self) -> None:
        self.chunks: dict[int, Logged] = {}

    def hear(self, events: Sequence[Logged]) -> None:
        for event in events:
            assert event.first not in self.chunks
            assert all(event.first > chunk.last for chunk in self.chunks.values())
            self.chunks[event.first] = event
            if event.forget is not None:
                first, last = event.forget
                gone = [at for at, each in self.chunks.items() if at >= first and each.last <= last]
                assert gone, "a word to forget that nothing answers to"
                for at in gone:
                    del self.chunks[at]

    @property
    def lines(self) -> list[list[Any]]:
        return [line for chunk in self.chunks.values() for line in lines_of(chunk)]

    @property
    def numbers(self) -> list[int]:
        return [line[0] for line in self.lines]

    @property
    def size(self) -> int:
        return sum(len(chunk.lines) for chunk in self.chunks.values())


def test_records_are_told_as_they_are() -> None:
    log = log_of()
    log.put([record(1, "a"), record(2, "b", stream="log", level="warning", fields={"to": [1, None]})])
    (event,) = log.tell(10.0)
    assert (event.session, event.lease, event.seq, event.first, event.last, event.forget) == ("s", 1, 7, 1, 2, None)
    assert lines_of(event) == [
        [1, 5.0, "out", "info", "a", None],
        [2, 5.0, "log", "warning", "b", {"to": [1, None]}],
    ]
    assert log.tell(10.0) == []


def test_raw_lines_have_the_time_and_level_of_their_stream() -> None:
    log = log_of()
    log.put_raw(RUN, "out", b"a\n", 8.0)
    log.put_raw(RUN, "err", b"b\n", 9.0)
    (event,) = log.tell(10.0)
    assert lines_of(event) == [[1, 8.0, "out", "info", "a", None], [2, 9.0, "err", "error", "b", None]]


def test_lines_that_are_missing_leave_their_numbers_out_whoever_lost_them() -> None:
    log = log_of()
    log.put([record(3), record(4)])  # two were overwritten
    log.put_raw(RUN, "out", b"raw\nraw\n", 8.0)
    log.put([record(5), record(8)])
    (event,) = log.tell(10.0)
    assert [line[0] for line in lines_of(event)] == [3, 4, 5, 6, 7, 10]


def test_each_run_has_its_own_count() -> None:
    log = log_of((1, 7), (1, 8), (2, 7))
    log.put([record(1), record(1, seq=8), record(2), record(1, lease=2)])
    told = {(each.lease, each.seq): (each.first, each.last) for each in log.tell(10.0)}
    assert told == {(1, 7): (1, 2), (1, 8): (1, 1), (2, 7): (1, 1)}


def test_what_no_job_said_is_dropped() -> None:
    log = log_of()
    log.put([record(1, seq=99)])
    log.put_raw((5, 7), "out", b"a\n", 1.0)
    assert log.tell(10.0) == []
    assert log.runs == []


def test_what_makes_no_sense_is_dropped_and_the_rest_is_told() -> None:
    log = log_of()
    nonsense = [b"", b"\xc1", msgpack.packb([7]), record(0), record(2**60), record(1, level="loud"), record(1)[:-2]]
    log.put([*nonsense, record(1, "a"), record(2, "b", fields=[1]), record(2, "c")])
    (event,) = log.tell(10.0)
    assert [line[4:] for line in lines_of(event)] == [["a", None], ["b", None], ["c", None]]
    assert [line[0] for line in lines_of(event)] == [1, 2, 3]  # a number that came twice is not told twice


def test_a_run_that_has_ended_is_told_to_its_end_and_forgotten() -> None:
    log = log_of((1, 7), (1, 8))
    log.put([record(1), record(1, seq=8)])
    assert [each.seq for each in log.end(1, [7, 99], 10.0)] == [7]
    assert log.runs == [(1, 8)]


def test_a_little_is_told_at_once_and_never_forgotten() -> None:
    log, kept = log_of(), Kept()
    for number in range(1, 1001):
        log.put([record(number, "x" * 50)])
        kept.hear(log.tell(10.0))
    assert kept.numbers == list(range(1, 1001))


def test_of_very_much_the_beginning_and_the_end_are_kept() -> None:
    log, kept = log_of(), Kept()
    told = 0
    for look in range(100):  # ten seconds of 100,000 lines
        for number in range(look * 1000 + 1, (look + 1) * 1000 + 1):
            log.put([record(number, f"line {number}".ljust(60))])
        events = log.tell(100.0 + look / 10)
        told += sum(len(event.lines) for event in events)
        kept.hear(events)
    kept.hear(log.end(1, [7], 110.0))
    assert kept.size < ROOM * (HEAD + TAIL) + 64 * 1024
    assert told < ROOM * (HEAD + 12 * TAIL), "a store is not to be flooded"
    numbers = kept.numbers
    head = next(at for at, number in enumerate(numbers, 1) if number != at) - 1
    assert numbers[:head] == list(range(1, head + 1))
    assert head * 92 > HEAD - 1000
    tail = numbers[head:]
    assert tail[-1] == 100_000
    assert len(tail) * 92 > TAIL - 1000
    assert all(line[4] == f"line {line[0]}".ljust(60) for line in kept.lines)


def test_of_very_many_raw_lines_all_are_counted_and_the_beginning_and_the_end_are_kept() -> None:
    log, kept = log_of(), Kept()
    number = 0
    for look in range(60):
        count = 20_000 if look % 7 else 3
        block = b"".join(b"%d\n" % each for each in range(number + 1, number + count + 1))
        log.put_raw(RUN, "out" if look % 2 else "err", block, 5.0)
        number += count
        kept.hear(log.tell(100.0 + look / 10))
    log.put([record(1, str(number + 1))])
    kept.hear(log.end(1, [7], 110.0))
    assert kept.size < 2 * (HEAD + TAIL)
    assert all(line[4] == str(line[0]) for line in kept.lines)
    assert kept.numbers[:3000] == list(range(1, 3001))
    assert kept.numbers[-3000:] == list(range(number - 2998, number + 2))


def test_of_a_large_piece_no_more_is_told_than_is_kept() -> None:
    log = log_of()
    log.put_raw(RUN, "out", (b"x" * 1000 + b"\n") * 200, 1.0)
    log.tell(10.0)
    log.put_raw(RUN, "out", (b"y" * 1000 + b"\n") * 250, 1.0)
    told = log.tell(20.0)
    assert TAIL - 2000 < sum(len(event.lines) for event in told) < TAIL + 2000
    assert told[-1].last == 450


def test_the_end_is_kept_also_where_it_comes_drop_by_drop() -> None:
    log, kept = log_of(), Kept()
    log.put_raw(RUN, "out", (b"x" * 1000 + b"\n") * 600, 1.0)
    kept.hear(log.tell(10.0))
    for second in range(100):
        log.put_raw(RUN, "out", b"y" * 1000 + b"\n", 1.0)
        kept.hear(log.tell(11.0 + second))
    texts = [line[4] for line in kept.lines]
    assert texts[-100:] == ["y" * 1000] * 100
    assert TAIL - 2000 < sum(len(text) + 32 for text in texts[127:]) < TAIL + 64 * 1024


def test_what_follows_the_beginning_is_told_once_a_second() -> None:
    log = log_of()
    log.put_raw(RUN, "out", (b"x" * 1000 + b"\n") * 200, 1.0)
    assert len(log.tell(10.0)) > 1
    log.put_raw(RUN, "out", b"y\n", 1.0)
    assert log.tell(10.9) == []
    assert [lines_of(event)[0][4] for event in log.tell(11.0)] == ["y"]
    log.put_raw(RUN, "out", b"z\n", 1.0)
    assert len(log.tell(5.0)) == 1, "the clock was set back"


@given(st.lists(st.tuples(st.sampled_from(["record", "raw", "empty", "tell"]), st.integers(1, 9000)), max_size=60))
def test_numbers_grow_and_what_is_kept_is_bounded(moves: list[tuple[str, int]]) -> None:
    log, kept = log_of(), Kept()
    number, now = 0, 10.0
    for move, size in moves:
        match move:
            case "record":
                number += 1 + size % 2
                log.put([record(number, "x" * min(size, 8192))])
            case "raw":
                log.put_raw(RUN, "out", (b"y" * min(size, 8192) + b"\n") * (size % 40), now)
            case "empty":
                log.put_raw(RUN, "err", b"\n" * size, now)
            case _:
                now += size / 9000
                kept.hear(log.tell(now))
    kept.hear(log.end(1, [7], now))
    numbers = kept.numbers
    assert numbers == sorted(set(numbers))
    assert kept.size < ROOM * (HEAD + TAIL) + 64 * 1024
