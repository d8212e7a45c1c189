"""The outer half of a warden: waits for the end, makes it complete, and testifies to it.

Theory of operation
-------------------
A warden is two processes. The *keeper* is the node's child and a subreaper. It does nothing but wait, so that nothing can
go wrong with it. The *starter* (warden.py) is its only child, a subreaper too, and does the work: it starts and kills the
node's children, which are subreapers in turn.

    node ── keeper ── starter ─┬─ child ── what its handlers started
                               └─ child

The end comes when the first of these happens:

1. the node's socket hangs up: the node ended, in whatever way, or said goodbye;
2. the lease's deadline passed: the node is stopped, hangs or was cut off, and can fence nobody;
3. the starter ended: a crash, the OOM killer, somebody's SIGKILL.

Then the starter, told by the end of a pipe, kills its own children and all that the kernel thereupon hands to it, until
`waitpid` answers ECHILD, and ends. The keeper waits for that; if the starter is stopped, dead or takes too long, it kills
the starter (the kernel kills the starter's children with it) and does the same with what the kernel hands to *it*. At the
moment of ECHILD, and at no earlier one, no process exists that the node's handlers started. In cases 1 and 2 it leaves the tombstone. In case 3 it
says so to the node ("swept") and waits for its word ("release"): if that comes, the incarnation goes on with another
warden; if the socket hangs up or the deadline passes instead, the tombstone is due after all. In all cases it exits last.

So at every moment of the end both are able to complete it, and each does so when the other is killed. (An earlier version
killed the starter first; a keeper that was killed then left nobody.) Only a SIGKILL of both in the same instant leaves
grandchildren behind (`warden_client` then looks for the mark in their environment).

Of the standard library alone.
"""

from __future__ import annotations

import os
import signal
import socket
from typing import TYPE_CHECKING, NamedTuple

from otpq.worker import tombstone
from otpq.worker.descendants import children_of, kill_trees
from otpq.worker.frames import frame, send_frame
from otpq.worker.wakeup import HANGUP, READABLE, Waiter

if TYPE_CHECKING:
    from pathlib import Path

    from otpq.worker.deadline import Deadline

__all__ = ["Keeper", "Node", "finish", "sweep"]

_NAP = 1.0
"""Seconds between looks at the deadline at most. `poll` counts no suspended time, the deadline does: after a resume it is
noticed this much too late, and the leader's margin must be larger."""

_PATIENCE = 0.5
"""Seconds that a starter that is not stopped has to end what it started. It needs about 5 ms."""

_SWEEP_TICK = 0.02
"""Seconds between looks when no SIGCHLD comes. Deaths wake the sweep; the tick is for what is killed but cannot die yet."""


_RELEASE = frame(b'{"do": "release"}')
_CHUNK = 65536


class Node(NamedTuple):
    """Whom the warden serves, and by what it knows that it is no more."""

    directory: Path
    name: str
    incarnation: str
    control: int
    """The descriptor of the socket to it."""
    deadline: Deadline
    portable: bool

    def nap(self) -> float:
        """Seconds after which to look at the deadline again."""
        remaining = self.deadline.remaining()
        return _NAP if remaining is None else min(_NAP, remaining)

    def lease_over(self) -> str | None:
        """The tombstone's reason "lease" once the deadline has passed, else None."""
        remaining = self.deadline.remaining()
        return "lease" if remaining is not None and remaining <= 0 else None


def finish(node: Node, waiter: Waiter, why: str | None) -> None:
    """End everything below this process, and testify to it if the node is over, as `why` says or turns out now.

    A portable warden does neither: orphans are not its own, and a daemon of a handler may have got away.
    """
    if node.portable:
        return
    sweep(waiter)
    why = why or _ask_node(node, waiter)
    if why and not tombstone.path_of(node.directory, node.incarnation).exists():  # the other half may have left it
        tombstone.write(node.directory, node.name, node.incarnation, why)


def _ask_node(node: Node, waiter: Waiter) -> str | None:
    """Tell the node that nothing runs any more; None if it says that it lives, else the tombstone's reason.

    Without this answer a node that was stopped or killed just now would go without a tombstone, and its tasks wait for
    the end of its lease.
    """
    control = socket.socket(fileno=node.control)
    try:
        control.setblocking(False)  # noqa: FBT003 - it takes no keyword
        send_frame(control, b'{"is": "swept"}')
    except BlockingIOError:  # it has not read for long, and would not read this: let it find the end of file
        return node.lease_over()
    except OSError:
        return "gone"
    waiter.watch(node.control, READABLE)
    seen = b""
    while not node.lease_over():
        try:
            chunk = control.recv(_CHUNK)
        except BlockingIOError:
            waiter.wait(node.nap())
            continue
        except ConnectionError:
            chunk = b""
        # Orders come first, which have no meaning now, maybe from the middle of one: the starter may have died reading it.
        # So this looks for the bytes of the word, not for frames.
        seen = seen[-len(_RELEASE) :] + chunk
        if _RELEASE in seen:
            return None
        if not chunk:
            return "gone"
    return node.lease_over()


def sweep(waiter: Waiter) -> None:
    """Kill all children of this process, and what becomes its child thereby, until there is none.

    It has no time limit: a process that cannot die (in a system call that hangs) is one that may still do something.
    """
    while _reap_all():
        kill_trees(children_of(os.getpid()))
        waiter.wait(_SWEEP_TICK)


def _reap_all() -> bool:
    """Take the ended children away; False if there is no child left at all."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0] != 0:
            pass
    except ChildProcessError:
        return False
    return True


class Keeper:
    """Waits for the end of the node, of its lease or of the starter, and carries it out."""

    def __init__(self, node: Node, starter: int, pipe: int, waiter: Waiter) -> None:
        """`pipe` is the end of a pipe whose other end the starter watches."""
        self._node = node
        self._starter = starter
        self._pipe = pipe
        self._waiter = waiter
        self._starter_lives = True
        self._starter_is_stopped = False
        waiter.watch(node.control, HANGUP)

    def run(self) -> None:
        """Returns when no descendant is left and, if the node or its lease is over, the tombstone stands."""
        why = self._wait_for_the_end()
        self._waiter.forget(self._node.control)  # hung up, it would make every wait below return at once
        self._end_starter()
        finish(self._node, self._waiter, why)

    def _wait_for_the_end(self) -> str | None:
        """The tombstone's reason, or None: the starter ended by itself and the node may live."""
        why = None
        while self._starter_lives and not why:
            news = self._waiter.wait(self._node.nap())
            why = "gone" if self._node.control in news else self._node.lease_over()
            self._reap_starter()
        return why

    def _reap_starter(self) -> None:
        """Only it: other children can appear only when it is gone, and those are the sweep's."""
        if not self._starter_lives:
            return
        pid, status = os.waitpid(self._starter, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
        if pid:
            self._starter_is_stopped = os.WIFSTOPPED(status)
            self._starter_lives = os.WIFSTOPPED(status) or os.WIFCONTINUED(status)

    def _end_starter(self) -> None:
        os.close(self._pipe)
        for _ in range(int(_PATIENCE / _SWEEP_TICK)):
            self._reap_starter()
            if self._starter_is_stopped or not self._starter_lives:
                break
            self._waiter.wait(_SWEEP_TICK)
        if self._starter_lives:
            os.kill(self._starter, signal.SIGKILL)
        while self._starter_lives:
            self._waiter.wait(_SWEEP_TICK)
            self._reap_starter()
