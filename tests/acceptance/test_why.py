"""Why tasks are not at work, asked of a whole node: a task in each state, and what the command says of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

import otpq
from otpq.client.calls import Call
from tests.acceptance.conftest import LONG
from tests.acceptance.test_node import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otpq.client.client import Client
    from otpq.client.handle import TaskHandle
    from tests.acceptance.conftest import Stage

APP = """
import os, time
from pathlib import Path
import otpq

app = otpq.App("jobs")
place = Path(os.environ["JOBS_PLACE"])


@app.task(name="wait_for")
def wait_for(name):
    place.joinpath(f"{name}.begun").touch()
    while not place.joinpath(name).exists():
        time.sleep(0.01)
    return name


@app.task(name="limited", max_concurrency=1)
def limited(name):
    return wait_for(name)


@app.task(name="fail", retry_delay=600)
def fail(text):
    raise ValueError(text)
"""


@pytest.fixture
def asked(stage: Stage) -> Iterator[Asked]:
    stage.app.write_text(APP, encoding="utf-8")
    stage.node("--memory", "500M", "--workers", "1", "--pool", "io:executor=thread,parallel=3,queues=io,min=1,max=1")
    with stage.connect() as client:
        yield Asked(stage, client)


def test_what_runs_says_where_and_what_waits_says_behind_what(stage: Stage, asked: Asked) -> None:
    client = asked.client
    runs = client.submit(Call("wait_for", ("gate",)))
    wait_until((stage.home / "gate.begun").exists)
    facts = asked.until(runs, "assigned", lambda facts: facts.get("since"))
    (worker,) = [row for row in client.workers() if row["pool"] == "default"]
    assert (facts["running"], facts["node"], facts["node_state"]) == (True, stage.name, "up")
    assert (facts["worker"], facts["child"]) == (worker["worker"], worker["child"])
    assert f"runs on {stage.name}" in asked.words(runs)

    behind = client.submit(Call("wait_for", ("gate",)))
    facts = asked.until(behind, "assigned", lambda facts: facts["behind"])
    assert (facts["behind"], facts["position"], facts["running"]) == (runs.id, 1, False)
    assert f"behind task {runs.id}, 1 in front of it" in asked.words(behind)

    busy = client.submit(Call("wait_for", ("gate",)))
    facts = asked.until(busy, "no_worker", lambda facts: facts["workers"]["active"] == 1)
    assert (facts["queue"], facts["pools"], facts["waiting"]) == ("default", 1, 1)
    assert "no worker that serves queue 'default' is free (1 active); 1 task waits in it" in asked.words(busy)

    said = json.loads(stage.otpq("why", busy.id, "--json", "--node", stage.name).stdout)
    assert (said["code"], said["facts"]["there"]) == ("no_worker", facts["there"])

    for handle in (client.submit(Call("wait_for", (name,), queue="io")) for name in ("gate", "other")):
        facts = asked.until(handle, "assigned", lambda facts: facts.get("since"))  # also of one of several in a child
        assert (facts["running"], facts["pool"], facts["worker"]) == (True, "io", 0)

    for name in ("gate", "other"):
        (stage.home / name).touch()
    assert [handle.get(LONG) for handle in (runs, behind, busy)] == ["gate"] * 3
    assert client.why(runs.id) is None
    assert asked.words(runs) == "it has ended\n"


def test_what_has_its_time_or_its_slot_or_its_memory_to_wait_for_says_so(stage: Stage, asked: Asked) -> None:
    client = asked.client
    later = client.submit(Call("wait_for", ("gate",), delay=3600))
    assert 3500 < asked.until(later, "not_due")["seconds"] <= 3600
    assert "not due until" in asked.words(later)

    retrying = client.submit(Call("fail", ("no such file",), queue="io"))
    facts = asked.until(retrying, "not_due")
    assert (facts["attempt"], facts["runs"], facts["reason"]) == (1, 4, "error")
    assert asked.words(retrying).endswith("the last one ended (error): ValueError: no such file\n")

    holder = client.submit(Call("limited", ("other",), queue="io"))
    wait_until((stage.home / "other.begun").exists)
    held_up = client.submit(Call("limited", ("other",), queue="io"))
    facts = asked.until(held_up, "handler_limit")
    assert (facts["used"], facts["limit"], facts["held_by"], facts["tasks"]) == (1, 1, [holder.id], 1)
    assert f"are taken, 1 of 1; held by {holder.id}" in asked.words(held_up)

    large = client.submit(Call("wait_for", ("gate",), queue="io", memory="9G"))
    facts = asked.until(large, "no_memory")
    assert (facts["needs"], facts["capacity"], facts["node"]) == (9 * 1024, 500, stage.name)
    assert f"it needs 9,216 MiB, and {stage.name}, the largest node, has 500 of 500 MiB free" in asked.words(large)
    (stage.home / "other").touch()
    assert [handle.get(LONG) for handle in (holder, held_up)] == ["other"] * 2


def test_what_nobody_can_run_now_says_why(stage: Stage, asked: Asked) -> None:
    client = asked.client
    nowhere = client.submit(Call("wait_for", ("gate",), queue="mial"))
    facts = asked.until(nowhere, "no_worker", lambda facts: len(facts["there"]) == 2)
    assert {(of["pool"], *of["queues"]) for of in facts["there"]} == {("default", "default"), ("io", "io")}
    assert "no worker serves queue 'mial'" in asked.words(nowhere)

    with pytest.warns(otpq.UnknownHandlerWarning, match="did you mean 'wait_for'"):
        misspelt = client.submit(Call("wait_fro", ("gate",)))
    facts = asked.until(misspelt, "no_handler")
    assert (facts["handler"], facts["nearest"]) == ("wait_fro", "wait_for")
    assert asked.words(misspelt).endswith("did you mean 'wait_for'?\n")

    client.pause("mail", why="the shop is closed")
    paused = client.submit(Call("wait_for", ("gate",), queue="mail"))
    assert asked.until(paused, "paused")["queue"] == "mail"
    assert asked.words(paused).endswith(": the shop is closed\n")
    assert "why:        paused: queue 'mail'" in stage.otpq("show", paused.id, "--node", stage.name).stdout


class Asked:
    """Asks both the client and the command."""

    def __init__(self, stage: Stage, client: Client) -> None:
        self._stage, self.client = stage, client

    def until(self, handle: TaskHandle[Any], code: str, is_so: Any = lambda _facts: True) -> dict[str, Any]:
        """The facts, once they are as they will be: what pools tell comes a moment later."""
        facts: dict[str, Any] = {}

        def is_told() -> bool:
            why = self.client.why(handle.id)
            facts.clear()
            facts.update(why["facts"] if why else {})
            return why is not None and why["code"] == code and bool(is_so(facts))

        wait_until(is_told)
        return facts

    def words(self, handle: TaskHandle[Any]) -> str:
        said = self._stage.otpq("why", handle.id, "--node", self._stage.name)
        assert (said.returncode, said.stderr, said.stdout.count("\n")) == (0, "", 1)
        return said.stdout
