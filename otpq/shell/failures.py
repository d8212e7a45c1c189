"""Errors at a prompt: those of otpq in their own words, those of the user's code with a traceback that begins at the input."""

from __future__ import annotations

from pathlib import Path
from traceback import TracebackException
from typing import TYPE_CHECKING, Final

from otpq.errors import OtpqError
from otpq.shell.evaluator import INPUT

if TYPE_CHECKING:
    from traceback import StackSummary

__all__ = ["failure"]

_OURS: Final = str(Path(__file__).parent)


def failure(error: BaseException) -> str:
    """What is printed for an error."""
    if isinstance(error, KeyboardInterrupt):
        return "KeyboardInterrupt"
    if isinstance(error, OtpqError):
        return f"{type(error).__name__}: {str(error).rstrip()}"
    told = TracebackException.from_exception(error)
    if not any(frame.filename.startswith(INPUT) for frame in told.stack):
        return "".join(told.format_exception_only()).rstrip()  # it is no Python: nothing of it has run
    one: TracebackException | None = told
    while one is not None:
        _shorten(one.stack)
        one = one.__cause__ or one.__context__
    return "".join(told.format()).rstrip()


def _shorten(stack: StackSummary) -> None:
    """Leave out how the shell came to call the input, and what of the shell stands between the input and the error."""
    first = next((place for place, frame in enumerate(stack) if frame.filename.startswith(INPUT)), 0)
    stack[:] = [frame for frame in stack[first:] if not frame.filename.startswith(_OURS)]
