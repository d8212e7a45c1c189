"""Workflows as their users see them: how one stands, which there are, and what a submission becomes for the core."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from otpq.core import events as ev
from otpq.task import ENDED, TaskState
from otpq.wire import verbs

if TYPE_CHECKING:
    from otpq.core.records import Link, WorkflowRow
    from otpq.store.protocol import MemberLine, Reading
    from otpq.wire.verbs import NewWorkflow

__all__ = ["event_of", "page", "waits_for", "workflow_view"]

SHOWN: Final = 10
"""Tasks that are named of those that one waits for."""

_places: Final = msgspec.msgpack.Decoder(list[int]).decode


def event_of(client: str, request: int, new: NewWorkflow) -> ev.SubmitWorkflow:
    """What the core is told of a submission."""
    return ev.SubmitWorkflow(
        client=client,
        request=request,
        id=new.id,
        tasks=[_task(member) for member in new.members],
        after=[member.after for member in new.members],
        takes=[member.takes for member in new.members],
        on_failure=new.on_failure,
        title=new.title,
    )


def _task(member: verbs.NewMember) -> ev.NewTask:
    fields = msgspec.structs.asdict(member.task)
    del fields["watch"]
    return ev.NewTask(**fields)


def workflow_view(reading: Reading, ask: verbs.WorkflowOf, running: frozenset[int]) -> verbs.WorkflowView | None:
    """The workflow of that id, or of the member with that id, with some of its members; None: there is none."""
    workflow = reading.workflow(id=ask.id)
    if workflow is None:
        row = reading.get(ask.id)
        workflow = None if row is None or row.workflow is None else reading.workflow(row.workflow)
    if workflow is None:
        return None
    first, last = workflow.number, workflow.number + workflow.total - 1
    counts = reading.member_counts(first, last)
    runs = sum(1 for seq in running if first <= seq <= last)
    if runs:  # rows say that these are queued
        counts[TaskState.QUEUED] = counts.get(TaskState.QUEUED, 0) - runs
        counts[TaskState.RUNNING] = runs
    begin = first + ask.after
    lines = reading.members(begin, last, ask.limit) if ask.limit else []
    links = reading.links(begin, lines[-1].seq) if lines else {}
    members = [_member(line, links.get(line.seq), first, running) for line in lines]
    following = members[-1].place + 1 if members else workflow.total
    view = _view(workflow)
    return msgspec.structs.replace(
        view,
        counts={state: count for state, count in counts.items() if count > 0},
        members=members,
        next=following if members and following < workflow.total else None,
    )


def page(reading: Reading, limit: int, after: int | None) -> verbs.WorkflowPage:
    """Some workflows, the newest first."""
    found = reading.workflows(limit=limit, after=after)
    return verbs.WorkflowPage([_view(one) for one in found], found[-1].number if len(found) == limit else None)


def waits_for(reading: Reading, seq: int, workflow: int) -> list[dict[str, str]]:
    """The first of those that a member waits for, with `id`, `name` and `state`."""
    link = reading.links(seq, seq).get(seq)
    found: list[dict[str, str]] = []
    for place in [] if link is None else _places(link.after):
        end = reading.ends(workflow + place, workflow + place).get(workflow + place)
        if end is not None and end.state not in ENDED:
            found.append({"id": end.id.hex(), "name": end.name, "state": end.state})
        if len(found) == SHOWN:
            break
    return found


def _view(workflow: WorkflowRow) -> verbs.WorkflowView:
    return verbs.WorkflowView(
        id=workflow.id,
        title=workflow.title,
        on_failure=workflow.on_failure,
        state=_state(workflow),
        created=workflow.created,
        finished=workflow.finished,
        total=workflow.total,
        ended=workflow.ended,
        failed=workflow.failed,
    )


def _state(workflow: WorkflowRow) -> str:
    if workflow.finished is None:
        return "running"
    if workflow.cancelled:
        return "cancelled"
    return "failed" if workflow.failed and workflow.on_failure == "fail" else "succeeded"


def _member(line: MemberLine, link: Link | None, first: int, running: frozenset[int]) -> verbs.MemberView:
    state = TaskState.RUNNING if line.seq in running and line.state not in ENDED else line.state
    after = [] if link is None else _places(link.after)
    reason = line.reason if state == TaskState.FAILED else None
    return verbs.MemberView(line.seq - first, line.id, line.name, state, line.title, reason, after)
