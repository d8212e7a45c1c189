"""The command `otpq up`: the nodes of a cluster.yaml that live on this host, their output in one terminal.

Each node is a process of its own, in a process group of its own: Ctrl-C reaches this program alone, which passes it on as TERM,
the node that leads last, since the others hand back to it what they cannot end; a second time, to all. Should this program be killed, its nodes drain: each holds the end of a pipe of which this one has the
other.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final

from otpq.cli.exits import FAILURE
from otpq.embedded import PARENT_FD
from otpq.errors import UsageError
from otpq.node.cluster_file import ClusterFile
from otpq.node.sd_notify import VARIABLES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path
    from types import FrameType
    from typing import TextIO

    from otpq.wire.node_name import NodeName

__all__ = ["is_here", "run"]

_COLOURS: Final = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)
"""Of the names, in turn: cyan, yellow, green, magenta, blue, then the bright ones. Red is left for errors."""
_RED: Final = 31
_LAST_WORDS: Final = 2.0
"""Seconds that the output of a node that has ended is waited for: what a handler left behind may hold the pipe open for ever."""
_OF_ONE: Final = (
    "OTPQ_NAME",
    "OTPQ_STORE",
    "OTPQ_DIR",
    "OTPQ_BIND",
    "OTPQ_CONFIG",
    "OTPQ_APP",
    "OTPQ_POOL",
    *VARIABLES,  # a service manager means this program, and no node speaks for the others
)
"""What the environment may say of a node, and cannot mean for several."""


def run(path: Path, out: TextIO) -> int:
    """Run the nodes until they end or are told to by TERM or Ctrl-C; the exit code of the first that ended with an error.

    A node that ends by itself takes none of the others with it: a cluster goes on without it.

    Args:
        path: The cluster.yaml.
        out: Where their output goes, a line at a time, each with its node's name before it.

    Raises:
        BadFile: The file cannot be right.
        UsageError: None of its nodes lives here.
    """
    file = ClusterFile.read(path)
    names = [name for name in file.names if is_here(name.host)]
    if not names:
        hosts = ", ".join(dict.fromkeys(name.host for name in file.names))
        raise UsageError(f"no node of {path} lives on this host; they live on {hosts}")
    return _Nodes(file, names, out).run()


def is_here(host: str) -> bool:
    """Whether a node at that host would be on this machine: it is a loopback address, or one that can be listened on here."""
    host = host.strip("[]")
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host).is_loopback:
            return True
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return any(_can_listen(family, address) for family, _, _, _, address in found)


def _can_listen(family: int, address: Any) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        try:
            probe.bind(address)
        except OSError:
            return False
    return True


@dataclass(frozen=True, slots=True)
class _Ended:
    name: NodeName
    code: int


class _Nodes:
    """The processes, and what they print. What happens to them comes to the main thread one by one."""

    def __init__(self, file: ClusterFile, names: Sequence[NodeName], out: TextIO) -> None:
        self._file = file
        self._names = names
        self._out = out
        self._lock = threading.Lock()
        self._width = max(len(str(name)) for name in names)
        self._has_colours = out.isatty() and "NO_COLOR" not in os.environ
        self._running: dict[NodeName, subprocess.Popen[str]] = {}
        self._news: SimpleQueue[_Ended | int] = SimpleQueue()
        """A node's end, or a signal; the one queue that a signal's handler may put into."""
        self._is_ending = False
        self._told: set[NodeName] = set()
        self._code = 0

    def run(self) -> int:
        """From the first node's start to the last one's end."""
        before = {which: signal.signal(which, self._tell) for which in (signal.SIGTERM, signal.SIGINT)}
        parent, ours = os.pipe()
        try:
            for name in self._names:
                self._running[name] = self._start(name, parent)
            os.close(parent)
            while self._running:
                news = self._news.get()
                if isinstance(news, _Ended):
                    self._note(news)
                elif self._is_ending:
                    self._terminate(self._running)
                self._is_ending |= not isinstance(news, _Ended)
                if self._is_ending:
                    self._drain()
        finally:
            os.close(ours)  # should this have failed, the nodes drain
            for which, handler in before.items():
                signal.signal(which, handler)
        return self._code

    # --- the processes ----------------------------------------------------------------------------------------------

    def _start(self, name: NodeName, parent: int) -> subprocess.Popen[str]:
        node = subprocess.Popen(  # noqa: S603 - this very program
            [sys.executable, "-m", "otpq", "node", "--config", str(self._file.path), "--name", str(name)],
            env=self._environment(os.environ, parent),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(parent,),
            process_group=0,
            text=True,
            errors="replace",
        )
        reader = threading.Thread(target=self._read, args=(name, node), name=f"otpq-read {name}", daemon=True)
        reader.start()
        threading.Thread(target=self._wait, args=(name, node, reader), name=f"otpq-wait {name}", daemon=True).start()
        return node

    def _environment(self, ours: Mapping[str, str], parent: int) -> dict[str, str]:
        environment = {name: value for name, value in ours.items() if name not in _OF_ONE}
        environment[PARENT_FD] = str(parent)
        if self._file.log_format is None:
            environment.setdefault("OTPQ_LOG", "console")  # read by people: a JSON line behind a name is nobody's
        return environment

    def _read(self, name: NodeName, node: subprocess.Popen[str]) -> None:
        assert node.stdout is not None  # noqa: S101 - it is a pipe
        for line in node.stdout:
            self._put(name, line.rstrip())

    def _wait(self, name: NodeName, node: subprocess.Popen[str], reader: threading.Thread) -> None:
        code = node.wait()
        reader.join(_LAST_WORDS)
        self._news.put(_Ended(name, code))

    # --- what happens to them ---------------------------------------------------------------------------------------

    def _tell(self, which: int, _frame: FrameType | None) -> None:
        self._news.put(which)

    def _note(self, ended: _Ended) -> None:
        del self._running[ended.name]
        if ended.code:
            words = f"exit code {ended.code}" if ended.code > 0 else signal.Signals(-ended.code).name
            self._put(ended.name, self._coloured(f"ended with {words}", _RED))
            self._code = self._code or (ended.code if ended.code > 0 else FAILURE)

    def _drain(self) -> None:
        """Tell all but the node that leads, and that one when it is alone: they hand back to it what they cannot end."""
        others = [name for name in self._running if name != self._file.leader]
        fresh = [name for name in others or self._running if name not in self._told]
        self._told.update(fresh)
        self._terminate(fresh)

    def _terminate(self, names: Iterable[NodeName]) -> None:
        for name in names:
            self._told.add(name)
            self._running[name].terminate()

    # --- what they print --------------------------------------------------------------------------------------------

    def _put(self, name: NodeName, line: str) -> None:
        colour = _COLOURS[self._names.index(name) % len(_COLOURS)]
        head = self._coloured(str(name).ljust(self._width), colour)
        with self._lock, contextlib.suppress(BrokenPipeError):  # nobody reads any more; the nodes go on
            print(f"{head} | {line}", file=self._out, flush=True)

    def _coloured(self, words: str, colour: int) -> str:
        return f"\033[{colour}m{words}\033[0m" if self._has_colours else words
