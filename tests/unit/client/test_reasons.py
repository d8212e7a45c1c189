"""Each reason in a sentence."""

from __future__ import annotations

import re
from typing import Any

import pytest

from otpq.client.reasons import in_words

ID, OTHER = "ab" * 16, "cd" * 16
CPU = {"node": "a@h", "pool": "cpu", "queues": ["q", "r"]}
PLACE = {"node": "a@h", "incarnation": "a1", "pool": "cpu", "cancelling": False}
HELD = {"held_by": [ID], "tasks": 1}
NOWHERE: dict[str, list[Any]] = {"there": [CPU], "elsewhere": []}


def said(code: str, **facts: Any) -> str:
    """With `T` for any time."""
    return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d", "T", in_words({"code": code, "facts": facts}))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-1.0, "now"), (3.25, "in 3.25 s"), (59.9, "in 59.9 s"), (60.0, "in 1 min 0 s"), (3599.0, "in 59 min 59 s"),
     (7260.0, "in 2 h 1 min"), (90_000.0, "in 1 d 1 h")],
)  # fmt: skip
def test_not_due(seconds: float, words: str) -> None:
    assert said("not_due", due=1e9, seconds=seconds, state="pending") == f"not_due: not due until T ({words})"


def test_retrying() -> None:
    facts = {"due": 1e9, "seconds": 2.0, "state": "retrying", "attempt": 1, "runs": 4}
    assert said("not_due", **facts, reason="error", error="ValueError: no") == (
        "not_due: run 2 of 4 is not due until T (in 2 s); the last one ended (error): ValueError: no"
    )


def test_paused() -> None:
    facts = {"by": "ann@h", "why": "closed", "since": 1e9}
    assert said("paused", queue="q", handler=None, **facts) == "paused: queue 'q' is paused by ann@h since T: closed"
    assert said("paused", queue="q", handler="f", by="", why="", since=None) == (
        "paused: queue 'q' and handler 'f' are paused"
    )


def test_handler_limit() -> None:
    facts = {"handler": "f", "used": 3, "limit": 3, "limit_from": "set"}
    taken = "handler_limit: all slots of handler 'f' are taken, 3 of 3"
    assert said("handler_limit", **facts, **HELD) == f"{taken}; held by {ID}"
    assert said("handler_limit", **facts, held_by=[ID, OTHER], tasks=3) == f"{taken}; held by {ID}, {OTHER} and 1 other"
    assert said("handler_limit", **facts, held_by=[], tasks=0) == taken


def test_no_handler() -> None:
    facts = {"handler": "mial", "queue": "q", "pools": 1}
    who = "no_handler: no pool that serves queue 'q' has a handler 'mial'; asked were pool cpu on a@h (queues q, r)"
    assert said("no_handler", **facts, **NOWHERE, nearest=None) == who
    assert said("no_handler", **facts, **NOWHERE, nearest="mail") == f"{who}; did you mean 'mail'?"
    elsewhere = {"node": "b@h", "pool": "gpu", "queues": ["g"]}
    assert said("no_handler", **facts, there=[CPU], elsewhere=[elsewhere], nearest=None) == (
        f"{who}; it is in pool gpu on b@h (queues g)"
    )


def test_no_memory() -> None:
    room = {"free": 300.0, "capacity": 1000.0, "node": "a@h"}
    free = "a@h, the largest node, has 300 of 1,000 MiB free"
    assert said("no_memory", needs=512.0, **room, **HELD) == f"no_memory: it needs 512 MiB, and {free}; held by {ID}"
    assert said("no_memory", needs=512.0, behind=OTHER, **room, held_by=[], tasks=0) == (
        f"no_memory: it waits behind task {OTHER}, which needs 512 MiB, and {free}"
    )


def test_no_worker() -> None:
    facts = {"queue": "q", "demand": 0}
    assert said("no_worker", **facts, pools=0, waiting=1, there=[]) == (
        "no_worker: no worker serves queue 'q'; there is no pool at all"
    )
    assert said("no_worker", **facts, pools=0, waiting=1, there=[CPU]) == (
        "no_worker: no worker serves queue 'q'; there are pool cpu on a@h (queues q, r)"
    )
    busy = "no_worker: no worker that serves queue 'q' is free"
    assert said("no_worker", **facts, pools=1, waiting=1, there=[CPU]) == f"{busy}; 1 task waits in it"
    workers = {"active": 2, "idle": 0, "starting": 1}
    assert said("no_worker", **facts, pools=1, waiting=2, there=[CPU], workers=workers) == (
        f"{busy} (2 active, 1 starting); 2 tasks wait in it"
    )


def test_assigned() -> None:
    at = "a@h (incarnation a1), pool cpu"
    waits = {**PLACE, "running": False}
    assert said("assigned", **waits, position=0, behind=None) == f"assigned: assigned to {at}, with none in front of it"
    assert said("assigned", **waits, position=3, behind=OTHER) == (
        f"assigned: assigned to {at}, behind task {OTHER}, 3 in front of it"
    )
    runs = {**PLACE, "running": True}
    assert said("assigned", **runs) == f"assigned: runs on {at}"
    assert said("assigned", **runs, worker=0, child=77, since=1e9, node_state="up") == (
        f"assigned: runs on {at}, worker 0 (pid 77), since T"
    )
    assert said("assigned", **{**runs, "cancelling": True}, node_state="suspected") == (
        f"assigned: runs on {at}; that node is suspected, and keeps its leases until its death is proven or they are over; "
        "it is being cancelled"
    )


def test_a_code_of_a_newer_node_is_told_with_its_facts() -> None:
    assert said("rate_limit", rate=3, key="k") == "rate_limit: rate 3, key k"
    assert said("blocked") == "blocked"
