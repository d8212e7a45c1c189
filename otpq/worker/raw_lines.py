"""Bytes as they come out of a pipe, cut into lines of text; as a value."""

from __future__ import annotations

from typing import Final

__all__ = ["MAX_LINE", "RawLines"]

MAX_LINE: Final = 8 * 1024
"""Bytes of one line; a longer one becomes several."""

_MOST: Final = 2048
"""Of one piece of output as many lines from its beginning and its end are looked at; those between are only counted. A quarter
of a megabyte of empty lines would take a tenth of a second else, and nobody keeps them."""


class RawLines:
    """One stream. What follows the last line end waits for its end."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str | int]:
        """The lines that are complete now, in order. A number stands for as many lines that were passed over."""
        found: list[str | int] = []
        lines, rest = _split(self._rest + data)
        for line in lines:
            if isinstance(line, int):
                found.append(line)
            else:
                pieces, last = _cut(line)
                found += map(_text, (*pieces, last))
        pieces, self._rest = _cut(rest)
        found += map(_text, pieces)
        return found

    def end(self) -> list[str | int]:
        """The line that was not finished, if there is one."""
        rest, self._rest = self._rest, b""
        return [_text(rest)] if rest else []


def _split(data: bytes) -> tuple[list[bytes | int], bytes]:
    """Lines, a number in the place of those that are passed over, and what follows the last line end."""
    first = data.split(b"\n", _MOST)
    if len(first) <= _MOST:
        return [*first[:-1]], first[-1]
    middle, *last = first.pop().rsplit(b"\n", _MOST)
    if not last:  # no line ends there
        return [*first], middle
    passed = middle.count(b"\n") + 1
    return [*first, middle if passed == 1 else passed, *last[:-1]], last[-1]


def _cut(line: bytes) -> tuple[list[bytes], bytes]:
    """A long line in pieces and the last piece, never in the middle of a character."""
    pieces = []
    while len(line) > MAX_LINE:
        at = MAX_LINE
        while at > MAX_LINE - 3 and line[at] & 0xC0 == 0x80:  # noqa: PLR2004 - a byte that goes on with a character
            at -= 1
        pieces.append(line[:at])
        line = line[at:]
    return pieces, line


def _text(line: bytes) -> str:
    return line.removesuffix(b"\r").decode("utf-8", "replace")
