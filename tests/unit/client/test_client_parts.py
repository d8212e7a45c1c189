from __future__ import annotations

import os
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from otpq.client import address
from otpq.client.address import NoNode, find_node, running_nodes, target
from otpq.client.callbacks import Callbacks
from otpq.client.calls import DEFAULT_HANDLER, Call, as_call, new_task
from otpq.client.cell import Cell, wait_all
from otpq.client.errors import QueueFull, StoreFull, StoreUnavailable, SubmissionRefused, TaskNotFound, refused
from otpq.client.ids import IdMaker, id_bytes
from otpq.client.session import chunks
from otpq.errors import BadOption, UnknownOption, UsageError
from otpq.task import Options
from otpq.wire import messages as m
from otpq.wire.cookie import Cookie
from otpq.wire.values import unpack

if TYPE_CHECKING:
    from pathlib import Path

ID = b"i" * 16
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


def test_what_is_no_call_is_refused() -> None:
    for wrong in (5, None, ["a"]):
        with pytest.raises(UsageError, match="is no call"):
            as_call(wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="arguments go with a handler's name"):
        as_call(Call("a"), (1,))
    for name in ("", 5, "a\nb", "x" * 256, "ü" * 128):
        with pytest.raises(UsageError, match="a handler's name"):
            Call(name)  # type: ignore[arg-type]
    assert Call("ü" * 127).name == "ü" * 127
    with pytest.raises(BadOption):
        Call("a", delay=-1)


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
