"""The functions of a node, on a tree that has its shape and none of its processes' work."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from otpq.errors import UsageError
from otpq.node import functions as node_functions
from otpq.node.functions import Functions
from otpq.node.joining import DRAIN
from otpq.otp import Attached, CallTimeout, ChildSpec, Exit, GenServer, NoReply, Pid, Reply, Supervisor, attach, call
from otpq.queue.messages import Scale
from otpq.wire.cookie import Cookie
from otpq.wire.node_name import NodeName
from otpq.worker.stacks import NoStacks
from otpq.worker.worker import Glimpse

if TYPE_CHECKING:
    from collections.abc import Iterator

ID = bytes(range(16))
DUMP = 'Thread 0x1 (most recent call first):\n  File "a.py", line 2 in inner\n  File "a.py", line 1 in outer\n'


class Idle(GenServer):
    """Holds something, and answers nothing but that it is there."""

    def init(self, held: object = None) -> None:
        self.held = held

    def handle_call(self, request: Any, caller: Any) -> Reply | NoReply:  # noqa: ARG002 - GenServer's signature
        return Reply("here")


class FakePool(GenServer):
    def handle_call(self, request: Any, caller: Any) -> Reply:  # noqa: ARG002 - GenServer's signature
        if isinstance(request, Scale):
            facts = {"workers": request.workers, "before": 2}
            return Reply(facts if request.workers <= 32 else {"error": f"{request.workers} workers: 0 to 32"})
        if hasattr(request, "on"):
            return Reply(value=not request.on)
        return Reply({"pool": "default", "workers": [{"running": 1}, {"running": 2}]})


class FakeWorker(GenServer):
    def init(self, glimpse: Glimpse) -> None:
        self.glimpse = glimpse

    def handle_call(self, request: Any, caller: Any) -> Reply | NoReply:  # noqa: ARG002 - GenServer's signature
        return Reply(self.glimpse)


def no_stacks() -> str:
    raise NoStacks("its child (pid 7) has closed the descriptor for it (6)")


GLIMPSES = [
    Glimpse(7, (ID,), lambda: DUMP),
    Glimpse(8, (), no_stacks),
    Glimpse(9, (), None, "it runs scripts, which have no Python stacks"),
]


def supervisor(name: str, *children: ChildSpec, strategy: Any = "one_for_one") -> ChildSpec:
    start = partial(Supervisor.start_link, list(children), strategy=strategy, name=name)
    return ChildSpec(id=name, start=start, type="supervisor")


def server(name: str, kind: type[GenServer] = Idle, *args: object, **spec: Any) -> ChildSpec:
    return ChildSpec(id=name, start=partial(kind.start_link, *args, name=name), **spec)


@pytest.fixture
def me() -> Iterator[Attached]:
    """Who has started the tree, as `run_node` does."""
    with attach("node", trap_exit=True) as attached:
        yield attached


@pytest.fixture
def functions(me: Attached, monkeypatch: pytest.MonkeyPatch) -> Functions:
    monkeypatch.setattr(node_functions, "ANSWER_FIRST", 0.001)
    workers = [
        ChildSpec(id=f"worker {number}", start=partial(FakeWorker.start_link, glimpse))
        for number, glimpse in enumerate(GLIMPSES)
    ]
    queue_tree = supervisor(
        "queue tree", server("queue_server", Idle, Cookie.new()), server("pruner"), server("reader"),
        strategy="rest_for_one",
    )  # fmt: skip
    tree = [
        server("console", restart="temporary"),
        queue_tree,
        supervisor("pools", server("pool default", FakePool)),
        supervisor("workers", supervisor("workers default", *workers)),
    ]
    Supervisor.start_link(tree, name="node")
    config: Any = SimpleNamespace(
        name=NodeName.parse("a@127.0.0.1"), leads=True, grace=30.0, staffed=[SimpleNamespace(name="default")]
    )
    return Functions(config, "i1", me.registry)


def awaited(me: Attached, name: str, before: Pid) -> Pid:
    """The successor of a process."""
    while (now := me.registry.whereis(name)) is None or now is before:
        pass
    return now


def there(me: Attached, name: str) -> Pid:
    found = me.registry.whereis(name)
    assert found is not None
    return found


# --- arguments -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("statsu", {}, r"no function 'statsu' can be called on a node; did you mean 'status'\?"),
        ("info", {}, "info needs the argument 'pid'"),
        ("info", {"pdi": "x"}, r"info has no argument 'pdi'; did you mean 'pid'\?; it takes pid"),
        ("tree", {"node": "x"}, "tree has no argument 'node'; it takes none"),
        ("info", {"pid": [1]}, r"info: pid='\[1\]' is not allowed: Expected `int | str`, got `array`"),
        ("info", {"pid": True}, "Expected `int | str`, got `bool`"),
        ("info", {"pid": ""}, "Expected `str` of length >= 1"),
        ("info", {"pid": "x" * 301}, "Expected `str` of length <= 300"),
        ("info", {"pid": -1}, "Expected `int` >= 0"),
        ("info", {"pid": "pool defalt"}, "no process has the name 'pool defalt'; did you mean 'pool default'"),
        ("info", {"pid": 999_999_999}, "no process 999999999 is in the tree"),
        ("scale", {"pool": "default", "workers": "3"}, "scale: workers='3' is not allowed: Expected `int`, got `str`"),
        (
            "scripts",
            {"paths": ["/a", 1]},
            r"scripts: paths=.* is not allowed: Expected `str`, got `int` - at `\$\[1\]`",
        ),
        ("scale", {"pool": "defalt", "workers": 3}, "no pool 'defalt' is on this node; there are: default"),
        ("scale", {"pool": "default", "workers": 33}, "pool default: 33 workers: 0 to 32"),
        ("stacks", {"worker": "x"}, "'x' is no worker, such as 'default/0', and no task's id"),
        ("stacks", {"worker": "io/0"}, "no pool 'io' is on this node; there are: default"),
        ("stacks", {"worker": "default/9"}, "there are: default/0, default/1, default/2"),
        ("stacks", {"worker": "f" * 32}, "task f{32} does not run on this node now"),
        ("stacks", {"worker": "default/1"}, r"^default/1: its child \(pid 7\) has closed the descriptor"),
        ("stacks", {"worker": "default/2"}, "^default/2: it runs scripts, which have no Python stacks$"),
        ("trace_read", {"pid": "<x#1>", "after": 0}, "<x#1> is not traced"),
        ("log_level", {"level": "loud"}, "'loud' is no level; DEBUG, INFO, WARNING or ERROR would be"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    functions: Functions, name: str, arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        functions(name, arguments)
    assert "\n" not in str(caught.value)


def test_an_error_inside_a_function_does_not_pass_for_a_wrong_argument(
    functions: Functions, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_server: object) -> Any:
        raise TypeError("ours")

    monkeypatch.setattr(node_functions, "info", broken)
    with pytest.raises(TypeError, match="ours"):  # `Rpc` answers for it
        functions("info", {"pid": "pruner"})


# --- looking ---------------------------------------------------------------------------------------------------------


def test_the_tree_has_names_pids_and_what_each_is_doing(functions: Functions) -> None:
    tree = functions("tree", {})
    assert [child["id"] for child in tree["children"]] == ["console", "queue tree", "pools", "workers"]
    queue_server = tree["children"][1]["children"][0]
    shown = {key: queue_server[key] for key in ("name", "restarts", "mailbox", "callback", "status", "strategy")}
    assert shown == {
        "name": "queue_server", "restarts": 0, "mailbox": 0, "callback": None, "status": "waiting", "strategy": None,
    }  # fmt: skip
    assert tree["children"][1]["strategy"] == "rest_for_one"


def test_a_process_is_meant_by_its_name_its_pid_or_its_number(functions: Functions, me: Attached) -> None:
    pid = there(me, "queue_server")
    for which in ("queue_server", repr(pid), repr(pid)[1:-1], pid.incarnation, str(pid.incarnation)):
        assert functions("info", {"pid": which})["pid"] == repr(pid)
    worker = functions("tree", {})["children"][3]["children"][0]["children"][0]["pid"]  # it has no name
    assert functions("info", {"pid": worker})["parent"] == repr(there(me, "workers default"))


def test_a_state_is_shown_without_the_cookie(functions: Functions) -> None:
    assert functions("state", {"pid": "queue_server"}) == {"held": "<Cookie (not shown)>"}
    assert functions("state", {"pid": "pools"})["children"][0]["id"] == "pool default"


def test_a_process_that_is_too_busy_to_answer_is_named(functions: Functions, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(server: Pid, timeout: float) -> Any:  # noqa: ARG001 - as `state`
        raise CallTimeout(server, 1.0)

    monkeypatch.setattr(node_functions, "state", busy)
    with pytest.raises(UsageError, match=r"^state: .*queue_server#"):
        functions("state", {"pid": "queue_server"})


def test_messages_of_a_process_are_read_while_it_is_traced(functions: Functions, me: Attached) -> None:
    pid = there(me, "pruner")
    begun = functions("trace_start", {"pid": "pruner"})
    assert begun["pid"] == repr(pid)
    call(pid, "how are you")
    read = functions("trace_read", begun)
    assert [each["kind"] for each in read["messages"]] == ["receive", "reply"]
    assert functions("trace_read", {"pid": begun["pid"], "after": read["after"]})["messages"] == []


def test_stacks_of_the_node_and_of_children(functions: Functions) -> None:
    assert any("test_stacks_of_the_node" in stack for stack in functions("stacks", {}).values())
    expected = {"Thread 0x1": '  File "a.py", line 1 in outer\n  File "a.py", line 2 in inner'}
    assert functions("stacks", {"worker": "default/0"}) == expected
    assert functions("stacks", {"worker": ID.hex()}) == expected
    assert functions("stacks", {"worker": ID.hex().upper()}) == expected


# --- touching --------------------------------------------------------------------------------------------------------


def test_a_killed_process_is_started_again(functions: Functions, me: Attached) -> None:
    pid = there(me, "pruner")
    answer = functions("kill", {"pid": "pruner"})
    assert (answer["killed"], answer["name"], answer["seconds"]) == (repr(pid), "pruner", 0.0)
    assert answer["then"] == (
        f"its supervisor {there(me, 'queue tree')!r} starts it again, and with it reader, unless that was too often"
    )
    assert repr(pid.process.exit_reason) == "Killed()"  # when the answer is there
    assert awaited(me, "pruner", pid) is not pid


@pytest.mark.parametrize("name", ["queue_server", "queue tree"])
def test_who_passes_on_the_answer_ends_after_it(functions: Functions, me: Attached, name: str) -> None:
    pid = there(me, name)
    assert functions("kill", {"pid": name})["seconds"] > 0
    awaited(me, "queue_server", there(me, "queue_server") if name == "queue tree" else pid)


def test_a_temporary_process_stays_dead(functions: Functions, me: Attached) -> None:
    node = there(me, "node")
    assert functions("kill", {"pid": "console"})["then"] == f"its supervisor {node!r} does not start it again"


def test_who_kills_the_top_is_told_that_the_node_ends(functions: Functions, me: Attached) -> None:
    pid = there(me, "node")
    assert functions("kill", {"pid": "node"})["then"].startswith("it is the top of the tree: the node ends")
    ended = me.receive(5)
    assert isinstance(ended, Exit)
    assert ended.pid is pid


def test_a_pool_is_paused_and_resumed(functions: Functions) -> None:
    assert functions("pause", {"pool": "default"}) == {"pool": "default", "paused": True, "before": False}
    assert functions("resume", {"pool": "default"}) == {"pool": "default", "paused": False, "before": True}
    with pytest.raises(UsageError, match="no pool 'io' is on this node; there are: default"):
        functions("pause", {"pool": "io"})


def test_a_pool_is_scaled(functions: Functions) -> None:
    assert functions("scale", {"pool": "default", "workers": 3}) == {"pool": "default", "workers": 3, "before": 2}


def test_a_drain_is_told_to_whoever_runs_the_node(functions: Functions, me: Attached) -> None:
    answer = functions("drain", {})
    assert (answer["node"], answer["incarnation"], answer["grace"], answer["running"]) == ("a@127.0.0.1", "i1", 30.0, 3)
    assert "it leads, so no node gets tasks until it is started again" in answer["then"]
    assert me.receive(5) == DRAIN


def test_without_a_tree_there_is_nothing_to_look_into(me: Attached) -> None:
    config: Any = SimpleNamespace(staffed=[])
    for name in ("tree", "drain"):
        with pytest.raises(UsageError, match="the supervision tree of this node is not there now"):
            Functions(config, "i1", me.registry)(name, {})
