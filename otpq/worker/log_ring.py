"""Lines of a child on their way to its worker: a ring in shared memory that neither side waits for.

A line that was put is in the node's hands, whatever becomes of the child. Head of the file: `written` and `oldest`, bytes since
the beginning, 8 each; then the bytes themselves, each record behind its length. The writer moves `oldest` before it
overwrites, and `written` by one store after the record is whole.
"""

from __future__ import annotations

import mmap
import os
import sys
import threading
from typing import Final

__all__ = ["LogRing"]

_HEAD: Final = 64
_LENGTH: Final = 4
_WRITTEN, _OLDEST = 0, 1


class LogRing:
    """One end of it; one process puts, one takes."""

    def __init__(self, descriptor: int, size: int) -> None:
        """Made by `create` and `of_descriptor` alone."""
        self.descriptor = descriptor
        self._size = size
        self._map = mmap.mmap(descriptor, _HEAD + size)
        self._words = memoryview(self._map).cast("Q")
        self._taken = self._words[_WRITTEN]
        self._lock = threading.Lock()

    @classmethod
    def create(cls, size: int = 256 * 1024) -> LogRing:
        """A new one, whose descriptor the child inherits."""
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("otpq-log", os.MFD_CLOEXEC)
        else:
            import tempfile

            with tempfile.TemporaryFile() as file:
                descriptor = os.dup(file.fileno())
        os.ftruncate(descriptor, _HEAD + size)
        return cls(descriptor, size)

    @classmethod
    def of_descriptor(cls, descriptor: int) -> LogRing:
        """The other end."""
        return cls(descriptor, os.fstat(descriptor).st_size - _HEAD)

    def put(self, record: bytes) -> None:
        """Add a record, over the oldest ones if need be."""
        with self._lock:
            written, oldest = self._words[_WRITTEN], self._words[_OLDEST]
            end = written + _LENGTH + len(record)
            if end - written > self._size:
                return
            while end - oldest > self._size:
                oldest += _LENGTH + int.from_bytes(self._read(oldest, _LENGTH), sys.byteorder)
            self._words[_OLDEST] = oldest
            self._write(written, len(record).to_bytes(_LENGTH, sys.byteorder) + record)
            self._words[_WRITTEN] = end

    def take(self) -> list[bytes]:
        """The records since the last call, in order; those that were overwritten are missing."""
        written = self._words[_WRITTEN]
        begin = max(self._taken, self._words[_OLDEST])
        self._taken = written
        if not 0 < written - begin <= self._size:
            return []
        content = self._read(begin, written - begin)
        oldest = self._words[_OLDEST]
        records, at = [], 0
        while at < len(content):
            end = at + _LENGTH + int.from_bytes(content[at : at + _LENGTH], sys.byteorder)
            if begin + at >= oldest:
                records.append(content[at + _LENGTH : end])
            at = end
        return records

    @property
    def has_news(self) -> bool:
        """Whether there is anything to take."""
        return self._words[_WRITTEN] != self._taken

    def close(self) -> None:
        """Let go of this end."""
        self._words.release()
        self._map.close()
        os.close(self.descriptor)

    def _read(self, at: int, count: int) -> bytes:
        at %= self._size
        first = self._map[_HEAD + at : _HEAD + min(at + count, self._size)]
        return first + self._map[_HEAD : _HEAD + count - len(first)]

    def _write(self, at: int, data: bytes) -> None:
        at %= self._size
        fits = min(len(data), self._size - at)
        self._map[_HEAD + at : _HEAD + at + fits] = data[:fits]
        self._map[_HEAD : _HEAD + len(data) - fits] = data[fits:]
