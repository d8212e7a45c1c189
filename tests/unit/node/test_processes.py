from dataclasses import dataclass
from typing import Any

import pytest

from otpq.errors import UsageError
from otpq.node.processes import ended_by, find, supervisor_of, what_follows, worker_in, workers_of
from otpq.otp import Pid, TreeNode
from otpq.otp.process import Process
from otpq.otp.registry import Registry

REGISTRY = Registry()


def node(id_: str, *children: TreeNode, strategy: str | None = None) -> TreeNode:
    kind: Any = "supervisor" if strategy else "worker"
    return TreeNode(id_, Process(id_, REGISTRY).pid, kind, 0, None, strategy, children)


@dataclass
class Shape:
    top: TreeNode

    def __getitem__(self, id_: str) -> Pid:
        todo = [self.top]
        while todo:
            each = todo.pop()
            if each.id == id_:
                assert isinstance(each.pid, Pid)
                return each.pid
            todo += each.children
        raise KeyError(id_)

    def ids(self, ended: list[TreeNode]) -> list[str | None]:
        return [each.id for each in ended]


@pytest.fixture
def tree() -> Shape:
    workers = [node("worker 0"), node("worker 2"), TreeNode("worker 3", "restarting", "worker", 4, None, None, ())]
    return Shape(
        node(
            "top",
            node("queue tree", node("first"), node("second"), node("third"), strategy="rest_for_one"),
            node("twins", node("left"), node("right"), strategy="one_for_all"),
            node("workers", node("workers default", *workers, strategy="one_for_one"), strategy="one_for_one"),
            strategy="one_for_one",
        )
    )


def test_a_process_is_found_by_name_pid_or_number(tree: Shape) -> None:
    names = {"first": tree["first"]}
    number = tree["worker 0"].incarnation
    assert find("first", names, tree.top) is tree["first"]
    for which in (number, str(number), f"<worker 0#{number}>", f"worker 0#{number}", f"<#{number}>"):
        assert find(which, names, tree.top) is tree["worker 0"]
    with pytest.raises(UsageError, match=r"no process has the name 'frist'; did you mean 'first'\?; names are first"):
        find("frist", names, tree.top)
    with pytest.raises(UsageError, match="no process <x#0> is in the tree"):
        find("<x#0>", names, tree.top)


@pytest.mark.parametrize(
    ("killed", "ended"),
    [
        ("first", ["first", "second", "third"]),
        ("third", ["third"]),
        ("left", ["left", "right"]),
        ("worker 0", ["worker 0"]),
        ("workers default", ["workers default", "worker 0", "worker 2", "worker 3"]),
    ],
)
def test_what_a_process_takes_along_follows_from_its_supervisor(tree: Shape, killed: str, ended: list[str]) -> None:
    assert tree.ids(ended_by(tree.top, tree[killed])) == ended


def test_the_top_takes_all_along_and_a_stranger_nothing(tree: Shape) -> None:
    assert len(ended_by(tree.top, tree["top"])) == 13
    stranger = Process("stranger", REGISTRY).pid
    assert ended_by(tree.top, stranger) == []
    assert supervisor_of(tree.top, stranger) is None


def test_what_follows_is_said_in_words(tree: Shape) -> None:
    above = tree["queue tree"]
    assert what_follows(tree.top, tree["first"], "permanent") == (
        f"its supervisor {above!r} starts it again, and with it second, third, unless that was too often"
    )
    assert what_follows(tree.top, tree["third"], "transient") == (
        f"its supervisor {above!r} starts it again, unless that was too often"
    )
    assert what_follows(tree.top, tree["third"], "temporary") == f"its supervisor {above!r} does not start it again"
    assert what_follows(tree.top, tree["third"], "").endswith("is too busy to say whether it starts it again")
    assert what_follows(tree.top, tree["top"], "") == "it is the top of the tree: the node ends, with exit code 1"


def test_workers_are_found_by_pool_and_number(tree: Shape) -> None:
    assert worker_in(tree.top, "default", 2) is tree["worker 2"]
    assert workers_of(tree.top) == [tree["worker 0"], tree["worker 2"]]
    for pool, number, words in (
        ("default", 1, "no worker default/1 is on this node; there are: default/0, default/2, default/3"),
        ("default", 3, "no worker default/3"),  # between two tries
        ("defalt", 0, r"no pool 'defalt' is on this node; did you mean 'default'\?; there are: default"),
    ):
        with pytest.raises(UsageError, match=words):
            worker_in(tree.top, pool, number)
    with pytest.raises(UsageError, match="it has none"):
        worker_in(node("top"), "default", 0)
