"""The program of a node's warden: it starts the node's children and outlives the node long enough to end them.

Run it as `BOOT` says, with a socket of the node as descriptor 0: `python -I -S -c BOOT FLOOR DIRECTORY NAME INCARNATION
PORTABLE`. It imports nothing but the standard library and its neighbours in this folder, has one thread, and never
touches a task. Its outer half, and the picture of both, are in keeper.py.

What passes on the socket, as frames of JSON:

    node:    {"do": "start", "id", "argv", "env", "cwd", "nice", "data_limit", "count"} and `count` descriptors
             {"do": "kill", "id"}            the child and all that it started
             {"do": "signal", "id", "signal"}  the child alone
             {"do": "ping", "id"}
             {"do": "release"}               the answer to "swept": I live
    warden:  {"is": "ready", "keeper", "starter"}
             {"is": "started", "id", "pid"} and, on Linux, its pidfd; {"is": "refused", "id", "reason"}
             {"is": "exited", "id", "code", "user", "system", "max_rss"}
             {"is": "pong", "id"}
             {"is": "swept"}                 this warden ends; nothing of it runs any more

`exited` is sent when the child has been waited for and nothing that it started is left, unless the warden is portable.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from otpq.worker import tombstone
from otpq.worker.deadline import Deadline
from otpq.worker.descendants import children_of, kill_trees
from otpq.worker.frames import FrameReader, send_frame
from otpq.worker.keeper import Keeper, Node, finish
from otpq.worker.kernel import become_subreaper
from otpq.worker.spawn import Order, spawn
from otpq.worker.wakeup import READABLE, Waiter

__all__ = ["BOOT", "main"]

# `otpq` is stood up as an empty package, so that the warden does not pay for what otpq/__init__.py imports for users.
BOOT = (
    "import sys; otpq = type(sys)('otpq'); otpq.__path__ = [sys.argv[1]]; sys.modules['otpq'] = otpq; "
    "from otpq.worker.warden import main; main()"
)

_STRAY_TICK = 0.02
"""Seconds between looks for strays while there are some and no SIGCHLD comes."""

_READ_SIZE = 8192


class Child:
    """A program that was started: not yet waited for, or its end not yet told."""

    def __init__(self, number: int, pid: int) -> None:
        self.number = number
        """The node's number for it."""
        self.pid = pid
        self.refused = ""
        """Why it did not become the program, if it did not."""
        self.starting = True
        """Whether it is still between fork and exec."""
        self.end: dict[str, Any] | None = None
        """What to tell of its end, once it has ended."""


class Starter:
    """The inner half: starts, signals, reaps; a loop around one `poll`."""

    def __init__(self, node: Node, keeper: int, waiter: Waiter) -> None:
        """`keeper` is the pipe that ends with the keeper."""
        self._node = node
        self._keeper = keeper
        self._waiter = waiter
        self._socket = socket.socket(fileno=node.control)
        self._reader = FrameReader(self._socket)
        self._running: dict[int, Child] = {}  # by pid: not yet waited for
        self._ended: list[Child] = []  # waited for, but strays may be left
        self._starting: dict[int, Child] = {}  # by the descriptor that tells how the start went
        waiter.watch(node.control, READABLE)
        waiter.watch(keeper, READABLE)

    def run(self) -> None:
        """Returns when the node or the keeper is gone, with no child left."""
        self._tell({"is": "ready", "keeper": os.getppid(), "starter": os.getpid()})
        while True:
            news = self._waiter.wait(_STRAY_TICK if self._ended else None)
            if self._keeper in news:
                break
            if self._node.control in news and not self._obey():
                break
            self._see_starts(news)
            self._reap()
            self._end_strays()
        self._end_all()

    # --- what the node says ---------------------------------------------------------------------------------------------

    def _obey(self) -> bool:
        for content in self._reader.receive(wait=False):
            order = json.loads(content)
            match order["do"]:
                case "start":
                    self._start(order)
                case "kill":
                    self._signal(order["id"], signal.SIGKILL)
                case "signal":
                    self._signal(order["id"], order["signal"])
                case "ping":
                    self._tell({"is": "pong", "id": order["id"]})
                case unknown:  # node and warden are one version: a bug, and the keeper sees to the rest
                    raise ValueError(f"the node said {unknown!r}")
        return not self._reader.closed

    def _start(self, order: dict[str, Any]) -> None:
        descriptors = [self._reader.descriptors.popleft() for _ in range(order["count"])]
        try:
            pid, news = spawn(
                Order(order["argv"], descriptors, order["env"], order["cwd"], order["nice"], order["data_limit"]),
                self._node.incarnation,
                portable=self._node.portable,
            )
        except OSError as error:
            self._tell({"is": "refused", "id": order["id"], "reason": f"OSError: {error}"})
            return
        finally:
            for each in descriptors:
                os.close(each)
        self._running[pid] = self._starting[news] = Child(order["id"], pid)
        # Not waited for here: an exec from a file server that hangs must not hang the warden.
        self._waiter.watch(news, READABLE)

    def _signal(self, number: int, what: int) -> None:
        for child in self._running.values():
            if child.number == number:
                # It is unwaited, so that neither pid nor group can mean somebody else. What left the group becomes a
                # stray with the child's death.
                if what == signal.SIGKILL:
                    _kill_group(child.pid)
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(child.pid, what)

    # --- what children do -----------------------------------------------------------------------------------------------

    def _see_starts(self, news: dict[int, int]) -> None:
        for descriptor in news.keys() & self._starting.keys():
            child = self._starting.pop(descriptor)
            child.refused = os.read(descriptor, _READ_SIZE).decode("utf-8", "replace")
            child.starting = False
            self._waiter.forget(descriptor)
            os.close(descriptor)
            if child.refused:
                self._tell({"is": "refused", "id": child.number, "reason": child.refused})
            else:
                self._tell_started(child)

    def _tell_started(self, child: Child) -> None:
        with contextlib.ExitStack() as closing:
            descriptors = []
            if hasattr(os, "pidfd_open"):  # the node kills and watches by it: a pidfd never means a later process
                with contextlib.suppress(OSError):
                    descriptors = [os.pidfd_open(child.pid)]
                    closing.callback(os.close, descriptors[0])
            self._tell({"is": "started", "id": child.number, "pid": child.pid, "count": len(descriptors)}, descriptors)

    def _reap(self) -> None:
        try:
            while True:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
                if pid == 0:
                    return
                child = self._running.pop(pid, None)
                if child is not None:  # else a stray
                    child.end = {
                        "code": os.waitstatus_to_exitcode(status),
                        "user": usage.ru_utime,
                        "system": usage.ru_stime,
                        "max_rss": usage.ru_maxrss,
                    }
                    self._ended.append(child)
                    _kill_group(pid)  # a group's number is not given out again while it has members
        except ChildProcessError:
            return

    def _end_strays(self) -> None:
        """Kill what the ended children left; tell of their end once there is nothing.

        Living children are subreapers: their orphans stay with them. So whoever is our child and was not started by us
        can only come from a child that has ended, and need not be told apart.
        """
        if not self._ended:
            return
        strays = [] if self._node.portable else [pid for pid in children_of(os.getpid()) if pid not in self._running]
        if strays:
            kill_trees(strays)
            return
        # One whose start is not seen yet waits for the next round: the node hears `started` before `exited`.
        ended, self._ended = self._ended, [child for child in self._ended if child.starting]
        for child in ended:
            if not child.starting and not child.refused:
                self._tell({"is": "exited", "id": child.number, **(child.end or {})})

    # --- the end --------------------------------------------------------------------------------------------------------

    def _end_all(self) -> None:
        """Without the node there is nothing to do, and without the keeper it is ours to do its work."""
        for pid in self._running:
            _kill_group(pid)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        self._waiter.forget(self._keeper)
        self._waiter.forget(self._node.control)
        finish(self._node, self._waiter, None)

    def _tell(self, what: dict[str, Any], descriptors: list[int] | None = None) -> None:
        # It waits for a node that does not read; the keeper watches the deadline meanwhile. A node that is gone shows as
        # end of file in the next round.
        with contextlib.suppress(OSError):
            send_frame(self._socket, json.dumps(what).encode(), descriptors or ())


def _kill_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def main() -> None:
    """Be the warden of the node whose socket is descriptor 0; returns when all is over."""
    _, directory, name, incarnation, portable = sys.argv[1:]
    os.set_inheritable(0, False)  # noqa: FBT003 - it takes no keyword
    node = Node(
        Path(directory),
        name,
        incarnation,
        control=0,
        deadline=Deadline.of(Path(directory), incarnation),
        portable=portable == "1",
    )
    if not node.portable:
        become_subreaper()
    read, write = os.pipe()
    starter = os.fork()
    if starter == 0:
        os.close(write)
        _be_starter(node, read)
        os._exit(0)
    os.close(read)
    Keeper(node, starter, write, Waiter()).run()
    _tell_of_the_end(node)
    os._exit(0)


def _tell_of_the_end(node: Node) -> None:
    """Become the program that the node has named for this moment, if it has and its death is proven."""
    if not tombstone.path_of(node.directory, node.incarnation).exists():
        return
    with contextlib.suppress(OSError, ValueError):  # none was named; and without one the lease's end tells
        words = json.loads((node.directory / f"obituary.{node.incarnation}").read_text(encoding="utf-8"))
        os.execv(words[0], words)  # noqa: S606 - no shell is what is wanted


def _be_starter(node: Node, keeper: int) -> None:
    if not node.portable:
        become_subreaper()
    Starter(node, keeper, Waiter()).run()
