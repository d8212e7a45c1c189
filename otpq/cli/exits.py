"""How a command ends: its exit code, and the one line that says why."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NoReturn

from otpq.errors import OtpqError, StoreError, UsageError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "CODES",
    "COOKIE",
    "DEBUG",
    "FAILURE",
    "INTERRUPTED",
    "NOT_FOUND",
    "STORE",
    "TAKEN",
    "USAGE",
    "exit_code",
    "one_line",
    "one_line_errors",
    "usage_line",
]

FAILURE: Final = 1
USAGE: Final = 2
STORE: Final = 3
TAKEN: Final = 4
COOKIE: Final = 5
NOT_FOUND: Final = 6
INTERRUPTED: Final = 130
"""By Ctrl-C, as of any program."""

CODES: Final = {
    0: "fine",
    FAILURE: "it failed: a task that was waited for, or what was asked of a node",
    USAGE: "the command cannot be right: a flag, a name, a selector, a key of a file",
    STORE: "the store is unreachable or damaged",
    TAKEN: "the name, port or store belongs to another node",
    COOKIE: "the cookie is refused, or is none",
    NOT_FOUND: "there is no such task, queue, pool or node",
}
"""What each means."""

DEBUG: Final = "OTPQ_DEBUG"
"""The variable that has errors keep their tracebacks."""

_BY_NAME: Final = {
    "AddressTaken": TAKEN,
    "NodeNameTaken": TAKEN,
    "SecondStore": TAKEN,
    "StoreTaken": TAKEN,
    "BadCookie": COOKIE,
    "CookieRefused": COOKIE,
    "TaskNotFound": NOT_FOUND,
}
"""By name, since to import these classes is to import ZeroMQ and SQLite; the roots of all errors are cheap."""
_TYPERS: Final = {"Exit", "Abort", "ClickException"}
"""How typer ends a command that is no failure, or is one in words of its own; by name, since a node has no typer."""
_BY_CODE: Final = {"no_pool": NOT_FOUND, "no_queue": NOT_FOUND, "no_node": NOT_FOUND}
"""What a queue server has not found, by its word for it."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Make an error that is raised inside one line on standard error, and an exit code; with OTPQ_DEBUG, leave it as it is."""
    try:
        yield
    except BrokenPipeError:  # the reader of our output, `head` for one, has seen enough
        sys.stderr.close()
        raise SystemExit(FAILURE) from None
    except Exception as error:
        kinds = {kind.__name__ for kind in type(error).__mro__}
        if hasattr(error, "format_message") and "NoArgsIsHelpError" not in kinds:  # typer's own
            _end(usage_line(error), USAGE)
        if _is_debugging() or not kinds.isdisjoint(_TYPERS):
            raise
        known = isinstance(error, OtpqError | TimeoutError | OSError)
        words = one_line(error) if known else f"{type(error).__name__}: {one_line(error)}; --debug shows where"
        _end(f"otpq: {words}", exit_code(error))


def _end(line: str, code: int) -> NoReturn:
    sys.stderr.write(f"{line}\n")
    raise SystemExit(code) from None


def _is_debugging() -> bool:
    return os.environ.get(DEBUG, "").lower() not in {"", "0", "false", "no", "off"}


def exit_code(error: BaseException) -> int:
    """The exit code for an error."""
    for kind in type(error).__mro__:
        if kind.__name__ in _BY_NAME:
            return _BY_NAME[kind.__name__]
    if isinstance(error, StoreError):
        return STORE
    return USAGE if isinstance(error, UsageError) else _BY_CODE.get(getattr(error, "code", ""), FAILURE)


def one_line(error: BaseException) -> str:
    """The first line of an error's message; a child's traceback follows it, and `otpq show` has that."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def usage_line(error: Any) -> str:
    """What typer says of words that it cannot read, in a line: where, what, and what would be right."""
    where = "otpq" if error.ctx is None else error.ctx.command_path
    words = error.format_message().strip().rstrip(".").replace("\n", " ")
    option = getattr(error, "option_name", None)
    if option is not None and "No such option" in words:
        known = [] if error.ctx is None else [word for each in error.ctx.command.params for word in each.opts]
        words = f"no such option: {option}{did_you_mean(option, known) or f'; `{where} --help` shows which there are'}"
    return f"{where}: {words[:1].lower()}{words[1:]}"
