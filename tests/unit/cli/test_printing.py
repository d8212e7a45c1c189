from datetime import UTC, datetime

import pytest

from otpq.cli.printing import table, task_lines, with_why
from otpq.demo.picture import tree_lines
from otpq.task import Task, TaskState


def test_columns_are_as_wide_as_their_widest_word() -> None:
    assert table(("A", "B"), [("long", 1), ("x", 22)]) == "A     B\nlong  1\nx     22"


def test_a_tree_is_drawn_from_what_is_there() -> None:
    tree = {
        "id": None,
        "pid": "<node#1>",
        "children": [{"id": "queue_server", "restarts": 2}, {"id": "pools", "children": [{"id": "worker 1"}]}],
    }
    assert tree_lines(tree) == [
        "node (<node#1>)",
        "├── queue_server (restarted 2 times)",
        "└── pools",
        "    └── worker 1",
    ]


def test_a_task_is_shown_with_the_reason_why_it_is_not_at_work() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    task = Task(id="1", name="add", state=TaskState.QUEUED, created_at=now, due_at=now, updated_at=now)
    why = {"code": "paused", "facts": {"queue": True, "handler": False}}
    assert "why:        paused (queue true, handler false)" in task_lines(task, why).splitlines()
    assert "why" not in task_lines(task)
    assert with_why(task, why)["why"] == why
    assert with_why(task, None)["why"] is None


HEAD = ("ID", "QUEUE", "NAME")
ROWS = [("0123456789", "a-queue-with-a-long-name", "email.send"), ("x", "q", "scan")]


@pytest.mark.parametrize("width", range(1, 60))
def test_a_table_is_never_wider_than_the_terminal(width: int) -> None:
    lines = table(HEAD, ROWS, width=width, least=("QUEUE", "NAME")).splitlines()
    assert len(lines) == 3
    assert max(map(len, lines)) <= width


def test_the_least_useful_column_is_cut_and_then_left_out() -> None:
    def at(width: int) -> str:
        return table(HEAD, ROWS, width=width, least=("QUEUE", "NAME")).splitlines()[1]

    assert at(48) == "0123456789  a-queue-with-a-long-name  email.send"
    assert at(40) == "0123456789  a-queue-with-a-…  email.send"
    assert at(32) == "0123456789  a-queue…  email.send"
    assert at(30) == "0123456789  a-queue…  email.s…"
    assert at(29) == "0123456789  email.send"
    assert at(12) == "0123456789"
    assert at(5) == "0123…"
    assert table(HEAD, ROWS) == table(HEAD, ROWS, width=48)


def test_a_row_stays_one_line_whatever_a_name_is_made_of() -> None:
    assert table(("A", "B"), [("two\nlines", "\x1b[31mred")]).splitlines()[1] == "two lines   [31mred"
