"""LogRing: what a child's tasks print, in shared memory, so that it is in the node's hands whatever becomes of the child.

A ring of bytes without a file's name. The child writes, the node reads, neither ever waits: where the reader is slow, the oldest
records are overwritten. A child that is killed in the middle of anything leaves whole records, and so does an exception.

Layout, in the machine's own byte order, since no other machine reads it: a head of 64 bytes, then the ring.

    head:   magic     8
            end       8   how many bytes were ever written: the next record begins there
            oldest    8   where the oldest record begins that is still whole
            (the rest is empty)
    ring:   records, one behind the other, going on at the begin where the ring ends
            record = size 4, check 4, so many bytes; check is the CRC-32 of the bytes, begun with the place of the record

The writer first moves `oldest` past what it is about to overwrite, then writes the record, then moves `end`: each by one store
of an aligned word. The reader copies what lies between `oldest` and `end` and looks at `oldest` again: what that has passed
meanwhile it throws away. The check is for machines that let another core see `end` before the bytes (ARM), and for children
that write into memory that is not theirs.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import threading
import zlib

__all__ = ["MAX_RECORD", "SIZE", "LogRing", "LogRingError", "nameless_file"]

SIZE = 256 * 1024
"""Bytes of a ring: about two thousand lines, which a node that looks each tenth of a second mostly reads in time."""

MAX_RECORD = 32 * 1024
"""Bytes of a record."""

_MAGIC = b"otpq-lr1"
_HEAD_BYTES = 64
_END, _OLDEST = 1, 2
_RECORD_HEAD = struct.Struct("=II")
_HEAD = _RECORD_HEAD.size
_TRIES = 3


class LogRingError(ValueError):
    """The descriptor leads to no ring, or a record is too long."""


class LogRing:
    """One ring, mapped. One process puts, one takes."""

    def __init__(self, descriptor: int) -> None:
        """Made by `create` and `of_descriptor`."""
        self.descriptor = descriptor
        """Of the nameless file, for the child to inherit."""
        size = os.fstat(descriptor).st_size
        if size < _HEAD_BYTES + MAX_RECORD + _HEAD:
            raise LogRingError(f"descriptor {descriptor} has {size} bytes, too few for a ring")
        self._map = mmap.mmap(descriptor, size)
        self._words = memoryview(self._map)[:_HEAD_BYTES].cast("Q")
        self._ring = memoryview(self._map)[_HEAD_BYTES:]
        self._size = size - _HEAD_BYTES
        self._lock = threading.Lock()
        self._taken = 0

    @classmethod
    def create(cls, size: int = SIZE) -> LogRing:
        """A new one of `size` bytes, empty.

        Raises:
            LogRingError: It is smaller than one record may be.
        """
        descriptor = nameless_file("otpq-log")
        os.ftruncate(descriptor, _HEAD_BYTES + size)
        os.pwrite(descriptor, _MAGIC, 0)
        try:
            return cls(descriptor)
        except LogRingError:
            os.close(descriptor)
            raise

    @classmethod
    def of_descriptor(cls, descriptor: int) -> LogRing:
        """That which was made elsewhere; its reader begins with the oldest record that is there.

        Raises:
            LogRingError: It is something else.
        """
        if os.pread(descriptor, len(_MAGIC), 0) != _MAGIC:
            raise LogRingError(f"descriptor {descriptor} is no ring")
        return cls(descriptor)

    # --- the writer -------------------------------------------------------------------------------------------------

    def put(self, record: bytes) -> None:
        """Write a record, over the oldest where there is no room. Threads may, but no signal handler in the middle of another.

        Raises:
            LogRingError: It is longer than `MAX_RECORD`.
        """
        need = _HEAD + len(record)
        if len(record) > MAX_RECORD:
            raise LogRingError(f"a record of {len(record)} bytes; {MAX_RECORD} are allowed")
        with self._lock:
            end = self._words[_END]
            self._make_room(end, need)
            self._write(end, _RECORD_HEAD.pack(len(record), zlib.crc32(record, end & 0xFFFFFFFF)))
            self._write(end + _HEAD, record)
            self._words[_END] = end + need  # one store; a memoryview of "Q" writes the word whole (see deadline.py)

    def _make_room(self, end: int, need: int) -> None:
        oldest = self._words[_OLDEST]
        if end + need - oldest <= self._size:
            return
        while end + need - oldest > self._size:
            oldest += _HEAD + _RECORD_HEAD.unpack(self._read(oldest, _HEAD))[0]
        self._words[_OLDEST] = oldest

    def _write(self, place: int, data: bytes) -> None:
        at = place % self._size
        first = min(len(data), self._size - at)
        self._ring[at : at + first] = data[:first]
        if first < len(data):
            self._ring[: len(data) - first] = data[first:]

    def _read(self, place: int, count: int) -> bytes:
        at = place % self._size
        found = bytes(self._ring[at : at + count])
        return found if len(found) == count else found + bytes(self._ring[: count - len(found)])

    # --- the reader -------------------------------------------------------------------------------------------------

    @property
    def has_news(self) -> bool:
        """Whether something was put since the last `take`."""
        return self._words[_END] != self._taken

    def take(self) -> list[bytes]:
        """The records that were put since the last time, in their order; those that were overwritten are missing."""
        for _ in range(_TRIES):
            end, oldest = self._words[_END], self._words[_OLDEST]
            begin = max(self._taken, oldest)
            if not begin <= end <= begin + self._size:
                break
            copy = self._read(begin, end - begin)
            found, at = _records(copy, begin, self._words[_OLDEST])
            if found or at > self._taken:
                self._taken = at
            if found or at == end:
                return found
        # Whoever writes here writes nonsense, or so fast that nothing stays whole while it is copied.
        self._taken = self._words[_END]
        return []

    def close(self) -> None:
        """Unmap it, and let go of the descriptor."""
        self._words.release()
        self._ring.release()
        self._map.close()
        with contextlib.suppress(OSError):
            os.close(self.descriptor)


def _records(copy: bytes, begin: int, oldest: int) -> tuple[list[bytes], int]:
    """The whole records of a copy that was made from `begin` on, and where the next one begins.

    What lies before `oldest` may have been overwritten while it was copied, sizes too: reading goes on from there.
    """
    found: list[bytes] = []
    place = max(begin, oldest)
    end = begin + len(copy)
    while place + _HEAD <= end:
        size, check = _RECORD_HEAD.unpack_from(copy, place - begin)
        at = place - begin + _HEAD
        record = copy[at : at + size]
        if len(record) != size or zlib.crc32(record, place & 0xFFFFFFFF) != check:
            break
        found.append(record)
        place += _HEAD + size
    return found, max(place, begin)


def nameless_file(name: str) -> int:
    """The descriptor of a new file that no directory knows; `name` is for whoever looks at the process."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name, os.MFD_CLOEXEC)
    import tempfile  # 4 ms, and no child on Linux pays them

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
