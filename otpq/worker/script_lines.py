"""Lines: the output of a program as it comes, cut into lines of text; what is held in between is bounded."""

from __future__ import annotations

from typing import Final

__all__ = ["LONGEST_LINE", "Lines"]

LONGEST_LINE: Final = 8 * 1024
"""Bytes. A longer line comes in several pieces, of this size but for the last."""

_CONTINUED: Final = 0b11000000, 0b10000000
"""Of a byte that does not begin a character of UTF-8: which bits tell, and what they are."""


class Lines:
    """One stream of a program. What is no UTF-8 is replaced, a carriage return at a line's end left out."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """The lines that are whole now."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        found = [_text(piece) for line in whole for piece in _pieces(line)]
        if len(self._rest) > LONGEST_LINE:
            *full, self._rest = _pieces(self._rest)
            found += map(_text, full)
        return found

    def end(self) -> list[str]:
        """What came after the last line's end, if anything did."""
        rest, self._rest = self._rest, b""
        return [_text(rest)] if rest else []


def _pieces(line: bytes) -> list[bytes]:
    if len(line) <= LONGEST_LINE:
        return [line]
    found = []
    begin = 0
    while len(line) - begin > LONGEST_LINE:
        end = _boundary(line, begin + LONGEST_LINE)
        found.append(line[begin:end])
        begin = end
    return [*found, line[begin:]]


def _boundary(line: bytes, at: int) -> int:
    """The begin of the character that byte `at` is of. Where there is none within four bytes, it is no UTF-8: `at`."""
    mask, continued = _CONTINUED
    for begin in range(at, at - 4, -1):
        if line[begin] & mask != continued:
            return begin
    return at


def _text(line: bytes) -> str:
    return line.removesuffix(b"\r").decode("utf-8", "replace")
