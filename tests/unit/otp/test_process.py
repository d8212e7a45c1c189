"""Links, monitors, ownership and death of processes that have no thread: the whole order of a death, step by step."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pykka
import pytest

from otpq.otp import (
    Crash,
    Down,
    Exit,
    Failure,
    Kill,
    Killed,
    MailboxFull,
    MonitorRef,
    NoProc,
    Normal,
    Pid,
    ProcessExit,
    Reason,
    Registry,
    Shutdown,
    UsageError,
    demonitor,
)
from otpq.otp import process as module
from otpq.otp.process import WAKE, Ended, Process, current, enter, guard, need_current, settle, wait

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def stranger(make: Callable[..., Process]) -> Pid:
    return make("stranger").pid


def mail(process: Process) -> list[Any]:
    """What is in the mailbox, wake-ups left out."""
    items: list[Any] = []
    while process.mailbox_length():
        items.append(process.inbox.get())
    return [item for item in items if item is not WAKE]


# --- exit signals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", [Shutdown(), Failure("boom"), Killed(), NoProc(), Crash(ValueError())], ids=repr)
def test_an_exit_signal_ends_a_process(make: Callable[..., Process], stranger: Pid, reason: Reason) -> None:
    process = make()
    process.receive_exit(stranger, reason)
    assert process.exit_reason == reason


def test_the_signal_normal_is_ignored(make: Callable[..., Process], stranger: Pid) -> None:
    process = make()
    process.receive_exit(stranger, Normal())
    assert process.exit_reason is None


@pytest.mark.parametrize("reason", [Normal(), Shutdown(), Failure("boom"), Killed()], ids=repr)
def test_a_trapping_process_gets_the_signal_as_a_message(
    make: Callable[..., Process], stranger: Pid, reason: Reason
) -> None:
    process = make(trap_exit=True)
    process.receive_exit(stranger, reason)
    assert process.exit_reason is None
    assert mail(process) == [Exit(stranger, reason)]


@pytest.mark.parametrize("trap_exit", [False, True])
def test_kill_cannot_be_trapped_and_ends_as_killed(
    make: Callable[..., Process], stranger: Pid, *, trap_exit: bool
) -> None:
    process = make(trap_exit=trap_exit)
    process.receive_exit(stranger, Kill())
    assert process.exit_reason == Killed()


def test_a_process_dies_once(make: Callable[..., Process]) -> None:
    process = make()
    process.die(Failure("first"))
    process.die(Failure("second"))
    assert process.exit_reason == Failure("first")


def test_a_dead_process_gets_no_message(make: Callable[..., Process]) -> None:
    process = make()
    process.die(Normal())
    mail(process)
    process.put("hello")
    assert mail(process) == []


# --- links -------------------------------------------------------------------------------------------------------------


def test_a_link_works_both_ways(make: Callable[..., Process]) -> None:
    first, second = make(), make()
    first.link(second)
    second.die(Failure("boom"))
    assert first.exit_reason == Failure("boom")


def test_killed_spreads_as_killed_and_can_then_be_trapped(make: Callable[..., Process], stranger: Pid) -> None:
    victim, plain, trapping = make(), make(), make(trap_exit=True)
    victim.link(plain)
    victim.link(trapping)
    victim.receive_exit(stranger, Kill())
    assert plain.exit_reason == Killed()
    assert mail(trapping) == [Exit(victim.pid, Killed())]


def test_a_normal_end_is_survived_by_the_linked(make: Callable[..., Process]) -> None:
    first, second, trapping = make(), make(), make(trap_exit=True)
    first.link(second)
    first.link(trapping)
    first.die(Normal())
    assert second.exit_reason is None
    assert mail(trapping) == [Exit(first.pid, Normal())]
    assert second.links == {}


def test_a_second_link_changes_nothing(make: Callable[..., Process]) -> None:
    first, trapping = make(), make(trap_exit=True)
    first.link(trapping)
    trapping.link(first)
    first.die(Failure("boom"))
    assert mail(trapping) == [Exit(first.pid, Failure("boom"))]


def test_unlink_undoes_all_of_it(make: Callable[..., Process]) -> None:
    first, second = make(), make()
    first.link(second)
    second.link(first)
    second.unlink(first)
    first.die(Failure("boom"))
    assert second.exit_reason is None
    second.unlink(first)


def test_there_is_no_link_to_the_dead(make: Callable[..., Process]) -> None:
    dead, process = make(), make()
    dead.die(Failure("boom"))
    assert not process.link(dead)
    assert process.links == {}
    assert process.exit_reason is None


def test_a_link_made_by_the_dead_brings_its_reason_to_the_other(make: Callable[..., Process]) -> None:
    """A supervisor that is killed just before it links to the child that it starts must not leave it alone."""
    dead, plain, trapping = make(), make(), make(trap_exit=True)
    dead.die(Failure("boom"))
    dead.link(plain)
    dead.link(trapping)
    assert plain.exit_reason == Failure("boom")
    assert mail(trapping) == [Exit(dead.pid, Failure("boom"))]


def test_a_chain_of_any_length_falls(make: Callable[..., Process]) -> None:
    chain = [make() for _ in range(5_000)]
    for left, right in pairwise(chain):
        left.link(right)
    chain[0].die(Failure("boom"))
    assert {process.exit_reason for process in chain} == {Failure("boom")}


def test_a_ring_falls_and_a_trapping_process_stops_the_fall(make: Callable[..., Process]) -> None:
    a, b, wall, c = make(), make(), make(trap_exit=True), make()
    for left, right in ((a, b), (b, a), (b, wall), (wall, c)):
        left.link(right)
    a.die(Failure("boom"))
    assert b.exit_reason == Failure("boom")
    assert wall.exit_reason is None
    assert c.exit_reason is None
    assert mail(wall) == [Exit(b.pid, Failure("boom"))]


# --- monitors ----------------------------------------------------------------------------------------------------------


def test_each_monitor_brings_one_down(make: Callable[..., Process]) -> None:
    watched, watching = make(), make()
    first, second = watching.monitor(watched, watched.pid), watching.monitor(watched, "till")
    watched.die(Failure("boom"))
    assert mail(watching) == [
        Down(first, watched.pid, Failure("boom")),
        Down(second, "till", Failure("boom")),
    ]
    assert watching.exit_reason is None


def test_a_monitor_of_the_dead_or_of_nobody_brings_noproc_at_once(make: Callable[..., Process]) -> None:
    dead, watching = make(), make()
    dead.die(Failure("boom"))
    refs = watching.monitor(dead, dead.pid), watching.monitor(None, "nobody")
    assert mail(watching) == [Down(refs[0], dead.pid, NoProc()), Down(refs[1], "nobody", NoProc())]


def test_a_monitor_that_was_taken_back_is_silent(make: Callable[..., Process]) -> None:
    watched = make()
    heard: list[Reason] = []
    ref = MonitorRef(watched)
    watched.watch(ref, heard.append)
    watched.unwatch(ref)
    watched.unwatch(ref)
    watched.die(Normal())
    assert heard == []


def test_the_down_of_a_monitor_that_was_taken_back_is_stale(make: Callable[..., Process]) -> None:
    watched, watching = make(), make()
    ref = watching.monitor(watched, watched.pid)
    watched.die(Normal())
    (down,) = mail(watching)
    assert not watching.is_stale(down)
    assert ref not in watching.monitors
    enter(watching)
    demonitor(ref)
    assert watching.is_stale(down)
    assert not watching.is_stale("a message")


def test_the_monitors_of_a_dead_process_are_forgotten(make: Callable[..., Process]) -> None:
    watched, watching = make(), make()
    watching.monitor(watched, watched.pid)
    watching.die(Normal())
    assert watched._watchers == {}


# --- ownership and the order of a death --------------------------------------------------------------------------------


def test_what_is_owned_is_released_the_last_first(make: Callable[..., Process]) -> None:
    process = make()
    released: list[str] = []
    for name in "abc":
        process.own(lambda name=name: released.append(name))  # type: ignore[misc]
    process.die(Normal())
    assert released == ["c", "b", "a"]


def test_what_was_disowned_is_not_released(make: Callable[..., Process]) -> None:
    process = make()
    released: list[str] = []
    process.own(lambda: released.append("a"))
    disown = process.own(lambda: released.append("b"))
    disown()
    disown()
    process.die(Normal())
    disown()
    assert released == ["a"]


def test_a_release_that_fails_is_logged_and_the_rest_run(
    make: Callable[..., Process], caplog: pytest.LogCaptureFixture
) -> None:
    process = make("till")
    released: list[str] = []

    def fail(error: BaseException) -> None:
        raise error

    process.own(lambda: released.append("first"))
    process.own(lambda: fail(ValueError("stuck lid")))
    process.own(lambda: fail(SystemExit()))
    process.own(lambda: fail(ProcessExit(Normal())))
    process.own(lambda: released.append("last"))
    process.die(Normal())
    assert released == ["last", "first"]
    assert [record.getMessage() for record in caplog.records] == [
        f"{process.pid}: a release failed; the next ones run"
    ] * 3
    assert "stuck lid" in caplog.text


def test_the_dead_lets_go_at_once_of_what_it_takes_hold_of(make: Callable[..., Process]) -> None:
    process = make()
    process.die(Killed())
    released: list[str] = []
    enter(process)
    with pytest.raises(ProcessExit):
        process.own(lambda: released.append("late"))
    assert released == ["late"]


def test_a_release_runs_as_no_process_and_gives_the_thread_back(make: Callable[..., Process]) -> None:
    killer, victim = make(), make()
    ran_as: list[Process | None] = []
    victim.own(lambda: ran_as.append(current()))
    enter(killer)
    victim.die(Killed())
    assert ran_as == [None]
    assert current() is killer


def test_releases_run_before_anybody_hears(make: Callable[..., Process], registry: Registry) -> None:
    process, linked, watching = make("till"), make(trap_exit=True), make()
    registry.register("till", process.pid)
    process.link(linked)
    process.monitor(watching, watching.pid)
    watching.monitor(process, process.pid)
    caller: pykka.Future[Any] = pykka.ThreadingFuture()
    process.add_caller(caller)
    seen: list[Any] = []

    def release() -> None:
        seen.append((process.exit_reason, mail(linked), mail(watching), registry.whereis("till")))
        with pytest.raises(pykka.Timeout):
            caller.get(timeout=0)

    process.own(release)
    process.die(Killed())
    assert seen == [(Killed(), [], [], None)]
    assert len(mail(linked)) == len(mail(watching)) == 1
    assert caller.get(timeout=0).reason == Killed()


def test_monitors_hear_before_links(make: Callable[..., Process]) -> None:
    process, linked = make(), make(trap_exit=True)
    process.link(linked)
    at_down: list[list[Any]] = []
    process.watch(MonitorRef(process), lambda _reason: at_down.append(mail(linked)))
    process.die(Killed())
    assert at_down == [[]]
    assert mail(linked) == [Exit(process.pid, Killed())]


def test_links_hear_before_waiting_callers(make: Callable[..., Process]) -> None:
    process, linked = make(), make(trap_exit=True)
    process.link(linked)
    at_answer: list[list[Any]] = []

    class Caller(pykka.ThreadingFuture[Any]):
        def set(self, value: Any = None) -> None:
            at_answer.append(mail(linked))
            super().set(value)

    process.add_caller(Caller())
    process.die(Killed())
    assert at_answer == [[Exit(process.pid, Killed())]]


def test_a_link_made_during_the_releases_still_hears(make: Callable[..., Process]) -> None:
    process, linked, watching = make(), make(trap_exit=True), make()

    def release() -> None:
        linked.link(process)
        watching.monitor(process, process.pid)

    process.own(release)
    process.die(Failure("boom"))
    assert mail(linked) == [Exit(process.pid, Failure("boom"))]
    assert [down.reason for down in mail(watching)] == [Failure("boom")]


# --- callers -----------------------------------------------------------------------------------------------------------


def test_waiting_callers_get_the_reason_and_late_ones_are_refused(make: Callable[..., Process]) -> None:
    process = make()
    waiting: pykka.Future[Any] = pykka.ThreadingFuture()
    answered: pykka.Future[Any] = pykka.ThreadingFuture()
    late: pykka.Future[Any] = pykka.ThreadingFuture()
    assert process.add_caller(waiting)
    assert process.add_caller(answered)
    assert process.drop_caller(answered)
    assert not process.drop_caller(answered)
    process.die(Failure("boom"))
    assert isinstance(waiting.get(timeout=0), Ended)
    assert waiting.get(timeout=0).reason == Failure("boom")
    assert not process.add_caller(late)
    with pytest.raises(pykka.Timeout):
        answered.get(timeout=0)


def test_a_future_that_is_settled_stays_as_it_is() -> None:
    future: pykka.Future[str] = pykka.ThreadingFuture()
    settle(future, "first")
    settle(future, "second")
    assert future.get(timeout=0) == "first"


def test_a_wait_of_the_dead_is_over_before_it_begins(make: Callable[..., Process]) -> None:
    process = make()
    process.die(Killed())
    enter(process)
    with pytest.raises(ProcessExit) as caught:
        wait(pykka.ThreadingFuture(), 60)
    assert caught.value.reason == Killed()
    assert process.waits_for is None


def test_a_wait_gives_the_value_or_times_out(make: Callable[..., Process]) -> None:
    future: pykka.Future[str] = pykka.ThreadingFuture()
    enter(make())
    with pytest.raises(pykka.Timeout):
        wait(future, 0)
    future.set("value")
    assert wait(future, 0) == "value"
    assert wait(future, float("inf")) == "value"


# --- the current process -----------------------------------------------------------------------------------------------


def test_a_plain_thread_has_no_current_process() -> None:
    assert current() is None
    assert guard() is None
    with pytest.raises(UsageError, match=r"link needs a process to do it: inside a server, or in `with attach\(\)"):
        need_current("link")


def test_the_code_of_a_dead_process_comes_no_further(make: Callable[..., Process]) -> None:
    process = make()
    enter(process)
    assert guard() is process
    assert need_current("link") is process
    process.die(Killed())
    for use in (guard, lambda: need_current("link")):
        with pytest.raises(ProcessExit) as caught:
            use()
        assert caught.value.reason == Killed()


# --- the mailbox -------------------------------------------------------------------------------------------------------


def test_a_bounded_mailbox_refuses_messages_past_its_limit_but_no_signals(
    make: Callable[..., Process], stranger: Pid
) -> None:
    process = make(trap_exit=True)
    process.mailbox_limit = 2
    process.put_message(1)
    process.pending.append("drained, and waiting")
    with pytest.raises(MailboxFull) as caught:
        process.put_message(3)
    assert (caught.value.pid, caught.value.limit) == (process.pid, 2)
    process.receive_exit(stranger, Normal())
    assert process.mailbox_length() == 3


def test_a_full_mailbox_of_the_dead_refuses_nothing(make: Callable[..., Process]) -> None:
    process = make()
    process.mailbox_limit = 0
    process.die(Normal())
    process.put_message("lost")


# --- tracing -----------------------------------------------------------------------------------------------------------


def test_a_tracer_that_fails_is_removed_and_logged(
    make: Callable[..., Process], caplog: pytest.LogCaptureFixture
) -> None:
    process = make("till")

    def tracer(_traced: object) -> None:
        raise ValueError("no ink")

    process.tracer = tracer
    process.trace("receive", "hello", None)
    process.trace("receive", "again", None)
    assert process.tracer is None
    assert [record.getMessage() for record in caplog.records] == [f"{process.pid}: its tracer failed and is removed"]


# --- threads -----------------------------------------------------------------------------------------------------------


def test_a_thread_that_cannot_be_started_makes_no_zombie(
    make: Callable[..., Process], registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_thread(_process: Process) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(module.Process, "_start_actor_loop", no_thread)
    process = make()
    with pytest.raises(RuntimeError):
        process.start_thread()
    process.callback = "init"
    process.die(Killed())
    assert registry.zombies() == []


def test_a_process_that_dies_inside_a_callback_haunts_its_registry(
    make: Callable[..., Process],
    registry: Registry,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(module.Process, "_start_actor_loop", lambda _process: None)
    process = make("till")
    process.start_thread()
    process.callback = "handle_cast"
    process.die(Killed())
    assert registry.zombies() == [process.pid]
    assert registry.processes() == []
    assert f"{process.pid} ended (Killed()) inside handle_cast" in caplog.text
    assert "a zombie until that returns" in caplog.text


def test_a_process_that_dies_between_callbacks_is_no_zombie(
    make: Callable[..., Process], registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.Process, "_start_actor_loop", lambda _process: None)
    process = make()
    process.start_thread()
    process.die(Killed())
    assert registry.zombies() == []


def test_it_is_a_subclass_that_says_what_a_process_does(make: Callable[..., Process]) -> None:
    with pytest.raises(NotImplementedError):
        make().main()
