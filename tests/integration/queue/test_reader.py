"""The Reader and its process: it answers as the queue server itself would, holds nobody up, and its loss is never silence."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from otpq.client import questions
from otpq.client.calls import Call
from otpq.client.errors import QueryFailed
from otpq.client.questions import Selector
from otpq.core import effects as ef
from otpq.otp import Kill, exit, is_alive, state, stop
from otpq.queue.looking import Look, list_tasks, look
from otpq.queue.reader import Reader
from otpq.queue.reader_process import ReaderLost, ReaderProcess
from otpq.queue.turns import Turns
from otpq.store.protocol import Filters
from otpq.store.url import open_reading, open_store
from otpq.wire import verbs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from otpq.client.client import Client
    from otpq.otp import Pid
    from tests.integration.queue.bench import Bench

LONG = 30.0


@pytest.fixture
def reader(bench: Bench) -> Iterator[Pid]:
    reader = bench.restart_with_reader()
    yield reader
    if is_alive(reader):
        stop(reader)


def fill(client: Client, tasks: int = 1_500) -> list[str]:
    """Tasks of many kinds; their ids in the order of submission."""
    chance = random.Random(1)  # noqa: S311 - no secret
    calls = [
        Call(
            chance.choice(["mail", "scan", "pay"]),
            (number, "x" * chance.choice([0, 10, 3000])),
            {},
            queue=chance.choice(["default", "other"]),
            delay=chance.choice([0, 0, 3600]),
            tags=chance.choice([(), ("red",), ("red", "blue")]),
        )
        for number in range(tasks)
    ]
    return [handle.id for handle in client.submit_many(calls)]


def answers(client: Client, ids: list[str]) -> list[Any]:
    """What is answered to all kinds of questions."""
    middle = datetime.fromtimestamp(client.get_task_status(ids[len(ids) // 2]).created_at.timestamp(), UTC)
    selectors = [
        Selector(),
        Selector(state="queued"),
        Selector(state="running"),
        Selector(state="pending"),
        Selector(state="cancelled"),
        Selector(state="succeeded"),
        Selector(name="mail", queue="other"),
        Selector(tag="blue"),
        Selector(name="nobody"),
        Selector(before=middle),
        Selector(ids=ids[5:900:7]),
        Selector(ids=ids[5:900:7], state="pending"),
    ]
    found: list[Any] = [list(client.iter_tasks(selector)) for selector in selectors]
    for limit in (1, 7, 250, 1000):
        page = client.tasks(limit=limit)
        found.append((list(page), page.next))
    found.append([client.get_task_status(id) for id in ids[:20]])
    return found


def test_it_answers_as_the_queue_server_itself_would(bench: Bench) -> None:
    with bench.connect() as client:
        ids = fill(client)
        for id in ids[::10]:
            client.cancel(id)
        bench.open_pool()
        bench.ask(1)
        dispatch = bench.effect(ef.Dispatch)
        bench.succeed(dispatch)
        bench.effect(ef.Committed)
        itself = answers(client, ids)
    reader = bench.restart_with_reader()
    with bench.connect() as client:
        assert answers(client, ids) == itself
    assert any(itself[5]), "one has succeeded"
    stop(reader)


@pytest.mark.usefixtures("reader")
def test_what_was_acknowledged_is_seen_at_once(bench: Bench) -> None:
    with bench.connect() as client:
        for number in range(100):
            handle = client.submit(Call("mail", (number,), {}, delay=3600))
            assert client.get_task_status(handle.id).args == (number,)


@pytest.mark.usefixtures("reader")
def test_what_is_done_to_many_is_done_to_all_of_them_and_to_no_other(bench: Bench) -> None:
    with bench.connect() as client:
        fill(client, 3_000)
        before = client.counts()
        mail = sum(1 for _ in client.iter_tasks(Selector(name="mail")))
        assert client.cancel(Selector(name="mail")) == mail
        assert client.cancel(Selector(name="mail")) == 0
        after = client.counts()
        assert sum(of["cancelled"] for of in after.values()) == mail
        assert client.retry(Selector(name="mail", state="cancelled")) == mail
        waiting = sum(client.counts()["other"][state] for state in ("queued", "pending"))
        assert client.purge("other") == waiting
        assert client.purge("other") == 0
        assert sum(client.counts()["default"].values()) == sum(before["default"].values())


def test_what_a_selector_selects_is_counted_before_and_while_it_is_touched(bench: Bench) -> None:
    with bench.connect() as client:
        fill(client, 3_000)
        mail = sum(1 for _ in client.iter_tasks(Selector(name="mail")))
        assert 0 < mail < client.count() == sum(sum(of.values()) for of in client.counts().values())
        assert client.count(Selector(name="ma*")) == client.count(Selector(name="mail"), to="cancel") == mail
        assert client.count(Selector(name="mail"), to="retry") == client.count(Selector(name="mail"), to="delete") == 0
        waiting = sum(client.counts()["other"][state] for state in ("queued", "pending"))
        assert client.count(Selector(queue="other"), to="purge") == waiting
        assert client.count(Selector(queue="other", state="queued")) == client.counts()["other"]["queued"]
        assert client.count(Selector(before=timedelta(hours=1))) == 0
        seen: list[int] = []
        assert client.cancel(Selector(name="m?il"), on_progress=seen.append) == mail
        assert seen[-1] == mail
        assert client.count(Selector(name="mail"), to="retry") == mail
        with pytest.raises(QueryFailed, match=r"there is no queue 'othre'; did you mean 'other'\?"):
            client.purge("othre")
        with pytest.raises(QueryFailed, match="to='kill' is none of"):
            client.count(to="kill")


def test_what_is_done_in_parts_is_done_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "ROUNDS", 1)
    with bench.connect() as client:
        fill(client, 3_000)
        mail = client.count(Selector(name="mail"))
        seen: list[int] = []
        assert client.cancel(Selector(name="mail"), on_progress=seen.append) == mail
        assert len(seen) > 1
        assert seen == sorted(seen)
        waiting = client.count(Selector(queue="other"), to="purge")
        assert client.purge("other") == waiting


def test_a_question_waits_for_a_reader_that_is_not_there_yet(bench: Bench) -> None:
    stop(bench.server)
    bench.has_reader = True
    bench.start()
    with bench.connect() as client:
        handle = client.submit(Call("mail", (1,)))
        late = threading.Timer(0.2, bench.start_reader)
        late.start()
        assert client.get_task_status(handle.id).args == (1,)
        late.join()
    reader = bench.me.registry.whereis("reader")
    assert reader is not None
    stop(reader)


def process_of(reader: Pid) -> psutil.Process:
    """The Reader's process; started by the first question."""
    return psutil.Process(state(reader)["_at_work"].pid)


def test_its_process_is_killed_during_questions_and_each_is_answered(bench: Bench, reader: Pid) -> None:
    with bench.connect() as client:
        ids = fill(client)
        client.tasks()
        is_over = threading.Event()
        kills: list[int] = []
        begun = time.monotonic()

        def kill_again_and_again() -> None:
            # Not for longer: on a busy machine none that was just started would live to answer.
            while not is_over.wait(0.05) and time.monotonic() < begun + 3.0:
                with contextlib.suppress(psutil.Error, KeyError, AttributeError):
                    process = process_of(reader)
                    process.kill()
                    kills.append(process.pid)

        killer = threading.Thread(target=kill_again_and_again)
        killer.start()
        answered = refused = 0
        try:
            while time.monotonic() < begun + 3.0 or answered < 10:
                try:
                    assert len(list(client.iter_tasks())) == len(ids)
                    answered += 1
                except QueryFailed as failed:
                    assert failed.code == "reader_lost"  # noqa: PT017 - it may also be answered
                    refused += 1
        finally:
            is_over.set()
            killer.join()
        assert len(client.tasks(limit=10)) == 10
    assert kills


def test_the_start_of_a_process_is_not_counted_as_time_that_a_question_takes(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = 0

    class Late(ReaderProcess):
        def __init__(self, url: str) -> None:
            nonlocal starts
            starts += 1
            super().__init__(url)

    monkeypatch.setattr("otpq.queue.reader.ReaderProcess", Late)
    stop(bench.server)
    bench.has_reader = True
    bench.start()
    reader = Reader.start(bench.url, "queue_server", lambda: 10.0 * starts, name="reader", registry=bench.me.registry)
    with bench.connect() as client:
        fill(client)
        assert client.tasks(limit=1000)  # several looks
        process_of(reader).kill()
        assert client.tasks(limit=1000)
    assert starts == 2
    stop(reader)


def test_the_loss_of_the_reader_itself_is_an_answer_too(bench: Bench, reader: Pid) -> None:
    with bench.connect() as client:
        client.submit(Call("mail", (1,), {}, delay=3600))
        client.tasks()
        process = process_of(reader)
        process.send_signal(signal.SIGSTOP)  # so that the question is under way
        failures: list[QueryFailed] = []

        def ask() -> None:
            try:
                client.tasks()
            except QueryFailed as failed:
                failures.append(failed)

        asking = threading.Thread(target=ask)
        asking.start()
        while not state(bench.server)["_answers"].lookups._waiting:
            time.sleep(0.01)
        exit(reader, Kill())
        asking.join(LONG)
        assert [failed.code for failed in failures] == ["reader_lost"]
        assert not process.is_running()
        second = bench.start_reader()
        assert len(client.tasks()) == 1
        stop(second)


def test_nothing_is_left_when_its_owner_is_gone(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store.db"))
    store.open()
    process = ReaderProcess(str(tmp_path / "store.db"))
    assert process.look(Look(Filters(), frozenset())).found == []
    child = psutil.Process(process.pid)
    process._socket.close()
    process._stream.close()
    assert process._process.wait(LONG) == 0
    assert not child.is_running()
    store.close()


def test_a_process_that_is_killed_in_a_look_is_a_loss_and_not_a_hang(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store.db"))
    store.open()
    process = ReaderProcess(str(tmp_path / "store.db"))
    process.look(Look(Filters(), frozenset()))
    os.kill(process.pid, signal.SIGSTOP)
    threading.Timer(0.2, process.kill).start()
    with pytest.raises(ReaderLost):
        process.look(Look(Filters(), frozenset()))
    store.close()


def test_a_look_that_takes_too_long_says_what_would_help(bench: Bench) -> None:
    with bench.connect() as client:
        fill(client)
    reading = open_reading(bench.url, patience=0.0)
    turns = Turns()
    turns.add(1, list_tasks(verbs.ListTasks(verbs.Selector(name="nobody")), frozenset()))
    answered = turns.step(lambda what: look(reading, what))
    assert answered is not None
    assert getattr(answered.answer, "code", None) == "too_slow"
    assert "narrow" in getattr(answered.answer, "text", "")
    reading.close()
