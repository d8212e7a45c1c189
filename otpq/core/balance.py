"""Balance: what waits behind a long run elsewhere is asked back for who has nothing to do.

A batch is put where there was room, and what runs before it may take longer than anybody could know. The pool that has it moves
it among its own workers; between pools, nobody but the core sees that one has work waiting and another none. What is asked
back comes as handed back, uncharged, unless a child has begun it meanwhile: then nothing happens.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from otpq.core.effects import TakeBack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otpq.core.demand import Session
    from otpq.core.leases import Lease
    from otpq.core.records import TaskRow
    from otpq.core.state import State

__all__ = ["balance"]

WAITS: Final = 0.25
"""Seconds that a task waits for its child before others are thought of: ten times what a batch is meant to take. Also between
two looks."""
AGAIN: Final = 5.0
"""Seconds until the same batch is asked for once more: by then the answer was lost, or a child has begun it."""
LOOK_AT: Final = 2_000
"""Leases that one look goes over, the oldest first."""


def balance(state: State) -> None:
    """Ask back what pools without work may run, a batch for each worker that has nothing; now and then, as it looks at all leases."""
    if state.now.mono < state.balance_at:
        return
    hungry = [session for session in state.sessions.values() if session.idle and session.open]
    if not hungry:
        return
    state.balance_at = state.now.mono + WAITS
    for lease in islice(state.leases.open.values(), LOOK_AT):
        if state.now.mono - lease.waits_since < WAITS or lease.session not in state.sessions:
            continue
        found = next(_wanted(state, lease, hungry), None)
        if found is None:
            continue
        session, seqs = found
        lease.waits_since = state.now.mono + AGAIN - WAITS
        state.ledger.sends.append(TakeBack(session=lease.session, lease=lease.id, seqs=seqs))
        session.idle -= 1
        hungry = [each for each in hungry if each.idle]
        if not hungry:
            return


def _wanted(state: State, lease: Lease, hungry: list[Session]) -> Iterator[tuple[Session, tuple[int, ...]]]:
    """Who could run what of a lease has not begun."""
    begun = state.sessions[lease.session].running
    waiting = [row for seq, row in lease.rows.items() if seq not in begun]
    for session in hungry:
        if session.id == lease.session:
            continue  # it moves its own by itself
        seqs = tuple(row.seq for row in waiting if _may_run(state, session, row))
        if seqs:
            yield session, seqs


def _may_run(state: State, session: Session, row: TaskRow) -> bool:
    if row.queue not in session.queues or row.name not in (session.handlers or ()):
        return False
    if state.handlers[row.name].paused or state.lanes.queues[row.queue].paused:
        return False
    return session.memory is None or state.memory(row) <= session.memory - state.reservations.of(session.node[0])
