"""Workflows in the core: who waits for whom, what an end means for the others, and what is done to all members."""

from typing import Any

import pytest

from otpq.core import effects as ef
from otpq.core import events as ev
from tests.unit.core.driver import Driver

WORKFLOW = b"w" * 16


@pytest.fixture
def core() -> Driver:
    driver = Driver()
    driver.open()
    return driver


def submit(core: Driver, after: list[list[int]], on_failure: str = "fail", **fields: Any) -> list[bytes]:
    """Make a workflow in which each member waits for those places; ids in their order."""
    tasks = [core.new(**fields) for _ in after]
    core.step(of(tasks, after, on_failure))
    core.one(ef.WorkflowMade)
    return [task.id for task in tasks]


def of(tasks: list[ev.NewTask], after: list[list[int]], on_failure: str = "fail") -> ev.SubmitWorkflow:
    takes: list[bytes | None] = [None] * len(tasks)
    return ev.SubmitWorkflow(
        client="c", request=4, id=WORKFLOW, tasks=tasks, after=after, takes=takes, on_failure=on_failure
    )


def states(core: Driver, ids: list[bytes]) -> str:
    """The first letters of their states."""
    return "".join(core.state(id)[0] for id in ids)


def run(core: Driver, *, fails: tuple[bytes, ...] = ()) -> None:
    """Run the next task: the handler has no history, so a batch is one."""
    batch = core.take()
    (row,) = batch.rows
    is_bad = row.id in fails
    core.tell(batch, ev.Discarded(row.seq, None, core.wall, core.wall) if is_bad else core.success(row.seq))


def settle(core: Driver) -> None:
    """Step while there is something left of a sweep."""
    while core.core.wake(ev.Now(core.wall, core.mono)) == 0:
        core.step()


def cancel(core: Driver, id: bytes = WORKFLOW) -> list[str]:
    core.step(ev.CancelWorkflow(client="c", request=5, id=id))
    answers = core.answers()
    settle(core)
    return answers


def retry(core: Driver, id: bytes = WORKFLOW) -> list[str]:
    core.step(ev.RetryWorkflow(client="c", request=6, id=id))
    while not core.answers():  # it comes with the last member that is started again
        core.step()
    answers = core.answers()
    settle(core)
    return answers


def test_a_member_waits_for_those_before_it(core: Driver) -> None:
    ids = submit(core, [[], [0], [1]])
    assert states(core, ids) == "qpp"
    run(core)
    assert states(core, ids) == "sqp"
    run(core)
    run(core)
    assert states(core, ids) == "sss"
    (workflow,) = core.store.workflows.values()
    assert (workflow.ended, workflow.failed, workflow.finished is not None) == (3, 0, True)


def test_a_member_starts_when_the_last_of_many_has_ended(core: Driver) -> None:
    ids = submit(core, [[], [], [], [0, 1, 2]])
    for expected in ("sqqp", "ssqp", "sssq", "ssss"):
        run(core)
        assert states(core, ids) == expected


def test_an_end_and_what_follows_from_it_are_one_commit(core: Driver) -> None:
    ids = submit(core, [[], [0]])
    batch = core.take()
    effects = core.succeed(batch)
    (persist,) = [effect for effect in effects if isinstance(effect, ef.Persist)]
    assert [each.seq for each in persist.changes.successes] == [core.row(ids[0]).seq]
    assert [(each.seq, each.waits) for each in persist.changes.updates] == [(core.row(ids[1]).seq, 0)]
    assert persist.changes.workflows[core.row(ids[0]).workflow or 0].ended == 1  # type: ignore[union-attr]


def test_a_failure_cancels_the_rest(core: Driver) -> None:
    ids = submit(core, [[], [], [0], [2]])
    batch = core.take()
    first = batch.rows[0]
    core.tell(batch, ev.Discarded(first.seq, None, core.wall, core.wall))
    settle(core)
    assert states(core, ids) in {"fccc", "fqcc"}  # the second may be out with a pool, which is told
    assert core.one(ef.CancelRunning).seq == core.row(ids[1]).seq if states(core, ids)[1] == "q" else True


@pytest.mark.parametrize("on_failure", ["continue", "collect"])
def test_what_comes_after_a_failure_runs_all_the_same_where_it_is_wished(core: Driver, on_failure: str) -> None:
    ids = submit(core, [[], [0]], on_failure)
    run(core, fails=(ids[0],))
    assert states(core, ids) == "fq"
    run(core)
    assert states(core, ids) == "fs"
    assert core.store.workflows[core.row(ids[0]).workflow or 0].failed == 1


def test_a_member_that_is_cancelled_or_expires_counts_as_one_that_fails(core: Driver) -> None:
    ids = submit(core, [[], [0]])
    assert core.cancel(ids[0]) == ["cancelled"]
    settle(core)
    assert states(core, ids) == "cc"
    core = Driver()
    core.open()
    ids = submit(core, [[], [0]], "continue", expires_in=5.0)
    core.step(seconds=6.0)
    assert states(core, ids)[0] == "e"


def test_a_member_that_expired_in_front_of_a_pool_is_not_run(core: Driver) -> None:
    """Dispatch finds it before the look for expired tasks does; what waits for it must be read first."""
    ids = submit(core, [[], [0]], expires_in=0.5)
    core.wall += 0.7
    core.mono += 0.7
    assert core.ask(1) == []
    settle(core)
    assert states(core, ids) == "ee"


def test_the_delay_of_a_member_counts_from_when_it_has_nothing_left_to_wait_for(core: Driver) -> None:
    ids = submit(core, [[], [0]], delay=10.0)
    core.step(seconds=10.0)
    run(core)
    assert states(core, ids) == "sp"
    assert core.row(ids[1]).due == pytest.approx(core.wall + 10.0)
    core.step(seconds=10.0)
    run(core)
    assert states(core, ids) == "ss"


def test_a_submission_that_comes_again_makes_nothing(core: Driver) -> None:
    tasks = [core.new(), core.new()]
    core.step(of(tasks, [[], [0]]))
    core.step(of(tasks, [[], [0]]))
    assert core.one(ef.WorkflowMade).duplicate
    core.step(of(tasks, [[], [0]]), of(tasks, [[], [0]]))
    assert [made.duplicate for made in core.all(ef.WorkflowMade)] == [True, True]
    assert len(core.store.rows) == 2


def test_a_workflow_that_is_forgotten_in_the_same_step_is_not_made_again(core: Driver) -> None:
    tasks = [core.new()]
    core.step(of(tasks, [[]]))
    run(core)
    core.step(ev.Delete(client="c", request=7, ids=(tasks[0].id,)), of(tasks, [[]]))
    assert core.one(ef.WorkflowMade).duplicate
    assert core.store.rows == {}


@pytest.mark.parametrize("after", [[[0], []], [[], [0, 0]], [[], [1]], [[], [-1]], [[], [7]]])
def test_members_wait_for_those_before_them_alone(core: Driver, after: list[list[int]]) -> None:
    core.step(of([core.new(), core.new()], after))
    (refusal,) = core.one(ef.WorkflowRefused).refusals
    assert refusal.code == "bad_after"
    assert core.store.rows == {}


def test_all_members_are_refused_with_one(core: Driver) -> None:
    core.step(of([core.new(), core.new(priority=77)], [[], [0]]))
    (refusal,) = core.one(ef.WorkflowRefused).refusals
    assert (refusal.index, refusal.code) == (1, "bad_priority")
    core.step(of([core.new(), core.new(key="k")], [[], [0]]))
    (refusal,) = core.one(ef.WorkflowRefused).refusals
    assert (refusal.index, refusal.code) == (1, "bad_key")
    assert core.store.rows == {}
    assert core.store.workflows == {}


def test_a_workflow_is_cancelled_by_its_id_or_a_members(core: Driver) -> None:
    for member in (None, 1):
        core = Driver()
        core.open()
        ids = submit(core, [[], [0], [1]], "continue")
        assert cancel(core, WORKFLOW if member is None else ids[member]) == ["cancelling"]
        assert states(core, ids) == "ccc"
        assert cancel(core) == ["too_late"]
    assert cancel(core, b"?" * 16) == ["not_found"]


def test_what_runs_while_its_workflow_is_cancelled_does_not_release_others(core: Driver) -> None:
    ids = submit(core, [[], [0]])
    batch = core.take()
    cancel(core)
    assert core.store.workflows[1].finished is None
    core.succeed(batch)
    assert states(core, ids) == "sc"
    assert core.store.workflows[1].finished is not None


def test_a_retry_goes_on_from_the_member_that_failed(core: Driver) -> None:
    ids = submit(core, [[], [0], [1]])
    run(core)
    assert retry(core) == ["too_early"]
    run(core, fails=(ids[1],))
    settle(core)
    assert states(core, ids) == "sfc"
    assert retry(core) == ["retried"]
    assert states(core, ids) == "sqp"
    run(core)
    run(core)
    assert states(core, ids) == "sss"
    assert retry(core) == ["too_late"]


def test_a_retry_is_answered_when_all_members_have_been_started_again(core: Driver) -> None:
    count = 1_200
    ids = submit(core, [[] for _ in range(count)])
    cancel(core)
    settle(core)
    for client in "ab":  # the second one is told with the first
        core.step(ev.RetryWorkflow(client=client, request=6, id=WORKFLOW))
    while not core.answers():
        assert core.state(ids[-1]) == "cancelled"
        core.step()
    assert [reply.client for reply in core.all(ef.Reply)] == ["a", "b"]
    assert {core.state(id) for id in ids} == {"queued"}


def test_a_member_is_retried_alone_when_its_workflow_has_ended(core: Driver) -> None:
    ids = submit(core, [[], [0]], "continue")
    run(core, fails=(ids[0],))
    assert core.retry(ids[0]) == ["too_early"]
    run(core)
    assert core.retry(ids[0]) == ["retried"]
    run(core)
    assert states(core, ids) == "ss"
    assert core.row(ids[1]).attempt == 1  # what had been told is not told again


def test_a_member_that_would_wait_for_one_that_failed_is_retried_with_its_workflow(core: Driver) -> None:
    ids = submit(core, [[], [0]])
    run(core, fails=(ids[0],))
    settle(core)
    assert core.retry(ids[1]) == ["too_early"]
    assert states(core, ids) == "fc"
    assert retry(core) == ["retried"]
    assert states(core, ids) == "qp"


def test_a_failure_while_others_are_started_again_cancels_the_rest_after_that(core: Driver) -> None:
    count = 700
    ids = submit(core, [*([] for _ in range(count)), [0]])
    cancel(core)
    core.step(ev.RetryWorkflow(client="c", request=6, id=WORKFLOW))
    core.step(ev.Demand(session="s", asked=1, received=0, held=()))
    batch = core.one(ef.Dispatch)
    assert core.state(ids[-1]) == "cancelled"  # its turn to be started again has not come
    core.tell(batch, ev.Discarded(batch.rows[0].seq, None, core.wall, core.wall))
    assert core.answers() == ["retried"]
    settle(core)
    assert core.store.workflows[1].finished is not None
    assert states(core, ids) == "f" + "c" * count


def test_a_sweep_goes_on_after_a_crash(core: Driver) -> None:
    count = 1_200
    ids = submit(core, [[] for _ in range(count)])
    core.step(ev.CancelWorkflow(client="c", request=5, id=WORKFLOW))
    core.step()
    assert 0 < core.store.workflows[1].mark < count
    core.crash()
    settle(core)
    assert {core.state(id) for id in ids} == {"cancelled"}


def test_a_crash_loses_no_callback_and_makes_none_twice(core: Driver) -> None:
    ids = submit(core, [[], [], [0, 1]])
    run(core)
    core.crash()
    core.open()
    core.asked = core.received = 0
    run(core)
    core.crash()
    core.open()
    core.asked = core.received = 0
    run(core)
    assert states(core, ids) == "sss"
    assert core.row(ids[2]).attempt == 1


def test_members_under_way_are_kept(core: Driver) -> None:
    ids = submit(core, [[], [0]])
    run(core)
    ended = core.row(ids[0])
    core.step(ev.Prune(tasks=((ended.id, ended.finished or 0.0),)))
    core.step(ev.Delete(client="c", request=7, ids=(ids[0],)))
    assert core.answers() == ["too_early"]
    assert states(core, ids) == "sq"
    run(core)
    core.step(ev.Delete(client="c", request=7, ids=(ids[0],)))
    assert core.answers() == ["deleted"]
    assert core.store.workflows[1].kept == 1
    assert retry(core) == ["too_late"]
    core.step(ev.Delete(client="c", request=7, ids=(ids[1],)))
    assert core.store.workflows == {}


def test_a_workflow_with_a_forgotten_member_is_not_retried(core: Driver) -> None:
    ids = submit(core, [[], [0]], "continue")
    run(core, fails=(ids[0],))
    run(core, fails=(ids[1],))
    core.step(ev.Delete(client="c", request=7, ids=(ids[0],)))
    assert retry(core) == ["incomplete"]
    assert core.retry(ids[1]) == ["too_late"]


def test_a_purge_cancels_members_that_wait(core: Driver) -> None:
    ids = submit(core, [[], [0]])
    core.step(ev.Delete(client="c", request=7, ids=tuple(ids), waiting=True))
    assert states(core, ids) == "cc"


def test_why_says_how_many_a_member_waits_for(core: Driver) -> None:
    ids = submit(core, [[], [], [0, 1]])
    why = core.core.why(core.row(ids[2]))
    assert why is not None
    assert (why.code, why.facts) == ("blocked_by", {"waits": 2})
