"""The management functions of a node: what may be called on it from elsewhere. None of them runs code of the caller's."""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Any, Final

from otpq.errors import UsageError, did_you_mean
from otpq.otp import CallFailed, tree
from otpq.script_paths import locate
from otpq.worker.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.node.config import NodeConfig
    from otpq.otp import Registry

__all__ = ["Functions"]


class Functions:
    """Calls them by name, in the thread of whoever calls."""

    def __init__(self, config: NodeConfig, incarnation: str, registry: Registry) -> None:
        self._config = config
        self._incarnation = incarnation
        self._registry = registry

    def __call__(self, name: str, arguments: dict[str, Any]) -> Any:
        """What the function returns, in plain values.

        Raises:
            UsageError: There is none of this name, or the arguments are not its own.
        """
        function = _TABLE.get(name)
        if function is None:
            raise UsageError(f"no function {name!r} can be called on a node{did_you_mean(name, _TABLE)}")
        try:
            return function(self, **arguments)
        except TypeError as error:
            raise UsageError(f"{name}: {error}") from None

    def status(self) -> dict[str, Any]:
        """What the node is, and what its pools do."""
        pools = [self._registry.whereis(f"pool {pool.name}") for pool in self._config.staffed]
        return {
            "node": self._config.name.plain,
            "incarnation": self._incarnation,
            "leads": self._config.leads,
            "pools": [self._pool_status(pool) for pool in pools if pool is not None],
        }

    @staticmethod
    def _pool_status(pool: Any) -> dict[str, Any]:
        try:
            return Pool.status(pool)
        except CallFailed as failed:
            return {"error": str(failed)}

    def tree(self) -> dict[str, Any] | None:
        """The supervision tree, as plain values."""
        node = self._registry.whereis("node")
        return None if node is None else tree(node).plain()

    def stacks(self) -> dict[str, str]:
        """The Python stack of each thread of the node's process, by name."""
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        frames = sys._current_frames()  # noqa: SLF001 - there is no other way
        return {
            f"{names.get(ident, 'unknown')} ({ident})": "".join(traceback.format_stack(frame))
            for ident, frame in frames.items()
        }

    def scripts(self, paths: list[str]) -> list[str | None]:
        """What is wrong with each path of a script on this node; None: it may be run."""
        if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
            raise UsageError("scripts: paths is a list of texts")
        dirs = tuple(map(str, self._config.script_dirs))
        return [locate(path, dirs) for path in paths]

    def log_level(self, level: str) -> str:
        """Have the node log from that level on; the one before."""
        logger = logging.getLogger("otpq")
        before = logging.getLevelName(logger.getEffectiveLevel())
        if level.upper() not in logging.getLevelNamesMapping():
            raise UsageError(f"{level!r} is no level; DEBUG, INFO, WARNING or ERROR would be")
        logger.setLevel(level.upper())
        return str(before)


_TABLE: Final[dict[str, Callable[..., Any]]] = {
    "status": Functions.status,
    "tree": Functions.tree,
    "stacks": Functions.stacks,
    "log_level": Functions.log_level,
    "scripts": Functions.scripts,
}
