from __future__ import annotations

import io
import json
import logging
from typing import TYPE_CHECKING

import pytest

from otpq import logs

if TYPE_CHECKING:
    from collections.abc import Iterator


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("OTPQ_LOG", raising=False)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_file_gets_a_json_object_a_line() -> None:
    file = io.StringIO()
    logs.configure(stream=file)
    logging.getLogger("otpq.node").warning("node %s ends", "a@h", extra={"tasks": 3})
    try:
        int("no")
    except ValueError:
        logging.getLogger("otpq.node").exception("it failed")
    first, second = map(json.loads, file.getvalue().splitlines())
    assert (first["event"], first["level"], first["logger"], first["tasks"]) == (
        "node a@h ends",
        "warning",
        "otpq.node",
        3,
    )
    assert "ValueError: invalid literal" in second["exception"]


def test_a_terminal_gets_a_readable_line() -> None:
    terminal = Terminal()
    logs.configure(stream=terminal)
    logging.getLogger("otpq.node").warning("node %s ends", "a@h", extra={"tasks": 3})
    assert "node a@h ends" in terminal.getvalue()
    assert "otpq.node" in terminal.getvalue()
    assert "tasks" in terminal.getvalue()
    assert not terminal.getvalue().startswith("{")


def test_the_environment_overrules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTPQ_LOG", "json")
    terminal = Terminal()
    logs.configure(stream=terminal)
    logging.getLogger("x").warning("y")
    assert json.loads(terminal.getvalue())["event"] == "y"


def test_what_json_does_not_know_is_written_as_text() -> None:
    file = io.StringIO()
    logs.configure(stream=file)
    logging.getLogger("x").warning("y", extra={"error": ValueError("z")}, stack_info=True)
    line = json.loads(file.getvalue())
    assert line["error"] == "z"
    assert "test_what_json_does_not_know" in line["stack"]
    assert line["timestamp"].endswith("+00:00")


def test_a_second_time_replaces_the_first() -> None:
    first, second = io.StringIO(), io.StringIO()
    logs.configure(stream=first)
    logs.configure(stream=second)
    logging.getLogger("x").warning("y")
    assert (first.getvalue(), len(second.getvalue().splitlines())) == ("", 1)
