"""What clients and operators ask about tasks that exist: cancel, start again, forget."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otpq.core.effects import CancelRunning, Reply
from otpq.core.history import CANCELLING
from otpq.core.state import SUCCEEDED
from otpq.core.workflows import forget, is_blocked, is_broken, is_held, start_again
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
    """Start ended tasks again; a member of a workflow not before that has ended, nor one that waits for members which have failed."""
    for id in event.ids:
        row = state.task(id)
        if row is None:
            answer = "not_found"
        elif row.state not in ENDED or is_held(state, row) or is_blocked(row):
            answer = "too_early"
        elif row.state == SUCCEEDED or is_broken(state, row):
            answer = "too_late"
        else:
            start_again(state, row)
            answer = "retried"
        state.ledger.acks.append(Reply(client=event.client, request=event.request, id=id, answer=answer))


def delete(state: State, event: Delete) -> None:
    """Forget ended tasks; with `waiting`, what waits too. What is in a lease stays.

    A member of a workflow under way is not forgotten: with `waiting` it is cancelled, which is an end that others hear of.
    """
    for id in event.ids:
        row = state.task(id)
        if row is None:
            answer = "not_found"
        elif is_held(state, row):
            answer = _throw_out(state, row) if event.waiting else "too_early"
        elif row.state in ENDED or (event.waiting and row.seq not in state.leases.by_seq):
            _forget(state, row)
            answer = "deleted"
        else:
            answer = "too_early"
        state.ledger.acks.append(Reply(client=event.client, request=event.request, id=id, answer=answer))


def _throw_out(state: State, row: TaskRow) -> str:
    if row.state in ENDED or row.seq in state.leases.by_seq:
        return "too_early"
    state.leave_line(row)
    state.cancel(row, row.state)
    return "deleted"


def prune(state: State, event: Prune) -> None:
    """Forget those that are still as ended as they were when they were found."""
    for id, finished in event.tasks:
        row = state.task(id)
        if row is not None and row.state in ENDED and row.finished == finished and not is_held(state, row):
            _forget(state, row)
            state.stats.pruned += 1


def _forget(state: State, row: TaskRow) -> None:
    if row.state not in ENDED:
        state.leave_line(row)
    ledger = state.ledger
    ledger.count(row.queue, row.state, -1)
    if row.workflow is not None:
        forget(state, row)
    if ledger.fresh.pop(row.id, None) is not None:  # not even in the store yet
        ledger.inserts.remove(row)
        ledger.keys.pop(row.key or "", None)
        return
    ledger.forget(row.seq)
    ledger.deletes.append(row.seq)
