from datetime import UTC, datetime

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
    why = {"code": "paused", "facts": {"queue": "q", "handler": None, "by": "", "why": "", "since": None}}
    assert "why:        paused: queue 'q' is paused" in task_lines(task, why).splitlines()
    assert "why" not in task_lines(task)
    assert with_why(task, why)["why"] == why
    assert with_why(task, None)["why"] is None
