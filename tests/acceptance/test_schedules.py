"""Schedules in real nodes: what is killed, started again, declared, filed, and typed.

`SCHEDULE_KILLS=50 pytest tests/acceptance/test_schedules.py -k killed` kills the queue server's node fifty times.
"""

from __future__ import annotations

import asyncio
import os
import time
from datetime import UTC, datetime
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from otpq.client.aio import connect_async
from otpq.client.calls import Call
from otpq.client.errors import QueryFailed, UnknownHandlerWarning
from otpq.client.questions import Selector
from otpq.errors import BadOption
from otpq.store.check import check
from tests.acceptance.conftest import LONG, RunningNode, Stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.client.client import Client
    from otpq.client.schedules import Schedule

KILLS = int(os.environ.get("SCHEDULE_KILLS", "5"))
FAR = "0 0 29 2 *"
"""An expression that is not due while a test runs."""


@pytest.fixture(scope="module")
def node(shared_stage: Stage) -> Stage:
    """A node that several tests share; each has schedules of its own."""
    shared_stage.node()
    with shared_stage.connect() as client:
        client.submit(Call("add", (1, 1))).get(LONG)  # from here on it is known which handlers there are
    return shared_stage


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + LONG
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.02)
    return found


def named(client: Client, name: str) -> Schedule:
    (found,) = [one for one in client.schedules.list() if one.name == name]
    return found


def slots_of(client: Client) -> list[float]:
    """The slots of all tasks of the handler `slot` that have ended, in their order."""
    return sorted(task.result for task in all_of(client, "slot") if task.state == "succeeded")


def all_of(client: Client, handler: str) -> list[Any]:
    ids = [task.id for task in client.iter_tasks(Selector(name=handler))]
    return client.wait([client.handle(id) for id in ids], timeout=LONG)


def test_each_slot_makes_one_task_however_often_the_queue_server_is_killed(stage: Stage) -> None:
    random = Random(7)  # noqa: S311 - to be the same in each run
    running = stage.node()
    with stage.connect() as client:
        client.schedules.add("beat", "slot", every=0.5, misfire="all", max_catch_up=1_000)
        begin = named(client, "beat").added_at.timestamp()
    for number in range(KILLS):
        if number % 2:
            # Around a slot: a little before it, in its commit, a little behind it.
            slot = begin + 0.5 * (int((time.time() - begin) / 0.5) + 1)
            time.sleep(max(0.0, slot - time.time() + random.uniform(-0.02, 0.03)))
            running.kill()
        else:
            # Right before or behind one of the commits of a start, that of the slots which passed meanwhile among them.
            running.kill()
            fault = f"commit.{random.choice(['before', 'after'])}:{random.randint(1, 8)}:kill"
            stage.environment["OTPQ_FAULT"] = fault
            words = ("node", "--name", stage.name, "--app", f"{stage.app}:app", "--workers", "2")
            RunningNode(stage.popen(*words)).wait()
            del stage.environment["OTPQ_FAULT"]
        running = stage.node()
    with stage.connect() as client:
        until(lambda: named(client, "beat").runs > KILLS)
        client.schedules.disable("beat")
        last = named(client, "beat")
        slots = slots_of(client)
    assert last.last_run is not None
    assert len(slots) == last.runs
    assert slots == [begin + 0.5 * k for k in range(1, last.runs + 1)]
    assert slots[-1] == pytest.approx(last.last_run.timestamp(), abs=1e-5)
    running.terminate()
    assert check(stage.store) == []


def test_schedules_are_as_they_were_when_everything_is_started_again(stage: Stage) -> None:
    running = stage.node()
    with stage.connect() as client:
        client.schedules.add("a", Call("add", (1,), {"b": 2}, priority="high"), cron=FAR, timezone="Europe/Berlin")
        client.schedules.add("b", "slot", every=3600.5, misfire="skip", misfire_grace=3, overlap="queue", jitter=2)
        client.schedules.add("c", "slot", every=0.05)
        until(lambda: named(client, "c").runs)
        client.schedules.disable("c")
        client.schedules.pause_all("maintenance")
        before = client.schedules.list()
    running.kill()
    running = stage.node()
    with stage.connect() as client:
        assert client.schedules.list() == before
        assert (before[0].args, before[0].kwargs, before[0].paused) == ((1,), {"b": 2}, True)
        client.schedules.resume_all()
        assert named(client, "a").next_run == datetime(2028, 2, 28, 23, tzinfo=UTC)
        assert client.schedules.run("a").get(LONG) == 3


DECLARING = """
import otpq

app = otpq.App("jobs")

@app.task(name="beat"{said})
def beat(ctx: otpq.Context, n: int) -> str:
    return f"{{n}} {{ctx.slot.isoformat()}}"

@app.task(name="other")
def other(): ...
"""


def test_a_declared_schedule_runs_is_kept_and_goes_with_its_declaration(stage: Stage) -> None:
    stage.app.write_text(DECLARING.format(said=", every=0.2, cron_args=[7]"))
    running = stage.node()
    with stage.connect() as client:
        until(lambda: client.counts("default")["default"]["succeeded"])
        task = client.tasks()[-1]
        first, slot = task.result.split() if task.result else client.get_task_status(task.id).result.split()
        assert first == "7"
        assert datetime.fromisoformat(slot).utcoffset() is not None
        client.schedules.disable("beat")
        with pytest.raises(QueryFailed, match="the app declares this schedule"):
            client.schedules.remove("beat")
        before = named(client, "beat")
    running.terminate()
    running = stage.node()
    with stage.connect() as client:
        until(client.handlers)
        assert named(client, "beat") == before
    running.terminate()
    stage.app.write_text(DECLARING.format(said=""))
    stage.node()
    with stage.connect() as client:
        until(lambda: not client.schedules.list())


def test_an_app_whose_schedule_lacks_arguments_is_refused_when_it_is_loaded(stage: Stage) -> None:
    stage.app.write_text(DECLARING.format(said=", every=0.2"))
    process = stage.popen("node", "--name", stage.name, "--app", f"{stage.app}:app", "--workers", "1")
    running = RunningNode(process)
    running.wait_ready()
    until(lambda: "cron_args=" in "".join(running.err))
    running.kill()


def test_a_file_has_schedules_of_its_own(stage: Stage) -> None:
    file = stage.home / "cluster.yaml"

    def start(*lines: str) -> RunningNode:
        pools = "{default: {max: 1}}"
        file.write_text("\n".join([f"nodes: {{{stage.name}: {{pools: {pools}}}}}", "app: jobs.py:app", *lines]))
        running = RunningNode(stage.popen("node", "--config", str(file)))
        running.wait_ready()
        return running

    running = start(
        "schedules:",
        "  sum: {task: add, every: 0.2, args: [1], kwargs: {b: 2}}",
        "  rare: {task: slot, cron: '@yearly'}",
    )
    with stage.connect() as client:
        until(lambda: named(client, "sum").runs)
        assert until(lambda: [task for task in all_of(client, "add") if task.result == 3])
        client.schedules.disable("sum")
        with pytest.raises(QueryFailed, match="stands in the cluster's file"):
            client.schedules.remove("sum")
    running.terminate()
    running = start("scheduler: {enabled: false}", "schedules:", "  sum: {task: add, every: 0.1, args: [1, 2]}")
    with stage.connect() as client:
        found = client.schedules.list()
        assert [(one.name, one.every, one.enabled, one.paused) for one in found] == [("sum", 0.1, False, True)]
    running.terminate()


def test_operators_add_look_run_and_remove_by_typing(node: Stage) -> None:
    def typed(*words: str) -> str:
        said = node.otpq("schedule", *words, *([] if words[0] == "next" else ["--node", node.name]))
        assert said.returncode == 0, said.stderr
        return said.stdout.strip()

    def refused(*words: str) -> str:
        said = node.otpq("schedule", *words, "--node", node.name)
        assert said.returncode in {1, 2}
        return said.stderr.strip()

    assert (
        typed("add", "typed", "add", "1", "-2", "--cron", FAR, "--timezone", "Asia/Tokyo", "-o", "priority=high")
        == "added"
    )
    (shown,) = [line for line in typed("list").splitlines() if line.startswith("typed ")]
    assert f"{FAR} Asia/Tokyo" in shown
    (facts,) = [one for one in msgspec.json.decode(typed("list", "--json")) if one["name"] == "typed"]
    assert (facts["task"], facts["args"], facts["runs"]) == ("add", [1, -2], 0)
    with node.connect() as client:
        assert client.handle(typed("run", "typed")).get(LONG) == -1
    assert typed("disable", "typed") == "disabled"
    assert "disabled" in next(line for line in typed("list").splitlines() if line.startswith("typed "))
    assert typed("enable", "typed") == "enabled"
    assert refused("add", "typed", "add", "--every", "5").endswith("remove it first, or add with replace=True")
    assert typed("add", "typed", "add", "--every", "500", "--replace") == "added"
    assert "the hour '24' cannot be" in refused("add", "x", "add", "--cron", "0 24 * * *")
    assert "no handler 'ad' is known" in refused("add", "x", "ad", "--every", "5", "--strict")
    assert refused("remove", "tyepd") == "otpq: there is no schedule 'tyepd'; did you mean 'typed'?"
    assert typed("remove", "typed") == "removed"
    assert len(typed("next", "*/5 * * * *").splitlines()) == 5


def test_the_next_times_of_an_expression_need_no_node(stage: Stage) -> None:
    said = stage.otpq("schedule", "next", FAR, "--timezone", "Asia/Tokyo", "--json")
    assert msgspec.json.decode(said.stdout)[0] == "2028-02-29T00:00:00+09:00"


def test_the_asyncio_client_does_the_same(node: Stage) -> None:
    async def main() -> tuple[Any, ...]:
        async with connect_async(node.name, cookie_file=node.home / ".otpq" / "cookie") as client:
            await client.schedules.add("async", "add", every=5_000)
            await client.schedules.disable("async")
            (found,) = [one for one in await client.schedules.list() if one.name == "async"]
            await client.schedules.enable("async")
            await client.schedules.add("async", Call("add", (2, 3)), every=5_000, replace=True)
            result = await (await client.schedules.run("async")).get(LONG)
            await client.schedules.pause_all()
            (paused,) = [one for one in await client.schedules.list() if one.name == "async"]
            await client.schedules.resume_all()
            await client.schedules.remove("async")
            return found.enabled, result, paused.paused

    assert asyncio.run(main()) == (False, 5, True)


def test_what_cannot_be_is_refused_and_what_nobody_knows_is_warned_of(node: Stage) -> None:
    with node.connect() as client:
        with pytest.raises(BadOption, match="the minute '60' cannot be"):
            client.schedules.add("bad", "add", cron="60 * * * *")
        with pytest.raises(BadOption, match="never be due"):
            client.schedules.add("bad", "add", cron="0 0 30 2 *")
        with pytest.raises(BadOption, match="did you mean 'Europe/Berlin'"):
            client.schedules.add("bad", "add", cron="@daily", timezone="Europe/Berln")
        with pytest.raises(QueryFailed, match="no handler 'ad' is known"):
            client.schedules.add("bad", "ad", every=5_000, strict=True)
        with pytest.warns(UnknownHandlerWarning, match="no handler 'nobody' is known"):
            client.schedules.add("bad", "nobody", every=5_000)
        client.schedules.remove("bad")


def test_who_looks_on_is_told_of_each_slot(node: Stage) -> None:
    with node.connect() as client:
        after = [*client.events()][-1].cursor
        client.schedules.add("told", "slot", every=0.1)
        until(lambda: named(client, "told").runs > 1)
        client.schedules.remove("told")
        fired = [event for event in client.events(after) if event.kind == "schedule_fired"]
        told = [event for event in fired if event.facts["schedule"] == "told"]
        assert len(told) >= 2
        for event in told:
            assert client.handle(event.facts["id"]).get(LONG) == pytest.approx(event.facts["slot"])
            assert event.facts["name"] == "slot"


PROGRAM = """
import time
import otpq

app = otpq.App("{name}")

@app.task(every=0.1)
def beat(): ...

if __name__ == "__main__":
    with otpq.start(app, workers=1, scheduler=False) as node:
        while not node.schedules.list():  # a child has yet to tell
            time.sleep(0.02)
        node.schedules.run("{name}.beat").get(60)
        (found,) = node.schedules.list()
        print(found.runs, found.paused, found.next_run)
"""


def test_a_program_may_have_a_node_whose_schedules_make_nothing(stage: Stage) -> None:
    file = stage.home / f"{stage.plain}.py"
    file.write_text(PROGRAM.format(name=stage.plain))
    said = stage.python(file)
    assert said.stdout == "0 True None\n", said.stderr
