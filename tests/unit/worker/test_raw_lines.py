"""Bytes out of a pipe, in whatever pieces, become the same lines."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from otpq.worker.raw_lines import MAX_LINE, RawLines


def lines_of(*pieces: bytes) -> list[str | int]:
    lines = RawLines()
    return [each for piece in pieces for each in lines.feed(piece)] + lines.end()


@given(st.text(alphabet="aé漢😀 \t", max_size=200).map(lambda text: text.replace("\t", "\n")), st.data())
def test_however_the_bytes_are_cut_the_lines_are_the_same(text: str, data: st.DataObject) -> None:
    content = text.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=8)))
    pieces = [content[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(content)], strict=True)]
    expected = text.split("\n")
    assert lines_of(*pieces) == (expected if expected[-1] else expected[:-1])


def test_what_is_not_finished_waits_for_its_end() -> None:
    lines = RawLines()
    assert lines.feed(b"one\r\ntw") == ["one"]
    assert lines.feed(b"o\n") == ["two"]
    assert lines.end() == []


def test_what_is_no_utf_8_is_replaced() -> None:
    assert lines_of(b"a\xffb\n\xc3") == ["a\ufffdb", "\ufffd"]


def test_a_long_line_becomes_several_and_no_character_is_cut() -> None:
    text = "x" + "é" * 20_000
    found = lines_of(text.encode() + b"\nend\n")
    assert found[-1] == "end"
    assert all(isinstance(each, str) and len(each.encode()) <= MAX_LINE for each in found)
    assert "".join(map(str, found[:-1])) == text


def test_an_endless_line_is_not_kept_for_its_end() -> None:
    lines = RawLines()
    assert lines.feed(b"x" * (3 * MAX_LINE)) == ["x" * MAX_LINE] * 2
    assert lines.feed(b"\n") == ["x" * MAX_LINE]


def test_of_very_many_lines_the_middle_is_counted() -> None:
    count = 100_000
    found = lines_of(b"".join(b"%d\n" % number for number in range(count)))
    (gap,) = [each for each in found if isinstance(each, int)]
    at = found.index(gap)
    assert found[:at] == [str(number) for number in range(at)]
    assert found[at + 1 :] == [str(number) for number in range(at + gap, count)]
    assert at > 1000
    assert len(found) - at > 1000


@given(st.integers(0, 6000), st.booleans())
def test_no_line_is_lost_uncounted(count: int, is_finished: bool) -> None:  # noqa: FBT001 - a parameter of the property
    found = lines_of(b"\n" * count + (b"" if is_finished else b"rest"))
    assert sum(each if isinstance(each, int) else 1 for each in found) == count + (not is_finished)
