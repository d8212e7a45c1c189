"""A shell from its first line to its last, with a client of no node."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

import pytest

import otpq
from otpq.client import program
from otpq.client.errors import NodeUnreachable
from otpq.shell.output import Output
from otpq.shell.session import Shell
from tests.unit.shell.fakes import FakeClient

if TYPE_CHECKING:
    from collections.abc import Iterator

app = otpq.App("work")


@app.task(name="mail.send")
def send(to: str) -> str:
    return to


class FakeAsyncClient:
    def __init__(self, node: str) -> None:
        self.node = node
        self.is_closed = False

    async def counts(self) -> str:
        return f"counts of {self.node}"

    async def close(self) -> None:
        self.is_closed = True


class World:
    """Two nodes, and what this program is connected to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clients = {name: FakeClient(name) for name in ("a@host", "b@host")}
        self.own: list[program.OwnNode] = []
        self.async_clients: list[FakeAsyncClient] = []
        monkeypatch.setattr(program, "client", lambda: self.clients[self.own[-1].address])
        monkeypatch.setattr(program, "client_of", self.client_of)
        monkeypatch.setattr(program, "add_own_node", self.own.append)
        monkeypatch.setattr(program, "remove_own_node", self.own.remove)
        monkeypatch.setattr("otpq.shell.session.connect_async", self.connect_async)

    def client_of(self, place: program.OwnNode) -> FakeClient:
        if place.address not in self.clients:
            raise NodeUnreachable(place.address, "nothing listens there")
        return self.clients[place.address]

    def connect_async(self, node: str, *, cookie_file: object) -> FakeAsyncClient:
        assert cookie_file is None
        self.async_clients.append(FakeAsyncClient(node))
        return self.async_clients[-1]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


@pytest.fixture
def shell(world: World) -> Iterator[Shell]:
    assert not world.own
    with Shell(Output(), app=app).attached("a@host") as shell:
        yield shell


def lines_of(*sources: str) -> list[str]:
    return [f"{source}\n" for source in sources]


def test_helpers_are_called_by_name_and_what_they_give_is_printed(
    shell: Shell, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        shell.run_lines(lines_of("queues()", "pause('mail')", "len(workers())", "v(1)[0]['queue']"), goes_on=True)
        is None
    )
    assert capsys.readouterr().out == "QUEUE  QUEUED  PAUSED\nmail   2       False\n2\n'mail'\n"


def test_an_error_is_printed_and_the_shell_goes_on(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    error = shell.run_lines(lines_of("why('x')", "1/0", "1 + 1"), goes_on=True)
    assert isinstance(error, otpq.TaskNotFound), "the first one"
    out, err = capsys.readouterr()
    assert out == "2\n"
    assert err.splitlines()[0] == "TaskNotFound: there is no task 'x'"
    assert err.splitlines()[-1] == "ZeroDivisionError: division by zero"


def test_a_command_ends_at_its_first_error(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    assert isinstance(shell.run_lines(lines_of("1", "1/0", "2"), goes_on=False), ZeroDivisionError)
    assert capsys.readouterr().out == "1\n"


def test_ctrl_c_ends_all_that_stands_in_the_pipe(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    error = shell.run_lines(lines_of("raise KeyboardInterrupt", "1"), goes_on=True)
    assert isinstance(error, KeyboardInterrupt)
    assert capsys.readouterr() == ("", "KeyboardInterrupt\n")


def test_a_stream_is_printed_until_ctrl_c_and_then_its_items_are_there(
    shell: Shell, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shell.run_lines(lines_of("logs('x', follow=True)", "[line.text for line in v()]"), goes_on=False) is None
    out = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in out[:2]] == ["1", "2"]
    assert out[2] == "['line 1', 'line 2']"


def test_await_reaches_the_async_client_of_the_same_node(
    shell: Shell, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        shell.run_lines(
            lines_of("await aclient.counts()", "connect('b@host')", "await aclient.counts()"), goes_on=False
        )
        is None
    )
    assert capsys.readouterr().out.splitlines() == ["'counts of a@host'", "'b@host'", "'counts of b@host'"]
    assert len(world.async_clients) == 2


def test_another_node_answers_once_the_shell_is_connected_to_it(
    shell: Shell, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = ("nodes()[0]['node']", "connect('b@host')", "nodes()[0]['node']", "client.node", "connect()")
    assert shell.run_lines(lines_of(*sources), goes_on=False) is None
    assert capsys.readouterr().out.splitlines() == ["'a@host'", "'b@host'", "'b@host'", "'b@host'", "'b@host'"]


def test_one_that_is_not_reached_changes_nothing(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    shell.run_lines(lines_of("connect('c@host')", "connect()"), goes_on=True)
    out, err = capsys.readouterr()
    assert err == "NodeUnreachable: no node was reached at c@host: nothing listens there\n"
    assert out == "'a@host'\n"


def test_handlers_and_the_app_have_names(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        shell.run_lines(lines_of("send('you')", "mail.send is send", "app.tasks['mail.send'] is send"), goes_on=False)
        is None
    )
    assert capsys.readouterr().out.splitlines() == ["'you'", "True", "True"]


def test_flush_has_what_happened_since_the_last_one(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    class Event:
        def __init__(self, number: int) -> None:
            self.cursor = f"term.{number}"

    asked: list[str | None] = []

    def events(after: str | None = None) -> list[Any]:
        asked.append(after)
        return [Event(7), Event(8)] if len(asked) == 1 else []

    shell._helpers["events"] = events  # type: ignore[assignment]
    assert shell.run_lines(lines_of("len(flush())", "flush()", "flush()"), goes_on=False) is None
    assert asked == [None, "term.8", "term.8"]
    assert capsys.readouterr().out.splitlines() == ["2", "[]", "[]"]


def test_there_is_help_by_name_too(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    assert shell.run_lines(lines_of("h()", "h('pause')", "h(v)", "h(send)", "h('send')"), goes_on=False) is None
    out = capsys.readouterr().out
    for words in ("connect()", "pause(queue: str | None", "v(3)", "send.submit(to)"):
        assert words in out
    assert str(shell.run("h('quues')")) == "nothing is named 'quues' here; did you mean 'queues'?"


def test_exit_leaves_with_its_code(shell: Shell) -> None:
    with pytest.raises(SystemExit) as left:
        shell.run("exit(3)")
    assert left.value.code == 3


def test_a_warning_is_a_line(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        shell.run("import warnings; warnings.warn('no handler is known')")
    assert capsys.readouterr().err == "UserWarning: no handler is known\n"


def test_leaving_ends_what_the_shell_has_begun_and_nothing_else(world: World) -> None:
    before = warnings.showwarning
    with Shell(Output()).attached("a@host") as shell:
        shell.run("connect('b@host')")
        assert len(world.own) == 2
    assert world.own == []
    assert all(client.is_closed for client in world.async_clients)
    assert warnings.showwarning is before
    assert all(client.told == [] for client in world.clients.values())


def test_nobody_who_reads_ends_a_pipe_but_no_prompt(world: World) -> None:
    assert not world.own
    with Shell(Output(is_terminal=True)).attached("a@host") as shell:
        assert isinstance(shell.run("raise BrokenPipeError"), BrokenPipeError)
    with Shell(Output()).attached("a@host") as shell, pytest.raises(BrokenPipeError):
        shell.run("raise BrokenPipeError")


# ------------------------------------------------------------ output


def test_json_is_a_line_a_value(capsys: pytest.CaptureFixture[str], world: World) -> None:
    assert not world.own
    sources = ("queues()", "logs('x')", "tasks()", "handle_like", "{1, 2}.__len__()", "object()", "'last'")

    class Handle:
        id = "0" * 32

    with Shell(Output(as_json=True)).attached("a@host") as shell:
        shell.evaluator.namespace["handle_like"] = Handle()
        error = shell.run_lines(lines_of(*sources), goes_on=True)
    assert isinstance(error, TypeError)
    out, err = capsys.readouterr()
    values = [json.loads(line) for line in out.splitlines()]
    assert values[0] == [{"queue": "mail", "queued": 2, "paused": False}]
    assert [values[1]["text"], values[2]["text"]] == ["line 1", "line 2"]
    assert values[3][0]["name"] == "mail.send"
    assert values[4:] == ["0" * 32, 2, "last"]
    assert err.splitlines()[-1].startswith("TypeError: object has no form in JSON")


def test_a_terminal_is_given_no_more_than_anybody_reads(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    Output(is_terminal=True).show([{"n": n} for n in range(5000)])
    Output(is_terminal=True).show("x" * 1_000_000)
    out = capsys.readouterr().out.splitlines()
    assert out[1000] == "… and more; v() is all of it"
    assert len(out) == 1002
    assert len(out[-1]) < 20_000
    Output().show([{"n": n} for n in range(5000)])
    assert len(capsys.readouterr().out.splitlines()) == 5001
