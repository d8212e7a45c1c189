"""Handlers that submit tasks themselves: to their own node, without being told where it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Stage

LONG = 60.0


@pytest.mark.parametrize("handler", ["submit_add", "asubmit_add"])
def test_what_a_handler_submits_goes_to_its_own_node_and_has_it_as_parent(stage: Stage, handler: str) -> None:
    stage.node("--workers", "1")  # one child for all, so that what it remembers of an earlier task would show
    with stage.connect() as client:
        parents = [client.submit_task(handler, 1, n) for n in range(3)]
        ids = [parent.get(LONG) for parent in parents]
        tasks = client.wait([client.handle(id) for id in ids], LONG)
        own = client.wait(parents, LONG)
    assert [task.result for task in tasks] == [1, 2, 3]
    assert [task.parent for task in tasks] == [parent.id for parent in parents]
    assert [task.parent for task in own] == [None] * 3


def test_a_child_knows_its_node_whatever_the_shell_that_started_it_talks_to(stage: Stage) -> None:
    stage.environment["OTPQ_NODE"] = "other@127.0.0.1"
    stage.node("--cookie-file", str(stage.home / "secret"))
    with stage.connect(stage.home / "secret") as client:
        assert client.submit_task("home").get(LONG) == [stage.name, str(stage.home / "secret")]
