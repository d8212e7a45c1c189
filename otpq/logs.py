"""Logs: readable lines on a terminal, one JSON object a line anywhere else. The code logs by `logging`; structlog renders.

On the task path nothing is logged.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, TextIO

import structlog

if TYPE_CHECKING:
    from structlog.typing import Processor

__all__ = ["configure", "handler_for"]


def configure(level: int | str = logging.INFO, stream: TextIO | None = None) -> None:
    """Send all that is logged in this process to `stream` (standard error), and structlog's own loggers with it.

    `OTPQ_LOG=console` or `OTPQ_LOG=json` overrules what the stream suggests. Call it again and it replaces itself.
    """
    root = logging.getLogger()
    for old in [one for one in root.handlers if isinstance(one, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler_for(sys.stderr if stream is None else stream))
    root.setLevel(level)
    structlog.configure(
        processors=[*_COMMON, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def handler_for(stream: TextIO) -> logging.Handler:
    """A handler that writes to `stream` in the form it suggests."""
    handler = _Handler(stream)
    final = _console(stream) if _is_console(stream) else _json()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_COMMON,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final],
        )
    )
    return handler


class _Handler(logging.StreamHandler[TextIO]):
    """Ours, and so told from those that others have added."""


_COMMON: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.PositionalArgumentsFormatter(),
    structlog.stdlib.ExtraAdder(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
]


def _console(stream: TextIO) -> list[Processor]:
    colors = stream.isatty() and "NO_COLOR" not in os.environ
    return [structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)]


def _json() -> list[Processor]:
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]


def _is_console(stream: TextIO) -> bool:
    wanted = os.environ.get("OTPQ_LOG")
    return wanted == "console" if wanted in {"console", "json"} else stream.isatty()
