"""PoolConfig: all settings of one pool, passed down to its workers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path  # noqa: TC003 - part of what a reader of the class sees at run time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["PoolConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolConfig:
    """What a pool is to be."""

    node: str
    incarnation: str
    directory: Path
    """The node's; the blackboard is a file in it."""
    app: str
    """`package.module:attribute`, or `/path/of/file.py:attribute`."""
    size: int
    """How many workers, of one child each; if it may grow (`most`), the fewest."""
    most: int | None = None
    """How many workers there may be while work waits; None: never more than `size`."""
    idle: float = 30.0
    """Seconds in which a worker beyond `size` was not needed before it is let go."""
    executor: str = "process"
    """How a child runs tasks: process (one at a time), thread or async (`parallel` at a time), script (programs alone)."""
    parallel: int = 1
    """How many tasks a child runs at a time; 1 unless the executor is thread or async."""
    script_dirs: tuple[str, ...] = ()
    """Directories of whose scripts its children run any."""
    webhooks: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """By key, the address of each webhook that its children tell of events, and the file of its secret."""
    recycle_tasks: int | None = 1_000_000
    """Tasks after which a child is replaced; None: never for that."""
    recycle_memory: float | None = 1024.0
    """MiB that a child may have in memory at the end of a task before it is replaced; None: never for that."""
    name: str = "default"
    queues: tuple[str, ...] = ("default",)
    tags: tuple[str, ...] = ()
    """What operators call it by, beside its name."""
    memory: float | None = None
    """MiB that tasks of the whole node may have reserved at a time, the same for each of its pools; None: no bound."""
    path: tuple[str, ...] = ()
    """What goes first into the children's `sys.path`."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """What children have in their environment beside the node's own."""
    grace: float = 30.0
    """Seconds that running tasks have to end in a drain, unless it says otherwise."""
    silence: float = 5.0
    """Seconds that a child may be stopped while it has tasks; twice that it may begin none of them."""
    load_timeout: float = 60.0
    """Seconds that a child may take to load the app."""
    beat: float = 1.0
    """Seconds between two signs of life."""
    is_fenced_at_once: bool = True
    """Whether the lease counts from the start; else from the first sign of life that is acknowledged: a node that has yet to join
    its cluster has no leases that could run out."""
    lease: float = 30.0
    """Seconds after the sending of the last acknowledged one that children may run."""

    @property
    def cells(self) -> int:
        """How many slots of the blackboard each worker has: one a task, and in an async child one for its pulse."""
        return self.parallel + (self.executor == "async")

    @property
    def places(self) -> int:
        """How many workers the blackboard has room for: when children are replaced there are two for one for a while."""
        return max(2 * max(self.size, self.most or 0), 64)

    @property
    def session(self) -> str:
        """The pool's name with the queue server."""
        return f"{self.node}/{self.incarnation}/{self.name}"

    @property
    def pool(self) -> str:
        """The name under which the pool is registered."""
        return f"pool {self.name}"

    @property
    def warden(self) -> str:
        """As `pool`, of the warden; a node has one, for all its pools."""
        return "warden"

    @property
    def staff(self) -> str:
        """As `pool`, of the supervisor of its workers."""
        return f"workers {self.name}"

    @property
    def blackboard(self) -> Path:
        """Its file, which a later incarnation finds by this one's name."""
        return self.directory / f"{self.name}.{self.incarnation}.blackboard"
