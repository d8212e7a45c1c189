"""Which task runs in each slot of a node, and since when: a small file that everybody maps and nobody's death can spoil.

A child writes its slots; the worker reads them (whom to blame, who is late), and so does the node's next incarnation.
No message is sent for it, and what was written survives the SIGKILL of every process, though not power loss.

Layout, in the machine's own byte order, since no other machine reads it: a head of 64 bytes, then 64 bytes a slot.

    slot:   turn     8   odd: a task runs, the record is whole; even: none runs, what stands here is of the past or half new
            seq      8   the task's number at the leader
            lease    8
            started  8   wall clock, seconds (float)
            since    8   boottime, nanoseconds: for lateness, whoever set the clock
            id      16   the task's id
            pid      4   the child's
            attempt  2
            echo     2   the low 16 bits of `turn`, written with the record

One writer a slot. To begin, it writes the record while `turn` is even, then makes it odd by one store of an aligned word,
then calls the handler. To end, it makes it even by another. A SIGKILL between any two of these instructions leaves a slot
that says the truth: either a whole record of a task whose handler was called, or that no handler was running. A living
reader copies the record between two looks at `turn`; if they differ, it looks again.

`turn` grows by two with every task. A task that travels alone has *not* begun if `turn` is what it was before it was sent:
that is the proof that at-most-once asks for.

A child that runs several tasks at a time has a slot for each. Behind them a child with an event loop has one for its pulse,
where `turn` grows by two as often as the loop comes round to it.
"""

from __future__ import annotations

import mmap
import os
import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Blackboard", "BlackboardError", "Entry", "Slot", "SlotView"]

_MAGIC = b"otpq-bb1"
_HEAD = struct.Struct("=8sI52x")
_RECORD = struct.Struct("=qQdq16siHH")
_TURN_BYTES = 8
_SLOT_BYTES = 64
_WORDS_A_SLOT = _SLOT_BYTES // _TURN_BYTES
_ECHO_MASK = 0xFFFF
_TRIES = 1000


class BlackboardError(Exception):
    """The file is no blackboard, or has no such slot."""


class Entry(NamedTuple):
    """A task whose handler was called and had not returned."""

    seq: int
    lease: int
    id: bytes
    attempt: int
    pid: int
    started: float
    """Wall clock, seconds."""
    since_ns: int
    """`boottime_ns` at the same moment; meaningless after the machine was started again."""


class SlotView(NamedTuple):
    """What a slot says at one moment."""

    turn: int
    """Grows with every task that begins; odd while one runs."""
    running: Entry | None

    @property
    def begun(self) -> int:
        """How many tasks have begun in this slot, so far."""
        return (self.turn + 1) // 2


class Blackboard:
    """All slots of a node, mapped. The file's pages are shared, so that no write to disk is needed to be seen."""

    def __init__(self, path: Path) -> None:
        """Maps the blackboard that is there.

        Raises:
            OSError: It is not there.
            BlackboardError: It is something else.
        """
        self.path = path
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            size = os.fstat(descriptor).st_size
            if size < _SLOT_BYTES:
                raise BlackboardError(f"{path} has {size} bytes; a blackboard has {_SLOT_BYTES} or more")
            self._map = mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)
        magic, self.slots = _HEAD.unpack_from(self._map, 0)
        if magic != _MAGIC or size != _SLOT_BYTES * (self.slots + 1):
            self._map.close()
            raise BlackboardError(f"{path} is no blackboard: {magic!r}, {self.slots} slots, {size} bytes")
        self._words = memoryview(self._map).cast("Q")

    @classmethod
    def create(cls, path: Path, slots: int) -> Blackboard:
        """A new one with empty slots. It takes the place of an old one at once, which whoever mapped it keeps."""
        draft = path.with_name(f".draft.{os.getpid()}.{path.name}")
        draft.write_bytes(_HEAD.pack(_MAGIC, slots) + bytes(_SLOT_BYTES * slots))
        draft.replace(path)
        return cls(path)

    def read(self, slot: int) -> SlotView:
        """What the slot says.

        Raises:
            BlackboardError: There is no such slot.
        """
        self._check(slot)
        at = (slot + 1) * _SLOT_BYTES + _TURN_BYTES
        for _ in range(_TRIES):
            turn = self._words[(slot + 1) * _WORDS_A_SLOT]
            if turn % 2 == 0:
                return SlotView(turn, None)
            seq, lease, started, since, id, pid, attempt, echo = _RECORD.unpack_from(self._map, at)
            # The echo is for machines that let another core see the turn before the record (ARM).
            if echo == turn & _ECHO_MASK and self._words[(slot + 1) * _WORDS_A_SLOT] == turn:
                return SlotView(turn, Entry(seq, lease, id, attempt, pid, started, since))
        # A task a microsecond, and our thread always just too late: some task runs, and none of them for long.
        return SlotView(self._words[(slot + 1) * _WORDS_A_SLOT] & ~1, None)

    def read_all(self) -> list[SlotView]:
        """What every slot says, for the next incarnation; each is right by itself."""
        return [self.read(slot) for slot in range(self.slots)]

    def clear(self, slot: int) -> None:
        """Say that nothing runs there. For the worker, when it has read whom to blame and the child is gone."""
        self._check(slot)
        word = (slot + 1) * _WORDS_A_SLOT
        self._words[word] += self._words[word] % 2

    def slot(self, slot: int) -> Slot:
        """The writer of a slot, for the child that owns it."""
        self._check(slot)
        return Slot(self._map, self._words, slot)

    def close(self) -> None:
        """Unmap it; the file stays. Its writers must be gone."""
        self._words.release()
        self._map.close()

    def _check(self, slot: int) -> None:
        if not 0 <= slot < self.slots:
            raise BlackboardError(f"slot {slot} of {self.path}: there are {self.slots}")


class Slot:
    """The pen for one slot. Two calls a task, 0.5 us together, so they check nothing."""

    __slots__ = ("_at", "_map", "_pid", "_turn", "_word", "_words")

    def __init__(self, map_: mmap.mmap, words: memoryview[int], slot: int) -> None:
        self._map = map_
        self._words = words
        self._at = (slot + 1) * _SLOT_BYTES + _TURN_BYTES
        self._word = (slot + 1) * _WORDS_A_SLOT
        self._pid = os.getpid()
        # Whoever wrote here before was killed in the middle of a task, and its blame has been read.
        self._turn = words[self._word] + words[self._word] % 2
        words[self._word] = self._turn

    @property
    def is_running(self) -> bool:
        """Whether a task was begun and not ended."""
        return self._turn % 2 == 1

    def begin(  # noqa: PLR0917 - keywords would cost a tenth of it, every task
        self,
        seq: int,
        lease: int,
        id: bytes,
        attempt: int,
        started: float,
        since_ns: int,
    ) -> None:
        """The handler of this task is called right after this."""
        turn = self._turn = self._turn + 1
        _RECORD.pack_into(
            self._map, self._at, seq, lease, started, since_ns, id, self._pid, attempt & 0xFFFF, turn & _ECHO_MASK
        )
        self._words[self._word] = turn  # one store; a memoryview of "Q" writes the word whole (see deadline.py)

    def end(self) -> None:
        """The handler has returned."""
        self._turn += 1
        self._words[self._word] = self._turn

    def beat(self) -> None:
        """Give a sign of life, in a slot where no task ever runs: the pulse of an event loop."""
        self._turn += 2
        self._words[self._word] = self._turn
