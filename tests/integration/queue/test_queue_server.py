"""The queue server with a real client on a real socket and a real store; the pool is the test."""

import threading
from typing import Any

import msgpack
import pytest
import zmq

from otpq.client.calls import Call
from otpq.client.client import Client
from otpq.client.errors import StoreFull, StoreUnavailable, TaskNotFound
from otpq.core import effects as ef
from otpq.core import events as ev
from otpq.core.records import Changes
from otpq.otp import Distribution, Down, GenServer, Kill, NoConnection, cast, exit, monitor, stop
from otpq.queue.messages import PoolFacts
from otpq.store.errors import CommitRefused, CommitUnknown
from otpq.task import TaskState
from tests.integration.queue.bench import SESSION, Bench


def test_a_task_is_submitted_dispatched_and_its_result_pushed(bench: Bench, client: Client) -> None:
    handle = client.submit(Call("echo", ("hello",)))
    assert handle.state == TaskState.QUEUED
    bench.open_pool()
    bench.ask(1)
    dispatch = bench.effect(ef.Dispatch)
    assert [row.name for row in dispatch.rows] == ["echo"]
    bench.succeed(dispatch)
    assert handle.get(timeout=10) == ["hello"]
    assert bench.effect(ef.Committed).lease == dispatch.lease
    assert client.counts()["default"]["succeeded"] == 1


def test_a_result_that_waits_for_others_is_told_though_they_never_come(bench: Bench, client: Client) -> None:
    bench.open_pool()
    first = client.submit(Call("echo", (1,)))
    bench.ask(1)
    bench.succeed(bench.effect(ef.Dispatch), finished=1.002)
    assert first.get(10) == [1]
    second = client.submit(Call("echo", (2,)))
    bench.ask(3)
    dispatch = bench.effect(ef.Dispatch)
    client.submit(Call("echo", (3,)))
    bench.effect(ef.Dispatch)
    bench.succeed(dispatch, finished=1.002)  # the other's is due in 2 ms, for all that is known
    assert second.get(4) == [2]  # before the client's ping, which would wake the server, at 5 s


def test_what_was_acknowledged_outlives_the_queue_server(bench: Bench, client: Client) -> None:
    handles = client.submit_many(Call("echo", (n,)) for n in range(50))
    stop(bench.server)
    bench.start()
    client.wait_connected(10)
    assert client.counts()["default"]["queued"] == 50
    bench.open_pool()
    done = 0
    asked = 0
    while done < 50:
        asked += 1
        bench.ask(asked)
        dispatch = bench.effect(ef.Dispatch)
        bench.succeed(dispatch)
        done += len(dispatch.rows)
    assert [handle.get(timeout=10) for handle in handles] == [[n] for n in range(50)]


def test_a_lease_outlives_a_crash_of_the_queue_server(bench: Bench, client: Client) -> None:
    handle = client.submit(Call("echo", (1,)))
    bench.open_pool()
    bench.ask(1)
    dispatch = bench.effect(ef.Dispatch)
    stop(bench.server)
    bench.start()
    bench.open_pool()
    bench.succeed(dispatch)
    assert handle.get(timeout=10) == [1]
    assert handle.task().attempt == 1


def test_a_task_can_be_listed_shown_and_cancelled(bench: Bench, client: Client) -> None:  # noqa: ARG001 - the server
    handle = client.submit(Call("echo", (1,), {}, tags=["t"], title="one"))
    (task,) = client.tasks()
    assert (task.id, task.title, task.tags, task.state) == (handle.id, "one", ("t",), TaskState.QUEUED)
    assert client.cancel(handle.id) == "cancelled"
    assert client.get_task_status(handle.id).state == TaskState.CANCELLED
    assert client.cancel(handle.id) == "too_late"


def test_an_idempotency_key_gives_the_task_that_is_there(bench: Bench, client: Client) -> None:  # noqa: ARG001
    first = client.submit(Call("echo", (1,), {}, idempotency_key="k"))
    assert client.submit(Call("echo", (2,), {}, idempotency_key="k")).id == first.id
    assert client.counts()["default"]["queued"] == 1


def test_why_says_what_holds_a_task_up_now(bench: Bench, client: Client) -> None:
    later = client.submit(Call("echo", (1,), {}, delay=3600))
    why = client.why(later.id)
    assert why is not None
    assert why["code"] == "not_due"
    assert 3500 < why["facts"]["seconds"] <= 3600
    waiting = client.submit(Call("echo", (1,)))
    assert client.why(waiting.id) == {
        "code": "no_worker",
        "facts": {"queue": "default", "pools": 0, "demand": 0, "waiting": 1, "there": []},
    }
    client.pause("default")
    paused = client.why(waiting.id)
    assert paused is not None
    assert paused["code"] == "paused"
    assert {**paused["facts"], "queue": "default", "handler": None} == paused["facts"]
    client.resume("default")
    bench.open_pool()
    bench.ask(1)
    dispatch = bench.effect(ef.Dispatch)
    assigned = client.why(waiting.id)
    assert assigned is not None
    assert (assigned["code"], assigned["facts"]["session"]) == ("assigned", SESSION)
    assert (assigned["facts"]["node_state"], assigned["facts"]["running"]) == ("up", False)
    seq = dispatch.rows[0].seq
    told = PoolFacts(SESSION, [{"worker": 3, "child": 77, "seq": seq, "since": 12.5}])
    cast(bench.server, (ev.Running(session=SESSION, seqs=frozenset({seq})), told))
    while not (running := (client.why(waiting.id) or {})["facts"])["running"]:
        threading.Event().wait(0.01)
    assert {**running, "worker": 3, "child": 77, "since": 12.5} == running
    bench.succeed(dispatch)
    waiting.get(timeout=10)
    assert client.why(waiting.id) is None
    with pytest.raises(TaskNotFound):
        client.why("0" * 32)


def test_what_a_pool_tells_of_its_workers_has_an_age_and_ends_with_it(bench: Bench, client: Client) -> None:
    bench.open_pool()
    cast(bench.server, (PoolFacts(SESSION, [{"worker": 0}]),))
    while not (workers := client.workers()):
        threading.Event().wait(0.01)
    assert [(worker["worker"], worker["age"] >= 0) for worker in workers] == [(0, True)]
    pool = Deaf.start(registry=bench.me.registry)
    bench.open_pool(pool)
    cast(bench.server, (PoolFacts(SESSION, [{"worker": 1}]),))
    while [worker["worker"] for worker in client.workers()] != [1]:
        threading.Event().wait(0.01)
    stop(pool)
    while client.workers():
        threading.Event().wait(0.01)


class Deaf(GenServer):
    """A pool that obeys nothing."""

    def init(self) -> None:
        pass

    def handle_cast(self, request: Any) -> None:
        pass


class Refusing:
    """A store that refuses as it is told."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self.error: Exception | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def commit(self, changes: Changes) -> None:
        if self.error is not None:
            raise self.error
        self._real.commit(changes)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (CommitRefused("full", "disk full"), StoreFull),
        (CommitRefused("read_only", "attempt to write a readonly database"), StoreUnavailable),
        (CommitRefused("constraint", "x"), StoreUnavailable),
    ],
)
def test_a_store_that_refuses_degrades_the_node_until_it_works_again(
    bench: Bench, error: Exception, kind: type[Exception]
) -> None:
    stop(bench.server)
    stores: list[Refusing] = []
    make = bench.open_store

    def open_refusing() -> Any:
        stores.append(Refusing(make()))
        return stores[-1]

    bench.open_store = open_refusing
    bench.start()
    with bench.connect() as client:
        client.submit(Call("echo", (1,)))
        stores[0].error = error
        with pytest.raises(kind):
            client.submit(Call("echo", (2,)))
        health = client.health()
        assert (health["ok"], health["why"].split(";")[0]) == (False, str(error).split(";")[0])
        with pytest.raises(kind, match="nothing was written"):
            client.submit(Call("echo", (2,)))
        stores[0].error = None
        while not client.health()["ok"]:
            threading.Event().wait(0.05)
        handle = client.submit(Call("echo", (3,)))
        assert handle.state == TaskState.QUEUED
        assert client.counts()["default"]["queued"] == 2


def test_damage_is_not_tried_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otpq.queue.engine.PROBE", 0.01)
    stop(bench.server)
    make, stores = bench.open_store, list[Refusing]()
    bench.open_store = lambda: stores.append(Refusing(make())) or stores[-1]  # type: ignore[func-returns-value]
    bench.start()
    with bench.connect() as client:
        stores[0].error = CommitRefused("damaged", "a page is torn")
        with pytest.raises(StoreUnavailable, match=r"a page is torn.*otpq check"):
            client.submit(Call("echo", (1,)))
        stores[0].error = None
        for _ in range(20):
            assert client.health()["store"] == "store_damaged"
            threading.Event().wait(0.01)


def test_a_commit_of_unknown_fate_that_was_made_is_acknowledged(bench: Bench) -> None:
    stop(bench.server)
    make = bench.open_store

    class Doubtful(Refusing):
        def commit(self, changes: Changes) -> None:
            self._real.commit(changes)
            if changes.inserts:
                raise CommitUnknown(self._real.last_commit(), "the cable")

    bench.open_store = lambda: Doubtful(make())
    bench.start()
    with bench.connect() as client:
        assert client.submit(Call("echo", (1,))).state == TaskState.QUEUED


def test_garbage_is_counted_and_harms_nobody(bench: Bench, client: Client) -> None:
    keys, server_keys = bench.cookie.client_keys(), bench.cookie.server_keys()
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.linger = 0
        socket.curve_serverkey = server_keys.public
        socket.curve_publickey, socket.curve_secretkey = keys.public, keys.secret
        socket.connect(f"tcp://127.0.0.1:{bench.port}")
        for data in (b"\xc1", b"", b"\x93\x01\x02", msgpack.packb([4, 1, []]), msgpack.packb([14, 1])):
            socket.send(data)
        while sum(client.stats()["faults"].values()) < 5:
            threading.Event().wait(0.02)
    faults = client.stats()["faults"]
    assert faults["unknown_session"] == 1  # a ping before any hello
    assert client.submit(Call("echo", (1,))).state == TaskState.QUEUED


def test_a_killed_queue_server_gives_way_to_its_successor(bench: Bench, client: Client) -> None:
    client.submit(Call("echo", (1,)))
    exit(bench.server, Kill())
    bench.start()
    client.wait_connected(10)
    assert client.counts()["default"]["queued"] == 1


def test_a_queue_server_that_starts_again_has_no_connection_of_the_one_before(bench: Bench) -> None:
    distribution = Distribution("a@h", bench.me.registry, lambda _node, _signal: True)
    distribution.node_up("b@h")
    ref = monitor(("pool default", "b@h"))
    stop(bench.server)
    bench.start()
    assert distribution.nodes() == []
    assert bench.me.receive(30.0) == Down(ref, ("pool default", "b@h"), NoConnection())
