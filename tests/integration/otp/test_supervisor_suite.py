"""Supervisor: starting, stopping, children by id, signals. Named as in Erlang's supervisor_SUITE where it has the case."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from otpq import otp
from otpq.otp import (
    BadReturn,
    BadSpec,
    CallFailed,
    ChildCounts,
    ChildError,
    ChildSpec,
    Crash,
    DynamicSupervisor,
    FailedToStartChild,
    Failure,
    Ignore,
    Kill,
    Killed,
    NoProc,
    Normal,
    Reason,
    Shutdown,
    StartFailed,
    StartIgnored,
    Stop,
    Supervisor,
    UsageError,
    attach,
)
from tests.integration.otp.support import (
    HANG,
    MANY,
    Block,
    Boom,
    Puppet,
    Script,
    answers,
    begin,
    children,
    crash,
    do,
    end_of,
    exit_from,
    nothing_more,
    pid_of,
    pids,
    refusal,
    restarted,
    terminates_by,
    thread_of,
    tree,
)

if TYPE_CHECKING:
    from otpq.otp import Attached


# --- starting ----------------------------------------------------------------------------------------------------------


def test_sup_start_normal(me: Attached, script: Script) -> None:
    supervisor = tree(script, "abc")
    assert script.starts() == ["a", "b", "c"]
    assert all(answers(pid) for pid in pids(supervisor).values() if pid is not None)
    assert otp.info(supervisor).parent is me.pid
    assert nothing_more(me)


def test_sup_start_ignore_init(me: Attached) -> None:
    class NotHere(Supervisor):
        def init(self) -> Any:  # type: ignore[override]
            return Ignore()

    with pytest.raises(StartIgnored):
        NotHere.start_link()
    assert me.registry.processes() == [me.pid]


@pytest.mark.usefixtures("me")
def test_sup_start_ignore_child(script: Script) -> None:
    script.next_starts["b"] = [Ignore()]
    supervisor = tree(script, "abc")
    assert {id: pid is None for id, pid in pids(supervisor).items()} == {"a": False, "b": True, "c": False}
    assert Supervisor.count_children(supervisor) == ChildCounts(specs=3, active=2, supervisors=0, workers=3)


@pytest.mark.usefixtures("me")
def test_sup_start_ignore_temporary_child(script: Script) -> None:
    script.next_starts["b"] = [Ignore()]
    supervisor = Supervisor.start_link([script.child("a"), script.child("b", restart="temporary")])
    assert list(pids(supervisor)) == ["a"]


@pytest.mark.usefixtures("me")
def test_sup_start_ignore_temporary_child_start_child(script: Script) -> None:
    supervisor = tree(script, "a")
    script.next_starts.update({"b": [Ignore()], "c": [Ignore()]})
    assert Supervisor.start_child(supervisor, script.child("b", restart="temporary")) is None
    assert Supervisor.start_child(supervisor, script.child("c")) is None
    assert list(pids(supervisor)) == ["a", "c"]


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [(Stop(Failure("empty")), Failure("empty")), (Stop(Shutdown()), Shutdown()), (Stop(Normal()), Normal())],
)
def test_sup_start_fail(me: Attached, script: Script, outcome: Stop, reason: Reason) -> None:
    script.next_starts["c"] = [outcome]
    with pytest.raises(StartFailed) as caught:
        tree(script, "abcd")
    assert caught.value.reason == Shutdown(FailedToStartChild("c", reason))
    assert script.starts() == ["a", "b", "c"]
    assert me.registry.processes() == [me.pid]
    assert nothing_more(me)


def test_sup_start_fail_stops_those_before_it_the_last_first(me: Attached, script: Script) -> None:
    script.fails("c", 1)
    with pytest.raises(StartFailed):
        Supervisor.start_link([script.child(id, traps=True) for id in "abc"])
    assert [entry[1] for entry in script.log if entry[0] == "terminate"] == ["b", "a"]
    assert me.registry.processes() == [me.pid]


def test_sup_start_error_return(me: Attached) -> None:
    spec = ChildSpec(id="till", start=lambda: "no pid")  # type: ignore[arg-type,return-value]
    with pytest.raises(StartFailed) as caught:
        Supervisor.start_link([spec])
    reason = caught.value.reason
    assert isinstance(reason, Shutdown)
    assert isinstance(reason.detail, FailedToStartChild)
    assert isinstance(reason.detail.reason, Crash)
    assert isinstance(reason.detail.reason.error, BadReturn)
    assert "start of child 'till' returned 'no pid'; it may return the Pid" in str(caught.value)
    assert nothing_more(me)


def test_bad_flags_and_specs_are_raised_by_start_link_as_they_are(me: Attached, script: Script) -> None:
    with pytest.raises(BadSpec, match="strategy='all' is not allowed: one of 'one_for_one'"):
        Supervisor.start_link([script.child("a")], strategy="all")
    with pytest.raises(BadSpec, match="id='a' is not allowed: each id once"):
        Supervisor.start_link([script.child("a"), script.child("a")])
    with pytest.raises(BadSpec, match="template=None is not allowed"):
        DynamicSupervisor.start_link(None)
    assert script.log == []
    assert me.registry.processes() == [me.pid]


def test_an_unknown_option_is_an_error_that_names_it(me: Attached, script: Script) -> None:
    with pytest.raises(StartFailed, match="unexpected keyword argument 'intensity'"):
        Supervisor.start_link([script.child("a")], intensity=3)
    assert me.registry.processes() == [me.pid]


def test_a_supervisor_of_ones_own_says_in_init_what_is_below_it(me: Attached, script: Script) -> None:
    class Shop(Supervisor):
        def init(self, ids: str) -> Any:  # type: ignore[override]
            return super().init([script.child(id) for id in ids], strategy="rest_for_one", max_restarts=3)

    supervisor = Shop.start_link("ab", name="shop")
    assert list(pids("shop")) == ["a", "b"]
    assert otp.tree(supervisor).strategy == "rest_for_one"
    otp.stop("shop", timeout=HANG)
    assert exit_from(me, supervisor) == Normal()


# --- stopping ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", [Normal(), Shutdown(), Shutdown("x"), Failure("fire")], ids=repr)
def test_sup_stop(me: Attached, script: Script, reason: Reason) -> None:
    supervisor = Supervisor.start_link([script.child(id, traps=True) for id in "abc"])
    otp.exit(supervisor, reason)
    assert exit_from(me, supervisor) == reason
    assert script.log[3:] == [("terminate", id, Shutdown()) for id in "cba"]
    assert me.registry.processes() == [me.pid]


def test_sup_stop_infinity(me: Attached, script: Script, block: Block) -> None:
    supervisor = Supervisor.start_link([script.child("a", shutdown="infinity", traps=True)])
    slow = pid_of(supervisor, "a")
    terminates_by(slow, block)
    otp.exit(supervisor, Shutdown())
    block.wait_entered()
    assert otp.is_alive(supervisor)
    assert otp.is_alive(slow)
    block.release()
    assert exit_from(me, supervisor) == Shutdown()
    assert otp.info(slow).exit_reason == Shutdown()


def test_sup_stop_timeout(me: Attached, script: Script, block: Block, caplog: pytest.LogCaptureFixture) -> None:
    supervisor = Supervisor.start_link([script.child("a"), script.child("b", shutdown=0.05, traps=True)])
    stubborn = pid_of(supervisor, "b")
    terminates_by(stubborn, block)
    otp.exit(supervisor, Shutdown())
    assert exit_from(me, supervisor) == Shutdown()
    assert otp.info(stubborn).exit_reason == Killed()
    assert f"{stubborn!r} (child b) did not end within 0.05 s and is killed" in caplog.messages
    assert me.registry.processes() == [me.pid]
    assert me.registry.zombies() == [stubborn]


def test_sup_stop_brutal_kill(me: Attached, script: Script) -> None:
    supervisor = Supervisor.start_link([script.child("a", shutdown="brutal_kill", traps=True)])
    pid = pid_of(supervisor, "a")
    otp.exit(supervisor, Shutdown())
    assert exit_from(me, supervisor) == Shutdown()
    assert otp.info(pid).exit_reason == Killed()
    assert script.log == [("init", "a")]


def test_order_of_children(me: Attached, script: Script) -> None:
    supervisor = Supervisor.start_link([script.child(id, traps=True) for id in "abc"], max_restarts=MANY)
    victim = pid_of(supervisor, "b")
    crash(victim)
    end_of(me, victim)
    assert [row.id for row in children(supervisor)] == ["c", "b", "a"]
    Supervisor.start_child(supervisor, script.child("d", traps=True))
    assert [row.id for row in children(supervisor)] == ["d", "c", "b", "a"]
    script.log.clear()
    otp.stop(supervisor, timeout=HANG)
    assert [entry[1] for entry in script.log] == ["d", "c", "b", "a"]


def test_child_unlink(me: Attached, script: Script) -> None:
    supervisor = tree(script, "a")
    naughty = pid_of(supervisor, "a")
    do(naughty, lambda _puppet: otp.unlink(supervisor))
    Supervisor.terminate_child(supervisor, "a", HANG)
    assert otp.info(naughty).exit_reason == Shutdown()
    assert pids(supervisor) == {"a": None}
    assert nothing_more(me)


def test_a_child_that_died_while_it_was_to_be_stopped_is_not_restarted(
    me: Attached, script: Script, block: Block
) -> None:
    """The supervisor is held in a start while the child dies and `terminate_child` waits in its mailbox."""
    supervisor = tree(script, "a")
    script.next_starts["slow"] = [block]
    first, helpers = pid_of(supervisor, "a"), [Puppet.start(), Puppet.start()]
    begin(helpers[0], lambda _puppet: Supervisor.start_child(supervisor, script.child("slow")))
    block.wait_entered()
    otp.cast(helpers[1], lambda _puppet: Supervisor.terminate_child(supervisor, "a"))
    while otp.info(supervisor).mailbox < 1:  # until it is in the mailbox
        pass
    otp.exit(first, Kill())
    block.release()
    assert {id: pid is None for id, pid in pids(supervisor).items()} == {"a": True, "slow": False}
    assert script.starts() == ["a", "slow"]
    assert otp.is_alive(me.pid)


# --- children by id ----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("me")
def test_child_adm(script: Script) -> None:
    supervisor = tree(script, "")
    spec = script.child("a")
    first = Supervisor.start_child(supervisor, spec)
    assert first is not None
    assert pids(supervisor) == {"a": first}
    with pytest.raises(ChildError) as caught:
        Supervisor.start_child(supervisor, spec)
    assert (caught.value.code, caught.value.id, caught.value.pid) == ("already_started", "a", first)
    assert refusal(Supervisor.delete_child, supervisor, "a") == "running"
    assert refusal(Supervisor.restart_child, supervisor, "a") == "running"

    Supervisor.terminate_child(supervisor, "a")
    assert otp.info(first).exit_reason == Shutdown()
    assert pids(supervisor) == {"a": None}
    Supervisor.terminate_child(supervisor, "a")
    assert refusal(Supervisor.start_child, supervisor, spec) == "already_present"

    second = Supervisor.restart_child(supervisor, "a")
    assert second is not first
    assert pids(supervisor) == {"a": second}
    Supervisor.terminate_child(supervisor, "a")
    Supervisor.delete_child(supervisor, "a")
    assert pids(supervisor) == {}
    for function in (Supervisor.terminate_child, Supervisor.restart_child, Supervisor.delete_child):
        assert refusal(function, supervisor, "a") == "not_found"
    assert refusal(Supervisor.get_childspec, supervisor, "a") == "not_found"


@pytest.mark.parametrize("id", [None, 7, ["a"], ("a",), b"a"])
@pytest.mark.usefixtures("me")
def test_an_id_that_cannot_be_one_is_not_found_and_the_supervisor_lives(script: Script, id: Any) -> None:
    supervisor = tree(script, "a")
    for function in (
        Supervisor.terminate_child,
        Supervisor.restart_child,
        Supervisor.delete_child,
        Supervisor.get_childspec,
    ):
        assert refusal(function, supervisor, id) == "not_found"
    assert list(pids(supervisor)) == ["a"]


def test_child_specs(me: Attached, script: Script) -> None:
    supervisor = tree(script, "a")
    for spec, words in [
        ("b", "children='b' is not allowed: each child is a ChildSpec"),
        (None, "children=None is not allowed"),
        (script.child("b", restart="transient", significant=True), "significant=True is not allowed: only with auto_s"),
    ]:
        with pytest.raises(BadSpec, match=words):
            Supervisor.start_child(supervisor, spec)  # type: ignore[arg-type]
    assert list(pids(supervisor)) == ["a"]
    assert nothing_more(me)


@pytest.mark.usefixtures("me")
def test_get_childspec(script: Script) -> None:
    supervisor = tree(script, "")
    spec = script.child("a", restart="transient", shutdown=7)
    pid = Supervisor.start_child(supervisor, spec)
    assert pid is not None
    assert Supervisor.get_childspec(supervisor, "a") == spec
    assert Supervisor.get_childspec(supervisor, pid) == spec
    assert refusal(Supervisor.get_childspec, supervisor, supervisor) == "not_found"


def test_start_child_that_fails_is_not_added(me: Attached, script: Script) -> None:
    supervisor = tree(script, "a")
    error = Boom("no float")
    script.next_starts["b"] = [error]
    with pytest.raises(StartFailed, match="Boom: no float") as caught:
        Supervisor.start_child(supervisor, script.child("b"))
    assert caught.value.reason == Crash(error)
    assert list(pids(supervisor)) == ["a"]
    assert nothing_more(me)


@pytest.mark.usefixtures("me")
def test_restart_child_that_fails_keeps_the_spec(script: Script) -> None:
    supervisor = tree(script, "a", max_restarts=0)
    Supervisor.terminate_child(supervisor, "a")
    script.next_starts["a"] = [Boom(), Ignore()]
    with pytest.raises(StartFailed):
        Supervisor.restart_child(supervisor, "a")
    assert pids(supervisor) == {"a": None}
    assert Supervisor.restart_child(supervisor, "a") is None
    assert pids(supervisor) == {"a": None}
    assert Supervisor.restart_child(supervisor, "a") is pid_of(supervisor, "a")
    assert children(supervisor)[0].restarts == 0


@pytest.mark.usefixtures("me")
def test_terminate_child_of_a_temporary_child_forgets_it(script: Script) -> None:
    supervisor = Supervisor.start_link([script.child("a", restart="temporary"), script.child("b", restart="transient")])
    Supervisor.terminate_child(supervisor, "a")
    Supervisor.terminate_child(supervisor, "b")
    assert pids(supervisor) == {"b": None}


@pytest.mark.usefixtures("me")
def test_count_children(script: Script) -> None:
    inner = Supervisor.child_spec(id="inner")
    supervisor = Supervisor.start_link([script.child("a"), inner, script.child("b")])
    assert Supervisor.count_children(supervisor) == ChildCounts(specs=3, active=3, supervisors=1, workers=2)
    Supervisor.terminate_child(supervisor, "inner")
    assert Supervisor.count_children(supervisor) == ChildCounts(specs=3, active=2, supervisors=1, workers=2)
    Supervisor.delete_child(supervisor, "inner")
    assert Supervisor.count_children(supervisor) == ChildCounts(specs=2, active=2, supervisors=0, workers=2)


def test_a_dead_supervisor_answers_nobody(me: Attached, script: Script) -> None:
    supervisor = tree(script, "a")
    otp.stop(supervisor, timeout=HANG)
    assert exit_from(me, supervisor) == Normal()
    for question in (
        lambda: Supervisor.which_children(supervisor),
        lambda: Supervisor.start_child(supervisor, script.child("b")),
        lambda: Supervisor.terminate_child(supervisor, "a"),
        lambda: DynamicSupervisor.start_child(supervisor),
    ):
        with pytest.raises(CallFailed) as caught:
            question()
        assert caught.value.reason == NoProc()


# --- signals and strays ------------------------------------------------------------------------------------------------


def test_a_supervisor_does_not_obey_strangers(me: Attached, script: Script) -> None:
    inner = Supervisor.child_spec([script.child("leaf")], id="inner")
    supervisor = Supervisor.start_link([inner])
    stranger_to = pid_of(supervisor, "inner")
    leaf = pid_of(stranger_to, "leaf")
    for reason in (Shutdown(), Failure("boom"), Killed(), Normal()):
        otp.exit(stranger_to, reason)
    assert pid_of(supervisor, "inner") is stranger_to
    assert pid_of(stranger_to, "leaf") is leaf
    assert nothing_more(me)


@pytest.mark.usefixtures("me")
def test_a_stray_message_is_logged_and_a_stray_cast_ignored(script: Script, caplog: pytest.LogCaptureFixture) -> None:
    supervisor = tree(script, "a")
    before = pids(supervisor)
    otp.send(supervisor, "hello")
    otp.cast(supervisor, "hello")
    assert pids(supervisor) == before
    assert f"{supervisor!r} got a message that no supervisor expects: 'hello'" in caplog.messages


@pytest.mark.usefixtures("me")
def test_a_stray_call_is_answered_with_the_error(script: Script) -> None:
    supervisor = tree(script, "a")
    answer = otp.call(supervisor, "how are you?")
    assert isinstance(answer, UsageError)
    assert "a supervisor does not understand 'how are you?'" in str(answer)
    assert list(pids(supervisor)) == ["a"]


def test_the_kill_of_a_supervisor_takes_its_children_with_it(me: Attached, script: Script) -> None:
    specs = [script.child("a"), script.child("b", traps=True), Supervisor.child_spec([script.child("c")], id="inner")]
    supervisor = Supervisor.start_link(specs)
    below = [node.pid for node in otp.tree(supervisor).children]
    otp.exit(supervisor, Kill())
    assert exit_from(me, supervisor) == Killed()
    reasons = [end_of(me, pid) for pid in below if isinstance(pid, otp.Pid)]
    assert reasons == [Killed()] * 3
    assert ("terminate", "b", Killed()) in script.log


def test_the_kill_of_a_supervisor_that_waits_for_a_start(me: Attached, script: Script, block: Block) -> None:
    script.next_starts["slow"] = [block]
    supervisor = tree(script, "a")
    child, thread = pid_of(supervisor, "a"), thread_of(supervisor)
    helper = Puppet.start()
    begin(helper, lambda _puppet: Supervisor.start_child(supervisor, script.child("slow")))
    block.wait_entered()
    otp.exit(supervisor, Kill())
    assert exit_from(me, supervisor) == Killed()
    assert isinstance(end_of(me, helper), Crash)
    assert end_of(me, child) == Killed()
    thread.join(HANG)
    assert not thread.is_alive()
    assert me.registry.processes() == [me.pid]
    assert [pid.label for pid in me.registry.zombies()] == ["Puppet"]
    block.release()


def test_the_kill_of_a_supervisor_that_waits_for_an_end(me: Attached, script: Script, block: Block) -> None:
    supervisor = Supervisor.start_link([script.child("a"), script.child("b", traps=True, shutdown="infinity")])
    plain, stubborn, thread = pid_of(supervisor, "a"), pid_of(supervisor, "b"), thread_of(supervisor)
    terminates_by(stubborn, block)
    otp.exit(supervisor, Shutdown())
    block.wait_entered()
    otp.exit(supervisor, Kill())
    assert exit_from(me, supervisor) == Killed()
    assert end_of(me, plain) == Killed()
    thread.join(HANG)
    assert not thread.is_alive()
    block.release()
    assert end_of(me, stubborn) in (Shutdown(), Killed())
    assert me.registry.processes() == [me.pid]


def test_a_tree_ends_with_the_process_that_started_it(script: Script, registry: otp.Registry) -> None:
    with attach(registry=registry, trap_exit=True):
        supervisor = Supervisor.start_link(
            [script.child("a", traps=True), Supervisor.child_spec([script.child("b", traps=True)], id="inner")]
        )
    with attach(registry=registry, trap_exit=True) as me:
        assert end_of(me, supervisor) == Shutdown()
        assert registry.processes() == [me.pid]
    assert [entry[1] for entry in script.log[2:]] == ["b", "a"]


def test_who_hears_of_a_crash_from_a_call_finds_the_child_restarted(me: Attached, script: Script) -> None:
    """The links of the dead are told before its callers: the supervisor has its signal when the caller asks it."""
    supervisor = tree(script, "a")
    for _ in range(100):
        pid = pid_of(supervisor, "a")
        with pytest.raises(CallFailed):
            otp.call(pid, lambda _puppet: Stop(Failure("boom")), timeout=HANG)
        (row,) = Supervisor.which_children(supervisor, HANG)
        assert isinstance(row.pid, otp.Pid)
        assert row.pid is not pid
    assert otp.is_alive(me.pid)


def test_a_base_exception_in_a_child_ends_that_child_alone(me: Attached, script: Script) -> None:
    supervisor = tree(script, "ab")
    before = pids(supervisor)
    for error in (SystemExit(3), KeyboardInterrupt()):
        victim = pid_of(supervisor, "a")
        crash(victim, error)
        assert end_of(me, victim) == Crash(error)
        after = pids(supervisor)
        assert after["b"] is before["b"]
        assert after["a"] is not victim
    assert otp.is_alive(me.pid)


def test_a_base_exception_in_the_init_of_a_child_is_a_failed_start(me: Attached, script: Script) -> None:
    supervisor = tree(script, "a")
    for error in (SystemExit(3), KeyboardInterrupt()):
        script.next_starts["b"] = [error]
        with pytest.raises(StartFailed) as caught:
            Supervisor.start_child(supervisor, script.child("b"))
        assert caught.value.reason == Crash(error)
    assert list(pids(supervisor)) == ["a"]
    assert nothing_more(me)


def test_scale_start_stop_many_children(me: Attached, script: Script) -> None:
    supervisor = tree(script, "")
    for number in range(300):
        Supervisor.start_child(supervisor, script.child(str(number)))
    assert Supervisor.count_children(supervisor).active == 300
    otp.stop(supervisor, timeout=HANG)
    assert me.registry.processes() == [me.pid]


def test_a_tree_of_trees(me: Attached, script: Script) -> None:
    """supervisor_SUITE:tree: workers and supervisors on two levels, some crash, some are added and deleted."""
    inner = [
        Supervisor.child_spec([script.child(f"{id}{n}") for n in range(2)], id=id, max_restarts=MANY) for id in "xy"
    ]
    supervisor = Supervisor.start_link([script.child("a"), *inner], strategy="one_for_all", max_restarts=MANY)
    x, y = pid_of(supervisor, "x"), pid_of(supervisor, "y")
    victim = pid_of(x, "x0")
    crash(victim)
    end_of(me, victim)
    assert pid_of(x, "x0") is not victim
    assert (pid_of(supervisor, "x"), pid_of(supervisor, "y")) == (x, y)
    Supervisor.start_child(y, script.child("y2"))
    assert list(pids(y)) == ["y0", "y1", "y2"]
    otp.exit(pid_of(supervisor, "a"), Kill())
    assert pid_of(supervisor, "y") is not y
    assert list(pids(pid_of(supervisor, "y"))) == ["y0", "y1"]
    otp.stop(supervisor, timeout=HANG)
    assert me.registry.processes() == [me.pid]


def test_children_that_die_while_the_supervisor_is_busy_are_restarted_in_turn(
    me: Attached, script: Script, block: Block
) -> None:
    supervisor = tree(script, "abc")
    script.next_starts["slow"] = [block]
    before = pids(supervisor)
    starter = threading.Thread(
        target=Supervisor.start_child, args=(supervisor, script.child("slow", restart="temporary"))
    )
    starter.start()
    block.wait_entered()
    for id in "cab":
        pid = before[id]
        assert pid is not None
        otp.exit(pid, Kill())
    script.log.clear()
    block.release()
    starter.join(HANG)
    assert restarted(before, {id: pid for id, pid in pids(supervisor).items() if id != "slow"}) == "abc"
    assert script.starts() == ["c", "a", "b"]
    assert otp.is_alive(me.pid)
