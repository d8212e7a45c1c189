"""A workflow as users see it: how it stands as a whole, and its members."""

from __future__ import annotations

from collections.abc import Iterable, Mapping  # noqa: TC003 - msgspec reads the annotations
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from otpq.client.flow_picture import workflow_lines
from otpq.task import Progress, TaskState

if TYPE_CHECKING:
    from otpq.wire import verbs

__all__ = ["Member", "WorkflowPage", "WorkflowStatus", "fraction_of", "status_of"]


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A task of a workflow, as it is now."""

    place: int
    """Its number in the workflow, from 0."""
    id: str
    name: str
    state: TaskState
    title: str | None = None
    reason: str | None = None
    after: tuple[int, ...] = ()
    """The places of those for which it waits, or waited."""


class WorkflowStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow as it is now. Times are aware UTC."""

    id: str
    title: str | None = None
    on_failure: str = "fail"
    state: str = "running"
    """`running`, `succeeded`, `failed` (a member did not succeed, and that stopped it) or `cancelled`."""
    created_at: datetime
    finished_at: datetime | None = None
    """When its last member ended; None: some have not."""
    total: int = 0
    """Members; `ended` of them have ended, `failed` of these without success."""
    ended: int = 0
    failed: int = 0
    counts: Mapping[str, int] = msgspec.field(default_factory=dict)
    """How many members are in which state; empty in a list of workflows."""
    members: tuple[Member, ...] = ()
    """All of them, by their places; empty where they were not asked for."""

    @property
    def has_ended(self) -> bool:
        """Whether all members have ended."""
        return self.finished_at is not None

    @property
    def progress(self) -> Progress:
        """(fraction, '3 of 10'): how many members have ended."""
        return fraction_of(self.ended, self.total)

    def picture(self) -> str:
        """It as text: a line a task, indented by how many stand before it; many that are alike are one line."""
        return "\n".join(workflow_lines(self))


class WorkflowPage(list[WorkflowStatus]):
    """Workflows, and `next`: what to give as `after=` for the page that follows; None on the last."""

    def __init__(self, workflows: Iterable[WorkflowStatus], following: int | None) -> None:
        super().__init__(workflows)
        self.next = following


def fraction_of(done: int, total: int) -> Progress:
    """How far it is, as a task's progress is told."""
    return (done / total if total else 1.0, f"{done:,} of {total:,}")


def status_of(view: verbs.WorkflowView, members: Iterable[verbs.MemberView] = ()) -> WorkflowStatus:
    """The workflow as users see it, with these of its members."""
    return WorkflowStatus(
        id=view.id.hex(),
        title=view.title,
        on_failure=view.on_failure,
        state=view.state,
        created_at=datetime.fromtimestamp(view.created, UTC),
        finished_at=None if view.finished is None else datetime.fromtimestamp(view.finished, UTC),
        total=view.total,
        ended=view.ended,
        failed=view.failed,
        counts=view.counts,
        members=tuple(map(_member_of, members)),
    )


def _member_of(view: verbs.MemberView) -> Member:
    return Member(
        place=view.place,
        id=view.id.hex(),
        name=view.name,
        state=TaskState(view.state),
        title=view.title,
        reason=view.reason,
        after=tuple(view.after),
    )
