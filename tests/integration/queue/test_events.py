"""What a real queue server tells of what happens; the pools are the test."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from otpq.client.calls import Call
from otpq.client.errors import QueryFailed, StoreFull
from otpq.core import effects as ef
from otpq.core import events as ev
from otpq.otp import Kill, cast, exit, stop
from otpq.queue import stats
from otpq.queue.messages import PoolFacts
from otpq.store.errors import CommitRefused
from tests.integration.queue.bench import SESSION, Bench
from tests.integration.queue.test_operators import open_pool
from tests.integration.queue.test_queue_server import Refusing

if TYPE_CHECKING:
    from otpq.client.client import Client
    from otpq.client.events import Event


def kinds(events: list[Event]) -> list[str]:
    return [event.kind for event in events]


def since(client: Client, event: Event) -> list[Event]:
    return list(client.events(event.cursor))


def test_the_life_of_tasks_is_told_while_somebody_asks(bench: Bench, client: Client) -> None:
    bench.open_pool()
    client.submit(Call("echo", (0,)))
    (gap,) = client.events()
    assert (gap.kind, gap.facts["why"]) == ("gap", "unwatched")
    good, bad, later, old = client.submit_many(
        [
            Call("echo", (1,), queue="default"),
            Call("task", (2,), retries=0),
            Call("mail", delay=3600),
            Call("over", delay=0.01, expires=0.02, queue="elsewhere"),
        ]
    )
    later.cancel()
    with pytest.raises(Exception, match="expired"):
        old.get(30)
    bench.ask(3)
    done = 0
    while done < 3:  # the one that nobody saw is the third
        dispatch = bench.effect(ef.Dispatch)
        done += len(dispatch.rows)
        cast(
            bench.server, (ev.Results(session=SESSION, lease=dispatch.lease, results=list(map(ended, dispatch.rows))),)
        )
    good.get(30)
    assert bad.failed or client.wait([bad], 30)
    told = since(client, gap)
    assert [(event.kind, event.facts["name"]) for event in told[:5]] == [
        ("submitted", "echo"),
        ("submitted", "task"),
        ("submitted", "mail"),
        ("submitted", "over"),
        ("cancelled", "mail"),
    ]
    of = {(event.kind, event.facts["id"]): event.facts for event in told}
    assert of["started", good.id]["attempt"] == 1
    assert of["succeeded", good.id] == {"id": good.id, "name": "echo", "queue": "default", "attempt": 1}
    assert of["expired", old.id]["queue"] == "elsewhere"
    failed = of["failed", bad.id]
    assert (failed["reason"], failed["error"], failed["attempt"]) == ("error", "KeyError: no", 1)
    assert [event.number for event in told] == list(range(gap.number + 1, gap.number + 1 + len(told)))


def ended(row: Any) -> ev.Result:
    if row.name == "task":
        return ev.Failed(row.seq, "error", b"\x93\xa8KeyError\xa2no\xa0", 1.0, 2.0)
    return ev.Succeeded(row.seq, b"\xc0", 1.0, 2.0)


def test_what_runs_and_how_far_it_is_is_told_while_somebody_asks(bench: Bench, client: Client) -> None:
    bench.open_pool()
    (gap,) = client.events()
    handle = client.submit(Call("echo", (1,)))
    bench.ask(1)
    dispatch = bench.effect(ef.Dispatch)
    seq, lease = dispatch.rows[0].seq, dispatch.lease
    cast(bench.server, (ev.Running(session=SESSION, seqs=frozenset({seq, 77})),))
    cast(bench.server, (ev.Progressed(session=SESSION, lease=lease, seq=seq, fraction=0.5, message="half"),))
    cast(bench.server, (ev.Results(session=SESSION, lease=lease, results=[ended(dispatch.rows[0])]),))
    handle.get(30)
    submitted, started, progress, succeeded = since(client, gap)
    assert kinds([submitted, started, progress, succeeded]) == ["submitted", "started", "progress", "succeeded"]
    assert (started.facts["id"], started.facts["attempt"]) == (handle.id, 1)
    assert (progress.facts["fraction"], progress.facts["message"]) == (0.5, "half")


def test_a_run_that_is_shown_no_more_with_its_result_has_begun_once(bench: Bench, client: Client) -> None:
    bench.open_pool()
    (gap,) = client.events()
    handle = client.submit(Call("echo", (1,)))
    bench.ask(1)
    dispatch = bench.effect(ef.Dispatch)
    seq, lease = dispatch.rows[0].seq, dispatch.lease
    cast(bench.server, (ev.Running(session=SESSION, seqs=frozenset({seq})),))
    while handle.state != "running":
        pass
    results = ev.Results(session=SESSION, lease=lease, results=[ended(dispatch.rows[0])])
    cast(bench.server, (results, ev.Running(session=SESSION, seqs=frozenset())))
    handle.get(30)
    assert kinds(since(client, gap)) == ["submitted", "started", "succeeded"]


def test_a_worker_whose_child_does_not_start_again_is_told_once(
    bench: Bench, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stats, "OFFLINE_AFTER", 0.0)  # else five seconds
    bench.open_pool()
    facts = PoolFacts(SESSION, [{"pool": "default", "worker": "default/0", "child": None, "error": "no app"}])
    cast(bench.server, (facts, facts))
    while not (told := [event for event in client.events() if event.kind == "worker_offline"]):
        pass
    cast(bench.server, (facts,))
    assert client.health()["node"]  # it has heard of it
    (event,) = told
    assert event.facts == {
        **event.facts,
        "pool": "default",
        "worker": "default/0",
        "why": "no_child",
        "error": "no app",
    }
    assert [each.kind for each in client.events(event.cursor) if each.kind != "gap"] == []


def test_only_what_is_asked_for_is_told(bench: Bench, client: Client) -> None:
    bench.open_pool()
    (gap,) = client.events()
    mail, _ = client.submit_many([Call("echo", (1,)), Call("task", (2,), queue="other")])
    client.pause("other")

    def told(**wanted: Any) -> list[str]:
        return [f"{event.kind} {event.facts.get('name')}" for event in client.events(gap.cursor, **wanted)]

    assert told(kinds="paused") == ["paused None"]
    assert told(name="ec*") == told(ids=mail.id) == ["submitted echo"]
    assert told(queue="other") == ["submitted task", "paused None"]
    assert told(node="nowhere") == []
    assert [event.kind for event in client.events(kinds=["failed"])] == ["gap"]
    with pytest.raises(QueryFailed, match="'retrying' is no kind of event; did you mean 'retried'"):
        told(kinds=["retrying"])


def test_what_operators_do_is_told_though_nobody_asked(bench: Bench, client: Client) -> None:
    pool = open_pool(bench, "cpu", {"pool": "cpu", "workers": 3})
    client.pause("mail", why="the shop is closed")
    client.resume(handler="mail.send")
    client.scale("cpu", 3)
    client.reload()
    with pytest.raises(QueryFailed):
        client.scale("gpu", 1)  # it was not done
    stop(pool)
    paused, resumed, scaled, reloaded, gap = client.events()
    assert kinds([paused, resumed, scaled, reloaded, gap]) == ["paused", "resumed", "scaled", "reloaded", "gap"]
    assert (paused.facts["queue"], paused.facts["why"]) == ("mail", "the shop is closed")
    assert "@" in paused.facts["by"]
    assert resumed.facts["handler"] == "mail.send"
    assert (scaled.facts["pool"], scaled.facts["workers"], scaled.facts["answers"][0]["workers"]) == ("cpu", 3, 3)
    assert reloaded.facts["pool"] is None


def test_trouble_with_the_store_is_told_and_its_end_and_nothing_that_was_not_done(bench: Bench) -> None:
    stop(bench.server)
    stores: list[Refusing] = []
    make = bench.open_store

    def open_refusing() -> Any:
        stores.append(Refusing(make()))
        return stores[-1]

    bench.open_store = open_refusing
    bench.start()
    with bench.connect() as client:
        (gap,) = client.events()
        stores[0].error = CommitRefused("full", "disk full")
        with pytest.raises(StoreFull):
            client.submit(Call("echo", (2,)))
        (trouble,) = since(client, gap)
        assert (trouble.kind, trouble.facts["code"]) == ("store_trouble", "store_full")
        stores[0].error = None
        assert next(client.events(trouble.cursor, follow=True)).kind == "store_well"


def test_a_new_queue_server_is_noticed(bench: Bench, client: Client) -> None:
    (before,) = client.events()
    exit(bench.server, Kill())
    bench.start()
    client.wait_connected(10)
    restarted, gap = client.events(before.cursor)
    assert [restarted.facts["why"], gap.facts["why"]] == ["restarted", "unwatched"]


def test_who_follows_hears_of_what_comes(bench: Bench, client: Client) -> None:  # noqa: ARG001 - the server
    heard: list[Event] = []
    has_gap = threading.Event()

    def follow() -> None:
        for event in client.events(follow=True):
            heard.append(event)
            has_gap.set()
            if event.kind == "submitted":
                return

    following = threading.Thread(target=follow)
    following.start()
    assert has_gap.wait(30)
    client.submit(Call("echo", (1,)))
    following.join(30)
    assert kinds(heard) == ["gap", "submitted"]


def test_a_cursor_that_is_none_is_an_error(bench: Bench, client: Client) -> None:  # noqa: ARG001 - the server
    with pytest.raises(QueryFailed, match="after='x' is not the `cursor` of an event"):
        list(client.events("x"))
