from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from otpq.worker.script_lines import LONGEST_LINE, Lines


def lines_of(*chunks: bytes) -> list[str]:
    lines = Lines()
    return [line for chunk in chunks for line in lines.feed(chunk)] + lines.end()


def test_lines_come_without_their_ends_and_the_last_one_may_have_none() -> None:
    lines = Lines()
    assert lines.feed(b"one\ntwo\r\nth") == ["one", "two"]
    assert lines.feed(b"ree") == []
    assert lines.end() == ["three"]
    assert lines.end() == []


def test_an_empty_line_is_a_line() -> None:
    assert lines_of(b"\n\na\n") == ["", "", "a"]


def test_what_is_no_utf_8_is_replaced() -> None:
    assert lines_of(b"a\xffb\n\xc3") == ["a\ufffdb", "\ufffd"]


def test_a_character_may_come_in_two_parts() -> None:
    assert lines_of("ü".encode()[:1], "ü".encode()[1:]) == ["ü"]


def test_a_long_line_comes_in_pieces_and_no_character_is_cut() -> None:
    line = "x" + "€" * LONGEST_LINE
    pieces = lines_of(line.encode() + b"\nnext\n")
    assert pieces.pop() == "next"
    assert "".join(pieces) == line
    assert all(LONGEST_LINE - 3 < len(piece.encode()) <= LONGEST_LINE for piece in pieces[:-1])


def test_a_line_without_an_end_is_not_held_back_for_ever() -> None:
    lines = Lines()
    assert lines.feed(b"x" * LONGEST_LINE) == []
    assert lines.feed(b"yz") == ["x" * LONGEST_LINE]
    assert lines.end() == ["yz"]


def test_bytes_that_are_no_text_are_cut_all_the_same() -> None:
    pieces = lines_of(b"\x80" * (2 * LONGEST_LINE + 5))
    assert [len(piece) for piece in pieces] == [LONGEST_LINE, LONGEST_LINE, 5]


@given(st.lists(st.binary(max_size=40) | st.integers(1, 3 * LONGEST_LINE).map(lambda n: "é".encode() * n), max_size=8))
def test_however_the_bytes_are_cut_the_same_text_comes_out(chunks: list[bytes]) -> None:
    whole = b"".join(chunks)
    assert "".join(lines_of(*chunks)) == "".join(lines_of(whole))
    assert all(len(line.encode("utf-8", "surrogatepass")) <= 3 * LONGEST_LINE for line in lines_of(*chunks))
