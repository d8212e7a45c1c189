"""DynamicSupervisor, which is Erlang's simple_one_for_one; supervisor_SUITE's names where it has the case."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from otpq import otp
from otpq.otp import (
    BadSpec,
    ChildCounts,
    ChildError,
    ChildInfo,
    Crash,
    DynamicSupervisor,
    Failure,
    Ignore,
    Kill,
    Killed,
    Normal,
    Reason,
    Shutdown,
    StartFailed,
    Supervisor,
)
from tests.integration.otp.support import (
    HANG,
    MANY,
    Block,
    Boom,
    Puppet,
    Script,
    add,
    answers,
    children,
    crash,
    do,
    end_of,
    exit_from,
    instances,
    nothing_more,
    refusal,
    terminates_by,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.otp import Attached, Pid
    from otpq.otp.child_spec import Restart


def pool(script: Script, restart: Restart = "permanent", **options: Any) -> Pid:
    """A DynamicSupervisor of scripted workers."""
    spec = {name: options.pop(name) for name in ("shutdown", "significant") if name in options}
    return DynamicSupervisor.start_link(script.template(restart=restart, **spec), **{"max_restarts": MANY, **options})


def labels(pool: Pid) -> list[str]:
    return [do(pid, lambda puppet: puppet.label) for pid in instances(pool)]


def test_simple_one_for_one(me: Attached, script: Script) -> None:
    supervisor = pool(script)
    assert instances(supervisor) == []
    first, second = add(supervisor, "a"), add(supervisor, "b")
    assert instances(supervisor) == [first, second]
    otp.exit(first, Kill())
    replaced, kept = instances(supervisor)
    assert kept is second
    assert replaced is not first
    assert nothing_more(me)


@pytest.mark.usefixtures("me")
def test_simple_one_for_one_extra(script: Script) -> None:
    """The arguments of start_child are those of every restart."""
    supervisor = pool(script)
    pid = add(supervisor, "a", traps=True)
    assert otp.info(pid).trap_exit
    for _ in range(3):
        otp.exit(instances(supervisor)[0], Kill())
    assert labels(supervisor) == ["a"]
    assert otp.info(instances(supervisor)[0]).trap_exit


@pytest.mark.usefixtures("me")
def test_child_adm_simple(script: Script) -> None:
    supervisor = pool(script)
    pid = add(supervisor, "a")
    assert children(supervisor) == [ChildInfo(None, pid, "worker", 0)]
    assert DynamicSupervisor.count_children(supervisor) == ChildCounts(specs=1, active=1, supervisors=0, workers=1)
    assert DynamicSupervisor.get_childspec(supervisor, pid).id == "template"
    assert DynamicSupervisor.get_childspec(supervisor, "template").id == "template"
    assert refusal(DynamicSupervisor.get_childspec, supervisor, "a") == "not_found"
    for function in (
        DynamicSupervisor.terminate_child,
        DynamicSupervisor.restart_child,
        DynamicSupervisor.delete_child,
    ):
        assert refusal(function, supervisor, "a") == "simple_one_for_one"
    for function in (DynamicSupervisor.restart_child, DynamicSupervisor.delete_child):
        assert refusal(function, supervisor, pid) == "simple_one_for_one"
    assert instances(supervisor) == [pid]


def test_terminate_child_by_pid_forgets_it(me: Attached, script: Script) -> None:
    supervisor = pool(script)
    first, second = add(supervisor, "a"), add(supervisor, "b")
    DynamicSupervisor.terminate_child(supervisor, first)
    assert otp.info(first).exit_reason == Shutdown()
    assert instances(supervisor) == [second]
    DynamicSupervisor.terminate_child(supervisor, first)
    assert refusal(DynamicSupervisor.terminate_child, supervisor, me.pid) == "not_found"
    assert refusal(DynamicSupervisor.get_childspec, supervisor, first) == "not_found"


def test_terminate_child_calls_a_restart_off(me: Attached, script: Script, block: Block) -> None:
    """supervisor.erl finds an instance that is being restarted by its old pid, and forgets it."""

    class FailingBlock(Block):
        def __call__(self, _server: object = None) -> None:
            block()
            raise Boom

    supervisor, helper = pool(script), Puppet.start()
    pid = add(supervisor, "a")
    script.next_starts["a"] = [FailingBlock(), Boom()]
    otp.exit(pid, Kill())
    block.wait_entered()
    otp.cast(helper, lambda _puppet: DynamicSupervisor.terminate_child(supervisor, pid))
    while otp.info(supervisor).mailbox < 1:  # until it is in the mailbox
        pass
    block.release()
    assert answers(helper)
    assert instances(supervisor) == []
    assert otp.is_alive(me.pid)


@pytest.mark.parametrize("reason", [Normal(), Shutdown("done"), Failure("boom"), Killed()], ids=repr)
@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
def test_who_is_restarted_and_who_is_forgotten(me: Attached, script: Script, restart: Restart, reason: Reason) -> None:
    supervisor = pool(script, restart)
    pid, other = add(supervisor, "a"), add(supervisor, "b")
    otp.cast(pid, lambda _puppet: otp.Stop(reason))
    assert end_of(me, pid) == reason
    is_restarted = restart == "permanent" or (restart == "transient" and reason not in (Normal(), Shutdown("done")))
    assert labels(supervisor) == (["a", "b"] if is_restarted else ["b"])
    assert instances(supervisor)[-1] is other


def test_simple_one_for_one_shutdown(me: Attached, script: Script) -> None:
    supervisor = pool(script)
    running = [add(supervisor, label, traps=True) for label in "abc"]
    otp.stop(supervisor, timeout=HANG)
    assert exit_from(me, supervisor) == Normal()
    assert sorted(entry[1] for entry in script.log if entry[0] == "terminate") == ["a", "b", "c"]
    assert [otp.info(pid).exit_reason for pid in running] == [Shutdown()] * 3


def test_children_are_stopped_at_the_same_time(me: Attached, script: Script, new_block: Callable[[], Block]) -> None:
    """Each waits in terminate until all are there: one after the other would hang until the shutdown time."""
    supervisor = pool(script, shutdown="infinity")
    blocks = [new_block() for _ in range(3)]
    for number, block in enumerate(blocks):
        pid = add(supervisor, str(number), traps=True)
        terminates_by(pid, block)
    otp.exit(supervisor, Shutdown())
    for block in blocks:
        block.wait_entered()
    assert otp.is_alive(supervisor)
    for block in blocks:
        block.release()
    assert exit_from(me, supervisor) == Shutdown()


def test_sup_stop_brutal_kill_dynamic(me: Attached, script: Script) -> None:
    supervisor = pool(script, shutdown="brutal_kill")
    running = [add(supervisor, label, traps=True) for label in "abc"]
    otp.stop(supervisor, timeout=HANG)
    assert exit_from(me, supervisor) == Normal()
    assert [otp.info(pid).exit_reason for pid in running] == [Killed()] * 3
    assert [entry[0] for entry in script.log] == ["init"] * 3


def test_all_share_one_shutdown_time(me: Attached, script: Script, block: Block) -> None:
    supervisor = pool(script, shutdown=0.05)
    running = [add(supervisor, label, traps=True) for label in "abc"]
    for pid in running:
        terminates_by(pid, block)
    otp.exit(supervisor, Shutdown())
    assert exit_from(me, supervisor) == Shutdown()
    assert [otp.info(pid).exit_reason for pid in running] == [Killed()] * 3
    assert set(me.registry.zombies()) == set(running)


def test_simple_one_for_one_escalation(me: Attached, script: Script) -> None:
    supervisor = pool(script, max_restarts=2, max_seconds=3600)
    other = add(supervisor, "b")
    add(supervisor, "a")
    for _ in range(2):
        otp.exit(instances(supervisor)[-1], Kill())
        assert labels(supervisor) == ["b", "a"]
    otp.exit(instances(supervisor)[-1], Kill())
    assert exit_from(me, supervisor) == Shutdown()
    assert otp.info(other).exit_reason == Shutdown()


def test_hanging_restart_loop_simple(me: Attached, script: Script) -> None:
    supervisor = pool(script)
    add(supervisor, "a")
    script.fails("a", MANY // 10)
    otp.exit(instances(supervisor)[0], Kill())
    for _ in range(10):
        assert len(DynamicSupervisor.which_children(supervisor, HANG)) == 1
    add(supervisor, "b")
    otp.stop(supervisor, timeout=HANG)
    assert exit_from(me, supervisor) == Normal()


def test_a_restart_that_fails_is_tried_again(me: Attached, script: Script) -> None:
    supervisor = pool(script)
    add(supervisor, "a")
    script.fails("a", 3)
    otp.exit(instances(supervisor)[0], Kill())
    (row,) = children(supervisor)
    assert row.restarts == 4
    assert labels(supervisor) == ["a"]
    assert otp.is_alive(me.pid)


def test_a_restart_that_ignores_forgets_the_child(me: Attached, script: Script) -> None:
    supervisor = pool(script)
    pid = add(supervisor, "a")
    script.next_starts["a"] = [Ignore()]
    otp.exit(pid, Kill())
    assert instances(supervisor) == []
    assert nothing_more(me)


@pytest.mark.parametrize("outcome", [Boom("no float"), otp.Stop(Failure("empty"))], ids=type)
def test_start_child_that_fails_is_forgotten(me: Attached, script: Script, outcome: Any) -> None:
    supervisor = pool(script)
    script.next_starts["a"] = [outcome]
    with pytest.raises(StartFailed) as caught:
        DynamicSupervisor.start_child(supervisor, "a")
    assert caught.value.reason == (outcome.reason if isinstance(outcome, otp.Stop) else Crash(outcome))
    assert instances(supervisor) == []
    assert nothing_more(me)


@pytest.mark.usefixtures("me")
def test_start_child_that_ignores_is_forgotten(script: Script) -> None:
    supervisor = pool(script)
    script.next_starts["a"] = [Ignore()]
    assert DynamicSupervisor.start_child(supervisor, "a") is None
    assert instances(supervisor) == []
    assert DynamicSupervisor.count_children(supervisor).specs == 1


def test_start_child_with_wrong_arguments_is_a_failed_start_and_the_supervisor_lives(
    me: Attached, script: Script
) -> None:
    supervisor = pool(script)
    with pytest.raises(StartFailed, match="missing 1 required positional argument: 'label'"):
        DynamicSupervisor.start_child(supervisor)
    with pytest.raises(StartFailed, match="unexpected keyword argument 'colour'"):
        DynamicSupervisor.start_child(supervisor, "a", colour="red")
    add(supervisor, "a")
    assert nothing_more(me)


# --- max_children ------------------------------------------------------------------------------------------------------


def test_max_children_is_a_limit_that_the_caller_is_told(me: Attached, script: Script) -> None:
    supervisor = pool(script, "transient", max_children=2)
    first = add(supervisor, "a")
    add(supervisor, "b")
    with pytest.raises(ChildError) as caught:
        DynamicSupervisor.start_child(supervisor, "c")
    assert (caught.value.code, caught.value.id) == ("max_children", 2)
    assert str(caught.value) == "2 children: that is max_children, and there is no room for another"
    assert labels(supervisor) == ["a", "b"]
    crash(first)
    end_of(me, first)
    assert labels(supervisor) == ["a", "b"]
    assert refusal(DynamicSupervisor.start_child, supervisor, "c") == "max_children"
    DynamicSupervisor.terminate_child(supervisor, instances(supervisor)[0])
    add(supervisor, "c")
    assert labels(supervisor) == ["b", "c"]


def test_a_child_that_is_being_restarted_keeps_its_place(me: Attached, script: Script, block: Block) -> None:
    class FailingBlock(Block):
        def __call__(self, _server: object = None) -> None:
            block()
            raise Boom

    supervisor, helper = pool(script, max_children=1), Puppet.start()
    script_pid = add(supervisor, "a")
    script.next_starts["a"] = [FailingBlock(), Boom()]
    outcomes: list[str] = []
    otp.exit(script_pid, Kill())
    block.wait_entered()
    otp.cast(helper, lambda _puppet: outcomes.append(refusal(DynamicSupervisor.start_child, supervisor, "b")))
    while otp.info(supervisor).mailbox < 1:  # until it is in the mailbox
        pass
    block.release()
    assert answers(helper)
    assert outcomes == ["max_children"]
    assert labels(supervisor) == ["a"]
    assert otp.is_alive(me.pid)


@pytest.mark.usefixtures("me")
def test_a_failed_or_ignored_start_takes_no_place(script: Script) -> None:
    supervisor = pool(script, max_children=1)
    script.next_starts["a"] = [Ignore(), Boom()]
    assert DynamicSupervisor.start_child(supervisor, "a") is None
    with pytest.raises(StartFailed):
        DynamicSupervisor.start_child(supervisor, "a")
    add(supervisor, "a")


@pytest.mark.usefixtures("me")
def test_max_children_of_zero_starts_nothing(script: Script) -> None:
    assert refusal(DynamicSupervisor.start_child, pool(script, max_children=0), "a") == "max_children"


@pytest.mark.usefixtures("me")
def test_no_limit_unless_one_is_given(script: Script) -> None:
    supervisor = pool(script)
    for number in range(100):
        add(supervisor, str(number))
    assert DynamicSupervisor.count_children(supervisor).active == 100


# --- the rest ----------------------------------------------------------------------------------------------------------


def test_simple_one_for_one_scale_many_temporary_children(me: Attached, script: Script) -> None:
    supervisor = pool(script, "temporary", max_restarts=0)
    running = [add(supervisor, str(number)) for number in range(300)]
    for pid in running:
        otp.exit(pid, Kill())
    assert instances(supervisor) == []
    assert otp.is_alive(supervisor)
    assert nothing_more(me)


def test_auto_shutdown_of_a_dynamic_supervisor(me: Attached, script: Script) -> None:
    supervisor = pool(script, "transient", significant=True, auto_shutdown="all_significant")
    first, second = add(supervisor, "a"), add(supervisor, "b")
    otp.stop(first, timeout=HANG)
    assert instances(supervisor) == [second]
    otp.cast(second, lambda _puppet: otp.Stop(Normal()))
    assert exit_from(me, supervisor) == Shutdown()


@pytest.mark.usefixtures("me")
def test_a_significant_template_wants_an_auto_shutdown(script: Script) -> None:
    with pytest.raises(BadSpec, match="significant=True is not allowed: only with auto_shutdown"):
        pool(script, "transient", significant=True)


def test_a_dynamic_supervisor_of_supervisors(me: Attached, script: Script) -> None:
    def start(ids: str) -> Pid:
        return Supervisor.start_link([script.child(id) for id in ids])

    supervisor = DynamicSupervisor.start_link(
        otp.ChildSpec(id="shop", start=start, type="supervisor"), max_restarts=MANY
    )
    shop = add(supervisor, "ab")
    assert DynamicSupervisor.count_children(supervisor) == ChildCounts(specs=1, active=1, supervisors=1, workers=0)
    otp.exit(shop, Kill())
    (shop,) = instances(supervisor)
    assert [row.id for row in children(shop)] == ["b", "a"]
    otp.stop(supervisor, timeout=HANG)
    assert me.registry.processes() == [me.pid]


def test_the_kill_of_a_dynamic_supervisor_takes_its_children_with_it(me: Attached, script: Script) -> None:
    supervisor = pool(script)
    running = [add(supervisor, "a"), add(supervisor, "b", traps=True)]
    otp.exit(supervisor, Kill())
    assert exit_from(me, supervisor) == Killed()
    assert [end_of(me, pid) for pid in running] == [Killed(), Killed()]
