from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from otpq import otp
from otpq.otp import CallFailed, Kill, NameTaken, NoProc, NotRegistered, Registry, Supervisor, UsageError, attach
from tests.integration.otp.support import HANG, Puppet, answers, children, crash, do, end_of, pid_of

if TYPE_CHECKING:
    from otpq.otp import Attached


def test_a_server_is_reached_by_its_name(me: Attached) -> None:
    pid = Puppet.start_link("till", name="till")
    assert otp.whereis("till") is pid
    assert me.registry.names() == {"till": pid}
    assert pid.label == "till"
    assert do("till", lambda puppet: puppet.label) == "till"
    otp.cast("till", lambda puppet: puppet.log.append("cast"))
    otp.send("till", "sent")
    assert do("till", lambda puppet: puppet.log[1:]) == ["cast", ("info", "till", "sent")]


def test_a_name_is_free_again_when_exit_returns(me: Attached) -> None:
    for _ in range(100):
        pid = Puppet.start_link(name="till")
        otp.exit(pid, Kill())
    assert me.registry.names() == {}


@pytest.mark.usefixtures("me")
def test_a_server_may_change_its_name(registry: Registry) -> None:
    pid = Puppet.start_link(name="till")
    with pytest.raises(UsageError, match="it has a name already"):
        otp.register("desk", pid)
    do(pid, lambda _puppet: otp.unregister("till"))
    do(pid, lambda puppet: otp.register("desk", puppet.pid))
    assert otp.info(pid).name == "desk"
    assert registry.names() == {"desk": pid}
    with pytest.raises(NameTaken):
        otp.register("desk", Puppet.start())
    with pytest.raises(NotRegistered):
        otp.unregister("till")


def test_a_restarted_child_holds_the_name_and_its_old_pid_is_nobody(me: Attached) -> None:
    supervisor = Supervisor.start_link([Puppet.child_spec(id="till", name="till")], max_restarts=10)
    first = pid_of(supervisor, "till")
    crash("till")
    end_of(me, first)
    second = pid_of(supervisor, "till")
    assert second is not first
    assert otp.whereis("till") is second
    with pytest.raises(CallFailed) as caught:
        do(first, lambda _puppet: None)
    assert caught.value.reason == NoProc()
    otp.stop(supervisor, timeout=HANG)


def test_two_registries_do_not_see_each_others_names(registry: Registry) -> None:
    other = Registry()
    with attach(registry=registry):
        here = Puppet.start("here", name="till")
    with attach(registry=other) as me:
        assert otp.whereis("till") is None
        there = Puppet.start("there", name="till")
        assert do("till", lambda puppet: puppet.label) == "there"
        assert do(here, lambda puppet: puppet.label) == "here"
        for verb in (lambda: do("desk", lambda _puppet: None), lambda: otp.info("desk"), lambda: otp.stop("desk")):
            with pytest.raises(CallFailed) as caught:
                verb()
            assert caught.value.reason == NoProc()
        assert other.processes() == [there, me.pid] or other.processes() == [me.pid, there]
        otp.stop(there, timeout=HANG)
    assert registry.names() == {"till": here}
    assert other.names() == {}


def test_a_name_is_looked_up_in_the_registry_of_the_caller_also_inside_a_server(registry: Registry) -> None:
    other = Registry()
    here = Puppet.start("here", name="till", registry=registry)
    there = Puppet.start("there", name="till", registry=other)
    assert do(here, lambda _puppet: otp.whereis("till")) is here
    assert do(there, lambda _puppet: otp.whereis("till")) is there
    otp.stop(there, timeout=HANG)


def test_a_whole_tree_shares_the_registry_of_its_root(me: Attached) -> None:
    inner = Supervisor.child_spec([Puppet.child_spec(id="leaf", name="leaf")], id="inner")
    supervisor = Supervisor.start_link([inner])
    assert do("leaf", lambda puppet: puppet.registry) is me.registry
    grandchild = do("leaf", lambda _puppet: Puppet.start_link(name="grandchild"))
    assert otp.whereis("grandchild") is grandchild
    otp.stop(supervisor, timeout=HANG)
    assert end_of(me, grandchild) is not None
    assert me.registry.names() == {}


def test_a_plain_thread_uses_the_registry_itself(registry: Registry) -> None:
    pid = Puppet.start("till", name="till", registry=registry)
    with pytest.raises(UsageError, match="needs a registry"):
        do("till", lambda _puppet: None)
    found = registry.whereis("till")
    assert found is pid
    assert answers(found)


def test_a_child_whose_name_is_taken_is_a_failed_start(me: Attached) -> None:
    Puppet.start_link(name="till")
    with pytest.raises(otp.StartFailed) as caught:
        Supervisor.start_link([Puppet.child_spec(id="second", name="till")])
    reason = caught.value.reason
    assert isinstance(reason, otp.Shutdown)
    assert isinstance(reason.detail, otp.FailedToStartChild)
    assert reason.detail.reason == otp.Failure(("already_started", otp.whereis("till")))
    assert answers("till")
    assert len(me.registry.processes()) == 2


def test_names_lead_to_the_living_while_a_child_is_restarted_over_and_over(me: Attached) -> None:
    supervisor = Supervisor.start_link([Puppet.child_spec(id="till", name="till")], max_restarts=1000)
    for _ in range(50):
        pid = pid_of(supervisor, "till")
        assert otp.whereis("till") is pid
        otp.exit(pid, Kill())
        assert otp.whereis("till") is not pid
        (row,) = children(supervisor)
        assert row.pid is otp.whereis("till")
    assert me.registry.names().keys() == {"till"}
    otp.stop(supervisor, timeout=HANG)
