"""What clients and operators ask about tasks that exist: cancel, start again, forget."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otpq.core.effects import CancelRunning, Reply
from otpq.core.history import CANCELLING, keep_last_run, note
from otpq.core.state import QUEUED, SUCCEEDED
from otpq.task import ENDED

if TYPE_CHECKING:
    from otpq.core.events import Cancel, Delete, Prune, Retry
    from otpq.core.leases import Lease
    from otpq.core.records import TaskRow
    from otpq.core.state import State

__all__ = ["cancel", "delete", "prune", "retry"]


def cancel(state: State, event: Cancel) -> None:
    """Cancel what waits; have what is in a lease taken back or ended.

    Of a leased task only its pool knows whether it has been started, so the answer follows when the pool has told. That it
    is to be cancelled is durable at once: whatever becomes of the node, it does not run again.
    """
    for id in event.ids:
        row = state.task(id)
        lease = None if row is None else state.leases.by_seq.get(row.seq)
        if row is None:
            answer = "not_found"
        elif row.state in ENDED:
            answer = "too_late"
        elif lease is None:
            state.leave_line(row)
            state.cancel(row, row.state)
            answer = "cancelled"
        else:
            _cancel_leased(state, event, row, lease)
            continue
        state.ledger.acks.append(Reply(client=event.client, request=event.request, id=id, answer=answer))


def _cancel_leased(state: State, event: Cancel, row: TaskRow, lease: Lease) -> None:
    if row.reason != CANCELLING:
        row.reason = CANCELLING
        state.touch(row)
    state.cancels.setdefault(row.seq, []).append((event.client, event.request, row.id))
    state.ledger.sends.append(CancelRunning(session=lease.session, lease=lease.id, seq=row.seq, grace=event.grace))


def retry(state: State, event: Retry) -> None:
    """Start ended tasks again: first attempt, no expiry, all of the history, and what its last run kept as a checkpoint."""
    for id in event.ids:
        row = state.task(id)
        if row is None:
            answer = "not_found"
        elif row.state not in ENDED:
            answer = "too_early"
        elif row.state == SUCCEEDED:
            answer = "too_late"
        else:
            _start_again(state, row)
            answer = "retried"
        state.ledger.acks.append(Reply(client=event.client, request=event.request, id=id, answer=answer))


def _start_again(state: State, row: TaskRow) -> None:
    keep_last_run(row)
    note(row, state.now.wall, row.state, QUEUED)
    row.attempt = row.interruptions = 0
    row.reason = row.expires = row.started = row.finished = row.result = row.error = row.ran = row.progress = None
    row.due = state.now.wall
    state.move(row, row.state, QUEUED)
    state.lanes.put(row)


def delete(state: State, event: Delete) -> None:
    """Forget ended tasks; with `waiting`, what waits too. What is in a lease stays."""
    for id in event.ids:
        row = state.task(id)
        if row is None:
            answer = "not_found"
        elif row.state in ENDED or (event.waiting and row.seq not in state.leases.by_seq):
            _forget(state, row)
            answer = "deleted"
        else:
            answer = "too_early"
        state.ledger.acks.append(Reply(client=event.client, request=event.request, id=id, answer=answer))


def prune(state: State, event: Prune) -> None:
    """Forget those that are still as ended as they were when they were found."""
    for id, finished in event.tasks:
        row = state.task(id)
        if row is not None and row.state in ENDED and row.finished == finished:
            _forget(state, row)
            state.stats.pruned += 1


def _forget(state: State, row: TaskRow) -> None:
    if row.state not in ENDED:
        state.leave_line(row)
    ledger = state.ledger
    ledger.count(row.queue, row.state, -1)
    if ledger.fresh.pop(row.id, None) is not None:  # not even in the store yet
        ledger.inserts.remove(row)
        ledger.keys.pop(row.key or "", None)
        return
    ledger.forget(row.seq)
    ledger.deletes.append(row.seq)
