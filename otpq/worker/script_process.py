"""ScriptProcess: one run of another program, in a session of its own: started, heard line by line, ended with all it left.

Its end is the end of its process, not of its output: a program may close that and go on, and what it leaves behind may keep it
open for ever. The order at the end matters: first what is left is killed, while the program's own entry among the processes
still keeps its pid and its session from meaning somebody else; then what its pipes still hold is read; then it is waited for.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Final

from otpq.endings import SoftTimeout
from otpq.worker.kernel import is_portable
from otpq.worker.leftovers import Leftovers
from otpq.worker.script_lines import Lines

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import IO

__all__ = ["UNKNOWN", "ScriptProcess"]

UNKNOWN: Final = -1000
"""In place of an exit code: somebody else in this child has waited for the program, or all children are ignored (SIGCHLD)."""

_READ: Final = 1 << 16
_AT_THE_END: Final = 1 << 20
"""Bytes a stream that are read once the program has ended; more than a pipe holds unless it was made that large."""
_PATIENCE: Final = 1.0
"""Seconds between TERM and KILL for a program that is to end."""
_GIVE_UP: Final = 5.0
"""Seconds that a program which was killed has to end."""
_NAP: Final = 0.005
"""Seconds between two looks at a program that has closed its output, where the system does not tell of its end."""


class ScriptProcess:
    """Used by one thread. Whatever happens, `close` ends it."""

    def __init__(
        self,
        argv: Sequence[str],
        cwd: str,
        env: Mapping[str, str],
        mark: str,
        hear: Callable[[str, str], None],
        *,
        is_alone: bool,
    ) -> None:
        """Nothing is started yet.

        Args:
            argv: The program and its arguments.
            cwd: Where it stands.
            env: All of its environment; `mark`, NAME=value, is in it.
            mark: As for `Leftovers`.
            hear: Is given "out" or "err", and a line.
            is_alone: As for `Leftovers`.
        """
        self._argv = argv
        self._cwd = cwd
        self._env = env
        self._hear = hear
        self._leftovers = Leftovers(mark, is_alone=is_alone)
        self._popen: subprocess.Popen[bytes] | None = None
        self._streams: dict[int, tuple[str, Lines]] = {}
        self._poll = select.poll()
        self._pidfd = -1
        self.exit: int | None = None
        """The exit code, or the negative number of the signal that ended it, or `UNKNOWN`; None until `close`."""

    def start(self) -> None:
        """Start it.

        Raises:
            OSError: The system's reason why it cannot be run.
        """
        self._popen = subprocess.Popen(  # noqa: S603 - `locate` has been asked
            self._argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self._cwd,
            env=self._env,
            bufsize=0,
            start_new_session=True,
        )
        for stream, name in ((self._popen.stdout, "out"), (self._popen.stderr, "err")):
            self._listen_to(stream, name)
        if not is_portable():
            self._watch(self._popen.pid)

    def _watch(self, pid: int) -> None:
        try:
            self._pidfd = os.pidfd_open(pid)
        except SoftTimeout:  # which is an OSError too
            raise
        except OSError:  # a kernel or a sandbox without them
            return
        self._poll.register(self._pidfd, select.POLLIN)

    def _listen_to(self, stream: IO[bytes] | None, name: str) -> None:
        assert stream is not None  # noqa: S101 - `start` made it a pipe
        os.set_blocking(stream.fileno(), False)
        self._streams[stream.fileno()] = (name, Lines())
        self._poll.register(stream.fileno(), select.POLLIN)

    def pump(self, timeout: float) -> bool:
        """Pass on what it prints for at most `timeout` seconds, or until there is a pause; whether it has ended."""
        if self._pidfd < 0 and not self._streams:
            timeout = min(timeout, _NAP)
        for descriptor, _ in self._poll.poll(timeout * 1000):
            if descriptor != self._pidfd:
                self._read(descriptor)
        return self._has_ended()

    def _read(self, descriptor: int) -> int:
        """How many bytes there were."""
        try:
            data = os.read(descriptor, _READ)
        except BlockingIOError:
            return 0
        name, lines = self._streams[descriptor]
        if not data:
            self._poll.unregister(descriptor)
            del self._streams[descriptor]
        for line in lines.feed(data) if data else lines.end():
            self._hear(name, line)
        return len(data)

    def _has_ended(self) -> bool:
        popen = self._popen
        assert popen is not None  # noqa: S101 - it was started
        if not hasattr(os, "waitid"):  # macOS
            return popen.poll() is not None
        try:
            # It is looked at and left where it is, so that its pid stays its own.
            return os.waitid(os.P_PID, popen.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:
            return True

    def terminate(self) -> None:
        """TERM to it and what it has started, but for what has a session of its own."""
        self._signal(signal.SIGTERM)

    def end(self) -> None:
        """TERM, KILL after a second, and what it says meanwhile."""
        if self._popen is None:
            return
        self._signal(signal.SIGTERM)
        if not self._ends_within(_PATIENCE):
            self._signal(signal.SIGKILL)
            self._ends_within(_GIVE_UP)

    def _ends_within(self, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while not self.pump(max(0.0, min(0.05, until - time.monotonic()))):
            if time.monotonic() >= until:
                return False
        return True

    def _signal(self, number: signal.Signals) -> None:
        if self._popen is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._popen.pid, number)

    def close(self) -> list[int]:
        """End what is left of it, read what it still had to say, and wait for it. Twice is fine.

        Returns:
            The pids of those that would not end.
        """
        # Without a Popen the start failed, or was interrupted when the program ran already: then that is a leftover too.
        popen = self._popen
        left = [] if self.exit is not None else self._leftovers.end(None if popen is None else popen.pid)
        if popen is not None and self.exit is None:
            self._read_rest()
            self.exit = self._wait(popen)
        self._let_go()
        return left

    def _read_rest(self) -> None:
        for descriptor in list(self._streams):
            budget = _AT_THE_END
            while budget > 0 and (count := self._read(descriptor)):
                budget -= count
            if descriptor in self._streams:  # somebody whom we could not end holds it open
                name, lines = self._streams.pop(descriptor)
                for line in lines.end():
                    self._hear(name, line)

    def _wait(self, popen: subprocess.Popen[bytes]) -> int | None:
        if popen.returncode is not None:
            return popen.returncode
        try:
            pid, status = os.waitpid(popen.pid, os.WNOHANG)
        except ChildProcessError:
            # Popen would take this for exit code 0.
            popen.returncode = UNKNOWN
            return UNKNOWN
        if pid == 0:  # it does not end though it was killed: the child's own end will be its end
            return None
        popen.returncode = os.waitstatus_to_exitcode(status)
        return popen.returncode

    def _let_go(self) -> None:
        popen = self._popen
        for stream in (popen.stdout, popen.stderr) if popen is not None else ():
            if stream is not None:
                stream.close()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
