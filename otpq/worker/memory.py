"""How much memory a process and all below it have, as a watchdog sees it; and how much more a task may ask for.

The two sides of one limit. The child's soft RLIMIT_DATA makes a Python handler that asks for too much get a `MemoryError`, at
the very line; the worker's watchdog sees what no such limit does: files in memory, other programs, C code that had asked before.
RLIMIT_DATA and not RLIMIT_AS, under which a few threads' reserved but unused arenas count as much as data.
"""

from __future__ import annotations

import contextlib
import os
import resource
from pathlib import Path
from typing import TYPE_CHECKING, Final

from otpq.worker.descendants import descendants_of

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["resident", "within_memory"]

_MIB: Final = 1 << 20
_GONE: Final = (FileNotFoundError, ProcessLookupError, PermissionError)


def resident(pid: int, above: float = 0.0) -> float:
    """The MiB that a process and all its descendants have in memory; 0 where the system does not tell, or it has ended.

    Of one alone it is its resident size. Of several, what they share is divided among those who share it (PSS), as the
    resident sizes of forks would count the same pages many times. That costs a walk over all their pages, a millisecond for
    some 100 MiB; so it is done only if the sum of the resident sizes, which is never less, is more than `above`.
    """
    pids = [pid, *descendants_of(pid)]
    sizes = {each: size for each in pids if (size := _resident_of(each)) > 0}
    total = sum(sizes.values())
    if len(sizes) < 2 or total <= above:  # noqa: PLR2004 - one alone shares with nobody who matters here
        return total
    return sum(_share_of(each, size) for each, size in sizes.items())


def _resident_of(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_bytes().split()[1])
    except _GONE:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / _MIB


def _share_of(pid: int, otherwise: float) -> float:
    """Its proportional share; `otherwise` if that is not told, as of a program with other rights or by an old kernel."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_bytes().splitlines()
    except ProcessLookupError:  # it has ended meanwhile
        return 0.0
    except (FileNotFoundError, PermissionError):
        return otherwise
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(b"Pss:")), otherwise)


@contextlib.contextmanager
def within_memory(mib: float) -> Iterator[None]:
    """A context in which this process gets at most `mib` MiB of private memory more than it has now: then `MemoryError`.

    For the whole process, its threads too, so only for a child that runs one task; what it starts inherits it. It holds
    where Linux counts (from 4.7 on); elsewhere nothing is limited, and the watchdog alone sees what is taken.
    """
    data = _data_of_this()
    if data is None:
        yield
        return
    before, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = data + int(mib * _MIB)
    lowest = min((each for each in (wanted, before, hard) if each != resource.RLIM_INFINITY), default=wanted)
    resource.setrlimit(resource.RLIMIT_DATA, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (before, hard))


def _data_of_this() -> int | None:
    """Bytes of data that this process has asked for, its stack included; None where that is not told."""
    try:
        pages = int(Path("/proc/self/statm").read_bytes().split()[5])
    except _GONE:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")
