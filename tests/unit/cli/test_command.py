"""How a function becomes a command, and where its options are read from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer

from otpq.cli.command import flat, made, options_of, variable
from otpq.cli.manual import commands, manual
from otpq.cli.node import _parser


@dataclass(frozen=True)
class Bundle:
    size: Annotated[int, typer.Option("--size")] = 3
    parts: Annotated[list[str] | None, typer.Option("--part")] = None
    is_loud: Annotated[bool, typer.Option("--loud", "-l")] = False


SEEN: list[Any] = []


def example(name: str, bundle: Bundle, *, other: float = 1.0) -> None:
    """An example."""
    SEEN.append((name, bundle, other))


def run(*words: str, **environment: str) -> Any:
    SEEN.clear()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        made("example", example).main(list(words), prog_name="example", standalone_mode=False)
    return SEEN[0]


def test_a_bundle_stands_for_its_options() -> None:
    assert run("x") == ("x", Bundle(), 1.0)
    assert run("x", "--size", "4", "-l", "--part", "a", "--part", "b", "--other", "2") == (
        "x",
        Bundle(4, ["a", "b"], is_loud=True),
        2.0,
    )
    assert flat(example).__doc__ == "An example."


def test_a_flag_goes_before_its_variable_and_that_before_the_default() -> None:
    assert run("x", OTPQ_SIZE="5")[1].size == 5
    assert run("x", "--size", "4", OTPQ_SIZE="5")[1].size == 4
    assert run("x", OTPQ_SIZE="")[1].size == 3  # unset overrides nothing
    assert run("x", OTPQ_LOUD="1")[1].is_loud
    assert not run("x", OTPQ_LOUD="0")[1].is_loud
    assert not run("x", OTPQ_LOUD="")[1].is_loud
    assert run("x", OTPQ_PART="a b;c")[1].parts == ["a b", "c"]
    assert run("x", "--part", "d", OTPQ_PART="a b;c")[1].parts == ["d"]


@pytest.mark.parametrize(("path", "command"), list(commands()))
def test_every_option_has_a_variable(path: str, command: Any) -> None:
    for option in options_of(command):
        assert variable(option).startswith("OTPQ_"), (path, option.opts)
        assert option.envvar == variable(option)
        if path != "otpq node":
            assert f"env var: {option.envvar}" in " ".join(command.get_help(typer.Context(command)).split())


def test_a_variable_means_one_option_in_all_commands() -> None:
    meanings: dict[str, set[tuple[str, ...]]] = {}
    for _path, command in commands():
        for option in options_of(command):
            meanings.setdefault(variable(option), set()).add(tuple(sorted(option.opts)))
    for action in _parser()._actions:
        if action.dest not in {"help", "path"}:
            meanings.setdefault(f"OTPQ_{action.dest.upper()}", set()).add(tuple(sorted(action.option_strings)))
    assert meanings.pop("OTPQ_HANDLER") == {("--handler",), ("--name",)}  # either way a handler's name
    assert {name: words for name, words in meanings.items() if len(words) > 1} == {}


def test_an_option_that_means_something_else_has_another_variable() -> None:
    every = {
        path: variable(option)
        for path, command in commands()
        for option in options_of(command)
        if "--all" in option.opts
    }
    assert every == {
        "otpq list": "OTPQ_ALL_PAGES",
        "otpq cancel": "OTPQ_ALL",
        "otpq retry": "OTPQ_ALL",
        "otpq delete": "OTPQ_ALL",
        "otpq demo": "OTPQ_ALL_FILES",
    }


def test_the_manual_is_made_of_the_commands() -> None:
    page = Path(__file__).parents[3] / "docs" / "cli.md"
    assert page.read_text(encoding="utf-8") == manual(), "python -m otpq.cli.manual > docs/cli.md"
