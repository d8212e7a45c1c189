"""Who lives below a process, from /proc; and how to end them all. Linux only, of the standard library alone.

The rule that everything rests on: of its *own* children a single-threaded process reads a reliable list, because only it
can take one off (by waiting for it). What lies deeper may be missed while it moves, and turns up as an own child later,
since orphans of a subreaper's descendants become its children. So: kill what is seen, wait, look again, until `wait` says
that there is no child. That answer is the proof; the walk is only speed.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

__all__ = ["children_of", "descendants_of", "kill_trees", "marked"]

_PROC = Path("/proc")


def children_of(pid: int) -> list[int]:
    """The pids whose parent is `pid`, zombies included; empty if there is no such process."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - as below
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:  # noqa: PTH123 - pathlib: 3 times the time
                found.extend(map(int, file.read().split()))
    except FileNotFoundError:
        # The process or a thread of it has ended; or the kernel was built without CONFIG_PROC_CHILDREN.
        return found if _has_children_files() else _children_by_stat(pid)
    except ProcessLookupError:
        pass
    return found


def _has_children_files() -> bool:
    return Path(f"/proc/self/task/{os.getpid()}/children").exists()


def _children_by_stat(parent: int) -> list[int]:
    """The same from every process's `stat`: about 10 us a process of the machine."""
    return [pid for pid in _pids() if _parent_of(pid) == parent]


def _pids() -> list[int]:
    return [int(name) for name in os.listdir(_PROC) if name.isdigit()]  # noqa: PTH208 - as above


def _parent_of(pid: int) -> int | None:
    try:
        stat = (_PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    # "pid (name) state ppid ...": the name may hold blanks and brackets, so count from its last bracket.
    return int(stat[stat.rindex(b")") + 2 :].split()[1])


def descendants_of(pid: int) -> list[int]:
    """All that lives below `pid`, parents before their children."""
    found = children_of(pid)
    for each in found:  # grows while it is walked
        found.extend(children_of(each))
    return found


def kill_trees(roots: list[int]) -> None:
    """SIGKILL each of `roots` and all below it. What may not be killed or has ended is passed over.

    The roots must be unwaited children of the caller, so that their pids cannot mean somebody else. Of those below, one
    could end and its pid come back between the look and the kill only if all pids were used up meanwhile.
    """
    below = [pid for root in roots for pid in descendants_of(root)]
    for pid in (*roots, *below):
        try:
            os.kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # PermissionError: it has other rights (sudo); we wait for it
            continue


def marked(variable: str) -> list[int]:
    """The pids whose environment, as they were started, has `variable` ("NAME=value").

    For tidying up after a power-off of everything that watched; no proof, since a program can be started with a clean
    environment.
    """
    wanted = variable.encode()
    return [pid for pid in _pids() if pid != os.getpid() and wanted in _environment(pid)]


def _environment(pid: int) -> list[bytes]:
    try:
        return (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:  # gone, or not ours
        return []
