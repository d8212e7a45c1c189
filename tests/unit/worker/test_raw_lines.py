"""Bytes out of a pipe, in whatever pieces, become the same lines."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from otpq.worker.raw_lines import MAX_LINE, RawLines, text_of


def lines_of(*pieces: bytes) -> list[str]:
    lines = RawLines()
    blocks = [*(lines.feed(piece) for piece in pieces), lines.end()]
    return [text_of(line) for block in blocks for line in block.splitlines(keepends=True)]


@given(st.text(alphabet="aé漢😀 \t", max_size=200).map(lambda text: text.replace("\t", "\n")), st.data())
def test_however_the_bytes_are_cut_the_lines_are_the_same(text: str, data: st.DataObject) -> None:
    content = text.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=8)))
    pieces = [content[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(content)], strict=True)]
    expected = text.split("\n")
    assert lines_of(*pieces) == (expected if expected[-1] else expected[:-1])


def test_what_is_not_finished_waits_for_its_end() -> None:
    lines = RawLines()
    assert lines.feed(b"one\ntw") == b"one\n"
    assert lines.feed(b"o\n") == b"two\n"
    assert lines.end() == b""


def test_what_is_no_utf_8_is_replaced_and_line_ends_are_left_out() -> None:
    assert lines_of(b"a\xffb\r\n\xc3") == ["a\ufffdb", "\ufffd"]


@given(st.lists(st.integers(0, 3 * MAX_LINE), max_size=6), st.integers(0, 3), st.integers(1, 2 * MAX_LINE))
def test_a_long_line_becomes_several_and_no_character_is_cut(lengths: list[int], offset: int, piece: int) -> None:
    expected = ["x" * offset + "é" * (length // 2) for length in lengths]
    content = b"".join(line.encode() + b"\n" for line in expected)
    found = lines_of(*(content[at : at + piece] for at in range(0, len(content), piece)))
    assert all(len(each.encode()) <= MAX_LINE for each in found)
    assert "".join(found) == "".join(expected)
    assert "\ufffd" not in "".join(found)
    short = [line for line in expected if len(line.encode()) <= MAX_LINE]
    assert [line for line in found if line in short][: len(short)] == short or any(
        len(line.encode()) > MAX_LINE for line in expected
    )


def test_an_endless_line_is_not_kept_for_its_end() -> None:
    lines = RawLines()
    assert lines.feed(b"x" * (3 * MAX_LINE)) == (b"x" * MAX_LINE + b"\n") * 2
    assert lines.feed(b"\n") == b"x" * MAX_LINE + b"\n"


def test_bytes_that_are_no_characters_are_cut_all_the_same() -> None:
    assert lines_of(b"\x80" * (2 * MAX_LINE)) == ["\ufffd" * MAX_LINE] * 2
