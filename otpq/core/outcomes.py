"""What runs ended with: results of the pools, hand-backs, and who is charged for what.

A task is charged (`attempt` grows) for what it did: for a run that a child began and that came to an end of its own, good or
bad. A hand-back, a fence, a drain charges nothing. Where nobody can say what was started, the open tasks get an
interruption and travel alone from then on; one that is interrupted alone has nobody else to blame, and is charged.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, assert_never

import msgspec

from otpq.core.effects import Committed, Effect, Runs, Stale
from otpq.core.events import Cancelled, Discarded, Failed, HandedOver, RetryLater, Snoozed, Succeeded
from otpq.core.history import CANCELLING, note, note_run
from otpq.core.hooks import follow, put_hooks
from otpq.core.retries import wait_before_next
from otpq.core.state import CANCELLED, FAILED, PENDING, QUEUED, RETRYING, RUNNING
from otpq.task import Reason

if TYPE_CHECKING:
    from otpq.core.events import Cancelling, HandedBack, Results
    from otpq.core.leases import Lease
    from otpq.core.records import TaskRow
    from otpq.core.state import State

__all__ = ["cancelling", "end_lease", "handed_back", "results"]


def results(state: State, event: Results) -> None:
    """Take in how runs of one lease ended, where the lease is open to them as granted."""
    lease = _open_lease(state, event.lease, event.session)
    if lease is None:
        _refuse(state, event, [result.seq for result in event.results])
        return
    taken: list[int] = []
    stale: list[int] = []
    succeeded: list[TaskRow] = []
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    waits: defaultdict[str, list[float]] = defaultdict(list)
    queue = next(iter(lease.rows.values())).queue  # a batch is of one
    for result in event.results:
        row = state.let_go(lease, result.seq)
        if row is None:
            stale.append(result.seq)
            continue
        taken.append(result.seq)
        seconds[row.name].append(result.finished - result.started)
        waits[row.name].append(result.started - row.due)
        if isinstance(result, Succeeded):
            _succeed(state, row, result)
            succeeded.append(row)
        else:
            _end_run(state, row, result)
    if succeeded:
        state.succeed(succeeded)
    _count(state, queue, seconds, waits, succeeded)
    if state.ledger.hooked:
        put_hooks(state, event.lease)
    state.story.tell(state.now.wall, "results", taken, f"lease {event.lease} {event.session}")
    if taken:
        state.settle(lease)
        state.ledger.acks.append(Committed(session=event.session, lease=event.lease, seqs=tuple(taken)))
    if stale:
        _refuse(state, event, stale)


def _count(
    state: State, queue: str, seconds: dict[str, list[float]], waits: dict[str, list[float]], succeeded: list[TaskRow]
) -> None:
    """Note in what time each handler's tasks ran, and have the hooks of those follow that succeeded."""
    for name, times in seconds.items():
        handler = state.handlers[name]
        handler.ran(times)
        mine = succeeded if len(seconds) == 1 else [row for row in succeeded if row.name == name]
        handler.succeeded += len(mine)
        state.ledger.runs.append(Runs(queue, name, times, waits[name], len(mine)))
        if "on_success" in handler.hooks:
            for row in mine:
                follow(state, row, "on_success", row.result)


def handed_back(state: State, event: HandedBack) -> None:
    """Put tasks that were not started back to their places, uncharged."""
    lease = _open_lease(state, event.lease, event.session)
    rows = [] if lease is None else [row for seq in event.seqs if (row := state.let_go(lease, seq)) is not None]
    for row in rows:
        state.put_back(row)
    taken = [row.seq for row in rows]
    state.stats.hand_backs += len(taken)
    if lease is not None and taken:
        state.story.tell(state.now.wall, "handed back", taken, f"lease {event.lease} {event.session}")
        state.settle(lease)
        state.ledger.acks.append(Committed(session=event.session, lease=event.lease, seqs=tuple(taken)))
    if len(taken) < len(event.seqs):
        _refuse(state, event, sorted(set(event.seqs).difference(taken)))


def cancelling(state: State, event: Cancelling) -> None:
    """Tell those who cancelled it that the task had been started and is being ended."""
    lease = _open_lease(state, event.lease, event.session)
    if lease is not None and event.seq in lease.rows:
        state.answer_cancel(lease.rows[event.seq], "cancelling")


def end_lease(
    state: State, lease: Lease, started: frozenset[int] | None, *, fenced: bool = False, is_complete: bool = True
) -> None:
    """Resolve all that is open in a lease of which nothing runs any more, or may run.

    Args:
        state: The core's.
        lease: An open one.
        started: What the blackboards name as started; None: nobody can say.
        fenced: Whether the started tasks were ended on purpose.
        is_complete: Whether `started` also names runs that had ended already.
    """
    seqs = list(lease.rows)
    state.story.tell(state.now.wall, "lease ended", seqs, f"lease {lease.id} {lease.session}")
    for seq in seqs:
        row = state.let_go(lease, seq)
        if row is None:
            continue
        if started is None or (seq not in started and not is_complete and state.options(row).at_most_once):
            _interrupt(state, lease, row)
        elif seq not in started:
            state.put_back(row)
        elif not fenced:
            _crash(state, lease, row)
        elif state.options(row).at_most_once:
            _lose(state, lease, row)
        else:
            _return(state, row, "fenced")
    if state.ledger.hooked:
        put_hooks(state, lease.id)
    state.settle(lease)


# ------------------------------------------------------------------ one run's end


def _succeed(state: State, row: TaskRow, result: Succeeded) -> None:
    """Note what a run returned. The most frequent end, so its transition is made for all of a batch at once."""
    row.attempt += 1
    row.started = result.started
    row.finished = result.finished
    row.result = result.result
    row.ran = result.ran
    row.error = row.checkpoint = None
    if row.reason is not None:  # it was faster than its cancelling
        row.reason = None
        state.answer_cancel(row, "too_late")


def _end_run(
    state: State, row: TaskRow, result: Failed | RetryLater | Snoozed | Cancelled | Discarded | HandedOver
) -> None:
    row.started, row.finished, row.ran = result.started, result.finished, result.ran
    if row.reason == CANCELLING or isinstance(result, Cancelled):
        row.attempt += 1
        note_run(row, result.finished, CANCELLED, None, row.attempt)
        state.cancel(row, RUNNING)
        return
    match result:
        case Failed(reason=reason, error=error, types=types):
            _fail(state, row, reason, error, types=types)
        case RetryLater(error=error, delay=delay):
            _fail(state, row, Reason.ERROR.value, error, delay=delay, is_asked=True)
        case Snoozed(delay=delay):
            _snooze(state, row, delay)
        case Discarded(error=error):
            row.attempt += 1
            _fail_for_good(state, row, Reason.ERROR.value, error)
        case HandedOver():
            _hand_over(state, row)
        case _:
            assert_never(result)


def _fail(
    state: State,
    row: TaskRow,
    reason: str,
    error: bytes | None,
    *,
    types: tuple[str, ...] = (),
    delay: float | None = None,
    is_asked: bool = False,
) -> None:
    """Charge a run that went wrong, and decide what follows."""
    row.attempt += 1
    wait = wait_before_next(
        state.options(row), row.seq, row.attempt, reason=reason, types=types, delay=delay, is_asked=is_asked
    )
    if wait is None:
        _fail_for_good(state, row, reason, error)
        return
    row.error = error
    note_run(row, row.finished or state.now.wall, RETRYING, reason, row.attempt)
    _wait(state, row, RETRYING, wait)
    state.ledger.retried.append(row)
    state.handlers[row.name].retried += 1
    follow(state, row, "on_retry", error, reason)


def _fail_for_good(state: State, row: TaskRow, reason: str, error: bytes | None) -> None:
    row.error, row.reason = error, reason
    state.move(row, RUNNING, FAILED)
    state.answer_cancel(row, "too_late")
    state.handlers[row.name].failed += 1
    follow(state, row, "on_failure", error, reason)


def _snooze(state: State, row: TaskRow, delay: float) -> None:
    note_run(row, row.finished or state.now.wall, PENDING, None, row.attempt + 1)
    _wait(state, row, PENDING, max(0.0, delay))


def _hand_over(state: State, row: TaskRow) -> None:
    note_run(row, row.finished or state.now.wall, QUEUED, "handed over", row.attempt + 1)
    row.finished = None
    state.move(row, RUNNING, QUEUED)
    state.lanes.put(row)


def _wait(state: State, row: TaskRow, target: str, seconds: float) -> None:
    """Have a task wait `seconds` for its next run."""
    row.finished = None
    row.due = state.now.wall + seconds
    state.move(row, RUNNING, target)
    state.wait_for_due(row)


# ---------------------------------------------------------- what nobody reported


def _interrupt(state: State, lease: Lease, row: TaskRow) -> None:
    """The run of `row`, if there was one, is gone, and nobody can say whether there was one."""
    row.interruptions += 1
    state.stats.interruptions += 1
    if row.reason != CANCELLING and state.options(row).at_most_once:
        _lose(state, lease, row)
    elif row.reason != CANCELLING and lease.alone:
        _crash(state, lease, row)
    else:
        _return(state, row, "interrupted")


def _crash(state: State, lease: Lease, row: TaskRow) -> None:
    """Charge a task for the death of what ran it."""
    _forget_run(state, row)
    if row.reason == CANCELLING:
        _return(state, row, None)
        return
    state.stats.charges += 1
    message = f"it was running when node {lease.node[0]} (incarnation {lease.node[1]}) died"
    _fail(state, row, Reason.CRASHED.value, _error("NodeDied", message))


def _lose(state: State, lease: Lease, row: TaskRow) -> None:
    """End a task that may run at most once, and may have run."""
    _forget_run(state, row)
    if row.reason == CANCELLING:
        _return(state, row, None)
        return
    message = (
        f"node {lease.node[0]} (incarnation {lease.node[1]}) was lost, and with it the proof that it did not start"
    )
    _fail_for_good(state, row, Reason.LOST.value, _error("Lost", message))


def _return(state: State, row: TaskRow, reason: str | None) -> None:
    """Put a task that may have been running back to its place, uncharged; or end it if it was to be cancelled."""
    _forget_run(state, row)
    if row.reason == CANCELLING:
        note(row, state.now.wall, RUNNING, CANCELLED)
        state.cancel(row, RUNNING)
        return
    note(row, state.now.wall, RUNNING, QUEUED, reason)
    row.finished = None
    state.move(row, RUNNING, QUEUED)
    state.lanes.put(row)


def _forget_run(state: State, row: TaskRow) -> None:
    """Nobody told when it began or where: what the columns say is of an earlier run, and noted."""
    row.started = row.ran = None
    row.finished = state.now.wall


def _error(type_name: str, message: str) -> bytes:
    return msgspec.msgpack.encode([type_name, message, ""])


# ------------------------------------------------------------------------- leases


def _open_lease(state: State, id: int, session: str) -> Lease | None:
    """The lease, if it is open to this session."""
    lease = state.leases.open.get(id)
    return lease if lease is not None and lease.session == session else None


def _refuse(state: State, event: Results | HandedBack, seqs: list[int]) -> None:
    state.stats.stale_results += len(seqs)
    effect: Effect = Stale(session=event.session, lease=event.lease, seqs=tuple(seqs))
    state.ledger.acks.append(effect)
