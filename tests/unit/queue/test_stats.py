"""Statistics: sums that are what they say."""

from __future__ import annotations

from typing import Any

from otpq.queue.measures import NOTHING as UNMEASURED
from otpq.queue.stats import Workers, handler_stats, queue_stats, worker_stats
from otpq.task import TaskState

NOTHING = dict.fromkeys(TaskState, 0)


def handler(name: str, *, used: int = 0, limit: int | None = None, **options: Any) -> dict[str, Any]:
    return {"handler": name, "used": used, "limit": limit, "options": options}


def test_a_queue_has_the_slots_of_the_handlers_that_declare_it() -> None:
    counts = {
        "mail": {**NOTHING, TaskState.PENDING: 5, TaskState.QUEUED: 7, TaskState.RUNNING: 3, TaskState.RETRYING: 2},
        "default": NOTHING,
        "bulk": NOTHING,
    }
    handlers = [
        handler("send", used=3, limit=3, queue="mail"),
        handler("check", used=1, limit=5, queue="mail"),
        handler("free", queue="mail"),
        handler("over", used=4, limit=2),
        handler("unbounded", queue="bulk"),
    ]
    stats = queue_stats(counts, handlers, {"mail": {"rates": "measured"}, "gone": UNMEASURED}, {"mail": 3})
    assert stats["mail"] == {
        "pending": 5,
        "delayed": 2,
        "blocked": 3,
        "queued": 7,
        "running": 3,
        "retrying": 2,
        "slots_in_use": 4,
        "slots_available": 4,
        "rates": "measured",
    }
    assert stats["default"]["run"] == UNMEASURED["run"]
    assert (stats["gone"]["queued"], stats["gone"]["wait"]) == (0, UNMEASURED["wait"])
    assert (stats["default"]["slots_in_use"], stats["default"]["slots_available"]) == (4, 0)
    assert stats["bulk"]["slots_in_use"] is stats["bulk"]["slots_available"] is None


def test_handlers_that_have_had_something_to_do_are_told_of() -> None:
    ran = {"succeeded": 2, "failed": 1, "retried": 3, "mean": 0.5, "max": 2.0}
    handlers = [
        {**handler("send", used=1, limit=3), **ran, "runs": 6},
        {**handler("idle"), **dict.fromkeys(ran, 0), "runs": 0},
    ]
    stats = handler_stats(handlers, {"forgotten": {"rates": "measured"}})
    assert list(stats) == ["forgotten", "send"]
    assert stats["send"] == {**ran, "runs": 6, "limit": 3, "used": 1, **UNMEASURED}
    assert (stats["forgotten"]["runs"], stats["forgotten"]["rates"]) == (None, "measured")


def test_workers_are_summed_up_by_pool_and_node() -> None:
    workers = Workers(lambda: 0.0)
    quick = {"pool": "cpu", "worker": 0, "child": 5, "task": "f", "done": 3, "failed": 1, "mean": 1.0, "max": 2.0}
    slow = {"pool": "cpu", "worker": 1, "child": 6, "task": None, "done": 1, "failed": 0, "mean": 5.0, "max": 5.0}
    workers.told("s1", "a@h", [quick, {**slow, "retried": 2}])
    workers.told("s2", "a@h", [{"pool": "gpu", "worker": 0, "child": None}])
    stats = worker_stats(workers.rows())
    assert stats["workers"][0] == {
        "node": "a@h",
        "pool": "cpu",
        "worker": 0,
        "state": "active",
        "done": 3,
        "failed": 1,
        "retried": 0,
        "mean": 1.0,
        "max": 2.0,
    }
    cpu, gpu = stats["pools"]
    assert cpu == {
        "node": "a@h",
        "pool": "cpu",
        "active": 1,
        "idle": 1,
        "starting": 0,
        "offline": 0,
        "done": 4,
        "failed": 1,
        "retried": 2,
        "mean": 2.0,
        "max": 5.0,
    }
    assert (gpu["starting"], gpu["done"], gpu["mean"], gpu["max"]) == (1, 0, 0.0, 0.0)
    (node,) = stats["nodes"]
    assert (node["active"], node["idle"], node["starting"], node["done"]) == (1, 1, 1, 4)
    assert worker_stats([]) == {"workers": [], "pools": [], "nodes": []}


def test_a_worker_is_offline_when_it_has_had_no_child_for_long() -> None:
    now = 0.0
    workers = Workers(lambda: now)

    def tell(session: str, child: int | None) -> None:
        workers.told(session, "a@h", [{"worker": 0, "child": child}])

    def states() -> list[str]:
        return [row["state"] for row in workers.rows()]

    tell("s", None)
    now = 4.0
    tell("s", None)
    tell("other", 7)
    assert states() == ["starting", "idle"]
    now = 5.0
    assert states() == ["offline", "idle"]
    assert [row["age"] for row in workers.rows()] == [1.0, 1.0]
    tell("s", 8)
    assert states() == ["idle", "idle"]
    tell("s", None)
    assert states() == ["starting", "idle"], "it counts from anew"
    workers.gone("s")
    assert states() == ["idle"]


def test_that_a_worker_has_gone_offline_is_told_once() -> None:
    now = 0.0
    workers = Workers(lambda: now)

    def tell(child: int | None) -> list[str]:
        workers.told("s", "a@h", [{"worker": "x", "child": child, "pool": "cpu"}, {"worker": "y", "child": 1}])
        return [f"{row['node']} {row['worker']}" for row in workers.newly_offline()]

    assert tell(None) == []
    now = 5.0
    assert tell(None) == ["a@h x"]
    assert tell(None) == []
    assert tell(7) == []
    assert tell(None) == []
    now = 10.0
    assert tell(None) == ["a@h x"], "it had a child meanwhile"
    assert [row["worker"] for row in workers.gone("s")] == ["y"], "of the other it was told before"
    assert workers.gone("s") == []
