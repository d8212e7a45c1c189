from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from otpq.errors import UsageError
from otpq.shell.evaluator import KEPT, Evaluator

if TYPE_CHECKING:
    from collections.abc import Iterator


class Prompt:
    def __init__(self) -> None:
        self.shown: list[Any] = []
        self.evaluator: Evaluator = Evaluator({"help_me": 5, "v": lambda n=-1: self.evaluator.value(n)}, self._show)

    def _show(self, value: Any) -> Any:
        self.shown.append([*value] if hasattr(value, "__next__") else value)
        return self.shown[-1]

    def __call__(self, source: str) -> list[Any]:
        """What an input shows."""
        self.shown.clear()
        self.evaluator.run(source)
        return [*self.shown]


@pytest.fixture
def prompt() -> Iterator[Prompt]:
    prompt = Prompt()
    yield prompt
    prompt.evaluator.close()


def test_each_expression_of_an_input_is_shown_and_nothing_else(prompt: Prompt) -> None:
    assert prompt("x = 3") == []
    assert prompt("x; x + 1\nNone\ny = 5\n[x, y]") == [3, 4, [3, 5]]
    assert prompt("for i in range(3):\n    i") == []


def test_await_works_at_the_top_and_in_all_that_stands_there(prompt: Prompt) -> None:
    prompt("import asyncio")
    assert prompt("await asyncio.sleep(0, 'slept')") == ["slept"]
    prompt("async def twice(n):\n    return 2 * n")
    assert prompt("[await twice(n) for n in (1, 2)]") == [[2, 4]]
    prompt("async def count():\n    yield 1\n    yield 2")
    prompt("found = []\nasync for n in count():\n    found.append(n)")
    assert prompt("found") == [[1, 2]]
    assert prompt("count()") == [[1, 2]]


def test_what_an_input_has_started_goes_on_in_the_next_one(prompt: Prompt) -> None:
    prompt("import asyncio")
    prompt("async def start():\n    return asyncio.create_task(asyncio.sleep(0, 'done'))")
    prompt("task = await start()")
    assert prompt("await task") == ["done"]


def test_values_are_kept_by_the_number_of_their_input(prompt: Prompt) -> None:
    prompt("'one'")
    prompt("two = 2")
    prompt("'three'; 'last of three'")
    assert prompt("v(1)") == ["one"]
    assert prompt("v(3)") == ["last of three"]
    assert prompt("v()") == ["last of three"]
    assert prompt("v(-4)") == ["last of three"]
    assert prompt("_, v(1)") == [("last of three", "one")]
    with pytest.raises(UsageError, match=r"v\(2\): no value is kept of that input; the last 200 are, here of 4, 5"):
        prompt("v(2)")


def test_there_is_none_before_the_first_one(prompt: Prompt) -> None:
    for n in (-1, 0, 1):
        with pytest.raises(UsageError, match="none is yet"):
            prompt.evaluator.value(n)


def test_old_values_are_let_go(prompt: Prompt) -> None:
    for n in range(KEPT + 1):
        prompt(f"{n} + 1")
    assert prompt.evaluator.value(2) == 2
    with pytest.raises(UsageError):
        prompt.evaluator.value(1)


def test_inputs_are_counted_also_those_that_fail_but_no_comments(prompt: Prompt) -> None:
    for source in ("1", "a b", "1/0", "return 1"):
        before = prompt.evaluator.number
        with contextlib.suppress(SyntaxError, ZeroDivisionError):
            prompt(source)
        assert prompt.evaluator.number == before + 1
    prompt("# nothing")
    prompt("")
    assert prompt.evaluator.number == 5


def test_an_input_that_is_no_python_is_not_run_at_all(prompt: Prompt) -> None:
    prompt("ran = []")
    with pytest.raises(SyntaxError):
        prompt("ran.append(1)\nreturn 2")
    assert prompt("ran") == [[]]


def test_what_stands_before_an_error_has_happened_and_is_kept(prompt: Prompt) -> None:
    with pytest.raises(ZeroDivisionError):
        prompt("'first'; 1/0")
    assert prompt("v(1)") == ["first"]


def test_a_helper_can_be_hidden_and_comes_back(prompt: Prompt) -> None:
    assert prompt("help_me") == [5]
    assert prompt("help_me = 6\nhelp_me") == [6]
    assert prompt("del help_me\nhelp_me") == [5]


def test_functions_see_the_names_and_keep_their_annotations(prompt: Prompt) -> None:
    prompt("n = 1\ndef f(a: int) -> str:\n    return n + help_me")
    prompt("n = 2")
    assert prompt("f(0)") == [7]
    assert prompt("f.__annotations__") == [{"a": int, "return": str}]
