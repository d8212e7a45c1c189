"""What stands for `sys.stdout` and `sys.stderr` in a child: lines of running tasks go into the journal, all else as ever.

Whose line it is, the context variable tells: that of the thread, or of the asyncio task, that prints. Without a run, in a copy
of the child that a handler forked, and for bytes that are written to `.buffer` or to the descriptor itself, the way is the
descriptor, which the node reads too.
"""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

from otpq.context import running_context
from otpq.worker.backing import RunContext

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

    from otpq.worker.journal import Journal

__all__ = ["TaskStream", "replace_streams"]


class TaskStream(io.TextIOWrapper):
    """A text stream over a descriptor, nothing held back; what a task writes goes elsewhere."""

    def __init__(self, descriptor: int, stream: str, journal: Journal) -> None:
        """`stream` is "out" or "err"."""
        raw = _Whole(descriptor, "w", closefd=False)
        # Straight to the descriptor, as with `python -u`: what was written is out even if the next line kills the child.
        super().__init__(raw, encoding="utf-8", errors="backslashreplace", write_through=True)
        self._stream = stream
        self._journal = journal
        self.mode = "w"  # type: ignore[misc]

    @property
    def name(self) -> str:
        """As of the streams that it stands for."""
        return "<stdout>" if self._stream == "out" else "<stderr>"

    def write(self, text: str, /) -> int:
        """Write it for the task that runs here, or to the descriptor if none does."""
        context = running_context.get()
        if isinstance(context, RunContext) and context.is_heard and isinstance(text, str):
            self._journal.write(context.backing, self._stream, text)
            return len(text)
        return super().write(text)

    def close(self) -> None:
        """Nothing: the stream is there for the tasks that follow, too."""


class _Whole(io.FileIO):
    """A descriptor to which all is written, also if a signal cuts a write short."""

    def write(self, data: ReadableBuffer, /) -> int:
        """Return when all is written."""
        view = memoryview(data).cast("B")
        size = len(view)
        while view:
            view = view[super().write(view) or 0 :]
        return size


def replace_streams(journal: Journal) -> None:
    """Put them in place of the interpreter's own."""
    for number, stream in ((1, "out"), (2, "err")):
        made = TaskStream(number, stream, journal)
        name = "stdout" if stream == "out" else "stderr"
        setattr(sys, name, made)
        setattr(sys, f"__{name}__", made)
