"""Leftovers: what a program started and left behind, daemons too; found by four signs, and ended.

The child that runs the program is a subreaper, so whatever the program leaves behind stays below it, as its own child in the
end. But others of this child's tasks may have processes there too. Of the program are

- those of its session: none leaves it but by `setsid`;
- those that carry its mark in their environment: none loses it but with a clean environment;
- those below one of these;
- and, if the program was the only thing that ran in this child, all new children of it.

Without a subreaper (`OTPQ_PORTABLE=1`, macOS) only the session's process group is left.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Final

from otpq.worker.descendants import children_of, descendants_of
from otpq.worker.kernel import is_portable

__all__ = ["Leftovers"]

_GONE: Final = (FileNotFoundError, ProcessLookupError, PermissionError)
"""What is raised of a process that has ended or is another user's. Not `OSError`: a soft timeout is one, and would be lost."""

_PATIENCE: Final = 5.0
"""Seconds in which those that were killed end. One in the middle of I/O that hangs does not; nor one of another user."""
_FIRST_NAP: Final = 0.0005
_LONGEST_NAP: Final = 0.02


class Leftovers:
    """Made before the program starts; `end` is called when it is over, and not waited for yet.

    Not yet: as long as its own entry among the processes is there, its pid can mean nobody else, nor can its session's.
    """

    def __init__(self, mark: str, *, is_alone: bool) -> None:
        """`mark` is NAME=value in its environment; `is_alone`: nothing else runs in this process meanwhile."""
        self._mark = mark.encode("utf-8", "surrogateescape")
        self._is_alone = is_alone
        self._before = frozenset(self._own_children())
        self._killed: set[int] = set()

    def end(self, leader: int | None) -> list[int]:
        """Kill them and wait until they are gone; the pids of those that did not end within 5 s.

        Args:
            leader: The program itself, which leads its session and has ended; None: it is not known, and one of them.
        """
        if leader is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(leader, signal.SIGKILL)
        if is_portable():
            return []
        nap = _FIRST_NAP
        give_up = time.monotonic() + _PATIENCE
        while left := self._left(leader):
            if time.monotonic() > give_up:
                return left
            time.sleep(nap)
            nap = min(_LONGEST_NAP, nap * 2)
        return []

    def _left(self, leader: int | None) -> list[int]:
        """Those that there are; each has been sent its kill, or has been waited for."""
        found = [pid for pid in self._found(leader) if pid != leader]
        own = set(self._own_children())
        for pid in found:
            self._killed.add(pid)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
            if pid in own:
                _wait_for(pid)
        return found

    def _found(self, leader: int | None) -> list[int]:
        own = self._own_children()
        found = {pid for pid in descendants_of(os.getpid()) if self._is_of_it(pid, leader)}
        if self._is_alone:
            found |= {pid for pid in own if pid not in self._before}
        return sorted(found | {below for pid in found for below in descendants_of(pid)})

    def _is_of_it(self, pid: int, leader: int | None) -> bool:
        # One that was killed tells its mark no more, and is waited for all the same.
        return pid in self._killed or (leader is not None and _session_of(pid) == leader) or self._is_marked(pid)

    def _is_marked(self, pid: int) -> bool:
        try:
            return self._mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except _GONE:
            return False

    def _own_children(self) -> list[int]:
        return [] if is_portable() else children_of(os.getpid())


def _session_of(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except _GONE:
        return None
    # "pid (name) state ppid pgrp session ...": the name may hold blanks and brackets, so count from its last bracket.
    return int(stat[stat.rindex(b")") + 2 :].split()[3])


def _wait_for(pid: int) -> None:
    """Take an ended child off the list of processes, if it has ended and nobody else has."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
