"""What earlier incarnations of this node left in its directory: proof of their deaths, and what they had started."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from otpq.core.events import NodeLost
from otpq.worker import tombstone
from otpq.worker.blackboard import Blackboard, BlackboardError

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

__all__ = ["deaths_in", "forget", "new_incarnation"]


def new_incarnation() -> str:
    """A name that no other start of any node has: the time, then chance."""
    return f"{int(time.time() * 1000):012x}{os.urandom(4).hex()}"


def deaths_in(directory: Path, node: str, known: Collection[str] = ()) -> tuple[NodeLost, ...]:
    """The proven deaths of earlier incarnations of `node`, each with the tasks that its blackboards name as started.

    Proven is what has a tombstone: its warden wrote it after the last child had ended. The leases of any other incarnation
    end by their term. Incarnations that are `known` are passed over.
    """
    stones = tombstone.find(directory, node, known)
    boards = sorted(directory.glob("*.blackboard")) if stones else []
    return tuple(
        NodeLost(
            node=node,
            incarnation=stone.incarnation,
            started=_started([board for board in boards if stone.incarnation in board.name]),
            is_complete=False,  # what had ended before its result was committed is on no blackboard
        )
        for stone in stones
    )


def _started(boards: list[Path]) -> frozenset[int] | None:
    """The tasks that were started and not seen to end; None where no blackboard is left to ask."""
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


def forget(directory: Path, incarnations: Collection[str]) -> None:
    """Remove what these left. Their tombstones go last: what is half removed is found again."""
    files = [file for file in directory.iterdir() if any(part in incarnations for part in file.name.split("."))]
    for file in sorted(files, key=lambda file: file == tombstone.path_of(directory, file.name.rpartition(".")[2])):
        file.unlink(missing_ok=True)
