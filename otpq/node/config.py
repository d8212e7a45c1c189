"""NodeConfig: all settings of a node, checked once, passed down; nothing below reads the environment or a file."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from otpq.core.schedule import check as check_schedule
from otpq.errors import BadOption, StoreError, UnknownOption
from otpq.node.pools import PoolSettings
from otpq.node.webhooks import check_secrets
from otpq.queue.retention import Retention
from otpq.store.url import parse_url
from otpq.task import COLUMNS, Options
from otpq.wire.node_name import NodeName

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from otpq.core.schedule import Definition
    from otpq.core.webhooks import Webhook

__all__ = [
    "DEFAULT_NAME",
    "HANDLER_OPTIONS",
    "SECONDS",
    "BadDirectory",
    "NodeConfig",
    "check_handler_options",
    "check_queue_size",
    "check_seconds",
    "default_directory",
    "memory_of_machine",
]

DEFAULT_NAME = "otpq@127.0.0.1"
SECONDS: Final[dict[str, tuple[Callable[[Any], bool], str]]] = {
    "grace": (lambda seconds: seconds >= 0, "seconds, 0 or more"),
    "lease": (lambda seconds: seconds > 0, "seconds, more than 0"),
    "heartbeat": (lambda seconds: 0 < seconds <= 1, "seconds, more than 0 and at most 1: after 3 a node is suspected"),
}
"""The settings that are seconds; for each, which are right, and that in words."""
_MOST: Final = 1e12
"""Seconds: beyond it no clock counts."""
HANDLER_OPTIONS: Final = tuple(name for name in Options.__struct_fields__ if name not in COLUMNS and name != "unique")
"""What a file may say of a handler. Where and when a task runs is settled when it is submitted, by its app's own decorator."""
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
    """A store URL. Default, unless it joins: `store.db` in the directory."""
    join: tuple[NodeName, ...] = ()
    """Nodes of the cluster that it belongs to; its own name among them is ignored, so that all may have the same list."""
    bind: str | None = None
    """The address to listen on, if it is another than that of the name's host: 0.0.0.0 in a container."""
    cookie_file: Path | None = None
    """Default: ~/.otpq/cookie, made at the first start."""
    grace: float = 30.0
    """Seconds that running tasks have to end after TERM before they are handed back."""
    lease: float = 30.0
    """Seconds that running tasks go on when the queue server, or the whole node, gives no sign of life; then the warden ends
    them, uncharged."""
    heartbeat: float = 1.0
    """Seconds between two signs of life to the node that leads, which suspects who gives none for three seconds."""
    retention: Retention = field(default_factory=Retention)
    """How long ended tasks are kept: a day, those that failed or expired 30 days, unless it says otherwise."""
    handler_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By handler, options that count more than those its app declares and less than what is set at run time. Heeded where it
    leads, and so in the whole cluster; only such as a decorator would have, but for where and when a task runs."""
    queue_sizes: Mapping[str, int] = field(default_factory=dict)
    """By queue, how many tasks it may hold unless that is set at run time. Heeded where it leads."""
    schedules: Mapping[str, Definition] = field(default_factory=dict)
    """By name. Heeded where it leads: those that an earlier start had and this one has not are removed."""
    scheduler: bool = True
    """Whether schedules make tasks. Heeded where it leads."""
    webhooks: tuple[Webhook, ...] = ()
    """Who outside is told of which events; the leader sees to what is told, and each node with workers may have to tell it."""

    def __post_init__(self) -> None:
        names = [pool.name for pool in self.pools]
        if len(set(names)) < len(names):
            raise BadOption("pools", names, "each name once")
        if self.memory is not None:
            Options.of(memory=self.memory)
        for directory in self.script_dirs:
            if not directory.is_absolute() or not directory.is_dir():
                raise BadOption("script_dirs", str(directory), "absolute paths of directories that are there")
        for name in SECONDS:
            check_seconds(name, getattr(self, name))
        if self.store is not None:
            parse_url(self.store)
        check_secrets(self.webhooks)
        for options in self.handler_options.values():
            check_handler_options(options)
        for name, size in self.queue_sizes.items():
            check_queue_size(name, size)
        for name, definition in self.schedules.items():
            check_schedule(name, definition)

    @property
    def place(self) -> Path:
        """The node's directory."""
        return default_directory(self.name) if self.directory is None else self.directory

    @property
    def seeds(self) -> tuple[NodeName, ...]:
        """The other nodes to join."""
        return tuple(name for name in self.join if name.plain != self.name.plain)

    @property
    def leads(self) -> bool:
        """Whether it has a store, and so the queue server."""
        return self.store is not None or not self.seeds

    @property
    def listens_at(self) -> str:
        """The address of its socket, as ZeroMQ writes it."""
        return self.name.address if self.bind is None else f"tcp://{self.bind}:{self.name.port}"

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


def check_seconds(name: str, value: Any) -> None:
    """Raise `BadOption` if the setting of `SECONDS` that is called so cannot have this value."""
    is_right, right = SECONDS[name]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (is_number and is_right(value) and value < _MOST):
        raise BadOption(name, value, right)


def check_queue_size(name: str, size: object) -> None:
    """Raise `BadOption` if there can be no queue of this name, or it cannot be held to so many tasks."""
    Options.of(queue=name)
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise BadOption("max_size", size, "a whole number, 0 or more")


def check_handler_options(options: Mapping[str, Any]) -> None:
    """Raise if a file cannot say this of a handler.

    Raises:
        UnknownOption: There is no such option.
        BadOption: A value cannot be right, or the option is one of single tasks.
    """
    for name, value in options.items():
        if name not in Options.__struct_fields__:
            raise UnknownOption(name, HANDLER_OPTIONS)
        if name not in HANDLER_OPTIONS:
            raise BadOption(name, value, "it is said in the decorator or where the task is submitted")
        Options.of(**{name: value})


def default_directory(name: NodeName) -> Path:
    """Where a node keeps its things unless told otherwise."""
    return Path("~/.otpq").expanduser() / str(name)
