"""The commands, with a client that only writes down what it is asked."""

from __future__ import annotations

import json
import warnings
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

import pytest
from typer.testing import CliRunner

from otpq.cli import nodes as node_commands
from otpq.cli import options, tasks
from otpq.cli.exits import exit_code, one_line
from otpq.cli.program import app
from otpq.client.errors import CookieRefused, NodeUnreachable, TaskFailed, TaskNotFound, WaitTimeout
from otpq.client.questions import Page, Selector
from otpq.errors import OtpqError, StoreError
from otpq.store.errors import StoreTaken
from otpq.task import HistoryEntry, Task, TaskError, TaskState
from otpq.wire.cookie import BadCookie, Cookie

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result

    from otpq.client.calls import Call

ID = "0" * 32
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
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

    def tasks(self, selector: Selector, *, limit: int, after: str | None) -> Page:
        self._ask("tasks", selector, limit, after)
        return Page([TASK], self.nexts.pop(0) if self.nexts else None)

    def get_task_status(self, id: str) -> Task:
        self._ask("get_task_status", id)
        return TASK

    def why(self, id: str) -> dict[str, Any] | None:
        self._ask("why", id)
        return {"code": "no_handler", "facts": {"handler": "mail", "pools": 2}}

    def counts(self, queue: str | None) -> dict[str, dict[str, int]]:
        self._ask("counts", queue)
        return {"default": {str(state): i for i, state in enumerate(TaskState)}}

    def cancel(self, id: str, grace: float) -> str:
        self._ask("cancel", id, grace)
        return "cancelling"

    def health(self) -> dict[str, Any]:
        self._ask("health")
        return self.facts


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> FakeClient:
    fake = FakeClient()
    for module in (tasks, node_commands):
        monkeypatch.setattr(module, "open_client", lambda *_: fake)
    return fake


def otpq(*words: str) -> Result:
    return CliRunner().invoke(app, words)


# ------------------------------------------------------------ commands


def test_submit_reads_words_as_json_and_failing_that_as_text(client: FakeClient) -> None:
    said = otpq("submit", "mail", "3", "[1, 2]", "plain text", "--kw", "html=true", "-o", "priority=high")
    assert (said.exit_code, said.stdout) == (0, f"{ID}\n")
    assert client.asked == [("submit", "mail", (3, [1, 2], "plain text"), {"html": True}, 8)]


def test_a_negative_number_is_an_argument_and_no_option(client: FakeClient) -> None:
    assert otpq("submit", "mail", "-1", "-2.5e3", "--kw", "n=-3").exit_code == 0
    assert client.asked == [("submit", "mail", (-1, -2500.0), {"n": -3}, 5)]
    assert "No such option: -x" in otpq("submit", "mail", "-x").stderr


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
        "no_handler (handler mail, pools 2)",
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


def test_health_fails_if_the_node_is_not_well(client: FakeClient) -> None:
    assert otpq("health").stdout == "ok: true\nnode: a@h\n"
    client.facts["problems"] = ["worker default/0: no", "worker default/1: no"]
    assert otpq("health").stdout.endswith("problems: worker default/0: no\nproblems: worker default/1: no\n")
    client.facts = {"ok": False}
    assert otpq("health", "--json").exit_code == 1


def test_cookie_new_prints_a_cookie() -> None:
    Cookie.parse(otpq("cookie", "new").stdout)


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


def test_a_bug_keeps_its_traceback(client: FakeClient) -> None:
    client.error = ZeroDivisionError()
    assert isinstance(otpq("show", "abc").exception, ZeroDivisionError)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("submit", "mail", "--kw", "html"), "K=V"),
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
        (("lst",), "No such command"),
    ],
)
def test_wrong_words_are_told_with_exit_code_2(words: tuple[str, ...], part: str) -> None:
    said = otpq(*words)
    assert (said.exit_code, said.stdout) == (2, "")
    assert part in said.stderr
    assert "Traceback" not in said.stderr


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
