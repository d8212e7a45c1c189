"""Why a task is not at work: each code with its facts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otpq.core import events as ev
from otpq.core.why import SHOWN
from otpq.task import Options

if TYPE_CHECKING:
    from tests.unit.core.driver import Driver


def why(queue: Driver, id: bytes) -> tuple[str, dict[str, Any]]:
    said = queue.core.why(queue.row(id), queue.wall)
    assert said is not None
    return said.code, said.facts


def code(queue: Driver, id: bytes) -> str | None:
    said = queue.core.why(queue.row(id))
    return None if said is None else said.code


def pool(name: str = "default", node: str = "n@h", *queues: str) -> dict[str, Any]:
    return {"node": node, "pool": name, "queues": list(queues or ("default",))}


def limit(queue: Driver, name: str, most: int) -> None:
    queue.step(ev.LimitHandler(client="c", request=1, handler=name, max_concurrency=most))


def test_it_names_what_holds_a_task_up(queue: Driver) -> None:
    limit(queue, "limited", 1)
    (delayed,) = queue.submit(1, delay=9.0)
    (paused,) = queue.submit(1, "p")
    (unknown,) = queue.submit(1, "unheard")
    first, second = queue.submit(2, "limited")
    (free,) = queue.submit(1, "g")
    assert code(queue, free) == "no_worker"
    queue.step(ev.Pause(client="c", request=1, handler="p"))
    queue.open(handlers=frozenset({"p", "limited", "g"}))
    queue.take()
    assert code(queue, delayed) == "not_due"
    assert code(queue, paused) == "paused"
    assert code(queue, unknown) == "no_handler"
    assert code(queue, first) == "assigned"
    assert code(queue, second) == "handler_limit"
    assert code(queue, free) == "no_worker"
    queue.cancel(free)
    assert code(queue, free) is None


def test_what_is_not_due_says_when_it_is(queue: Driver) -> None:
    (id,) = queue.submit(1, delay=9.0)
    assert why(queue, id) == ("not_due", {"due": queue.wall + 9.0, "seconds": 9.0, "state": "pending"})


def test_what_is_retrying_says_which_run_went_wrong_and_how(queue: Driver) -> None:
    (id,) = queue.submit(1)
    queue.open()
    batch = queue.take()
    queue.tell(batch, ev.Failed(1, "timeout", b"\x93\xa1E\xa3two\xa0", queue.wall, queue.wall + 0.001))
    said, facts = why(queue, id)
    assert said == "not_due"
    assert 0.9 <= facts["seconds"] <= 1.1
    assert {key: facts[key] for key in ("state", "attempt", "runs", "reason", "error")} == {
        "state": "retrying",
        "attempt": 1,
        "runs": 4,
        "reason": "timeout",
        "error": "E: two",
    }


def test_what_is_paused_twice_says_both(queue: Driver) -> None:
    (id,) = queue.submit(1)
    queue.step(ev.Pause(client="c", request=1, queue="default", handler="f", by="ann@h", why="closed"))
    facts = {"queue": "default", "handler": "f", "by": "ann@h", "why": "closed", "since": queue.wall}
    assert why(queue, id) == ("paused", facts)


def test_a_handler_that_nobody_has_names_the_nearest_and_where_it_is_else(queue: Driver) -> None:
    (id,) = queue.submit(1, "email.sent")
    queue.open(handlers=("email.send", "report"))
    asked = {"handler": "email.sent", "queue": "default", "pools": 1, "there": [pool()]}
    assert why(queue, id) == ("no_handler", {**asked, "nearest": "email.send", "elsewhere": []})
    queue.open("t", "m@h", handlers=("email.sent",), queues=("q", "r"), pool="gpu")
    assert why(queue, id)[1]["elsewhere"] == [pool("gpu", "m@h", "q", "r")]
    (far,) = queue.submit(1, "zzz")
    assert why(queue, far)[1]["nearest"] is None


def test_a_limit_names_who_holds_it_and_first_those_that_run(queue: Driver) -> None:
    queue.open()
    queue.learn(64, 0.00001)
    limit(queue, "f", 1)
    ids = queue.submit(SHOWN + 3)
    batch = queue.take()
    seqs = [row.seq for row in batch.rows]
    assert len(seqs) == SHOWN + 3
    queue.step(ev.Running(session="s", seqs=frozenset({seqs[-1]})))
    (waiting,) = queue.submit(1)
    said, facts = why(queue, waiting)
    assert (said, facts["handler"], facts["used"], facts["limit"]) == ("handler_limit", "f", 1, 1)
    assert (facts["limit_from"], facts["tasks"]) == ("set", SHOWN + 3)
    assert facts["held_by"] == [ids[-1].hex(), *(id.hex() for id in ids[: SHOWN - 1])]


def test_a_queue_that_no_pool_serves_names_the_pools_that_there_are(queue: Driver) -> None:
    (id,) = queue.submit(1, queue="mail")
    nobody = {"queue": "mail", "pools": 0, "demand": 0, "waiting": 1}
    assert why(queue, id) == ("no_worker", {**nobody, "there": []})
    queue.open(pool="cpu")
    queue.open("t", "m@h", queues=("a", "b"))
    there = [pool("cpu"), pool("default", "m@h", "a", "b")]
    assert why(queue, id) == ("no_worker", {**nobody, "there": there})


def test_pools_that_are_busy_are_named(queue: Driver) -> None:
    queue.open()
    queue.open("t", "m@h", queues=("other",))
    (id,) = queue.submit(1)
    busy = {"queue": "default", "pools": 1, "demand": 0, "waiting": 1, "there": [pool()]}
    assert why(queue, id) == ("no_worker", busy)


def test_a_node_that_is_trusted_no_longer_counts_for_nothing(queue: Driver) -> None:
    queue.open()
    (id,) = queue.submit(1)
    queue.step(seconds=1000.0)
    assert why(queue, id)[1]["pools"] == 0


def test_what_is_assigned_says_to_whom_and_behind_what(queue: Driver) -> None:
    queue.open()
    queue.learn(64, 0.00001)
    first, second, third = queue.submit(3)
    batch = queue.take()
    queue.step(ev.Running(session="s", seqs=frozenset({batch.rows[0].seq})))
    place = {
        "node": "n@h",
        "incarnation": "1",
        "pool": "default",
        "session": "s",
        "lease": batch.lease,
        "granted": queue.wall,
        "alone": False,
        "cancelling": False,
    }
    assert why(queue, first) == ("assigned", {**place, "running": True})
    assert why(queue, second) == ("assigned", {**place, "running": False, "position": 1, "behind": first.hex()})
    assert why(queue, third) == ("assigned", {**place, "running": False, "position": 2, "behind": second.hex()})
    queue.tell(batch, queue.success(batch.rows[0].seq))
    assert why(queue, second) == ("assigned", {**place, "running": False, "position": 0, "behind": None})
    queue.cancel(third)
    assert why(queue, third)[1]["cancelling"]


def test_a_lease_whose_pool_is_not_back_yet_says_what_is_known(queue: Driver) -> None:
    (id,) = queue.submit(1)
    queue.open()
    queue.take()
    queue.crash()
    queue.step()
    said, facts = why(queue, id)
    assert (said, facts["node"], facts["pool"], facts["running"]) == ("assigned", "n@h", None, False)


def test_the_limit_of_retries_is_the_handler_s_own_unless_the_caller_says_more(queue: Driver) -> None:
    queue.open(handlers={"f": Options.of(retries=7, retry_delay=60).pack()})
    (id,) = queue.submit(1)
    batch = queue.take()
    queue.tell(batch, queue.failure(batch.rows[0].seq))
    facts = why(queue, id)[1]
    assert (facts["runs"], facts["reason"], facts["error"]) == (8, "error", "E: m")
