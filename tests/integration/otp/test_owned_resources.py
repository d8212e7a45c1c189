"""own(release): what a process holds is let go of at its death, whatever the cause, before anybody hears of it."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from otpq import otp
from otpq.otp import Crash, Down, Exit, Failure, Kill, Killed, Normal, Reason, Shutdown, Supervisor
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
    nothing_more,
    own,
    pid_of,
    thread_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.otp import Attached, Pid


class Owner(Puppet):
    """Owns three things; each logs its release, with the thread that it ran in."""

    def init(self, *args: Any, **kwargs: Any) -> Any:
        answer = super().init(*args, **kwargs)
        for name in "abc":
            self.own(partial(self.note, name))
        return answer

    def note(self, name: str) -> None:
        self.log.append((name, threading.get_ident()))


def released(log: list[Any]) -> str:
    return "".join(entry[0] for entry in log if entry[0] in "abc")


ENDS: dict[str, tuple[Callable[[Pid], None], type[Reason]]] = {
    "stop": (lambda pid: otp.stop(pid, timeout=HANG), Normal),
    "crash": (crash, Crash),
    "kill": (lambda pid: otp.exit(pid, Kill()), Killed),
    "signal": (lambda pid: otp.exit(pid, Failure("x")), Failure),
}


@pytest.mark.parametrize("how", ENDS)
def test_everything_owned_is_released_once_the_last_first_however_it_ends(me: Attached, how: str) -> None:
    log: list[Any] = []
    pid = Owner.start("owner", log)
    end, reason = ENDS[how]
    end(pid)
    assert isinstance(end_of(me, pid), reason)
    assert released(log) == "cba"


def test_a_server_that_ends_by_itself_releases_in_its_own_thread_after_terminate(me: Attached) -> None:
    log: list[Any] = []
    pid = Owner.start("owner", log)
    thread = thread_of(pid).ident
    otp.stop(pid, timeout=HANG)
    assert log[1:] == [("terminate", "owner", Normal()), ("c", thread), ("b", thread), ("a", thread)]
    assert nothing_more(me)


def test_a_kill_releases_in_the_killers_thread_while_the_callback_still_runs(me: Attached, block: Block) -> None:
    log: list[Any] = []
    pid = Owner.start("owner", log)
    otp.cast(pid, block)
    block.wait_entered()
    otp.exit(pid, Kill())
    here = threading.get_ident()
    assert log[1:] == [("c", here), ("b", here), ("a", here)]
    assert me.registry.zombies() == [pid]


def test_a_failed_start_releases_what_init_took_hold_of(me: Attached) -> None:
    log: list[Any] = []

    def half_way(puppet: Puppet) -> None:
        puppet.own(lambda: puppet.log.append("released"))
        raise Boom

    with pytest.raises(otp.StartFailed):
        Puppet.start_link("owner", log, half_way)
    assert log == [("init", "owner"), "released"]
    assert nothing_more(me)


def test_an_init_that_is_killed_releases_before_the_starter_hears(me: Attached, block: Block) -> None:
    log: list[Any] = []

    def slow(puppet: Puppet) -> None:
        puppet.own(lambda: puppet.log.append("released"))
        block(puppet)

    with pytest.raises(otp.StartFailed):
        Puppet.start_link("owner", log, slow, timeout=0.2)
    assert log == [("init", "owner"), "released"]
    assert nothing_more(me)


def test_releases_run_before_monitors_and_links_hear_and_before_a_caller_is_answered(
    me: Attached, new_block: Callable[[], Block]
) -> None:
    holding, stuck = new_block(), new_block()
    pid, killer = Puppet.start_link("owner"), Puppet.start_link("killer")
    ref = otp.monitor(pid)
    own(pid, holding)
    outcome: list[Any] = []

    def ask() -> None:
        with pytest.raises(otp.CallFailed) as caught:
            otp.call(pid, stuck, timeout=HANG)
        outcome.append(caught.value.reason)

    asking = threading.Thread(target=ask)
    asking.start()
    stuck.wait_entered()
    otp.cast(killer, lambda _puppet: otp.exit(pid, Kill()))
    holding.wait_entered()
    assert not otp.is_alive(pid)
    assert nothing_more(me)
    assert outcome == []
    holding.release()
    assert [me.receive(HANG), me.receive(HANG)] == [Down(ref, pid, Killed()), Exit(pid, Killed())]
    asking.join(HANG)
    assert outcome == [Killed()]


def test_a_restarted_child_never_meets_what_its_predecessor_owned(me: Attached) -> None:
    held: set[str] = set()

    def take(puppet: Puppet) -> None:
        assert "port 80" not in held
        held.add("port 80")
        puppet.own(lambda: held.remove("port 80"))

    supervisor = Supervisor.start_link([Puppet.child_spec("till", None, take, id="till")], max_restarts=1000)
    for end, _reason in [ENDS["crash"], ENDS["kill"]] * 20:
        pid = pid_of(supervisor, "till")
        end(pid)
        end_of(me, pid)
        pid_of(supervisor, "till")
        assert held == {"port 80"}
    rows = Supervisor.which_children(supervisor)
    assert rows[0].restarts == 40
    otp.stop(supervisor, timeout=HANG)
    assert held == set()


def test_a_release_that_fails_is_logged_and_the_rest_run(me: Attached, caplog: pytest.LogCaptureFixture) -> None:
    log: list[Any] = []
    pid = Owner.start_link("owner", log)

    def fail() -> None:
        raise Boom("stuck lid")

    own(pid, fail)
    own(pid, lambda: log.append(("a", "last")))
    otp.exit(pid, Kill())
    assert exit_from(me, pid) == Killed()
    assert released(log) == "acba"
    assert caplog.messages == [f"{pid!r}: a release failed; the next ones run"]
    assert "stuck lid" in caplog.text


def test_a_zombie_that_takes_hold_of_something_lets_go_at_once(me: Attached, block: Block) -> None:
    log: list[Any] = []
    pid = Puppet.start_link("owner", log)

    def late(puppet: Puppet) -> None:
        block(puppet)
        puppet.own(lambda: puppet.log.append(("released", threading.current_thread().name)))
        puppet.log.append("never reached")

    otp.cast(pid, late)
    block.wait_entered()
    thread = thread_of(pid)
    otp.exit(pid, Kill())
    block.release()
    thread.join(HANG)
    assert log == [("init", "owner"), ("released", repr(pid))]
    assert exit_from(me, pid) == Killed()


def test_what_was_given_up_is_not_released(me: Attached) -> None:
    log: list[Any] = []
    pid = Puppet.start_link("owner", log)

    def take_and_give_up(puppet: Puppet) -> None:
        puppet.own(lambda: puppet.log.append("kept"))
        puppet.own(lambda: puppet.log.append("given up"))()

    do(pid, take_and_give_up)
    otp.exit(pid, Kill())
    assert exit_from(me, pid) == Killed()
    assert log == [("init", "owner"), "kept"]


def test_a_release_may_use_names_calls_and_kills(me: Attached) -> None:
    log: list[Any] = []
    other, helper = Puppet.start("other"), Puppet.start("helper")
    pid = Puppet.start_link("owner", log)

    def release() -> None:
        otp.exit(other, Kill())
        log.append((otp.is_alive(other), answers(helper), me.registry.whereis("owner")))

    own(pid, release)
    otp.exit(pid, Shutdown())
    assert exit_from(me, pid) == Shutdown()
    assert log[1:] == [(False, True, None)]


def test_the_killer_is_itself_again_after_the_releases(me: Attached) -> None:
    killer, pid = Puppet.start("killer"), Owner.start("owner")

    def kill(_puppet: Puppet) -> Pid:
        otp.exit(pid, Kill())
        return otp.self_pid()

    assert do(killer, kill) is killer
    assert otp.self_pid() is me.pid
