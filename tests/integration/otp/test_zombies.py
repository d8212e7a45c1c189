"""A thread cannot be killed: what a process that was declared dead inside a callback may still do (nothing)."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import textwrap
import threading
from typing import TYPE_CHECKING, Any

import pytest

from otpq import otp
from otpq.otp import (
    TIMEOUT,
    CallFailed,
    Continue,
    GenServer,
    Kill,
    Killed,
    NoProc,
    NoReply,
    Ok,
    ProcessExit,
    Registry,
    Reply,
    Shutdown,
    StartFailed,
    Supervisor,
)
from otpq.otp.process import Process
from tests.integration.otp.support import (
    HANG,
    Block,
    Boom,
    Puppet,
    answers,
    do,
    end_of,
    exit_from,
    nothing_more,
    pid_of,
    thread_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.otp import Attached, Pid


@pytest.fixture
def busy(me: Attached, block: Block) -> Pid:  # noqa: ARG001 - it is the parent
    """A server in the middle of a callback."""
    pid = Puppet.start_link("till", name="till")
    otp.cast(pid, block)
    block.wait_entered()
    return pid


def kill(me: Attached, pid: Pid) -> None:
    otp.exit(pid, Kill())
    assert exit_from(me, pid) == Killed()


# --- seen --------------------------------------------------------------------------------------------------------------


def test_a_zombie_is_counted_until_its_callback_returns(me: Attached, busy: Pid, block: Block) -> None:
    thread = thread_of(busy)
    kill(me, busy)
    assert me.registry.zombies() == [busy]
    assert me.registry.processes() == [me.pid]
    block.release()
    thread.join(HANG)
    assert me.registry.zombies() == []


def test_a_zombie_is_logged_with_its_name(me: Attached, busy: Pid, caplog: pytest.LogCaptureFixture) -> None:
    kill(me, busy)
    (message,) = caplog.messages
    assert message.startswith(f"{busy!r} ended (Killed()) inside handle_cast, which has run for ")
    assert message.endswith("its thread is a zombie until that returns")
    assert busy.label == "till"


def test_info_shows_a_zombie_and_then_the_dead(me: Attached, busy: Pid, block: Block) -> None:
    thread = thread_of(busy)
    kill(me, busy)
    info = otp.info(busy)
    assert (info.status, info.callback, info.exit_reason) == ("zombie", "handle_cast", Killed())
    assert info.callback_seconds is not None
    assert (info.name, info.links) == (None, ())
    block.release()
    thread.join(HANG)
    info = otp.info(busy)
    assert (info.status, info.callback, info.callback_seconds) == ("dead", None, None)


def test_a_zombie_that_raised_shows_as_dead_too(me: Attached, block: Block) -> None:
    pid = Puppet.start_link()

    def late(puppet: Puppet) -> None:
        block(puppet)
        raise Boom

    otp.cast(pid, late)
    block.wait_entered()
    thread = thread_of(pid)
    kill(me, pid)
    block.release()
    thread.join(HANG)
    assert me.registry.zombies() == []
    assert otp.info(pid).status == "dead"


def test_a_process_that_was_idle_is_no_zombie(me: Attached) -> None:
    pid = Puppet.start_link()
    assert answers(pid)
    thread = thread_of(pid)
    kill(me, pid)
    assert me.registry.zombies() == []
    assert otp.info(pid).status == "dead"
    thread.join(HANG)
    assert not thread.is_alive()


# --- refused -----------------------------------------------------------------------------------------------------------


def test_all_that_a_zombie_tries_is_refused(me: Attached, block: Block) -> None:
    other = Puppet.start("other")
    outcomes: dict[str, type[BaseException] | None] = {}

    def haunt(puppet: Puppet) -> None:
        caller = puppet.caller
        assert caller is not None
        block(puppet)
        tries: dict[str, Callable[[], object]] = {
            "call": lambda: otp.call(other, lambda _puppet: None),
            "cast": lambda: otp.cast(other, lambda puppet: puppet.log.append("from beyond")),
            "send": lambda: otp.send(other, "from beyond"),
            "reply": lambda: otp.reply(caller, "from beyond"),
            "stop": lambda: otp.stop(other),
            "exit": lambda: otp.exit(other, Kill()),
            "link": lambda: otp.link(other),
            "unlink": lambda: otp.unlink(other),
            "monitor": lambda: otp.monitor(other),
            "demonitor": lambda: otp.demonitor(otp.MonitorRef(None)),
            "trap_exit": lambda: otp.trap_exit(on=True),
            "register": lambda: otp.register("zombie", other),
            "unregister": lambda: otp.unregister("other"),
            "whereis": lambda: otp.whereis("other"),
            "send_after": lambda: otp.send_after(0, other, "from beyond"),
            "cancel_timer": lambda: otp.cancel_timer(timer),
            "self_pid": otp.self_pid,
            "start": Puppet.start,
            "start_link": Puppet.start_link,
            "state": lambda: otp.state(other),
            "trace": lambda: otp.trace(other, print),
            "untrace": lambda: otp.untrace(other),
        }
        for verb, attempt in tries.items():
            try:
                attempt()
            except BaseException as error:  # noqa: BLE001 - what it is, is the question
                outcomes[verb] = type(error)
            else:
                outcomes[verb] = None

    otp.register("other", other)
    timer = otp.send_after(3600, other, "never")
    pid = Puppet.start_link("zombie", name="zombie")
    reason: list[Any] = []

    def ask() -> None:
        try:
            otp.call(pid, haunt, HANG)
        except CallFailed as error:
            reason.append(error.reason)

    asking = threading.Thread(target=ask)
    asking.start()
    block.wait_entered()
    thread = thread_of(pid)
    kill(me, pid)
    asking.join(HANG)
    assert reason == [Killed()]
    block.release()
    thread.join(HANG)
    assert outcomes == dict.fromkeys(outcomes, ProcessExit)
    assert len(outcomes) == 22
    assert me.registry.names() == {"other": other}
    assert me.registry.processes() == [me.pid, other] or me.registry.processes() == [other, me.pid]
    assert do(other, lambda puppet: puppet.log) == [("init", "other")]
    assert otp.cancel_timer(timer) is not None
    assert nothing_more(me)


def test_nothing_of_the_answer_of_a_zombie_is_carried_out(me: Attached, block: Block) -> None:
    log: list[Any] = []
    pid = Puppet.start_link("till", log)

    def late(puppet: Puppet) -> NoReply:
        block(puppet)
        return NoReply(Continue("from beyond"))

    otp.cast(pid, late)
    block.wait_entered()
    otp.send(pid, "next")
    thread = thread_of(pid)
    kill(me, pid)
    block.release()
    thread.join(HANG)
    assert log == [("init", "till")]


def test_except_exception_does_not_keep_a_zombie_busy(me: Attached, block: Block) -> None:
    pid = Puppet.start_link()

    def stubborn(puppet: Puppet) -> None:
        block(puppet)
        while True:
            with contextlib.suppress(Exception):
                otp.send(me.pid, "from beyond")

    otp.cast(pid, stubborn)
    block.wait_entered()
    thread = thread_of(pid)
    kill(me, pid)
    block.release()
    thread.join(HANG)
    assert not thread.is_alive()
    assert nothing_more(me)


def test_a_process_that_waits_in_a_call_ends_at_once_and_for_good(me: Attached, busy: Pid) -> None:
    waiting = Puppet.start_link("waiting")
    asked = threading.Event()

    def ask(_puppet: Puppet) -> None:
        asked.set()
        otp.call(busy, "never handled", timeout=HANG)

    otp.cast(waiting, ask)
    assert asked.wait(HANG)
    thread = thread_of(waiting)
    kill(me, waiting)
    thread.join(HANG)
    assert not thread.is_alive()
    assert me.registry.zombies() == []
    assert otp.is_alive(busy)


def test_the_successor_of_a_zombie_works_under_its_name(me: Attached, block: Block) -> None:
    supervisor = Supervisor.start_link([Puppet.child_spec("till", id="till", name="till")])
    first = pid_of(supervisor, "till")
    otp.cast(first, block)
    block.wait_entered()
    otp.exit(first, Kill())
    assert end_of(me, first) == Killed()
    second = pid_of(supervisor, "till")
    assert second is not first
    assert otp.whereis("till") is second
    assert answers("till")
    assert me.registry.zombies() == [first]
    block.release()
    otp.stop(supervisor, timeout=HANG)


# --- dead, and still called back ---------------------------------------------------------------------------------------


def test_a_server_killed_during_init_does_nothing_more(me: Attached, block: Block) -> None:
    log: list[Any] = []
    with pytest.raises(StartFailed):
        Puppet.start_link("till", log, block, timeout=0.01)
    (zombie,) = me.registry.zombies()
    assert otp.info(zombie).callback == "init"
    thread = thread_of(zombie)
    block.release()
    thread.join(HANG)
    assert log == [("init", "till")]


def test_a_server_killed_during_init_does_not_continue(me: Attached, block: Block) -> None:
    log: list[Any] = []

    def late(puppet: Puppet) -> Ok:
        block(puppet)
        return Ok(Continue("from beyond"))

    with pytest.raises(StartFailed):
        Puppet.start_link("till", log, late, timeout=0.01)
    (zombie,) = me.registry.zombies()
    thread = thread_of(zombie)
    block.release()
    thread.join(HANG)
    assert log == [("init", "till")]


def test_a_server_killed_before_its_thread_runs_has_no_init(me: Attached, monkeypatch: pytest.MonkeyPatch) -> None:
    start_actor_loop = Process._start_actor_loop

    def killed_at_the_start(process: Process) -> None:
        process.die(Killed())
        start_actor_loop(process)

    monkeypatch.setattr(Process, "_start_actor_loop", killed_at_the_start)
    before = set(threading.enumerate())
    log: list[Any] = []
    with pytest.raises(StartFailed):
        Puppet.start("till", log)
    for thread in set(threading.enumerate()) - before:
        thread.join(HANG)
    assert log == []
    assert nothing_more(me)


def test_a_server_killed_while_it_is_made_is_a_failed_start(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter = Registry.enter

    def enter_and_be_killed(registry: Registry, pid: Pid) -> None:
        enter(registry, pid)
        otp.exit(pid, Kill())

    monkeypatch.setattr(Registry, "enter", enter_and_be_killed)
    with pytest.raises(StartFailed) as caught:
        Puppet.start(registry=registry, timeout=1.0)
    assert caught.value.reason == Killed()


def test_a_server_killed_between_two_callbacks_begins_no_other(me: Attached, block: Block) -> None:
    pid = Puppet.start_link("till")
    ran: list[str] = []
    otp.trace(pid, block)  # runs when a message was taken and before its callback
    otp.cast(pid, lambda _puppet: ran.append("from beyond"))
    block.wait_entered()
    thread = thread_of(pid)
    kill(me, pid)
    block.release()
    thread.join(HANG)
    assert ran == []


def test_the_dead_have_no_idle_timeout(me: Attached) -> None:
    seen: list[Any] = []

    class Idle(GenServer):
        def handle_call(self, request: Any, caller: otp.Caller) -> Reply:  # noqa: ARG002 - GenServer's signature
            return Reply(None, 0.05)

        def handle_info(self, message: Any) -> NoReply:
            seen.append((message, otp.info(self.pid).exit_reason))
            return NoReply(0.05)

    pid = Idle.start_link()
    thread = thread_of(pid)
    pid.process.own(lambda: thread.join(HANG))  # the killer is held until the server has found out by itself
    otp.call(pid, None, HANG)
    kill(me, pid)
    assert [entry for entry in seen if entry != (TIMEOUT, None)] == []


def run_alone(program: str) -> subprocess.CompletedProcess[str]:
    """Run a program in an interpreter of its own."""
    command = [sys.executable, "-W", "error", "-c", program]
    return subprocess.run(command, capture_output=True, text=True, timeout=HANG, check=False)  # noqa: S603 - our own


# --- the interpreter ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "end",
    ["otp.exit(pid, otp.Kill())", "pass", "raise SystemExit(0)", "otp.exit(pid, otp.Kill()); raise SystemExit(0)"],
)
def test_the_interpreter_exits_although_a_thread_is_stuck(end: str) -> None:
    program = textwrap.dedent("""
        import threading
        from otpq import otp

        entered = threading.Event()

        class Stuck(otp.GenServer):
            def handle_cast(self, request):
                entered.set()
                threading.Event().wait()

        with otp.attach(trap_exit=True) as me:
            pid = Stuck.start_link()
            otp.cast(pid, "go")
            entered.wait()
            print("stuck", flush=True)
            END
    """).replace("END", end)
    done = run_alone(program)
    assert (done.returncode, done.stdout) == (0, "stuck\n"), done.stderr
    assert "Traceback" not in done.stderr


def test_the_import_starts_no_thread() -> None:
    program = "import threading; from otpq import otp; print([thread.name for thread in threading.enumerate()])"
    done = run_alone(program)
    assert done.stdout == "['MainThread']\n"


def test_the_interpreter_exits_although_a_tree_runs() -> None:
    program = textwrap.dedent("""
        from otpq import otp

        class Till(otp.GenServer):
            trap_exit = True
            def handle_call(self, request, caller):
                return otp.Reply(request)

        with otp.attach(trap_exit=True) as me:
            otp.Supervisor.start_link([Till.child_spec(name="till")])
            print(otp.call("till", "open"), flush=True)
    """)
    done = run_alone(program)
    assert (done.returncode, done.stdout) == (0, "open\n"), done.stderr


def test_a_call_to_a_zombie_is_a_call_to_nobody(me: Attached, busy: Pid) -> None:
    kill(me, busy)
    for verb in (lambda: otp.call(busy, "x"), lambda: otp.stop(busy), lambda: otp.state(busy)):
        with pytest.raises(CallFailed) as caught:
            verb()
        assert caught.value.reason == NoProc()
    otp.exit(busy, Shutdown())
    assert otp.info(busy).exit_reason == Killed()
