"""Scripts: other programs as tasks. Run in a child, from a node's script directories alone, with a clean environment.

The child that runs one calls `ScriptRunner` as it would a handler. Output goes line by line into the task's log while the
program runs; what a run holds in memory does not grow with it.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from otpq.context import running_context
from otpq.endings import Cancel, Discard, SoftTimeout
from otpq.script_paths import locate
from otpq.worker.script_process import UNKNOWN, ScriptProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from otpq.context import Backing

__all__ = ["LAST_LINES", "NotAllowed", "ScriptFailed", "ScriptRunner", "locate"]

LAST_LINES: Final = 20
"""How many of its last lines a result has."""

_GLANCE: Final = 0.05
"""Seconds between two looks whether the task was cancelled."""

_PASSED_ON: Final = ("PATH", "HOME", "LANG", "OTPQ_NODE", "OTPQ_COOKIE_FILE")
_INCARNATION: Final = "OTPQ_INCARNATION"
"""The warden's mark (`spawn.py`, which a child need not import): by it a later start finds what survived everything."""
_RUN: Final = "OTPQ_SCRIPT_RUN"
"""In a script's environment: which run of which child it is; all that it starts has it too."""

_HINTS: Final[Mapping[type[OSError], str]] = {
    PermissionError: "is it executable (chmod +x)?",
    FileNotFoundError: "does its first line name a program that is there?",
}

T = TypeVar("T")

_runs = itertools.count(1)


class NotAllowed(Discard):
    """The script may not be run here, or not like this; another attempt could not change that."""


class ScriptFailed(Exception):
    """The script ended otherwise than with exit code 0, or could not be started.

    Attributes:
        details: exit_code (None if a signal ended it, or it was not started), signal (its name, or None), lines (the last
            20 that it printed).
    """

    def __init__(self, message: str, exit_code: int | None, signal_name: str | None, lines: list[str]) -> None:
        super().__init__(message)
        self.details: dict[str, Any] = {"exit_code": exit_code, "signal": signal_name, "lines": lines}


class ScriptRunner:
    """Runs scripts that lie in `script_dirs`, one a call; several threads may call it at once."""

    def __init__(self, script_dirs: Sequence[str]) -> None:
        self._script_dirs = tuple(script_dirs)

    def __call__(
        self, path: str, *, args: Sequence[str] = (), cwd: str | None = None, env: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Run it to its end. A `.py` file is run by this very Python, any other by itself.

        Args:
            path: Absolute; what it leads to must lie in a script directory.
            args: What it is called with.
            cwd: Where it stands; None: in its own directory.
            env: Added to PATH, HOME, LANG, PYTHONUNBUFFERED, OTPQ_TASK_ID, OTPQ_NODE and OTPQ_COOKIE_FILE.

        Returns:
            exit_code (0), signal (None) and lines, the last 20 that it printed.

        Raises:
            NotAllowed: It lies elsewhere, or is not there, or an argument is not what a program can be given.
            ScriptFailed: It could not be started, or it ended otherwise.
            Cancel: The task was cancelled; the script has heard TERM and ended.
            SoftTimeout: As it was raised in here. The script has heard TERM, and KILL if it did not end within a second.
        """
        wrong = self._wrong_with(path) or _wrong_in(args) or _wrong_around(cwd, env)
        if wrong is not None:
            raise NotAllowed(wrong)
        context = running_context.get()
        listener = None if context is None else context._backing  # noqa: SLF001 - made for us
        real = os.path.realpath(path)  # what was looked at is what is run
        mark = f"{os.getpid()}.{next(_runs)}"
        return _run(
            [sys.executable, real, *args] if real.endswith(".py") else [real, *args],
            str(Path(real).parent) if cwd is None else cwd,
            _environment("" if context is None else context.id, env or {}, mark),
            f"{_RUN}={mark}",
            listener,
        )

    def _wrong_with(self, path: object) -> str | None:
        return locate(path, self._script_dirs) if isinstance(path, str) else f"{path!r} is no path of a script"


def _run(argv: list[str], cwd: str, env: Mapping[str, str], mark: str, listener: Backing | None) -> dict[str, Any]:
    if listener is not None and listener.is_cancelled():
        raise Cancel("it was cancelled before the script was started")
    heard = _Heard(listener)
    # A process executor runs tasks in the main thread, and so nothing beside them.
    is_alone = threading.current_thread() is threading.main_thread()
    script = ScriptProcess(argv, cwd, env, mark, heard, is_alone=is_alone)
    try:
        try:
            script.start()
        except SoftTimeout:  # which is an OSError too
            raise
        except OSError as error:
            raise ScriptFailed(_not_started(error, cwd), None, None, []) from None
        is_cancelled = _follow(script, listener)
    except BaseException:
        _surely(script.end)
        raise
    finally:
        left = _surely(script.close)
        if left:
            heard("err", f"otpq: it left processes behind that do not end: {', '.join(map(str, left))}")
    if is_cancelled:
        raise Cancel("it was cancelled, and has ended")
    return heard.verdict(script.exit)


def _follow(script: ScriptProcess, listener: Backing | None) -> bool:
    """Until it has ended; whether it was told to."""
    is_told = False
    while not script.pump(_GLANCE):
        if not is_told and listener is not None and listener.is_cancelled():
            is_told = True
            script.terminate()
    return is_told


def _surely(action: Callable[[], T]) -> T:
    """Do it, though a soft timeout may come in the middle; it comes but once."""
    try:
        return action()
    except BaseException:
        action()
        raise


class _Heard:
    """What a script prints: passed on, and its last lines kept."""

    def __init__(self, listener: Backing | None) -> None:
        self._listener = listener
        self._last: deque[str] = deque(maxlen=LAST_LINES)
        self._last_error = ""

    def __call__(self, stream: str, line: str) -> None:
        self._last.append(line)
        if stream == "err" and line.strip():
            self._last_error = line
        if self._listener is not None:
            self._listener.output(stream, line)

    def verdict(self, code: int | None) -> dict[str, Any]:
        """The result of a script that ended so.

        Raises:
            ScriptFailed: It is none.
        """
        lines = list(self._last)
        if code == 0:
            return {"exit_code": 0, "signal": None, "lines": lines}
        # Its two streams are read side by side: which line was the last of all is not known, and errors tell more.
        last = self._last_error or next((line for line in reversed(lines) if line.strip()), "")
        name = _signal_name(-code) if code is not None and UNKNOWN < code < 0 else None
        raise ScriptFailed(_words(code, name) + (f": {last}" if last else ""), _exit_code(code), name, lines)


def _exit_code(code: int | None) -> int | None:
    return code if code is not None and code > 0 else None


def _words(code: int | None, signal_name: str | None) -> str:
    if signal_name is not None:
        return f"killed by {signal_name}"
    if code is None:
        return "it was killed, and does not end"
    if code == UNKNOWN:
        return "its exit code is not known: something else in this child waited for it (os.wait, or SIGCHLD ignored)"
    return f"exit code {code}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # of the real-time ones only two have names
        return f"signal {number}"


def _not_started(error: OSError, cwd: str) -> str:
    """The system's words, and what they mean here: it names the script also where it is its interpreter that is not there."""
    text = f"it could not be started: {error}"
    if error.filename == cwd:
        return f"{text} (its working directory)"
    hint = _HINTS.get(type(error))
    if hint is None and error.errno == _NO_PROGRAM:
        hint = "is its first line one like #!/bin/sh?"
    return f"{text} ({hint})" if hint is not None else text


_NO_PROGRAM: Final = 8  # ENOEXEC


def _environment(task: str, said: Mapping[str, str], mark: str) -> dict[str, str]:
    passed_on = {name: os.environ[name] for name in (*_PASSED_ON, _INCARNATION) if name in os.environ}
    # The last two are ours to say: what the script leaves behind is found by them.
    ours = {_RUN: mark, **({_INCARNATION: passed_on[_INCARNATION]} if _INCARNATION in passed_on else {})}
    default = {"PATH": os.defpath, "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1"}
    return {**default, **passed_on, "OTPQ_TASK_ID": task, **said, **ours}


def _wrong_in(args: object) -> str | None:
    """What is wrong with the arguments, in words; None: a program can be given them."""
    if isinstance(args, str) or not isinstance(args, list | tuple):
        return f"args={args!r}: the arguments of a script are a list of texts"
    for number, each in enumerate(args, 1):
        if not _is_text(each):
            return f"argument {number} of the script is {each!r}; it must be a text without a null character"
    return None


def _wrong_around(cwd: object, env: object) -> str | None:
    """The same of its directory and its environment."""
    if cwd is not None and not _is_text(cwd):
        return f"cwd={cwd!r}: it must be a text without a null character"
    if env is None:
        return None
    if not isinstance(env, dict):
        return f"env={env!r}: it must be a map of texts"
    for name, value in env.items():
        if not _is_text(name) or not name or "=" in name or not _is_text(value):
            return f"env has {name!r}: {value!r}; a variable has a name without '=' and a text without a null character"
    return None


def _is_text(value: object) -> bool:
    """Whether it can be passed to a program."""
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        os.fsencode(value)
    except UnicodeEncodeError:
        return False
    return True
