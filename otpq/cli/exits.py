"""How a command ends: its exit code, and the one line that says why."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from otpq.errors import OtpqError, StoreError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["COOKIE", "FAILURE", "NOT_FOUND", "STORE", "TAKEN", "USAGE", "exit_code", "one_line", "one_line_errors"]

FAILURE: Final = 1
USAGE: Final = 2
STORE: Final = 3
"""The store is unreachable or damaged."""
TAKEN: Final = 4
"""The name, port or store belongs to another node."""
COOKIE: Final = 5
NOT_FOUND: Final = 6

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


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Make an error that is raised inside one line on standard error, and an exit code. A bug keeps its traceback."""
    try:
        yield
    except (OtpqError, TimeoutError) as error:
        sys.stderr.write(f"otpq: {one_line(error)}\n")
        raise SystemExit(exit_code(error)) from None
    except BrokenPipeError:  # the reader of our output, `head` for one, has seen enough
        sys.stderr.close()
        raise SystemExit(FAILURE) from None


def exit_code(error: BaseException) -> int:
    """The exit code for an error."""
    for kind in type(error).__mro__:
        if kind.__name__ in _BY_NAME:
            return _BY_NAME[kind.__name__]
    if isinstance(error, StoreError):
        return STORE
    return USAGE if isinstance(error, UsageError) else FAILURE


def one_line(error: BaseException) -> str:
    """The first line of an error's message; a child's traceback follows it, and `otpq show` has that."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
