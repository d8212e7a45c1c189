from __future__ import annotations

import ast
import asyncio
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

import otpq
from otpq.app import App, AsyncHandler, Handler
from otpq.client import program
from otpq.client.calls import Call
from otpq.context import Context
from otpq.errors import BadOption, UnknownOption, UsageError
from otpq.reference import BadApp, public_name
from otpq.task import DEFAULT_HANDLER, SCHEDULE_OPTIONS, SCRIPT_HANDLER, Options, TaskError, TaskState
from otpq.wire.codec import encode
from otpq.worker.conversion import Converter
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


def test_a_call_says_where_it_goes_and_what_was_said_of_it_and_leaves_the_rest_to_the_workers() -> None:
    handler = App().task(queue="mail", retries=0, delay=60)(double)
    assert handler.s(2).said == {"queue": "mail", "delay": 60.0}
    assert handler.options(retries=3, delay=0).s(2).said == {"queue": "mail", "delay": 0.0, "retries": 3}
    assert handler.options(eta=None).options(timeout=5).s(2).said == {"queue": "mail", "eta": None, "timeout": 5.0}
    assert Options.unpack(handler.declaration) == Options.of(queue="mail", retries=0, delay=60)


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
    assert sorted(known) == sorted([*Options.__struct_fields__, *SCHEDULE_OPTIONS])


# ------------------------------------------------------------ contexts


def resize(ctx: Context, n: int) -> tuple[str, int]:
    ctx.progress(0.5)
    ctx.log.info("half", n=n)
    return ctx.id, n


async def resize_later(ctx: Context, n: int) -> tuple[str, int]:
    await ctx.acheckpoint(n)
    return ctx.id, n


def test_a_context_is_not_for_who_submits() -> None:
    handler = App().task(resize)
    assert handler.takes_context
    assert handler.s(3).args == (3,)
    assert not App().task(double).takes_context


def test_who_calls_a_handler_as_a_function_needs_no_context() -> None:
    assert App().task(resize)(3) == ("", 3)
    assert App().task(resize)(n=3) == ("", 3)
    assert App().task(resize).options(priority=9)(3) == ("", 3)
    assert asyncio.run(App().task(resize_later)(3)) == ("", 3)


def test_who_calls_a_handler_as_a_function_may_give_one() -> None:
    given: Any = App().task(resize)
    assert given(Context(id="7"), 3) == ("7", 3)


# ------------------------------------------------------------ hooks


def hooked() -> tuple[App, Handler[[int], int], list[Any]]:
    app = App()
    handler = app.task(name="double")(double)
    heard: list[Any] = []

    @handler.on_success
    def well(task: otpq.Task, result: int) -> None:
        heard.append((task, result))

    @handler.on_retry
    @handler.options(queue="other").on_failure
    async def badly(task: otpq.Task, error: otpq.TaskError | None) -> None:
        heard.append((task, error))

    return app, handler, heard


def row(**changes: Any) -> bytes:
    """A task's columns as the queue server sends them."""
    columns = {
        "id": b"i" * 16,
        "name": "double",
        "payload": encode([[4], {"b": 1}]),
        "queue": "mail",
        "partition": "",
        "priority": 8,
        "tags": ",a,b,",
        "title": None,
        "state": "succeeded",
        "reason": None,
        "attempt": 2,
        "created": 1.0,
        "due": 2.0,
        "started": 3.0,
        "finished": 4.0,
        "parent": b"p" * 16,
        "error": None,
        "result": encode(8),
    }
    return encode({**columns, **changes})


def test_hooks_are_handlers_beside_theirs_so_that_children_have_them() -> None:
    app, _, _ = hooked()
    assert list(app.tasks) == ["double", "double:on_success", "double:on_failure", "double:on_retry"]
    assert app.tasks["double:on_success"].declaration == b""
    assert isinstance(app.tasks["double:on_failure"], AsyncHandler)
    assert app.tasks["double:on_success"].handler.__qualname__ == "hooked.<locals>.well"


def test_a_hook_gets_the_task_and_its_result() -> None:
    app, _, heard = hooked()
    run_here(app, "double:on_success", row(), encode(8))
    run_here(app, "double:on_success", row(result=None), encode(None))
    ((task, result), (_, nothing)) = heard
    assert nothing is None
    assert result == task.result == 8
    assert (task.id, task.parent, task.args, task.kwargs) == ("69" * 16, "70" * 16, (4,), {"b": 1})
    assert (task.state, task.queue, task.priority, task.tags) == (TaskState.SUCCEEDED, "mail", 8, ("a", "b"))
    assert (task.attempt, task.finished_at, task.history) == (2, datetime.fromtimestamp(4, UTC), ())


@pytest.mark.parametrize("kind", ["on_retry", "on_failure"])
def test_a_hook_gets_the_task_and_its_error(kind: str) -> None:
    app, _, heard = hooked()
    error = ["job.ScriptFailed", "exit code 3", "Traceback ...", ["job.ScriptFailed"], {"exit_code": 3}]
    failed = row(state="failed", reason="error", result=None, error=encode(error), tags="")
    run_here(app, f"double:{kind}", failed, encode(error))
    run_here(app, f"double:{kind}", row(state="retrying", finished=None, result=None), encode(None))
    (task, told), (waiting, nothing) = heard
    assert told == task.error == TaskError("job.ScriptFailed", "exit code 3", "Traceback ...", {"exit_code": 3})
    assert (task.state, task.reason, task.result, task.tags) == (TaskState.FAILED, "error", None, ())
    assert (waiting.state, nothing) == (TaskState.RETRYING, None)


def run_here(app: App, name: str, *args: Any) -> None:
    """As a child does: the arguments are first fitted to the annotations."""
    definition = app.tasks[name]
    fitted, _ = Converter()(definition, list(args), {})
    made = definition.handler(*fitted)
    if isinstance(definition, AsyncHandler):
        asyncio.run(made)


def test_hooks_stay_functions_that_can_be_called() -> None:
    handler = App().task(double)

    @handler.on_success
    def well(task: otpq.Task, result: int) -> str:
        return f"{task.name} {result}"

    now = datetime.now(UTC)
    assert well(otpq.Task(id="1", name="x", created_at=now, due_at=now, updated_at=now), 4) == "x 4"


def test_a_hook_there_can_be_one_of_each() -> None:
    _, handler, _ = hooked()
    with pytest.raises(UsageError, match="already has a handler 'double:on_success'"):
        handler.on_success(lambda _task, _result: None)


def test_what_can_be_no_hook_is_refused() -> None:
    handler: Any = App().task(double)
    with pytest.raises(UsageError, match=r"takes \(task, error\), got 3"):
        handler.on_retry(3)
    with pytest.raises(UsageError, match=r"otpq.current\(\)"):
        handler.on_success(resize)
    with pytest.raises(UsageError, match="no name of a handler"):
        App().register_task("n" * 250, double).on_failure(lambda _task, _error: None)


@pytest.mark.parametrize("name", ["double:on_success", "a:b:on_retry", ":on_failure"])
def test_names_of_hooks_are_for_hooks(name: str) -> None:
    with pytest.raises(UsageError, match="is a hook's name"):
        App().register_task(name, double)
    App().register_task(name.replace(":", "."), double)


def test_the_name_of_scripts_is_for_scripts() -> None:
    with pytest.raises(UsageError, match="under which scripts run"):
        App().register_task(SCRIPT_HANDLER, double)


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
    heavy = "zmq apsw typer structlog asyncio msgpack subprocess logging tempfile croniter zoneinfo"
    code = (
        "import sys, otpq; print('msgspec' in sys.modules); app = otpq.App(); app.task(name='f')(print);"
        f"print([m for m in '{heavy}'.split() if m in sys.modules])"
    )
    assert run("-c", code).stdout == "False\n[]\n"


def test_a_node_imports_nothing_that_is_there_for_people_or_clients() -> None:
    heavy = "typer click rich pydantic structlog asyncio ssl email otpq.client.io otpq.client.core croniter zoneinfo"
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
