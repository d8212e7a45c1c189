"""The ring for what tasks print: nothing is torn, nothing is out of order, and what is missing is the oldest."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from otpq.worker import log_ring
from otpq.worker.log_ring import MAX_RECORD, SIZE, LogRing, LogRingError

if TYPE_CHECKING:
    from collections.abc import Iterator

SMALL = MAX_RECORD + 64


@pytest.fixture
def ring() -> Iterator[LogRing]:
    made = LogRing.create()
    yield made
    made.close()


def test_what_was_put_is_taken_once_and_in_order(ring: LogRing) -> None:
    assert not ring.has_news
    for record in (b"one", b"", b"three"):
        ring.put(record)
    assert ring.has_news
    assert ring.take() == [b"one", b"", b"three"]
    assert not ring.has_news
    assert ring.take() == []


def test_another_process_finds_it_by_its_descriptor(ring: LogRing) -> None:
    ring.put(b"before")
    other = LogRing.of_descriptor(os.dup(ring.descriptor))
    ring.put(b"after")
    assert other.take() == [b"before", b"after"]
    other.put(b"back")
    assert ring.take() == [b"before", b"after", b"back"]
    other.close()


def test_the_oldest_are_overwritten(ring: LogRing) -> None:
    records = [b"%06d" % number * 10 for number in range(20_000)]
    for record in records:
        ring.put(record)
    taken = ring.take()
    assert taken == records[-len(taken) :]
    assert SIZE - 100 < sum(len(record) + 8 for record in taken) <= SIZE


def test_the_longest_record_goes_in_and_a_longer_one_is_refused(ring: LogRing) -> None:
    ring.put(b"x" * MAX_RECORD)
    with pytest.raises(LogRingError, match="32769 bytes; 32768 are allowed"):
        ring.put(b"x" * (MAX_RECORD + 1))
    assert ring.take() == [b"x" * MAX_RECORD]


def test_what_is_no_ring_is_refused() -> None:
    with pytest.raises(LogRingError, match="too few"):
        LogRing.create(100)
    read, write = os.pipe()
    os.write(write, b"x" * 64)
    descriptor = os.memfd_create("other") if hasattr(os, "memfd_create") else os.open(__file__, os.O_RDONLY)
    with pytest.raises(LogRingError, match="is no ring"):
        LogRing.of_descriptor(descriptor)
    for each in (read, write, descriptor):
        os.close(each)


def test_an_exception_in_the_middle_leaves_the_records_whole(ring: LogRing, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever step of `put` it comes in."""
    ring.put(b"before")
    for step in range(10):
        steps = 0
        write = ring._write

        def torn(place: int, data: bytes, *, step: int = step) -> None:
            nonlocal steps
            if steps == step:
                write(place, data[: len(data) // 2])  # noqa: B023 - called in this round
                raise KeyboardInterrupt
            steps += 1
            write(place, data)  # noqa: B023

        with monkeypatch.context() as patch:
            patch.setattr(ring, "_write", torn)
            if step < 2:
                with pytest.raises(KeyboardInterrupt):
                    ring.put(b"torn")
    ring.put(b"after")
    assert ring.take() == [b"before", b"after"]


def test_a_child_that_writes_nonsense_is_survived(ring: LogRing) -> None:
    ring.put(b"good")
    ring.put(b"spoilt")
    at = ring._ring.obj.find(b"spoilt")  # type: ignore[attr-defined]
    ring._map[at : at + 1] = b"X"
    assert ring.take() == [b"good"]
    assert ring.take() == []
    ring.put(b"again")
    assert ring.take() == [b"again"]
    for word in (log_ring._END, log_ring._OLDEST):
        ring._words[word] = 2**63
        assert ring.take() == []
    ring._words[log_ring._END] = ring._words[log_ring._OLDEST] = 0
    assert ring.take() == []
    ring.put(b"at last")
    assert ring.take() == [b"at last"]


@settings(max_examples=50)
@given(st.lists(st.one_of(st.binary(max_size=300), st.integers(0, MAX_RECORD).map(bytes), st.none()), max_size=200))
def test_taken_is_what_was_put_but_for_the_oldest_since_the_last_time(steps: list[bytes | None]) -> None:
    ring = LogRing.create(SMALL)
    pending: list[bytes] = []
    for record in steps:
        if record is None:
            taken = ring.take()
            assert taken == pending[len(pending) - len(taken) :]
            room = sum(len(each) + 8 for each in pending)
            assert len(taken) == len(pending) or room > SMALL
            pending.clear()
        else:
            ring.put(record)
            pending.append(record)
    ring.close()


class WriterAndReader(RuleBasedStateMachine):
    """Steps of one `put` and of one `take` in any interleaving, a step being one store, or one copy, to shared memory.

    The writer may be killed after any of its steps: the next one begins with what is in memory.
    """

    def __init__(self) -> None:
        super().__init__()
        self.writer = LogRing.create(SMALL)
        self.reader = LogRing.of_descriptor(os.dup(self.writer.descriptor))
        self.steps: list[tuple[str, int, bytes | int]] = []
        """What `put` still has to do."""
        self.copy: tuple[int, bytes] | None = None
        self.count = 0
        self.whole: list[bytes] = []
        """The records that are published, in order."""
        self.ends: list[int] = []
        """Where each ends."""
        self.taken: list[bytes] = []
        self.record = b""

    def teardown(self) -> None:
        self.writer.close()
        self.reader.close()

    @precondition(lambda self: not self.steps)
    @rule(size=st.sampled_from((0, 1, 50, 5_000, MAX_RECORD - 10)))
    def begin_put(self, size: int) -> None:
        """Note the steps of a real `put` instead of doing them."""
        self.count += 1
        self.record = b"%010d" % self.count + b"." * size
        words, ring = bytes(self.writer._map[:64]), bytes(self.writer._map[64:])
        made: list[tuple[str, int, bytes | int]] = []
        real_write = self.writer._write

        def write(place: int, data: bytes) -> None:
            # The move of `oldest` comes before the first byte.
            if not made:
                made.append(("oldest", log_ring._OLDEST, self.writer._words[log_ring._OLDEST]))
            made.extend(("bytes", place + at, data[at : at + 4096]) for at in range(0, len(data), 4096))
            real_write(place, data)

        self.writer._write = write  # type: ignore[method-assign]
        self.writer.put(self.record)
        self.writer._write = real_write  # type: ignore[method-assign]
        made.append(("end", log_ring._END, self.writer._words[log_ring._END]))
        self.writer._map[:64], self.writer._map[64:] = words, ring
        self.steps = made

    @precondition(lambda self: self.steps)
    @rule(count=st.integers(1, 4))
    def step(self, count: int) -> None:
        for kind, where, what in self.steps[:count]:
            if kind == "bytes":
                assert isinstance(what, bytes)
                self.writer._write(where, what)
            else:
                assert isinstance(what, int)
                self.writer._words[where] = what
            if kind == "end":
                assert isinstance(what, int)
                self.whole.append(self.record)
                self.ends.append(what)
        del self.steps[:count]

    @precondition(lambda self: self.steps)
    @rule()
    def kill_the_writer(self) -> None:
        self.steps.clear()

    @precondition(lambda self: self.copy is None)
    @rule()
    def begin_take(self) -> None:
        """The looks at `end` and `oldest`, and the copy, as `take` makes them."""
        end = self.reader._words[log_ring._END]
        begin = max(self.reader._taken, self.reader._words[log_ring._OLDEST])
        self.copy = begin, self.reader._read(begin, end - begin)

    @precondition(lambda self: self.copy is not None)
    @rule()
    def finish_take(self) -> None:
        assert self.copy is not None
        (begin, copy), self.copy = self.copy, None
        oldest = self.reader._words[log_ring._OLDEST]
        found, at = log_ring._records(copy, begin, oldest)
        assert found == [
            record
            for record, end in zip(self.whole, self.ends, strict=True)
            if end - len(record) - 8 >= max(begin, oldest) and end <= begin + len(copy)
        ]
        self.reader._taken = max(at, self.reader._taken)
        self.taken.extend(found)

    @invariant()
    def what_was_taken_is_whole_and_in_order(self) -> None:
        rest = iter(self.whole)
        assert all(record in rest for record in self.taken)


WriterAndReader.TestCase.settings = settings(max_examples=60, stateful_step_count=60)
test_no_interleaving_of_writer_and_reader_tears_a_record = WriterAndReader.TestCase
