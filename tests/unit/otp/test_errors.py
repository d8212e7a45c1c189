from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from otpq.otp import (
    AlreadyStarted,
    BadReturn,
    BadSpec,
    CallFailed,
    CallTimeout,
    ChildError,
    Crash,
    Failure,
    MailboxFull,
    NameTaken,
    NoProc,
    NoSuchProcess,
    NotRegistered,
    OtpError,
    ProcessExit,
    Shutdown,
    StartFailed,
    StartIgnored,
    TimedOut,
    UsageError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.otp.process import Process

CODES = (
    "not_found",
    "running",
    "restarting",
    "already_present",
    "already_started",
    "max_children",
    "simple_one_for_one",
)


@pytest.mark.parametrize(
    "error", [UsageError, BadSpec, BadReturn, NameTaken, NotRegistered, CallFailed, CallTimeout, StartFailed]
)
def test_the_errors_are_one_family(error: type[Exception]) -> None:
    assert issubclass(error, OtpError)


@pytest.mark.parametrize("error", [AlreadyStarted, StartIgnored, ChildError, MailboxFull, NoSuchProcess])
def test_the_errors_of_starting_and_of_supervisors_belong_to_it_too(error: type[Exception]) -> None:
    assert issubclass(error, OtpError)


def test_the_errors_are_also_what_python_calls_them() -> None:
    assert issubclass(UsageError, ValueError)
    assert issubclass(BadReturn, TypeError)
    assert issubclass(CallTimeout, TimeoutError)


def test_process_exit_slips_through_except_exception() -> None:
    assert not issubclass(ProcessExit, Exception)
    assert ProcessExit(Shutdown("x")).reason == Shutdown("x")


def test_a_bad_spec_names_the_field_the_value_and_what_is_allowed() -> None:
    error = BadSpec("restart", "always", "one of 'permanent'")
    assert str(error) == "restart='always' is not allowed: one of 'permanent'"
    assert (error.field, error.value, error.allowed) == ("restart", "always", "one of 'permanent'")


def test_a_bad_return_names_the_callback_the_value_and_what_it_may_return() -> None:
    error = BadReturn("handle_call", 7, "Reply(value)")
    assert str(error) == "handle_call returned 7; it may return Reply(value)"
    assert (error.callback, error.value) == ("handle_call", 7)


def test_a_taken_name_says_who_holds_it(make: Callable[..., Process]) -> None:
    pid = make("till").pid
    error = NameTaken("shop", pid)
    assert str(error) == f"the name 'shop' is held by {pid!r}"
    assert (error.name, error.pid) == ("shop", pid)


def test_an_unknown_name_is_named() -> None:
    error = NotRegistered("shop")
    assert str(error) == "no process is registered as 'shop'"
    assert error.name == "shop"


def test_a_dead_process_is_named(make: Callable[..., Process]) -> None:
    pid = make("till").pid
    error = NoSuchProcess(pid)
    assert str(error) == f"{pid!r} is dead"
    assert error.pid is pid


def test_a_failed_call_says_whom_it_was_to_and_why(make: Callable[..., Process]) -> None:
    pid = make("till").pid
    assert str(CallFailed(pid, NoProc())) == f"call to {pid!r} failed: NoProc()"
    assert str(CallFailed("shop", Crash(KeyError("x")))) == "call to shop failed: KeyError: 'x'"
    assert CallFailed(pid, Failure(1)).server is pid


def test_a_call_timeout_says_how_long_it_waited() -> None:
    error = CallTimeout("shop", 1.5)
    assert str(error) == "call to shop was not answered within 1.5 s"
    assert error.reason == TimedOut()


def test_a_failed_start_says_what_did_not_start_and_why() -> None:
    error = StartFailed("Till", Failure("empty"))
    assert str(error) == "Till did not start: Failure(detail='empty')"
    assert error.reason == Failure("empty")


def test_already_started_says_who_holds_the_name(make: Callable[..., Process]) -> None:
    pid = make("till").pid
    error = AlreadyStarted("Till", "till", pid)
    assert str(error) == f"Till did not start: the name 'till' is held by {pid!r}"
    assert error.pid is pid
    assert error.reason == Failure(("already_started", pid))


@pytest.mark.parametrize("code", CODES)
def test_every_refusal_of_a_supervisor_has_its_words(code: str) -> None:
    error = ChildError(code, "till")
    assert (error.code, error.id, error.pid) == (code, "till", None)
    what = "till children: " if code == "max_children" else "child till: "
    assert str(error).startswith(what)
    assert len(str(error)) > len(what)


def test_a_refusal_names_the_process_that_runs_already(make: Callable[..., Process]) -> None:
    pid = make("till").pid
    assert str(ChildError("already_started", "till", pid)) == f"child till: it is running already as {pid!r}"


def test_a_full_mailbox_names_its_owner_and_its_limit(make: Callable[..., Process]) -> None:
    pid = make("till").pid
    error = MailboxFull(pid, 3)
    assert str(error) == f"the mailbox of {pid!r} is full (3 messages)"
    assert (error.pid, error.limit) == (pid, 3)
