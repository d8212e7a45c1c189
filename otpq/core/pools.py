"""What pools and nodes tell of themselves: sessions, demand, signs of life, death."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from otpq.core import catalogue, schedules
from otpq.core.demand import Session
from otpq.core.effects import CancelRunning, Dispatch, Stale, UnknownSession
from otpq.core.history import CANCELLING
from otpq.core.outcomes import end_lease

if TYPE_CHECKING:
    from otpq.core.events import Demand, Heartbeat, NodeLost, Running, SessionClosed, SessionOpened
    from otpq.core.leases import Lease
    from otpq.core.state import State

__all__ = [
    "demand",
    "end_overdue",
    "heartbeat",
    "node_lost",
    "running",
    "send_again",
    "session_closed",
    "session_opened",
]

RESEND_AFTER: Final = 1.0
"""Seconds that a batch may be on its way before it counts as lost. Sending it twice does no harm."""

CANCEL_GRACE: Final = 5.0
"""Where the request's own grace is no longer known: the default."""


def session_opened(state: State, event: SessionOpened) -> None:
    """Note a pool. It gets nothing until its first demand."""
    session = state.sessions[event.session] = Session(event)
    state.leases.renew(session.node, state.now.mono)
    for lease in state.leases.of_session(event.session):
        lease.parallel = session.parallel
        if lease.slots:
            state.take_slots(lease)
    if event.handlers is not None:
        catalogue.declare(state, event.handlers)
        schedules.declare(state, event.handlers, event.app)
    if session.memory is not None:
        _reserve(state, event.node)
    catalogue.note_served(state)


def _reserve(state: State, node: str) -> None:
    """Count what is out on a node, be it of an earlier queue server or of a time when the node had no bound."""
    for lease in state.leases.open.values():
        if lease.node[0] == node:
            state.reserve(lease)


def session_closed(state: State, event: SessionClosed) -> None:
    """Hand nothing more to a pool. Its leases go on."""
    state.sessions.pop(event.session, None)
    catalogue.note_served(state)


def demand(state: State, event: Demand) -> None:
    """Take in what a pool asks for and holds, and make good what was lost on the way."""
    session = state.sessions.get(event.session)
    if session is None or not state.leases.is_trusted(session.node):
        state.ledger.acks.append(UnknownSession(session=event.session))
        return
    leases = state.leases.of_session(event.session)
    # Not those that are over with this: a pool that began anew knows no number of theirs, and would ask in vain.
    session.hear(
        event, max((lease.number for lease in leases if lease.id in event.held or not lease.has_arrived), default=0)
    )
    for lease in leases:
        if lease.id in event.held:
            _arrived(state, lease)
        elif lease.has_arrived:
            state.stats.vanished_leases += 1
            end_lease(state, lease, None)
        elif lease.number == 0:
            # From an earlier queue server, and the pool has neither it nor its results: it never arrived.
            lease.number = session.next_number()
            state.ledger.lost[lease.id] = lease
        elif state.now.mono - lease.sent >= RESEND_AFTER:
            state.ledger.lost[lease.id] = lease
    for id in event.held:
        held = state.leases.open.get(id)
        if held is None or held.session != event.session:
            state.ledger.acks.append(Stale(session=event.session, lease=id))


def _arrived(state: State, lease: Lease) -> None:
    """The pool has it. To one of an earlier queue server, say again what may have been lost."""
    is_inherited = lease.number == 0 and not lease.has_arrived
    lease.has_arrived = True
    if is_inherited:
        for row in lease.rows.values():
            if row.reason == CANCELLING:
                state.ledger.sends.append(
                    CancelRunning(session=lease.session, lease=lease.id, seq=row.seq, grace=CANCEL_GRACE)
                )


def send_again(state: State) -> None:
    """Send once more the batches that were lost, with what is still open of them when all events have been heard."""
    for lease in state.ledger.lost.values():
        if lease.rows:
            rows = list(lease.rows.values())
            lease.sent = state.now.mono
            state.stats.resent_batches += 1
            declared = state.handlers.declared_of({row.name for row in rows})
            state.ledger.sends.append(
                Dispatch(
                    session=lease.session,
                    lease=lease.id,
                    number=lease.number,
                    rows=rows,
                    declared=declared,
                    alone=lease.alone,
                ),
            )


def running(state: State, event: Running) -> None:
    """Note what runs in a pool, for counts and for `why`."""
    session = state.sessions.get(event.session)
    if session is not None:
        session.running = event.seqs


def heartbeat(state: State, event: Heartbeat) -> None:
    """Give a node's leases a full term."""
    state.leases.renew((event.node, event.incarnation), state.now.mono)


def node_lost(state: State, event: NodeLost) -> None:
    """Take back at once what a node held whose death is proven."""
    node = (event.node, event.incarnation)
    state.leases.end_term(node)
    _give_up(state, node)
    for lease in state.leases.of_node(node):
        end_lease(state, lease, event.started, fenced=event.fenced, is_complete=event.is_complete)


def end_overdue(state: State) -> None:
    """Take back what those nodes held that were not heard of for a term: nobody can say what they had started."""
    for node in state.leases.overdue(state.now.mono):
        _give_up(state, node)
        for lease in state.leases.of_node(node):
            end_lease(state, lease, None)


def _give_up(state: State, node: tuple[str, str]) -> None:
    for session in [session for session in state.sessions.values() if session.node == node]:
        del state.sessions[session.id]
    catalogue.note_served(state)
