"""What happens in a cluster, told to whoever follows; and why a task of a silent node does not go on."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

import otpq
from otpq.client.calls import Call
from tests.acceptance.cluster import Cluster, stop_all, until
from tests.acceptance.conftest import LONG

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from otpq.client.client import Client
    from otpq.client.events import Event
    from tests.acceptance.conftest import Stage


@pytest.fixture
def cluster(stage: Stage) -> Iterator[Cluster]:
    cluster = Cluster(stage)
    yield cluster
    cluster.close()


@pytest.mark.skipif(sys.platform != "linux", reason="this system has one loopback address")
def test_the_life_of_a_node_and_of_its_tasks_is_told(cluster: Cluster) -> None:
    cluster.start(1, "--queues", "near", workers=1)
    with cluster.connect() as client:
        heard = Heard(client)
        heard.next("gap")
        far = cluster.start(2, "--queues", "far", workers=1)
        assert heard.next("node_up")["node"] == cluster.name(2)

        handle = client.submit(Call("wait_for", ("gate",), queue="far"))
        until(lambda: handle.state == "running")
        until(lambda: any(worker["node"] == cluster.name(2) for worker in client.workers()))
        assert heard.next("submitted").items() >= {"id": handle.id, "name": "wait_for", "queue": "far"}.items()
        assert heard.next("started").items() >= {"id": handle.id, "attempt": 1, "node": cluster.name(2)}.items()
        cursor = heard.events[-1].cursor

        stop_all(far)
        assert heard.next("node_suspected")["node"] == cluster.name(2)
        said = cluster.stage.otpq("why", handle.id, "--node", cluster.leader).stdout
        assert f"runs on {cluster.name(2)}" in said
        assert "that node is suspected" in said

        far.kill()
        assert heard.next("node_down")["node"] == cluster.name(2)
        offline = {"node": cluster.name(2), "pool": "default", "why": "node_down"}
        assert heard.next("worker_offline").items() >= offline.items()
        # It was running when its node died: it is charged, and due again at once.
        assert heard.next("retried").items() >= {"id": handle.id, "attempt": 1, "reason": "crashed"}.items()

        (cluster.stage.home / "gate").touch()
        cluster.start(2, "--queues", "far", workers=1)
        assert handle.get(LONG) == "gate"
        heard.next("node_up")
        assert heard.next("started").items() >= {"id": handle.id, "attempt": 2}.items()
        assert heard.next("succeeded")["id"] == handle.id

        lines = cluster.stage.otpq("events", "--json", "--after", cursor, "--node", cluster.leader).stdout
        kinds = [json.loads(line)["kind"] for line in lines.splitlines()]
        assert kinds == ["node_suspected", "node_down", "worker_offline", "retried", "node_up", "started", "succeeded"]

        words = (
            "--kind",
            "retried",
            "--kind",
            "succeeded",
            "--name",
            "wait_*",
            "--of",
            cluster.name(2),
            "--id",
            handle.id,
        )
        lines = cluster.stage.otpq("events", "--json", *words, "--node", cluster.leader).stdout
        assert [json.loads(line)["kind"] for line in lines.splitlines()] == ["gap", "succeeded"]


class Heard:
    """Follows the events in a thread of its own, so that none is left unasked for while a test does something else."""

    def __init__(self, client: Client) -> None:
        self.events: list[Event] = []
        self._told = 0
        threading.Thread(target=self._follow, args=(client,), daemon=True).start()

    def next(self, kind: str) -> Mapping[str, Any]:
        """The facts of the next event, which is of this kind."""
        until(lambda: len(self.events) > self._told)
        event = self.events[self._told]
        self._told += 1
        assert event.kind == kind
        return event.facts

    def _follow(self, client: Client) -> None:
        with contextlib.suppress(otpq.OtpqError):  # the test is over, and the client closed
            for event in client.events(follow=True):
                self.events.append(event)
                if event.kind == "succeeded":
                    return
