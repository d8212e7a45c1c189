"""Journal: the lines of running tasks, numbered and cut, on their way into the child's log ring.

Lines of one run are numbered from 1 in the order in which they enter the ring, whichever thread says them; so whoever reads
the ring sees from a gap how many were overwritten.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgpack

from otpq.wire.plain import is_plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otpq.worker.log_ring import LogRing

__all__ = ["MAX_FIELDS", "MAX_LINE", "Journal", "Speaker"]

MAX_LINE: Final = 8192
"""Bytes of a line; a longer one is cut into several."""
MAX_FIELDS: Final = 8192
"""Bytes that the fields of a line take, about; what is beyond them is left out, and that is said."""

_LONGEST_VALUE: Final = 500
"""Characters of a field that had to be made a text."""
_LEVELS: Final = {"out": "info", "err": "warning"}


class Speaker(Protocol):
    """What a journal needs of a run, and keeps in it."""

    lease: int
    seq: int
    lines: int
    """How many it has said so far."""
    unfinished: dict[str, str]
    """The begin of a line that has no end yet, by stream."""


class Journal:
    """Puts what runs say into a ring."""

    def __init__(self, ring: LogRing) -> None:
        self._ring = ring
        self._pack = msgpack.Packer().pack
        # Reentrant, and with a queue: a signal handler may print in the middle of a print.
        self._lock = threading.RLock()
        self._waiting: deque[tuple[Speaker, float, str, str, str, dict[str, Any] | None]] = deque()
        self._is_writing = False

    def write(self, run: Speaker, stream: str, text: str) -> None:
        """What a run wrote to "out" or "err": each line when it ends, the rest is kept until it does."""
        with self._lock:
            before = run.unfinished.get(stream, "")
            *lines, rest = f"{before}{text}".split("\n") if "\n" in text else (f"{before}{text}",)
            for line in lines:
                self.line(run, stream, _LEVELS[stream], line.removesuffix("\r"))
            if len(rest) > MAX_LINE:
                *pieces, rest = _pieces(rest)
                for piece in pieces:
                    self.line(run, stream, _LEVELS[stream], piece)
            run.unfinished[stream] = rest

    def end(self, run: Speaker) -> None:
        """Put what a run has not finished, as if it had: it has ended."""
        with self._lock:
            for stream, rest in run.unfinished.items():
                if rest:
                    self.line(run, stream, _LEVELS[stream], rest)
            run.unfinished.clear()

    def say(self, run: Speaker, level: str, message: str, fields: dict[str, Any]) -> None:
        """A message for the log, with its fields; of several lines the first has them."""
        said = _checked(fields) if fields else None
        with self._lock:
            for line in message.split("\n"):
                self.line(run, "log", level, line, said)
                said = None

    def line(self, run: Speaker, stream: str, level: str, text: str, fields: dict[str, Any] | None = None) -> None:
        """One line, as it is."""
        now = time.time()
        with self._lock:
            for piece in _pieces(text) if len(text) > MAX_LINE // 4 else (text,):
                self._waiting.append((run, now, stream, level, piece, fields))
                fields = None
            if self._is_writing:
                return
            self._is_writing = True
            try:
                while self._waiting:
                    self._put(*self._waiting.popleft())
            finally:
                self._is_writing = False

    def _put(self, run: Speaker, now: float, stream: str, level: str, text: str, fields: Any) -> None:  # noqa: PLR0917 - a record
        run.lines += 1
        if not text.isascii():  # lone surrogates have no UTF-8
            text = text.encode("utf-8", "backslashreplace").decode()
        self._ring.put(self._pack((run.seq, run.lease, run.lines, now, stream, level, text, fields)))


def _pieces(text: str) -> Iterator[str]:
    """Parts of at most `MAX_LINE` bytes; an empty text is one."""
    size = (
        MAX_LINE if text.isascii() else MAX_LINE // 6
    )  # a surrogate becomes six characters, and UTF-8 takes four bytes
    for at in range(0, len(text) or 1, size):
        yield text[at : at + size]


def _checked(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields that can be packed, and are not too long: what is no plain value becomes its text."""
    try:
        if is_plain(fields.values()) and len(msgpack.packb(fields)) <= MAX_FIELDS:
            return fields
    except (ValueError, OverflowError, TypeError, RecursionError, UnicodeError):
        pass  # an int of 65 bits, a list in itself
    found: dict[str, Any] = {}
    left = MAX_FIELDS
    for name, value in fields.items():
        text = _cut(_text_of(value))
        left -= 4 * (len(name) + len(text))
        if left < 0:
            found["..."] = f"{len(fields) - len(found)} left out"
            break
        found[name] = text
    return found


def _cut(text: str) -> str:
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."


def _text_of(value: object) -> str:
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001 - __str__ is the user's code
        return f"<its __str__ raised {type(error).__name__}>"
