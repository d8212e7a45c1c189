"""The scenarios' terms and this package's values: exit reasons and errors, there and back."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeAlias

from otpq.otp import (
    BadReturn,
    BadSpec,
    Crash,
    FailedToStartChild,
    Failure,
    Kill,
    Killed,
    NoConnection,
    NoProc,
    Normal,
    NoSuchProcess,
    Pid,
    Reason,
    Shutdown,
    TimedOut,
    UsageError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Script", "ScriptedError", "Term", "bad_flag", "bad_spec", "milliseconds", "reason_of", "seconds", "term_of"]

Term: TypeAlias = Any
"""An Erlang term as JSON: an atom is a string, a tuple is a list."""
Script: TypeAlias = dict[str, Any]
"""An object of a scenario: a step, a spec, the behaviour of a process."""

_ATOMS: Mapping[str, Reason] = {
    "normal": Normal(),
    "shutdown": Shutdown(),
    "kill": Kill(),
    "killed": Killed(),
    "noproc": NoProc(),
    "noconnection": NoConnection(),
    "timeout": TimedOut(),
}
_NAMES = {type(reason): atom for atom, reason in _ATOMS.items()}

_FLAGS = {
    "strategy": "strategy",
    "max_restarts": "intensity",
    "max_seconds": "period",
    "auto_shutdown": "auto_shutdown",
}
_FIELDS = {"restart": "restart_type", "type": "child_type", "shutdown": "shutdown", "significant": "significant"}


class ScriptedError(Exception):
    """The exception that a script has a callback raise; it stands for the term `reason`."""

    def __init__(self, reason: Term) -> None:
        super().__init__(reason)
        self.reason = reason


def reason_of(term: Term) -> Reason:
    """The exit reason that `term` says."""
    match term:
        case str() if term in _ATOMS:
            return _ATOMS[term]
        case ["shutdown", detail]:
            return Shutdown(detail)
        case _:
            return Failure(term)


def term_of(value: object, label: Callable[[Pid], str]) -> Term:
    """What a reason, or any value in it, looks like in a trace; `label` names the processes."""
    term: Term = value
    match value:
        case Pid():
            term = label(value)
        case Reason() | FailedToStartChild():
            term = _term_of_reason(value, label)
        case tuple() | list():
            term = [term_of(item, label) for item in value]
        case str() | int() | float() | None:
            pass
        case _:
            term = repr(value)  # nothing that a scenario can name: let it be seen
    return term


def _term_of_reason(reason: Reason | FailedToStartChild, label: Callable[[Pid], str]) -> Term:
    match reason:
        case Failure(detail):
            return term_of(detail, label)
        case Shutdown(detail) if detail is not None:
            return ["shutdown", term_of(detail, label)]
        case FailedToStartChild(id_, cause):
            return ["failed_to_start_child", id_, term_of(cause, label)]
        case Crash(error):
            return _crash(error, label)
        case _:
            return _NAMES[type(reason)]


def _crash(error: BaseException, label: Callable[[Pid], str]) -> Term:
    match error:
        case ScriptedError():
            return ["crash", error.reason]
        case BadReturn():
            return ["bad_return_value", term_of(error.value, label)]
        case UsageError():  # Erlang's word for an argument that cannot be right
            return ["crash", "badarg"]
        case NoSuchProcess():  # of `link`
            return ["crash", "noproc"]
        case _:
            return ["crash", repr(error)]


def bad_flag(bad: BadSpec, sup: Script) -> Term:
    """What OTP says of the supervisor flag that `bad` complains about."""
    flag = _FLAGS[bad.field]
    return [f"invalid_{flag}", sup[flag]]


def bad_spec(bad: BadSpec, child: Script, auto_shutdown: str) -> Term:
    """What OTP says of the child spec that `bad` complains about."""
    if bad.field == "auto_shutdown":
        return ["badarg", auto_shutdown]
    if bad.field == "id":
        return "missing_id" if child.get("no_id") else ["duplicate_child_name", child["id"]]
    if bad.field == "significant" and bad.value is True:
        # Two combinations are bad, and one spec can be both: OTP looks at auto_shutdown first.
        other = ["auto_shutdown", "never"] if auto_shutdown == "never" else ["restart", "permanent"]
        return ["bad_combination", [other, ["significant", True]]]
    return [f"invalid_{_FIELDS[bad.field]}", child[bad.field]]


def seconds(value: Term) -> Any:
    """A time of a scenario (ms or `infinity`) in seconds; what is no time stays as it is, for others to refuse."""
    if value == "infinity":
        return math.inf
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value / 1000 if is_number else value


def milliseconds(value: float | str | None) -> Term:
    """The shutdown time of a spec as a scenario writes it."""
    if value == math.inf:
        return "infinity"
    return round(value * 1000) if isinstance(value, int | float) else value
