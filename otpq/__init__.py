"""otpq: a distributed task queue for Python, built the way Erlang/OTP builds systems.

The public names. Each is imported when it is first used, so that `import otpq` costs next to nothing: every child pays it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from otpq.app import App as App
    from otpq.app import AsyncHandler as AsyncHandler
    from otpq.app import Handler as Handler
    from otpq.client.aio import AsyncClient as AsyncClient
    from otpq.client.aio import connect_async as connect_async
    from otpq.client.calls import Call as Call
    from otpq.client.client import Client as Client
    from otpq.client.client import connect as connect
    from otpq.client.errors import CookieRefused as CookieRefused
    from otpq.client.errors import NodeUnreachable as NodeUnreachable
    from otpq.client.errors import NotAnswered as NotAnswered
    from otpq.client.errors import QueryFailed as QueryFailed
    from otpq.client.errors import QueueFull as QueueFull
    from otpq.client.errors import StoreFull as StoreFull
    from otpq.client.errors import StoreUnavailable as StoreUnavailable
    from otpq.client.errors import SubmissionRefused as SubmissionRefused
    from otpq.client.errors import TaskCancelled as TaskCancelled
    from otpq.client.errors import TaskExpired as TaskExpired
    from otpq.client.errors import TaskFailed as TaskFailed
    from otpq.client.errors import TaskNotFound as TaskNotFound
    from otpq.client.errors import UnknownHandler as UnknownHandler
    from otpq.client.errors import UnknownHandlerWarning as UnknownHandlerWarning
    from otpq.client.errors import WaitTimeout as WaitTimeout
    from otpq.client.events import Event as Event
    from otpq.client.flow_handle import AsyncWorkflowHandle as AsyncWorkflowHandle
    from otpq.client.flow_handle import WorkflowHandle as WorkflowHandle
    from otpq.client.flow_views import WorkflowStatus as WorkflowStatus
    from otpq.client.handle import AsyncTaskHandle as AsyncTaskHandle
    from otpq.client.handle import TaskHandle as TaskHandle
    from otpq.client.program import submit_task as submit_task
    from otpq.client.questions import Selector as Selector
    from otpq.client.schedules import Schedule as Schedule
    from otpq.client.workflows import Workflow as Workflow
    from otpq.client.workflows import chain as chain
    from otpq.client.workflows import chord as chord
    from otpq.client.workflows import group as group
    from otpq.context import Context as Context
    from otpq.context import current as current
    from otpq.embedded import Node as Node
    from otpq.embedded import NodeNotStarted as NodeNotStarted
    from otpq.embedded import start as start
    from otpq.endings import Cancel as Cancel
    from otpq.endings import Discard as Discard
    from otpq.endings import Retry as Retry
    from otpq.endings import Snooze as Snooze
    from otpq.endings import SoftTimeout as SoftTimeout
    from otpq.errors import BadOption as BadOption
    from otpq.errors import OtpqError as OtpqError
    from otpq.errors import StoreError as StoreError
    from otpq.errors import Unavailable as Unavailable
    from otpq.errors import UnknownOption as UnknownOption
    from otpq.errors import UsageError as UsageError
    from otpq.task import LogLine as LogLine
    from otpq.task import Reason as Reason
    from otpq.task import Task as Task
    from otpq.task import TaskError as TaskError
    from otpq.task import TaskState as TaskState

__all__ = [
    "App",
    "AsyncClient",
    "AsyncHandler",
    "AsyncTaskHandle",
    "AsyncWorkflowHandle",
    "BadOption",
    "Call",
    "Cancel",
    "Client",
    "Context",
    "CookieRefused",
    "Discard",
    "Event",
    "Handler",
    "LogLine",
    "Node",
    "NodeNotStarted",
    "NodeUnreachable",
    "NotAnswered",
    "OtpqError",
    "QueryFailed",
    "QueueFull",
    "Reason",
    "Retry",
    "Schedule",
    "Selector",
    "Snooze",
    "SoftTimeout",
    "StoreError",
    "StoreFull",
    "StoreUnavailable",
    "SubmissionRefused",
    "Task",
    "TaskCancelled",
    "TaskError",
    "TaskExpired",
    "TaskFailed",
    "TaskHandle",
    "TaskNotFound",
    "TaskState",
    "Unavailable",
    "UnknownHandler",
    "UnknownHandlerWarning",
    "UnknownOption",
    "UsageError",
    "WaitTimeout",
    "Workflow",
    "WorkflowHandle",
    "WorkflowStatus",
    "chain",
    "chord",
    "connect",
    "connect_async",
    "current",
    "group",
    "start",
    "submit_task",
]

_NAMES = {
    "otpq.app": ("App", "AsyncHandler", "Handler"),
    "otpq.client.aio": ("AsyncClient", "connect_async"),
    "otpq.client.calls": ("Call",),
    "otpq.client.client": ("Client", "connect"),
    "otpq.client.errors": (
        "CookieRefused",
        "NodeUnreachable",
        "NotAnswered",
        "QueryFailed",
        "QueueFull",
        "StoreFull",
        "StoreUnavailable",
        "SubmissionRefused",
        "TaskCancelled",
        "TaskExpired",
        "TaskFailed",
        "TaskNotFound",
        "UnknownHandler",
        "UnknownHandlerWarning",
        "WaitTimeout",
    ),
    "otpq.client.events": ("Event",),
    "otpq.client.flow_handle": ("AsyncWorkflowHandle", "WorkflowHandle"),
    "otpq.client.flow_views": ("WorkflowStatus",),
    "otpq.client.handle": ("AsyncTaskHandle", "TaskHandle"),
    "otpq.client.questions": ("Selector",),
    "otpq.client.schedules": ("Schedule",),
    "otpq.client.workflows": ("Workflow", "chain", "chord", "group"),
    "otpq.context": ("Context", "current"),
    "otpq.endings": ("Cancel", "Discard", "Retry", "Snooze", "SoftTimeout"),
    "otpq.errors": ("BadOption", "OtpqError", "StoreError", "Unavailable", "UnknownOption", "UsageError"),
    "otpq.client.program": ("submit_task",),
    "otpq.embedded": ("Node", "NodeNotStarted", "start"),
    "otpq.task": ("LogLine", "Reason", "Task", "TaskError", "TaskState"),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'otpq' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value  # the next time, this function is not called
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
