"""Memory that tasks reserve before they start, so that two which do not fit together never run together on a node.

A lease reserves what may be needed at the same time: a child that runs one task after the other, the largest of its tasks;
one that runs n at a time, the n largest together. Reservations are counted by the name of the node, over all its pools and
incarnations: what an earlier one has not given up may still be in the same machine.
"""

from __future__ import annotations

import math
from heapq import nlargest
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from otpq.core.leases import Lease

__all__ = ["Reservations", "needed"]


def needed(memories: Iterable[float], parallel: int | None) -> float:
    """MiB that tasks need of which `parallel` run at a time; None: nobody knows how many, so perhaps all."""
    return math.fsum(memories if parallel is None else nlargest(parallel, memories))


class Reservations:
    """How many MiB each lease has reserved, by node."""

    __slots__ = ("_by_node",)

    def __init__(self) -> None:
        self._by_node: dict[str, dict[int, float]] = {}

    def put(self, lease: Lease, mib: float) -> None:
        """Have a lease reserve this much, in place of what it had."""
        lease.reserved = mib
        of_node = self._by_node.setdefault(lease.node[0], {})
        if mib:
            of_node[lease.id] = mib
        else:
            of_node.pop(lease.id, None)
            if not of_node:
                del self._by_node[lease.node[0]]

    def of(self, node: str) -> float:
        """What is reserved on a node. Summed anew, so that no rounding gathers."""
        return math.fsum(self._by_node.get(node, {}).values())
