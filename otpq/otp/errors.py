"""What this package raises. Every error names what was wrong and what would be right.

`OtpError` is the root; below it stand `UsageError` (the code that called is wrong), `CallFailed` (the other process did
not answer), `StartFailed` (a process did not come up), `ChildError` (a supervisor refused) and `MailboxFull`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from otpq.otp.reasons import Crash, Failure, Reason, TimedOut

if TYPE_CHECKING:
    from otpq.otp.pid import Pid

__all__ = [
    "AlreadyStarted",
    "BadReturn",
    "BadSpec",
    "CallFailed",
    "CallTimeout",
    "ChildError",
    "MailboxFull",
    "NameTaken",
    "NoSuchProcess",
    "NotRegistered",
    "OtpError",
    "ProcessExit",
    "StartFailed",
    "StartIgnored",
    "UsageError",
]


class OtpError(Exception):
    """The root of all errors of this package."""


class ProcessExit(BaseException):
    """Raise it to end the current process with `reason`; `terminate` runs.

    Also raised in a process that has been declared dead, at its next use of this package. Not an `Exception`, so that
    `except Exception` in a callback does not keep a dead process busy.
    """

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


class UsageError(OtpError, ValueError):
    """The calling code is wrong; the message says how to put it right."""


class BadSpec(UsageError):
    """A child spec or a supervisor option that cannot be right.

    Attributes:
        field: The name of the field or option.
        value: The value given.
        allowed: What is allowed, in words.
    """

    def __init__(self, field: str, value: object, allowed: str) -> None:
        super().__init__(f"{field}={value!r} is not allowed: {allowed}")
        self.field = field
        self.value = value
        self.allowed = allowed


class BadReturn(OtpError, TypeError):
    """A callback returned something that it may not; the server ends with `Crash` of this."""

    def __init__(self, callback: str, value: object, allowed: str) -> None:
        super().__init__(f"{callback} returned {value!r}; it may return {allowed}")
        self.callback = callback
        self.value = value


class NameTaken(UsageError):
    """The name is held by another living process, `pid`."""

    def __init__(self, name: str, pid: Pid) -> None:
        super().__init__(f"the name {name!r} is held by {pid}")
        self.name = name
        self.pid = pid


class NotRegistered(UsageError):
    """Nobody holds the name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no process is registered as {name!r}")
        self.name = name


class NoSuchProcess(OtpError):
    """The process `pid` is dead."""

    def __init__(self, pid: Pid) -> None:
        super().__init__(f"{pid} is dead")
        self.pid = pid


class CallFailed(OtpError):
    """A call got no answer, because of `reason`: `NoProc` (nobody there), or why the server ended meanwhile."""

    def __init__(self, server: object, reason: Reason) -> None:
        super().__init__(f"call to {server} failed: {_words(reason)}")
        self.server = server
        self.reason = reason


class CallTimeout(CallFailed, TimeoutError):
    """A call was not answered within its timeout. The server may still be at work; its late reply is dropped."""

    def __init__(self, server: object, seconds: float) -> None:
        CallFailed.__init__(self, server, TimedOut())
        self.args = (f"call to {server} was not answered within {seconds} s",)


class StartFailed(OtpError):
    """A process ended before it was up, because of `reason`. Where that is a `Crash`, its error is the `__cause__`."""

    def __init__(self, what: str, reason: Reason) -> None:
        super().__init__(f"{what} did not start: {_words(reason)}")
        self.reason = reason


class AlreadyStarted(StartFailed):
    """The name that the new process was to have is held by `pid`."""

    def __init__(self, what: str, name: str, pid: Pid) -> None:
        super().__init__(what, Failure(("already_started", pid)))
        self.args = (f"{what} did not start: the name {name!r} is held by {pid}",)
        self.pid = pid


class StartIgnored(OtpError):
    """`init` answered `Ignore`: there is no process, and that is as it should be."""


class ChildError(OtpError):
    """A supervisor refused what was asked about the child `id`.

    Attributes:
        code: `not_found`, `running`, `restarting`, `already_present`, `already_started`, `max_children` or
            `simple_one_for_one` (a DynamicSupervisor has no children by id).
        id: The child's id, or its pid; for `max_children` the limit.
        pid: Its process where the code is `already_started`.
    """

    def __init__(self, code: str, id: object, pid: Pid | None = None) -> None:
        what = f"{id} children" if code == "max_children" else f"child {id}"
        super().__init__(f"{what}: {_CHILD_ERRORS[code]}" + (f" as {pid}" if pid else ""))
        self.code = code
        self.id = id
        self.pid = pid


class MailboxFull(OtpError):
    """The mailbox of `pid` holds its `limit` of messages: the sender is to wait, shed or fail, but knowingly."""

    def __init__(self, pid: Pid, limit: int) -> None:
        super().__init__(f"the mailbox of {pid} is full ({limit} messages)")
        self.pid = pid
        self.limit = limit


def check_reason(reason: object) -> Reason:
    """`reason`, if it is one.

    Raises:
        UsageError: It is something else.
    """
    if not isinstance(reason, Reason):
        raise UsageError(f"reason={reason!r} is not allowed: a Reason, such as Shutdown() or Failure({reason!r})")
    return reason


_CHILD_ERRORS = {
    "not_found": "this supervisor has no such child",
    "running": "it is running; terminate_child first",
    "restarting": "a restart of it is under way",
    "already_present": "its spec is here already, not running; restart_child starts it, delete_child removes it",
    "already_started": "it is running already",
    "max_children": "that is max_children, and there is no room for another",
    "simple_one_for_one": "a DynamicSupervisor knows its children by pid, and starts them from its one template",
}


def _words(reason: Reason) -> str:
    return str(reason) if isinstance(reason, Crash) else repr(reason)
