"""How the settings of pools are read."""

from __future__ import annotations

import os

import pytest

from otpq.errors import BadOption, UsageError
from otpq.node.pools import PoolSettings, workers_of

CPUS = os.cpu_count() or 1
MANY = None if CPUS == 1 else CPUS


@pytest.mark.parametrize(
    ("text", "workers"),
    [
        ("0", (0, None)),
        ("4", (4, None)),
        ("1..4", (1, 4)),
        ("4..4", (4, None)),
        ("CPUS", (CPUS, None)),
        ("1..CPUS", (1, MANY)),
        ("1 .. cpus", (1, MANY)),
    ],
)
def test_workers_are_a_number_or_a_range(text: str, workers: tuple[int, int | None]) -> None:
    assert workers_of(text) == workers


@pytest.mark.parametrize("text", ["", "-1", "2.5", "4..1", "1..", "..4", "1..2..3", "1...4", "many", "1..CPU"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(BadOption, match=r"a range such as 1\.\.CPUS"):
        workers_of(text)


def test_a_pool_is_a_name_and_words() -> None:
    assert PoolSettings.parse("io: queues=a|b, executor=thread, parallel=4, min=1, max=3, tags=x|y") == PoolSettings(
        name="io", queues=("a", "b"), executor="thread", parallel=4, least=1, most=3, tags=("x", "y")
    )
    assert PoolSettings.parse("io").queues == ("default",)
    recycled = PoolSettings.parse("io:recycle=100,recycle_memory=1G")
    assert (recycled.recycle_tasks, recycled.recycle_memory) == (100, 1024.0)
    never = PoolSettings.parse("io:recycle=none,recycle_memory=none")
    assert (never.recycle_tasks, never.recycle_memory) == (None, None)
    assert PoolSettings(queues=("q",), least=3).with_words("workers=0..2") == PoolSettings(
        queues=("q",), least=0, most=2
    )


@pytest.mark.parametrize(
    ("executor", "parallel", "at_a_time"),
    [("process", None, 1), ("script", 1, 1), ("thread", None, 8), ("async", None, 100), ("async", 3, 3)],
)
def test_how_many_tasks_a_child_runs_follows_from_its_executor(
    executor: str, parallel: int | None, at_a_time: int
) -> None:
    assert PoolSettings(executor=executor, parallel=parallel).at_a_time == at_a_time


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a b", "pool='a b' is not allowed: a name of letters"),
        (":min=1", "pool='' is not allowed"),
        ("io:executor=fiber", "executor='fiber' is not allowed: process, thread, async, script"),
        ("io:excutor=thread", "did you mean 'executor'?"),
        ("io:executor", "executor='executor' is not allowed: executor=VALUE"),
        ("io:parallel=2", "parallel=2 is not allowed: 1: the executor 'process' runs one task at a time"),
        ("io:executor=thread,parallel=0", "parallel=0 is not allowed: a whole number, 1 to 1000"),
        ("io:executor=thread,parallel=1001", "parallel=1001 is not allowed"),
        ("io:min=x", "workers=-1 is not allowed: a whole number, 0 or more"),
        ("io:min=3,max=2", "max=2 is not allowed: a whole number, 1 or more and not below min (3)"),
        ("io:min=0,max=0", "max=0 is not allowed"),
        ("io:recycle=0", "recycle=0 is not allowed: a whole number of tasks, 1 or more, or none"),
        ("io:recycle_memory=much", "memory='much' is not allowed"),
        ("io:queues=", "queue='' is not allowed"),
        ("io:queues=a|a", "queues=('a', 'a') is not allowed: one or more names, each once"),
    ],
)
def test_a_pool_that_cannot_be_right_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        PoolSettings.parse(text)
    assert said in str(caught.value)
