"""What operators ask of a real queue server; the pools are the test."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from otpq.client.calls import Call, script_call
from otpq.client.errors import QueryFailed, SubmissionRefused, TaskNotFound
from otpq.client.questions import Selector
from otpq.core import effects as ef
from otpq.core import events as ev
from otpq.otp import Down, GenServer, Kill, Pid, call, cast, exit, monitor, state, stop
from otpq.queue.messages import OpenPool, PoolAnswer, PoolFacts, PoolOrder, Reload, Scale
from otpq.store.errors import StaleEpoch
from otpq.task import SCRIPT_HANDLER, Options
from tests.integration.queue.bench import SESSION, Bench

if TYPE_CHECKING:
    from pathlib import Path

    from otpq.client.client import Client
    from otpq.core.records import Changes


class FakePool(GenServer):
    """A pool that answers orders as its test says, or not at all."""

    def init(self, session: str, answer: dict[str, Any] | None) -> None:
        self._session, self._answer = session, answer
        self.orders: list[object] = []

    def handle_cast(self, request: Any) -> None:
        if isinstance(request, PoolOrder) and self._answer is not None:
            order = request.order
            cast("queue_server", (PoolAnswer(request.number, self._session, {**self._answer, "order": repr(order)}),))


def open_pool(
    bench: Bench, name: str, answer: dict[str, Any] | None = None, *, number: int = 1, dirs: tuple[str, ...] = ()
) -> Pid:
    session = f"a@127.0.0.1/{number}/{name}"
    pool = FakePool.start(session, answer, registry=bench.me.registry)
    opened = ev.SessionOpened(
        session=session,
        node="a@127.0.0.1",
        incarnation="1",
        queues=("default",),
        handlers={"mail": b"", SCRIPT_HANDLER: b""},
        pool=name,
        script_dirs=dirs,
    )
    open_session(bench, pool, opened)
    return pool


def open_session(bench: Bench, pool: Pid, opened: ev.SessionOpened) -> None:
    """Return when it is heard: what a client says could come before what was cast."""
    cast(bench.server, (OpenPool(pool, opened),))
    call(bench.server, ("status",))


# --- pools -----------------------------------------------------------------------------------------------------------


def test_pools_answer_orders(bench: Bench, client: Client) -> None:
    pools = [open_pool(bench, "cpu", {"pool": "cpu"}, number=n) for n in (1, 2)]
    pools.append(open_pool(bench, "gpu", {"pool": "gpu", "error": "it ends"}))
    assert client.scale("cpu", 3) == [{"pool": "cpu", "order": repr(Scale(3))}] * 2
    assert client.reload("cpu") == [{"pool": "cpu", "order": repr(Reload())}] * 2
    with pytest.raises(QueryFailed, match="pool 'gpu': it ends") as caught:
        client.reload()
    assert caught.value.code == "refused"
    with pytest.raises(QueryFailed, match="there is no pool 'cpus'; there are: cpu, gpu") as caught:
        client.scale("cpus", 3)
    assert caught.value.code == "no_pool"
    for pool in pools:
        stop(pool)


def test_a_pool_that_dies_before_it_has_answered_is_an_answer(bench: Bench, client: Client) -> None:
    silent = open_pool(bench, "cpu")
    open_pool(bench, "cpu", {"pool": "cpu"}, number=2)
    failures: list[str] = []

    def ask() -> None:
        try:
            client.reload("cpu")
        except QueryFailed as failed:
            failures.append(failed.code)

    asking = threading.Thread(target=ask)
    asking.start()
    while not bench_orders(bench):
        threading.Event().wait(0.01)
    exit(silent, Kill())
    asking.join(30)
    assert failures == ["pool_gone"]
    assert client.scale("cpu", 1) == [{"pool": "cpu", "order": repr(Scale(1))}]


def bench_orders(bench: Bench) -> int:
    return len(state(bench.server)["_pools"]._orders)


def test_statistics_of_workers(bench: Bench, client: Client) -> None:
    bench.open_pool()
    told = {
        "pool": "default",
        "worker": 0,
        "child": 7,
        "task": "mail",
        "done": 2,
        "failed": 1,
        "retried": 1,
        "mean": 0.5,
    }
    cast(bench.server, (PoolFacts(SESSION, [{**told, "max": 0.75}]),))
    while not (stats := client.worker_stats())["workers"]:
        threading.Event().wait(0.01)
    assert stats["nodes"] == [
        {
            "node": "a@127.0.0.1",
            "active": 1,
            "idle": 0,
            "starting": 0,
            "offline": 0,
            "done": 2,
            "failed": 1,
            "retried": 1,
            "mean": 0.5,
            "max": 0.75,
        }
    ]
    (worker,) = client.workers()
    assert (worker["node"], worker["state"]) == ("a@127.0.0.1", "active")


# --- queues and handlers ---------------------------------------------------------------------------------------------


def test_ten_tasks_under_a_limit_of_three_show_three_slots_in_use(bench: Bench, client: Client) -> None:
    opened = ev.SessionOpened(
        session=SESSION,
        node="a@127.0.0.1",
        incarnation="1",
        queues=("default",),
        handlers={"mail": ev_options(max_concurrency=3)},
    )
    open_session(bench, bench.me.pid, opened)
    client.submit_many(Call("mail", (n,)) for n in range(10))
    client.submit(Call("mail", (11,), {}, delay=3600))
    bench.ask(5)
    dispatched = [bench.effect(ef.Dispatch) for _ in range(3)]
    out = sum(len(dispatch.rows) for dispatch in dispatched)
    stats = client.queue_stats()["default"]
    assert (stats["slots_in_use"], stats["slots_available"]) == (3, 0)
    assert (stats["pending"], stats["delayed"], stats["blocked"]) == (1, 1, 0)
    assert (stats["queued"] + stats["running"], out) == (10, out)


def ev_options(**options: Any) -> bytes:
    return Options.of(**options).pack()


def test_a_queue_and_a_handler_are_paused_and_let_go_on(bench: Bench, client: Client) -> None:
    handle = client.submit(Call("mail", (1,)))
    client.pause("default", why="the shop is closed")
    client.pause(handler="mail")
    (queue,) = client.queues()
    assert (queue["queue"], queue["paused"], queue["queued"]) == ("default", True, 1)
    (handler,) = [each for each in client.handlers() if each["handler"] == "mail"]
    assert handler["paused"]
    why = client.why(handle.id)
    assert why is not None
    assert (why["code"], why["facts"]["queue"], why["facts"]["handler"]) == ("paused", "default", "mail")
    client.resume("default")
    client.resume(handler="mail")
    (queue,) = client.queues()
    assert not queue["paused"]
    bench.open_pool()
    bench.ask(1)
    assert bench.effect(ef.Dispatch).rows[0].id.hex() == handle.id


def test_a_paused_queue_without_tasks_is_told_of_too(bench: Bench, client: Client) -> None:  # noqa: ARG001 - the server
    client.pause("empty")
    (queue,) = client.queues()
    assert (queue["queue"], queue["paused"], queue["queued"]) == ("empty", True, 0)


def test_what_selects_is_cancelled_with_the_grace_that_was_given(bench: Bench, client: Client) -> None:
    waiting = [client.submit(Call("mail", (n,), {}, delay=3600)) for n in range(3)]
    running = client.submit(Call("mail", (3,)))
    bench.open_pool()
    bench.ask(1)
    bench.effect(ef.Dispatch)
    cancelled: list[int] = []
    asking = threading.Thread(target=lambda: cancelled.append(client.cancel(Selector(name="mail"), grace=1.5)))
    asking.start()
    order = bench.effect(ef.CancelRunning)
    assert order.grace == 1.5
    cast(bench.server, (ev.Cancelling(session=SESSION, lease=order.lease, seq=order.seq),))
    asking.join(30)
    assert cancelled == [4]
    assert {handle.state for handle in waiting} == {"cancelled"}
    assert running.state == "queued"
    with pytest.raises(TaskNotFound):
        client.cancel("0" * 32)


# --- scripts ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    directory = tmp_path / "scripts"
    directory.mkdir()
    (directory / "job.py").write_text("")
    return directory


def test_a_script_is_accepted_where_some_pool_may_run_it(bench: Bench, client: Client, scripts: Path) -> None:
    pool = open_pool(bench, "scripts", dirs=(str(scripts),))
    task = client.submit_script(scripts / "job.py", ["x"], retries=0).task()
    assert (task.name, task.args, task.kwargs["args"]) == (SCRIPT_HANDLER, (str(scripts / "job.py"),), ["x"])
    for path, words in (("/etc/passwd", "lies in no directory"), (scripts / "none", "No such file"), ("a", "absolute")):
        with pytest.raises(SubmissionRefused, match=words) as caught:
            client.submit_script(path)
        assert (caught.value.code, caught.value.field) == ("bad_path", "path")
        assert f"scripts may lie in {scripts}" in str(caught.value)
    stop(pool)
    with pytest.raises(SubmissionRefused, match="--script-dir"):  # noqa: PT012 - the pool's end is heard a moment later
        while True:
            client.submit_script(scripts / "job.py")


def test_a_pool_that_drains_runs_no_script_any_more(bench: Bench, client: Client, scripts: Path) -> None:
    open_pool(bench, "scripts", dirs=(str(scripts),))
    client.submit_script(scripts / "job.py")
    cast(bench.server, (ev.SessionClosed(session="a@127.0.0.1/1/scripts"),))
    call(bench.server, ("status",))
    with pytest.raises(SubmissionRefused, match="--script-dir"):
        client.submit_script(scripts / "job.py")


def test_scripts_beside_other_tasks_are_refused_alone_or_with_their_chunk(
    bench: Bench, client: Client, scripts: Path
) -> None:
    open_pool(bench, "scripts", dirs=(str(scripts),))
    good, wrong = script_call(scripts / "job.py"), script_call("/etc/passwd")
    with pytest.raises(SubmissionRefused, match="lies in no directory"):
        client.submit_many([Call("mail", (1,)), good, wrong])
    assert client.counts() == {}
    receipts = [client.submit_soon(call) for call in (Call("mail", (1,)), wrong, good)]
    assert receipts[0].handle().id
    assert receipts[2].handle().id
    with pytest.raises(SubmissionRefused):
        receipts[1].handle()
    assert client.counts()["default"]["queued"] == 2


def test_a_script_that_was_accepted_is_accepted_again_though_its_pool_is_gone(bench: Bench, scripts: Path) -> None:
    stop(bench.server)
    make = bench.open_store

    class Lost:
        """A store with which the queue server ends after its commit, so that the client hears nothing of it."""

        def __init__(self) -> None:
            self._real = make()

        def __getattr__(self, name: str) -> Any:
            return getattr(self._real, name)

        def commit(self, changes: Changes) -> None:
            self._real.commit(changes)
            if changes.inserts:
                raise StaleEpoch(1, 2)

    bench.open_store = Lost
    server = bench.start()
    pool = open_pool(bench, "scripts", dirs=(str(scripts),))
    with bench.connect() as client:
        monitor(server)
        receipt = client.submit_soon(script_call(scripts / "job.py"))
        while not isinstance(bench.me.receive(30), Down):  # told when the store is let go
            pass
        bench.open_store = make
        bench.start()
        assert receipt.handle(30).state == "queued"
        with pytest.raises(SubmissionRefused, match="--script-dir"):
            client.submit_script(scripts / "job.py")
    stop(pool)
