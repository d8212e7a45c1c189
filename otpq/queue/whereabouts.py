"""Whereabouts: what the queue server knows, beside its core, of where a task is. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from otpq.wire.peers import Member

__all__ = ["whereabouts"]

Facts = dict[str, Any]

STATES: Final = ("active", "idle", "starting", "offline")


def whereabouts(
    code: str,
    facts: Facts,
    seq: int,
    *,
    workers: Sequence[Mapping[str, Any]],
    nodes: Iterable[Member],
    open_of: Callable[[int], Sequence[bytes]],
) -> Facts:
    """What is to be told beside a reason of the core's.

    Args:
        code: The reason's.
        facts: The reason's.
        seq: The task's number.
        workers: As `Workers.rows` gives them: up to a second old.
        nodes: All of the cluster.
        open_of: The ids of a lease's open tasks, in their order.

    Returns:
        Of a task that is assigned: `node_state`; if its pool has told, `worker` and `child` (its pid); if it runs, `since`
        when, else how many are in front of it there (`position`), and `behind` which it is. Of one that nobody is free for:
        `workers`, those of its pools by state.
    """
    if code == "assigned":
        states = {(member.node, member.incarnation): member.state for member in nodes}
        state = states.get((facts["node"], facts["incarnation"]), "down")  # another incarnation has taken its place
        place = _run_of(seq, workers) if facts["running"] else _place_of(facts, workers, open_of)
        return {"node_state": state, **place}
    if code == "no_worker" and 0 < facts["pools"] == len(facts["there"]):
        # Where not all of them are named, a count would be wrong.
        there = {(of["node"], of["pool"]) for of in facts["there"]}
        mine = [row["state"] for row in workers if (row["node"], row.get("pool")) in there]
        return {"workers": {state: mine.count(state) for state in STATES}}
    return {}


def _run_of(seq: int, workers: Iterable[Mapping[str, Any]]) -> Facts:
    for row in workers:
        since = {row.get("seq"): row.get("since"), **dict(row.get("runs", ()))}
        if seq in since:
            return {"worker": row["worker"], "child": row["child"], "since": since[seq]}
    return {}


def _place_of(facts: Facts, workers: Iterable[Mapping[str, Any]], open_of: Callable[[int], Sequence[bytes]]) -> Facts:
    """Its place in front of a worker, over all batches that this one has."""
    lease = facts["lease"]
    for row in workers:
        leases = row.get("leases", ())
        if lease in leases:
            before = [id for each in leases[: leases.index(lease)] for id in open_of(each)]
            behind = facts["behind"] if facts["behind"] is not None or not before else before[-1].hex()
            place = {"position": facts["position"] + len(before), "behind": behind}
            return {"worker": row["worker"], "child": row["child"], **place}
    return {}
