"""The commands, with a client that only writes down what it is asked."""

from __future__ import annotations

import json
import math
import warnings
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

import pytest
from msgspec import structs
from typer.testing import CliRunner

from otpq.cli import asking, bulks, options
from otpq.cli.exits import DEBUG, exit_code, one_line
from otpq.cli.program import app
from otpq.cli.up import is_here
from otpq.client import address
from otpq.client.errors import CookieRefused, NodeUnreachable, QueryFailed, TaskFailed, TaskNotFound, WaitTimeout
from otpq.client.events import Event
from otpq.client.flow_views import Member, WorkflowPage, WorkflowStatus
from otpq.client.io import Target
from otpq.client.questions import Page, Selector
from otpq.errors import OtpqError, StoreError
from otpq.store.errors import StoreTaken
from otpq.task import HistoryEntry, LogLine, Task, TaskError, TaskState
from otpq.wire.cookie import BadCookie, Cookie

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import TypeAlias

    from typer.testing import Result

    from otpq.client.calls import Call

    Told: TypeAlias = Callable[[int], object] | None

ID = "0" * 32
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
WORKFLOW = WorkflowStatus(
    id="f" * 32,
    created_at=NOW,
    total=3,
    ended=1,
    members=(Member(place=0, id=ID, name="mail", state=TaskState.QUEUED),),
)
TASK = Task(
    id=ID,
    name="mail.send",
    args=("a@b.c",),
    kwargs={"html": True},
    state=TaskState.FAILED,
    reason="error",
    attempt=4,
    error=TaskError("ValueError", "no", "Traceback\nValueError: no"),
    created_at=NOW,
    due_at=NOW,
    updated_at=NOW,
    options={"retries": 3},
    history=(HistoryEntry(time=0.0, source=TaskState.QUEUED, target=TaskState.RUNNING, node="a@h", pid=7),),
)


LINES = [
    LogLine(time=NOW, stream="life", level="info", text="queued", fields={"attempt": 0}, run=0, number=1),
    LogLine(time=NOW, stream="err", level="warning", text="héllo", run=7, number=5, dropped=4),
]


EVENTS = [
    Event(1, NOW, "node_down", {"node": "b@h", "incarnation": "b1", "why": "left"}, "t.1"),
    Event(2, NOW, "failed", {"id": ID, "name": "mail", "queue": "q", "attempt": 4, "error": "ValueError: no"}, "t.2"),
    Event(3, NOW, "scaled", {"pool": None, "answers": [{"workers": 2}], "why": ""}, "t.3"),
    Event(4, NOW, "gap", {"why": "overrun", "missed": 7}, "t.4"),
    Event(5, NOW, "gap", {"why": "new", "x": 1}, "t.5"),
]


def limit(of: str, name: str, limit: str, value: float | None, used: float | None, *, source: str) -> dict[str, Any]:
    available = None if value is None or used is None else value - used
    facts = {"value": value, "used": used, "available": available, "from": source}
    return {"of": of, "name": name, "limit": limit, **facts}


LIMITS = [
    limit("handler", "mail", "max_concurrency", 3, 1, source="file"),
    limit("handler", "mail", "timeout", 0.5, None, source="app"),
    limit("handler", "mail", "memory", None, None, source="default"),
    limit("queue", "q", "max_size", 1_000_000, 12_345, source="set"),
    limit("queue", "r", "max_size", None, 7, source="set"),
    limit("retention", "all", "failed", 2_592_000.0, None, source="default"),
]


class FakeHandle:
    id = ID

    def __init__(self, result: object) -> None:
        self._result = result

    def get(self, _timeout: float | None = None) -> object:
        if isinstance(self._result, BaseException):
            raise self._result
        return self._result


class FakeClient:
    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.nexts: list[str | None] = []
        self.result: object = {"sent": 1}
        self.selected = 3
        self.missing: set[str] = set()
        self.task = TASK
        self.next_workflow: int | None = None
        self.error: Exception | None = None
        self.facts: dict[str, Any] = {"ok": True, "node": "a@h"}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def _ask(self, *what: Any) -> None:
        self.asked.append(what)
        if self.error is not None:
            raise self.error

    def submit(self, call: Call, *, strict: bool) -> FakeHandle:
        self._ask("submit", call.name, call.args, call.kwargs, call.options.priority, *["strict"] * strict)
        if call.name == "misspelt":
            warnings.warn("no handler 'misspelt' is known", UserWarning, stacklevel=1)
        return FakeHandle(self.result)

    def tasks(self, selector: Selector, *, limit: int, after: str | None = None) -> Page:
        if selector.ids is not None:
            return Page([structs.replace(TASK, id=id) for id in selector.ids if id not in self.missing], None)
        self._ask("tasks", selector, limit, after)
        return Page([TASK], self.nexts.pop(0) if self.nexts else None)

    def get_task_status(self, id: str) -> Task:
        self._ask("get_task_status", id)
        if id in self.missing:
            raise TaskNotFound(id)
        return self.task

    def workflow(self, id: str) -> WorkflowStatus:
        self._ask("workflow", id)
        return WORKFLOW

    def workflows(self, *, limit: int, after: int | None) -> WorkflowPage:
        self._ask("workflows", limit, after)
        return WorkflowPage([WORKFLOW], self.next_workflow)

    def cancel_workflow(self, id: str, grace: float) -> str:
        self._ask("cancel_workflow", id, grace)
        return "cancelling"

    def retry_workflow(self, id: str) -> str:
        self._ask("retry_workflow", id)
        return "retried"

    def why(self, id: str) -> dict[str, Any] | None:
        self._ask("why", id)
        there = [{"node": "a@h", "pool": "cpu", "queues": ["q"]}]
        facts = {"handler": "mail", "queue": "q", "pools": 1, "there": there, "elsewhere": [], "nearest": "mall"}
        return {"code": "no_handler", "facts": facts}

    def counts(self, queue: str | None) -> dict[str, dict[str, int]]:
        self._ask("counts", queue)
        return {"default": {str(state): i for i, state in enumerate(TaskState)}}

    def count(self, selector: Selector, *, to: str) -> int:
        self._ask("count", selector, to)
        return self.selected

    def cancel(self, what: str | Selector, grace: float, *, on_progress: Told = None) -> str | int:
        assert on_progress is None  # standard error is no terminal
        self._ask("cancel", what, grace)
        if isinstance(what, str) and what in self.missing:
            raise TaskNotFound(str(what))
        return "cancelling" if isinstance(what, str) else 3

    def retry(self, selector: Selector, *, on_progress: Told = None) -> int:
        assert on_progress is None  # standard error is no terminal
        self._ask("retry", selector)
        return 1

    def delete(self, selector: Selector, *, on_progress: Told = None) -> int:
        assert on_progress is None  # standard error is no terminal
        self._ask("delete", selector)
        return 0

    def purge(self, queue: str, *, on_progress: Told = None) -> int:
        assert on_progress is None  # standard error is no terminal
        self._ask("purge", queue)
        return 2

    def logs(self, id: str, follow: bool) -> Iterator[LogLine]:  # noqa: FBT001 - as the real one
        self._ask("logs", id, follow)
        yield from LINES

    def events(self, after: str | None, follow: bool, **wanted: Any) -> Iterator[Event]:  # noqa: FBT001 - as the real one
        self._ask("events", after, follow, {name: of for name, of in wanted.items() if of is not None})
        yield from EVENTS

    def pause(self, queue: str | None, *, handler: str | None, why: str) -> None:
        self._ask("pause", queue, handler, why)

    def resume(self, queue: str | None, *, handler: str | None) -> None:
        self._ask("resume", queue, handler)

    def scale(self, pool: str, n: int) -> list[dict[str, Any]]:
        self._ask("scale", pool, n)
        return [{"pool": pool, "workers": n, "before": 1}]

    def reload(self, pool: str | None, *, timeout: float | None) -> list[dict[str, Any]]:
        self._ask("reload", pool, timeout)
        return [{"pool": "cpu", "replaced": 2}, {"pool": "gpu", "replaced": 1}]

    def limits(self) -> list[dict[str, Any]]:
        return LIMITS

    def queues(self) -> list[dict[str, Any]]:
        return [
            {"queue": "mail", **dict.fromkeys(map(str, TaskState), 7), "paused": True, "by": "ann@desk", "why": "x"}
        ]

    def tree(self, node: str | None = None) -> dict[str, Any]:
        self._ask("tree", node)
        busy = {
            "restarts": 1,
            "mailbox": 1200,
            "status": "running",
            "callback": "handle_batch",
            "callback_seconds": 2.5,
        }
        return {"id": None, "pid": "<node#3>", "children": [{"id": "queue_server", "pid": "<queue_server#5>", **busy}]}

    def stacks(self, worker: str | None = None, node: str | None = None) -> dict[str, str]:
        self._ask("stacks", worker, node)
        return {"Thread 0x1": '  File "a.py", line 1 in f\n', "Thread 0x2": '  File "b.py", line 2 in g\n'}

    def drain(self, node: str, *, wait: bool = False, timeout: float | None = None) -> dict[str, Any]:
        self._ask("drain", node, wait, timeout)
        return {"node": node, "running": 2, "then": "it stops"}

    def handlers(self) -> list[dict[str, Any]]:
        run = {"runs": 3, "mean": 0.25, "limit": 3, "used": 2, "paused": False}
        return [{"handler": "mail.send", **run}, {**run, "handler": "free", "limit": None, "failed": 1, "max": 2.0}]

    def workers(self) -> list[dict[str, Any]]:
        busy = {"node": "a@h", "pool": "cpu", "worker": 0, "state": "active", "child": 7, "done": 3, "failed": 1}
        return [
            {**busy, "restarts": 0, "task": "mail.send", "seconds": 1.5, "error": ""},
            {"node": "a@h", "pool": "cpu", "worker": 1, "state": "offline", "child": None, "error": "no app"},
        ]

    def health(self, node: str, *, timeout: float) -> dict[str, Any]:
        assert 0 <= timeout <= 10
        self._ask("health", node)
        return self.facts


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> FakeClient:
    fake = FakeClient()
    monkeypatch.setattr(asking, "open_client", lambda *_: fake)
    return fake


def otpq(*words: str, typed: str = "", environment: dict[str, str] | None = None) -> Result:
    around = {"COLUMNS": None, **(environment or {})}  # pytest may have set it
    return CliRunner().invoke(app, words, input=typed, env=around, prog_name="otpq")


# ------------------------------------------------------------ commands


def test_submit_reads_words_as_json_and_failing_that_as_text(client: FakeClient) -> None:
    said = otpq("submit", "mail", "3", "[1, 2]", "plain text", "--kw", "html=true", "-o", "priority=high")
    assert (said.exit_code, said.stdout) == (0, f"{ID}\n")
    assert client.asked == [("submit", "mail", (3, [1, 2], "plain text"), {"html": True}, 8)]


def test_a_negative_number_is_an_argument_and_no_option(client: FakeClient) -> None:
    assert otpq("submit", "mail", "-1", "-2.5e3", "--kw", "n=-3").exit_code == 0
    assert client.asked == [("submit", "mail", (-1, -2500.0), {"n": -3}, 5)]
    assert (
        otpq("submit", "mail", "-x").stderr
        == "otpq submit: no such option: -x; `otpq submit --help` shows which there are\n"
    )


def test_submit_may_be_strict(client: FakeClient) -> None:
    assert otpq("submit", "mail", "--strict").exit_code == 0
    assert client.asked[0][-1] == "strict"


@pytest.mark.usefixtures("client")
def test_what_a_submission_is_warned_of_is_a_line_on_standard_error() -> None:
    said = otpq("submit", "misspelt")
    assert (said.exit_code, said.stdout, said.stderr) == (0, f"{ID}\n", "otpq: no handler 'misspelt' is known\n")


@pytest.mark.usefixtures("client")
def test_submit_can_wait_for_the_result() -> None:
    assert json.loads(otpq("submit", "mail", "--wait").stdout) == {"sent": 1}
    assert json.loads(otpq("submit", "mail", "--wait", "--json").stdout) == {"id": ID, "result": {"sent": 1}}
    assert json.loads(otpq("submit", "mail", "--json").stdout) == {"id": ID}


def test_a_task_that_fails_ends_the_waiting_with_one_line(client: FakeClient) -> None:
    client.result = TaskFailed(ID, "mail", "error", TASK.error)
    said = otpq("submit", "mail", "--wait")
    assert (said.exit_code, said.stderr) == (1, f"otpq: task {ID} (mail) failed: error: ValueError: no\n")


def test_list_selects(client: FakeClient) -> None:
    said = otpq("list", "--state", "failed", "--queue", "q", "--name", "n", "--tag", "t", "--limit", "7")
    assert client.asked == [("tasks", Selector(state="failed", queue="q", name="n", tag="t"), 7, None)]
    head, row = said.stdout.splitlines()
    assert head.split() == ["ID", "STATE", "ATTEMPT", "QUEUE", "CREATED", "NAME"]
    assert row.startswith(ID)
    assert row.endswith("mail.send")


def test_list_gives_json_one_object_a_line(client: FakeClient) -> None:
    client.nexts = ["17", None]
    rows = [json.loads(line) for line in otpq("list", "--json", "--all").stdout.splitlines()]
    assert [(row["id"], row["state"]) for row in rows] == [(ID, "failed")] * 2
    assert client.asked == [("tasks", Selector(), 1000, None), ("tasks", Selector(), 1000, "17")]


def test_list_says_how_to_go_on_where_a_page_ends(client: FakeClient) -> None:
    client.nexts = ["17"]
    said = otpq("list")
    assert said.stderr == "there are more: --after 17, or --all\n"
    assert len(said.stdout.splitlines()) == 2
    assert otpq("list", "--after", "17").stderr == ""
    assert client.asked[1] == ("tasks", Selector(), 20, "17")


def test_list_takes_a_time_of_this_machine(client: FakeClient) -> None:
    otpq("list", "--before", "2026-01-02T03:04:05")
    assert client.asked == [("tasks", Selector(before=datetime(2026, 1, 2, 3, 4, 5).astimezone()), 20, None)]


@pytest.mark.usefixtures("client")
def test_show_tells_everything() -> None:
    said = otpq("show", ID).stdout
    for part in (
        '"a@b.c", html=true',
        "no_handler: no pool that serves queue 'q' has a handler 'mail'",
        "retries: 3",
        "failed (error)",
        "ValueError: no",
        "queued -> running on a@h 7",
    ):
        assert part in said
    assert json.loads(otpq("show", ID, "--json").stdout)["history"][0]["to"] == "running"


@pytest.mark.usefixtures("client")
def test_counts_has_a_column_a_state() -> None:
    head, row = otpq("counts").stdout.splitlines()
    assert head.split()[1:] == [state.upper() for state in TaskState]
    assert row.split() == ["default", *map(str, range(8))]


@pytest.mark.usefixtures("client")
def test_cancel_gives_json() -> None:
    assert json.loads(otpq("cancel", ID, "--json").stdout) == {"id": ID, "answer": "cancelling"}


def test_cancel_says_how_it_went(client: FakeClient) -> None:
    assert otpq("cancel", ID, "--grace", "2").stdout == "cancelling\n"
    assert client.asked == [("cancel", ID, 2.0)]


def test_cancel_of_several_says_how_many(client: FakeClient) -> None:
    other = "1" * 32
    assert otpq("cancel", ID, other).stdout == "cancelled 3 tasks\n"
    assert json.loads(otpq("cancel", "--state", "queued", "--name", "mail", "--json", "--yes").stdout) == {
        "cancelled": 3
    }
    assert otpq("cancel", ID, "--queue", "q").stdout == "cancelled 3 tasks\n"
    assert client.asked == [
        ("cancel", Selector(ids=[ID, other]), 5.0),
        ("cancel", Selector(state="queued", name="mail"), 5.0),
        ("cancel", Selector(ids=[ID], queue="q"), 5.0),
    ]


def test_a_workflow_is_shown_as_a_picture_or_as_data(client: FakeClient) -> None:
    client.missing = {WORKFLOW.id}
    assert otpq("show", WORKFLOW.id).stdout == f"{WORKFLOW.picture()}\n"
    assert json.loads(otpq("show", WORKFLOW.id, "--json").stdout)["members"][0]["name"] == "mail"


def test_behind_a_member_stands_its_workflow(client: FakeClient) -> None:
    client.task = structs.replace(TASK, workflow=WORKFLOW.id, waits=2)
    lines = otpq("show", ID).stdout.splitlines()
    assert f"workflow:   {WORKFLOW.id}, waits for 2 of its tasks" in lines
    assert lines[-3:] == WORKFLOW.picture().splitlines()
    assert json.loads(otpq("show", ID, "--json").stdout)["workflow"] == WORKFLOW.id


def test_workflows_are_listed(client: FakeClient) -> None:
    client.next_workflow = 7
    said = otpq("workflows", "--limit", "5", "--after", "9")
    head, line = said.stdout.splitlines()
    assert head.split() == ["ID", "STATE", "ENDED", "FAILED", "CREATED", "TITLE"]
    assert line.split()[:4] == [WORKFLOW.id, "running", "1/3", "0"]
    assert said.stderr == "there are more: --after 7\n"
    assert client.asked == [("workflows", 5, 9)]
    assert json.loads(otpq("workflows", "--json").stdout)["total"] == 3


def test_what_is_no_task_may_be_a_workflow_to_cancel_or_to_retry(client: FakeClient) -> None:
    client.missing = {WORKFLOW.id}
    assert otpq("cancel", WORKFLOW.id).stdout == "cancelling\n"
    assert json.loads(otpq("retry", WORKFLOW.id, "--json").stdout) == {"id": WORKFLOW.id, "answer": "retried"}
    assert client.asked[-2:] == [("cancel_workflow", WORKFLOW.id, 5.0), ("retry_workflow", WORKFLOW.id)]
    several = otpq("retry", ID, WORKFLOW.id)
    assert (several.exit_code, several.stderr) == (6, f"otpq: there is no task '{WORKFLOW.id}'\n")


def test_ended_tasks_are_retried_and_deleted(client: FakeClient) -> None:
    assert otpq("retry", ID).stdout == "retried 1 task\n"
    assert otpq("delete", "--all", "--tag", "t", "-y").stdout == "deleted 0 tasks\n"
    assert otpq("delete", "--all", "--yes").exit_code == 0
    assert otpq("purge", "mail", "--yes").stdout == "purged 2 tasks\n"
    assert client.asked == [
        ("retry", Selector(ids=[ID])),
        ("delete", Selector(tag="t")),
        ("delete", Selector()),
        ("purge", "mail"),
    ]


@pytest.mark.parametrize("command", ["cancel", "retry", "delete"])
def test_nobody_means_all_tasks_by_a_slip(client: FakeClient, command: str) -> None:
    said = otpq(command)
    assert (said.exit_code, client.asked) == (2, [])
    assert "or --all" in said.stderr


def test_who_selects_is_told_how_many_there_are_and_asked(client: FakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulks, "_is_anyone_here", lambda: True)
    said = otpq("cancel", "--name", "mail.*", typed="y\n")
    assert (said.exit_code, said.stdout.splitlines()[-1]) == (0, "cancelled 3 tasks")
    assert said.stderr.startswith("cancel 3 tasks? [y/N]:")
    assert client.asked == [("count", Selector(name="mail.*"), "cancel"), ("cancel", Selector(name="mail.*"), 5.0)]
    client.asked.clear()
    said = otpq("delete", "--state", "failed", typed="\n")
    assert (said.exit_code, said.stderr) == (1, "delete 3 tasks? [y/N]:nothing is done\n")
    assert client.asked == [("count", Selector(state="failed"), "delete")]


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("cancel", "--queue", "q"), "cancel"),
        (("retry", "--all"), "retry"),
        (("delete", "--before", "1h"), "delete"),
        (("purge", "mail"), "purge"),
    ],
)
def test_where_nobody_can_be_asked_nothing_is_done_but_with_yes(
    client: FakeClient, words: tuple[str, ...], what: str
) -> None:
    said = otpq(*words)
    line = f"otpq: this would {what} 3 tasks, and nobody is here to be asked; with --yes it is done\n"
    assert (said.exit_code, said.stdout, said.stderr) == (2, "", line)
    assert [asked[0] for asked in client.asked] == ["count"]
    assert otpq(*words, environment={"OTPQ_YES": "1"}).exit_code == 0
    assert client.asked[-1][0] == what


def test_nobody_is_asked_about_nothing_and_about_what_is_named(client: FakeClient) -> None:
    client.selected = 0
    assert otpq("retry", "--tag", "t").stdout == "retried 1 task\n"
    client.asked.clear()
    assert otpq("delete", ID).exit_code == 0
    assert client.asked == [("delete", Selector(ids=[ID]))]


@pytest.mark.parametrize("command", ["retry", "delete"])
def test_if_one_that_is_named_is_not_there_nothing_is_done(client: FakeClient, command: str) -> None:
    client.missing = {"1" * 32}
    said = otpq(command, ID, "1" * 32)
    assert (said.exit_code, said.stderr, client.asked) == (6, f"otpq: there is no task '{'1' * 32}'\n", [])


def test_a_slip_in_the_name_of_what_is_paused_is_pointed_out(client: FakeClient) -> None:
    said = otpq("pause", "mial", "--handler", "mail.sned")
    assert (said.exit_code, said.stdout) == (0, "paused\n")
    assert said.stderr == (
        "otpq: no queue 'mial' is known; did you mean 'mail'? It is paused all the same\n"
        "otpq: no handler 'mail.sned' is known; did you mean 'mail.send'? It is paused all the same\n"
    )
    assert otpq("pause", "mail").stderr == otpq("pause", "reports").stderr == ""
    assert client.asked[0] == ("pause", "mial", "mail.sned", "")


@pytest.mark.parametrize(
    ("text", "age"),
    [
        ("30s", timedelta(seconds=30)),
        ("5m", timedelta(minutes=5)),
        ("1.5h", timedelta(minutes=90)),
        ("2d", timedelta(2)),
    ],
)
def test_tasks_are_selected_by_their_age(client: FakeClient, text: str, age: timedelta) -> None:
    assert otpq("list", "--before", text).exit_code == 0
    assert client.asked == [("tasks", Selector(before=age), 20, None)]


@pytest.mark.parametrize("text", ["1x", "1", "-1h", "h", "yesterday", "1e9999d", "99999999999w"])
def test_what_is_neither_an_age_nor_a_time_is_refused(client: FakeClient, text: str) -> None:
    said = otpq("list", f"--before={text}")
    assert (said.exit_code, client.asked) == (2, [])
    assert said.stderr == (
        f"otpq: before={text!r} is not allowed: an age such as 30s, 5m, 1h, 2d or 1w, "
        "or a time such as 2026-01-31 or 2026-01-31T12:00\n"
    )


def test_a_script_has_its_own_options(client: FakeClient) -> None:
    said = otpq("submit-script", "--env", "A=1", "--cwd", "/jobs", "-o", "priority=9", "/jobs/a.py", "--env", "-x", "3")
    assert (said.exit_code, said.stdout) == (0, f"{ID}\n")
    kwargs = {"args": ["--env", "-x", "3"], "cwd": "/jobs", "env": {"A": "1"}}
    assert client.asked == [("submit", "@script", ("/jobs/a.py",), kwargs, 9)]
    assert json.loads(otpq("submit-script", "--wait", "/jobs/a.py").stdout) == {"sent": 1}


@pytest.mark.usefixtures("client")
def test_a_log_is_printed_line_by_line(client: FakeClient) -> None:
    said = otpq("logs", ID, "-f")
    first, gap, second = said.stdout.splitlines()
    assert first.endswith("  life  queued  attempt=0")
    assert gap == "... 4 lines are missing ..."
    assert second.endswith("  err   warning: héllo")
    assert client.asked == [("logs", ID, True)]
    rows = [json.loads(line) for line in otpq("logs", ID, "--json").stdout.splitlines()]
    assert [(row["text"], row["dropped"]) for row in rows] == [("queued", 0), ("héllo", 4)]
    assert client.asked[1] == ("logs", ID, False)


def test_events_are_printed_line_by_line(client: FakeClient) -> None:
    said = otpq("events", "-f")
    assert [line.partition("  ")[2] for line in said.stdout.splitlines()] == [
        "node_down       b@h incarnation=b1 why=left",
        f"failed          {ID} mail queue=q attempt=4 error=ValueError: no",
        'scaled          answers=[{"workers":2}]',
        "gap             7 events are missing: more came than are kept",
        "gap             why=new x=1",
    ]
    rows = [json.loads(line) for line in otpq("events", "--after", "t.0", "--json").stdout.splitlines()]
    assert [(row["number"], row["kind"], row["cursor"]) for row in rows][1] == (2, "failed", "t.2")
    assert (rows[0]["facts"]["node"], rows[0]["time"]) == ("b@h", NOW.isoformat().replace("+00:00", "Z"))
    otpq("events", "-k", "failed", "--kind", "expired", "--id", "a", "--name", "mail.*", "--queue", "q", "--of", "b@h")
    wanted = {"kinds": ["failed", "expired"], "ids": ["a"], "name": "mail.*", "queue": "q", "node": "b@h"}
    assert client.asked == [
        ("events", None, True, {}),
        ("events", "t.0", False, {}),
        ("events", None, False, wanted),
    ]


@pytest.mark.usefixtures("client")
def test_limits_are_a_table_of_those_that_there_are() -> None:
    assert otpq("limits").stdout.splitlines() == [
        "OF         NAME  LIMIT            VALUE        USED    FREE     FROM",
        "handler    mail  max_concurrency  3            1       2        leader's file",
        "handler    mail  timeout          0.5 s                         decorator",
        "queue      q     max_size         1,000,000    12,345  987,655  run time",
        "queue      r     max_size         none         7                run time",
        "retention  all   failed           2,592,000 s                   default",
    ]
    assert json.loads(otpq("limits", "--json").stdout) == LIMITS


def test_without_limits_there_is_no_table(client: FakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "limits", list)
    assert otpq("limits").stdout == "no limits\n"


@pytest.mark.usefixtures("client")
def test_why_says_the_reason() -> None:
    assert otpq("why", ID).stdout == (
        "no_handler: no pool that serves queue 'q' has a handler 'mail'; asked were pool cpu on a@h (queues q); "
        "did you mean 'mall'?\n"
    )
    assert json.loads(otpq("why", ID, "--json").stdout)["code"] == "no_handler"


def test_why_says_that_there_is_none(client: FakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "why", lambda _id: None)
    assert otpq("why", ID).stdout == "it has ended\n"
    assert otpq("why", ID, "--json").stdout == "null\n"


def test_queues_and_handlers_are_paused_and_let_go_on(client: FakeClient) -> None:
    assert otpq("pause", "mail", "--why", "the shop is closed").stdout == "paused\n"
    assert otpq("resume", "--handler", "mail.send").stdout == "resumed\n"
    said = json.loads(otpq("pause", "mail", "--handler", "mail.send", "--json").stdout)
    assert said == {"answer": "paused", "queue": "mail", "handler": "mail.send"}
    assert client.asked == [
        ("pause", "mail", None, "the shop is closed"),
        ("resume", None, "mail.send"),
        ("pause", "mail", "mail.send", ""),
    ]


@pytest.mark.usefixtures("client")
def test_queues_handlers_and_workers_are_tables() -> None:
    head, row = otpq("queues").stdout.splitlines()
    assert (head.split()[0], head.split()[-1]) == ("QUEUE", "PAUSED")
    assert row.startswith("mail")
    assert row.endswith("paused by ann@desk: x")
    _, send, free = otpq("handlers").stdout.splitlines()
    assert send.split() == ["mail.send", "3", "0.25", "s", "2", "of", "3"]
    assert free.split() == ["free", "3", "1", "0.25", "s", "2", "s"]
    _, active, offline = otpq("workers").stdout.splitlines()
    assert active.split() == ["a@h", "cpu", "0", "active", "7", "3", "1", "0", "mail.send", "for", "1.5", "s"]
    assert offline.split() == ["a@h", "cpu", "1", "offline", "no", "app"]
    for command in ("queues", "handlers", "workers"):
        assert isinstance(json.loads(otpq(command, "--json").stdout), list)


def test_pools_are_scaled_and_reloaded(client: FakeClient) -> None:
    assert otpq("scale", "cpu", "4").stdout == "pool cpu, workers 4, before 1\n"
    assert otpq("reload").stdout == "pool cpu, replaced 2\npool gpu, replaced 1\n"
    assert json.loads(otpq("reload", "cpu", "--timeout", "60", "--json").stdout)[1]["pool"] == "gpu"
    assert client.asked == [("scale", "cpu", 4), ("reload", None, None), ("reload", "cpu", 60.0)]


def test_what_runs_on_a_node_is_shown(client: FakeClient) -> None:
    assert otpq("tree").stdout == (
        "node (<node#3>)\n"
        "└── queue_server (<queue_server#5>, restarted 1 times, 1,200 messages wait, in handle_batch for 2.5 s)\n"
    )
    assert json.loads(otpq("tree", "--node", "b@h", "--json").stdout)["pid"] == "<node#3>"
    assert otpq("stacks").stdout == (
        'Thread 0x1:\n  File "a.py", line 1 in f\n\nThread 0x2:\n  File "b.py", line 2 in g\n'
    )
    assert len(json.loads(otpq("stacks", "cpu/0", "--node", "b@h", "--json").stdout)) == 2
    assert client.asked == [("tree", None), ("tree", "b@h"), ("stacks", None, None), ("stacks", "cpu/0", "b@h")]


def test_a_node_is_drained(client: FakeClient) -> None:
    assert otpq("drain", "b@h").stdout == "node: b@h\nrunning: 2\nthen: it stops\n"
    assert json.loads(otpq("drain", "b@h", "--wait", "--timeout", "9", "--json").stdout)["running"] == 2
    assert client.asked == [("drain", "b@h", False, None), ("drain", "b@h", True, 9.0)]


def test_what_a_pool_does_not_do_is_one_line(client: FakeClient) -> None:
    client.error = QueryFailed("no_pool", "there is no pool 'x'; there are: cpu")
    said = otpq("scale", "x", "4")
    assert (said.exit_code, said.stderr) == (6, "otpq: there is no pool 'x'; there are: cpu\n")


def test_health_fails_if_the_node_is_not_well(client: FakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address, "target", lambda *_: Target("", "a@h", Cookie.new(), ""))
    assert otpq("health").stdout == "ok: true\nnode: a@h\n"
    assert client.asked == [("health", "a@h")]
    client.facts["problems"] = ["worker default/0: no", "worker default/1: no"]
    assert otpq("health").stdout.endswith("problems: worker default/0: no\nproblems: worker default/1: no\n")
    client.facts = {"ok": False}
    assert otpq("health", "--json").exit_code == 1


def test_cookie_new_prints_a_cookie() -> None:
    Cookie.parse(otpq("cookie", "new").stdout)


READS = ("queues", "counts", "tree", "list", "events", "stacks", f"show {ID}", f"why {ID}", f"logs {ID}")
CHANGES = ("submit mail", f"cancel {ID}", f"retry {ID}", "pause mail", "scale cpu 4", "drain a@h")


@pytest.mark.parametrize(("words", "seconds"), [*((each, 2) for each in READS), *((each, 10) for each in CHANGES)])
def test_a_command_that_changes_something_waits_for_a_node_that_is_starting_again(
    monkeypatch: pytest.MonkeyPatch, words: str, seconds: float
) -> None:
    waits: list[float] = []

    def opened(_node: object, _cookie_file: object, timeout: float, while_nobody: float = math.inf) -> FakeClient:
        waits.append(min(timeout, while_nobody))
        return FakeClient()

    monkeypatch.setattr(asking, "open_client", opened)
    assert otpq(*words.split()).exit_code == 0
    assert waits == [seconds]


# ------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OtpqError("x"), 1),
        (NodeUnreachable("a", "b"), 1),
        (WaitTimeout([], 1.0), 1),
        (StoreError("x"), 3),
        (StoreTaken("x", 1), 4),
        (BadCookie("x"), 5),
        (CookieRefused("a", "b"), 5),
        (TaskNotFound("x"), 6),
    ],
)
def test_each_error_has_its_exit_code(error: Exception, code: int) -> None:
    assert exit_code(error) == code


def test_an_error_is_one_line_on_standard_error(client: FakeClient) -> None:
    client.error = TaskNotFound("abc")
    said = otpq("show", "abc")
    assert (said.exit_code, said.stdout, said.stderr) == (6, "", "otpq: there is no task 'abc'\n")
    assert one_line(OtpqError("a\nb")) == "a"


def test_ctrl_c_ends_a_command_without_a_word(client: FakeClient) -> None:
    client.result = KeyboardInterrupt()
    said = otpq("submit", "mail", "--wait")
    assert (said.exit_code, said.stdout, said.stderr) == (130, "", "")


def test_a_bug_is_one_line_too_and_keeps_its_traceback_for_who_wants_it(client: FakeClient) -> None:
    client.error = ZeroDivisionError("no")
    said = otpq("show", "abc")
    assert (said.exit_code, said.stderr) == (1, "otpq: ZeroDivisionError: no; --debug shows where\n")
    assert isinstance(otpq("show", "abc", environment={DEBUG: "1"}).exception, ZeroDivisionError)
    for words in (("show", "abc", "--debug"), ("--debug", "show", "abc")):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(DEBUG, "")
            assert isinstance(otpq(*words).exception, ZeroDivisionError)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("submit", "mail", "--kw", "html"), "K=V"),
        (("submit-script", "--env", "A", "/a"), "K=V"),
        (("submit-script", "-o", "retires=1", "/a"), "did you mean 'retries'"),
        (("scale", "cpu", "many"), "otpq scale: invalid value for 'N': 'many' is not a valid int"),
        (("submit", "mail", "-o", "retires=1"), "did you mean 'retries'"),
        (("node", "--name", "nonsense"), "has no '@'"),
        (("node", "--app", "shop"), "file.py:app"),
        (("node", "--app", "/no/such.py:app"), "there is no file"),
        (("node", "--worker=2"), "did you mean '--workers'"),
        (("node", "--nam", "a@h"), "did you mean '--name'"),
        (("node", "--workers", "-1"), "workers='-1'"),
        (("node", "--workers", "4..1"), "a range such as 1..CPUS"),
        (("node", "--app", "no_such_module:app"), "there is no module 'no_such_module' to import the app from"),
        (("node", "--app", "otpq.no_such.one:app"), "there is no module 'otpq.no_such' to import"),
        (("node", "--app", "otpq.demo.run.below:app"), "there is no module 'otpq.demo.run.below' to import"),
        (("node", "--queues", "a,,b"), "queue='' is not allowed: printable text of 1 to 255 bytes"),
        (("node", "--queues", "a,a"), "queues=('a', 'a') is not allowed: one or more names, each once"),
        (("node", "--grace", "-1"), "grace=-1.0 is not allowed: seconds, 0 or more"),
        (("node", "--store", "postgres:x"), "unknown kind of store 'postgres'; right would be sqlite:///"),
        (("node", "--name", "a@h:99999"), "'99999' is not a port; a port is a number from 1 to 65535"),
        (("submit", "a\nb"), "a handler's name is printable text, got 'a\\nb'"),
        (("check", "memory:"), "memory:"),
        (("check", "postgres:x"), "unknown kind of store"),
        (("migrate", "memory:"), "only a store in a file can be checked, copied or migrated"),
        (("lst",), "otpq: no such command 'lst'. Did you mean 'list'?"),
        (("cookie", "nwe"), "otpq cookie: no such command 'nwe'. Did you mean 'new'?"),
        (("list", "--stat", "x"), "otpq list: no such option: --stat; did you mean '--state'?"),
        (("list", "--state"), "otpq: option '--state' requires an argument"),
        (("show",), "otpq show: missing argument 'ID'"),
        (("--debgu",), "otpq: no such option: --debgu; did you mean '--debug'?"),
        (("top", "--interval", "0", "--once"), "otpq top: invalid value for '--interval'"),
        (("top",), "use --once, or --json"),
    ],
)
def test_wrong_words_are_told_with_exit_code_2(words: tuple[str, ...], part: str) -> None:
    said = otpq(*words)
    assert (said.exit_code, said.stdout) == (2, "")
    assert part in said.stderr
    assert len(said.stderr.splitlines()) == 1


def test_node_is_among_the_commands_and_tells_its_options() -> None:
    assert "Run a node until TERM or Ctrl-C." in otpq("--help").stdout
    said = otpq("node", "--help")
    assert said.exit_code == 0
    assert "--grace SECONDS" in said.stdout


def test_a_node_on_windows_ends_with_one_line_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "win32")
    said = otpq("node")
    assert (said.exit_code, said.stdout) == (2, "")
    assert said.stderr == (
        "otpq: a node does not run on Windows; client, CLI and shell do, and reach nodes elsewhere\n"
    )


def test_check_of_what_is_no_store_fails(tmp_path: Path) -> None:
    file = tmp_path / "store.db"
    file.write_text("no database" * 1000)
    said = otpq("check", str(file))
    assert said.exit_code == 3
    assert "unreadable" in said.stdout
    told = otpq("check", str(file), "--json")
    assert told.exit_code == 3
    assert "unreadable" in json.loads(told.stdout)["problems"][0]


def test_values_and_pairs() -> None:
    assert options.value('{"a": 1}') == {"a": 1}
    assert options.value("héllo") == "héllo"
    assert options.pairs(["a=1", "b=x=y"]) == {"a": 1, "b": "x=y"}


def test_cookie_show_tells_where_and_which_but_not_the_cookie(tmp_path: Path) -> None:
    cookie = Cookie.new()
    cookie.write(tmp_path / "cookie", replace=True)
    shown = otpq("cookie", "show", "--cookie-file", str(tmp_path / "cookie"))
    assert shown.stdout == f"file: {tmp_path}/cookie\nfingerprint: {cookie.fingerprint()}\n"
    assert cookie.fingerprint() != Cookie.new().fingerprint()
    told = otpq("cookie", "show", "--secret", "--json", "--cookie-file", str(tmp_path / "cookie"))
    assert json.loads(told.stdout)["cookie"] == cookie.text()
    assert otpq("cookie", "show", "--cookie-file", str(tmp_path / "none")).exit_code == 5


def test_config_check_says_who_leads_or_what_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text("nodes:\n  a@h:\n  b@h:\n")
    assert otpq("config", "check", str(file)).stdout == f"{file}: all is well: a@h leads, b@h\n"
    assert json.loads(otpq("config", "check", "--json", str(file)).stdout)["leader"] == "a@h"
    file.write_text("nodes:\n  a@h:\nretires: 3\n")
    wrong = otpq("config", "check", str(file))
    assert wrong.exit_code == 2
    assert wrong.stderr.startswith("otpq: unknown key 'retires' in cluster.yaml, line 3")


def test_a_node_lives_here_if_its_host_is_one_of_this_machine_s() -> None:
    assert is_here("127.0.0.3")
    assert is_here("[::1]")
    assert is_here("localhost")
    assert not is_here("192.0.2.1")  # kept for documentation (RFC 5737)
    assert not is_here("nowhere.invalid")


def test_up_says_where_the_nodes_of_a_file_live_if_none_does_here(tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text("nodes: {a@192.0.2.1: {}}")
    result = otpq("up", "--config", str(file))
    assert result.exit_code == 2
    assert "lives on this host; they live on 192.0.2.1" in result.stderr
