"""Registry: the names and the processes of one node.

A process belongs to the registry of whoever started it, so a whole tree shares one, and two nodes in one interpreter
(a simulated cluster) do not see each other's names. Nothing here is global.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from otpq.otp.errors import NameTaken, NotRegistered, UsageError
from otpq.otp.watch import keep_looking

if TYPE_CHECKING:
    from otpq.otp.distribution import Distribution
    from otpq.otp.pid import Pid
    from otpq.otp.process import Process

__all__ = ["Registry"]


class Registry:
    """Names of living processes, and a list of all of them. Thread-safe.

    A name is held by one living process and is free at the moment of its death. `whereis` may answer a pid that dies
    right after; sending to it is harmless, calling it raises `CallFailed(NoProc)`.

    Source:
        Erlang's `register` / `whereis`; the races, and why they are harmless, as in Elixir's Registry.
    """

    def __init__(self) -> None:
        self.distribution: Distribution | None = None
        """The way to processes of other nodes, if this registry is of a node that has any."""
        self._lock = threading.RLock()
        self._names: dict[str, Pid] = {}
        self._name_of: dict[Pid, str] = {}
        self._processes: dict[Pid, None] = {}
        self._zombies: dict[Pid, None] = {}
        self._is_watched = False

    def register(self, name: str, pid: Pid) -> None:
        """Give `name` to the process `pid`, its only one.

        Raises:
            NameTaken: A living process holds it.
            UsageError: The name is not a non-empty text, or the process has a name already, or is dead.
        """
        if not isinstance(name, str) or not name:
            raise UsageError(f"name={name!r} is not allowed: a non-empty text")
        with self._lock:
            holder = self.whereis(name)
            if holder is not None:
                raise NameTaken(name, holder)
            if pid in self._name_of:
                raise UsageError(f"{pid} cannot be registered as {name!r}: it has a name already, and may have one")
            if pid.process.exit_reason is not None:
                raise UsageError(f"{pid} cannot be registered as {name!r}: it is dead")
            self._names[name] = pid
            self._name_of[pid] = name

    def unregister(self, name: str) -> None:
        """Free `name`; its holder lives on.

        Raises:
            NotRegistered: Nobody holds it.
        """
        with self._lock:
            if self.whereis(name) is None:
                raise NotRegistered(name)
            del self._name_of[self._names.pop(name)]

    def whereis(self, name: str) -> Pid | None:
        """The living process that holds `name`, or None."""
        pid = self._names.get(name)
        return pid if pid is not None and pid.process.exit_reason is None else None

    def names(self) -> dict[str, Pid]:
        """All names and their living holders."""
        with self._lock:
            return {name: pid for name, pid in self._names.items() if pid.process.exit_reason is None}

    def name_of(self, pid: Pid) -> str | None:
        """The name that `pid` holds, or None."""
        return self._name_of.get(pid)

    def processes(self) -> list[Pid]:
        """All living processes, the oldest first."""
        with self._lock:  # those that are still releasing what they own are in the table, and dead
            return [pid for pid in self._processes if pid.process.exit_reason is None]

    def zombies(self) -> list[Pid]:
        """The processes that are dead and whose thread still runs a callback (a thread cannot be killed)."""
        with self._lock:
            return list(self._zombies)

    def enter(self, pid: Pid) -> None:
        """Count `pid` among the living, if it is. For the process itself."""
        with self._lock:
            if pid.process.exit_reason is not None:  # killed by name before it was entered
                return
            self._processes[pid] = None
            is_watched, self._is_watched = self._is_watched, True
        if not is_watched:
            keep_looking(self._to_watch)

    def leave(self, pid: Pid) -> None:
        """Forget the dead `pid` and free its names. For the process itself."""
        with self._lock:
            self._processes.pop(pid, None)
            name = self._name_of.pop(pid, None)
            if name is not None and self._names.get(name) is pid:  # it may have a new holder by now
                del self._names[name]

    def haunt(self, pid: Pid) -> None:
        """Count `pid` among the zombies. For the process itself."""
        with self._lock:
            self._zombies[pid] = None

    def lay(self, pid: Pid) -> None:
        """The thread of `pid` has ended. For the process itself."""
        with self._lock:
            self._zombies.pop(pid, None)

    def _to_watch(self) -> list[Process]:
        with self._lock:
            self._is_watched = bool(self._processes)  # the watch ends with the last process; the next starts it again
            return [pid.process for pid in self._processes]
