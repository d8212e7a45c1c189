"""The loop of a GenServer, run to its end on the test's own thread over a mailbox that was filled before."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, Any

import pykka
import pytest

from otpq import otp
from otpq.otp import (
    TIMEOUT,
    BadReturn,
    Call,
    Caller,
    Cast,
    Continue,
    Crash,
    Down,
    Exit,
    Failure,
    GenServer,
    Ignore,
    MonitorRef,
    NoProc,
    NoReply,
    Normal,
    Ok,
    ProcessExit,
    Reason,
    Registry,
    Reply,
    Shutdown,
    StartFailed,
    StartIgnored,
    Stop,
    UsageError,
    attach,
)
from otpq.otp.calls import StopRequest
from otpq.otp.process import WAKE, Ended, Process, current, enter, leave
from otpq.otp.server_loop import BATCH, Inspect

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.otp import Pid

LOGGED: list[Any] = []
"""What the callbacks of this test's server were called with, in order."""


def answer_to(message: Any) -> Any:
    """A message that is callable says what the callback does with it."""
    return message() if callable(message) else None


class Scripted(GenServer):
    """Logs its callbacks; each answers what its argument tells it to."""

    def init(self, answer: Any = None) -> Any:
        LOGGED.append("init")
        return answer_to(answer) if callable(answer) else answer

    def handle_call(self, request: Any, caller: Caller) -> Any:  # noqa: ARG002 - GenServer's signature
        LOGGED.append(("call", request))
        answer = answer_to(request)
        return Reply(request) if answer is None else answer

    def handle_cast(self, request: Any) -> Any:
        LOGGED.append(("cast", request))
        return answer_to(request)

    def handle_info(self, message: Any) -> Any:
        LOGGED.append(("info", message))
        return answer_to(message)

    def handle_continue(self, arg: Any) -> Any:
        LOGGED.append(("continue", arg))
        return answer_to(arg)

    def terminate(self, reason: Reason) -> None:
        LOGGED.append(("terminate", reason))


class Batching(Scripted):
    def handle_batch(self, messages: list[Any]) -> Any:
        LOGGED.append(("batch", messages))
        answers = [answer_to(getattr(message, "request", message)) for message in messages]
        return next((answer for answer in answers if answer is not None), None)


class Saying:
    """A request that says what the callback is to answer, or to raise."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def __call__(self) -> Any:
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


@pytest.fixture(autouse=True)
def log() -> list[Any]:
    LOGGED.clear()
    return LOGGED


@pytest.fixture
def stale() -> Down:
    """The `Down` of a monitor that was taken back while it was on its way."""
    with attach():
        ref = otp.monitor("gone")
        otp.demonitor(ref)
    return Down(ref, "gone", NoProc())


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, registry: Registry) -> Callable[..., Pid]:
    """Start a server whose loop runs inside `start`, over `mailbox` and a request to stop."""
    mail: list[Any] = []

    def run_here(process: Process) -> None:
        for item in mail:
            process.put(item)
        process.put(StopRequest(Normal()))
        name, before = threading.current_thread().name, current()
        try:
            process._actor_loop()
        finally:
            threading.current_thread().name = name
            leave()
            if before is not None:
                enter(before)

    monkeypatch.setattr(Process, "_start_actor_loop", run_here)

    def run(server: type[GenServer], *args: Any, mailbox: list[Any] | None = None, link: bool = False) -> Pid:
        mail[:] = mailbox or []
        return server.start_link(*args) if link else server.start(*args, registry=registry)

    return run


@pytest.fixture
def asked(make: Callable[..., Process]) -> Callable[[Any], Call]:
    """A call whose answer can be looked at in its caller's future."""

    def asked(request: Any) -> Call:
        server = make("asked")
        caller = Caller(server, None)
        server.add_caller(caller.future)
        return Call(request, caller)

    return asked


def answered(call: Call) -> bool:
    try:
        call.caller.future.get(timeout=0)
    except pykka.Timeout:
        return False
    return True


# --- messages ----------------------------------------------------------------------------------------------------------


def test_each_kind_of_message_has_its_callback_and_all_come_in_order(
    run: Callable[..., Pid], asked: Callable[[Any], Call], log: list[Any]
) -> None:
    call = asked("price?")
    pid = run(Scripted, mailbox=[Cast("a"), call, "b", Cast("c")])
    assert log == ["init", ("cast", "a"), ("call", "price?"), ("info", "b"), ("cast", "c"), ("terminate", Normal())]
    assert call.caller.future.get(timeout=0) == "price?"
    assert otp.info(pid).exit_reason == Normal()


def test_wake_ups_and_stale_downs_are_not_messages(run: Callable[..., Pid], stale: Down, log: list[Any]) -> None:
    run(Scripted, mailbox=[WAKE, stale, "a"])
    assert log == ["init", ("info", "a"), ("terminate", Normal())]


def test_the_exit_of_a_stranger_is_a_message(
    run: Callable[..., Pid], make: Callable[..., Process], log: list[Any]
) -> None:
    signal = Exit(make().pid, Failure("boom"))
    run(Scripted, mailbox=[signal])
    assert log == ["init", ("info", signal), ("terminate", Normal())]


def test_the_exit_of_the_parent_ends_the_server_after_terminate(run: Callable[..., Pid], log: list[Any]) -> None:
    with attach(trap_exit=True) as me:
        pid = run(Scripted, mailbox=[Exit(me.pid, Failure("boom")), "never seen"], link=True)
        assert log == ["init", ("terminate", Failure("boom"))]
        assert me.receive(0) == Exit(pid, Failure("boom"))


def test_a_server_without_the_callback_ends_and_says_which_is_missing(
    run: Callable[..., Pid], asked: Callable[[Any], Call]
) -> None:
    for message, words in [
        (asked("price?"), "Mute has no handle_call, and was called with 'price?' by Caller(None)"),
        (Cast("price!"), "Mute has no handle_cast, and got 'price!'"),
        (TIMEOUT, "Mute has no handle_continue, and got 'price'"),
    ]:

        class Mute(GenServer):
            def handle_info(self, message: Any) -> NoReply:  # noqa: ARG002 - GenServer's signature
                return NoReply(Continue("price"))

        reason = otp.info(run(Mute, mailbox=[message])).exit_reason
        assert isinstance(reason, Crash)
        assert isinstance(reason.error, UsageError)
        assert str(reason.error) == words


def test_a_server_without_handle_info_drops_messages_with_a_word(
    run: Callable[..., Pid], caplog: pytest.LogCaptureFixture
) -> None:
    class Mute(GenServer):
        pass

    pid = run(Mute, mailbox=["a"])
    assert otp.info(pid).exit_reason == Normal()
    assert caplog.messages == [f"{pid!r} has no handle_info and drops 'a'"]


# --- actions -----------------------------------------------------------------------------------------------------------


def test_continue_comes_before_what_waits_already(run: Callable[..., Pid], log: list[Any]) -> None:
    run(Scripted, Ok(Continue("set up")), mailbox=["a"])
    assert log == ["init", ("continue", "set up"), ("info", "a"), ("terminate", Normal())]


def test_continue_may_follow_every_callback_and_itself(
    run: Callable[..., Pid], asked: Callable[[Any], Call], log: list[Any]
) -> None:
    again = Saying(NoReply(Continue("last")))
    noreply = Saying(NoReply(Continue(again)))
    reply = asked(Saying(Reply(1, Continue("after call"))))
    run(Scripted, mailbox=[Cast(noreply), reply, "a"])
    assert [entry[1] for entry in log if entry[0] == "continue"] == [again, "last", "after call"]
    assert log[-2:] == [("info", "a"), ("terminate", Normal())]
    assert reply.caller.future.get(timeout=0) == 1


def test_an_idle_timeout_of_zero_fires_only_if_nothing_waits(run: Callable[..., Pid], log: list[Any]) -> None:
    run(Scripted, Ok(0), mailbox=["a"])
    assert log == ["init", ("info", "a"), ("terminate", Normal())]


def test_a_message_ends_the_idle_timeout(run: Callable[..., Pid], log: list[Any]) -> None:
    run(Scripted, Ok(math.inf), mailbox=["a"])
    assert ("info", TIMEOUT) not in log


def test_an_inspection_is_answered_as_if_it_had_not_come(run: Callable[..., Pid], log: list[Any]) -> None:
    inspect = Inspect(lambda server: type(server).__name__)
    run(Scripted, Ok(60.0), mailbox=[inspect, "a"])
    assert log == ["init", ("info", "a"), ("terminate", Normal())]


# --- what callbacks may answer -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [7, "ok", Reply(1), Ok(), Ignore(), Continue(1), Stop, (NoReply(),)], ids=repr)
@pytest.mark.parametrize("callback", ["handle_cast", "handle_info", "handle_continue", "handle_batch"])
def test_a_wrong_answer_ends_the_server_and_is_named(
    run: Callable[..., Pid], caplog: pytest.LogCaptureFixture, log: list[Any], callback: str, answer: object
) -> None:
    says = Saying(answer)
    match callback:
        case "handle_cast":
            pid = run(Scripted, mailbox=[Cast(says)])
        case "handle_info":
            pid = run(Scripted, mailbox=[says])
        case "handle_continue":
            pid = run(Scripted, Ok(Continue(says)))
        case _:
            pid = run(Batching, mailbox=[says])
    reason = otp.info(pid).exit_reason
    assert isinstance(reason, Crash)
    assert isinstance(reason.error, BadReturn)
    assert str(reason.error) == f"{callback} returned {answer!r}; it may return None, NoReply() or Stop(reason)"
    assert log[-1] == ("terminate", reason)
    assert f"{pid!r} crashed in {callback}: BadReturn" in caplog.text


@pytest.mark.parametrize("answer", [7, "ok", Ok(), Ignore(), (Reply(1),)], ids=repr)
def test_a_wrong_answer_to_a_call_ends_the_server_and_is_named(
    run: Callable[..., Pid], asked: Callable[[Any], Call], answer: object
) -> None:
    reason = otp.info(run(Scripted, mailbox=[asked(Saying(answer))])).exit_reason
    assert isinstance(reason, Crash)
    assert (
        str(reason.error) == f"handle_call returned {answer!r}; it may return Reply(value), NoReply() or Stop(reason)"
    )


@pytest.mark.parametrize("action", [-1, -0.5, math.nan, "soon", (1,)], ids=repr)
def test_a_wrong_action_ends_the_server_and_is_named(
    run: Callable[..., Pid], asked: Callable[[Any], Call], action: Any
) -> None:
    allowed = "it may return an idle timeout of 0 s or more, or Continue(arg)"
    for callback, pid in [
        ("handle_cast", run(Scripted, mailbox=[Cast(Saying(NoReply(action)))])),
        ("handle_call", run(Scripted, mailbox=[asked(Saying(Reply(1, action)))])),
        ("init", run(Scripted, Ok(action))),
    ]:
        reason = otp.info(pid).exit_reason
        assert isinstance(reason, Crash)
        assert str(reason.error) == f"{callback} returned {action!r}; {allowed}"


def test_true_is_no_idle_timeout(run: Callable[..., Pid]) -> None:
    reason = otp.info(run(Scripted, mailbox=[Cast(Saying(NoReply(action=True)))])).exit_reason
    assert isinstance(reason, Crash)


@pytest.mark.parametrize("reason", ["boom", None, ValueError("x"), Normal])
def test_a_stop_carries_a_reason(run: Callable[..., Pid], reason: Any) -> None:
    ended = otp.info(run(Scripted, mailbox=[Cast(Saying(Stop(reason)))])).exit_reason
    assert isinstance(ended, Crash)
    assert repr(reason) in str(ended.error)


def test_none_is_no_answer_to_a_call(run: Callable[..., Pid], asked: Callable[[Any], Call]) -> None:
    class Silent(GenServer):
        def handle_call(self, request: Any, caller: Caller) -> Any:  # noqa: ARG002 - GenServer's signature
            return None

    reason = otp.info(run(Silent, mailbox=[asked("x")])).exit_reason
    assert isinstance(reason, Crash)
    assert "handle_call returned None; it may return Reply(value)" in str(reason.error)


# --- the start ---------------------------------------------------------------------------------------------------------


def test_an_init_that_ignores_starts_nothing(run: Callable[..., Pid], registry: Registry, log: list[Any]) -> None:
    with pytest.raises(StartIgnored, match="Scripted ignored the start"):
        run(Scripted, Ignore())
    assert log == ["init"]
    assert registry.processes() == []


@pytest.mark.parametrize("reason", [Failure("empty"), Shutdown("later"), Normal()], ids=repr)
def test_an_init_that_stops_is_a_failed_start_with_that_reason(
    run: Callable[..., Pid], registry: Registry, log: list[Any], reason: Reason
) -> None:
    with pytest.raises(StartFailed) as caught:
        run(Scripted, Stop(reason))
    assert caught.value.reason == reason
    assert log == ["init"]
    assert registry.processes() == []


def test_an_init_that_exits_is_a_failed_start_with_that_reason(run: Callable[..., Pid]) -> None:
    with pytest.raises(StartFailed) as caught:
        run(Scripted, Saying(ProcessExit(Failure("own end"))))
    assert caught.value.reason == Failure("own end")


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_an_init_that_raises_is_a_failed_start_with_the_error_as_its_cause(
    run: Callable[..., Pid], error: BaseException
) -> None:
    with pytest.raises(StartFailed) as caught:
        run(Scripted, Saying(error))
    assert caught.value.reason == Crash(error)
    assert caught.value.__cause__ is error


def test_a_usage_error_found_by_init_is_handed_over_as_it_is(run: Callable[..., Pid]) -> None:
    error = UsageError("start=-1 is not allowed: 0 or more")
    with pytest.raises(UsageError) as caught:
        run(Scripted, Saying(error))
    assert caught.value is error


@pytest.mark.parametrize("answer", [7, "ok", Reply(1), NoReply(), True], ids=repr)
def test_a_wrong_answer_of_init_is_a_failed_start(run: Callable[..., Pid], answer: object) -> None:
    with pytest.raises(StartFailed) as caught:
        run(Scripted, answer)
    assert isinstance(caught.value.reason, Crash)
    expected = f"init returned {answer!r}; it may return None, Ok(), Ignore() or Stop(reason)"
    assert str(caught.value.reason.error) == expected


@pytest.mark.parametrize("answer", [Ignore(), Stop(Failure("empty")), Saying(ValueError("x"))], ids=type)
def test_a_failed_start_sends_its_parent_no_exit(run: Callable[..., Pid], answer: object) -> None:
    with attach(trap_exit=True) as me:
        with pytest.raises((StartFailed, StartIgnored)):
            run(Scripted, answer, link=True)
        assert otp.info(me.pid).links == ()
        with pytest.raises(TimeoutError):
            me.receive(0)


# --- the end -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", [Normal(), Shutdown("x"), Failure("boom")], ids=repr)
def test_stop_runs_terminate_with_the_reason(run: Callable[..., Pid], log: list[Any], reason: Reason) -> None:
    pid = run(Scripted, mailbox=[Cast(Saying(Stop(reason))), "never seen"])
    assert log[-1] == ("terminate", reason)
    assert ("info", "never seen") not in log
    assert otp.info(pid).exit_reason == reason


def test_the_reply_of_a_stop_is_sent_after_terminate(run: Callable[..., Pid], asked: Callable[[Any], Call]) -> None:
    call = asked(Saying(Stop(Normal(), "bye")))

    class Seeing(Scripted):
        def terminate(self, reason: Reason) -> None:  # noqa: ARG002 - GenServer's signature
            LOGGED.append(answered(call))

    run(Seeing, mailbox=[call])
    assert LOGGED[-1] is False
    assert call.caller.future.get(timeout=0) == "bye"


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(3), KeyboardInterrupt(), GeneratorExit()], ids=repr)
def test_whatever_a_callback_raises_ends_this_server_with_a_crash(
    run: Callable[..., Pid], log: list[Any], caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    pid = run(Scripted, mailbox=[Cast(Saying(error))])
    assert otp.info(pid).exit_reason == Crash(error)
    assert log[-1] == ("terminate", Crash(error))
    assert f"{pid!r} crashed in handle_cast: {type(error).__name__}" in caplog.text


def test_a_callback_that_exits_ends_the_server_with_that_reason(run: Callable[..., Pid], log: list[Any]) -> None:
    pid = run(Scripted, mailbox=[Cast(Saying(ProcessExit(Shutdown("enough"))))])
    assert otp.info(pid).exit_reason == Shutdown("enough")
    assert log[-1] == ("terminate", Shutdown("enough"))


def test_a_terminate_that_fails_gives_the_reason(run: Callable[..., Pid], caplog: pytest.LogCaptureFixture) -> None:
    error = ValueError("x")

    class Clumsy(Scripted):
        def terminate(self, reason: Reason) -> None:  # noqa: ARG002 - GenServer's signature
            raise error

    pid = run(Clumsy)
    assert otp.info(pid).exit_reason == Crash(error)
    assert f"{pid!r} crashed in terminate: ValueError: x" in caplog.text


def test_a_terminate_that_exits_gives_the_reason(run: Callable[..., Pid]) -> None:
    class Leaving(Scripted):
        def terminate(self, reason: Reason) -> None:  # noqa: ARG002 - GenServer's signature
            raise ProcessExit(Failure("from terminate"))

    assert otp.info(run(Leaving)).exit_reason == Failure("from terminate")


def test_a_clean_end_is_not_logged(run: Callable[..., Pid], caplog: pytest.LogCaptureFixture) -> None:
    run(Scripted, mailbox=[Cast(Saying(Stop(Shutdown("done"))))])
    assert caplog.messages == []


def test_an_abnormal_end_without_an_error_is_logged_in_one_line(
    run: Callable[..., Pid], caplog: pytest.LogCaptureFixture
) -> None:
    pid = run(Scripted, mailbox=[Cast(Saying(Stop(Failure("empty"))))])
    assert caplog.messages == [f"{pid!r} ends: Failure(detail='empty')"]


def test_callers_that_wait_get_the_reason_of_the_end(run: Callable[..., Pid], registry: Registry) -> None:
    callers: list[Caller] = []

    class Late(Scripted):
        def handle_call(self, request: Any, caller: Caller) -> Any:  # noqa: ARG002 - GenServer's signature
            server = self.pid.process
            callers.extend(Caller(server, None) for _ in range(2))
            for waiting in callers:
                server.add_caller(waiting.future)
            return Stop(Failure("boom"), "bye")

    run(Late, mailbox=[Call("x", Caller(Process("client", registry), None))])
    for waiting in callers:
        end = waiting.future.get(timeout=0)
        assert isinstance(end, Ended)
        assert end.reason == Failure("boom")


# --- handle_batch ------------------------------------------------------------------------------------------------------


def test_all_that_waits_comes_as_one_batch_in_order(
    run: Callable[..., Pid], asked: Callable[[Any], Call], log: list[Any]
) -> None:
    call = asked("price?")
    run(Batching, mailbox=[Cast("a"), call, "b"])
    assert log == ["init", ("batch", [Cast("a"), call, "b"]), ("terminate", Normal())]


def test_wake_ups_and_stale_downs_are_in_no_batch(run: Callable[..., Pid], stale: Down, log: list[Any]) -> None:
    down = Down(MonitorRef(None), "gone", NoProc())
    run(Batching, mailbox=["a", WAKE, stale, "b", down, stale, "c"])
    messages = [message for entry in log if entry[0] == "batch" for message in entry[1]]
    assert messages == ["a", "b", down, "c"]


def test_a_batch_stops_before_what_the_loop_itself_handles(run: Callable[..., Pid], log: list[Any]) -> None:
    inspect = Inspect(lambda _server: len(LOGGED))
    with attach(trap_exit=True) as me:
        run(Batching, mailbox=["a", inspect, "b", Exit(me.pid, Shutdown()), "never seen"], link=True)
    assert log == ["init", ("batch", ["a"]), ("batch", ["b"]), ("terminate", Shutdown())]


def test_a_batch_has_its_most(run: Callable[..., Pid], log: list[Any]) -> None:
    run(Batching, mailbox=list(range(BATCH + 5)))
    assert log[1:-1] == [("batch", list(range(BATCH))), ("batch", list(range(BATCH, BATCH + 5)))]


def test_the_idle_timeout_of_a_batching_server_comes_alone(run: Callable[..., Pid], log: list[Any]) -> None:
    class Idle(Batching):
        def init(self, answer: Any = None) -> Any:  # noqa: ARG002 - GenServer's signature
            while not self.pid.process.inbox.empty():
                self.pid.process.inbox.get()
            return Ok(0)

        def handle_info(self, message: Any) -> Any:
            LOGGED.append(("info", message))
            return Stop(Normal())

    run(Idle, mailbox=["lost"])
    assert log == [("info", TIMEOUT), ("terminate", Normal())]


def test_a_batch_that_fails_ends_the_server(run: Callable[..., Pid], log: list[Any]) -> None:
    error = ValueError("x")
    pid = run(Batching, mailbox=["a", Saying(error), "b"])
    assert otp.info(pid).exit_reason == Crash(error)
    assert [entry[0] for entry in log[1:]] == ["batch", "terminate"]
