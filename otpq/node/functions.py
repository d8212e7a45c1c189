"""The management functions of a node: what may be called on it from elsewhere. None of them runs code of the caller's.

Each is a method, and its annotations say what its arguments may be. It answers within a few seconds, whatever the processes and
children that it is about are doing.
"""

from __future__ import annotations

import inspect
import logging
import re
import sys
import threading
import traceback
import typing
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec

from otpq.errors import UsageError, did_you_mean
from otpq.node.joining import DRAIN
from otpq.node.processes import WORKER, ended_by, find, plain_info, supervisor_of, what_follows, worker_in, workers_of
from otpq.node.showing import plain
from otpq.node.tracing import Traces
from otpq.otp import CallFailed, Kill, OtpError, Pid, Supervisor, exit, info, send_after, state, tree
from otpq.script_paths import locate
from otpq.worker.pool import Pool
from otpq.worker.stacks import NoStacks, threads_of
from otpq.worker.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from otpq.node.config import NodeConfig
    from otpq.otp import Registry, TreeNode

__all__ = ["Functions"]

logger = logging.getLogger("otpq.node")

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=300)]
Count = Annotated[int, msgspec.Meta(ge=0, lt=2**62)]
Paths = list[str]
Which = Name | Count
"""A process: a name, a printed pid, or its number."""

ANSWER_FIRST: Final = 0.25
"""Seconds that the end of what passes on the answer waits until the answer is out."""
_A_LOOK: Final = 1.0
"""Seconds that a process has to answer a question about itself."""
_CARRIERS: Final = ("queue_server", "rpc")
"""Those who pass on the answers."""
_TASK_ID: Final = re.compile(r"[0-9a-f]{32}", re.IGNORECASE)


class Functions:
    """Calls them by name, in the thread of whoever calls."""

    def __init__(self, config: NodeConfig, incarnation: str, registry: Registry) -> None:
        self._config = config
        self._incarnation = incarnation
        self._registry = registry
        self._traces = Traces()

    def __call__(self, name: str, arguments: dict[str, Any]) -> Any:
        """What the function returns, in plain values.

        Raises:
            UsageError: There is none of this name, the arguments are not its own, or it cannot be done: in one line.
        """
        function = _TABLE.get(name)
        if function is None:
            raise UsageError(f"no function {name!r} can be called on a node{did_you_mean(name, _TABLE)}")
        checked = _checked(name, function, arguments)
        try:
            return function(self, **checked)
        except OtpError as error:
            raise UsageError(f"{name}: {error}") from None

    # --- the node ---------------------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """What the node is, and what its pools do."""
        return {
            "node": self._config.name.plain,
            "incarnation": self._incarnation,
            "leads": self._config.leads,
            "pools": [self._pool_status(pool) for pool in self._pools()],
        }

    def _pools(self) -> list[Pid]:
        pools = (self._registry.whereis(f"pool {pool.name}") for pool in self._config.staffed)
        return [pool for pool in pools if pool is not None]

    @staticmethod
    def _pool_status(pool: Pid) -> dict[str, Any]:
        try:
            return Pool.status(pool)
        except CallFailed as failed:
            return {"error": str(failed)}

    def scripts(self, paths: Paths) -> list[str | None]:
        """What is wrong with each path of a script on this node; None: it may be run."""
        dirs = tuple(map(str, self._config.script_dirs))
        return [locate(path, dirs) for path in paths]

    def log_level(self, level: Name) -> str:
        """Have the node log from that level on; the one before."""
        logger = logging.getLogger("otpq")
        before = logging.getLevelName(logger.getEffectiveLevel())
        if level.upper() not in logging.getLevelNamesMapping():
            raise UsageError(f"{level!r} is no level; DEBUG, INFO, WARNING or ERROR would be")
        logger.setLevel(level.upper())
        return str(before)

    def scale(self, pool: Name, workers: Count) -> dict[str, Any]:
        """Have a pool of this node alone run so many workers; how many it was to have `before`."""
        answer = Pool.scale(self._pool(pool), workers)
        if "error" in answer:
            raise UsageError(f"pool {pool}: {answer['error']}")
        return {"pool": pool, **answer}

    def pause(self, pool: Name) -> dict[str, Any]:
        """Have a pool of this node alone take nothing new until `resume`, or until the node is started again."""
        return self._pause(pool, on=True)

    def resume(self, pool: Name) -> dict[str, Any]:
        """Have a paused pool take tasks again."""
        return self._pause(pool, on=False)

    def _pause(self, pool: str, *, on: bool) -> dict[str, Any]:
        before = Pool.pause(self._pool(pool), on=on)
        logger.warning("somebody has pool %r %s", pool, "paused" if on else "resumed")
        return {"pool": pool, "paused": on, "before": before}

    def _pool(self, name: str) -> Pid:
        names = [each.name for each in self._config.staffed]
        pid = self._registry.whereis(f"pool {name}") if name in names else None
        if pid is None:
            raise UsageError(f"no pool {name!r} is on this node; there are: {', '.join(names) or 'none'}")
        return pid

    def drain(self) -> dict[str, Any]:
        """Have the node take nothing new, end what runs within its grace, hand back the rest, and stop, as TERM does."""
        life = info(self._pid_of_top()).parent
        if life is None:
            raise UsageError("this node cannot be drained from elsewhere: nobody is there who would end it")
        running = [worker["running"] for pool in self._pools() for worker in self._pool_status(pool).get("workers", ())]
        logger.warning("somebody has this node drained")
        send_after(ANSWER_FIRST, life, DRAIN)
        leads = "; it leads, so no node gets tasks until it is started again" if self._config.leads else ""
        return {
            "node": self._config.name.plain,
            "incarnation": self._incarnation,
            "leads": self._config.leads,
            "grace": self._config.grace,
            "running": sum(running),
            "then": f"what runs has {self._config.grace:g} s, the rest is handed back, and the node stops{leads}",
        }

    # --- its processes ----------------------------------------------------------------------------------------------

    def tree(self) -> dict[str, Any]:
        """The supervision tree, as plain values."""
        return self._top().plain()

    def _top(self) -> TreeNode:
        return tree(self._pid_of_top())

    def _pid_of_top(self) -> Pid:
        top = self._registry.whereis("node")
        if top is None:
            raise UsageError("the supervision tree of this node is not there now")
        return top

    def _find(self, which: str | int) -> Pid:
        return find(which, self._registry.names(), self._top())

    def info(self, pid: Which) -> dict[str, Any]:
        """What can be seen of a process from outside, without asking it."""
        return plain_info(info(self._find(pid)))

    def state(self, pid: Which) -> Any:
        """What a process holds, as far as it is shown."""
        return plain(state(self._find(pid), timeout=_A_LOOK))

    def kill(self, pid: Which) -> dict[str, Any]:
        """End a process at once, whatever it does: what was `killed`, and what follows (`then`)."""
        top = self._top()
        victim = find(pid, self._registry.names(), top)
        name, follows = self._registry.name_of(victim), what_follows(top, victim, _restart_of(top, victim))
        carriers = {self._registry.whereis(name) for name in _CARRIERS}
        seconds = (
            ANSWER_FIRST if carriers.intersection([victim, *(node.pid for node in ended_by(top, victim))]) else 0.0
        )
        logger.warning("somebody has %r killed; %s", victim, follows)
        # In a thread of its own: who declares a death lets go of what the dead one owned, children for instance.
        killer = threading.Timer(seconds, exit, (victim, Kill()))
        killer.daemon = True
        killer.start()
        if not seconds:
            killer.join(_A_LOOK)
        return {"killed": repr(victim), "name": name, "seconds": seconds, "then": follows}

    def trace_start(self, pid: Which) -> dict[str, Any]:
        """Keep the messages of a process for `trace_read`, until nobody has read for ten seconds: `pid`, and `after`."""
        traced = self._find(pid)
        return {"pid": repr(traced), "after": self._traces.start(traced)}

    def trace_read(self, pid: Name, after: Count) -> dict[str, Any]:
        """The messages of a traced process behind number `after`; as `Traces.read`."""
        return self._traces.read(pid, after)

    # --- what runs --------------------------------------------------------------------------------------------------

    def stacks(self, worker: Name | None = None) -> dict[str, str]:
        """The Python stack of each thread, by name: of the node's process, or of a worker's child (`default/0`, or a task's id)."""
        if worker is None:
            return _own_stacks()
        numbered, top = WORKER.fullmatch(worker), self._top()
        if numbered is not None:
            glimpse = Worker.glimpse(worker_in(top, numbered["pool"], int(numbered["number"])), _A_LOOK)
        elif _TASK_ID.fullmatch(worker) is None:
            raise UsageError(f"{worker!r} is no worker, such as 'default/0', and no task's id")
        else:
            glimpses = (Worker.glimpse(each, _A_LOOK) for each in workers_of(top))
            found = next((each for each in glimpses if bytes.fromhex(worker) in each.running), None)
            if found is None:
                raise UsageError(f"task {worker} does not run on this node now")
            glimpse = found
        if glimpse.stacks is None:
            raise UsageError(f"{worker}: {glimpse.why_not}")
        try:
            return threads_of(glimpse.stacks())
        except NoStacks as none:
            raise UsageError(f"{worker}: {none}") from None


def _own_stacks() -> dict[str, str]:
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    frames = sys._current_frames()  # noqa: SLF001 - there is no other way
    return {
        f"{names.get(ident, 'unknown')} ({ident})": "".join(traceback.format_stack(frame))
        for ident, frame in frames.items()
    }


def _restart_of(top: TreeNode, pid: Pid) -> str:
    """What its supervisor was told to do at its end; nothing if it has none, or is too busy to say."""
    above = supervisor_of(top, pid)
    if above is None or not isinstance(above.pid, Pid):
        return ""
    try:
        return Supervisor.get_childspec(above.pid, pid, timeout=_A_LOOK).restart
    except OtpError:
        return ""


def _checked(name: str, function: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments, if they are the function's own.

    Raises:
        UsageError: One is missing, too many, or of another kind; the message says which.
    """
    takes = {each.name: each for each in list(inspect.signature(function).parameters.values())[1:]}
    for argument in arguments:
        if argument not in takes:
            there = f"it takes {', '.join(takes)}" if takes else "it takes none"
            raise UsageError(f"{name} has no argument {argument!r}{did_you_mean(argument, takes)}; {there}")
    for argument, each in takes.items():
        if each.default is each.empty and argument not in arguments:
            raise UsageError(f"{name} needs the argument {argument!r}")
    hints = _hints(function)
    return {argument: _one(name, argument, value, hints[argument]) for argument, value in arguments.items()}


def _one(name: str, argument: str, value: Any, kind: Any) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise UsageError(f"{name}: {argument}={str(plain(value))[:100]!r} is not allowed: {error}") from None


@cache
def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    return typing.get_type_hints(function, include_extras=True)


_TABLE: Final[dict[str, Callable[..., Any]]] = {
    each.__name__: each
    for each in (
        Functions.status,
        Functions.scripts,
        Functions.log_level,
        Functions.scale,
        Functions.pause,
        Functions.resume,
        Functions.drain,
        Functions.tree,
        Functions.info,
        Functions.state,
        Functions.kill,
        Functions.trace_start,
        Functions.trace_read,
        Functions.stacks,
    )
}
