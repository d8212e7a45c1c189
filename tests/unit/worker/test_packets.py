import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otpq.worker.packets import FINISH, Greeting, Item, Outcome, pack_packet, pack_results, unpack_packet
from otpq.worker.reports import Checkpoint, Progress, Ready, Refused, ReportError, Result, Results, read_report

items = st.builds(
    Item,
    seq=st.integers(1, 2**63 - 1),
    id=st.binary(min_size=16, max_size=16),
    name=st.text(min_size=1),
    attempt=st.integers(0, 100),
    options=st.binary(),
    payload=st.binary(),
    checkpoint=st.none() | st.binary(),
)


@given(st.integers(0, 2**63 - 1), st.lists(items, max_size=20))
def test_a_packet_is_read_as_it_was_meant(lease: int, tasks: list[Item]) -> None:
    assert unpack_packet(pack_packet(lease, tasks)) == (lease, tasks)


def test_a_packet_is_what_the_grammar_says() -> None:
    task = Item(1, b"i" * 16, "add", 2, b"", b"\x92\x90\x80")
    assert msgpack.unpackb(pack_packet(5, [task])) == [5, [[1, b"i" * 16, "add", 2, b"", b"\x92\x90\x80", None]]]
    assert msgpack.unpackb(FINISH) == [0, []]


def test_fields_that_a_newer_node_adds_are_passed_over() -> None:
    newer = (1, b"i" * 16, "add", 2, b"", b"", b"kept", "from the future")
    assert unpack_packet(pack_packet(5, [newer])).items == [Item(*newer[:7])]
    assert unpack_packet(pack_packet(5, [newer[:6]])).items == [Item(*newer[:6], None)]
    greeting = Greeting("m:app", "/board", 1, ["/lib"])
    assert Greeting.unpack(msgpack.packb({**greeting._asdict(), "new": 1})) == greeting


@given(st.integers(0, 2**63 - 1), st.lists(st.tuples(st.integers(1), st.sampled_from(Outcome), st.binary())))
def test_results_are_read_as_they_were_packed(lease: int, results: list[tuple[int, Outcome, bytes]]) -> None:
    results = [(seq % 2**63, outcome, value) for seq, outcome, value in results]
    packed = [msgpack.packb((*each, 1.5, 2.5)) for each in results]
    report = read_report(pack_results(lease, packed, len(packed)))
    assert report == Results(lease, tuple(Result(*each, 1.5, 2.5) for each in results))


def test_the_other_reports() -> None:
    assert read_report(msgpack.packb(["ready", 4, {"add": b""}, "newer"])) == Ready(4, {"add": b""})
    assert read_report(msgpack.packb(["refused", b"e"])) == Refused(b"e")
    assert read_report(msgpack.packb(["progress", 5, 1, 0.5, "half"])) == Progress(5, 1, 0.5, "half")
    assert read_report(msgpack.packb(["checkpoint", 5, 1, 9, b"v"])) == Checkpoint(5, 1, 9, b"v")


@pytest.mark.parametrize(
    ("said", "where"),
    [
        (["results", 1, [[1, 99, b"", 0.0, 0.0]]], r"\$\[2\]\[0\]\[1\]"),
        (["results", 1, [[1, 0, "text", 0.0, 0.0]]], r"\$\[2\]\[0\]\[2\]"),
        (["results", "1", []], r"\$\[1\]"),
        (["ready", 1, ["add"]], r"\$\[2\]"),
        (["ready", 1, {"add": b"\x00"}], "Expected `object`"),
        (["ready", 1, {"add": b"\x81\xa7retries\xff"}], "retries"),
        (["progress", 1, 2, 1.5, ""], r"\$\[3\]"),
        (["progress", 1, 2, 0.5, "x" * 1001], r"\$\[4\]"),
        (["checkpoint", 1, 2, 3, b"x" * ((1 << 20) + 1)], r"\$\[4\]"),
        (["other", 1], "other"),
        ({}, "array"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_place(said: object, where: str) -> None:
    with pytest.raises(ReportError, match=where):
        read_report(msgpack.packb(said))
    with pytest.raises(ReportError):
        read_report(msgpack.packb(said)[:-1])
