"""Workflows: a **rule** for tasks that depend on each other. What the end of one means for the others is decided in its step.

A member waits while any of those that it is to follow have not ended; it is pending then, and due never. A member's end and
what follows from it are one commit, so what comes after it starts once, whatever crashes. Whoever ends a task need not think
of this: `settle` looks at what has ended, after each event. All that it must see is read beforehand (`Loaded`).

What is done to all members, to cancel or to retry them, is done some at a time: a *sweep*, whose mark is durable.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import msgspec

from otpq.core import admission
from otpq.core.effects import CancelRunning, Refusal, Reply, WorkflowMade, WorkflowRefused
from otpq.core.events import Submit
from otpq.core.history import CANCELLING, keep_last_run, note
from otpq.core.records import Link, Member, WorkflowRow
from otpq.core.state import PENDING, QUEUED, SUCCEEDED
from otpq.errors import InvariantBroken
from otpq.task import ENDED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from otpq.core.events import CancelWorkflow, RetryWorkflow, SubmitWorkflow
    from otpq.core.records import Needs, TaskRow
    from otpq.core.state import State

__all__ = [
    "NEVER",
    "Sweep",
    "ask",
    "cancel",
    "forget",
    "go_on",
    "is_blocked",
    "is_broken",
    "is_held",
    "restore",
    "retry",
    "settle",
    "start_again",
    "submit",
]

NEVER: Final = math.inf
"""When a member is due that waits for others."""
SWEEP_TASKS: Final = 500
"""Members that the sweeps of one step look at: some milliseconds."""
CANCEL_GRACE: Final = 5.0
"""Seconds that running members have to end by themselves when another one has failed, or nobody knows the request any more."""

_encode: Final = msgspec.msgpack.Encoder().encode


# ------------------------------------------------------------------------- requests


def submit(state: State, event: SubmitWorkflow) -> None:
    """Take in the members, all or none."""
    # One that this very step forgets counts too: its id, and its members', are free from the next commit on.
    is_there = any(one.id == event.id for one in state.loaded.workflows.values())
    if is_there or _by_id(state, event.id) is not None:
        made = WorkflowMade(client=event.client, request=event.request, duplicate=True)
        state.ledger.acks.append(made)
        return
    draft = admission.Draft()
    refusals = list(_wrong(event))
    if not refusals:
        tasks = Submit(client=event.client, request=event.request, tasks=event.tasks)
        admission.draw_up(state, tasks, draft)
        refusals = draft.refusals or _twins(draft) or admission.overfull(state, tasks, draft.rows)
    if refusals:
        admission.discard(state, draft)
        state.ledger.acks.append(WorkflowRefused(client=event.client, request=event.request, refusals=refusals))
        return
    _link(state, event, draft)
    admission.take_in(state, draft, event.client)
    warnings = list(draft.warnings.values())
    state.ledger.acks.append(WorkflowMade(client=event.client, request=event.request, warnings=warnings))


def _wrong(event: SubmitWorkflow) -> Iterable[Refusal]:
    """What cannot be right about its members' places and keys."""
    for place, (task, after) in enumerate(zip(event.tasks, event.after, strict=True)):
        if task.key is not None:
            yield Refusal(
                place, "bad_key", "a member of a workflow has no idempotency key: it is made with the others or not"
            )
        if len(set(after)) < len(after) or any(not 0 <= before < place for before in after):
            yield Refusal(
                place,
                "bad_after",
                f"member {place} waits for others, each once, that stand before it; got {after[:10]}",
            )


def _twins(draft: admission.Draft) -> list[Refusal]:
    """Two members with one id, or one with another task's."""
    return [Refusal(place, "bad_id", "there is a task with this id") for place in draft.duplicates]


def _link(state: State, event: SubmitWorkflow, draft: admission.Draft) -> None:
    """Make members of rows: who waits for whom, and since when nobody may start them."""
    number, rows = state.next_seq, draft.rows
    followers: list[list[int]] = [[] for _ in rows]
    for place, after in enumerate(event.after):
        for before in after:
            followers[before].append(place)
    for place, (row, after) in enumerate(zip(rows, event.after, strict=True)):
        eta = event.tasks[place].eta
        delay = 0.0 if eta is not None else row.due - state.now.wall
        row.workflow, row.waits = number, len(after)
        row.member = _encode(Member(followers[place], delay, eta))
        state.ledger.members[row.seq] = row
        if after:
            row.state, row.due = PENDING, NEVER
            state.ledger.links[row.seq] = Link(row.seq, _encode(after), event.takes[place])
    draft.runs = [left for run in draft.runs if (left := [row for row in run if not row.waits])]
    draft.later = [row for row in rows if row.state == PENDING]
    state.ledger.workflows[number] = WorkflowRow(
        number, event.id, len(rows), event.on_failure, event.title, state.now.wall, len(rows)
    )


def cancel(state: State, event: CancelWorkflow) -> None:
    """Have all members cancelled that have not ended."""
    workflow = _meant(state, event.id)
    if workflow is None:
        answer = "not_found"
    elif workflow.finished is not None:
        answer = "too_late"
    else:
        answer = "cancelling"
        workflow.cancelled = True
        _begin(state, workflow, "cancel", event.grace)
    _answer(state, event, answer)


def retry(state: State, event: RetryWorkflow) -> None:
    """Have all members started again that did not succeed; those that wait for others wait again.

    It is answered when the last of them has been: who waits for a member's end from then on is not told of the one before.
    """
    workflow = _meant(state, event.id)
    if workflow is None:
        answer = "not_found"
    elif workflow.sweep == "retry":  # asked again, or by another one too
        state.sweeps[workflow.number].asked.append(event)
        return
    elif workflow.finished is None:
        answer = "too_early"
    elif not workflow.failed:
        answer = "too_late"
    elif workflow.kept < workflow.total:
        answer = "incomplete"
    else:
        workflow.cancelled, workflow.finished = False, None
        _begin(state, workflow, "retry")
        state.sweeps[workflow.number].asked.append(event)
        return
    _answer(state, event, answer)


def _answer(state: State, event: CancelWorkflow | RetryWorkflow, answer: str) -> None:
    state.ledger.acks.append(Reply(client=event.client, request=event.request, id=event.id, answer=answer))


# --------------------------------------------------------------- what an end means


def settle(state: State, ended: Iterable[TaskRow]) -> None:
    """Have follow what follows from these ends: for those that wait for them, and for their workflows.

    Raises:
        InvariantBroken: What had to be seen was not read.
    """
    for row in ended:
        if row.workflow is None:
            continue
        workflow = _of(state, row)
        is_well = row.state == SUCCEEDED
        workflow.ended += 1
        workflow.failed += not is_well
        if is_well:
            _tell(state, workflow, row)
        elif workflow.on_failure != "fail" and workflow.sweep != "cancel":
            _tell(state, workflow, row)
            row.told = True
            state.touch(row)
        elif workflow.sweep is None and workflow.ended < workflow.total:
            _begin(state, workflow, "cancel")
        _finish(state, workflow)


def _tell(state: State, workflow: WorkflowRow, row: TaskRow) -> None:
    """Tell those that wait for a member that it has ended; once in its life."""
    if row.told:
        return
    for seq in row.followers:
        follower = state.member(seq)
        if not follower.waits:
            raise InvariantBroken(f"task {seq} waits for {follower.waits} others, and for task {row.seq}")
        follower.waits -= 1
        if not follower.waits and follower.state == PENDING and workflow.sweep != "cancel":
            _release(state, follower)
        else:
            state.touch(follower)


def _release(state: State, row: TaskRow) -> None:
    """Let a member go on for which nothing is left to wait for."""
    wall = state.now.wall
    state.due.remove(row)
    row.due = _due(row, wall)
    if row.due > wall:
        state.touch(row)
        state.wait_for_due(row)
        return
    note(row, wall, PENDING, QUEUED)
    state.move(row, PENDING, QUEUED)
    state.lanes.put(row)


def _due(row: TaskRow, wall: float) -> float:
    member = msgspec.msgpack.decode(row.member or b"\x90", type=Member)
    return wall + member.delay if member.eta is None else max(wall, member.eta)


def _finish(state: State, workflow: WorkflowRow) -> None:
    """Note when the last member has ended, unless some are to be started again."""
    state.ledger.workflows[workflow.number] = workflow
    if workflow.ended == workflow.total and workflow.sweep != "retry":
        workflow.finished, workflow.sweep = state.now.wall, None
        state.sweeps.pop(workflow.number, None)


def is_held(state: State, row: TaskRow) -> bool:
    """Whether a task must not be forgotten, or started again by itself: it is a member of a workflow that is under way."""
    return row.workflow is not None and _of(state, row).finished is None


def is_blocked(row: TaskRow) -> bool:
    """Whether a task cannot start again by itself: it would wait for others that nobody starts."""
    return bool(row.waits)


def is_broken(state: State, row: TaskRow) -> bool:
    """Whether a task cannot start again: it is a member of a workflow of which some are forgotten, perhaps what it would take."""
    if row.workflow is None:
        return False
    workflow = _of(state, row)
    return workflow.kept < workflow.total


def start_again(state: State, row: TaskRow) -> None:
    """Start an ended task again: first attempt, no expiry, all of the history, and what its last run kept as a checkpoint.

    A member that waits for others waits again.
    """
    keep_last_run(row)
    waits = is_blocked(row)
    target = PENDING if waits else QUEUED
    note(row, state.now.wall, row.state, target)
    row.attempt = row.interruptions = 0
    row.reason = row.expires = row.started = row.finished = row.result = row.error = row.ran = row.progress = None
    row.due = NEVER if waits else state.now.wall
    if row.workflow is not None:
        workflow = _of(state, row)
        workflow.ended -= 1
        workflow.failed -= 1
        workflow.finished = None
        state.ledger.workflows[workflow.number] = workflow
    state.move(row, row.state, target)
    if waits:
        state.wait_for_due(row)
    else:
        state.lanes.put(row)


def forget(state: State, row: TaskRow) -> None:
    """Note that a member of a workflow that has ended is forgotten; the workflow goes with the last."""
    workflow = _of(state, row)
    workflow.kept -= 1
    state.ledger.workflows[workflow.number] = workflow if workflow.kept else None
    state.ledger.members.pop(row.seq, None)
    state.ledger.links.pop(row.seq, None)


# -------------------------------------------------------------------------- sweeps


class Sweep:
    """What is being done to all members of a workflow."""

    __slots__ = ("asked", "grace", "id", "mark", "seqs", "total")

    def __init__(self, workflow: WorkflowRow, grace: float = CANCEL_GRACE) -> None:
        self.id = workflow.id
        self.total = workflow.total
        self.mark = workflow.mark
        self.grace = grace
        """Seconds that running members have to end by themselves."""
        self.seqs = range(0)
        """The members that this step looks at."""
        self.asked: list[RetryWorkflow] = []
        """Who is to hear when it is over."""


def restore(state: State, sweeping: Iterable[WorkflowRow]) -> None:
    """Go on with what an earlier queue server had begun."""
    state.sweeps.update({workflow.number: Sweep(workflow) for workflow in sweeping})


def _begin(state: State, workflow: WorkflowRow, kind: str, grace: float = CANCEL_GRACE) -> None:
    workflow.sweep, workflow.mark = kind, 0
    state.ledger.workflows[workflow.number] = workflow
    before = state.sweeps.get(workflow.number)
    for event in () if before is None else before.asked:  # it goes no further
        _answer(state, event, "retried")
    state.sweeps[workflow.number] = Sweep(workflow, grace)


def ask(state: State, needs: Needs) -> None:
    """Add the next members that the sweeps are to look at."""
    left = SWEEP_TASKS
    for number, sweep in state.sweeps.items():
        count = min(left, sweep.total - sweep.mark)
        sweep.seqs = range(number + sweep.mark, number + sweep.mark + count)
        left -= count
        if count:
            needs.workflows.add(sweep.id)
            needs.seqs.update(sweep.seqs)


def go_on(state: State) -> None:
    """Do to the next members what is to be done to all; `settle` is to follow."""
    for number, sweep in list(state.sweeps.items()):
        if not sweep.seqs:  # it has just begun, or there was no room for it
            continue
        workflow = state.workflow(number)
        if workflow is None or workflow.sweep is None:
            del state.sweeps[number]
            continue
        for seq in sweep.seqs:
            if seq in state.loaded.by_seq or seq in state.ledger.members:
                _STROKES[workflow.sweep](state, state.member(seq), sweep)
        sweep.mark += len(sweep.seqs)
        workflow.mark = sweep.mark
        state.ledger.workflows[number] = workflow
        if sweep.mark == sweep.total:
            del state.sweeps[number]
            if workflow.sweep == "retry":
                _end_retry(state, workflow, sweep)


def _end_retry(state: State, workflow: WorkflowRow, sweep: Sweep) -> None:
    """All members have been started again; some of them may have failed again meanwhile, which cancels the rest only now."""
    for event in sweep.asked:
        _answer(state, event, "retried")
    workflow.sweep = None
    _finish(state, workflow)
    if workflow.failed and workflow.on_failure == "fail" and workflow.finished is None:
        _begin(state, workflow, "cancel")


def _cancel(state: State, row: TaskRow, sweep: Sweep) -> None:
    lease = state.leases.by_seq.get(row.seq)
    if row.state in ENDED or row.reason == CANCELLING:
        return
    if lease is None:
        state.leave_line(row)
        state.cancel(row, row.state)
        return
    row.reason = CANCELLING
    state.touch(row)
    order = CancelRunning(session=lease.session, lease=lease.id, seq=row.seq, grace=sweep.grace)
    state.ledger.sends.append(order)


def _retry(state: State, row: TaskRow, _sweep: Sweep) -> None:
    if row.state in ENDED and row.state != SUCCEEDED:
        start_again(state, row)


_STROKES: Final[dict[str, Callable[[State, TaskRow, Sweep], None]]] = {"cancel": _cancel, "retry": _retry}
"""What a sweep does to one member."""


# --------------------------------------------------------------------------- finding


def _of(state: State, row: TaskRow) -> WorkflowRow:
    assert row.workflow is not None  # noqa: S101 - asked of members alone
    workflow = state.workflow(row.workflow)
    if workflow is None:
        raise InvariantBroken(f"workflow {row.workflow} of task {row.seq} was not read")
    return workflow


def _by_id(state: State, id: bytes) -> WorkflowRow | None:
    changed = state.ledger.workflows
    for workflow in changed.values():
        if workflow is not None and workflow.id == id:
            return workflow
    return next((one for one in state.loaded.workflows.values() if one.id == id and one.number not in changed), None)


def _meant(state: State, id: bytes) -> WorkflowRow | None:
    """The workflow of that id, or of the member with that id."""
    row = state.task(id)
    return _by_id(state, id) if row is None or row.workflow is None else _of(state, row)
