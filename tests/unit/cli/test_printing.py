from datetime import UTC, datetime

import pytest

from otpq.cli.printing import (
    counts_table,
    handlers_table,
    nodes_table,
    queues_table,
    table,
    task_lines,
    tasks_table,
    with_why,
    workers_table,
)
from otpq.client.picture import tree_lines
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
    why = {"code": "paused", "facts": {"queue": "q", "handler": None, "by": "", "why": "", "since": None}}
    assert "why:        paused: queue 'q' is paused" in task_lines(task, why).splitlines()
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


LONG = "a-name-that-is-much-longer-than-it-needs-to-be"


@pytest.mark.parametrize("width", [40, 60, 80])
def test_every_table_fits_a_narrow_terminal_with_long_names(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    now = datetime(2026, 1, 1, tzinfo=UTC)
    states = {str(state): 1_234_567 for state in TaskState}
    task = Task(id="1" * 32, name=LONG, queue=LONG, state=TaskState.QUEUED, created_at=now, due_at=now, updated_at=now)
    handler = {"handler": LONG, "runs": 9, "mean": 1.0, "limit": 3, "used": 1, "paused": True, "why": LONG}
    worker = {"node": LONG, "pool": LONG, "worker": 1, "state": "active", "task": LONG, "seconds": 3.0}
    node = {"node": LONG, "state": "up", "leads": True, "since": 0.0, "incarnation": LONG, "address": LONG}
    for shown in (
        tasks_table([task]),
        counts_table({LONG: states}),
        queues_table([{"queue": LONG, **states, "paused": True, "why": LONG}]),
        handlers_table([handler]),
        workers_table([worker]),
        nodes_table([node]),
    ):
        assert len(shown.splitlines()) == 2
        assert max(map(len, shown.splitlines())) <= width
    assert "1" * 32 in tasks_table([task])


def test_where_nothing_has_a_width_nothing_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert LONG in counts_table({LONG: dict.fromkeys(map(str, TaskState), 0)})
