"""OTP for Python: processes, GenServer, Supervisor and friends, on Pykka. Knows no task; `docs/otp.md` is the way in."""

from otpq.otp.attach import Attached, attach
from otpq.otp.calls import CALL_TIMEOUT, Caller, call, cast, reply, send_request, stop
from otpq.otp.child_spec import (
    AutoShutdown,
    ChildSpec,
    Restart,
    ShutdownTime,
    Strategy,
    SupervisorFlags,
    check_child_specs,
)
from otpq.otp.children import ChildCounts, ChildInfo
from otpq.otp.clock import TimerRef
from otpq.otp.distribution import Distribution, Signal
from otpq.otp.dynamic_supervisor import DynamicSupervisor
from otpq.otp.errors import (
    AlreadyStarted,
    BadReturn,
    BadSpec,
    CallFailed,
    CallTimeout,
    ChildError,
    MailboxFull,
    NameTaken,
    NoSuchProcess,
    NotRegistered,
    OtpError,
    ProcessExit,
    StartFailed,
    StartIgnored,
    UsageError,
)
from otpq.otp.gen_server import GenServer
from otpq.otp.messages import (
    TIMEOUT,
    Call,
    Cast,
    Continue,
    Down,
    Exit,
    Ignore,
    NodeDown,
    NodeUp,
    NoReply,
    Ok,
    Reply,
    Response,
    Stop,
    Traced,
)
from otpq.otp.pid import MonitorRef, Pid
from otpq.otp.reasons import (
    Crash,
    FailedToStartChild,
    Failure,
    Kill,
    Killed,
    NoConnection,
    NoProc,
    Normal,
    Reason,
    Shutdown,
    TimedOut,
    is_clean,
)
from otpq.otp.registry import Registry
from otpq.otp.seeing import ProcessInfo, TreeNode, info, state, trace, tree, untrace
from otpq.otp.signals import (
    Server,
    cancel_timer,
    demonitor,
    exit,
    is_alive,
    link,
    monitor,
    monitor_nodes,
    node,
    nodes,
    register,
    self_pid,
    send,
    send_after,
    trap_exit,
    unlink,
    unregister,
    whereis,
)
from otpq.otp.supervisor import Supervisor

__all__ = [
    # Servers
    "GenServer", "Caller", "call", "cast", "reply", "stop", "Server", "send_request", "Response", "CALL_TIMEOUT",
    # What callbacks answer, and what they get
    "Ok", "Ignore", "Reply", "NoReply", "Stop", "Continue",
    "TIMEOUT", "Exit", "Down", "Call", "Cast", "Traced",
    # Supervision
    "Supervisor", "DynamicSupervisor", "ChildSpec", "SupervisorFlags", "check_child_specs", "ChildInfo", "ChildCounts",
    "Strategy", "Restart", "ShutdownTime", "AutoShutdown",
    # Processes
    "Pid", "self_pid", "is_alive", "send", "exit", "link", "unlink", "trap_exit", "attach", "Attached",
    "monitor", "demonitor", "MonitorRef", "send_after", "cancel_timer", "TimerRef",
    "Registry", "register", "unregister", "whereis",
    # Other nodes
    "Distribution", "Signal", "node", "nodes", "monitor_nodes", "NodeUp", "NodeDown",
    # Exit reasons
    "Reason", "Normal", "Shutdown", "Kill", "Killed", "NoProc", "NoConnection", "TimedOut", "Failure", "Crash",
    "FailedToStartChild", "is_clean",
    # Seeing
    "info", "ProcessInfo", "state", "trace", "untrace", "tree", "TreeNode",
    # Errors
    "OtpError", "UsageError", "BadSpec", "NameTaken", "NotRegistered", "NoSuchProcess", "CallFailed", "CallTimeout", "StartFailed",
    "AlreadyStarted", "StartIgnored", "ChildError", "MailboxFull", "BadReturn", "ProcessExit",
]  # fmt: skip
