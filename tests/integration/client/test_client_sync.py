from __future__ import annotations

import asyncio
import threading
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from otpq.client.calls import Call
from otpq.client.errors import (
    ClientClosed,
    NotAnswered,
    QueryFailed,
    QueueFull,
    SubmissionRefused,
    TaskCancelled,
    TaskFailed,
    TaskNotFound,
    WaitTimeout,
)
from otpq.client.questions import Question, Selector
from otpq.errors import OtpqError, UsageError
from otpq.task import LogLine, TaskState
from otpq.wire import verbs
from otpq.wire.messages import Refusal
from otpq.wire.values import BadValue, unpack
from tests.integration.client.fake_server import LONG, FakeServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.client.client import Client

FULL = Refusal(
    0, "queue_full", "the queue 'default' has 10 tasks, as many as it may", facts={"queue": "default", "size": 10}
)


def test_a_result_comes_back(client: Client) -> None:
    handle = client.submit(Call("ok", (["a", {"b": 1}],)))
    assert handle.get(LONG) == ["a", {"b": 1}]
    assert handle.state is TaskState.SUCCEEDED
    assert (handle.ready, handle.successful, handle.failed) == (True, True, False)


def test_submit_task_takes_a_name_a_call_or_a_map(client: Client) -> None:
    assert client.submit_task("ok", 1).get(LONG) == 1
    assert client.submit_task(Call("ok", (2,))).get(LONG) == 2
    assert client.submit_task({"job": "ok", "params": [3], "priority": "high"}).get(LONG) == 3


def test_a_task_is_in_the_store_when_submit_returns(client: Client, server: FakeServer) -> None:
    handle = client.submit(Call("waits", (7,), {"x": 8}, queue="slow", tags=["a", "b"]))
    task = client.get_task_status(handle.id)
    assert bytes.fromhex(handle.id) in server.tasks
    assert (task.name, task.args, task.kwargs, task.queue) == ("waits", (7,), {"x": 8}, "slow")
    assert task.tags == ("a", "b")
    assert task.history[0].target is TaskState.QUEUED
    assert not handle.ready


def test_a_result_that_comes_later_is_waited_for(client: Client, server: FakeServer) -> None:
    handle = client.submit(Call("waits"))
    with pytest.raises(WaitTimeout) as caught:
        handle.get(0.01)
    assert caught.value.pending == [handle]
    got: list[Any] = []
    waiting = threading.Thread(target=lambda: got.append(handle.get(LONG)))
    waiting.start()
    server.finish(handle.id, "late")
    waiting.join()
    assert got == ["late"]


def test_a_large_result_is_fetched(client: Client, server: FakeServer) -> None:
    assert len(client.submit(Call("big")).get(LONG)) == 100_000
    assert server.seen["Fetch"] == 1


def test_a_failure_has_the_childs_traceback(client: Client) -> None:
    with pytest.raises(TaskFailed, match="no such user") as caught:
        client.submit(Call("fail")).get(LONG)
    assert 'File "app.py", line 7, in fail' in str(caught.value)
    assert caught.value.reason == "error"
    assert caught.value.error is not None
    assert caught.value.error.type == "ValueError"


def test_cancel(client: Client) -> None:
    handle = client.submit(Call("waits"))
    assert handle.cancel() == "cancelled"
    with pytest.raises(TaskCancelled):
        handle.get(LONG)
    assert client.cancel(client.submit(Call("ok")).id) == "too_late"


def test_an_unknown_id_is_an_error(client: Client) -> None:
    for id in ("0" * 32, "no hex", ""):
        with pytest.raises(TaskNotFound):
            client.get_task_status(id)
    with pytest.raises(TaskNotFound):
        client.handle("0" * 32).get(LONG)


def test_a_handle_for_any_id(client: Client, server: FakeServer) -> None:
    id = client.submit(Call("waits")).id
    again = client.handle(id)
    server.finish(id, 5)
    assert again.get(LONG) == 5


def test_submit_many_in_chunks(client: Client, server: FakeServer) -> None:
    handles = client.submit_many([Call("ok", (i,)) for i in range(2_500)])
    assert [handle.get(LONG) for handle in handles] == list(range(2_500))
    assert server.sizes == [1_000, 1_000, 500]


def test_large_tasks_make_small_chunks(client: Client, server: FakeServer) -> None:
    client.submit_many([Call("ok", ("x" * 400_000,)) for _ in range(5)])
    assert server.sizes == [2, 2, 1]


def test_submit_many_is_all_or_none_a_chunk_and_tells_which_were_accepted(client: Client, server: FakeServer) -> None:
    server.refuse = FULL
    calls = [Call("ok", (i,)) for i in range(3_000)]
    calls[1_500] = Call("refused")
    with pytest.raises(QueueFull) as caught:
        client.submit_many(calls)
    assert (caught.value.queue, caught.value.size) == ("default", 10)
    assert [handle.get(LONG) for handle in caught.value.handles] == [*range(1_000), *range(2_000, 3_000)]
    assert len(server.tasks) == 2_000


def test_a_bad_argument_in_submit_many_tells_which_were_accepted(client: Client) -> None:
    calls = [*(Call("ok", (i,)) for i in range(1_001)), Call("ok", ({1, 2},))]
    with pytest.raises(BadValue, match=r"args\[0\]: set is not allowed; use a list") as caught:
        client.submit_many(calls)
    assert len(caught.value.handles) == 1_000  # type: ignore[attr-defined]


def test_a_refusal_names_the_field(client: Client, server: FakeServer) -> None:
    server.refuse = Refusal(0, "bad_queue", "no such queue", "queue")
    with pytest.raises(SubmissionRefused, match="queue: no such queue") as caught:
        client.submit(Call("refused"))
    assert caught.value.code == "bad_queue"


def test_a_duplicate_is_the_task_that_was_there(client: Client, server: FakeServer) -> None:
    first = client.submit(Call("waits", idempotency_key="k"))
    second = client.submit(Call("waits", idempotency_key="k"))
    assert first.id == second.id
    server.finish(first.id, "both")
    assert (first.get(LONG), second.get(LONG)) == ("both", "both")


def test_submit_soon_sends_many_in_few_messages(client: Client, server: FakeServer) -> None:
    receipts = [client.submit_soon(Call("ok", (i,))) for i in range(5_000)]
    handles = [receipt.handle(LONG) for receipt in receipts]
    assert [handle.get(LONG) for handle in handles] == list(range(5_000))
    assert sum(server.sizes) == 5_000
    assert 1 < max(server.sizes) <= 1_000


def test_wait_gives_tasks_in_order_and_never_raises_for_a_failed_one(client: Client) -> None:
    handles = [client.submit(Call(name, (1,))) for name in ("ok", "fail", "ok")]
    tasks = client.wait(handles, LONG)
    assert [task.id for task in tasks] == [handle.id for handle in handles]
    assert [str(task.state) for task in tasks] == ["succeeded", "failed", "succeeded"]


def test_wait_tells_which_are_pending(client: Client) -> None:
    done, waits = client.submit(Call("ok")), client.submit(Call("waits"))
    done.get(LONG)
    with pytest.raises(WaitTimeout) as caught:
        client.wait([done, waits], 0.01)
    assert caught.value.pending == [waits]


def test_then_calls_back_on_one_thread_also_when_it_has_ended(client: Client, server: FakeServer) -> None:
    called = threading.Event()
    results: list[object] = []
    ended = client.submit(Call("ok", (1,)))
    ended.get(LONG)
    ended.then(results.append, None)
    failing = client.submit(Call("fail"))
    failing.then(None, results.append)
    later = client.submit(Call("waits"))

    def last(result: object) -> None:
        results.append((result, threading.current_thread().name))
        called.set()

    later.then(last)
    server.finish(later.id, "x")
    assert called.wait(LONG)
    assert results[0] == 1
    assert isinstance(results[1], TaskFailed)
    assert results[2] == ("x", "otpq-callbacks")


def test_pages_and_iteration(client: Client) -> None:
    client.submit_many([Call("ok", (i,)) for i in range(25)])
    page = client.tasks(limit=10)
    assert len(page) == 10
    assert page.next is not None
    assert len(client.tasks(limit=10, after=client.tasks(limit=10, after=page.next).next)) == 5
    assert len(list(client.iter_tasks(Selector(state="succeeded")))) == 25
    assert not list(client.iter_tasks(Selector(state="failed")))


def test_what_is_done_to_many_is_asked_for_in_parts_until_there_is_no_more(client: Client, server: FakeServer) -> None:
    client.submit(Call("ok"))
    server.parts = 3
    seen: list[int] = []
    assert client.cancel(Selector(), on_progress=seen.append) == 3
    assert client.retry(Selector(), on_progress=seen.append) == 3
    assert client.delete(Selector(), on_progress=seen.append) == 3
    assert client.purge("a", on_progress=seen.append) == 3
    assert seen == [1, 2, 3] * 4
    assert client.count() == client.count(Selector(name="o*"), to="retry") == 3


def test_counts_have_all_eight_states(client: Client) -> None:
    client.submit(Call("ok"))
    assert client.counts() == {"default": {str(state): int(state == "succeeded") for state in TaskState}}


def test_orders_and_facts(client: Client) -> None:
    client.submit(Call("ok"))
    assert client.retry(Selector(state="failed")) == 1
    assert client.cancel(Selector(queue="a")) == client.delete(Selector()) == 1
    assert client.purge("a") == 1
    assert client.health()["status"] == "serving"
    assert client.stats() == {"tasks": 1}
    assert client.queues() == client.handlers() == client.workers() == client.nodes() == []
    assert client.node == "fake@127.0.0.1"


def test_what_is_cancelled_is_an_id_a_handle_or_what_a_selector_selects(client: Client, server: FakeServer) -> None:
    handles = [client.submit(Call("waits")) for _ in range(3)]
    assert client.cancel(handles[0].id, 1) == client.cancel(handles[1], grace=2) == handles[2].cancel(3) == "cancelled"
    assert client.cancel(Selector(name="waits", ids=[handles[0].id]), 4) == 3
    assert [(verb, body.grace) for verb, body in server.asked] == [
        *(("cancel", grace) for grace in (1, 2, 3)),
        ("cancel_all", 4),
    ]
    assert (server.asked[-1][1].name, server.asked[-1][1].ids) == ("waits", [bytes.fromhex(handles[0].id)])


def test_a_pause_tells_who_made_it(client: Client, server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "ann")
    monkeypatch.setattr("otpq.client.questions.socket.gethostname", lambda: "desk")
    client.pause("mail", why="the shop is closed")
    client.pause(handler="mail.send")
    client.resume("mail", handler="mail.send")
    assert server.asked == [
        ("pause", verbs.PauseOf("mail", None, "ann@desk", "the shop is closed")),
        ("pause", verbs.PauseOf(None, "mail.send", "ann@desk", "")),
        ("resume", verbs.PauseOf("mail", "mail.send")),
    ]


def test_pools_are_scaled_and_reloaded(client: Client, server: FakeServer) -> None:
    assert client.scale("cpu", 4) == [{"pool": "cpu", "workers": 4}]
    assert client.reload() == [{"pool": None, "workers": None}]
    assert client.reload("cpu") == [{"pool": "cpu", "workers": None}]
    assert [verb for verb, _ in server.asked] == ["scale", "reload", "reload"]
    server.is_mute = True
    with pytest.raises(NotAnswered, match=r"'reload' was not answered .* within 0.05 s"):
        client.reload(timeout=0.05)
    server.unmute()


def test_statistics(client: Client) -> None:
    client.submit(Call("ok"))
    assert client.queue_stats() == {"default": {"queued": 1}}
    assert client.handler_stats() == {"ok": {"runs": 1}}
    assert client.worker_stats() == {"workers": [], "pools": [], "nodes": []}


def test_a_log_is_given_to_its_end_page_by_page(client: Client, server: FakeServer) -> None:
    server.log = [1, 2, 3, 4, 5]
    id = client.submit(Call("waits")).id
    lines = list(client.logs(id))
    assert [line.number for line in lines] == [1, 2, 3, 4, 5]
    assert lines[0] == LogLine(
        time=datetime.fromtimestamp(1, UTC), stream="out", level="info", text="line 1", fields={"n": 1}, run=1, number=1
    )
    assert [line.number for line in client.logs(id, after="3")] == [4, 5]


def test_a_log_is_followed_until_the_task_has_ended(
    client: Client, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = client.submit(Call("waits")).id
    waited: list[float] = []

    def write(seconds: float) -> None:
        """While the follower waits, the task goes on."""
        waited.append(seconds)
        server.do(lambda: server.log.append(len(waited)))
        if len(waited) == 3:
            server.finish(id)

    monkeypatch.setattr("otpq.client.client.sleep", write)
    assert [line.number for line in client.logs(id, follow=True)] == [1, 2, 3]
    assert waited == [0.2] * 3


def test_a_script_is_a_task_with_texts(client: Client, server: FakeServer) -> None:
    handle = client.submit_script("/jobs/a.py", ["x", 3], cwd=Path("/tmp"), env={"N": 1}, priority="high")  # noqa: S108
    (view,) = server.tasks.values()
    assert (view.id.hex(), view.name, view.priority) == (handle.id, "@script", 8)
    assert unpack(view.payload) == [["/jobs/a.py"], {"args": ["x", "3"], "cwd": "/tmp", "env": {"N": "1"}}]  # noqa: S108
    assert client.submit_script(Path("/jobs/b.sh")).task().kwargs == {"args": [], "cwd": None, "env": None}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda client: client.cancel(5), "5 cannot be cancelled: give a task's id, its handle, or a Selector"),
        (lambda client: client.cancel("0" * 32, -1), "grace=-1 is not allowed"),
        (lambda client: client.pause(), r"pause\(\) is told what: a queue, or handler=, or both"),
        (lambda client: client.resume(), r"resume\(\) is told what"),
        (lambda client: client.scale("cpu", -1), "n=-1 is not allowed: a whole number of workers, 0 or more"),
        (lambda client: client.scale("cpu", 1.5), "n=1.5 is not allowed"),
        (lambda client: client.submit_script("/a", "x y"), "a script's arguments are a list of them"),
        (lambda client: client.submit_script("/a", retires=1), "did you mean 'retries'"),
    ],
)
def test_what_cannot_be_right_is_refused_before_it_is_sent(
    client: Client, server: FakeServer, wrong: Callable[[Any], object], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        wrong(client)
    assert (server.asked, server.tasks) == ([], {})


def test_a_wrong_selector_is_refused_before_it_is_sent(client: Client, server: FakeServer) -> None:
    for selector in (Selector(state="done"), Selector(ids=["0" * 32] * 1001)):
        with pytest.raises(UsageError):
            client.tasks(selector)
    with pytest.raises(UsageError, match="limit"):
        client.tasks(limit=0)
    assert server.seen["Query"] == 0


def test_a_verb_that_the_node_does_not_know(client: Client) -> None:
    with pytest.raises(QueryFailed, match="no verb 'sing'"):
        client._ask(Question("sing", None, lambda answer: answer))


def test_a_server_that_does_not_answer(client: Client, server: FakeServer) -> None:
    server.is_mute = True
    with pytest.raises(NotAnswered, match="may still be done"):
        client.submit(Call("ok"), timeout=0.05)
    server.is_mute = False
    assert client.submit(Call("ok", (1,))).get(LONG) == 1


def test_a_slow_server_makes_submit_soon_wait(
    server: FakeServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("otpq.client.io.ROOM_TASKS", 100)
    server.is_mute = True
    for _ in range(100):
        client.submit_soon(Call("ok"))
    blocked = threading.Thread(target=lambda: client.submit_soon(Call("ok")))
    blocked.start()
    server.wait_until(lambda: sum(server.seen.values()) > 1)
    assert blocked.is_alive()
    assert client._session.io.core.load[0] <= 100
    assert client._session.io.core.awaited["submissions"] == 100
    client.close(0)
    blocked.join(LONG)
    assert not blocked.is_alive()


def test_handles_that_nobody_holds_are_forgotten(client: Client) -> None:
    handles = client.submit_many([Call("waits") for _ in range(100)])
    awaited = client._session.io.core.awaited
    assert awaited["outcomes"] == 100
    del handles
    client.health()  # a round of the I/O thread
    assert client._session.io.core.awaited["outcomes"] == 0


def test_a_blocking_call_in_an_event_loop_warns_once(client: Client) -> None:
    async def main() -> None:
        with pytest.warns(UserWarning, match="connect_async"):
            client.submit(Call("ok"))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            client.submit(Call("ok"))

    asyncio.run(main())


def test_a_closed_client_says_so_and_tells_those_who_wait(client: Client) -> None:
    handle = client.submit(Call("waits"))
    caught: list[BaseException] = []

    def wait() -> None:
        try:
            handle.get(LONG)
        except OtpqError as error:
            caught.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    client.close()
    client.close()
    waiting.join()
    assert isinstance(caught[0], ClientClosed)
    with pytest.raises(ClientClosed):
        client.submit(Call("ok"))
    with pytest.raises(ClientClosed):
        client.counts()


def test_close_waits_for_what_is_under_way(client: Client, server: FakeServer) -> None:
    receipts = [client.submit_soon(Call("ok")) for _ in range(500)]
    client.close(LONG)
    assert all(receipt.is_acknowledged for receipt in receipts)
    assert len(server.tasks) == 500
    server.wait_until(lambda: server.seen["Goodbye"] == 1)


def test_many_threads_share_a_client(client: Client, server: FakeServer) -> None:
    failures: list[BaseException] = []

    def work(n: int) -> None:
        try:
            for i in range(50):
                assert client.submit(Call("ok", ((n, i),))).get(LONG) == [n, i]
        except BaseException as error:  # noqa: BLE001 - to be seen by the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(server.tasks) == 400
