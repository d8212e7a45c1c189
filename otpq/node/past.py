"""What an earlier incarnation of this node left in its directory: proof of its death, and what it had started."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from otpq.core.events import NodeLost
from otpq.worker import tombstone
from otpq.worker.blackboard import Blackboard, BlackboardError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["deaths_in", "new_incarnation"]


def new_incarnation() -> str:
    """A name that no other start of any node has: the time, then chance."""
    return f"{int(time.time() * 1000):012x}{os.urandom(4).hex()}"


def deaths_in(directory: Path, node: str) -> tuple[NodeLost, ...]:
    """The proven deaths of earlier incarnations of `node`, each with the tasks that its blackboards name as started.

    Proven is what has a tombstone: its warden wrote it after the last child had ended. The leases of any other incarnation
    end by their term.
    """
    return tuple(
        NodeLost(
            node=node,
            incarnation=stone.incarnation,
            started=_started(directory, stone.incarnation),
            is_complete=False,  # what had ended before its result was committed is on no blackboard
        )
        for stone in tombstone.find(directory, node)
    )


def _started(directory: Path, incarnation: str) -> frozenset[int] | None:
    """The tasks that were started and not seen to end; None where no blackboard is left to ask."""
    boards = sorted(directory.glob(f"*{incarnation}*.blackboard"))
    if not boards:
        return None
    started: set[int] = set()
    for path in boards:
        try:
            board = Blackboard(path)
        except (OSError, BlackboardError):
            return None
        started.update(view.running.seq for view in board.read_all() if view.running is not None)
        board.close()
    return frozenset(started)
