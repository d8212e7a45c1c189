"""Scripts that may not run are refused where they are submitted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from otpq.client.calls import Call, new_task, script_call
from otpq.queue.script_check import has_scripts, wrong_scripts
from otpq.task import SCRIPT_HANDLER
from otpq.wire.messages import NewTask

if TYPE_CHECKING:
    from pathlib import Path


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
