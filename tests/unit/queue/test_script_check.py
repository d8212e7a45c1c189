"""Scripts that may not run are refused where they are submitted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from otpq.client.calls import Call, new_task, script_call
from otpq.otp import NoConnection, Response
from otpq.queue import script_check
from otpq.queue.clients import Submission
from otpq.queue.script_check import PATIENCE, AskedScripts, ScriptChecks, has_scripts, wrong_scripts
from otpq.task import SCRIPT_HANDLER
from otpq.wire.messages import NewTask, Submit

if TYPE_CHECKING:
    from pathlib import Path

    from otpq.core.effects import Refusal


def task(call: Call, id: bytes = b"i" * 16) -> NewTask:
    return new_task(call, id)


def test_only_scripts_are_looked_at(tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text("")
    tasks = [
        task(Call("add", ("/etc/passwd",))),
        task(script_call(tmp_path / "job.py")),
        task(script_call("/etc/passwd")),
    ]
    assert has_scripts(tasks)
    assert not has_scripts(tasks[:1])
    (refusal,) = wrong_scripts(tasks, [str(tmp_path)])
    assert (refusal.index, refusal.code) == (2, "bad_path")
    assert refusal.message == f"'/etc/passwd' lies in no directory of scripts; scripts may lie in {tmp_path}"
    assert [each.index for each in wrong_scripts(tasks, [])] == [1, 2]


def test_what_was_accepted_once_is_not_asked_again() -> None:
    tasks = [task(script_call("/gone"), b"a" * 16), task(script_call("/gone"), b"b" * 16)]
    assert [each.index for each in wrong_scripts(tasks, ["/"], {b"a" * 16})] == [1]


@pytest.mark.parametrize(
    "payload", [b"", b"\xc1", *map(msgspec.msgpack.encode, ([[], {}], [[1], {}], [["/a", 2], {}]))]
)
def test_what_is_no_call_of_a_script_is_refused(payload: bytes) -> None:
    (refusal,) = wrong_scripts([NewTask(b"i" * 16, SCRIPT_HANDLER, payload)], ["/"])
    assert refusal.message == "a script's one argument is its path, a text"


class Bench:
    """A submission of a good script, two that are not here and what is no script, checked; what nodes are asked is kept."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, here: Path) -> None:
        self.asked: list[tuple[Any, Any, Any]] = []
        self.refused: list[list[Refusal]] = []
        monkeypatch.setattr(script_check, "send_request", lambda *asked: self.asked.append(asked))
        self.checks = ScriptChecks(lambda _submission, refusals: self.refused.append(list(refusals)))
        (here / "good").write_text("")
        calls = [script_call(here / "good"), script_call("/far/b"), script_call("/far/none")]
        wrong = NewTask(b"w" * 16, SCRIPT_HANDLER, msgspec.msgpack.encode([[1], {}]))
        self.submission = Submission(b"s", Submit(1, [*map(task, calls), wrong]))
        self.here = here

    def begin(self, **elsewhere: set[str]) -> None:
        self.checks.begin(self.submission, {str(self.here)}, elsewhere, frozenset(), 100.0)

    def answer(self, node: str, value: Any = None, reason: Any = None) -> None:
        self.checks.answered(Response(AskedScripts(1, node), value, reason))

    @property
    def indexes(self) -> list[int]:
        (refusals,) = self.refused
        return [each.index for each in refusals]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Bench:
    return Bench(monkeypatch, tmp_path)


def test_with_no_other_node_what_is_not_here_is_refused_at_once(bench: Bench) -> None:
    bench.begin()
    assert bench.indexes == [1, 2, 3]
    assert bench.asked == []


def test_each_node_with_scripts_is_asked_for_what_is_not_here(bench: Bench) -> None:
    bench.begin(b={"/far"}, c={"/off"})
    assert {server for server, _, _ in bench.asked} == {("rpc", "b"), ("rpc", "c")}
    assert bench.asked[0][1] == ("scripts", {"paths": ["/far/b", "/far/none"]})
    bench.answer("c", ("ok", ["no", "no"]))
    assert bench.refused == [], "b has not said"
    bench.answer("b", ("ok", [None, "no"]))
    assert bench.indexes == [2, 3]
    assert "scripts may lie in" in bench.refused[0][0].message
    assert all(directory in bench.refused[0][0].message for directory in ("/far", "/off"))
    bench.answer("b", ("ok", [None, "no"]))
    assert len(bench.refused) == 1, "told once"


def test_a_node_that_is_gone_has_nothing_and_one_that_cannot_say_may_have_all(bench: Bench) -> None:
    bench.begin(b={"/far"}, c={"/off"})
    bench.answer("c", reason=NoConnection())
    bench.answer("b", ("error", "busy"))
    assert bench.indexes == [3]


def test_a_node_that_does_not_say_in_time_may_have_all(bench: Bench) -> None:
    bench.begin(b={"/far"})
    bench.checks.look(100.0 + PATIENCE - 0.1)
    assert bench.refused == []
    bench.checks.look(100.0 + PATIENCE)
    assert bench.indexes == [3]


def test_a_submission_that_comes_again_is_answered_once(bench: Bench) -> None:
    bench.begin(b={"/far"})
    bench.begin(b={"/far"})
    bench.answer("b", ("ok", [None, None]))
    assert bench.refused == [], "of the look that it was taken from"
    bench.checks.answered(Response(AskedScripts(2, "b"), ("ok", [None, "no"])))
    assert bench.indexes == [2, 3]
