"""Pace: how long results wait for others that are due soon, so that one commit does for all of them.

A step costs the node about 0.7 ms of CPU however little it does, most of it the commit and the threads that it wakes. Two
children with tasks of 2 ms would cause hundreds a second, and lose a fifth of two CPUs to them. So results alone wait, for
a time in proportion to the runs of those that are still out, and only where such are due within 10 ms: nobody waits
for a task that takes longer. A lonely result has nobody to wait for; whatever a client sends takes those that wait along.
"""

from __future__ import annotations

from typing import Final

__all__ = ["SOON", "hold"]

SOON: Final = 0.010
"""Seconds within which another result must be due."""
_LEAST: Final = 0.0005
_RUNS: Final = 4
"""Results wait for about as many as two children send in four runs."""


def hold(soon: float) -> float:
    """Seconds after the last step before which results do not cause another; 0: they do at once.

    Args:
        soon: Seconds until the next result may be there; infinite: none is out.
    """
    return 0.0 if soon > SOON else min(SOON, _LEAST + _RUNS * soon)
