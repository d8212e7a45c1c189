from __future__ import annotations

import ast
import inspect
from typing import Any

import pytest

import otpq
from otpq.client.aio import AsyncClient
from otpq.client.client import Client
from otpq.shell.helpers import EXAMPLES, Helper, client_helpers, handler_names, help_on, overview
from otpq.shell.pretty import Text
from tests.unit.shell.fakes import FakeClient

HELPERS = client_helpers(lambda: None)  # type: ignore[arg-type, return-value]
app = otpq.App("work")


@app.task(name="mail.send")
def send(to: str, html: bool = False) -> str:  # noqa: FBT001, FBT002 - an example
    """Send a mail."""
    return f"{to} {html}"


def test_each_method_of_a_client_that_users_call_is_a_helper() -> None:
    for name in (
        "queues",
        "handlers",
        "workers",
        "nodes",
        "tasks",
        "submit_task",
        "cancel",
        "pause",
        "logs",
        "rpc",
        "handle",
    ):
        assert name in HELPERS
    assert not {"close", "wait_for", "fetch", "node", "callbacks", "_ask"} & {*HELPERS}
    assert all(hasattr(AsyncClient, name) for name in HELPERS)


def test_each_helper_has_a_description_and_an_example_that_calls_it() -> None:
    for name, helper in HELPERS.items():
        assert helper.summary, name
        for example in EXAMPLES[name]:
            calls = [node.func for node in ast.walk(ast.parse(example)) if isinstance(node, ast.Call)]
            assert any(isinstance(call, ast.Name) and call.id == name for call in calls), example


def test_a_helper_asks_the_client_that_there_is_now() -> None:
    clients = [FakeClient("a@host"), FakeClient("b@host")]
    helpers = client_helpers(lambda: clients[0])  # type: ignore[arg-type, return-value]
    assert helpers["nodes"]() == [{"node": "a@host", "state": "up"}]
    del clients[0]
    assert helpers["nodes"]() == [{"node": "b@host", "state": "up"}]
    helpers["pause"]("mail", why="x")
    assert clients[0].told == [("pause", "mail", None, "x")]


def test_a_helper_is_called_as_its_method_is() -> None:
    assert (
        HELPERS["pause"].title
        == "pause(queue: str | None = None, *, handler: str | None = None, why: str = '') -> None"
    )
    assert [*inspect.signature(HELPERS["pause"]).parameters] == ["queue", "handler", "why"]
    with pytest.raises(TypeError, match=r"pause\(queue: .*\) -> None: got an unexpected keyword argument 'quue'"):
        HELPERS["pause"](quue="mail")
    assert repr(HELPERS["queues"]) == "<queues() -> list[dict[str, Any]]; h(queues) says more>"


def test_a_text_of_several_lines_is_shown_as_it_is() -> None:
    assert isinstance(Helper("stacks", lambda: "a\nb")(), Text)
    assert not isinstance(Helper("node", lambda: "a")(), Text)


def test_the_overview_has_a_line_for_each_and_fits() -> None:
    lines = overview(HELPERS.values()).splitlines()
    assert sum(line.startswith("queues()") for line in lines) == 1
    assert max(map(len, overview(HELPERS.values(), 60).splitlines()[:-1])) <= 60


def test_help_on_a_helper_has_what_it_gives_its_errors_and_examples() -> None:
    text = help_on(HELPERS["retry"])
    assert text.splitlines()[0].startswith("retry(selector: Selector")
    assert text.splitlines()[0].endswith(") -> int")
    assert inspect.getdoc(Client.retry) in text  # type: ignore[operator]
    assert "    retry(Selector(state='failed', name='mail.send'))" in text


def test_help_on_a_handler_says_how_to_submit_it() -> None:
    lines = help_on(send).splitlines()
    assert lines[0] == "send(to: str, html: bool = False) -> str"
    assert "Send a mail." in lines
    assert "    send.submit(to, html)" in lines


@pytest.mark.parametrize("what", [otpq.Selector, len, 3, "a text", [].append])
def test_there_is_help_on_anything(what: Any) -> None:
    assert help_on(what)


def test_handlers_are_called_by_all_of_their_name_and_by_its_end() -> None:
    @app.task(name="sum")
    def total() -> None: ...

    @app.task(name="mail.inner.send")
    def other() -> None: ...

    @app.task(name="no name")
    def unnamed() -> None: ...

    names = handler_names(app.tasks)
    assert names["send"] is send
    assert names["mail"].send is send
    assert names["mail"].inner.send is other
    assert {*names} == {"send", "mail"}, "sum is Python's own"


def test_a_handler_may_have_the_name_that_another_begins_with() -> None:
    handlers = {"mail": 1, "mail.send": 2, "a.b": 3, "a": 4}
    assert handler_names(handlers) == {"mail": 1, "send": 2, "a": 4, "b": 3}
