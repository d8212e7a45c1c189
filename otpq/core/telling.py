"""What running tasks tell: how far they are, what they want to find in their next attempt, the lines of their logs.

All of it is heard only under the lease that the task is open in: what a child says that has been given up changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from otpq.core.effects import Kept, Stale
from otpq.core.records import LogChunk

if TYPE_CHECKING:
    from otpq.core.events import Checkpointed, Logged, Progressed
    from otpq.core.records import TaskRow
    from otpq.core.state import State

__all__ = ["checkpointed", "logged", "progressed"]

MAX_LINE: Final = 1 << 40
"""The highest number of a line: more than any run can write."""


def progressed(state: State, event: Progressed) -> None:
    """Note how far a task has come."""
    row = _open_row(state, event)
    if row is not None:
        row.progress = msgspec.msgpack.encode((event.fraction, event.message))
        state.touch(row)


def checkpointed(state: State, event: Checkpointed) -> None:
    """Keep what a task wants to find in its next attempt, in the place of what it kept before."""
    row = _open_row(state, event)
    if row is None:
        state.ledger.acks.append(Stale(session=event.session, lease=event.lease, seqs=(event.seq,)))
        return
    row.checkpoint = event.value
    state.touch(row)
    state.ledger.acks.append(Kept(session=event.session, lease=event.lease, seq=event.seq, number=event.number))


def logged(state: State, event: Logged) -> None:
    """Keep lines of a task's log; not those whose numbers cannot be right, which no store could hold."""
    begin, end = event.forget or (1, 1)
    is_right = 1 <= event.first <= event.last <= MAX_LINE and 1 <= begin <= end <= MAX_LINE
    if is_right and _open_row(state, event) is not None:
        chunk = LogChunk(event.seq, event.lease, event.first, event.last, event.lines, event.forget)
        state.ledger.logs.append(chunk)


def _open_row(state: State, event: Progressed | Checkpointed | Logged) -> TaskRow | None:
    """The task, if it is open in that lease of that session."""
    lease = state.leases.open.get(event.lease)
    return None if lease is None or lease.session != event.session else lease.rows.get(event.seq)
