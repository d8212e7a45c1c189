"""NodeConfig: all settings of a node, checked once, passed down; nothing below reads the environment or a file."""

from __future__ import annotations

import contextlib
import math
import os
from dataclasses import dataclass, field, replace
from pathlib import Path

from otpq.errors import BadOption, StoreError
from otpq.node.pools import PoolSettings
from otpq.queue.retention import Retention
from otpq.store.url import parse_url
from otpq.task import Options
from otpq.wire.node_name import NodeName

__all__ = ["DEFAULT_NAME", "BadDirectory", "NodeConfig", "default_directory", "memory_of_machine"]

DEFAULT_NAME = "otpq@127.0.0.1"
_CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def memory_of_machine() -> float | None:
    """The MiB that this machine, or the container we are in, has; None where the system does not tell."""
    try:
        found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    except (ValueError, OSError):
        return None
    for file in _CGROUP_LIMITS:
        with contextlib.suppress(OSError, ValueError):
            found.append(int(file.read_text()))
    return min(found) / 2**20


class BadDirectory(StoreError):
    """The node's directory cannot be made or written."""

    def __init__(self, directory: Path, error: OSError) -> None:
        super().__init__(
            f"the node's directory {directory} cannot be used: {error.strerror}: {error.filename}; "
            f"make it writable for this user, free some space, or name another by --dir"
        )
        self.directory = directory


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """What `otpq node` and `otpq.start` are told.

    Raises:
        BadOption: A setting cannot be right.
    """

    name: NodeName = field(default_factory=lambda: NodeName.parse(DEFAULT_NAME))
    app: str | None = None
    """Where the children find the user's app: `package.module:attribute` or `/path/file.py:attribute`; None: no workers."""
    path: tuple[str, ...] = ()
    """What goes first into the children's `sys.path`."""
    pools: tuple[PoolSettings, ...] = field(default_factory=lambda: (PoolSettings(most=os.cpu_count() or 1),))
    """Its pools, each with a name of its own; those without workers are left out."""
    script_dirs: tuple[Path, ...] = ()
    """Directories of whose scripts any may be run, by whoever may submit."""
    memory: float | None = field(default_factory=memory_of_machine)
    """MiB that tasks may have reserved at a time, together; None: no bound."""
    directory: Path | None = None
    """Store, cookie-less state, blackboards, tombstones. Default: ~/.otpq/NAME."""
    store: str | None = None
    """A store URL. Default: `store.db` in the directory."""
    cookie_file: Path | None = None
    """Default: ~/.otpq/cookie, made at the first start."""
    grace: float = 30.0
    """Seconds that running tasks have to end after TERM before they are handed back."""
    lease: float = 30.0
    """Seconds that running tasks go on when the queue server, or the whole node, gives no sign of life; then the warden ends
    them, uncharged."""
    retention: Retention = field(default_factory=Retention)
    """How long ended tasks are kept: a day, those that failed or expired 30 days, unless it says otherwise."""

    def __post_init__(self) -> None:
        names = [pool.name for pool in self.pools]
        if len(set(names)) < len(names):
            raise BadOption("pools", names, "each name once")
        if self.memory is not None:
            Options.of(memory=self.memory)
        for directory in self.script_dirs:
            if not directory.is_absolute() or not directory.is_dir():
                raise BadOption("script_dirs", str(directory), "absolute paths of directories that are there")
        if isinstance(self.grace, bool) or not isinstance(self.grace, int | float) or not 0 <= self.grace < math.inf:
            raise BadOption("grace", self.grace, "seconds, 0 or more")
        if isinstance(self.lease, bool) or not isinstance(self.lease, int | float) or not 0 < self.lease < float("inf"):
            raise BadOption("lease", self.lease, "seconds, more than 0")
        if self.store is not None:
            parse_url(self.store)

    @property
    def place(self) -> Path:
        """The node's directory."""
        return default_directory(self.name) if self.directory is None else self.directory

    @property
    def store_url(self) -> str:
        """The store's URL."""
        return str(self.place / "store.db") if self.store is None else self.store

    @property
    def cookie(self) -> Path:
        """The cookie's file."""
        return Path("~/.otpq/cookie").expanduser() if self.cookie_file is None else self.cookie_file

    @property
    def staffed(self) -> tuple[PoolSettings, ...]:
        """The pools that have something to run and may have workers."""
        if self.app is None and not self.script_dirs:
            return ()
        pools = (pool for pool in self.pools if pool.least or pool.most)
        # Without an app there are scripts alone, and no child need load anything.
        return tuple(replace(pool, executor="script", parallel=None) if self.app is None else pool for pool in pools)


def default_directory(name: NodeName) -> Path:
    """Where a node keeps its things unless told otherwise."""
    return Path("~/.otpq").expanduser() / str(name)
