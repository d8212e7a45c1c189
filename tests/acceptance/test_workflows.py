"""Workflows on real nodes: what the peers' own suites ask of theirs, and what must hold whatever is killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from otpq.client import questions
from otpq.client.aio import AsyncClient
from otpq.client.calls import Call
from otpq.client.client import connect
from otpq.client.errors import (
    QueryFailed,
    TaskCancelled,
    TaskExpired,
    TaskFailed,
    TaskNotFound,
    UnknownHandler,
    UnknownHandlerWarning,
    WaitTimeout,
)
from otpq.client.ids import id_bytes
from otpq.client.lowering import new_workflow, planned
from otpq.client.questions import Selector
from otpq.client.workflows import Workflow, chain, chord, group
from otpq.errors import Unavailable, UsageError
from otpq.task import TaskState
from otpq.wire import verbs
from otpq.wire.messages import NewTask
from tests.acceptance.conftest import RunningNode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from otpq.client.cell import Cell
    from otpq.client.client import Client
    from otpq.client.flow_handle import WorkflowHandle
    from otpq.client.flow_views import WorkflowStatus
    from otpq.client.workflows import Flow
    from tests.acceptance.conftest import Stage

LONG = 60.0
MEMBERS = 1_000
KILLS = 20


def c(name: str, *args: Any, **options: Any) -> Call:
    return Call(name, args, **options)


def prepare(stage: Stage) -> None:
    stage.app.write_text((Path(__file__).parent / "flow_jobs.py").read_text())


@pytest.fixture(scope="module")
def shared(shared_stage: Stage) -> Iterator[Client]:
    """One node for all tests that kill nothing."""
    prepare(shared_stage)
    shared_stage.node()
    with shared_stage.connect() as client:
        client.submit(Call("one", (1,))).get(LONG)  # from here on it is known which handlers there are
        yield client


@pytest.fixture
def home(shared_stage: Stage) -> Path:
    """The shared node's, without what earlier tests have left."""
    for file in ("notes", "open", "there"):
        (shared_stage.home / file).unlink(missing_ok=True)
    return shared_stage.home


def notes(home: Path) -> list[str]:
    file = home / "notes"
    return file.read_text().splitlines() if file.exists() else []


def noted(home: Path) -> list[str]:
    """What callbacks have left; hooks of other tests may come late."""
    return [line for line in notes(home) if line.startswith("noted")]


def until(happens: Callable[[], object]) -> None:
    deadline = time.monotonic() + LONG
    while not happens():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.02)


def ended(client: Client, workflow: str) -> WorkflowStatus:
    """How it stands when it has ended."""
    until(lambda: client.workflow(workflow).has_ended)
    return client.workflow(workflow)


def numbers(count: int) -> Any:
    return (c("one", n) for n in range(count))


# ---------------------------------------------------------- what comes out


@pytest.mark.parametrize(
    ("flow", "result"),
    [
        pytest.param(chain(c("add", 1, 2), c("add", 3), c("double")), 12, id="chain"),
        pytest.param(c("add", 1, 2) | c("add", 3) | c("double"), 12, id="pipe"),
        pytest.param(chain(chain(c("one", 1), c("double")), chain(c("double"), c("add", 1))), 5, id="chain in chain"),
        pytest.param(chain(c("one", 1), c("one", 2).si(), c("double")), 4, id="a call that takes none"),
        pytest.param(chain(group(c("one", 1), c("one", 2)), c("total")), 3, id="group first"),
        pytest.param(chain(c("one", 1), group(c("double"), c("add", 5)), c("total")), 8, id="group in the middle"),
        pytest.param(chain(c("one", 1), group(c("double"), c("add", 5))), [2, 6], id="group last"),
        pytest.param(chain(group(c("one", 1), c("one", 2)), group(c("total"), c("listed", 0))), [3, [[1, 2], 0]], id="group after group"),
        pytest.param(group(c("one", 1), group(c("one", 2), group(c("one", 3)))), [1, [2, [3]]], id="nested groups"),
        pytest.param(group(chain(c("one", 1), c("double")), chain(c("one", 2), c("double"))), [2, 4], id="chains in a group"),
        pytest.param(group(), [], id="empty group"),
        pytest.param(chord([], c("total")), 0, id="empty header"),
        pytest.param(chain(c("one", 1), group(), c("listed", 2)), [[], 2], id="empty group in the middle"),
        pytest.param(chord([c("one", 7)], c("total")), 7, id="header of one"),
        pytest.param(chord(c("one", 7), c("total")), 7, id="header that is a call"),
        pytest.param(chord(numbers(10), c("one")), list(range(10)), id="generator header, in order"),
        pytest.param(chord(numbers(300), c("total")), sum(range(300)), id="large header"),
        pytest.param(chord([chord(numbers(3), c("total")), chord(numbers(4), c("total"))], c("one")), [3, 6], id="chord in chord"),
        pytest.param(group(chord(numbers(3), c("total")), chord(numbers(4), c("total"))), [3, 6], id="parallel chords"),
        pytest.param(chain(c("one", 1), chord([c("double"), c("add", 2)], c("total"))), 5, id="chord in chain"),
        pytest.param(chord([c("one", 1), c("one", 2)], chain(c("total"), group(c("double"), c("one")))), [6, 3], id="callback of many tasks"),
        pytest.param(chain(c("nothing"), c("listed", 1)), [None, 1], id="None is a result"),
        pytest.param(chord([c("nothing"), c("one", None)], c("one")), [None, None], id="Nones are results"),
        pytest.param(chain(c("second_time", 3), c("double")), 6, id="a member that succeeds at its second attempt"),
        pytest.param(chord([c("second_time", 3), c("one", 1)], c("total")), 4, id="a header that does"),
        pytest.param(chain(c("one", "x" * 100_000), c("one")), "x" * 100_000, id="large results"),
    ],
)  # fmt: skip
def test_results_flow_as_written(shared: Client, flow: Flow, result: object) -> None:
    handle = shared.submit(flow)
    assert handle.get(timeout=LONG) == result
    status = handle.wait(timeout=LONG)
    assert (status.state, status.failed, status.ended) == ("succeeded", 0, status.total)


def test_a_graph_gives_each_what_it_comes_after(shared: Client) -> None:
    flow = Workflow(title="graph")
    left = flow.add(c("one", 1))
    right = flow.add(group(c("one", 2), c("one", 3)))
    both = flow.add(c("listed", 9), after=[right, left])
    flow.add(c("one"), after=both)
    flow.add(c("listed", 8).si(), after=[both, left])
    handle = shared.submit(flow)
    assert handle.get(timeout=LONG) == [[[[2, 3], 1], 9], [8]]
    status = handle.wait(timeout=LONG)
    assert (status.title, [member.after for member in status.members]) == (
        "graph",
        [(), (), (), (0, 1, 2), (3,), (0, 3)],
    )
    assert [child.get(timeout=LONG) for child in handle.children()][:3] == [1, 2, 3]


def test_priorities_and_queues_are_each_calls_own(shared: Client) -> None:
    handle = shared.submit(chain(c("one", 1, priority=9), c("one", priority="low", tags=["x"]), c("one")))
    handle.get(timeout=LONG)
    tasks = [child.task() for child in handle.children()]
    assert [(task.priority, task.tags) for task in tasks] == [(9, ()), (2, ("x",)), (5, ())]
    assert {task.workflow for task in tasks} == {handle.workflow}


def test_a_delay_counts_from_the_end_of_what_is_before(shared: Client) -> None:
    handle = shared.submit(chain(c("one", 1, delay=0.1), c("one", delay=0.3)))
    handle.get(timeout=LONG)
    first, second = (child.task() for child in handle.children())
    assert first.finished_at is not None
    assert second.started_at is not None
    assert second.started_at.timestamp() >= second.due_at.timestamp() >= first.finished_at.timestamp() + 0.29


def test_two_clients_and_both_kinds_of_them_do_the_same(shared: Client) -> None:
    async def main() -> None:
        async with AsyncClient(shared._session.target) as client:
            handle = await client.submit(chain(c("add", 1, 2), group(c("double"), c("one"))))
            assert await handle == [6, 3]
            assert (await handle.wait(LONG)).counts == {"succeeded": 3}
            assert [await child.get(LONG) for child in handle.children()] == [3, 6, 3]
            assert [status.ended async for status in handle.watch()] == [3]
            failing = await client.submit(chain(c("fail", "y"), c("one")))
            with pytest.raises(TaskFailed, match="ValueError: y"):
                await failing.get(LONG)
            assert (await failing.wait(LONG)).state == "failed"
            assert (await failing.cancel(), await handle.cancel(), await handle.retry()) == ("too_late",) * 3
            assert await (await client.submit(group())).get() == []
            assert [n async for n in client.map_task("double", range(25), chunk=10)] == [2 * n for n in range(25)]

    asyncio.run(main())


def test_many_items_are_mapped_in_order_a_few_at_a_time(shared: Client) -> None:
    walked = []

    def items() -> Iterator[int]:
        for n in range(100):
            walked.append(n)
            yield n

    results = shared.map_task("double", items(), chunk=10)
    assert next(results) == 0
    assert len(walked) == 20
    assert list(results) == [2 * n for n in range(1, 100)]


def test_a_callback_on_a_group_is_called_when_all_are_there(shared: Client) -> None:
    heard: list[object] = []
    done = threading.Event()

    def ok(results: object) -> None:
        heard.append(results)
        done.set()

    def error(failure: BaseException) -> None:
        heard.append(type(failure))
        done.set()

    shared.submit(group(numbers(5))).then(ok, error)
    assert done.wait(LONG)
    done.clear()
    shared.submit(group(c("one", 1), c("fail", "y"))).then(ok, error)
    assert done.wait(LONG)
    assert heard == [list(range(5)), TaskFailed]


# ------------------------------------------------------------ what is refused


def test_a_callback_that_does_not_exist_is_refused_with_its_place(shared: Client) -> None:
    before = shared.counts()
    with pytest.raises(UnknownHandler, match=r"chord\.callback: .*'totl'.*'total'"):
        shared.submit(chord(numbers(3), c("totl")), strict=True)
    assert shared.counts() == before, "nothing was made"
    with pytest.warns(UnknownHandlerWarning, match="'totl'"):
        handle = shared.submit(chord(numbers(3), c("totl")))
    assert handle.cancel() == "cancelling"


def test_a_submission_that_is_sent_again_makes_nothing_twice(shared: Client, home: Path) -> None:
    workflow = new_workflow(planned(chord(numbers(5), c("noted"))), shared._session.new_id())
    made = [shared._ask(questions.submit_workflow(workflow)) for _ in range(3)]
    assert [one.duplicate for one in made] == [False, True, True]
    status = shared.workflow(workflow.id.hex())
    until(lambda: shared.workflow(status.id).has_ended)
    assert shared._ask(questions.submit_workflow(workflow)).duplicate
    assert (status.total, noted(home)) == (6, ["noted 5 True"])


def test_what_is_larger_than_a_message_is_refused_and_the_connection_lives(shared: Client) -> None:
    with pytest.raises(UsageError, match="'submit_workflow' would be a message of 18,00"):
        shared.submit(group(c("one", b"x" * 1_000_000) for _ in range(18)))
    assert shared.submit(chain(c("one", 1))).get(timeout=LONG) == 1


@pytest.mark.parametrize(
    ("takes", "payload"),
    [
        (b"\xc1", b"\x92\x90\x80"),
        (b"\x07", b"\x92\x90\x80"),
        (b"\x00", b"x"),
        (b"\x91" * 9_000 + b"\x00", b"\x92\x90\x80"),
    ],
)
def test_what_no_client_of_ours_would_send_is_refused_and_the_queue_server_lives(
    shared: Client, takes: bytes, payload: bytes
) -> None:
    epoch = shared.health()["epoch"]
    first, second = (NewTask(os.urandom(16), "add", of, watch=False) for of in (b"\x92\x90\x80", payload))
    members = [verbs.NewMember(first), verbs.NewMember(second, [0], takes)]
    with pytest.raises(QueryFailed, match="member 1"):
        shared.wait_answer(_put(shared, verbs.NewWorkflow(os.urandom(16), members)), "it")
    assert shared.health()["epoch"] == epoch


def _put(client: Client, workflow: verbs.NewWorkflow) -> Cell[bytes]:
    return client._session.ask(questions.submit_workflow(workflow))


def test_what_nobody_has_made_is_not_found(shared: Client) -> None:
    for ask in (shared.workflow, shared.cancel_workflow, shared.retry_workflow):
        with pytest.raises(TaskNotFound):
            ask("0" * 32)
    lonely = shared.submit(c("one", 1))
    lonely.get(timeout=LONG)
    with pytest.raises(TaskNotFound):
        shared.workflow(lonely.id)


# ------------------------------------------------------------ when a member fails


@pytest.mark.parametrize(
    "flow",
    [
        pytest.param(chord([c("fail", "x"), c("one", 1)], c("noted")), id="a header's task"),
        pytest.param(chord([chain(c("one", 1), c("fail", "x").si()), c("one", 1)], c("noted")), id="a chain's tail"),
        pytest.param(chord([chain(c("fail", "x"), c("one"), c("one"))], c("noted")), id="a chain's head"),
        pytest.param(chord([group(c("one", 1), c("fail", "x"))], c("noted")), id="a task of a group in it"),
        pytest.param(chain(c("one", 1), c("fail", "x").si(), c("noted")), id="the middle of a chain"),
        pytest.param(chain(c("fail", "x"), group(c("one"), c("noted"))), id="what is before a group"),
        pytest.param(chord([c("one", 1)], c("fail", "x").si()), id="the callback"),
    ],
)
def test_the_failure_is_told_wherever_it_was_and_what_is_after_it_never_runs(
    shared: Client, home: Path, flow: Flow
) -> None:
    handle = shared.submit(flow)
    with pytest.raises(TaskFailed, match="ValueError: x") as caught:
        handle.get(timeout=LONG)
    status = handle.wait(timeout=LONG)
    assert (status.state, status.counts["failed"]) == ("failed", 1)
    assert next(member.id for member in status.members if member.state == "failed") == caught.value.id
    until(lambda: "told x" in notes(home))
    told = [line for line in notes(home) if line.endswith(" x")] + noted(home)
    assert sorted(told) == ["fail x", "told x"], "the hook is called once, the callback never"


def test_with_continue_the_callback_is_given_none_for_each_failure(shared: Client) -> None:
    flow = chord([c("one", 1), c("fail", "y"), c("die"), c("one", 4)], c("one"), on_failure="continue")
    handle = shared.submit(flow)
    assert handle.get(timeout=LONG) == [1, None, None, 4]
    status = handle.wait(timeout=LONG)
    assert (status.state, status.failed) == ("succeeded", 2)
    header = shared.submit(group(c("one", 1), c("fail", "y"), on_failure="continue"))
    assert header.get(timeout=LONG) == [1, None]


def test_with_collect_the_callback_is_told_what_happened(shared: Client) -> None:
    calls = [c("one", 1), c("fail", "y"), c("die"), c("one", 2, eta=None, expires=0)]
    handle = shared.submit(chord(calls, c("one"), on_failure="collect"))
    result = handle.get(timeout=LONG)
    children = handle.children()
    assert result[0] == 1
    assert [(one["id"], one["name"], one["state"]) for one in result[1:]] == [
        (children[1].id, "fail", "failed"),
        (children[2].id, "die", "failed"),
        (children[3].id, "one", "expired"),
    ]
    assert "ValueError" in str(result[1]["error"])
    assert "y" in str(result[1]["error"])
    assert result[3]["error"] is None
    same = shared.submit(group(*calls, on_failure="collect"))
    of_group, children = same.get(timeout=LONG), same.children()
    assert [{**one, "id": "", "error": None} for one in of_group[1:]] == [
        {**one, "id": "", "error": None} for one in result[1:]
    ]
    assert [one["id"] for one in of_group[1:]] == [child.id for child in children[1:]]
    assert of_group[1]["error"] == result[1]["error"]


def test_with_continue_a_total_failure_still_ends_in_the_callback(shared: Client, home: Path) -> None:
    handle = shared.submit(chord([c("fail", n) for n in range(3)], c("one"), on_failure="continue"))
    assert handle.get(timeout=LONG) == [None, None, None]
    assert sorted(line for line in notes(home) if line.startswith("fail")) == ["fail 0", "fail 1", "fail 2"]


def test_a_member_that_dies_in_the_middle_of_its_chain_leaves_none(shared: Client) -> None:
    calls: list[Any] = [chain(c("one", 1), c("die").si(), c("listed", 5)), c("one", 2)]
    assert shared.submit(chord(calls, c("one"), on_failure="continue")).get(timeout=LONG) == [[None, 5], 2]


@pytest.mark.usefixtures("home")
def test_a_member_that_is_cancelled_stops_the_rest_or_not_as_was_said(shared: Client) -> None:
    for on_failure, result in (("continue", [None, 1]), ("fail", TaskCancelled)):
        handle = shared.submit(chord([c("after", "open"), c("one", 1)], c("one"), on_failure=on_failure))  # type: ignore[arg-type]
        waiting, other = handle.children()[:2]
        other.get(timeout=LONG)
        assert shared.cancel(waiting.id, grace=0) in {"cancelled", "cancelling"}
        if result is TaskCancelled:
            with pytest.raises(TaskCancelled):
                handle.get(timeout=LONG)
        else:
            assert handle.get(timeout=LONG) == result


def test_a_member_that_expires_is_told_as_what_it_is(shared: Client) -> None:
    with pytest.raises(TaskExpired):
        shared.submit(chain(c("one", 1, expires=0), c("one"))).get(timeout=LONG)


def test_a_member_cannot_be_deleted_while_others_wait_for_it(shared: Client, home: Path) -> None:
    handle = shared.submit(chain(c("one", 5), c("after", "open").si(), c("one")))
    first = handle.children()[0]
    first.get(timeout=LONG)
    assert shared.delete(Selector(ids=[first.id])) == 0
    (home / "open").touch()
    handle.get(timeout=LONG)
    handle.wait(timeout=LONG)
    assert shared.delete(Selector(ids=[child.id for child in handle.children()])) == 3
    with pytest.raises(TaskNotFound):
        handle.status()


# ------------------------------------------------------------ cancel, retry, watch


def test_a_whole_workflow_is_cancelled(shared: Client, home: Path) -> None:
    handle = shared.submit(chain(group(c("after", "open"), c("one", 1)), c("noted")))
    until(lambda: handle.status(members=False).counts.get("running"))
    assert handle.cancel(grace=0) == "cancelling"
    with pytest.raises(TaskCancelled):
        handle.get(timeout=LONG)
    status = handle.wait(timeout=LONG)
    assert status.state == "cancelled"
    assert status.members[2].state is TaskState.CANCELLED
    assert (handle.cancel(), noted(home)) == ("too_late", [])


@pytest.mark.usefixtures("home")
def test_a_cancelled_group_is_told_as_cancelled_whatever_was_said_of_failures(shared: Client) -> None:
    handle = shared.submit(group(c("after", "open"), c("one", 1), on_failure="continue"))
    assert shared.cancel(handle, 0) == "cancelling"
    with pytest.raises(TaskCancelled):
        handle.get(timeout=LONG)


def test_a_workflow_goes_on_from_the_member_that_failed(shared: Client, home: Path) -> None:
    handle = shared.submit(chain(c("add", 1, 2), c("when_there", "there").si(), c("listed", 1), c("one")))
    with pytest.raises(TaskFailed, match="FileNotFoundError"):
        handle.get(timeout=LONG)
    handle.wait(timeout=LONG)
    first = handle.children()[0].task()
    (home / "there").touch()
    assert handle.retry() == "retried"
    assert handle.get(timeout=LONG) == [None, 1]
    assert handle.wait(timeout=LONG).state == "succeeded"
    assert handle.children()[0].task() == first, "what has succeeded is not run again"
    assert [line for line in notes(home) if line.startswith("when")] == ["when_there there"] * 2
    assert handle.retry() == "too_late"


def test_a_chord_goes_on_with_the_results_that_are_there(shared: Client, home: Path) -> None:
    handle = shared.submit(chord([c("one", 1), c("when_there", "there", 2), c("one", 3)], c("noted")))
    with pytest.raises(TaskFailed):
        handle.get(timeout=LONG)
    handle.wait(timeout=LONG)
    (home / "there").touch()
    assert shared.retry_workflow(handle.children()[0].id) == "retried", "by a member's id too"
    again = shared.handle(handle.id)
    until(lambda: handle.status(members=False).has_ended)
    assert again.get(timeout=LONG) == 3
    assert noted(home) == ["noted 3 True"]


def test_who_waits_too_short_is_told_and_can_wait_on(shared: Client, home: Path) -> None:
    handle = shared.submit(group(c("after", "open", 1), c("one", 2)))
    with pytest.raises(WaitTimeout):
        handle.get(timeout=0.05)
    with pytest.raises(WaitTimeout):
        handle.wait(timeout=0.05)
    until(lambda: handle.progress == (0.5, "1 of 2"))
    assert (handle.state, handle.ready, handle.retry()) == ("running", False, "too_early")
    (home / "open").touch()
    assert handle.get(timeout=LONG) == [1, 2]
    assert [status.ended for status in handle.watch()][-1] == 2
    assert (handle.state, handle.ready, handle.successful, handle.failed) == ("succeeded", True, True, False)


def test_a_member_says_what_it_waits_for(shared: Client, home: Path) -> None:
    handle = shared.submit(chord([c("after", "open", 1), c("after", "open", 2)], c("total")))
    task = shared.get_task_status(handle.id)
    assert (task.state, task.waits, task.workflow) == (TaskState.PENDING, 2, handle.workflow)
    (home / "open").touch()
    assert handle.get(timeout=LONG) == 3


def test_workflows_are_listed_the_newest_first(shared: Client) -> None:
    made = [shared.submit(group(numbers(2), title=str(n))) for n in range(5)]
    page = shared.workflows(limit=3)
    assert [(one.id, one.title, one.total, one.members) for one in page] == [
        (handle.workflow, str(n), 2, ()) for n, handle in reversed(list(enumerate(made)))
    ][:3]
    more = shared.workflows(limit=2, after=page.next)
    assert [one.id for one in more] == [made[1].workflow, made[0].workflow]


def test_the_command_line_shows_lists_cancels_and_retries(shared: Client, shared_stage: Stage, home: Path) -> None:
    handle = shared.submit(chord([c("when_there", "there", n) for n in range(20)], c("noted"), title="wide"))
    handle.wait(timeout=LONG)
    node = ("--node", shared_stage.name)
    shown = shared_stage.otpq("show", handle.workflow, *node)
    lines = shown.stdout.splitlines()
    assert lines[0].startswith(f"workflow {handle.workflow} (wide): failed, 21 of 21 ended")
    assert any("0-19" in line and "group of 20" in line for line in lines), shown.stdout
    assert lines[-1].endswith("noted, after 0-19")
    of_member = shared_stage.otpq("show", handle.id, *node).stdout
    assert of_member.endswith("\n".join(lines) + "\n")
    data = json.loads(shared_stage.otpq("show", handle.workflow, "--json", *node).stdout)
    assert (data["total"], len(data["members"]), data["members"][20]["after"]) == (21, 21, list(range(20)))
    listed = shared_stage.otpq("workflows", "--limit", "1", *node)
    assert listed.stdout.splitlines()[1].split()[:3] == [handle.workflow, "failed", "21/21"]
    (home / "there").touch()
    assert shared_stage.otpq("retry", handle.workflow, *node).stdout == "retried\n"
    until(lambda: handle.status(members=False).state == "succeeded")
    assert shared_stage.otpq("cancel", handle.workflow, *node).stdout == "too_late\n"
    assert shared_stage.otpq("show", "0" * 32, *node).returncode == 6


# ------------------------------------------------------------ whatever is killed


def children_of(node: RunningNode) -> list[psutil.Process]:
    """The processes that run handlers."""
    found = []
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in psutil.Process(node.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if "otpq.worker.child" in " ".join(process.cmdline()):
                    found.append(process)
    return found


def until_more(handle: WorkflowHandle[Any], before: int) -> None:
    """Wait until more tasks than that have ended, or all."""

    def is_so() -> bool:
        status = handle.status(members=False)
        return status.ended > before or status.has_ended

    until(is_so)


def test_a_chord_of_a_thousand_gets_all_results_in_order_and_once_while_children_are_killed(stage: Stage) -> None:
    prepare(stage)
    node = stage.node()
    random = Random(7)  # noqa: S311 - which child is hit
    killed = 0
    with stage.connect() as client:
        handle = client.submit(chord([c("slow", n) for n in range(MEMBERS)], c("noted")))
        while not handle.ready and killed < KILLS:
            before = handle.status(members=False).ended
            for process in random.sample(children := children_of(node), min(1, len(children))):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGKILL)
                    killed += 1
            until_more(handle, before)
        assert handle.get(timeout=LONG) == MEMBERS
        status = handle.wait(timeout=LONG)
    assert killed == KILLS, "it was over before all were killed"
    assert Counter(member.state for member in status.members) == {TaskState.SUCCEEDED: MEMBERS + 1}
    assert notes(stage.home) == [f"noted {MEMBERS} True"]


def test_a_chain_goes_on_when_its_node_is_killed_again_and_again(stage: Stage) -> None:
    prepare(stage)
    node = stage.node()
    with stage.connect() as client:
        steps = 30
        handle = client.submit(chain(c("step", 0), *(c("step") for _ in range(steps - 1)), c("noted")))
        for _ in range(3):
            before = handle.status(members=False).ended
            until_more(handle, before + 2)
            node.kill()
            node = stage.node()
        assert handle.get(timeout=LONG) == steps
        assert handle.wait(timeout=LONG).state == "succeeded"
    assert notes(stage.home) == [f"noted {steps} True"]


def test_a_chord_goes_on_when_its_node_is_killed_and_its_callback_runs_once(stage: Stage) -> None:
    prepare(stage)
    node = stage.node()
    count = 300
    with stage.connect() as client:
        handle = client.submit(chord([c("slow", n) for n in range(count)], c("noted")))
        for part in (1, 2):
            until_more(handle, part * count // 4)
            node.kill()
            node = stage.node()
        assert handle.get(timeout=LONG) == count
        assert [child.get(timeout=LONG) for child in handle.children()[:-1]] == list(range(count))
    assert notes(stage.home) == [f"noted {count} True"]


def die_at(stage: Stage, fault: str, workflow: str) -> None:
    """Start the node with this fault, until it has died or the workflow has ended; whether it gets ready does not matter."""
    stage.environment["OTPQ_FAULT"] = fault
    node = RunningNode(stage.popen("node", "--name", stage.name, "--app", f"{stage.app}:app", "--workers", "2"))
    del stage.environment["OTPQ_FAULT"]

    def is_over() -> bool:
        with (
            contextlib.suppress(Unavailable),
            connect(stage.name, 1, cookie_file=stage.home / ".otpq" / "cookie") as client,
        ):
            return client.workflow(workflow).has_ended
        return node.process.poll() is not None

    until(is_over)
    node.kill()


@pytest.mark.parametrize("point", ["commit.before", "commit.after", "dispatch.before"])
def test_there_is_one_callback_at_whichever_commit_the_node_dies(stage: Stage, point: str) -> None:
    prepare(stage)
    for nth in range(2, 7):
        gate = stage.home / f"open{nth}"
        node = stage.node()
        with stage.connect() as client:
            handle = client.submit(chord([c("after", gate.name, 1), c("one", 2)], c("noted")))
            until(gate.with_suffix(".begun").exists)
        node.kill()
        gate.touch()
        die_at(stage, f"{point}:{nth}:kill", handle.workflow)
        node = stage.node()
        with stage.connect() as client:
            status = ended(client, handle.workflow)
            callback = client.get_task_status(status.members[2].id)
            assert (status.state, status.total, callback.result) == ("succeeded", 3, 2)
            assert client.count(Selector(name="noted")) == nth - 1, "one callback a workflow"
        node.kill()
        assert set(notes(stage.home)) == {"noted 2 True"}, "it may run again if its end was not committed"
        (stage.home / "notes").unlink()


def test_the_submitter_may_vanish(stage: Stage) -> None:
    prepare(stage)
    stage.node()
    program = stage.home / "submitter.py"
    program.write_text(
        "import otpq\n"
        "from jobs import app, add, after, noted, listed\n"
        f"client = otpq.connect({stage.name!r})\n"
        "handle = client.submit(otpq.chord([after.s('open', 1), add.s(1, 2)], noted.s()))\n"
        "print(handle.workflow, flush=True)\n"
        "handle.get()\n"
    )
    submitter = stage.program(str(program))
    assert submitter.stdout is not None
    workflow = submitter.stdout.readline().strip()
    submitter.send_signal(signal.SIGKILL)
    submitter.communicate(timeout=LONG)
    (stage.home / "open").touch()
    with stage.connect() as client:
        assert ended(client, workflow).state == "succeeded"
    assert notes(stage.home) == ["noted 2 True"]


def test_when_everything_is_started_again_workflows_are_as_they_were(stage: Stage) -> None:
    prepare(stage)
    node = stage.node()
    with stage.connect() as client:
        handles: list[Any] = [
            client.submit(chain(c("one", 1), c("double"))),
            client.submit(group(c("fail", "y"), c("one", 1), on_failure="collect", title="collecting")),
            client.submit(chain(c("fail", "y"), c("one"))),
        ]
        for handle in handles:
            handle.wait(timeout=LONG)
        handles.append(client.submit(chord([c("after", "open", n) for n in range(3)], c("total"))))
        until((stage.home / "open.begun").exists)
        before = [client.workflow(handle.workflow) for handle in handles[:3]]
    assert node.terminate() == 0
    stage.node()
    with stage.connect() as client:
        assert [client.workflow(handle.workflow) for handle in handles[:3]] == before
        assert len(client.workflows()) == len(handles)
        last = client.handle(handles[3].id)
        assert client.workflow(handles[3].workflow).state == "running"
        assert id_bytes(last.id)
        (stage.home / "open").touch()
        assert last.get(timeout=LONG) == 3
        assert client.retry_workflow(handles[2].workflow) == "retried"
