"""What a client raises, apart from what stands in `otpq.errors`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otpq.errors import OtpqError, StoreError, Unavailable, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from otpq.task import TaskError
    from otpq.wire.messages import Failed, Refusal

__all__ = [
    "ClientClosed",
    "CookieRefused",
    "NodeUnreachable",
    "NotAnswered",
    "NotSucceeded",
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
    "VersionRefused",
    "WaitTimeout",
    "WrongNode",
]


class SubmitError:
    """What all errors of submitting have."""

    handles: Sequence[Any] = ()
    """Of `submit_many`: the handles of the tasks that were accepted all the same, in order."""


# ------------------------------------------------------------ the node


class NodeUnreachable(SubmitError, Unavailable):
    """No connection to the node, so nothing was answered.

    Attributes:
        address: Where it was sought.
        cause: Why it was not found, in words.
    """

    def __init__(self, address: str, cause: str, seconds: float | None = None) -> None:
        tried = "" if seconds is None else f" within {seconds:g} s"
        super().__init__(f"no node was reached at {address}{tried}: {cause}")
        self.address = address
        self.cause = cause


class CookieRefused(NodeUnreachable):
    """The node belongs to another cluster: its cookie is not the one used here."""

    def __init__(self, address: str, cookie_file: str) -> None:
        NodeUnreachable.__init__(
            self,
            address,
            f"the cookie is refused; {cookie_file} is not the cookie of that node's cluster. "
            f"Copy the cookie file of a node of the cluster, or name it with OTPQ_COOKIE_FILE",
        )
        self.cookie_file = cookie_file


class WrongNode(NodeUnreachable):
    """Another node listens at that address."""


class VersionRefused(NodeUnreachable):
    """The node speaks no version of the protocol that this client speaks; one of the two needs an update."""


class NotAnswered(SubmitError, Unavailable, TimeoutError):
    """The node is connected, and did not answer in time. What was asked for may still happen."""

    def __init__(self, what: str, address: str, seconds: float) -> None:
        super().__init__(f"{what} was not answered by {address} within {seconds:g} s; it may still be done")
        self.address = address


class ClientClosed(SubmitError, UsageError):
    """The client was closed, before or while it was asked."""

    def __init__(self) -> None:
        super().__init__("this client is closed; connect() makes a new one")


# ------------------------------------------------------------ submitting


class SubmissionRefused(SubmitError, UsageError):
    """The queue server did not accept the task; nothing was stored.

    Attributes:
        code: Why, as one word.
        field: Which part of the task is wrong; empty if none.
    """

    def __init__(self, code: str, message: str, field: str = "") -> None:
        super().__init__(f"the task was refused: {field + ': ' if field else ''}{message}")
        self.code = code
        self.field = field


class UnknownHandler(SubmissionRefused):
    """No node has ever told of a handler of this name, and the task was to be accepted only then (`strict`)."""


class UnknownHandlerWarning(UserWarning):
    """A task was accepted whose handler nobody knows. It waits until a node comes that has it."""


class QueueFull(SubmitError, Unavailable):
    """The queue has as many tasks as its `max_size` allows; nothing was stored.

    Attributes:
        queue: Its name.
        size: How many tasks it may have.
    """

    def __init__(self, message: str, queue: str, size: int) -> None:
        super().__init__(message)
        self.queue = queue
        self.size = size


class StoreFull(SubmitError, StoreError):
    """The store has no room left on its disk; nothing was stored. Reading still works."""


class StoreUnavailable(SubmitError, StoreError):
    """The store cannot be written by the queue server, or is damaged; the message says why. Nothing was stored."""


# ------------------------------------------------------------ asking


class TaskNotFound(UsageError):
    """There is no task with this id: there never was, or it has been deleted since."""

    def __init__(self, id: str) -> None:
        super().__init__(f"there is no task {id!r}")
        self.id = id


class QueryFailed(OtpqError):
    """The queue server refused a question or an order.

    Attributes:
        code: Why, as one word.
        field: Which part of it is wrong; empty if none.
        facts: Values behind the code, by name.
    """

    def __init__(self, code: str, message: str, field: str = "", facts: Mapping[str, Any] | None = None) -> None:
        super().__init__(f"{field + ': ' if field else ''}{message}")
        self.code = code
        self.field = field
        self.facts = facts or {}


class WaitTimeout(OtpqError, TimeoutError):
    """Tasks had not ended in time; they go on.

    Attributes:
        pending: The handles of those that had not ended.
    """

    def __init__(self, pending: Sequence[Any], seconds: float) -> None:
        what = f"task {pending[0].id}" if len(pending) == 1 else f"{len(pending)} tasks"
        super().__init__(f"{what} had not ended after {seconds:g} s")
        self.pending = pending


# ------------------------------------------------------------ ends of tasks


class NotSucceeded(OtpqError):
    """The task ended without a result.

    Attributes:
        id: The task's id.
    """

    def __init__(self, id: str, message: str) -> None:
        super().__init__(message)
        self.id = id


class TaskFailed(NotSucceeded):
    """The task failed for good.

    Attributes:
        reason: error, timeout, crashed, memory or lost.
        error: Type, message and traceback as the child saw them; None where no handler raised.
    """

    def __init__(self, id: str, name: str, reason: str | None, error: TaskError | None) -> None:
        text = f"task {id} ({name}) failed" + (f": {reason}" if reason else "")
        if error is not None:
            text += f": {error.type}: {error.message}"
            if error.traceback:
                text += f"\n\nIn the child:\n{error.traceback.rstrip()}"
        super().__init__(id, text)
        self.reason = reason
        self.error = error


class TaskCancelled(NotSucceeded):
    """The task was cancelled."""

    def __init__(self, id: str) -> None:
        super().__init__(id, f"task {id} was cancelled")


class TaskExpired(NotSucceeded):
    """The task had not started when its time was over."""

    def __init__(self, id: str) -> None:
        super().__init__(id, f"task {id} expired before it started")


def refused(refusal: Refusal) -> Exception:
    """The error for a task that the server did not accept."""
    facts = refusal.facts
    match refusal.code:
        case "queue_full":
            size = facts.get("size", 0)
            return QueueFull(refusal.message, str(facts.get("queue", "")), int(size) if size else 0)
        case "store_full":
            return StoreFull(refusal.message)
        case "store_unavailable" | "store_damaged":
            return StoreUnavailable(refusal.message)
        case "unknown_handler":
            return UnknownHandler(refusal.code, refusal.message)
        case _:
            return SubmissionRefused(refusal.code, refusal.message, refusal.field)


def failed(failure: Failed) -> Exception:
    """The error for a query that the server did not answer."""
    match failure.code:
        case "not_found":
            return TaskNotFound(str(failure.facts.get("id", failure.message)))
        case "store_full":
            return StoreFull(failure.message)
        case "store_unavailable" | "store_damaged":
            return StoreUnavailable(failure.message)
        case _:
            return QueryFailed(failure.code, failure.message, failure.field, failure.facts)
