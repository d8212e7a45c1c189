"""Supervisor: who is restarted, with whom, how often, and what if that fails. Named as in supervisor_SUITE."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from otpq import otp
from otpq.otp import (
    CallFailed,
    ChildCounts,
    ChildSpec,
    Failure,
    Ignore,
    Kill,
    Normal,
    Reason,
    Shutdown,
    Supervisor,
)
from tests.integration.otp.support import (
    HANG,
    MANY,
    Block,
    Boom,
    Puppet,
    Script,
    answers,
    children,
    crash,
    end,
    end_of,
    exit_from,
    pid_of,
    pids,
    refusal,
    restarted,
    tree,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.otp import Attached, Pid
    from otpq.otp.child_spec import Restart, Strategy


# --- who is restarted --------------------------------------------------------------------------------------------------

CLEAN: list[Reason] = [Normal(), Shutdown(), Shutdown("done")]


@pytest.mark.parametrize("reason", [*CLEAN, Failure("boom")], ids=repr)
def test_permanent_normal_shutdown_and_abnormal(me: Attached, script: Script, reason: Reason) -> None:
    supervisor = Supervisor.start_link([script.child("a")])
    first = pid_of(supervisor, "a")
    end(me, first, reason)
    assert pid_of(supervisor, "a") is not first
    assert children(supervisor)[0].restarts == 1


@pytest.mark.parametrize("reason", CLEAN, ids=repr)
def test_transient_normal_and_shutdown(me: Attached, script: Script, reason: Reason) -> None:
    supervisor = Supervisor.start_link([script.child("a", restart="transient")], max_restarts=0)
    end(me, pid_of(supervisor, "a"), reason)
    assert pids(supervisor) == {"a": None}
    assert Supervisor.restart_child(supervisor, "a") is not None


def test_transient_abnormal(me: Attached, script: Script) -> None:
    supervisor = Supervisor.start_link([script.child("a", restart="transient")])
    first = pid_of(supervisor, "a")
    end(me, first, Failure("boom"))
    assert pid_of(supervisor, "a") is not first


@pytest.mark.parametrize("reason", [*CLEAN, Failure("boom")], ids=repr)
def test_temporary_normal_shutdown_and_abnormal(me: Attached, script: Script, reason: Reason) -> None:
    specs = [script.child("a", restart="temporary"), script.child("b")]
    supervisor = Supervisor.start_link(specs, strategy="one_for_all", max_restarts=0)
    before = pids(supervisor)
    end(me, pid_of(supervisor, "a"), reason)
    assert pids(supervisor) == {"b": before["b"]}


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_temporary_bystander(me: Attached, script: Script, strategy: Strategy) -> None:
    specs = [script.child("a"), script.child("b", restart="temporary"), script.child("c")]
    supervisor = Supervisor.start_link(specs, strategy=strategy, max_restarts=MANY)
    before = pids(supervisor)
    end(me, pid_of(supervisor, "a"), Failure("boom"))
    after = pids(supervisor)
    assert restarted(before, after) == "ac"
    assert list(after) == ["a", "c"]


def test_a_kill_a_base_exception_and_an_exit_signal_are_abnormal_ends(me: Attached, script: Script) -> None:
    supervisor = Supervisor.start_link([script.child("a", restart="transient")], max_restarts=MANY)
    ways: list[Callable[[Pid], None]] = [
        lambda pid: otp.exit(pid, Kill()),
        lambda pid: otp.exit(pid, Failure("boom")),
        lambda pid: crash(pid, SystemExit(3)),
        lambda pid: crash(pid, KeyboardInterrupt()),
        lambda pid: crash(pid, MemoryError()),
    ]
    for way in ways:
        pid = pid_of(supervisor, "a")
        way(pid)
        end_of(me, pid)
        assert pid_of(supervisor, "a") is not pid
    assert children(supervisor)[0].restarts == len(ways)


# --- strategies --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "failed", "expected"),
    [
        ("one_for_one", "b", "b"),
        ("one_for_all", "a", "abcd"),
        ("one_for_all", "d", "abcd"),
        ("rest_for_one", "a", "abcd"),
        ("rest_for_one", "b", "bcd"),
        ("rest_for_one", "d", "d"),
    ],
)
def test_one_for_one_one_for_all_and_rest_for_one(
    me: Attached, script: Script, strategy: Strategy, failed: str, expected: str
) -> None:
    supervisor = tree(script, "abcd", strategy)
    before = pids(supervisor)
    script.log.clear()
    end(me, pid_of(supervisor, failed), Failure("boom"))
    assert restarted(before, pids(supervisor)) == expected
    assert script.starts() == list(expected)


def test_a_group_is_stopped_the_last_first_and_then_started_in_order(me: Attached, script: Script) -> None:
    specs = [script.child(id, traps=True) for id in "abcd"]
    supervisor = Supervisor.start_link(specs, strategy="one_for_all")
    script.log.clear()
    otp.exit(pid_of(supervisor, "b"), Kill())
    assert list(pids(supervisor)) == list("abcd")
    events = [(entry[0], entry[1]) for entry in script.log]
    assert events == [("terminate", id) for id in "dca"] + [("init", id) for id in "abcd"]
    assert otp.is_alive(me.pid)


def test_a_group_restart_brings_back_those_that_were_stopped_by_hand_or_had_ended(me: Attached, script: Script) -> None:
    specs = [script.child("a"), script.child("b", restart="transient"), script.child("c")]
    supervisor = Supervisor.start_link(specs, strategy="one_for_all", max_restarts=MANY)
    Supervisor.terminate_child(supervisor, "a")
    end(me, pid_of(supervisor, "b"), Normal())
    assert [pid is None for pid in pids(supervisor).values()] == [True, True, False]
    end(me, pid_of(supervisor, "c"), Failure("boom"))
    assert [pid is None for pid in pids(supervisor).values()] == [False, False, False]


def test_rest_for_one_leaves_those_before_it_as_they_are(me: Attached, script: Script) -> None:
    supervisor = tree(script, "abc", "rest_for_one")
    Supervisor.terminate_child(supervisor, "a")
    end(me, pid_of(supervisor, "b"), Failure("boom"))
    assert [pid is None for pid in pids(supervisor).values()] == [True, False, False]


def test_a_normal_end_of_a_transient_child_restarts_no_group(me: Attached, script: Script) -> None:
    specs = [script.child("a", restart="transient"), script.child("b")]
    supervisor = Supervisor.start_link(specs, strategy="one_for_all", max_restarts=0)
    before = pids(supervisor)
    end(me, pid_of(supervisor, "a"), Normal())
    assert pids(supervisor) == {"a": None, "b": before["b"]}


# --- failing restarts --------------------------------------------------------------------------------------------------


def test_one_for_one_other_child_fails_restart(me: Attached, script: Script) -> None:
    supervisor = tree(script, "ab")
    before = pids(supervisor)
    script.fails("a", 3)
    end(me, pid_of(supervisor, "a"), Failure("boom"))
    after = pids(supervisor)
    assert restarted(before, after) == "a"
    assert children(supervisor)[1].restarts == 4


def test_one_for_all_other_child_fails_restart(me: Attached, script: Script) -> None:
    supervisor = tree(script, "abc", "one_for_all")
    script.starts()
    script.fails("b", 2)
    end(me, pid_of(supervisor, "a"), Failure("boom"))
    assert list(pids(supervisor)) == ["a", "b", "c"]
    assert script.starts() == ["a", "b", "a", "b", "a", "b", "c"]


def test_rest_for_one_other_child_fails_restart(me: Attached, script: Script) -> None:
    supervisor = tree(script, "abcd", "rest_for_one")
    before = pids(supervisor)
    script.starts()
    script.fails("c", 2)
    end(me, pid_of(supervisor, "b"), Failure("boom"))
    assert restarted(before, pids(supervisor)) == "bcd"
    assert script.starts() == ["b", "c", "c", "c", "d"]


def test_a_restart_that_ignores_leaves_the_child_down(me: Attached, script: Script) -> None:
    supervisor = tree(script, "ab")
    script.next_starts["a"] = [Ignore()]
    end(me, pid_of(supervisor, "a"), Failure("boom"))
    assert pids(supervisor)["a"] is None
    assert Supervisor.restart_child(supervisor, "a") is not None


class Restarting:
    """A supervisor whose child `a` fails to start, held between two tries."""

    def __init__(self, script: Script, blocks: list[Block], **options: Any) -> None:
        self.script = script
        self.blocks = blocks
        self.supervisor = tree(script, "ab", **options)
        self.helpers = [Puppet.start() for _ in range(3)]
        script.next_starts["a"] = [blocks[0], Boom(), Boom()]

    def ask(self, me: Attached, questions: list[Callable[[], Any]]) -> list[Any]:
        """Ask while the restart is tried: the questions wait in the mailbox before the next try does.

        A kill makes the supervisor try; the first try waits at the first block, then fails.
        """
        outcomes: list[Any] = [None] * len(questions)

        def run(number: int) -> Callable[[Puppet], None]:
            def ask(_puppet: Puppet) -> None:
                outcomes[number] = questions[number]()

            return ask

        otp.exit(pid_of(self.supervisor, "a"), Kill())
        self.blocks[0].wait_entered()
        for number in range(len(questions)):
            otp.cast(self.helpers[number], run(number))
            while otp.info(self.supervisor).mailbox <= number:  # until it is in the mailbox
                pass
        self.blocks[0].release()
        children(self.supervisor)
        for helper in self.helpers:
            assert answers(helper)
        assert otp.is_alive(me.pid)
        return outcomes


@pytest.fixture
def restarting(me: Attached, script: Script, new_block: Callable[[], Block]) -> Restarting:  # noqa: ARG001 - it is the parent
    block = new_block()

    class FailingBlock(Block):
        """Fails once it is released."""

        def __call__(self, _server: object = None) -> None:
            block()
            raise Boom

    restarting = Restarting(script, [block])
    script.next_starts["a"][0] = FailingBlock()
    return restarting


def test_api_calls_are_answered_between_two_tries_of_a_restart(me: Attached, restarting: Restarting) -> None:
    supervisor, spec = restarting.supervisor, restarting.script.child("a")
    outcomes = restarting.ask(
        me,
        [
            lambda: refusal(Supervisor.restart_child, supervisor, "a"),
            lambda: refusal(Supervisor.delete_child, supervisor, "a"),
            lambda: refusal(Supervisor.start_child, supervisor, spec),
        ],
    )
    assert outcomes == ["restarting", "restarting", "already_present"]
    pid_of(supervisor, "a")


def test_count_restarting_children(me: Attached, restarting: Restarting) -> None:
    supervisor = restarting.supervisor
    counts, shown = restarting.ask(
        me,
        [
            lambda: Supervisor.count_children(supervisor),
            lambda: [row.pid for row in Supervisor.which_children(supervisor)][1],
        ],
    )
    assert counts == ChildCounts(specs=2, active=1, supervisors=0, workers=2)
    assert shown == "restarting"


def test_terminate_child_calls_a_restart_off(me: Attached, restarting: Restarting) -> None:
    supervisor = restarting.supervisor
    assert restarting.ask(me, [lambda: Supervisor.terminate_child(supervisor, "a")]) == [None]
    assert pids(supervisor)["a"] is None
    assert len(restarting.script.next_starts["a"]) == 2
    restarting.script.next_starts.clear()
    assert Supervisor.restart_child(supervisor, "a") is not None


def test_stop_while_a_restart_is_tried(me: Attached, restarting: Restarting) -> None:
    supervisor = restarting.supervisor
    otp.exit(pid_of(supervisor, "a"), Kill())
    restarting.blocks[0].wait_entered()
    otp.exit(supervisor, Shutdown())
    restarting.blocks[0].release()
    assert exit_from(me, supervisor) == Shutdown()
    assert len(restarting.script.next_starts["a"]) == 2


@pytest.mark.parametrize("strategy", ["one_for_one", "rest_for_one", "one_for_all"])
def test_hanging_restart_loop(me: Attached, script: Script, strategy: Strategy) -> None:
    """A child that never starts again does not keep the supervisor from answering, or from being stopped."""
    supervisor = tree(script, "ab", strategy)
    script.fails("b", MANY // 10)
    otp.exit(pid_of(supervisor, "b"), Kill())
    for _ in range(10):
        rows = Supervisor.which_children(supervisor, HANG)
        assert rows[0].id == "b"
    extra = Supervisor.start_child(supervisor, script.child("c"), HANG)
    assert extra is not None
    otp.stop(supervisor, timeout=HANG)
    assert exit_from(me, supervisor) == Normal()


# --- the intensity -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
def test_one_for_one_one_for_all_and_rest_for_one_escalation(me: Attached, script: Script, strategy: Strategy) -> None:
    supervisor = tree(script, "ab", strategy, max_restarts=3, max_seconds=3600)
    for _ in range(3):
        victim = pid_of(supervisor, "a")
        otp.exit(victim, Kill())
        assert pid_of(supervisor, "a") is not victim
    other = pid_of(supervisor, "b")
    otp.exit(pid_of(supervisor, "a"), Kill())
    assert exit_from(me, supervisor) == Shutdown()
    assert otp.info(other).exit_reason == Shutdown()
    assert me.registry.processes() == [me.pid]


def test_all_children_share_the_intensity(me: Attached, script: Script) -> None:
    supervisor = tree(script, "abc", max_restarts=2, max_seconds=3600)
    for id in "ab":
        otp.exit(pid_of(supervisor, id), Kill())
        pid_of(supervisor, id)
    otp.exit(pid_of(supervisor, "c"), Kill())
    assert exit_from(me, supervisor) == Shutdown()


def test_each_failed_try_counts(me: Attached, script: Script) -> None:
    supervisor = tree(script, "a", max_restarts=3, max_seconds=3600)
    script.fails("a", 3)
    otp.exit(pid_of(supervisor, "a"), Kill())
    assert exit_from(me, supervisor) == Shutdown()
    assert script.next_starts["a"] == []
    assert script.starts() == ["a"] * 4


def test_one_group_restart_counts_once(me: Attached, script: Script) -> None:
    supervisor = tree(script, "abcd", "one_for_all", max_restarts=1, max_seconds=3600)
    otp.exit(pid_of(supervisor, "a"), Kill())
    assert None not in pids(supervisor).values()
    otp.exit(pid_of(supervisor, "a"), Kill())
    assert exit_from(me, supervisor) == Shutdown()


def test_restarts_by_hand_temporary_deaths_and_clean_ends_do_not_count(me: Attached, script: Script) -> None:
    specs = [script.child("a"), script.child("b", restart="transient"), script.child("c", restart="temporary")]
    supervisor = Supervisor.start_link(specs, max_restarts=0, max_seconds=3600)
    for _ in range(3):
        Supervisor.terminate_child(supervisor, "a")
        Supervisor.restart_child(supervisor, "a")
        end(me, pid_of(supervisor, "b"), Normal())
        Supervisor.restart_child(supervisor, "b")
        crash(pid_of(supervisor, "c"))
        while "c" in pids(supervisor):
            pass
        Supervisor.start_child(supervisor, script.child("c", restart="temporary"))
    assert otp.is_alive(supervisor)


def test_the_default_intensity_is_one_restart(me: Attached, script: Script) -> None:
    supervisor = Supervisor.start_link([script.child("a")], max_seconds=3600)
    otp.exit(pid_of(supervisor, "a"), Kill())
    otp.exit(pid_of(supervisor, "a"), Kill())
    assert exit_from(me, supervisor) == Shutdown()


@pytest.mark.parametrize(("restart", "comes_back"), [("permanent", True), ("transient", False), ("temporary", False)])
def test_a_supervisor_that_gave_up_is_restarted_only_if_it_is_permanent(
    me: Attached, script: Script, restart: Restart, *, comes_back: bool
) -> None:
    inner = Supervisor.child_spec([script.child("leaf")], max_restarts=0, id="inner", restart=restart)
    supervisor = Supervisor.start_link([inner], max_restarts=MANY)
    first = pid_of(supervisor, "inner")
    otp.exit(pid_of(first, "leaf"), Kill())
    assert end_of(me, first) == Shutdown()
    after = pids(supervisor)
    assert (after.get("inner") is not None) is comes_back
    assert ("inner" in after) is (restart != "temporary")


def test_faults_climb_to_the_root_when_nobody_can_mend_them(me: Attached, script: Script) -> None:
    spec = script.child("leaf")
    for level in range(4):
        spec = Supervisor.child_spec([spec], max_restarts=1, max_seconds=3600, id=f"level {level}")
    root = Supervisor.start_link([spec], max_restarts=1, max_seconds=3600)

    def leaf() -> Pid | None:
        node = otp.tree(root)
        while node.children:
            node = node.children[0]
        return node.pid if isinstance(node.pid, otp.Pid) and node.id == "leaf" else None

    kills = 0
    while otp.is_alive(root):
        try:
            pid = leaf()
        except CallFailed:
            break
        if pid is not None and otp.is_alive(pid):
            otp.exit(pid, Kill())
            kills += 1
    assert exit_from(me, root) == Shutdown()
    assert kills == 2**5
    assert me.registry.processes() == [me.pid]


def test_a_restarted_supervisor_returns_to_the_children_of_its_init(me: Attached, script: Script) -> None:
    inner = Supervisor.child_spec([script.child("a"), script.child("b")], max_restarts=0, id="inner")
    supervisor = Supervisor.start_link([inner], max_restarts=MANY)
    first = pid_of(supervisor, "inner")
    Supervisor.start_child(first, script.child("c"))
    Supervisor.terminate_child(first, "a")
    Supervisor.delete_child(first, "a")
    assert list(pids(first)) == ["b", "c"]
    otp.exit(pid_of(first, "b"), Kill())
    end_of(me, first)
    second = pid_of(supervisor, "inner")
    assert list(pids(second)) == ["a", "b"]


# --- auto_shutdown -----------------------------------------------------------------------------------------------------


def significant(script: Script, id: str, restart: Restart = "transient") -> ChildSpec:
    return script.child(id, restart=restart, significant=True)


@pytest.mark.parametrize("restart", ["transient", "temporary"])
def test_auto_shutdown_any_significant(me: Attached, script: Script, restart: Restart) -> None:
    specs = [script.child("plain"), significant(script, "a", restart), significant(script, "b", restart)]
    supervisor = Supervisor.start_link(specs, auto_shutdown="any_significant")
    end(me, pid_of(supervisor, "a"), Normal())
    assert exit_from(me, supervisor) == Shutdown()
    assert me.registry.processes() == [me.pid]


def test_auto_shutdown_all_significant(me: Attached, script: Script) -> None:
    specs = [script.child("plain"), significant(script, "a"), significant(script, "b", "temporary")]
    supervisor = Supervisor.start_link(specs, auto_shutdown="all_significant")
    end(me, pid_of(supervisor, "a"), Normal())
    assert answers(pid_of(supervisor, "b"))
    end(me, pid_of(supervisor, "b"), Failure("boom"))
    assert exit_from(me, supervisor) == Shutdown()


def test_a_significant_child_that_is_restarted_or_stopped_by_hand_shuts_nothing_down(
    me: Attached, script: Script
) -> None:
    specs = [significant(script, "a"), significant(script, "b"), script.child("plain", restart="transient")]
    supervisor = Supervisor.start_link(specs, auto_shutdown="any_significant", max_restarts=MANY)
    otp.exit(pid_of(supervisor, "a"), Kill())
    pid_of(supervisor, "a")
    Supervisor.terminate_child(supervisor, "b")
    end(me, pid_of(supervisor, "plain"), Normal())
    assert {id: pid is None for id, pid in pids(supervisor).items()} == {"a": False, "b": True, "plain": True}


def test_an_automatic_shutdown_counts_for_the_next_level_too(me: Attached, script: Script) -> None:
    inner = Supervisor.child_spec(
        [significant(script, "leaf")],
        auto_shutdown="any_significant",
        id="inner",
        restart="transient",
        significant=True,
    )
    supervisor = Supervisor.start_link([script.child("plain"), inner], auto_shutdown="all_significant")
    end(me, pid_of(pid_of(supervisor, "inner"), "leaf"), Normal())
    assert exit_from(me, supervisor) == Shutdown()
