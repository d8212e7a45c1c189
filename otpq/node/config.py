"""NodeConfig: all settings of a node, checked once, passed down; nothing below reads the environment or a file."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from pathlib import Path

from otpq.errors import BadOption, StoreError
from otpq.queue.retention import Retention
from otpq.store.url import parse_url
from otpq.task import Options
from otpq.wire.node_name import NodeName

__all__ = ["DEFAULT_NAME", "BadDirectory", "NodeConfig", "default_directory", "workers_of"]

DEFAULT_NAME = "otpq@127.0.0.1"


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
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    queues: tuple[str, ...] = ("default",)
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
        if isinstance(self.workers, bool) or not isinstance(self.workers, int) or self.workers < 0:
            raise BadOption("workers", self.workers, "a whole number, 0 or more")
        for queue in self.queues:
            Options.of(queue=queue)
        if not self.queues or len(set(self.queues)) < len(self.queues):
            raise BadOption("queues", self.queues, "one or more names, each once")
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


def default_directory(name: NodeName) -> Path:
    """Where a node keeps its things unless told otherwise."""
    return Path("~/.otpq").expanduser() / str(name)


def workers_of(text: str) -> int:
    """How many workers 'N' or 'MIN..MAX' means; each may be CPUS, the number of processors.

    Of a range it is MAX: pools do not change their size by themselves yet.

    Raises:
        BadOption: It is neither.
    """
    bounds = [_number_of(word.strip()) for word in text.split("..", 1)]
    if min(bounds) < 0 or bounds[0] > bounds[-1]:
        raise BadOption("workers", text, "a number of workers such as 4, or a range such as 1..CPUS")
    return bounds[-1]


def _number_of(word: str) -> int:
    if word.upper() == "CPUS":
        return os.cpu_count() or 1
    return int(word) if word.isdecimal() else -1
