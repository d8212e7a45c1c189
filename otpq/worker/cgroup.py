"""Cgroup: a group of processes that Linux keeps within a limit of memory, where this user may make one.

The third guard of a task's memory, beside RLIMIT_DATA and the watchdog: what takes memory faster than the watchdog looks is
ended by the kernel, it alone, before the machine is short of memory. The memory that a process had before it was added stays
with the group where it was.

Both versions' trees are known. Groups are made below the one that this process is in, or beside it where it was given the one
around both: nobody gets out of a limit that was set for the node. They stand in a folder `otpq`, each named with the process
that made it, so that who comes later removes what the dead have left.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from otpq.worker.kernel import is_portable

__all__ = ["Cgroup"]

logger = logging.getLogger("otpq.worker")

_FOLDER: Final = "otpq"
_MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class _Version:
    """The words of one version of the kernel's interface."""

    limit: str
    swap: str
    unlimited: str
    events: str


_V1: Final = _Version("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "-1", "memory.oom_control")
_V2: Final = _Version("memory.max", "memory.swap.max", "max", "memory.events")


class Cgroup:
    """One group. Its methods may be called when all its processes have ended, and when it is removed."""

    def __init__(self, folder: Path, version: _Version) -> None:
        self._folder = folder
        self._version = version

    @classmethod
    def create(cls, name: str) -> Cgroup | None:
        """A new group without a limit; None where this process may make none: then there is no such guard.

        Args:
            name: Of this process's groups, for people; without slashes.
        """
        place = _place()
        if place is None:
            return None
        parent, version = place
        try:
            return cls(_made(parent, version, name), version)
        except OSError as error:
            logger.debug("no cgroup %s in %s: %s", name, parent, error)
            return None

    def add(self, pid: int) -> bool:
        """Put a process into it, with all that it starts from now on; False if it has ended, or may not be moved."""
        return self._write("cgroup.procs", str(pid))

    def limit(self, mib: float | None) -> bool:
        """Bound what its processes have together, swap included; None: no bound. Whether that is in force.

        With version 1 a limit below what they have already is refused, with version 2 the kernel ends one of them.
        """
        words = self._version
        if mib is None:
            self._write(words.swap, words.unlimited)
            return self._write(words.limit, words.unlimited)
        size = str(int(mib * _MIB))
        # Version 1 counts memory in its limit of both, and wants that one never below the other.
        self._write(words.swap, words.unlimited)
        is_set = self._write(words.limit, size)
        self._write(words.swap, size if words is _V1 else "0")
        return is_set

    def oom_kills(self) -> int:
        """How many of its processes the kernel has ended for its limit."""
        try:
            lines = (self._folder / self._version.events).read_text("ascii").splitlines()
        except OSError:
            return 0
        return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)

    def remove(self) -> bool:
        """Remove it; False if a process is still in it: then try again later, or leave it to the next start."""
        is_removed = _is_removed(self._folder)
        # The last one takes the folder along: whoever made the group around it can remove that only if it is empty.
        _is_removed(self._folder.parent)
        return is_removed

    def _write(self, file: str, text: str) -> bool:
        # In one write, without making a file: a kernel without swap accounting has none for it.
        try:
            descriptor = os.open(self._folder / file, os.O_WRONLY)
        except OSError:
            return False
        try:
            os.write(descriptor, text.encode("ascii"))
        except OSError:
            return False
        finally:
            os.close(descriptor)
        return True


@functools.cache
def _place() -> tuple[Path, _Version] | None:
    """The group in which our folder stands, and nothing of the dead in that; None where there can be none. Found out once."""
    if is_portable():
        return None
    for group, version in _candidates():
        try:
            probe = Cgroup(_made(group, version, "probe"), version)
        except OSError as error:
            logger.debug("no cgroups in %s: %s", group, error)
            continue
        _sweep(group / _FOLDER)
        holds = probe.limit(1024) and probe.limit(None)
        probe.remove()
        if holds:
            return group, version
    logger.debug("no cgroups: there is none that may be written and has a memory controller")
    return None


def _made(group: Path, version: _Version, name: str) -> Path:
    """The folder of a new group. Ours around it is made each time, as another node may just have removed it as its last.

    Raises:
        OSError: It cannot be made.
    """
    for _ in range(2):
        with contextlib.suppress(FileNotFoundError):
            return _make(group / _FOLDER, version, name)
    return _make(group / _FOLDER, version, name)


def _make(root: Path, version: _Version, name: str) -> Path:
    root.mkdir(exist_ok=True)
    folder = root / f"{name}@{_this_process()}"
    try:
        if version is _V2:
            _delegate(root.parent)
            _delegate(root)
        folder.mkdir(exist_ok=True)
    except OSError:
        _is_removed(root)
        raise
    return folder


def _candidates() -> list[tuple[Path, _Version]]:
    """The groups in which a folder of ours might be made."""
    found: list[tuple[Path, _Version]] = []
    for number, controllers, path in _own_groups():
        if "memory" in controllers.split(","):
            found += [(mount / path.lstrip("/"), _V1) for mount in _mounts("cgroup", "memory")]
        elif number == "0":
            for mount in _mounts("cgroup2", ""):
                group = mount / path.lstrip("/")
                found.append((group, _V2))
                # A group that has processes itself may not divide its memory: a rule of version 2. A service to which its
                # group was delegated, and which stands in one below for that reason (DelegateSubgroup=), divides that one.
                if _is_delegated(group.parent):
                    found.append((group.parent, _V2))
    return found


def _is_delegated(group: Path) -> bool:
    """Whether systemd has given it to the service that runs in it, to do with as it likes."""
    try:
        return os.getxattr(group, "user.delegate") == b"1"
    except OSError:
        return False


def _own_groups() -> list[tuple[str, str, str]]:
    """(number, controllers, path) of each tree that this process is in."""
    try:
        lines = Path("/proc/self/cgroup").read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return []
    return [(number, controllers, path) for number, controllers, path in (line.split(":", 2) for line in lines)]


def _mounts(kind: str, option: str) -> list[Path]:
    """Where a tree of that kind is mounted."""
    found = []
    for line in Path("/proc/self/mounts").read_text("utf-8", "surrogateescape").splitlines():
        _, where, type_, options, *_ = line.split(" ")
        if type_ == kind and (not option or option in options.split(",")):
            found.append(Path(where.encode("utf-8", "surrogateescape").decode("unicode_escape")))
    return found


def _delegate(group: Path) -> None:
    """Have the groups in `group` be given limits of memory.

    Raises:
        OSError: It has processes itself, or is not ours, or there is no such controller.
    """
    control = group / "cgroup.subtree_control"
    if "memory" not in control.read_text("ascii").split():
        control.write_text("+memory", encoding="ascii")


def _sweep(root: Path) -> None:
    """Remove the groups of those who made them and live no more."""
    for group in list(root.iterdir()):
        maker = group.name.rpartition("@")[2]
        if group.is_dir() and maker != _identity(maker.partition("-")[0]):
            _is_removed(group)


def _is_removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:  # busy
        return False
    return True


def _this_process() -> str:
    return _identity(str(os.getpid()))


def _identity(pid: str) -> str:
    """A process's pid and the time of its start: no later one has both. Of a pid that nobody has, the pid alone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return pid
    return f"{pid}-{stat[stat.rindex(b')') + 2 :].split()[19].decode('ascii')}"
