"""What a child says, as the node reads it: typed and checked, since a child runs code that is not ours."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from otpq.context import MAX_CHECKPOINT, MAX_PROGRESS
from otpq.endings import LONGEST
from otpq.errors import UsageError
from otpq.task import Options
from otpq.worker.packets import Outcome  # noqa: TC001 - msgspec reads the annotations at run time

__all__ = ["Checkpoint", "Progress", "Ready", "Refused", "Report", "ReportError", "Result", "Results", "read_report"]


class ReportError(ValueError):
    """The child sent something that the grammar does not allow; the message names where. It should be killed."""


class Result(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What became of one task."""

    seq: int
    outcome: Outcome
    value: bytes
    """The packed result, or the packed error."""
    started: float
    finished: float
    delay: Annotated[float, Meta(ge=0, le=LONGEST)] | None = None
    """Seconds until it is to run again, where that was said."""


class Ready(msgspec.Struct, frozen=True, array_like=True, tag="ready"):
    """The app is loaded; packets will be read."""

    pid: int
    handlers: dict[str, bytes]
    """What the app declares of each, as `Options.pack` gives it."""


class Refused(msgspec.Struct, frozen=True, array_like=True, tag="refused"):
    """The app could not be loaded."""

    error: bytes


class Results(msgspec.Struct, frozen=True, array_like=True, tag="results"):
    """What became of some tasks of one lease, in the order they ended."""

    lease: int
    results: tuple[Result, ...]


class Progress(msgspec.Struct, frozen=True, array_like=True, tag="progress"):
    """How far a task has come."""

    lease: int
    seq: int
    fraction: Annotated[float, Meta(ge=0, le=1)]
    message: Annotated[str, Meta(max_length=MAX_PROGRESS)] = ""


class Checkpoint(msgspec.Struct, frozen=True, array_like=True, tag="checkpoint"):
    """What a task wants to find in its next attempt; the child waits for the answer."""

    lease: int
    seq: int
    number: int
    value: Annotated[bytes, Meta(max_length=MAX_CHECKPOINT)]


Report: TypeAlias = Ready | Refused | Results | Progress | Checkpoint

_decoder: msgspec.msgpack.Decoder[Report] = msgspec.msgpack.Decoder(Report)


def read_report(content: bytes) -> Report:
    """One frame of a child.

    Raises:
        ReportError: It is none.
    """
    try:
        report = _decoder.decode(content)
        if isinstance(report, Ready):
            for declared in report.handlers.values():
                Options.unpack(declared)
    except (msgspec.MsgspecError, UsageError) as error:
        raise ReportError(str(error)) from error
    return report
