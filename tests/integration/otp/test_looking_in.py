"""info, state, trace, tree and the watch's marks, of processes that run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from otpq import otp
from otpq.otp import (
    TIMEOUT,
    Call,
    CallFailed,
    CallTimeout,
    Cast,
    Continue,
    DynamicSupervisor,
    Kill,
    NoProc,
    Ok,
    Registry,
    Reply,
    Supervisor,
    Traced,
)
from otpq.otp.watch import look
from tests.integration.otp.support import (
    HANG,
    Block,
    Boom,
    Puppet,
    add,
    answers,
    begin,
    children,
    crash,
    do,
    end_of,
    exit_from,
    pid_of,
    thread_of,
)

if TYPE_CHECKING:
    from otpq.otp import Attached, Pid, TreeNode


@pytest.fixture
def stuck(me: Attached, block: Block) -> Pid:  # noqa: ARG001 - it is the parent
    """A server in a callback that does not return."""
    pid = Puppet.start_link("till", name="till")
    otp.cast(pid, block)
    block.wait_entered()
    return pid


# --- info and state ----------------------------------------------------------------------------------------------------


def test_info_of_an_idle_server(me: Attached) -> None:
    before = time.time()
    pid = Puppet.start_link("till", name="till", traps=True)
    assert answers(pid)
    info = otp.info("till")
    assert (info.pid, info.name, info.status, info.mailbox) == (pid, "till", "waiting", 0)
    assert (info.callback, info.callback_seconds, info.exit_reason) == (None, None, None)
    assert (info.links, info.parent, info.trap_exit) == ((me.pid,), me.pid, True)
    assert before <= info.started_at <= time.time()


def test_info_answers_at_once_about_a_stuck_server(me: Attached, stuck: Pid) -> None:
    otp.send(stuck, "waits")
    info = otp.info(stuck)
    assert (info.status, info.callback, info.mailbox) == ("running", "handle_cast", 1)
    assert info.callback_seconds is not None
    assert info.callback_seconds >= 0
    assert otp.info(me.pid).status == "waiting"


def test_info_remembers_the_dead(me: Attached, stuck: Pid, block: Block) -> None:
    thread = thread_of(stuck)
    otp.exit(stuck, Kill())
    block.release()
    thread.join(HANG)
    info = otp.info(stuck)
    assert (info.status, info.name, info.links, info.exit_reason) == ("dead", None, (), otp.Killed())
    assert info.parent is me.pid
    with pytest.raises(CallFailed):
        otp.info("till")


@pytest.mark.usefixtures("me")
def test_state_shows_the_attributes() -> None:
    pid = Puppet.start_link("till", ["x"])
    assert otp.state(pid, HANG) == {"label": "till", "log": ["x", ("init", "till")], "caller": None}


@pytest.mark.usefixtures("me")
def test_state_is_what_format_state_says() -> None:
    class Discreet(Puppet):
        def format_state(self) -> object:
            return f"{self.label}, and no more"

    pid = Discreet.start_link("till")
    assert otp.state(pid, HANG) == "till, and no more"
    assert do(pid, lambda puppet: otp.state(puppet.pid)) == "till, and no more"


@pytest.mark.usefixtures("me")
def test_a_format_state_that_fails_is_the_askers_error_and_the_server_lives() -> None:
    class Clumsy(Puppet):
        def format_state(self) -> object:
            raise Boom("ink")

    pid = Clumsy.start_link()
    with pytest.raises(Boom, match="ink"):
        otp.state(pid, HANG)
    assert answers(pid)


def test_a_format_state_that_exits_ends_that_server_alone(me: Attached) -> None:
    class Leaving(Puppet):
        def format_state(self) -> object:
            raise SystemExit(3)

    pid, other = Leaving.start_link(), Puppet.start_link()
    with pytest.raises(CallFailed) as caught:
        otp.state(pid, HANG)
    assert isinstance(caught.value.reason, otp.Crash)
    assert isinstance(caught.value.reason.error, SystemExit)
    assert exit_from(me, pid) == caught.value.reason
    assert answers(other)


def test_state_of_a_stuck_server_times_out_while_info_and_tree_answer(stuck: Pid) -> None:
    with pytest.raises(CallTimeout):
        otp.state(stuck, timeout=0.01)
    assert otp.info(stuck).status == "running"
    assert otp.tree(stuck).pid is stuck


@pytest.mark.usefixtures("me")
def test_state_of_the_dead_is_noproc() -> None:
    pid = Puppet.start()
    otp.exit(pid, Kill())
    with pytest.raises(CallFailed) as caught:
        otp.state(pid)
    assert caught.value.reason == NoProc()


def test_a_question_does_not_end_an_idle_timeout(me: Attached) -> None:
    class Idle(Puppet):
        def init(self, *args: Any, **kwargs: Any) -> Any:
            super().init(*args, **kwargs)
            return Ok(0.2)

        def handle_info(self, message: Any) -> None:
            otp.send(me.pid, message)

    otp.state(Idle.start_link(), HANG)
    assert me.receive(HANG) is TIMEOUT


# --- trace -------------------------------------------------------------------------------------------------------------


def test_a_trace_shows_what_is_handled_and_what_is_sent(me: Attached) -> None:
    pid, other = Puppet.start_link("till"), Puppet.start_link("desk")
    seen: list[Traced] = []
    otp.trace(pid, seen.append)

    def work(puppet: Puppet) -> Reply:
        otp.send(me.pid, "sent")
        otp.cast(other, print)
        otp.call(other, lambda _puppet: None)
        assert puppet.caller is not None
        return Reply("done")

    assert otp.call(pid, work) == "done"
    otp.send(pid, "info")
    assert answers(pid)
    otp.untrace(pid)
    assert answers(pid)
    assert [(entry.kind, entry.peer) for entry in seen[:6]] == [
        ("receive", None),
        ("send", me.pid),
        ("cast", other),
        ("call", other),
        ("reply", me.pid),
        ("receive", None),
    ]
    assert isinstance(seen[0].message, Call)
    assert [entry.message for entry in seen[1:6:4]] == ["sent", "info"]
    assert len(seen) == 8
    assert {entry.pid for entry in seen} == {pid}


@pytest.mark.usefixtures("me")
def test_a_new_tracer_takes_the_place_of_the_old() -> None:
    pid = Puppet.start_link()
    first: list[Traced] = []
    second: list[Traced] = []
    otp.trace(pid, first.append)
    otp.trace(pid, second.append)
    assert answers(pid)
    assert first == []
    assert [entry.kind for entry in second] == ["receive", "reply"]


@pytest.mark.usefixtures("me")
def test_each_message_of_a_batch_is_traced(block: Block) -> None:
    class Batching(Puppet):
        def handle_batch(self, messages: list[Any]) -> None:
            for message in messages:
                if isinstance(message, Cast):
                    message.request(self)

    log: list[Any] = []
    pid = Batching.start_link("till", log)
    seen: list[Traced] = []
    otp.cast(pid, block)
    block.wait_entered()
    otp.trace(pid, seen.append)
    for number in range(3):
        otp.send(pid, number)
    block.release()
    otp.stop(pid, timeout=HANG)
    assert [entry.message for entry in seen] == [0, 1, 2]


@pytest.mark.usefixtures("me")
def test_a_tracer_that_fails_is_removed_and_the_server_lives(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pid = Puppet.start_link("till")

    def tracer(_traced: Traced) -> None:
        raise Boom("ink")

    otp.trace(pid, tracer)
    assert answers(pid)
    assert answers(pid)
    assert caplog.messages == [f"{pid!r}: its tracer failed and is removed"]


def test_a_trace_may_go_to_a_process(me: Attached) -> None:
    pid = Puppet.start_link("till")
    otp.trace(pid, me.pid)
    otp.send(pid, "hello")
    assert answers(pid)
    assert [me.receive(0).kind for _ in range(3)] == ["receive", "receive", "reply"]
    with pytest.raises(TimeoutError):
        me.receive(0)


@pytest.mark.usefixtures("me")
def test_the_tracer_of_the_dead_is_quiet(block: Block) -> None:
    pid = Puppet.start("till", None, lambda _puppet: Ok(Continue(block)))
    seen: list[Traced] = []
    otp.trace(pid, seen.append)
    block.wait_entered()
    otp.exit(pid, Kill())
    otp.send(pid, "lost")
    assert seen == []


# --- tree --------------------------------------------------------------------------------------------------------------


def ids(node: TreeNode) -> Any:
    return (node.id, [ids(child) for child in node.children]) if node.type == "supervisor" else node.id


@pytest.fixture
def shop(me: Attached) -> Pid:  # noqa: ARG001 - it is the parent
    """Two workers and an inner supervisor with one of its own."""
    inner = Supervisor.child_spec([Puppet.child_spec(id="leaf")], id="inner", strategy="rest_for_one")
    specs = [Puppet.child_spec(id="a"), inner, Puppet.child_spec(id="b", restart="transient")]
    return Supervisor.start_link(specs, strategy="one_for_all", max_restarts=100)


def test_a_tree_shows_supervisors_and_workers_in_start_order(shop: Pid) -> None:
    root = otp.tree(shop)
    assert ids(root) == (None, ["a", ("inner", ["leaf"]), "b"])
    assert (root.pid, root.type, root.strategy, root.restarts) == (shop, "supervisor", "one_for_all", 0)
    a, inner, _ = root.children
    assert (a.type, a.strategy, a.children, a.restarts) == ("worker", None, (), 0)
    assert (inner.type, inner.strategy) == ("supervisor", "rest_for_one")
    assert a.info is not None
    assert a.info.pid is a.pid
    assert a.info.parent is shop
    assert inner.children[0].info is not None
    assert inner.children[0].info.parent is inner.pid


def test_a_tree_shows_who_does_not_run_and_who_was_restarted(me: Attached, shop: Pid) -> None:
    otp.stop(pid_of(shop, "b"), timeout=HANG)
    assert children(shop)[0].pid is None
    assert [(node.id, node.pid is None, node.info is None) for node in otp.tree(shop).children] == [
        ("a", False, False),
        ("inner", False, False),
        ("b", True, True),
    ]
    old = otp.tree(shop)
    victim = pid_of(shop, "a")
    crash(victim)
    end_of(me, victim)
    children(shop)
    new = otp.tree(shop)
    assert ids(new) == ids(old)
    assert new.children[0].restarts == 1
    assert all(after.pid is not before.pid for after, before in zip(new.children, old.children, strict=True))
    assert new.children[1].children[0].pid is not old.children[1].children[0].pid


def test_a_tree_answers_while_its_supervisor_is_stuck_in_a_start(me: Attached, block: Block) -> None:
    supervisor = Supervisor.start_link([Puppet.child_spec(id="a")], max_restarts=100)
    starter = Puppet.start_link("starter")
    spec = Puppet.child_spec("slow", None, block, id="slow")
    begin(starter, lambda _puppet: Supervisor.start_child(supervisor, spec))
    block.wait_entered()
    with pytest.raises(CallTimeout):
        Supervisor.which_children(supervisor, timeout=0.01)
    assert ids(otp.tree(supervisor)) == (None, ["a"])
    assert otp.info(supervisor).callback == "handle_call"
    block.release()
    assert {row.id for row in children(supervisor)} == {"a", "slow"}
    assert otp.is_alive(me.pid)


def test_a_tree_answers_while_its_supervisor_has_not_got_to_its_children(registry: Registry, block: Block) -> None:
    class Slow(Supervisor):
        def init(self) -> Any:  # type: ignore[override]
            block()
            return super().init([])

    helper = Puppet.start(registry=registry)
    begin(helper, lambda _puppet: Slow.start_link(name="slow"))
    block.wait_entered()
    pid = registry.whereis("slow")
    assert pid is not None
    node = otp.tree(pid)
    assert (node.type, node.children) == ("supervisor", ())


@pytest.mark.usefixtures("me")
def test_the_children_of_a_dynamic_supervisor_show_in_a_tree() -> None:
    pool = DynamicSupervisor.start_link(Puppet.child_spec(restart="temporary"))
    first, second = add(pool), add(pool)
    node = otp.tree(pool)
    assert [child.pid for child in node.children] == [first, second]
    assert node.strategy == "one_for_one"


@pytest.mark.usefixtures("me")
def test_the_children_of_a_dynamic_supervisor_have_no_ids_in_a_tree() -> None:
    pool = DynamicSupervisor.start_link(Puppet.child_spec(restart="temporary"))
    add(pool)
    assert [child.id for child in otp.tree(pool).children] == [None]


def test_the_state_of_a_supervisor_is_its_children(shop: Pid) -> None:
    state = otp.state(shop, HANG)
    assert state["flags"].strategy == "one_for_all"
    assert [child.id for child in state["children"]] == ["a", "inner", "b"]


# --- the watch ---------------------------------------------------------------------------------------------------------


def test_the_watch_logs_a_stuck_callback_once_by_name(stuck: Pid, caplog: pytest.LogCaptureFixture) -> None:
    begun = stuck.process.callback_since
    look([stuck.process], begun + 4.9)
    assert caplog.messages == []
    look([stuck.process], begun + 6.0)
    look([stuck.process], begun + 60.0)
    assert caplog.messages == [f"{stuck!r} has been in handle_cast for 6.0 s (mark: 5.0 s)"]
    assert stuck.label == "till"


def test_the_watch_logs_a_long_mailbox_once_by_name(stuck: Pid, caplog: pytest.LogCaptureFixture) -> None:
    stuck.process.mailbox_mark = 5
    for number in range(6):
        otp.send(stuck, number)
    begun = stuck.process.callback_since
    look([stuck.process], begun)
    otp.send(stuck, 6)
    look([stuck.process], begun)
    assert caplog.messages == [f"{stuck!r} has 6 messages in its mailbox (mark: 5)"]


@pytest.mark.usefixtures("me")
def test_a_server_has_marks_of_its_own() -> None:
    class Patient(Puppet):
        mailbox_mark = 7
        callback_mark = 60.0

    process = Patient.start_link().process
    assert (process.mailbox_mark, process.callback_mark) == (7, 60.0)
