"""What both clients make of the answers of a node's functions: pure functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from otpq.errors import UsageError
from otpq.wire.messages import ID_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from otpq.task import LogLine

__all__ = ["MARGIN", "SILENCE", "ended_message", "is_out", "is_task_id", "line_message", "node_of_run"]

MARGIN: Final = 20.0
"""Seconds that the end of a drained node may take beyond its grace: kills, and the commits of the last results."""
SILENCE: Final = 2.0
"""Seconds without an answer after which a node that leads and was drained is gone."""
_HEX_DIGITS: Final = frozenset("0123456789abcdefABCDEF")


def is_task_id(what: object) -> bool:
    """Whether that is the id of a task, and not the name or number of a process or of a worker."""
    return isinstance(what, str) and len(what) == 2 * ID_BYTES and set(what) <= _HEX_DIGITS


def node_of_run(id: str, why: Mapping[str, Any] | None) -> str:
    """The node that has a task, by what `why` says of it.

    Raises:
        UsageError: None has.
    """
    if why is None:
        raise UsageError(f"task {id} has ended: it has no stacks any more")
    if why["code"] != "assigned":
        raise UsageError(f"task {id} does not run, so it has no stacks: {why['code']}")
    return str(why["facts"]["node"])


def line_message(line: LogLine) -> dict[str, Any]:
    """A line of a task's log as a message of its trace."""
    return {
        "time": line.time.timestamp(),
        "kind": line.stream,
        "level": line.level,
        "message": line.text,
        "fields": dict(line.fields),
        "dropped": line.dropped,
    }


def ended_message(reason: str) -> dict[str, Any]:
    """The last message of a process's trace."""
    return {"time": None, "kind": "ended", "peer": None, "message": reason, "dropped": 0}


def is_out(drained: Mapping[str, Any], nodes: Iterable[Mapping[str, Any]]) -> bool:
    """Whether the node that answered to `drain` is down, or has been followed by another of its name."""
    return not any(
        node["node"] == drained["node"] and node["incarnation"] == drained["incarnation"] and node["state"] != "down"
        for node in nodes
    )
