"""What earlier incarnations of this node left in its directory: proof of their deaths, and what they had started."""

from __future__ import annotations

import logging
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from otpq.core.events import NodeLost
from otpq.worker import tombstone
from otpq.worker.blackboard import Blackboard, BlackboardError
from otpq.worker.descendants import marked
from otpq.worker.spawn import MARK

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["deaths_in", "new_incarnation", "remove_leftovers"]

logger = logging.getLogger("otpq.node")

KEPT: Final = 3_600.0
"""Seconds after its start that an incarnation's files are kept in any case: they are small, and tell what happened."""
_PROC: Final = Path("/proc/self")
_INCARNATION: Final = re.compile(r"[0-9a-f]{20}")


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
            fenced=stone.reason == "lease",  # the warden ended it, through no fault of what ran
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


def remove_leftovers(directory: Path, since: str, holders: frozenset[str], *, kept: float = KEPT) -> None:
    """Remove the files of incarnations that are over for good: proven dead, or with no process left that bears their mark.

    Args:
        directory: The node's.
        since: The incarnation that the node was started as; only earlier ones are looked at.
        holders: Those that hold a lease in the store: of them nothing goes, it may be the only proof.
        kept: Seconds after its start that nothing of an incarnation goes.
    """
    for incarnation, files in _by_incarnation(directory).items():
        age = time.time() - int(incarnation[:12], 16) / 1000
        if incarnation >= since or incarnation in holders or age < kept or _may_live(directory, incarnation):
            continue
        # The proof goes last: whoever is interrupted here leaves it standing.
        for file in sorted(files, key=lambda path: path.name.startswith("tombstone.")):
            file.unlink(missing_ok=True)
        logger.info("removed what incarnation %s had left", incarnation)


def _may_live(directory: Path, incarnation: str) -> bool:
    if tombstone.path_of(directory, incarnation).exists():
        return False
    return not _PROC.exists() or bool(marked(f"{MARK}={incarnation}"))


def _by_incarnation(directory: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in directory.iterdir():
        match = _INCARNATION.search(path.name)
        if match is not None and path.is_file():
            found.setdefault(match[0], []).append(path)
    return found
