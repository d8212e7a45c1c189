"""Both clients with a server that runs workflows as simply as they can be run."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from otpq.client.aio import AsyncClient
from otpq.client.calls import Call
from otpq.client.client import connect
from otpq.client.errors import (
    SubmissionRefused,
    TaskCancelled,
    TaskFailed,
    TaskNotFound,
    UnknownHandler,
    UnknownHandlerWarning,
    WaitTimeout,
)
from otpq.client.flow_handle import ChainHandle, GroupHandle
from otpq.client.workflows import Workflow, chain, group
from otpq.errors import UsageError
from otpq.wire.messages import Refusal
from tests.integration.client.fake_server import LONG
from tests.integration.client.flow_server import FlowServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from otpq.client.client import Client
    from otpq.wire.cookie import Cookie


@pytest.fixture
def server(cookie: Cookie) -> Iterator[FlowServer]:
    with FlowServer(cookie) as server:
        yield server


@pytest.fixture
def client(server: FlowServer, cookie_file: Path) -> Iterator[Client]:
    with connect(server.name, cookie_file=cookie_file) as client:
        yield client


def ok(*args: Any, **options: Any) -> Call:
    return Call("ok", args, **options)


def test_a_chains_handle_is_its_last_tasks(client: Client) -> None:
    handle = client.submit(chain(ok(1), ok(2), ok(3)))
    assert isinstance(handle, ChainHandle)
    assert handle.get(LONG) == [[1, 2], 3]
    first, _, last = handle.children()
    assert (handle.id, handle.state, first.get(LONG)) == (last.id, "succeeded", 1)
    assert (handle.status().total, handle.retry(), handle.cancel()) == (3, "too_late", "too_late")


def test_a_groups_handle_gives_the_list_in_order(client: Client, server: FlowServer) -> None:
    handle = client.submit(group(Call("waits"), group(ok(1), Call("big")), ok(None)))
    assert isinstance(handle, GroupHandle)
    with pytest.raises(WaitTimeout) as caught:
        handle.get(0.01)
    assert len(caught.value.pending) == 1
    assert (handle.ready, handle.progress, handle.id) == (False, (0.75, "3 of 4"), handle.workflow)
    server.finish(handle.children()[0].id, "late")
    assert handle.get(LONG) == ["late", [1, "x" * 100_000], None]
    assert (handle.ready, handle.successful, handle.failed) == (True, True, False)


def test_an_empty_group_makes_nothing(client: Client, server: FlowServer) -> None:
    handle = client.submit(group())
    assert (handle.get(LONG), handle.children(), handle.wait(LONG).state) == ([], [], "succeeded")
    assert (handle.ready, handle.progress, server.asked) == (True, (1.0, "0 of 0"), [])


def test_the_failure_of_an_earlier_task_is_what_is_raised(client: Client) -> None:
    for flow in (chain(Call("fail"), ok()), chain(Call("fail"), group(ok(), ok())), group(ok(1), Call("fail"))):
        handle = client.submit(flow)
        with pytest.raises(TaskFailed, match="ValueError: no such user") as caught:
            handle.get(LONG)
        assert caught.value.id in {child.id for child in handle.children()}


def test_what_was_cancelled_is_told_so(client: Client) -> None:
    waiting = (chain(Call("waits"), ok()), group(Call("waits"), ok(1), on_failure="continue"))
    for handle in map(client.submit, waiting):
        assert client.cancel(handle) == "cancelling"
        with pytest.raises(TaskCancelled):
            handle.get(LONG)
        assert handle.wait(LONG).state == "cancelled"
        assert client.cancel_workflow(handle) == "too_late"


def test_a_group_has_what_was_asked_for_in_the_place_of_failures(client: Client) -> None:
    assert client.submit(group(ok(1), Call("fail"), on_failure="continue")).get(LONG) == [1, None]
    handle = client.submit(group(ok(1), Call("fail"), on_failure="collect"))
    one, error = handle.get(LONG)
    assert (one, error["id"], error["name"], error["state"]) == (1, handle.children()[1].id, "fail", "failed")


def test_after_a_retry_the_new_end_is_waited_for(client: Client) -> None:
    for flow, result in ((chain(ok(1), Call("fail"), ok(3)), [1, 3]), (group(ok(1), Call("fail", (2,))), [1, 2])):
        handle = client.submit(flow)
        with pytest.raises(TaskFailed):
            handle.get(LONG)
        assert handle.retry() == "retried"
        assert handle.get(LONG) == result
    with pytest.raises(UsageError, match="5 is no workflow"):
        client.retry_workflow(5)  # type: ignore[arg-type]


def test_who_wants_is_called_back(client: Client) -> None:
    heard: list[Any] = []
    done = threading.Semaphore(0)

    def hear(what: Any) -> None:
        heard.append(what if isinstance(what, list) else type(what))
        done.release()

    for flow in (group(ok(1), ok(2)), group(), group(Call("fail"), ok(1)), chain(Call("fail"), ok())):
        client.submit(flow).then(hear, hear)
        assert done.acquire(timeout=LONG)
    assert heard == [[1, 2], [], TaskFailed, TaskFailed]


def test_a_refusal_has_the_place_and_a_warning_is_given_once(client: Client, server: FlowServer) -> None:
    server.refuse = Refusal(1, "unknown_handler", "no handler is named 'okay'")
    with pytest.raises(UnknownHandler, match=r"chain\[1\]\.group\[0\]: no handler is named 'okay'"):
        client.submit(chain(ok(), group(Call("okay"))), strict=True)
    server.refuse = Refusal(0, "bad_time", "it is over")
    with pytest.raises(SubmissionRefused, match=r"chain\[0\]: it is over"):
        client.submit(chain(ok()))
    server.refuse, server.warning = None, Refusal(0, "unknown_handler", "no handler is named 'ok'")
    with pytest.warns(UnknownHandlerWarning, match="no handler is named"):
        client.submit(chain(ok(1)))
    client.submit(chain(ok(1)))


def test_what_is_too_large_is_refused_before_it_is_sent(client: Client, server: FlowServer) -> None:
    with pytest.raises(UsageError, match=r"'submit_workflow' would be a message of 18,00[\d,]+ bytes"):
        client.submit(group(ok(b"x" * 1_000_000) for _ in range(18)))
    assert server.asked == []
    assert client.submit(chain(ok(1))).get(LONG) == 1


def test_a_submission_whose_answer_is_lost_is_sent_again_and_makes_nothing_twice(
    cookie: Cookie, cookie_file: Path
) -> None:
    first = FlowServer(cookie)
    with first, connect(first.name, cookie_file=cookie_file) as client:
        first.unanswered = {"submit_workflow"}
        handles: list[Any] = []
        thread = threading.Thread(target=lambda: handles.append(client.submit(chain(ok(1), ok(2)))))
        thread.start()
        first.wait_until(lambda: any(verb == "submit_workflow" for verb, _ in first.asked))
        address = first.address
        first.stop()
        with FlowServer(cookie, address) as second:
            thread.join(LONG)
            assert handles[0].get(LONG) == [1, 2]
            (sent,) = [body for verb, body in second.asked if verb == "submit_workflow"]
            assert sent == next(body for verb, body in first.asked if verb == "submit_workflow")


def test_a_workflow_is_looked_at_page_by_page_and_listed(client: Client, server: FlowServer) -> None:
    flow = Workflow(title="sum")
    flow.add(ok(), after=[flow.add(ok(n)) for n in range(7)])
    handle = client.submit(flow)
    server.page = 3
    status = client.workflow(handle.children()[2].id)
    assert [member.place for member in status.members] == [*range(8)]
    assert (status.title, status.members[7].after, status.progress) == ("sum", (*range(7),), (1.0, "8 of 8"))
    assert client.workflow(handle.workflow, members=False).members == ()
    page = client.workflows(limit=5)
    assert ([one.id for one in page], page.next, page[0].counts) == ([handle.workflow], 7, {})
    assert [one.ended for one in handle.watch()] == [8]
    for ask in (client.workflow, client.cancel_workflow, client.retry_workflow):
        with pytest.raises(TaskNotFound):
            ask("0" * 32)


def test_the_asyncio_client_does_the_same(server: FlowServer, client: Client) -> None:
    async def main() -> None:
        async with AsyncClient(client._session.target) as awaiting:
            handle = await awaiting.submit(chain(ok(1), group(ok(2), ok(3))))
            assert await handle == [[1, 2], [1, 3]]
            assert [await child for child in handle.children()] == [1, [1, 2], [1, 3]]
            assert (await handle.wait(LONG)).state == "succeeded"
            assert await handle.cancel() == await handle.retry() == "too_late"
            for flow, result in (
                (chain(Call("fail", (1,)), ok(2)), [1, 2]),
                (group(Call("fail", (1,)), ok(2)), [1, 2]),
            ):
                failing = await awaiting.submit(flow)
                with pytest.raises(TaskFailed, match="no such user"):
                    await failing.get(LONG)
                assert await failing.retry() == "retried"
                assert await failing.get(LONG) == result
            waiting = await awaiting.submit(group(Call("waits"), ok(1), on_failure="continue"))
            with pytest.raises(WaitTimeout):
                await waiting.wait(0.01)
            assert await waiting.cancel() == "cancelling"
            with pytest.raises(TaskCancelled):
                await waiting.get(LONG)
            assert await (await awaiting.submit(group())).get() == []
            assert len((await awaiting.workflow(handle.workflow)).members) == 3
            assert len(await awaiting.workflows()) == 4
            assert [n async for n in awaiting.map_task("ok", range(25), chunk=10)] == [*range(25)]
            server.refuse = Refusal(0, "bad_time", "it is over")
            with pytest.raises(SubmissionRefused, match=r"chain\[0\]: it is over"):
                await awaiting.submit(chain(ok()))

    asyncio.run(main())


def test_a_handler_is_mapped_over_items_a_few_at_a_time(client: Client, server: FlowServer) -> None:
    results = client.map_task(ok, iter(range(95)), chunk=10)
    assert next(results) == 0
    assert server.sizes == [10, 10]
    assert list(results) == [*range(1, 95)]
    assert server.sizes == [10] * 9 + [5]
