"""What must be true of the core between two steps. Tests ask after every step; an operator may ask any time."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from otpq.core.memory import needed
from otpq.core.state import QUEUED
from otpq.errors import InvariantBroken

if TYPE_CHECKING:
    from otpq.core.state import State
    from otpq.core.window import Window

__all__ = ["check_invariants"]


def check_invariants(state: State) -> None:
    """Return if every part of the core agrees with every other.

    Raises:
        InvariantBroken: It names what does not hold.
    """
    _check_windows(state)
    _check_lanes(state)
    _check_leases(state)
    _check_slots(state)
    _check_sessions(state)
    _check_memory(state)
    _check_schedules(state)


def _check(is_true: bool, what: str) -> None:  # noqa: FBT001 - an assertion's condition
    if not is_true:
        raise InvariantBroken(what)


def _check_windows(state: State) -> None:
    windows: list[Window] = [state.due, *state.lanes.lanes.values()]
    for window in windows:
        keys = [row.order for row in window.rows]
        _check(keys == sorted(set(keys)), f"window out of order: {keys}")
        _check(window.outside >= 0, f"{len(keys)} rows in a window of {window.waiting}")
        _check(not window.outside or not keys or keys[-1] <= window.mark, "a row after the mark is in a window")
    _check(state.room.rows == sum(len(window.rows) for window in windows), "the room miscounts rows")
    size = sum(len(row.payload) for window in windows for row in window.rows)
    _check(state.room.bytes == size, f"the room counts {state.room.bytes} bytes, not {size}")
    for row in state.due.rows:
        _check(row.state in {"pending", "retrying"}, f"task {row.seq} waits for its time and is {row.state}")


def _check_lanes(state: State) -> None:
    lanes = state.lanes
    ringed = 0
    for queue in lanes.queues.values():
        for index, groups in enumerate(queue.groups):
            for name, group in groups.items():
                _check(group.handler.name == name, f"group {name} has another name")
                _check(group.priority == 9 - index, f"group {name} has another priority")
                _check(group.waiting == sum(lane.waiting for lane in group.ring), f"group {name} miscounts")
                _check(len(set(map(id, group.ring))) == len(group.ring), "a lane has two turns")
                for lane in group.ring:
                    _check(lanes.lanes.get(lane.key) is lane, f"lane {lane.key} is not filed")
                ringed += len(group.ring)
        waiting = sum(group.waiting for groups in queue.groups for group in groups.values())
        _check(queue.waiting == waiting, f"queue {queue.name} miscounts")
    _check(ringed == len(lanes.lanes), "a lane has no turn")
    for key, lane in lanes.lanes.items():
        for row in lane.rows:
            _check((row.queue, row.name, row.partition, row.priority) == key, f"task {row.seq} is in a wrong lane")
            _check(row.state == QUEUED, f"task {row.seq} is in a lane and {row.state}")
            _check(row.seq not in state.leases.by_seq, f"task {row.seq} is in a lane and in a lease")
        _check(not (lane.rows and (lane.group.queue.paused or lane.group.handler.paused)), "a paused lane holds rows")


def _check_leases(state: State) -> None:
    leases = state.leases
    seqs = Counter(seq for lease in leases.open.values() for seq in lease.rows)
    _check(all(n == 1 for n in seqs.values()), "a task is in two leases")
    _check(set(seqs) == set(leases.by_seq), "the leases' index is wrong")
    for lease in leases.open.values():
        _check(bool(lease.rows), f"lease {lease.id} is open and empty")
        _check(all(leases.by_seq[seq] is lease for seq in lease.rows), f"lease {lease.id} is not indexed")
        _check(leases.by_session[lease.session][lease.id] is lease, f"lease {lease.id} is not with its session")
        _check(leases.is_trusted(lease.node), f"lease {lease.id} is of a node without a term")
        _check(not lease.alone or len(lease.rows) == 1, f"lease {lease.id} travels alone with others")
    _check(set(state.cancels) <= set(leases.by_seq), "somebody waits for a cancelling that nobody does")


def _check_slots(state: State) -> None:
    used = Counter[str]()
    for lease in state.leases.open.values():
        used.update(lease.slots)
    for name, handler in state.handlers.items():
        _check(handler.used == used[name], f"handler {name} counts {handler.used} slots, its leases {used[name]}")
    queued = Counter[str]()
    for queue in state.lanes.queues.values():
        queued[queue.name] += queue.waiting
    for lease in state.leases.open.values():
        queued.update(row.queue for row in lease.rows.values())
    for (queue_name, name), count in state.counts.items():
        _check(count >= 0, f"{count} tasks of {queue_name} are {name}")
        if name == QUEUED:
            _check(count == queued[queue_name], f"{count} tasks of {queue_name} are queued, {queued[queue_name]} wait")


def _check_sessions(state: State) -> None:
    told = [session.handlers for session in state.sessions.values() if session.handlers is not None]
    served = {name for names in told for name in names} if told else None
    _check(state.handlers.served == served, f"handlers {state.handlers.served} are served, sessions have {served}")
    _check(served is None or served <= state.handlers.known, "a session has a handler that is not known")


def _check_memory(state: State) -> None:
    reserved = defaultdict[str, float](float)
    bounds = {session.node[0]: session.memory for session in state.sessions.values()}
    for lease in state.leases.open.values():
        reserved[lease.node[0]] += lease.reserved
        if bounds.get(lease.node[0]) is not None:
            needs = needed(map(state.memory, lease.rows.values()), lease.parallel)
            _check(lease.reserved == needs, f"lease {lease.id} reserves {lease.reserved} MiB, and needs {needs}")
    for node in reserved.keys() | bounds.keys():
        _check(state.reservations.of(node) == reserved[node], f"node {node} miscounts what is reserved")


def _check_schedules(state: State) -> None:
    schedules = state.schedules
    for name, entry in schedules.by_name.items():
        row = entry.row
        _check(row.name == name, f"schedule {name} has another name")
        _check(entry.is_enabled or row.next is None, f"schedule {name} is disabled and has a next slot")
        is_behind = row.next is not None and row.last is not None and row.next <= row.last
        _check(not is_behind, f"schedule {name} has fired {row.last} and is to fire {row.next}")
    waiting = {name for name, entry in schedules.by_name.items() if entry.row.waiting}
    heard = {*schedules.awaited.values(), *schedules.unsure}
    _check(waiting <= heard, f"nobody wakes what waits of {waiting - heard}")
