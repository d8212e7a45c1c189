"""What travels between processes, apart from the users' own messages, and what callbacks return.

All are values. `Exit`, `Down` and `TIMEOUT` reach `handle_info`; `Reply`, `NoReply`, `Stop`, `Ignore` and `Ok` are the
whole set of answers that a callback may give.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from otpq.otp.calls import Caller
    from otpq.otp.pid import MonitorRef, Pid
    from otpq.otp.reasons import Reason

__all__ = [
    "TIMEOUT",
    "Action",
    "Call",
    "Cast",
    "Continue",
    "Down",
    "Exit",
    "IdleTimeout",
    "Ignore",
    "NoReply",
    "NodeDown",
    "NodeUp",
    "Ok",
    "Reply",
    "Response",
    "Stop",
    "Traced",
]


@dataclass(slots=True)  # not frozen: made once per message, and freezing would triple the price
class Cast:
    """A message sent by `cast`, as `handle_batch` sees it."""

    request: Any


@dataclass(slots=True)
class Call:
    """A message sent by `call`, as `handle_batch` sees it: `reply(caller, value)` is owed."""

    request: Any
    caller: Caller


@dataclass(frozen=True, slots=True)
class Exit:
    """The exit signal of `pid`, as a message: only a process that traps exits gets it."""

    pid: Pid
    reason: Reason


@dataclass(frozen=True, slots=True)
class Down:
    """The end of a monitored process. Comes once for each `monitor`; `NoProc` if it had ended before."""

    ref: MonitorRef
    pid: Pid | str | tuple[str, str]
    reason: Reason


@dataclass(frozen=True, slots=True)
class NodeUp:
    """A node can be reached from now on (`monitor_nodes`)."""

    node: str


@dataclass(frozen=True, slots=True)
class NodeDown:
    """A node can be reached no more; whoever monitored a process there gets a `Down` of each, with `NoConnection`."""

    node: str


@dataclass(frozen=True, slots=True)
class Response:
    """The answer to a `send_request`, under the label that it was given."""

    label: object
    value: Any = None
    reason: Reason | None = None
    """Why there is no answer: the server's exit reason, `NoProc` or `NoConnection`; None: `value` is the answer."""


class IdleTimeout(Enum):
    """The type of `TIMEOUT`."""

    TIMEOUT = "timeout"


TIMEOUT: Final = IdleTimeout.TIMEOUT
"""What `handle_info` gets when no message came within the timeout that a callback returned."""


@dataclass(frozen=True, slots=True)
class Continue:
    """Run `handle_continue(arg)` next, before any message, also one that waits already."""

    arg: object = None


Action: TypeAlias = float | Continue | None
"""What to do after a callback: a number is an idle timeout in seconds (0 fires if nothing waits)."""


@dataclass(frozen=True, slots=True)
class Ok:
    """Answer of `init`: started, then `action`. `None` means the same without an action."""

    action: Action = None


@dataclass(frozen=True, slots=True)
class Ignore:
    """Answer of `init`: not wanted here. The starter gets `StartIgnored`; a supervisor goes on without the child."""


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer of `handle_call`: send `value` to the caller and go on."""

    value: object = None
    action: Action = None


@dataclass(frozen=True, slots=True)
class NoReply:
    """Answer of every callback but `init`: go on. After a call, `reply(caller, value)` is owed later."""

    action: Action = None


@dataclass(frozen=True, slots=True)
class Traced:
    """One message that a traced process handled (`receive`) or sent (`send`, `cast`, `call`, `reply`)."""

    time: float
    """Seconds since the epoch."""
    pid: Pid
    kind: str
    message: object
    peer: Pid | None
    """To whom it was sent; None for a message received."""


class _Unset(Enum):
    UNSET = "unset"


@dataclass(frozen=True, slots=True)
class Stop:
    """Answer of every callback: run `terminate`, then end with `reason`; `reply` (of a call) is sent between the two."""

    reason: Reason
    reply: object | Literal[_Unset.UNSET] = _Unset.UNSET

    @property
    def has_reply(self) -> bool:
        """Whether a reply was given (None is one)."""
        return self.reply is not _Unset.UNSET
