"""Which process of a node is meant, and what its end brings: pure functions of its names and its supervision tree."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from otpq.errors import UsageError, did_you_mean
from otpq.otp import Pid

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from otpq.otp import ProcessInfo, TreeNode

__all__ = ["WORKER", "ended_by", "find", "plain_info", "supervisor_of", "what_follows", "worker_in", "workers_of"]

WORKER: Final = re.compile(r"(?P<pool>[^/]+)/(?P<number>[0-9]{1,6})")
"""A worker as `workers()` has it: pool/number."""

_STAFF: Final = "workers "
_WORKER: Final = "worker "
"""How the supervisors of a pool's workers and the workers are called in the tree, before their names and numbers."""

_PID = re.compile(r"<?(?:[^<>#]*#)?(?P<incarnation>[0-9]{1,18})>?")
"""`<label#7>` as pids are printed, without the brackets, or the number alone."""


def find(what: str | int, names: Mapping[str, Pid], top: TreeNode) -> Pid:
    """The living process that is meant by a registered name, by a pid as `tree` shows it, or by the number in it.

    Raises:
        UsageError: There is none; the message has the nearest name.
    """
    named = names.get(what) if isinstance(what, str) else None
    if named is not None:
        return named
    pid = _PID.fullmatch(str(what))
    if pid is None:
        raise UsageError(f"no process has the name {what!r}{did_you_mean(str(what), names)}{_how_else(names)}")
    wanted = int(pid["incarnation"])
    for each in (*names.values(), *(node.pid for node in _walk(top))):
        if isinstance(each, Pid) and each.incarnation == wanted:
            return each
    raise UsageError(f"no process {what} is in the tree; it may have ended, and its successor has another number")


def _how_else(names: Mapping[str, Pid]) -> str:
    return f"; names are {', '.join(sorted(names))}; a pid as tree shows it would do"


def _staffs(top: TreeNode) -> dict[str, TreeNode]:
    """The supervisors of workers, by pool."""
    found = [node for node in _walk(top) if node.id is not None and node.id.startswith(_STAFF)]
    return {(node.id or "").removeprefix(_STAFF): node for node in found}


def workers_of(top: TreeNode) -> list[Pid]:
    """The processes of all workers."""
    children = [child for staff in _staffs(top).values() for child in staff.children]
    return [child.pid for child in children if isinstance(child.pid, Pid)]


def worker_in(top: TreeNode, pool: str, number: int) -> Pid:
    """The process of a worker.

    Raises:
        UsageError: There is none; the message says which there are.
    """
    staffs = _staffs(top)
    if pool not in staffs:
        there = f"there are: {', '.join(staffs)}" if staffs else "it has none"
        raise UsageError(f"no pool {pool!r} is on this node{did_you_mean(pool, staffs)}; {there}")
    numbers = {child.id: child.pid for child in staffs[pool].children}
    pid = numbers.get(f"{_WORKER}{number}")
    if not isinstance(pid, Pid):
        there = ", ".join(f"{pool}/{(id_ or '').removeprefix(_WORKER)}" for id_ in numbers)
        raise UsageError(f"no worker {pool}/{number} is on this node; there are: {there or 'none'}")
    return pid


def supervisor_of(top: TreeNode, pid: Pid) -> TreeNode | None:
    """Whose child a process is; None: it is the top, or in no tree."""
    return next((node for node in _walk(top) for child in node.children if child.pid is pid), None)


def ended_by(top: TreeNode, pid: Pid) -> list[TreeNode]:
    """All that a process takes along when it ends: what is below it, and what its supervisor ends with it."""
    above = supervisor_of(top, pid)
    if above is None:
        return list(_walk(top)) if top.pid is pid else []
    at = next(place for place, child in enumerate(above.children) if child.pid is pid)
    group = {"rest_for_one": above.children[at:], "one_for_all": above.children}
    return [node for child in group.get(above.strategy or "", (above.children[at],)) for node in _walk(child)]


def what_follows(top: TreeNode, pid: Pid, restart: str) -> str:
    """What becomes of a process, in words, if it is killed; `restart` is what its supervisor was told."""
    above = supervisor_of(top, pid)
    if above is None:
        return "it is the top of the tree: the node ends, with exit code 1"
    if restart == "temporary":
        return f"its supervisor {above.pid!r} does not start it again"
    others = [node for node in above.children if node.pid is not pid and node in ended_by(top, pid)]
    along = f", and with it {', '.join(node.id or repr(node.pid) for node in others)}" if others else ""
    if not restart:
        return f"its supervisor {above.pid!r} is too busy to say whether it starts it again"
    return f"its supervisor {above.pid!r} starts it again{along}, unless that was too often"


def plain_info(info: ProcessInfo) -> dict[str, Any]:
    """What can be seen of a process, in plain values."""
    return {
        "pid": repr(info.pid),
        "name": info.name,
        "status": info.status,
        "mailbox": info.mailbox,
        "callback": info.callback,
        "callback_seconds": info.callback_seconds,
        "links": [repr(pid) for pid in info.links],
        "parent": None if info.parent is None else repr(info.parent),
        "trap_exit": info.trap_exit,
        "started_at": info.started_at,
        "exit_reason": None if info.exit_reason is None else repr(info.exit_reason),
    }


def _walk(node: TreeNode) -> Iterator[TreeNode]:
    yield node
    for child in node.children:
        yield from _walk(child)
