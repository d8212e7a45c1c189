"""What must be read before each event can be decided about: a table from event to function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from otpq.core import events as ev

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from otpq.core.leases import Lease, LeaseBook
    from otpq.core.records import Needs, TaskRow

__all__ = ["add_members", "needs_of"]


def needs_of(events: Iterable[ev.Event], leases: LeaseBook, needs: Needs) -> None:
    """Add what these events must see."""
    for event in events:
        add = _TABLE.get(type(event))
        if add is not None:
            add(event, leases, needs)


def add_members(leases: Iterable[Lease], needs: Needs) -> None:
    """Add the members of workflows in these leases, which may end: with them come those that wait for them."""
    for lease in leases:
        if lease.has_members:
            for row in lease.rows.values():
                add_member(row, needs)


def add_member(row: TaskRow, needs: Needs) -> None:
    """Add what must be seen if this task, whose row the core has, may end."""
    if row.workflow is not None:
        needs.numbers.add(row.workflow)
        needs.followers.update(row.followers)


def _submit(event: ev.Submit, _leases: LeaseBook, needs: Needs) -> None:
    if event.resent:
        needs.ids.update([new.id for new in event.tasks])
    needs.keys.update([new.key for new in event.tasks if new.key is not None])


def _submit_workflow(event: ev.SubmitWorkflow, _leases: LeaseBook, needs: Needs) -> None:
    needs.workflows.add(event.id)


def _a_workflow(event: ev.CancelWorkflow | ev.RetryWorkflow, _leases: LeaseBook, needs: Needs) -> None:
    needs.workflows.add(event.id)
    needs.ids.add(event.id)  # it may be a member's


def _ids(event: ev.Cancel | ev.Retry | ev.Delete, _leases: LeaseBook, needs: Needs) -> None:
    needs.ids.update(event.ids)


def _prune(event: ev.Prune, _leases: LeaseBook, needs: Needs) -> None:
    needs.ids.update(id for id, _ in event.tasks)


def _results(event: ev.Results, leases: LeaseBook, needs: Needs) -> None:
    lease = leases.open.get(event.lease)
    if lease is not None and lease.has_members:
        for result in event.results:
            row = lease.rows.get(result.seq)
            if row is not None:
                add_member(row, needs)


def _handed_back(event: ev.HandedBack, leases: LeaseBook, needs: Needs) -> None:
    lease = leases.open.get(event.lease)
    if lease is not None:
        add_members((lease,), needs)


def _demand(event: ev.Demand, leases: LeaseBook, needs: Needs) -> None:
    # What a pool has received and does not hold any more has vanished.
    add_members([lease for lease in leases.of_session(event.session) if lease.id not in event.held], needs)


def _node_lost(event: ev.NodeLost, leases: LeaseBook, needs: Needs) -> None:
    add_members(leases.of_node((event.node, event.incarnation)), needs)


_TABLE: Final[Mapping[type, Callable[[Any, LeaseBook, Needs], None]]] = {
    ev.Submit: _submit,
    ev.SubmitWorkflow: _submit_workflow,
    ev.CancelWorkflow: _a_workflow,
    ev.RetryWorkflow: _a_workflow,
    ev.Cancel: _ids,
    ev.Retry: _ids,
    ev.Delete: _ids,
    ev.Prune: _prune,
    ev.Results: _results,
    ev.HandedBack: _handed_back,
    ev.Demand: _demand,
    ev.NodeLost: _node_lost,
}
