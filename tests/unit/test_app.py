from __future__ import annotations

import ast
import asyncio
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

import otpq
from otpq import program
from otpq.app import App, AsyncHandler, Handler
from otpq.client.calls import DEFAULT_HANDLER, Call
from otpq.errors import BadOption, UnknownOption, UsageError
from otpq.reference import BadApp, public_name
from otpq.task import Options
from otpq.worker.loading import MAIN_ALIAS, load_app

if TYPE_CHECKING:
    from collections.abc import Mapping

here = App()


class FakeClient:
    """Keeps what is submitted."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def submit(self, call: Call) -> str:
        self.calls.append(call)
        return f"handle {len(self.calls)}"

    def submit_task(self, what: str | Call | Mapping[str, Any], *args: Any, **kwargs: Any) -> tuple[object, ...]:
        return what, args, kwargs

    def get_task_status(self, id: str) -> str:
        return f"task {id}"


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> FakeClient:
    fake = FakeClient()
    monkeypatch.setattr(program, "client", lambda: fake)
    return fake


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, check=False)  # noqa: S603


def double(x: int) -> int:
    return 2 * x


async def later(x: int) -> int:
    return x


# ------------------------------------------------------------ names


def test_a_handler_is_called_like_its_module_and_function() -> None:
    app = App()
    assert app.task(double).name == f"{__name__}.double"
    assert list(app.tasks) == [f"{__name__}.double"]


def test_a_name_can_be_given() -> None:
    app = App()
    assert app.task(name="mail.send")(double).name == "mail.send"
    assert app.tasks["mail.send"].handler is double


def test_a_program_of_one_file_has_the_names_of_its_file_in_itself_and_in_children(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for alias in ("__main__", MAIN_ALIAS):
        module = ModuleType(alias)
        module.__file__ = "/some/where/shop.py"
        monkeypatch.setitem(sys.modules, alias, module)
        assert public_name(alias) == "shop"


def test_a_program_run_by_m_has_the_name_of_its_module(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("__main__")
    module.__spec__ = __spec__
    monkeypatch.setitem(sys.modules, "__main__", module)
    assert public_name("__main__") == __name__


@pytest.mark.parametrize("name", ["", "a\nb", "ä" * 128, 3])
def test_what_can_be_no_name_is_refused(name: Any) -> None:
    with pytest.raises(UsageError, match="no name of a handler"):
        App().register_task(name, double)


def test_a_lambda_needs_a_name() -> None:
    with pytest.raises(UsageError, match="name="):
        App().task(lambda: None)
    App().task(name="nothing")(lambda: None)


def test_two_functions_cannot_have_one_name_but_a_new_edition_takes_the_place_of_the_old() -> None:
    app = App()
    app.register_task("job", double)
    app.register_task("job", double, retries=9)
    assert app.tasks["job"].defaults.retries == 9
    with pytest.raises(UsageError, match="already has"):
        app.register_task("job", later)


# ------------------------------------------------------------ handlers


def test_a_handler_is_called_as_its_function() -> None:
    handler = App().task(double)
    assert type(handler) is Handler
    assert handler(4) == 8
    assert getattr(handler, "__name__", None) == "double"


def test_an_async_handler_gives_its_coroutine() -> None:
    handler = App().task(later)
    assert type(handler) is AsyncHandler
    assert asyncio.run(handler(3)) == 3


def test_a_wrong_option_is_told_where_it_is_written() -> None:
    with pytest.raises(UnknownOption, match="did you mean 'retries'"):
        App().task(retires=3)  # type: ignore[call-overload]
    with pytest.raises(BadOption, match="priority"):
        App().task(priority=11)


def test_a_call_has_the_options_of_its_handler() -> None:
    handler = App().task(queue="mail", retries=1, max_concurrency=3)(double)
    call = handler.s(2)
    assert (call.args, call.options.queue, call.options.retries) == ((2,), "mail", 1)


def test_a_call_without_options_shares_the_plain_ones() -> None:
    assert App().task(double).s(1).options is Call("x").options


def test_options_make_another_handler() -> None:
    handler = App().task(queue="mail")(double)
    urgent = handler.options(priority="high")
    assert (urgent.s(1).options.queue, urgent.s(1).options.priority) == ("mail", 8)
    assert handler.s(1).options.priority == 5
    assert urgent(1) == 2


def test_a_limit_of_all_calls_cannot_be_set_for_one() -> None:
    with pytest.raises(BadOption, match="where the handler is defined"):
        App().task(double).options(max_concurrency=2)  # type: ignore[call-arg]


def test_what_is_no_function_or_a_handler_already_is_refused() -> None:
    app = App()
    with pytest.raises(UsageError, match="cannot be called"):
        app.register_task("x", 3)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="a handler already"):
        app.register_task("x", app.task(double))


def test_the_default_handler_has_the_name_under_which_maps_travel() -> None:
    app = App()
    assert app.default(double).name == DEFAULT_HANDLER


def test_type_checkers_know_exactly_the_options_there_are() -> None:
    stub = ast.parse((Path(otpq.__path__[0]) / "typed.pyi").read_text())
    known = [
        field.target.id
        for item in stub.body
        if isinstance(item, ast.ClassDef) and item.name in {"CallOptions", "HandlerOptions"}
        for field in item.body
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
    ]
    assert sorted(known) == sorted(Options.__struct_fields__)


# ------------------------------------------------------------ submitting


def test_submit_goes_to_the_client_of_the_program(client: FakeClient) -> None:
    handle: object = App().task(name="double")(double).submit(4)
    assert handle == "handle 1"
    assert (client.calls[0].name, client.calls[0].args) == ("double", (4,))


def test_create_task_gives_the_payload_whole_and_knows_the_handlers_options(client: FakeClient) -> None:
    app = App()
    app.register_task("mail", double, queue="mail")
    app.create_task("mail", {"a": 1}, priority=9)
    app.create_task("elsewhere", [1, 2])
    known, unknown = client.calls
    assert (known.args, known.options.queue, known.options.priority) == (({"a": 1},), "mail", 9)
    assert (unknown.args, unknown.options.queue) == (([1, 2],), "default")


@pytest.mark.usefixtures("client")
def test_submit_task_passes_its_three_forms_on() -> None:
    by_name: object = otpq.submit_task("mail", 1, html=True)
    by_map: object = otpq.submit_task({"job": "mail"})
    assert by_name == ("mail", (1,), {"html": True})
    assert by_map == ({"job": "mail"}, (), {})


@pytest.mark.usefixtures("client")
def test_get_task_status_asks_the_client() -> None:
    task: object = App().get_task_status("ab")
    assert task == "task ab"


# ------------------------------------------------------------ references


def test_an_app_in_a_module_is_found_by_its_variable() -> None:
    assert here.reference == f"{__name__}:here"


def test_an_app_without_a_variable_cannot_be_found() -> None:
    with pytest.raises(BadApp, match="variable"):
        _ = App().reference


def test_an_app_typed_into_a_prompt_is_refused_with_an_explanation() -> None:
    code = "import otpq; app = otpq.App(); otpq.start(app)"
    assert "typed into a prompt" in run("-c", code).stderr


def test_an_app_in_a_program_is_found_by_its_file_with_the_same_names(tmp_path: Path) -> None:
    file = tmp_path / "shop.py"
    file.write_text(
        "import otpq\napp = otpq.App()\n@app.task\ndef sell(): pass\n"
        "if __name__ == '__main__':\n    print(app.reference, app.name, *app.tasks)\n"
    )
    said = run(file).stdout.split()
    assert said == [f"{file}:app", "shop", "shop.sell"]
    assert list(load_app(said[0]).tasks) == ["shop.sell"]


# ------------------------------------------------------------ the package


def test_importing_otpq_or_an_app_imports_no_client() -> None:
    heavy = "zmq apsw typer structlog asyncio msgpack subprocess logging tempfile"
    code = (
        "import sys, otpq; print('msgspec' in sys.modules); app = otpq.App(); app.task(name='f')(print);"
        f"print([m for m in '{heavy}'.split() if m in sys.modules])"
    )
    assert run("-c", code).stdout == "False\n[]\n"


def test_a_node_imports_nothing_that_is_there_for_people_or_clients() -> None:
    heavy = "typer click rich pydantic structlog asyncio ssl email otpq.client.io otpq.client.core"
    code = (
        "import sys, otpq.cli.node, otpq.cli.exits, otpq.logs, otpq.node.node, otpq.node.config;"
        f"print([m for m in '{heavy}'.split() if m in sys.modules])"
    )
    assert run("-c", code).stdout == "[]\n"


def test_every_public_name_is_there() -> None:
    assert sorted(otpq.__all__) == sorted(otpq._HOMES)
    for name in otpq.__all__:
        assert getattr(otpq, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'strat'"):
        _ = otpq.strat


def test_start_is_the_function_whatever_is_imported() -> None:
    code = "import otpq, otpq.embedded, otpq.app; from otpq import start; print(start is otpq.start, callable(start))"
    assert run("-c", code).stdout == "True True\n"
