"""From what travels to what users see: tasks, results, errors."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from otpq.client.errors import NotSucceeded, TaskCancelled, TaskExpired, TaskFailed, TaskNotFound
from otpq.task import HistoryEntry, LogLine, Options, Task, TaskError, TaskState
from otpq.wire.messages import UNKNOWN
from otpq.wire.values import unpack

if TYPE_CHECKING:
    from otpq.wire import verbs
    from otpq.wire.messages import Outcome
    from otpq.wire.verbs import TaskView

__all__ = ["error_of", "in_place_of", "log_line_of", "task_error", "task_of"]

_SUCCEEDED = TaskState.SUCCEEDED.value


def error_of(outcome: Outcome) -> NotSucceeded | TaskNotFound | None:
    """The error with which a task ended; None if it succeeded."""
    if outcome.state == _SUCCEEDED:
        return None
    id = outcome.id.hex()
    match outcome.state:
        case TaskState.CANCELLED:
            return TaskCancelled(id)
        case TaskState.EXPIRED:
            return TaskExpired(id)
        case _ if outcome.state == UNKNOWN:
            return TaskNotFound(id)
        case _:
            return TaskFailed(id, outcome.name, outcome.reason, task_error(outcome.error))


def in_place_of(outcome: Outcome) -> dict[str, Any]:
    """What those who collect errors are given in the place of the result of a task that did not succeed."""
    return {
        "error": None if outcome.error is None else unpack(outcome.error)[:2],
        "id": outcome.id.hex(),
        "name": outcome.name,
        "state": outcome.state,
    }


def task_of(view: TaskView) -> Task:
    """The task as users see it."""
    args, kwargs = unpack(view.payload) if view.payload else ((), {})
    return Task(
        id=view.id.hex(),
        name=view.name,
        args=tuple(args),
        kwargs=kwargs,
        queue=view.queue,
        partition=view.partition,
        priority=view.priority,
        tags=tuple(view.tags),
        title=view.title,
        state=TaskState(view.state),
        reason=view.reason,
        attempt=view.attempt,
        interruptions=view.interruptions,
        progress=view.progress,
        result=None if view.result is None else unpack(view.result),
        error=task_error(view.error),
        parent=None if view.parent is None else view.parent.hex(),
        workflow=None if view.workflow is None else view.workflow.hex(),
        waits=view.waits,
        created_at=_utc(view.created),
        due_at=_utc(view.created if view.due is None else view.due),
        started_at=None if view.started is None else _utc(view.started),
        finished_at=None if view.finished is None else _utc(view.finished),
        updated_at=_utc(view.updated),
        history=_history(view.history),
        options=_options(view),
    )


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def task_error(packed: bytes | None) -> TaskError | None:
    """What a run ended with, from [type, message, traceback, the types it is of, details]; the last two may be missing."""
    parts: list[Any] | None = None if packed is None else unpack(packed)
    if parts is None:
        return None
    type, message, traceback = (str(part) for part in [*parts[:3], "", "", ""][:3])
    return TaskError(type, message, traceback, parts[_DETAILS] if len(parts) > _DETAILS else None)


def log_line_of(line: verbs.LogLine) -> LogLine:
    """A line of a log as users see it."""
    return LogLine(
        time=_utc(line.time),
        stream=line.stream,
        level=line.level,
        text=line.text,
        fields=line.fields or {},
        run=line.run,
        number=line.number,
        dropped=line.dropped,
    )


def _options(view: TaskView) -> dict[str, Any]:
    if not view.history:  # a list leaves out what is long, the options too
        return {}
    options = msgspec.structs.asdict(Options.unpack(view.options))
    named = {name: value for name, value in options.items() if name not in _FIELDS}
    expires = None if view.expires is None else _utc(view.expires)
    return {**named, "expires": expires, "idempotency_key": view.key}


def _history(packed: bytes) -> tuple[HistoryEntry, ...]:
    return tuple(_entries.decode(packed)) if packed else ()


_DETAILS: Final = 4
"""Where they stand in a packed error."""
_FIELDS: Final = frozenset(("queue", "partition", "priority", "tags", "title", "delay", "eta", "max_concurrency"))
"""Options that a task tells by a field, its times among them, or that are a handler's as a whole."""
_entries = msgspec.msgpack.Decoder(list[HistoryEntry])
