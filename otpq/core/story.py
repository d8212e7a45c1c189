"""What the core remembers of its recent past: notes for a task's story, and stimuli that can be played again."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from otpq.core.events import Event, Now
    from otpq.core.records import Loaded, Needs

__all__ = ["Note", "Stimulus", "Story"]

Seqs: TypeAlias = "Sequence[int] | frozenset[int]"


class Note(msgspec.Struct, frozen=True, gc=False):
    """One thing that happened to some tasks."""

    time: float
    what: str
    seqs: Seqs
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.time:.6f} {self.what} {self.detail}".rstrip()


class Stimulus(msgspec.Struct, frozen=True):
    """All that went into one step: played again, in order, on a core recovered from the same store, it gives the same."""

    now: Now
    events: Sequence[Event]
    needs: Needs
    loaded: Loaded


class Story:
    """The last things that happened, one note per event and not per task, so that the task path hardly pays for it."""

    __slots__ = ("notes", "tape")

    def __init__(self, notes: int, tape: int) -> None:
        self.notes: deque[Note] = deque(maxlen=notes)
        self.tape: deque[Stimulus] = deque(maxlen=tape)
        """Off (0) unless asked for: it keeps the payloads of all that it remembers."""

    def tell(self, time: float, what: str, seqs: Iterable[int], detail: str = "") -> None:
        """Note that something happened to these tasks."""
        self.notes.append(Note(time, what, seqs if isinstance(seqs, range | frozenset) else tuple(seqs), detail))

    def of(self, seq: int) -> list[Note]:
        """The story of one task, oldest first, as far back as the notes go."""
        return [note for note in self.notes if seq in note.seqs]
