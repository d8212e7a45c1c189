"""`otpq.start(app)`: a node of this program's own, in a process of its own, that ends with the program.

Not threads in this process: one busy Python thread beside a queue server slows it two hundredfold, and no crash of user code
may reach it.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from otpq.client import program
from otpq.errors import Unavailable
from otpq.node.sd_notify import VARIABLES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType
    from typing import IO

    from otpq.app import App
    from otpq.client.client import Client
    from otpq.client.schedules import Schedules

__all__ = ["PARENT_FD", "InsideChild", "Node", "NodeNotStarted", "start"]

PARENT_FD: Final = "OTPQ_PARENT_FD"
"""In the node's environment: the read end of a pipe whose other end this program alone holds. At its end of file, drain."""

_BOOT: Final = "import sys; sys.path.append(sys.argv.pop(1)); from otpq.cli import main; main()"
"""As `python -m otpq`, also where otpq is on this program's path alone. Appended, so that it hides nothing."""

_MARGIN: Final = 10.0
"""Seconds that a node has to end when no task has any left. One that is told to end at once takes five at the most."""

_GRACE: Final = 30.0
"""Seconds that running tasks have unless something else is said, as of `otpq node`."""

_OUTPUT_LINES: Final = 100


class NodeNotStarted(Unavailable):
    """The node ended before it was ready, or was not ready in time.

    Attributes:
        exit_code: Its exit code; None if it was still starting and was killed for that.
        output: What it had printed.
    """

    def __init__(self, name: str, exit_code: int | None, output: str, seconds: float) -> None:
        what = f"was not ready within {seconds:g} s" if exit_code is None else f"ended with exit code {exit_code}"
        super().__init__(f"node {name} {what}" + (f":\n{output}" if output else "; it printed nothing"))
        self.exit_code = exit_code
        self.output = output


class InsideChild(BaseException):
    """A child that was loading a program for its handlers came to where the program starts its node: loading ends here.

    No `Exception`, since no `except` of the program is meant to go on from here.
    """

    ends_loading = True
    """For `otpq.worker.loading`: what the file has defined so far is the app."""

    def __init__(self) -> None:
        super().__init__(
            "otpq.start was called while a child loaded this program for its handlers; "
            'put what only the program does under `if __name__ == "__main__":`'
        )


def start(
    app: App,
    name: str | None = None,
    store: str | None = None,
    workers: int | str | None = None,
    queues: Sequence[str] | None = None,
    *,
    config: Path | str | None = None,
    pools: Mapping[str, str] | None = None,
    script_dirs: Sequence[Path | str] = (),
    memory: str | float | None = None,
    directory: Path | str | None = None,
    cookie_file: Path | str | None = None,
    grace: float | None = None,
    scheduler: bool = True,
    timeout: float = 60.0,
) -> Node:
    """Start a node that runs the tasks of `app`; returns when it serves.

    It becomes the node of this program: `handler.submit(...)` and `otpq.connect()` talk to it. It ends with the program,
    however that ends.

    Args:
        app: Its handlers; kept in a variable of a module that children can import, or of the program's own file.
        name: The node's name, 'a@host'; else that of the app, at 127.0.0.1.
        store: A store URL, or 'memory:'; else a file in the directory.
        workers: How many, or a range such as '1..4', of which there are as many as work needs; else '1..CPUS'.
        queues: What they serve; else 'default'.
        config: A cluster.yaml. The node is the one of it that `name` says, or its only one; what else is given here goes
            before what the file says.
        pools: More pools by name, as `otpq node --pool` has them: `{'io': 'executor=async,parallel=50,queues=io'}`.
        script_dirs: Directories of whose scripts any may be run.
        memory: What tasks may have reserved together: MiB, or a text with a unit; else what the machine has.
        directory: Where the node keeps its things; else `~/.otpq/NAME`.
        cookie_file: Else `OTPQ_COOKIE_FILE`, else `~/.otpq/cookie`, made if there is none.
        grace: Seconds that running tasks have to end when the node is stopped; else 30.
        scheduler: Whether schedules make tasks; where not, they stay as they are.
        timeout: Seconds that the node has to get ready.

    Raises:
        UsageError: The app cannot be found by a child, or an argument, or something in the file, cannot be right.
        NodeNotStarted: The node's own words and exit code.
    """
    if _is_child():
        raise InsideChild
    filed = {} if config is None else _filed(Path(config), name)
    named = str(filed["name"]) if filed else name or _node_name(app)
    options = {
        "--config": None if config is None else Path(config).expanduser().absolute(),
        "--name": named,
        "--app": app.reference,
        "--workers": workers,
        "--queues": None if queues is None else ",".join(queues),
        "--store": store,
        "--dir": directory,
        "--cookie-file": cookie_file,
        "--grace": grace,
        "--memory": memory,
    }
    arguments = [f"{option}={value}" for option, value in options.items() if value is not None]
    arguments += [] if scheduler else ["--no-scheduler"]
    arguments += [f"--pool={pool}:{words}" for pool, words in (pools or {}).items()]
    arguments += [f"--script-dir={Path(entry).absolute()}" for entry in script_dirs]
    arguments += [f"--path={Path(entry).absolute()}" for entry in sys.path]
    process, lifeline = _spawn(arguments)
    cookie = cookie_file or filed.get("cookie_file")
    patience = filed.get("grace", _GRACE) if grace is None else grace
    node = Node(process, lifeline, named, None if cookie is None else Path(cookie), patience)
    try:
        node.wait_ready(timeout)
    except BaseException:
        node.kill()
        raise
    node.adopt()
    return node


class Node:
    """A node that this program started. A context manager: at its end the node is stopped."""

    def __init__(
        self, process: subprocess.Popen[str], lifeline: int, name: str, cookie_file: Path | None, grace: float
    ) -> None:
        self.name = name
        """Its name, as it was asked for; `connect(name)` finds it."""
        self._process = process
        self._lifeline = lifeline
        self._grace = grace
        self._place = program.OwnNode(name, cookie_file)
        self._owner = os.getpid()
        self._is_adopted = False
        assert process.stdout is not None  # noqa: S101 - `_spawn` made it a pipe
        self._output = _Output(process.stdout)
        os.register_at_fork(after_in_child=self._forget)

    @property
    def pid(self) -> int:
        """The process id of the node."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        return self._process.poll() is None

    @property
    def client(self) -> Client:
        """A client of this node, the same each time; closed when the node is stopped."""
        return program.client_of(self._place)

    @property
    def schedules(self) -> Schedules:
        """What makes tasks when it is their time: `node.schedules.add('nightly', tidy.s(), cron='0 3 * * *')`."""
        return self.client.schedules

    def workers(self) -> list[dict[str, Any]]:
        """What is known of each worker."""
        return self.client.workers()

    def stats(self) -> dict[str, Any]:
        """The node's counters."""
        return self.client.stats()

    def stop(self, grace: float | None = None) -> int:
        """End the node and return its exit code: running tasks may end first, the others are handed back. Twice is fine.

        Args:
            grace: Seconds that running tasks have to end; else those of `start`, which are the most. What runs then is ended
                and handed back too, and charged no attempt. A node that does not even end after that is killed.
        """
        self._release()
        try:
            # The lifeline stays until the end: its own would be one more order.
            exit_code = self._end_within(self._grace + _MARGIN if grace is None else grace)
        except subprocess.TimeoutExpired:
            try:
                exit_code = self._end_within(_MARGIN)  # the second order: at once
            except subprocess.TimeoutExpired:
                return self.kill()
        self._hang_up()
        return exit_code

    def _end_within(self, seconds: float) -> int:
        if self.running:
            self._process.send_signal(signal.SIGTERM)
        return self._process.wait(seconds)

    def kill(self) -> int:
        """End it at once, as a power cut would: SIGKILL. Returns its exit code."""
        self._release()
        self._process.kill()
        self._hang_up()
        return self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<Node {self.name} {'running' if self.running else 'ended'}>"

    # ------------------------------------------------------------ for `start`

    def wait_ready(self, timeout: float) -> None:
        """Return when the node serves.

        Raises:
            NodeNotStarted: It ended instead, or took too long.
        """
        if self._output.wait_ready(timeout):
            return
        exit_code = self._process.wait() if self._output.ended.is_set() else None
        raise NodeNotStarted(self.name, exit_code, self._output.text(), timeout)

    def adopt(self) -> None:
        """Make it the node of this program, until it is stopped or the program ends."""
        program.add_own_node(self._place)
        self._is_adopted = True
        atexit.register(self._stop_at_exit)

    def _stop_at_exit(self) -> None:
        if os.getpid() == self._owner:
            self.stop()

    def _release(self) -> None:
        if self._is_adopted:
            self._is_adopted = False
            atexit.unregister(self._stop_at_exit)
            program.remove_own_node(self._place)

    def _hang_up(self) -> None:
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1

    def _forget(self) -> None:
        """In a fork of this program: the node is the parent's, and must not live on because a fork does."""
        with contextlib.suppress(OSError):
            self._hang_up()


class _Output:
    """What a node prints. The line `ready` is waited for; later ones are passed on, and always read, or the node would block."""

    def __init__(self, stream: IO[str]) -> None:
        self._lines: deque[str] = deque(maxlen=_OUTPUT_LINES)
        self._stream = stream
        self._first = threading.Event()
        self._is_ready = False
        self.ended = threading.Event()
        threading.Thread(target=self._read, name="otpq-node-output", daemon=True).start()

    def wait_ready(self, timeout: float) -> bool:
        """Whether it is ready; False as soon as it can never be."""
        self._first.wait(timeout)
        return self._is_ready

    def text(self) -> str:
        """The last lines before it was ready."""
        return "".join(self._lines).rstrip()

    def _read(self) -> None:
        with self._stream as lines:
            for line in lines:
                self._take(line)
        self.ended.set()
        self._first.set()

    def _take(self, line: str) -> None:
        if self._is_ready:
            with contextlib.suppress(OSError, ValueError, AttributeError):  # we have no standard error, or a closed one
                sys.stderr.write(line)
        elif line.startswith("ready "):
            self._is_ready = True
            self._first.set()
        else:
            self._lines.append(line)


def _spawn(arguments: list[str]) -> tuple[subprocess.Popen[str], int]:
    """Start the node's process. Returns it, and our end of the pipe that tells it of our death."""
    theirs, ours = os.pipe()
    root = str(Path(__file__).parents[1])
    # Its logs end up on our standard error, where the program's own words stand: so only what is wrong.
    ours_alone = {name: value for name, value in os.environ.items() if name not in VARIABLES}  # we are the service
    environment = {"OTPQ_LOG_LEVEL": "WARNING", **ours_alone, PARENT_FD: str(theirs)}
    if sys.stderr is not None and sys.stderr.isatty():
        environment.setdefault("OTPQ_LOG", "console")
    try:
        process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-P", "-c", _BOOT, root, "node", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[theirs],
            env=environment,
            start_new_session=True,  # Ctrl-C is for this program, which then stops the node
            encoding="utf-8",
            errors="replace",
        )
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    return process, ours


def _filed(path: Path, name: str | None) -> dict[str, Any]:
    """What a cluster.yaml says of the node that is meant."""
    from otpq.node.cluster_file import ClusterFile  # with it comes PyYAML

    file = ClusterFile.read(path)
    return file.settings(file.name(name))


def _node_name(app: App) -> str:
    plain = re.sub(r"[^a-z0-9_.-]", "-", app.name.lower()).strip("-_.")[:63].rstrip("-_.")
    return f"{plain or 'otpq'}@127.0.0.1"


def _is_child() -> bool:
    """Whether this process is a child of a node, and not one that merely imported its module."""
    child = sys.modules.get("otpq.worker.child")
    return child is not None and child.BOOT in sys.orig_argv
