from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from otpq.client.flow_views import WorkflowStatus
from otpq.shell.pretty import Lines, Text, line, shown
from otpq.task import HistoryEntry, LogLine, Task, TaskError, TaskState

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ID = "0" * 32
TASK = Task(
    id=ID,
    name="mail.send",
    args=({"to": "a@b.c"},),
    state=TaskState.FAILED,
    reason="error",
    attempt=4,
    error=TaskError("ValueError", "no", "Traceback\nValueError: no"),
    created_at=NOW,
    due_at=NOW,
    updated_at=NOW,
    history=(HistoryEntry(time=0.0, source=TaskState.QUEUED, target=TaskState.RUNNING, node="a@h", pid=7),),
)
ROWS = [
    {"queue": "mail", "queued": 3, "paused": True, "why": "the provider is down", "by": None},
    {"queue": "default", "queued": 0, "paused": False, "why": None, "by": None},
]


@pytest.mark.parametrize("value", [1, "a\nb", "x" * 300, [], {}, {"a": 1, "b": [1]}, [1, {"a": 2}], int, None, [{}]])
def test_what_is_no_table_is_its_repr(value: Any) -> None:
    assert shown(value) == repr(value)


def test_on_a_terminal_a_long_container_is_broken() -> None:
    assert shown({"a": "x" * 30, "b": "y" * 30}, 40).splitlines() == [f"{{'a': '{'x' * 30}',", f" 'b': '{'y' * 30}'}}"]


def test_maps_are_a_table_with_all_their_columns_where_there_is_no_terminal() -> None:
    assert shown(ROWS).splitlines() == [
        "QUEUE    QUEUED  PAUSED  WHY                   BY",
        "mail     3       True    the provider is down",
        "default  0       False",
    ]


def test_a_table_is_made_to_fit_a_terminal_by_its_widest_columns() -> None:
    assert shown(ROWS, 80).splitlines()[0] == "QUEUE    QUEUED  PAUSED  WHY"
    assert shown(ROWS, 36).splitlines() == [
        "QUEUE    QUEUED  PAUSED  WHY",
        "mail     3       True    the provid…",
        "default  0       False",
    ]


def test_what_says_nothing_goes_before_the_table_does() -> None:
    rows = [{"queue": "mail", **{f"count_{n}": 0 for n in range(10)}, "queued": 1}]
    assert shown(rows, 40).splitlines() == ["QUEUE  QUEUED", "mail   1"]


def test_where_no_table_fits_a_row_is_a_record() -> None:
    assert shown(ROWS, 20).splitlines()[:5] == [
        "queue:  mail",
        "queued: 3",
        "paused: True",
        "why:    the provider is down",
        "",
    ]


def test_a_map_of_equal_maps_is_a_table_with_names() -> None:
    assert shown({"mail": {"queued": 1, "running": 2}, "x": {"queued": 0, "running": 0}}).splitlines() == [
        "      QUEUED  RUNNING",
        "mail  1       2",
        "x     0       0",
    ]


def test_a_map_of_tables_and_long_texts_has_a_section_for_each() -> None:
    stacks = {"workers": [{"pool": "a", "done": 1}], "node": "a@h", "main": "File x\n  f()"}
    assert shown(stacks).splitlines() == [
        "node:    a@h",
        "workers:",
        "  POOL  DONE",
        "  a     1",
        "main:",
        "  File x",
        "    f()",
    ]


def test_a_tree_is_drawn() -> None:
    child = {"id": "queue_server", "pid": "<q#2>", "restarts": 2, "children": []}
    tree = {"id": None, "pid": "<node#1>", "restarts": 0, "children": [child]}
    assert shown(tree).splitlines() == ["node (<node#1>)", "└── queue_server (<q#2>, restarted 2 times)"]


def test_tasks_are_a_table_and_one_is_a_record() -> None:
    head, row = shown([TASK]).splitlines()
    assert head.split() == ["ID", "STATE", "REASON", "ATTEMPT", "QUEUE", "CREATED_AT", "NAME"]
    assert row.split()[:5] == [ID, "failed", "error", "4", "default"]
    lines = shown(TASK).splitlines()
    assert lines[:3] == [f"id:            {ID}", "name:          mail.send", "args:          ({'to': 'a@b.c'},)"]
    assert lines[lines.index("error:") :][:5] == [
        "error:",
        "  type:      ValueError",
        "  message:   no",
        "  traceback:",
        "    Traceback",
    ]
    assert lines[-2].split()[:3] == ["TIME", "SOURCE", "TARGET"]
    assert not any(line.startswith("result") for line in lines), "what is empty is left out"


def test_workflows_are_a_table_and_one_is_a_picture() -> None:
    status = WorkflowStatus(id="f" * 32, created_at=datetime(2026, 1, 1, tzinfo=UTC), total=3, ended=1)
    assert shown(status) == status.picture()
    assert shown([status]).splitlines()[0].split() == ["ID", "TITLE", "STATE", "TOTAL", "ENDED", "FAILED", "CREATED_AT"]


def test_an_id_is_never_cut() -> None:
    assert ID in shown([TASK], 70)
    assert ID in shown([TASK], 40)


def test_an_object_with_fields_is_a_record() -> None:
    @dataclass
    class Point:
        x: int
        name: str = ""

    assert shown(Point(1)) == "x: 1"
    assert shown([Point(1, "a")]) == "X  NAME\n1  a"


def test_times_are_told_as_times() -> None:
    assert shown([{"since": 1_767_323_045.0, "seconds": 0.123456789}]).splitlines()[1] == (
        f"{NOW.astimezone().isoformat(sep=' ', timespec='milliseconds')}  0.123457"
    )


def test_what_a_terminal_would_obey_is_shown_and_not_sent() -> None:
    evil = "\x1b]0;title\x07"
    shows = [
        shown([{"title\x1b": evil}]),
        shown({"a": {"x": evil}}, 80),
        shown({"id": evil, "pid": evil, "children": []}),
        line(LogLine(time=NOW, stream="out", level="info", text=evil, run=1, number=1)),
        line({"kind": evil}),
        line(evil),
        shown({"stack": f"{evil}\n{evil}"}),
    ]
    assert not [text for text in shows if "\x1b" in text or "\x07" in text]


def test_an_item_of_a_stream_is_a_line() -> None:
    log = LogLine(
        time=NOW, stream="err", level="warning", text="hot", fields={"degrees": 90}, run=7, number=5, dropped=4
    )
    dropped, text = line(log).splitlines()
    assert dropped == "... 4 lines are missing ..."
    assert text.endswith("  err   warning: hot  degrees=90")
    event = {"number": 7, "time": NOW, "kind": "paused", "facts": {"queue": "mail", "by": "ann"}, "cursor": "a.7"}
    assert (
        line(event) == f"7  {NOW.astimezone().isoformat(sep=' ', timespec='milliseconds')}  paused  queue=mail  by=ann"
    )
    assert line("a word") == "a word"
    assert line(3) == "3"


def test_items_that_were_those_of_a_stream_are_lines() -> None:
    assert shown(Lines([{"kind": "paused", "facts": {"queue": "mail"}}, "a word"])) == "paused  queue=mail\na word"
    assert shown(Lines()) == "[]"


def test_whole_numbers_are_whole() -> None:
    assert shown([{"a": 2_592_000.0, "b": 0.0, "c": 12.5, "d": 1e-7}]).splitlines()[1].split() == [
        "2592000",
        "0",
        "12.5",
        "1e-07",
    ]


def test_a_text_is_shown_as_it_is() -> None:
    assert shown(Text("a\nb")) == "a\nb"
