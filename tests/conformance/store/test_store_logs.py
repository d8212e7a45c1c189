"""Logs of tasks: in order, bounded, gone with their task."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from otpq.core.records import Changes, LogChunk
from otpq.store.protocol import LOGGED_RUNS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from otpq.core.records import TaskRow
    from otpq.store.protocol import Reading, Store


@pytest.fixture
def logged(store: Store, row: Callable[..., TaskRow]) -> Iterator[Reading]:
    """A store with tasks 1 and 2, and somebody who looks into it."""
    store.commit(Changes(inserts=[row(1), row(2)], counts={("default", "queued"): 2}))
    reading = store.reading()
    yield reading
    reading.close()


def chunk(lease: int, first: int, last: int, *, seq: int = 1, forget: tuple[int, int] | None = None) -> LogChunk:
    lines = [[number, 5.0, "out", "info", f"line {number}", None] for number in range(first, last + 1)]
    return LogChunk(seq, lease, first, last, msgspec.msgpack.encode(lines), forget)


def spans(chunks: list[LogChunk]) -> list[tuple[int, int, int]]:
    return [(each.lease, each.first, each.last) for each in chunks]


def test_a_log_comes_back_in_the_order_of_its_runs_and_lines(store: Store, logged: Reading) -> None:
    store.commit(Changes(logs=[chunk(4, 3, 9), chunk(4, 1, 2), chunk(3, 5, 5)]))
    store.commit(Changes(logs=[chunk(3, 1, 3), chunk(7, 1, 1, seq=2)]))
    assert logged.log(1) == [chunk(3, 1, 3), chunk(3, 5, 5), chunk(4, 1, 2), chunk(4, 3, 9)]
    assert logged.log(2) == [chunk(7, 1, 1, seq=2)]
    assert logged.log(3) == []


def test_a_log_is_read_on_from_any_line(store: Store, logged: Reading) -> None:
    store.commit(Changes(logs=[chunk(3, 1, 3), chunk(3, 5, 9), chunk(4, 1, 2)]))
    assert spans(logged.log(1, limit=2)) == [(3, 1, 3), (3, 5, 9)]
    assert spans(logged.log(1, after=(3, 3))) == [(3, 5, 9), (4, 1, 2)]
    assert spans(logged.log(1, after=(3, 6))) == [(3, 5, 9), (4, 1, 2)]  # a part of the first is known already
    assert spans(logged.log(1, after=(3, 9))) == [(4, 1, 2)]
    assert spans(logged.log(1, after=(4, 2))) == []


def test_the_middle_of_a_run_is_forgotten_and_no_other_run(store: Store, logged: Reading) -> None:
    store.commit(Changes(logs=[chunk(3, first, first + 9) for first in (1, 11, 21, 31)]))
    store.commit(Changes(logs=[chunk(2, 11, 20), chunk(3, 11, 20, seq=2)]))
    store.commit(Changes(logs=[chunk(3, 41, 50, forget=(11, 30))]))
    assert spans(logged.log(1)) == [(2, 11, 20), (3, 1, 10), (3, 31, 40), (3, 41, 50)]
    assert spans(logged.log(2)) == [(3, 11, 20)]


def test_a_chunk_that_is_only_in_part_to_be_forgotten_stays(store: Store, logged: Reading) -> None:
    store.commit(Changes(logs=[chunk(3, 1, 10), chunk(3, 11, 20)]))
    store.commit(Changes(logs=[chunk(3, 21, 30, forget=(5, 19))]))
    assert spans(logged.log(1)) == [(3, 1, 10), (3, 11, 20), (3, 21, 30)]


@pytest.mark.parametrize("first", [1, 40])
def test_the_last_runs_are_kept_even_if_their_first_lines_are_missing(
    store: Store, logged: Reading, first: int
) -> None:
    for lease in range(1, LOGGED_RUNS + 4):
        store.commit(Changes(logs=[chunk(lease, first, first), chunk(lease, first + 1, first + 1)]))
        store.commit(Changes(logs=[chunk(lease, first, first, seq=2)] if lease < 3 else []))
    assert {each.lease for each in logged.log(1)} == set(range(4, LOGGED_RUNS + 4))
    assert len(logged.log(1)) == 2 * LOGGED_RUNS
    assert len(logged.log(2)) == 2


def test_a_log_goes_with_its_task(store: Store, logged: Reading) -> None:
    store.commit(Changes(logs=[chunk(3, 1, 3), chunk(3, 1, 3, seq=2)]))
    store.commit(Changes(deletes=[1], counts={("default", "queued"): -1}))
    assert logged.log(1) == []
    assert len(logged.log(2)) == 1


def test_lines_that_nobody_can_keep_refuse_no_commit(store: Store, logged: Reading) -> None:
    store.commit(Changes(logs=[chunk(3, 1, 3)], settings={"a": b"1"}))
    store.commit(Changes(logs=[chunk(3, 1, 3), chunk(3, 1, 1, seq=99)], settings={"b": b"1"}))
    assert store.recover().settings == {"a": b"1", "b": b"1"}
    assert (spans(logged.log(1)), logged.log(99)) == ([(3, 1, 3)], [])
