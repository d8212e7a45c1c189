"""Bytes as they come out of a pipe, put together to whole lines; as a value.

The lines stay bytes in one piece, a *block*: of a program that writes much nearly all of them are never looked at one by one.
"""

from __future__ import annotations

from typing import Final

__all__ = ["MAX_LINE", "RawLines", "text_of"]

MAX_LINE: Final = 8 * 1024
"""Bytes of one line; a longer one becomes several."""


class RawLines:
    """One stream. What follows the last line end waits for its end."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        """The lines that are complete now, each with its end; none is longer than `MAX_LINE`."""
        data = self._rest + data
        pieces: list[bytes] = []
        at, length = 0, len(data)
        while length - at > MAX_LINE:
            end = data.rfind(b"\n", at, at + MAX_LINE + 1) + 1  # the last of some whole lines
            if end:
                pieces.append(data[at:end])
            else:
                end = _border(data, at + MAX_LINE)
                pieces.append(data[at:end] + b"\n")
            at = end
        end = data.rfind(b"\n", at) + 1 or at
        pieces.append(data[at:end])
        self._rest = data[end:]
        return b"".join(pieces)

    def end(self) -> bytes:
        """The line that was not finished, if there is one, with an end."""
        rest, self._rest = self._rest, b""
        return rest + b"\n" if rest else b""


def _border(data: bytes, at: int) -> int:
    """Where a character begins, at `at` or shortly before it."""
    for back in range(4):
        if data[at - back] & 0xC0 != 0x80:  # noqa: PLR2004 - a byte that goes on with a character
            return at - back
    return at


def text_of(line: bytes) -> str:
    """A line without its end, as text."""
    return line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8", "replace")
