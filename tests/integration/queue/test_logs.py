"""Logs of tasks, read from a real store, by the queue server itself and by the Reader's process."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from otpq.client.calls import Call
from otpq.client.errors import QueryFailed, TaskNotFound
from otpq.client.questions import Selector
from otpq.core import effects as ef
from otpq.core import events as ev
from otpq.otp import cast, stop
from otpq.queue import log_pages
from tests.integration.queue.bench import SESSION, Bench

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otpq.client.client import Client

BEGIN = 4e9
"""When the tasks run: long after they were made, by the real clock."""
RAN = msgspec.msgpack.encode(["a@127.0.0.1", "1", 3, 4711])


@pytest.fixture(params=["itself", "reader"])
def there(bench: Bench, request: pytest.FixtureRequest) -> Iterator[Bench]:
    """A queue server that looks itself, and one that has a Reader."""
    reader = bench.restart_with_reader() if request.param == "reader" else None
    yield bench
    if reader is not None:
        stop(reader)


def start(bench: Bench, client: Client, asked: int = 1) -> tuple[str, Any]:
    """A task that a pool has."""
    handle = client.submit(Call("echo", (1,)))
    bench.open_pool()
    bench.ask(asked)
    return handle.id, bench.effect(ef.Dispatch)


def write(bench: Bench, dispatch: Any, *numbers: int) -> None:
    """Lines of the first task's log."""
    lines = [[number, BEGIN + number, "log", "warning", f"line {number}", {"n": number}] for number in numbers]
    cast(
        bench.server,
        (
            ev.Logged(
                session=SESSION,
                lease=dispatch.lease,
                seq=dispatch.rows[0].seq,
                first=numbers[0],
                last=numbers[-1],
                lines=msgspec.msgpack.encode(lines),
            ),
        ),
    )


def end(bench: Bench, dispatch: Any) -> None:
    result = ev.Succeeded(seq=dispatch.rows[0].seq, result=b"\xc0", started=BEGIN, finished=BEGIN + 999, ran=RAN)
    cast(bench.server, (ev.Results(session=SESSION, lease=dispatch.lease, results=[result]),))


def test_a_log_has_the_lines_and_the_steps_in_order(there: Bench) -> None:
    with there.connect() as client:
        id, dispatch = start(there, client)
        write(there, dispatch, 1, 2)
        write(there, dispatch, 5)
        end(there, dispatch)
        client.handle(id).get(10)
        lines = list(client.logs(id))
    assert [line.text for line in lines] == [
        "queued", "queued -> running", "line 1", "line 2", "line 5", "running -> succeeded"
    ]  # fmt: skip
    log = [line for line in lines if line.stream == "log"]
    assert [(line.number, line.dropped, line.fields, line.level) for line in log] == [
        (1, 0, {"n": 1}, "warning"),
        (2, 0, {"n": 2}, "warning"),
        (5, 2, {"n": 5}, "warning"),
    ]
    assert {line.run for line in log} == {dispatch.lease}
    assert lines[1].fields == {"attempt": 1, "node": "a@127.0.0.1", "worker": 3, "pid": 4711}


def test_who_follows_gets_each_line_when_it_is_there_and_is_told_the_end(there: Bench) -> None:
    with there.connect() as client:
        id, dispatch = start(there, client)
        got: list[str] = []
        seen = threading.Semaphore(0)

        def follow() -> None:
            for line in client.logs(id, follow=True):
                got.append(line.text)
                seen.release()

        following = threading.Thread(target=follow)
        following.start()
        seen.acquire()
        for number in (1, 2, 3):
            write(there, dispatch, number)
            seen.acquire()
        end(there, dispatch)
        following.join(30)
        assert not following.is_alive()
    assert got == ["queued", "line 1", "line 2", "line 3", "queued -> running", "running -> succeeded"]


def test_a_long_log_comes_in_pages(there: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        log_pages, "PAGE_BYTES", 500
    )  # of no matter to the Reader's process, which has pages of its own
    monkeypatch.setattr(log_pages, "PART", 2)
    with there.connect() as client:
        id, dispatch = start(there, client)
        for begin in range(1, 400, 4):
            write(there, dispatch, *range(begin, begin + 4))
        end(there, dispatch)
        client.handle(id).get(10)
        assert [line.number for line in client.logs(id) if line.stream == "log"] == [*range(1, 401)]


def test_there_is_no_log_of_a_task_that_is_not_there(there: Bench) -> None:
    with there.connect() as client:
        with pytest.raises(TaskNotFound, match=f"there is no task '{'0' * 32}'"):
            list(client.logs("0" * 32))
        with pytest.raises(TaskNotFound, match="'no id'"):
            list(client.logs("no id"))
        handle = client.submit(Call("echo", (1,), {}, delay=3600))
        following = client.logs(handle.id, follow=True)
        assert next(following).text == "pending"
        client.cancel(handle)
        client.delete(Selector(ids=[handle.id]))
        with pytest.raises(TaskNotFound):
            list(following)
        with pytest.raises(QueryFailed, match="is not the `next` of a page"):
            list(client.logs(handle.id, after="x"))


def test_progress_is_seen_while_the_task_runs(there: Bench) -> None:
    with there.connect() as client:
        id, dispatch = start(there, client)
        handle = client.handle(id)
        assert handle.progress is None
        seq = dispatch.rows[0].seq
        cast(
            there.server,
            (ev.Progressed(session=SESSION, lease=dispatch.lease, seq=seq, fraction=0.25, message="a quarter"),),
        )
        while handle.progress is None:
            threading.Event().wait(0.01)
        assert handle.progress == (0.25, "a quarter")
        assert client.tasks()[0].progress == (0.25, "a quarter")
