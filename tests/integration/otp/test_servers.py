"""GenServer as its users meet it: starts, calls, casts, continues, idle timeouts and stops, on real threads."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, Any

import pytest

from otpq import otp
from otpq.otp import (
    TIMEOUT,
    AlreadyStarted,
    CallFailed,
    CallTimeout,
    Continue,
    Crash,
    Exit,
    Failure,
    GenServer,
    Kill,
    Killed,
    MonitorRef,
    NoProc,
    NoReply,
    Normal,
    Ok,
    Registry,
    Reply,
    Shutdown,
    StartFailed,
    StartIgnored,
    Stop,
    TimedOut,
)
from otpq.otp.calls import StopRequest
from otpq.otp.process import Process
from tests.integration.otp.support import (
    HANG,
    Block,
    Boom,
    Puppet,
    answers,
    crash,
    do,
    end_of,
    exit_from,
    next_message,
    nothing_more,
    own,
    terminates_by,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.otp import Attached, Caller, Pid


def in_a_thread(function: Callable[[], Any]) -> Callable[[], Any]:
    """Run `function` on a plain thread; the answer gives what it gave, or the exception that it raised."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(function())
        except BaseException as error:  # noqa: BLE001 - the test's to see
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()

    def result() -> Any:
        thread.join(HANG)
        return outcome[0]

    return result


# --- calls -------------------------------------------------------------------------------------------------------------


def test_a_call_is_answered(me: Attached) -> None:
    pid = Puppet.start_link("till")
    assert otp.call(pid, lambda puppet: Reply(puppet.label)) == "till"
    assert do(pid, lambda puppet: puppet.caller is not None and puppet.caller.pid) is me.pid


def test_a_plain_thread_may_call(registry: Registry) -> None:
    pid = Puppet.start(registry=registry)
    assert do(pid, lambda puppet: puppet.caller is not None and puppet.caller.pid) is None


@pytest.mark.usefixtures("me")
def test_a_server_may_call_another() -> None:
    first, second = Puppet.start_link("first"), Puppet.start_link("second")
    assert do(first, lambda _puppet: do(second, lambda puppet: puppet.label)) == "second"


@pytest.mark.usefixtures("me")
def test_casts_and_messages_of_one_sender_come_in_order() -> None:
    pid = Puppet.start_link()
    for number in range(100):
        otp.cast(pid, lambda puppet, number=number: puppet.log.append(number))
        otp.send(pid, number)
    log = do(pid, lambda puppet: [entry if isinstance(entry, int) else entry[2] for entry in puppet.log[1:]])
    assert log == [number for number in range(100) for _ in range(2)]


def test_a_call_that_is_not_answered_times_out_and_its_late_reply_is_dropped(me: Attached, block: Block) -> None:
    pid = Puppet.start_link()
    with pytest.raises(CallTimeout, match=r"was not answered within 0\.01 s") as caught:
        otp.call(pid, block, timeout=0.01)
    assert caught.value.reason == TimedOut()
    block.release()
    assert answers(pid)
    assert nothing_more(me)


def test_a_crash_in_a_call_is_the_end_of_the_server_and_the_callers_reason(me: Attached) -> None:
    pid = Puppet.start_link()
    error = Boom("no change left")

    def fail(_puppet: Puppet) -> None:
        raise error

    with pytest.raises(CallFailed, match="failed: Boom: no change left") as caught:
        otp.call(pid, fail)
    assert caught.value.reason == Crash(error)
    assert caught.value.__cause__ is error
    assert exit_from(me, pid) == Crash(error)
    assert not otp.is_alive(pid)


@pytest.mark.usefixtures("me")
def test_every_caller_that_waits_gets_the_reason_of_the_end(block: Block) -> None:
    pid = Puppet.start()
    results = [in_a_thread(lambda: otp.call(pid, lambda _puppet: NoReply(), timeout=HANG)) for _ in range(5)]
    otp.cast(pid, block)
    block.wait_entered()
    results += [in_a_thread(lambda: otp.call(pid, "never handled", timeout=HANG)) for _ in range(5)]
    otp.exit(pid, Failure("fire"))
    for result in results:
        error = result()
        assert isinstance(error, CallFailed)
        assert error.reason in (Failure("fire"), NoProc())


@pytest.mark.usefixtures("me")
def test_a_reply_may_come_later_and_from_another_callback() -> None:
    pid = Puppet.start_link()
    callers: list[Caller] = []
    waiting = threading.Event()

    def keep(puppet: Puppet) -> NoReply:
        assert puppet.caller is not None
        callers.append(puppet.caller)
        waiting.set()
        return NoReply()

    result = in_a_thread(lambda: otp.call(pid, keep, timeout=HANG))
    assert waiting.wait(HANG)
    otp.cast(pid, lambda _puppet: otp.reply(callers[0], "later"))
    assert result() == "later"


def test_a_reply_may_come_from_another_process(me: Attached) -> None:
    pid = Puppet.start_link()

    def pass_on(puppet: Puppet) -> NoReply:
        otp.send(me.pid, puppet.caller)
        return NoReply()

    result = in_a_thread(lambda: otp.call(pid, pass_on, timeout=HANG))
    otp.reply(next_message(me, otp.Caller), "from the test")
    assert result() == "from the test"


def test_the_caller_of_a_stop_with_a_reply_gets_it(me: Attached) -> None:
    pid = Puppet.start_link()
    assert otp.call(pid, lambda _puppet: Stop(Shutdown("closing"), "bye")) == "bye"
    assert exit_from(me, pid) == Shutdown("closing")


@pytest.mark.usefixtures("me")
def test_the_caller_of_a_stop_without_a_reply_gets_the_reason() -> None:
    pid = Puppet.start_link()
    with pytest.raises(CallFailed) as caught:
        otp.call(pid, lambda _puppet: Stop(Shutdown("closing")))
    assert caught.value.reason == Shutdown("closing")


@pytest.mark.usefixtures("me")
def test_a_call_does_not_outlast_its_timeout_when_the_linked_take_their_time(
    new_block: Callable[[], Block],
) -> None:
    stuck, slow_release, gave_up = new_block(), new_block(), threading.Event()
    server, linked, killer = Puppet.start("server"), Puppet.start("linked"), Puppet.start("killer")
    own(linked, slow_release)
    do(server, lambda _puppet: otp.link(linked))

    def ask() -> Any:
        try:
            return otp.call(server, stuck, timeout=0.5)
        finally:
            gave_up.set()

    result = in_a_thread(ask)
    stuck.wait_entered()
    otp.cast(killer, lambda _puppet: otp.exit(server, Kill()))
    slow_release.wait_entered()
    has_given_up = gave_up.wait(5.0)  # ten times its timeout
    slow_release.release()
    assert isinstance(result(), CallFailed)
    assert has_given_up


@pytest.mark.usefixtures("me")
def test_servers_that_call_each_other_end_in_a_timeout_not_in_a_deadlock() -> None:
    first, second = Puppet.start_link(), Puppet.start_link()

    def back(_puppet: Puppet) -> Reply:
        try:
            otp.call(first, lambda _puppet: None, timeout=0.01)
        except CallTimeout as error:
            return Reply(error.reason)
        return Reply("answered")

    assert do(first, lambda _puppet: otp.call(second, back, timeout=HANG)) == TimedOut()


# --- starting ----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("me")
def test_the_starter_waits_for_init() -> None:
    log: list[Any] = []
    Puppet.start_link("till", log)
    assert log == [("init", "till")]


@pytest.mark.usefixtures("me")
def test_the_starter_does_not_wait_for_what_follows_by_continue(block: Block) -> None:
    pid = Puppet.start_link(first=lambda _puppet: Ok(Continue(block)))
    otp.send(pid, "first message")
    block.wait_entered()
    assert otp.info(pid).callback == "handle_continue"
    block.release()
    kinds = do(pid, lambda puppet: [entry[0] for entry in puppet.log])
    assert kinds == ["init", "continue", "info"]


def test_an_init_that_takes_too_long_is_killed_and_its_name_is_free(me: Attached, block: Block) -> None:
    with pytest.raises(StartFailed, match=r"Puppet did not start: .*init has not answered within 0.01 s"):
        Puppet.start_link("till", None, block, name="till", timeout=0.01)
    assert otp.whereis("till") is None
    assert me.registry.processes() == [me.pid]
    assert nothing_more(me)
    block.release()
    assert answers(Puppet.start_link("till", name="till"))


@pytest.mark.usefixtures("me")
def test_a_name_is_given_back_before_the_starter_hears_of_a_failed_start() -> None:
    for _ in range(100):
        with pytest.raises(StartFailed):
            Puppet.start_link("till", None, lambda _puppet: Stop(Failure("empty")), name="till")
        assert otp.whereis("till") is None


def test_the_second_of_the_same_name_is_told_of_the_first(me: Attached) -> None:
    first = Puppet.start_link(name="till")
    with pytest.raises(AlreadyStarted) as caught:
        Puppet.start_link(name="till")
    assert caught.value.pid is first
    assert answers("till")
    assert nothing_more(me)


def test_an_init_that_raises_is_the_cause_of_the_failed_start(me: Attached) -> None:
    error = Boom("no float")

    def fail(_puppet: Puppet) -> None:
        raise error

    with pytest.raises(StartFailed, match="Puppet did not start: Boom: no float") as caught:
        Puppet.start_link("till", None, fail)
    assert caught.value.__cause__ is error
    assert nothing_more(me)


def test_an_init_that_ignores_leaves_nothing(me: Attached) -> None:
    with pytest.raises(StartIgnored):
        Puppet.start_link("till", None, lambda _puppet: otp.Ignore(), name="till")
    assert me.registry.processes() == [me.pid]
    assert me.registry.names() == {}
    assert nothing_more(me)


def test_start_links_to_nobody(me: Attached) -> None:
    pid = Puppet.start()
    assert otp.info(pid).links == ()
    assert otp.info(pid).parent is None
    crash(pid)
    assert isinstance(end_of(me, pid), Crash)
    assert nothing_more(me)


def test_a_server_started_on_a_plain_thread_has_a_registry_of_its_own(registry: Registry) -> None:
    pid = Puppet.start()
    inside = do(pid, lambda puppet: puppet.registry)
    assert inside is not registry
    assert inside.processes() == [pid]
    otp.stop(pid, timeout=HANG)


# --- idle timeouts -----------------------------------------------------------------------------------------------------


class Idle(GenServer):
    """Tells the test of each idle timeout, until it is told to have none."""

    def init(self, tell: Pid, seconds: float) -> Ok:
        self.tell = tell
        self.seconds = seconds
        return Ok(seconds)

    def handle_call(self, request: Any, caller: Caller) -> Reply:  # noqa: ARG002 - GenServer's signature
        self.seconds = request
        return Reply(None, request)

    def handle_info(self, message: Any) -> NoReply:
        otp.send(self.tell, message)
        return NoReply(self.seconds)


@pytest.mark.parametrize("seconds", [0, 0.001])
def test_an_idle_server_gets_a_timeout_again_and_again(me: Attached, seconds: float) -> None:
    Idle.start_link(me.pid, seconds)
    assert [me.receive(HANG) for _ in range(3)] == [TIMEOUT, TIMEOUT, TIMEOUT]


def test_the_answer_of_a_call_sets_the_timeout_and_ends_it(me: Attached) -> None:
    pid = Idle.start_link(me.pid, math.inf)
    otp.call(pid, 0)
    assert me.receive(HANG) is TIMEOUT
    otp.call(pid, None)
    while not nothing_more(me):
        pass
    otp.call(pid, None)
    assert nothing_more(me)


# --- stopping ----------------------------------------------------------------------------------------------------------


def test_stop_returns_when_terminate_has_run_and_the_process_is_dead(me: Attached) -> None:
    log: list[Any] = []
    pid = Puppet.start_link("till", log, name="till")
    otp.stop(pid, timeout=HANG)
    assert log == [("init", "till"), ("terminate", "till", Normal())]
    assert not otp.is_alive(pid)
    assert otp.whereis("till") is None
    assert exit_from(me, pid) == Normal()


def test_stop_takes_a_reason_and_a_name(me: Attached) -> None:
    pid = Puppet.start_link(name="till")
    otp.stop("till", Shutdown("closing"), timeout=HANG)
    assert exit_from(me, pid) == Shutdown("closing")


@pytest.mark.usefixtures("me")
def test_stop_waits_its_turn_behind_what_was_sent_before() -> None:
    log: list[Any] = []
    pid = Puppet.start_link("till", log)
    otp.send(pid, "before")
    otp.stop(pid, timeout=HANG)
    assert log[1:] == [("info", "till", "before"), ("terminate", "till", Normal())]


def test_stop_of_a_stuck_server_times_out_and_is_done_later(me: Attached, block: Block) -> None:
    pid = Puppet.start_link()
    otp.cast(pid, block)
    with pytest.raises(CallTimeout):
        otp.stop(pid, timeout=0.01)
    assert otp.is_alive(pid)
    block.release()
    assert exit_from(me, pid) == Normal()


@pytest.mark.usefixtures("me")
def test_stop_of_a_server_that_ends_otherwise_gives_its_reason() -> None:
    pid = Puppet.start_link()
    error = Boom("in terminate")

    def fail() -> None:
        raise error

    terminates_by(pid, fail)
    with pytest.raises(CallFailed) as caught:
        otp.stop(pid, timeout=HANG)
    assert caught.value.reason == Crash(error)
    assert caught.value.__cause__ is error


@pytest.mark.usefixtures("me")
def test_stop_of_a_server_that_ends_at_once_is_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    put = Process.put

    def put_and_wait_for_the_end(process: Process, item: object) -> None:
        put(process, item)
        if isinstance(item, StopRequest):
            ended = threading.Event()
            process.watch(MonitorRef(process), lambda _reason: ended.set())
            assert ended.wait(HANG)

    monkeypatch.setattr(Process, "put", put_and_wait_for_the_end)
    otp.stop(Puppet.start_link(), timeout=HANG)


def test_a_supervisor_can_be_stopped_too(me: Attached) -> None:
    supervisor = otp.Supervisor.start_link([Puppet.child_spec()])
    otp.stop(supervisor, timeout=HANG)
    assert exit_from(me, supervisor) == Normal()
    assert me.registry.processes() == [me.pid]


# --- one process ends alone --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), MemoryError()], ids=repr)
def test_a_base_exception_ends_one_process_alone(me: Attached, error: BaseException) -> None:
    bystander, victim = Puppet.start_link("bystander"), Puppet.start_link("victim")
    crash(victim, error)
    assert next_message(me, Exit) == Exit(victim, Crash(error))
    assert answers(bystander)
    assert otp.is_alive(me.pid)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_a_base_exception_in_init_or_terminate_ends_one_process_alone(me: Attached, error: BaseException) -> None:
    bystander = Puppet.start_link("bystander")

    def fail(_puppet: Puppet) -> None:
        raise error

    with pytest.raises(StartFailed):
        Puppet.start_link("victim", None, fail)
    assert answers(bystander)
    assert nothing_more(me)


def test_an_exception_that_is_raised_by_a_dead_server_is_nobodys(me: Attached, block: Block) -> None:
    pid = Puppet.start_link()

    def late(puppet: Puppet) -> None:
        block(puppet)
        raise Boom

    otp.cast(pid, late)
    block.wait_entered()
    otp.exit(pid, Kill())
    assert exit_from(me, pid) == Killed()
    block.release()
    assert nothing_more(me)
    assert otp.info(pid).exit_reason == Killed()
