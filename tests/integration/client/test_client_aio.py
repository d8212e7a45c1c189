from __future__ import annotations

import asyncio
import inspect
import socket
from typing import TYPE_CHECKING

import pytest

from otpq.client.aio import AsyncClient, connect_async
from otpq.client.calls import Call
from otpq.client.client import Client
from otpq.client.errors import (
    ClientClosed,
    CookieRefused,
    NodeUnreachable,
    NotAnswered,
    QueueFull,
    TaskCancelled,
    TaskFailed,
    WaitTimeout,
)
from otpq.client.questions import Selector
from otpq.task import TaskState
from otpq.wire.cookie import Cookie
from otpq.wire.messages import Refusal
from tests.integration.client.fake_server import LONG, FakeServer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    Run = Callable[[Callable[[AsyncClient], Awaitable[None]]], None]


@pytest.fixture
def run(server: FakeServer, cookie_file: Path) -> Run:
    """Runs a coroutine function with a connected client."""

    def run(body: Callable[[AsyncClient], Awaitable[None]]) -> None:
        async def main() -> None:
            async with connect_async(server.name, cookie_file=cookie_file) as client:
                await body(client)

        asyncio.run(main(), debug=True)

    return run


def test_submit_and_get(run: Run) -> None:
    async def body(client: AsyncClient) -> None:
        handle = await client.submit(Call("ok", (1,)))
        assert await handle.get(LONG) == 1
        assert await handle == 1
        assert await (await client.submit_task("ok", 2)).get(LONG) == 2
        assert len(await (await client.submit_task({"job": "big"})).get(LONG)) == 100_000
        with pytest.raises(TaskFailed, match="no such user"):
            await (await client.submit_task("fail"))

    run(body)


def test_many_at_once_travel_together(run: Run, server: FakeServer) -> None:
    async def body(client: AsyncClient) -> None:
        handles = await asyncio.gather(*(client.submit(Call("ok", (i,))) for i in range(2_000)))
        assert await asyncio.gather(*(handle.get(LONG) for handle in handles)) == list(range(2_000))
        assert sum(server.sizes) == 2_000
        assert max(server.sizes) > 1

    run(body)


def test_submit_many_tells_which_were_accepted(run: Run, server: FakeServer) -> None:
    server.refuse = Refusal(0, "queue_full", "full", facts={"queue": "default", "size": 5})

    async def body(client: AsyncClient) -> None:
        assert len(await client.submit_many(Call("ok") for _ in range(1_200))) == 1_200
        calls = [*(Call("ok", (i,)) for i in range(1_000)), Call("refused"), *(Call("ok", (i,)) for i in range(999))]
        with pytest.raises(QueueFull) as caught:
            await client.submit_many([*calls, Call("ok", (7,))])
        assert [await handle for handle in caught.value.handles] == [*range(1_000), 7]

    run(body)


def test_a_handle_tells_of_its_last_refresh(run: Run, server: FakeServer) -> None:
    async def body(client: AsyncClient) -> None:
        handle = await client.submit(Call("waits"))
        assert str(handle.state) == "None"
        assert (await handle.refresh()).name == "waits"
        assert [handle.state, handle.ready, handle.progress] == [TaskState.QUEUED, False, None]
        await asyncio.to_thread(server.finish, handle.id, 3)
        assert handle.state is TaskState.QUEUED
        await handle.refresh()
        assert (handle.successful, handle.failed) == (True, False)
        assert await client.handle(handle.id) == 3

    run(body)


def test_waiting(run: Run) -> None:
    async def body(client: AsyncClient) -> None:
        handles = [await client.submit(Call(name, (1,))) for name in ("ok", "fail", "waits")]
        assert [str(task.state) for task in await client.wait(handles[:2], LONG)] == ["succeeded", "failed"]
        with pytest.raises(WaitTimeout) as caught:
            await client.wait(handles, 0.01)
        assert caught.value.pending == handles[2:]
        with pytest.raises(WaitTimeout):
            await handles[2].get(0.01)
        assert await handles[2].cancel() == "cancelled"
        with pytest.raises(TaskCancelled):
            await handles[2]

    run(body)


def test_it_has_the_methods_of_the_blocking_client() -> None:
    def signatures(client: type) -> dict[str, list[str]]:
        return {
            name: [str(parameter).partition(":")[0] for parameter in inspect.signature(method).parameters.values()]
            for name, method in vars(client).items()
            if not name.startswith("_") and inspect.isfunction(method)
        }

    blocking, awaited = signatures(Client), signatures(AsyncClient)
    for alone in ("submit_soon", "wait_connected", "wait_answer", "handles_of"):  # of threads and receipts
        del blocking[alone]
    assert awaited == blocking


def test_orders(run: Run, server: FakeServer) -> None:
    async def body(client: AsyncClient) -> None:
        handles = [await client.submit(Call("waits")) for _ in range(2)]
        assert await client.cancel(handles[0].id) == await client.cancel(handles[1], 2) == "cancelled"
        assert await client.cancel(Selector(), 3) == 2
        await client.pause("mail", why="x")
        await client.resume(handler="mail.send")
        assert await client.scale("cpu", 4) == [{"pool": "cpu", "workers": 4}]
        assert await client.reload(timeout=LONG) == [{"pool": None, "workers": None}]
        assert await client.queue_stats() == {"default": {"queued": 2}}
        assert await client.handler_stats() == {"ok": {"runs": 2}}
        assert (await client.worker_stats())["pools"] == []
        assert (await (await client.submit_script("/a", ["x"])).refresh()).args == ("/a",)

    run(body)
    assert [verb for verb, _ in server.asked][:7] == [
        *["cancel"] * 2,
        "cancel_all",
        "pause",
        "resume",
        "scale",
        "reload",
    ]


def test_a_log_is_followed(run: Run, server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(client: AsyncClient) -> None:
        id = (await client.submit(Call("waits"))).id
        server.log = [1, 2, 3]
        assert [line.number async for line in client.logs(id)] == [1, 2, 3]
        rest = iter([4, 5])

        async def write(_seconds: float) -> None:
            number = next(rest, None)
            server.finish(id) if number is None else server.log.append(number)

        monkeypatch.setattr("otpq.client.aio.asyncio.sleep", write)
        assert [line.number async for line in client.logs(id, follow=True, after="2")] == [3, 4, 5]

    run(body)


def test_events_are_followed(run: Run, server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(client: AsyncClient) -> None:
        server.log = [1, 2, 3]
        events = [event async for event in client.events()]
        assert [(event.number, event.cursor, event.facts["node"]) for event in events[::2]] == [
            (1, "t.1", "b@h"),
            (3, "t.3", "b@h"),
        ]

        async def happen(_seconds: float) -> None:
            server.log.append(len(server.log) + 1)

        monkeypatch.setattr("otpq.client.aio.asyncio.sleep", happen)
        numbers = []
        async for event in client.events(events[1].cursor, follow=True):
            numbers.append(event.number)
            if event.number == 5:
                break
        assert numbers == [3, 4, 5]

    run(body)


def test_asking(run: Run) -> None:
    async def body(client: AsyncClient) -> None:
        await client.submit_many([Call("ok") for _ in range(15)])
        page = await client.tasks(limit=10)
        assert len(await client.tasks(limit=10, after=page.next)) == 5
        assert len([task async for task in client.iter_tasks(Selector(state="succeeded"))]) == 15
        assert (await client.counts())["default"]["succeeded"] == 15
        assert (
            await client.retry(Selector()) == await client.delete(Selector()) == await client.cancel(Selector()) == 15
        )
        assert await client.purge("a") == 15
        assert (await client.health())["status"] == "serving"
        assert await client.stats() == {"tasks": 15}
        assert await client.queues() == await client.handlers() == await client.workers() == await client.nodes() == []

    run(body)


def test_what_is_done_to_many_is_asked_for_in_parts_until_there_is_no_more(run: Run, server: FakeServer) -> None:
    async def body(client: AsyncClient) -> None:
        await client.submit(Call("ok"))
        server.parts = 3
        seen: list[int] = []
        assert await client.cancel(Selector(), on_progress=seen.append) == 3
        assert await client.retry(Selector(), on_progress=seen.append) == 3
        assert await client.delete(Selector(), on_progress=seen.append) == 3
        assert await client.purge("a", on_progress=seen.append) == 3
        assert seen == [1, 2, 3] * 4
        assert await client.count() == await client.count(Selector(name="o*"), to="retry") == 3

    run(body)


def test_a_cancelled_waiter_leaves_nothing_behind(run: Run, server: FakeServer) -> None:
    async def body(client: AsyncClient) -> None:
        handle = await client.submit(Call("waits"))
        waiting = asyncio.create_task(handle.get())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await asyncio.to_thread(server.finish, handle.id, 1)
        assert await handle.get(LONG) == 1

    run(body)


def test_a_server_that_does_not_answer(run: Run, server: FakeServer) -> None:
    async def body(client: AsyncClient) -> None:
        server.is_mute = True
        with pytest.raises(NotAnswered):
            await client.submit(Call("ok"), timeout=0.02)

    run(body)


def test_a_closed_client_tells_those_who_wait(server: FakeServer, cookie_file: Path) -> None:
    async def main() -> None:
        async with connect_async(server.name, cookie_file=cookie_file) as client:
            waiting = asyncio.create_task((await client.submit(Call("waits"))).get())
            await asyncio.sleep(0)
        with pytest.raises(ClientClosed):
            await waiting

    asyncio.run(main())


def test_a_node_that_is_not_there(cookie_file: Path, server: FakeServer, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    other = tmp_path / "other"
    Cookie.new().write(other, replace=False)

    async def connect_to(address: str, seconds: float, cookie_file: Path) -> None:
        async with connect_async(address, seconds, cookie_file=cookie_file):
            pass

    with pytest.raises(NodeUnreachable, match="nothing listens"):
        asyncio.run(connect_to(f"a@127.0.0.1:{port}", 0.05, cookie_file))
    with pytest.raises(CookieRefused):
        asyncio.run(connect_to(server.name, LONG, other))
