"""Commands that are read without typer are read as typer would: the same values, the same words about what went wrong."""

from __future__ import annotations

import gc
import os
from typing import TYPE_CHECKING, Any, Self

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from typer.testing import CliRunner

from otpq.cli import asking, declared, quick
from otpq.cli.exits import DEBUG
from otpq.cli.program import app
from otpq.client.errors import CookieRefused, NodeUnreachable, QueryFailed
from otpq.errors import OtpqError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

OPTIONS = {
    name: [each.annotation.__metadata__[0].word for each in declared.parameters(function).values()]
    for name, function in quick.COMMANDS.items()
}
"""The options of each command."""
RIGHT = {
    "--node": ["a@h", "b@h"],
    "--queue": ["q", "é", " "],
    "--cookie-file": [__file__, "/"],
    "--timeout": ["1", "2.5", "1e3", "nan", "1_0"],
}
"""Values that options can have; the others are flags."""
ANY = ["a@h", "1", "0", "true", "Yes", "", "-", "-1", " ", "/no/such"]


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("OTPQ_", "_OTPQ_"))]:
        monkeypatch.delenv(name)


def as_typer_reads(words: Sequence[str], environment: Mapping[str, str]) -> list[tuple[Any, ...]]:
    """What functions typer calls, and with what."""
    called: list[tuple[Any, ...]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(declared, "call", lambda function, given: called.append((function, given)))
        CliRunner().invoke(app, words, env=environment, prog_name="otpq")
    return called


def as_read_quickly(words: Sequence[str], environment: Mapping[str, str]) -> list[tuple[Any, ...]] | None:
    command: Any = quick.read(words, environment)
    return None if command is None else [command.args]


@st.composite
def spoken(draw: st.DrawFn) -> tuple[list[str], dict[str, str]]:
    """The words of a command line and its variables: mostly such as can be read, and some that cannot."""
    name = draw(st.sampled_from(sorted(OPTIONS)))

    def value(word: str) -> str:
        return draw(st.sampled_from(RIGHT.get(word, ["0", "1"]) if draw(st.integers(0, 4)) else ANY))

    words = [name]
    for word in draw(st.lists(st.sampled_from(OPTIONS[name]), max_size=4, unique=draw(st.integers(0, 4)) > 0)):
        words += [word, value(word)] if word in RIGHT else [word]
    if draw(st.integers(0, 9)) == 0:
        words.insert(draw(st.integers(0, len(words))), draw(st.sampled_from(["--help", "--", "--node=b@h", "-h", "x"])))
    variables = draw(st.lists(st.sampled_from(OPTIONS[name]), max_size=3))
    return words, {declared.variable(word): value(word) for word in variables}


@given(spoken())
def test_what_is_read_quickly_is_what_typer_reads(said: tuple[list[str], dict[str, str]]) -> None:
    read = as_read_quickly(*said)
    assume(read is not None)
    assert repr(read) == repr(as_typer_reads(*said))  # as text, since NaN is not NaN


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_plain_words_are_read_quickly(name: str) -> None:
    values = {"--node": "a@h", "--cookie-file": __file__, "--queue": "q", "--timeout": "2.5"}
    words = [text for word in OPTIONS[name] for text in (word, *([values[word]] if word in values else []))]
    environment = {declared.variable(word): values.get(word, "1") for word in OPTIONS[name]}
    for said in (([name], {}), ([name, *words], {}), ([name], environment), ([name, *words], environment)):
        read = as_read_quickly(*said)
        assert read is not None
        assert read == as_typer_reads(*said)


def test_a_word_goes_before_its_variable_and_that_before_the_default() -> None:
    def node(*words: str, **environment: str) -> Any:
        command: Any = quick.read(["queues", *words], environment)
        return command.args[1]["node"]

    assert node() is None
    assert node(OTPQ_NODE="") is None
    assert node(OTPQ_NODE="b@h") == "b@h"
    assert node("--node", "a@h", OTPQ_NODE="b@h") == "a@h"


@pytest.mark.parametrize(
    ("words", "environment"),
    [
        ((), {}),
        (("list",), {}),
        (("queues", "--help"), {}),
        (("queues", "mail"), {}),
        (("queues", "--node"), {}),
        (("queues", "--node", ""), {}),
        (("queues", "--node", "--json"), {}),
        (("queues", "--json", "--json"), {}),
        (("queues", "--jsno"), {}),
        (("queues", "--debug"), {}),
        (("--debug", "queues"), {}),
        (("queues",), {DEBUG: "1"}),
        (("queues",), {"_OTPQ_COMPLETE": "complete_bash"}),
        (("queues",), {"OTPQ_JSON": "perhaps"}),
        (("queues", "--cookie-file", "/no/such"), {}),
        (("health", "--timeout", "soon"), {}),
    ],
)
def test_all_else_is_for_typer(words: tuple[str, ...], environment: dict[str, str]) -> None:
    assert quick.read(words, environment) is None


class Told:
    """A client that answers every question with the same, or raises it."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __getattr__(self, _question: str) -> Callable[..., Any]:
        def answered(*_: object, **__: object) -> Any:
            if isinstance(self._answer, BaseException):
                raise self._answer
            return self._answer

        return answered


@pytest.mark.parametrize(
    "answer",
    [
        [],
        OtpqError("a\nb"),
        UsageError("x"),
        NodeUnreachable("a@h", "nothing listens there", 10),
        CookieRefused("a@h", "f"),
        QueryFailed("no_node", "no such node"),
        ZeroDivisionError("a bug"),
        OSError("no"),
        TimeoutError("no"),
        KeyboardInterrupt(),
        SystemExit(1),
    ],
    ids=repr,
)
def test_a_command_ends_as_it_does_with_typer(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], answer: object
) -> None:
    monkeypatch.setattr(asking, "open_client", lambda *_: Told(answer))
    for name in ("disable", "freeze"):
        monkeypatch.setattr(gc, name, lambda: None)  # this process lives on
    with pytest.raises(SystemExit) as ended:
        quick.run(["queues"])
    out, err = capfd.readouterr()
    said = CliRunner().invoke(app, ["queues"], prog_name="otpq")
    assert (ended.value.code or 0, out, err) == (said.exit_code, said.stdout, said.stderr)
