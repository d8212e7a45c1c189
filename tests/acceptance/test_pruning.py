"""A real node forgets what ended long enough ago, and nothing else."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from otpq.client.calls import Call
from otpq.client.questions import Selector
from otpq.store.check import check

if TYPE_CHECKING:
    from tests.acceptance.conftest import Stage

LONG = 60.0


def test_ended_tasks_go_after_their_retention_by_state_and_handler_while_others_run(stage: Stage) -> None:
    node = stage.node("--retention", "succeeded=0.3s,cancelled=forever,later:succeeded=forever")
    with stage.connect() as client:
        waiting = [handle.id for handle in client.submit_many(Call("add", (n, 1), {}, delay=9e6) for n in range(20))]
        kept = client.submit_many(Call("later", (str(n),)) for n in range(20))
        failed = client.submit_many(Call("fail", ("no",)) for n in range(5))
        cancelled = client.submit_many(Call("add", (n, 1), {}, delay=9e6, tags=["x"]) for n in range(5))
        assert client.cancel(Selector(tag="x")) == 5
        for _ in range(10):
            handles = client.submit_many(Call("add", (n, 1)) for n in range(200))
            assert [handle.get(LONG) for handle in handles] == [n + 1 for n in range(200)]
        client.wait([*kept, *failed], timeout=LONG)
        while any(True for _ in client.iter_tasks(Selector(name="add", state="succeeded"))):
            time.sleep(0.05)
        stay = {*waiting, *(handle.id for handle in [*kept, *failed, *cancelled])}
        assert {task.id for task in client.iter_tasks()} == stay
        assert sum(client.counts()["default"].values()) == len(stay)
        assert client.stats()["pruned"] == 2000
    assert node.terminate() == 0
    assert check(stage.home / ".otpq" / stage.name / "store.db") == []


def test_a_retention_that_cannot_be_is_refused_at_once(stage: Stage) -> None:
    refused = stage.otpq("node", "--retention", "suceeded=1d")
    assert refused.returncode == 2
    assert "succeeded" in refused.stderr
