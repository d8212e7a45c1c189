"""Hooks: what a handler's app does when a task of it has succeeded, is to be retried, or has failed for good.

A hook of handler NAME is a handler too, 'NAME:on_success': so children find it, and tell the queue server that it is there.
The queue server makes a task of it in the commit that it is about. Here is what stands between: its arguments are two packed
values, the task's columns and what the run gave, and the hook gets what users know, a `Task` and a result or an error.

Every child imports this file, so what only a hook needs is imported where it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from otpq.context import takes_context
from otpq.errors import UsageError
from otpq.task import HOOKS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from otpq.task import Task
    from otpq.wire.verbs import TaskView

__all__ = ["check_hook", "hook_name", "is_hook_name", "runner_of"]

_CO_COROUTINE: Final = 0x80  # as in app.py


def hook_name(name: str, kind: str) -> str:
    """The name of a handler's hook."""
    return f"{name}:{kind}"


def is_hook_name(name: str) -> bool:
    """Whether no other handler may have this name."""
    return name.rpartition(":")[2] in HOOKS and ":" in name


def check_hook(kind: str, hook: Callable[..., Any]) -> None:
    """Return if this can be called as a hook.

    Raises:
        UsageError: It cannot be called, or wants a context.
    """
    value = "result" if kind == "on_success" else "error"
    if not callable(hook):
        raise UsageError(f"a hook is a function that takes (task, {value}), got {hook!r}")
    if takes_context(hook):
        raise UsageError(f"a hook takes (task, {value}) and no context of its own; otpq.current() gives it")


def runner_of(kind: str, hook: Callable[..., Any]) -> Callable[..., Any]:
    """The function that runs a hook on what the queue server sends: (packed columns, packed value)."""
    read = _result if kind == "on_success" else _error
    code = getattr(hook, "__code__", None)

    async def run_async(row: Any, value: Any) -> None:
        await hook(_task(row), read(value))

    def run(row: Any, value: Any) -> None:
        hook(_task(row), read(value))

    runner = run_async if code is not None and code.co_flags & _CO_COROUTINE else run
    # Not `functools.wraps`: a child looks through a wrapper for the parameters of its arguments, and these have others.
    for part in ("__module__", "__name__", "__qualname__", "__doc__"):
        setattr(runner, part, getattr(hook, part, getattr(runner, part)))
    return runner


def _task(row: bytes) -> Task:
    from otpq.client.views import task_of
    from otpq.wire.values import unpack

    return task_of(_view(unpack(row)))


def _view(columns: Mapping[str, Any]) -> TaskView:
    from otpq.wire.verbs import TaskView

    known = {name: value for name, value in columns.items() if name in TaskView.__struct_fields__}
    finished = columns.get("finished")
    return TaskView(
        **{
            **known,
            "tags": [tag for tag in (columns.get("tags") or "").split(",") if tag],
            "updated": columns["created"] if finished is None else finished,
        }
    )


def _result(packed: bytes | None) -> Any:
    from otpq.wire.values import unpack

    return None if packed is None else unpack(packed)


def _error(packed: bytes | None) -> Any:
    from otpq.client.views import task_error

    return task_error(packed)
