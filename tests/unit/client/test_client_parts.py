from __future__ import annotations

import math
import os
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from otpq.client import address, questions
from otpq.client.address import NoNode, find_node, running_nodes, target
from otpq.client.callbacks import Callbacks
from otpq.client.calls import Call, as_call, new_task
from otpq.client.cell import Cell, wait_all
from otpq.client.errors import QueueFull, StoreFull, StoreUnavailable, SubmissionRefused, TaskNotFound, refused
from otpq.client.ids import IdMaker, id_bytes
from otpq.client.questions import Selector
from otpq.client.session import chunks
from otpq.errors import BadOption, UnknownOption, UsageError
from otpq.task import DEFAULT_HANDLER, Options
from otpq.wire import messages as m
from otpq.wire.cookie import Cookie
from otpq.wire.values import BadValue, unpack

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ID = b"i" * 16
NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001 - a naive time is what is refused
LONG = 30.0


@pytest.mark.parametrize(
    ("given", "name", "args", "kwargs"),
    [
        ({"job": "a", "params": [1, 2]}, "a", (1, 2), {}),
        ({"job": "a", "params": {"x": 1}}, "a", (), {"x": 1}),
        ({"job": "a", "params": 5}, "a", (5,), {}),
        ({"job": "a", "params": None}, "a", (None,), {}),
        ({"job": "a"}, "a", (), {}),
        ({"params": 5, "x": 1}, DEFAULT_HANDLER, ({"params": 5, "x": 1},), {}),
    ],
)
def test_maps_are_calls(given: dict[str, Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    call = as_call(given)
    assert (call.name, call.args, call.kwargs) == (name, args, kwargs)


def test_other_keys_of_a_map_are_options() -> None:
    assert as_call({"job": "a", "priority": "high", "delay": 5}).options == Options.of(priority=8, delay=5)
    with pytest.raises(UnknownOption, match="did you mean 'retries'"):
        as_call({"job": "a", "retires": 5})
    with pytest.raises(UnknownOption, match="did you mean 'params'"):
        as_call({"job": "a", "param": 5})


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: as_call(5),  # type: ignore[arg-type]
            "5 is no call: give a handler's name, a Call, or a map such as {'job': 'name', 'params': [1]}",
        ),
        (lambda: as_call(["a"]), "['a'] is no call"),  # type: ignore[arg-type]
        (lambda: as_call(Call("a"), (1,)), "arguments go with a handler's name; Call holds its own"),
        (lambda: as_call({"job": None}), "a handler's name is a text, got None"),
        (lambda: as_call({"job": "a", "prams": 1}), "unknown option 'prams'; did you mean 'params'?"),
        (lambda: Call(""), "a handler's name is a text, got ''"),
        (lambda: Call(5), "a handler's name is a text, got 5"),  # type: ignore[arg-type]
        (lambda: Call("a\nb"), "a handler's name is printable text, got 'a\\nb'"),
        (lambda: Call("\ud800"), "a handler's name is printable text"),
        (lambda: Call("x" * 256), f"a handler's name has at most 255 bytes, this one begins with '{'x' * 40}'"),
        (lambda: Call("ü" * 128), "a handler's name has at most 255 bytes"),
        (lambda: Call("a", "xyz"), "args is a list or a tuple of arguments, got str; one is written (value,)"),
        (lambda: Call("a", 5), "args is a list or a tuple of arguments, got int"),  # type: ignore[arg-type]
        (lambda: Call("a", (), [1]), "kwargs is a map of arguments by name, got list"),  # type: ignore[arg-type]
        (lambda: new_task(Call("a", (), {1: 2}), ID), "kwargs: the key 1 is of type int; keys are str, use str(key)"),  # type: ignore[dict-item]
        (lambda: new_task(Call("a", ({"b": {2}},)), ID), "args[0]['b']: set is not allowed; use a list"),
        (lambda: Call("a", delay=-1), "delay=-1.0 is not allowed"),
        (lambda: Call("a", retires=1), "unknown option 'retires'; did you mean 'retries'?"),
        (
            lambda: Call("a", max_concurrency=3),
            "max_concurrency=3 is not allowed: it is set where the handler is defined",
        ),
        (lambda: Call("a").with_(max_concurrency=3), "it is set where the handler is defined"),
        (lambda: questions.cancel(ID, -1), "grace=-1 is not allowed: seconds, 0 or more"),
        (lambda: questions.cancel(ID, "x"), "grace='x' is not allowed: seconds, 0 or more"),  # type: ignore[arg-type]
        (lambda: questions.tasks(Selector(), 0, None), "limit=0 is not allowed: 1 to 1000; iter_tasks walks all"),
        (lambda: Selector(state="runing").on_the_wire(), "'runing' is no state; states are pending, queued, running,"),
        (lambda: Selector(before=5).on_the_wire(), "before= is no time, or a time without zone; use datetime.now(UTC)"),  # type: ignore[arg-type]
        (lambda: Selector(before=NAIVE).on_the_wire(), "before= is no time, or a time without zone"),
        (lambda: Selector(ids=["a"] * 1001).on_the_wire(), "ids= has 1,001 ids; it may have 1,000"),
        (lambda: Selector(ids=["a"]).on_the_wire(), "there is no task 'a'"),
    ],
)
def test_what_cannot_be_right_is_refused_where_it_is_written(make: Callable[[], object], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        make()
    assert said in str(caught.value)


def test_a_call_is_a_value() -> None:
    call = Call("a", args=(1,), kwargs={"x": 2}, priority=9)
    other = call.with_(delay=5)
    assert (call.options.delay, other.options.delay, other.options.priority) == (0.0, 5.0, 9)
    assert repr(other) == "Call('a', (1,), {'x': 2})"


def test_a_plain_task_travels_with_defaults() -> None:
    task = new_task(Call("a", (1,), {"x": 2}), ID)
    assert task == m.NewTask(ID, "a", task.payload)
    assert unpack(task.payload) == [[1], {"x": 2}]


def test_options_travel_in_their_fields() -> None:
    eta = datetime(2026, 1, 1, tzinfo=UTC)
    options: dict[str, Any] = {
        "queue": "q",
        "partition": "p",
        "priority": "high",
        "eta": eta,
        "expires": timedelta(minutes=1),
        "tags": ["a", "b"],
        "title": "t",
        "idempotency_key": "k",
        "retries": 7,
    }
    task = new_task(Call("a", **options), ID, parent=ID, watch=False)
    assert (task.queue, task.partition, task.priority, task.key) == ("q", "p", 8, "k")
    assert (task.tags, task.title, task.parent, task.watch) == (",a,b,", "t", ID, False)
    assert (task.eta, task.delay, task.expires_in, task.expires_at) == (eta.timestamp(), 0.0, 60.0, None)
    assert Options.unpack(task.options) == Options.of(retries=7)
    later = new_task(Call("a", delay=5, expires=eta), ID)
    assert (later.delay, later.eta, later.expires_in, later.expires_at) == (5.0, None, None, eta.timestamp())


def test_what_is_not_said_is_left_open_and_what_is_said_travels_even_if_it_is_a_default() -> None:
    plain = new_task(Call("a"), ID)
    assert (plain.queue, plain.priority, plain.delay, plain.partition, plain.tags) == (None,) * 5
    assert (plain.title, plain.expires_in, plain.expires_at, plain.options) == (None, None, None, b"")
    said = new_task(Call("a", queue="default", priority=5, delay=0, tags=[], title=None, expires=None, retries=3), ID)
    assert (said.queue, said.priority, said.delay, said.tags, said.title) == ("default", 5, 0.0, "", "")
    assert (said.expires_in, said.expires_at) == (None, math.inf)
    assert msgspec.msgpack.decode(said.options) == {"retries": 3}
    assert new_task(Call("a", delay=3).with_(eta=None), ID).delay == 0.0


def test_a_limit_of_all_calls_cannot_be_set_for_one() -> None:
    with pytest.raises(BadOption, match="where the handler is defined"):
        Call("a", max_concurrency=3)


def test_a_map_with_a_job_travels_whole_too() -> None:
    given = {"job": "a", "params": [1], "priority": 9}
    task = new_task(as_call(given).with_(delay=1), ID)
    assert task.whole is not None
    assert (unpack(task.payload), unpack(task.whole)) == ([[1], {}], [[given], {}])
    assert new_task(as_call({"x": 1}), ID).whole is None
    with pytest.raises(BadValue, match="travels twice"):
        new_task(as_call({"job": "a", "params": bytes(m.MAX_PAYLOAD // 2)}), ID)


def test_ids_are_in_the_order_of_making_and_of_time() -> None:
    maker = IdMaker()
    ids = [maker.new(1_000.0) for _ in range(1_000)] + [maker.new(1_000.001), IdMaker().new(2_000.0)]
    assert ids == sorted(set(ids))
    assert {len(id) for id in ids} == {16}
    assert int.from_bytes(maker.new(1_000.0)[:6], "big") == 1_000_000
    assert abs(int.from_bytes(maker.new()[:6], "big") / 1000 - datetime.now(UTC).timestamp()) < 60


def test_ids_as_texts() -> None:
    assert id_bytes(ID.hex()) == ID
    for text in ("", "x", ID.hex()[:-2], "g" * 32):
        with pytest.raises(TaskNotFound):
            id_bytes(text)


def test_chunks_hold_a_thousand_tasks_or_a_mebibyte() -> None:
    small = [m.NewTask(ID, "a", b"")] * 2_500
    large = [m.NewTask(ID, "a", bytes(400_000))] * 5 + [m.NewTask(ID, "a", bytes(5_000_000))] * 2
    assert [len(chunk) for chunk in chunks(small)] == [1_000, 1_000, 500]
    assert [len(chunk) for chunk in chunks(large)] == [2, 2, 1, 1, 1]
    assert list(chunks([])) == []


def test_a_cell_is_filled_once() -> None:
    cell: Cell[int] = Cell()
    seen: list[int] = []
    cell.when_filled(lambda: seen.append(1))
    forgotten = lambda: seen.append(2)  # noqa: E731
    cell.when_filled(forgotten)
    cell.forget(forgotten)
    cell.fill(5)
    cell.fill(6)
    cell.fail(ValueError())
    cell.when_filled(lambda: seen.append(3))
    assert (cell.get(), seen) == (5, [1, 3])
    assert cell.wait(0)


def test_a_cell_with_an_error_raises_it() -> None:
    cell: Cell[int] = Cell()
    cell.fail(KeyError("x"))
    with pytest.raises(KeyError):
        cell.get()


def test_waiting_for_many_cells_leaves_nothing_behind() -> None:
    cells: list[Cell[int]] = [Cell() for _ in range(50)]
    assert not wait_all(cells, 0.001)
    assert not any(cell._wakes for cell in cells)

    def fill() -> None:
        for cell in cells:
            cell.fill(1)

    filling = threading.Thread(target=fill)
    filling.start()
    assert wait_all([*cells, cells[0]], LONG)
    filling.join()
    assert wait_all([], 0)


def test_a_failing_callback_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    callbacks, done = Callbacks(), threading.Event()
    callbacks.put(lambda: 1 / 0)
    callbacks.put(done.set)
    assert done.wait(LONG)
    assert "a callback failed" in caplog.text
    callbacks.close()


def test_refusals_become_errors() -> None:
    full = refused(m.Refusal(0, "queue_full", "full", facts={"queue": "q", "size": 5}))
    assert isinstance(full, QueueFull)
    assert (full.queue, full.size) == ("q", 5)
    assert isinstance(refused(m.Refusal(0, "store_full", "")), StoreFull)
    assert isinstance(refused(m.Refusal(0, "store_unavailable", "")), StoreUnavailable)
    other = refused(m.Refusal(0, "bad_key", "no", "key"))
    assert isinstance(other, SubmissionRefused)
    assert (other.code, other.field) == ("bad_key", "key")


def test_which_node_is_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(name: str, pid: int) -> None:
        (tmp_path / ".otpq" / name).mkdir(parents=True)
        (tmp_path / ".otpq" / name / "address").write_text(f"{name}\n{pid}\n")

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("OTPQ_NODE", raising=False)
    with pytest.raises(NoNode, match="start one with `otpq node`"):
        find_node()
    run("dead@h", 2**22 + 1)
    run("b@h", os.getpid())
    assert find_node() == "b@h"
    run("a@h", os.getpid())
    assert running_nodes() == ["a@h", "b@h"]
    with pytest.raises(NoNode, match="a@h, b@h"):
        find_node()
    monkeypatch.setenv("OTPQ_NODE", "c@h")
    assert find_node() == "c@h"
    monkeypatch.setattr(address, "_own_node", lambda: ("own@h", None))
    assert find_node() == "own@h"


def test_the_node_of_this_program_is_met_with_its_own_cookie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTPQ_NODE", "c@h")
    monkeypatch.setenv("OTPQ_COOKIE_FILE", str(tmp_path / "usual"))
    usual, own, given = (Cookie.ensure(tmp_path / name) for name in ("usual", "own", "given"))
    monkeypatch.setattr(address, "_own_node", lambda: ("own@h", tmp_path / "own"))
    assert (target(None, None).node, target(None, None).cookie) == ("own@h", own)
    assert target(None, tmp_path / "given").cookie == given
    assert target("other@h", None).cookie == usual
    monkeypatch.setattr(address, "_own_node", lambda: ("own@h", None))
    assert target(None, None).cookie == usual
