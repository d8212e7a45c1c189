"""Statistics of a node at work, as its clients are told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otpq.client.calls import Call
from tests.acceptance.cluster import until
from tests.acceptance.conftest import LONG

if TYPE_CHECKING:
    from tests.acceptance.conftest import Stage

LIMITED = """

@app.task(name="gated", max_concurrency=3)
def gated(name: str) -> str:
    return wait_for(name)
"""


def test_ten_tasks_at_once_under_a_limit_of_three_show_3_in_use_0_available(stage: Stage) -> None:
    stage.app.write_text(stage.app.read_text() + LIMITED)
    stage.node("--workers", "5")
    with stage.connect() as client:
        handles = client.submit_many([Call("gated", ("gate",))] * 10)
        until(lambda: client.counts()["default"]["running"] == 3)
        queue, handler = client.queue_stats()["default"], client.handler_stats()["gated"]
        assert (queue["slots_in_use"], queue["slots_available"], queue["queued"]) == (3, 0, 7)
        assert (handler["used"], handler["limit"], handler["runs"]) == (3, 3, 0)
        (limit,) = [of for of in client.limits() if (of["name"], of["limit"]) == ("gated", "max_concurrency")]
        assert (limit["used"], limit["available"]) == (3, 0)

        (stage.home / "gate").touch()
        assert [task.result for task in client.wait(handles, LONG)] == ["gate"] * 10
        queue, handler = client.queue_stats()["default"], client.handler_stats()["gated"]
        assert (queue["slots_in_use"], queue["slots_available"]) == (0, 3)
        assert handler["run"]["24h"]["count"] == handler["wait"]["24h"]["count"] == handler["succeeded"] == 10
        assert queue["rates"]["24h"]["submitted"] > 0.0
        assert handler["run"]["24h"]["p99"] <= handler["max"] * 1.04
    said = stage.otpq("top", "--once", "--node", stage.name).stdout
    assert "HANDLER" in said
    assert "gated" in said
