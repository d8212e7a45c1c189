"""Logs: readable lines on a terminal, one JSON object a line anywhere else. The code logs by `logging`.

On the task path nothing is logged. structlog makes the lines for a terminal, and is imported for one alone: it costs 8 MiB
and 0.1 s, a good part of what a node may use at all.
"""

from __future__ import annotations

import logging
import os
import sys
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import msgspec

__all__ = ["configure", "handler_for"]


def configure(level: int | str = logging.INFO, stream: TextIO | None = None, form: str | None = None) -> None:
    """Send all that is logged in this process to `stream` (standard error).

    Its form, 'console' or 'json', is what `OTPQ_LOG` says, else `form`, else what the stream suggests. Call it again and it
    replaces itself.
    """
    root = logging.getLogger()
    for old in [one for one in root.handlers if isinstance(one, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler_for(sys.stderr if stream is None else stream, form))
    root.setLevel(level)


def handler_for(stream: TextIO, form: str | None = None) -> logging.Handler:
    """A handler that writes to `stream` in the form that `configure` tells of."""
    handler = _Handler(stream)
    handler.setFormatter(_console(stream) if _is_console(stream, form) else _Json())
    return handler


class _Handler(logging.StreamHandler[TextIO]):
    """Ours, and so told from those that others have added."""


class _Json(logging.Formatter):
    """A JSON object a line, its keys those that structlog's users know; what `extra` gave stands beside them."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {key: value for key, value in vars(record).items() if key not in _OF_ALL}
        line |= {
            "event": record.getMessage(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = record.stack_info
        return msgspec.json.encode(line, enc_hook=str).decode()


_OF_ALL: Final = frozenset(vars(logging.makeLogRecord({})))
"""What every record has."""


def _console(stream: TextIO) -> logging.Formatter:
    import structlog

    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.ExtraAdder(),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.dev.ConsoleRenderer(
                colors=stream.isatty() and "NO_COLOR" not in os.environ,
                exception_formatter=structlog.dev.plain_traceback,
            ),
        ],
    )


def _is_console(stream: TextIO, form: str | None) -> bool:
    wanted = os.environ.get("OTPQ_LOG", form)
    return wanted == "console" if wanted in {"console", "json"} else stream.isatty()
