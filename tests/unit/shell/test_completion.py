from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

import otpq
from otpq.client.errors import NodeUnreachable
from otpq.shell.completion import Candidate, candidates
from otpq.shell.facts import FRESH, Facts, asks
from otpq.shell.helpers import Helper, client_helpers
from otpq.task import Task, TaskState
from tests.unit.shell.fakes import FakeClient

if TYPE_CHECKING:
    from collections.abc import Sequence


class Thing:
    colour = "red"

    def __init__(self) -> None:
        self.asked = 0

    @property
    def state(self) -> str:
        self.asked += 1
        return "here"


def connect(node: str | None = None) -> None:
    """As the shell's."""


THING = Thing()
NAMES: dict[str, Any] = {
    **client_helpers(lambda: None),  # type: ignore[arg-type, return-value]
    "Selector": otpq.Selector,
    "connect": Helper("connect", connect),
    "thing": THING,
    "_hidden": 1,
    "len": len,
}


def offered(text: str) -> list[str]:
    """What may follow; of what the node has, the kind and two examples."""
    return [
        one.text for one in candidates(text, NAMES, lambda kind: [Candidate(f"{kind} 1"), Candidate(f"{kind} 2")])[1]
    ]


def test_names_follow_a_beginning() -> None:
    assert offered("queue") == ["queue_stats", "queues"]
    assert offered("x = [queues(), worke") == ["worker_stats", "workers"]
    assert offered("await thi") == ["thing"]
    assert offered("_hid") == ["_hidden"]
    assert "lambda" in offered("la")


def test_nothing_typed_offers_what_the_shell_has_and_not_all_of_python() -> None:
    assert {"queues", "thing"} <= {*offered("")}
    assert not {"len", "_hidden", "lambda"} & {*offered("")}


def test_attributes_follow_a_dot_and_no_property_is_asked_for_them() -> None:
    assert offered("thing.c") == ["colour"]
    assert offered("thing.colour.isu") == ["isupper"]
    assert offered("thing.state.isu") == []
    assert offered("nothing.isu") == []
    assert offered("f(thing.") == ["asked", "colour", "state"]
    assert THING.asked == 0


def test_parameters_are_offered_where_an_argument_begins() -> None:
    assert offered("pause(han")[0] == "handler="
    assert offered("pause('mail', wh")[0] == "why="
    assert "queue=" not in offered("pause(1 + que")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("pause('", "queue"),
        ('pause("', "queue"),
        ("pause('mail', handler='", "handler"),
        ("purge(queue = '", "queue"),
        ("handle('", "task"),
        ("logs('", "task"),
        ("cancel('", "task"),
        ("cancel(Selector(state='", "state"),
        ("retry(Selector(ids=['a', '", "task"),
        ("submit_task('", "handler"),
        ("submit_task({'job': '", "handler"),
        ("scale('", "pool"),
        ("rpc('", "node"),
        ("connect('", "node"),
        ("f(a)[0] + len(pause('", "queue"),
        ("pause('a', why='(\\'') ; pause('", "queue"),
    ],
)
def test_in_quotes_stands_what_the_node_has_of_that_kind(text: str, kind: str) -> None:
    assert offered(text) == [f"{kind} 1", f"{kind} 2"]
    assert offered(f"{text}{kind} 2") == [f"{kind} 2"]


@pytest.mark.parametrize(
    "text", ["'", "print('", "rpc('a', '", "pause(why='", "# pause('", "'''pause('", "pause('x'), '"]
)
def test_the_node_is_not_asked_for_other_texts(text: str) -> None:
    def ask(kind: str) -> Sequence[Candidate]:
        pytest.fail(f"asked for {kind}")

    assert candidates(text, NAMES, ask)[1] == []


# ------------------------------------------------------------ what the node has


class Asked:
    """A node that answers when it is told to, and a clock."""

    def __init__(self, *, answers: bool = True) -> None:
        self.times = 0
        self.now = 0.0
        self.may_answer = threading.Event()
        if answers:
            self.may_answer.set()

    def ask(self) -> list[Candidate]:
        self.times += 1
        assert self.may_answer.wait(10)
        return [Candidate(f"answer {self.times}")]

    def facts(self, bound: float) -> Facts:
        return Facts({"queue": self.ask}, bound=bound, clock=lambda: self.now)


def test_the_node_is_asked_once_in_two_seconds() -> None:
    node = Asked()
    facts = node.facts(bound=10)
    assert facts.of("queue") == (Candidate("answer 1"),)
    assert facts.of("queue") == (Candidate("answer 1"),)
    node.now = FRESH
    assert facts.of("queue") == (Candidate("answer 2"),)


def test_what_takes_longer_is_not_asked_for_twice_and_there_the_next_time() -> None:
    node = Asked(answers=False)
    facts = node.facts(bound=0)
    assert facts.of("queue") == ()
    node.now = FRESH
    assert facts.of("queue") == ()
    node.now = 0
    node.may_answer.set()
    while not facts.of("queue"):
        pass
    assert facts.of("queue") == (Candidate("answer 1"),)


def test_a_kind_that_nobody_knows_has_nothing() -> None:
    assert Facts({}).of("colour") == ()


def test_an_unreachable_node_leaves_what_was_there() -> None:
    answers: list[list[Candidate]] = [[Candidate("mail")]]
    now = [0.0]

    def ask() -> list[Candidate]:
        if not answers:
            raise NodeUnreachable("a@host", "it is gone")
        return answers.pop()

    facts = Facts({"queue": ask}, bound=10, clock=lambda: now[0])
    assert facts.of("queue") == (Candidate("mail"),)
    now[0] = FRESH
    assert facts.of("queue") == (Candidate("mail"),)


def test_each_kind_is_asked_for_with_a_verb_of_the_client() -> None:
    client = FakeClient()
    found = {kind: [one.text for one in ask()] for kind, ask in asks(lambda: client).items()}  # type: ignore[arg-type, return-value]
    assert found == {
        "queue": ["mail"],
        "handler": ["mail.send"],
        "schedule": ["nightly"],
        "node": ["a@host"],
        "pool": ["default"],
        "worker": ["default/0", "default/1"],
        "task": ["0" * 32],
        "pid": ["<node#1>", "<queue_server#2>"],
        "state": [str(state) for state in TaskState],
    }
    assert isinstance(client.tasks()[0], Task)
