"""What one child has in memory, and the wall that the kernel keeps around it, where it lets us build one."""

from __future__ import annotations

import os
from pathlib import Path

from otpq.worker.cgroup import Cgroup
from otpq.worker.memory import resident

__all__ = ["ChildMemory"]


class ChildMemory:
    """One child's, all that it starts included."""

    def __init__(self, pid: int, group: Cgroup | None = None) -> None:
        self._pid = pid
        self._group = group
        self._limit: float | None = None
        self._kills = 0 if group is None else group.oom_kills()

    @classmethod
    def of(cls, pid: int, name: str) -> ChildMemory:
        """That of a child which has just been started; `name` is new for each, and for people."""
        group = Cgroup.create(name)
        if group is not None:
            group.add(pid)
        return cls(pid, group)

    def resident(self, above: float) -> float:
        """MiB that it has, exactly if they are more than `above`; 0 where the system does not tell."""
        return resident(self._pid, above)

    def own(self) -> float:
        """MiB of the child alone, at no cost to speak of."""
        try:
            pages = int(Path(f"/proc/{self._pid}/statm").read_bytes().split()[1])
        except OSError:
            return 0.0
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def limit(self, mib: float | None) -> None:
        """Have the kernel keep it within this from now on, if it can; None: within nothing."""
        if mib != self._limit and self._group is not None and self._group.limit(mib):
            self._limit = mib

    def has_run_out(self) -> bool:
        """Whether the kernel has killed any of it for that limit since this was last asked."""
        if self._limit is None or self._group is None:
            return False
        before, self._kills = self._kills, self._group.oom_kills()
        return self._kills > before

    def close(self) -> None:
        """Take the wall down, when the child is gone."""
        if self._group is not None:
            self._group.remove()
