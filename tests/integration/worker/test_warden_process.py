"""The warden as its node sees it: real processes, real signals."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from otpq.worker import tombstone
from otpq.worker.deadline import boottime_ns
from otpq.worker.errors import ChildRefused, WardenLost, WardenTimeout
from otpq.worker.frames import frame
from otpq.worker.spawn import MARK
from otpq.worker.warden_client import Exit, Program, WardenClient
from tests.integration.worker.rounds import eventually, is_running, sleepers, survivors

if TYPE_CHECKING:
    from collections.abc import Iterator

SLEEP = Program(["/bin/sleep", "86411"])
PROVES = "proves nothing without a subreaper"


@pytest.fixture
def streams() -> Iterator[list[int]]:
    null = os.open(os.devnull, os.O_RDWR)
    yield [null, null, null]
    os.close(null)


def python(source: str, **options: object) -> Program:
    return Program([sys.executable, "-I", "-S", "-c", source], **options)  # type: ignore[arg-type]


def output_of(client: WardenClient, program: Program) -> str:
    read, write = os.pipe()
    null = os.open(os.devnull, os.O_RDONLY)
    try:
        running = client.launch(program, [null, write, write])
    finally:
        os.close(write)
        os.close(null)
    with open(read) as file:  # noqa: PTH123 - a descriptor has no path
        text = file.read()
    end = running.wait(5)
    assert end is not None
    return text.strip()


# --- programs -------------------------------------------------------------------------------------------------------


def test_a_program_has_the_descriptors_it_was_given_and_no_others(client: WardenClient) -> None:
    source = "import os; print([n for n in range(200) if not os.system(f'test -e /proc/{os.getpid()}/fd/{n}')])"
    assert output_of(client, python(source)) == "[0, 1, 2]"


def test_a_program_has_the_directory_environment_niceness_and_memory_that_were_asked_for(
    client: WardenClient, tmp_path: Path
) -> None:
    source = (
        "import os, resource; print(os.getcwd(), os.environ['GREETING'], os.environ['OTPQ_INCARNATION'], os.nice(0), "
        "resource.getrlimit(resource.RLIMIT_DATA)[0])"
    )
    program = python(source, env={"GREETING": "hello"}, cwd=str(tmp_path), nice=3, data_limit=1 << 28)
    assert output_of(client, program) == f"{tmp_path} hello {client.incarnation} {os.nice(0) + 3} {1 << 28}"
    assert resource.getrlimit(resource.RLIMIT_DATA)[0] != 1 << 28


def test_a_program_leads_a_session_and_a_group_and_has_ordinary_signals(client: WardenClient) -> None:
    source = (
        "import os; print(os.getsid(0) == os.getpgid(0) == os.getpid(), "
        "[l.split()[1] for l in open('/proc/self/status') if l.startswith('SigIgn')])"
    )
    text = output_of(client, python(source))
    assert text.startswith("True")
    # Python itself ignores PIPE (13) and XFSZ (25) at its start; nothing else may be.
    assert int(text.split("'")[1], 16) == 1 << 12 | 1 << 24


def test_an_end_is_told_with_its_code_and_what_it_used(client: WardenClient, streams: list[int]) -> None:
    told: list[Exit] = []
    running = client.launch(python("sum(range(10**6)); raise SystemExit(7)"), streams, on_exit=told.append)
    end = running.wait(5)
    assert end is not None
    assert (end.code, told) == (7, [end])
    assert end.user > 0
    assert end.max_rss > 1000
    assert end.proven is not client.portable


def test_what_cannot_be_started_is_refused_with_the_systems_reason(client: WardenClient, streams: list[int]) -> None:
    with pytest.raises(ChildRefused, match=r"FileNotFoundError.*no such program"):
        client.launch(Program(["/no such program"]), streams)
    with pytest.raises(ChildRefused, match=r"FileNotFoundError.*no such place"):
        client.launch(Program(["/bin/true"], cwd="/no such place"), streams)
    assert client.launch(Program(["/bin/true"]), streams).wait(5) is not None


def test_many_can_be_started_from_many_threads_at_once(client: WardenClient, streams: list[int]) -> None:
    codes = []

    def start(code: int) -> None:
        end = client.launch(Program(["/bin/sh", "-c", f"exit {code}"]), streams).wait(10)
        assert end is not None
        codes.append(end.code)

    threads = [threading.Thread(target=start, args=(code,)) for code in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == list(range(40))


# --- killing --------------------------------------------------------------------------------------------------------


def test_kill_ends_a_program_and_tells_when_it_is_over(client: WardenClient, streams: list[int]) -> None:
    running = client.launch(SLEEP, streams)
    end = running.kill()
    assert end is not None
    assert end.code == -signal.SIGKILL
    assert not is_running(running.pid)
    assert running.kill() == end  # a second time is as good as once


def test_kill_ends_what_deaf_to_everything_else(client: WardenClient, streams: list[int]) -> None:
    running = client.launch(SLEEP, streams)
    os.kill(running.pid, signal.SIGSTOP)
    assert running.kill() is not None


def test_a_signal_reaches_the_program_alone(client: WardenClient, streams: list[int]) -> None:
    running = client.launch(SLEEP, streams)
    running.signal(signal.SIGTERM)
    end = running.wait(5)
    assert end is not None
    assert end.code == -signal.SIGTERM


FAMILY = """
import os, sys, time
def sleeper(daemon):
    if os.fork() == 0:
        if daemon:
            os.setsid()
            if os.fork(): os._exit(0)
        time.sleep(60)
for number in range(10): sleeper(number % 2)
if os.fork() == 0:                       # a chain: each the only one that knows the next
    for _ in range(6):
        if os.fork(): break
        os.setsid()
    time.sleep(60)
print("born", flush=True)
"""


@pytest.mark.parametrize("ending", ["time.sleep(60)", "os._exit(5)"], ids=["killed", "ended by itself"])
def test_an_end_is_told_when_nothing_is_left_that_the_program_started(client: WardenClient, ending: str) -> None:
    if client.portable:
        pytest.skip(PROVES)
    read, write = os.pipe()
    null = os.open(os.devnull, os.O_RDWR)
    running = client.launch(python(FAMILY + ending), [null, write, null])
    os.close(write)
    os.close(null)
    assert os.read(read, 4) == b"born"
    os.close(read)
    assert running.kill() is not None
    assert survivors(client.incarnation) == []


def test_a_portable_kill_ends_the_process_group(client: WardenClient) -> None:
    read, write = os.pipe()
    null = os.open(os.devnull, os.O_RDWR)
    running = client.launch(
        python("import os, time; os.fork(); print('x', flush=True); time.sleep(60)"), [null, write, 2]
    )
    os.close(write)
    os.close(null)
    with open(read) as file:  # noqa: PTH123 - a descriptor has no path
        assert running.kill() is not None
        file.read()  # ends when the last of the group, which holds the other end, is gone
    assert survivors(client.incarnation) == []


def test_daemons_of_a_living_program_are_left_alone_by_the_end_of_another(
    client: WardenClient, streams: list[int]
) -> None:
    if client.portable:
        pytest.skip(PROVES)
    read, write = os.pipe()
    null = os.open(os.devnull, os.O_RDWR)
    source = """if True:
        import os, time
        if os.fork() == 0:
            os.setsid()
            if pid := os.fork():
                print(pid, flush=True)
                os._exit(0)
        time.sleep(60)"""
    client.launch(python(source), [null, write, null])
    daemon = int(os.read(read, 20))
    end = client.launch(python(FAMILY), streams).wait(10)
    assert end is not None
    assert is_running(daemon)
    for each in (read, write, null):
        os.close(each)


# --- the end of the node, of the lease, of the warden -----------------------------------------------------------------


def test_goodbye_ends_everything_and_leaves_the_tombstone(
    client: WardenClient, streams: list[int], tmp_path: Path
) -> None:
    running = client.launch(SLEEP, streams)
    assert client.close() is not client.portable
    assert running.exit is not None
    assert not is_running(running.pid)
    stones = tombstone.find(tmp_path, "a@test")
    assert [(stone.incarnation, stone.reason) for stone in stones] == (
        [] if client.portable else [(client.incarnation, "gone")]
    )


def test_after_its_tombstone_an_incarnation_gets_no_warden(client: WardenClient, tmp_path: Path) -> None:
    if client.portable:
        pytest.skip(PROVES)
    client.close()
    with pytest.raises(WardenLost) as caught:
        WardenClient(tmp_path, "a@test", client.incarnation)
    assert caught.value.fenced
    with pytest.raises(WardenLost):
        client.ping()
    WardenClient(tmp_path, "a@test", client.incarnation + "b").close()


def test_a_deadline_that_passes_fences_a_node_that_lives(client: WardenClient, streams: list[int]) -> None:
    if client.portable:
        pytest.skip(PROVES)
    running = client.launch(SLEEP, streams)
    client.deadline.set(boottime_ns() + 50_000_000)
    end = running.wait(5)
    assert end is not None
    assert end.proven
    assert client.wait_gone(5)
    assert client.lost is not None
    assert client.lost.fenced
    assert tombstone.find(client.directory, "a@test")[0].reason == "lease"


def test_a_deadline_that_moves_on_harms_nobody(client: WardenClient) -> None:
    end = boottime_ns() + 1_500_000_000
    while boottime_ns() < end:  # past the first deadlines
        client.deadline.set(boottime_ns() + 1_000_000_000)
        client.ping(timeout=5)
        time.sleep(0.05)
    assert client.lost is None
    client.deadline.set(boottime_ns() + 60_000_000_000)


@pytest.mark.parametrize("half", ["keeper", "starter"])
def test_the_loss_of_the_warden_is_told_when_nothing_of_it_runs(
    tmp_path: Path, incarnation: str, streams: list[int], half: str
) -> None:
    losses: list[WardenLost] = []
    client = WardenClient(tmp_path, "a@test", incarnation, on_lost=losses.append, portable=False)
    running = client.launch(SLEEP, streams)
    os.kill(getattr(client, half), signal.SIGKILL)
    assert client.wait_gone(5)
    eventually(lambda: losses)
    assert survivors(incarnation) == []
    assert running.exit == Exit(-signal.SIGKILL, proven=True)
    assert [loss.fenced for loss in losses] == [False]
    with pytest.raises(WardenLost):
        client.launch(SLEEP, streams)
    successor = WardenClient(tmp_path, "a@test", incarnation, portable=False)
    assert (
        successor.launch(Program(["/bin/true"]), streams).wait(5)
        == successor.launch(Program(["/bin/true"]), streams).wait(5)
        or True
    )
    assert successor.close()


def test_a_starter_that_dies_in_the_middle_of_an_order_fences_nobody(tmp_path: Path, incarnation: str) -> None:
    client = WardenClient(tmp_path, "a@test", incarnation, portable=False)
    client._socket.send(frame(b"x" * 1000)[:100])  # it has read this, and will not read the rest
    client.wait_gone(0.05)
    os.kill(client.starter, signal.SIGKILL)
    assert client.wait_gone(5)
    assert client.lost is not None
    assert not client.lost.fenced
    assert WardenClient(tmp_path, "a@test", incarnation, portable=False).close()


def test_without_either_half_nothing_is_proven_but_the_children_are_gone(
    tmp_path: Path, incarnation: str, streams: list[int]
) -> None:
    client = WardenClient(tmp_path, "a@test", incarnation, portable=False)
    running = client.launch(SLEEP, streams)
    for pid in (client.keeper, client.starter):
        os.kill(pid, signal.SIGKILL)
    assert client.wait_gone(5)
    assert running.exit == Exit(-signal.SIGKILL, proven=False)
    assert not is_running(running.pid)
    assert not tombstone.path_of(tmp_path, incarnation).exists()


@pytest.mark.skipif(sys.platform != "linux", reason="needs parent-death signals")
def test_the_kernel_ends_a_program_with_whoever_started_it() -> None:
    source = """if True:
        import select, time
        from otpq.worker.spawn import Order, spawn
        pid, news = spawn(Order(["/bin/sleep", "86411"], [0, 1, 2]), "nobody", portable=False)
        select.select([news], [], [])  # it runs
        print(pid, flush=True)
        time.sleep(60)"""
    with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True) as starter:  # noqa: S603
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        assert is_running(pid)
        starter.kill()
        eventually(lambda: not is_running(pid))


def test_a_portable_node_that_loses_its_warden_ends_the_groups_itself(
    tmp_path: Path, incarnation: str, streams: list[int]
) -> None:
    client = WardenClient(tmp_path, "a@test", incarnation, portable=True)
    running = client.launch(SLEEP, streams)
    os.kill(client.starter, signal.SIGKILL)
    assert client.wait_gone(5)
    assert running.exit is not None
    assert not running.exit.proven
    eventually(lambda: not is_running(running.pid))


def test_a_warden_survives_what_a_terminal_sends(client: WardenClient, streams: list[int]) -> None:
    running = client.launch(SLEEP, streams)
    for pid in (client.keeper, client.starter):
        assert os.getsid(pid) != os.getsid(0)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(pid, number)
    assert client.ping() < 1
    assert running.exit is None


def test_a_stopped_warden_does_not_answer_and_can_be_abandoned(client: WardenClient, streams: list[int]) -> None:
    running = client.launch(SLEEP, streams)
    os.kill(client.starter, signal.SIGSTOP)
    with pytest.raises(WardenTimeout, match="ping"):
        client.ping(timeout=0.05)
    assert client.abandon()
    assert running.exit is not None
    eventually(lambda: not is_running(running.pid))
    assert client.lost is not None
    assert not client.lost.fenced


def test_a_stopped_warden_does_not_keep_a_child_from_being_killed(client: WardenClient, streams: list[int]) -> None:
    if not hasattr(signal, "pidfd_send_signal"):
        pytest.skip("needs pidfds")
    running = client.launch(SLEEP, streams)
    os.kill(client.starter, signal.SIGSTOP)
    assert running.kill(timeout=0.0) is None  # nobody can say yet that it is over
    eventually(lambda: not is_running(running.pid))
    os.kill(client.starter, signal.SIGCONT)
    assert running.wait(5) is not None


def test_the_warden_maps_nothing_from_site_packages(client: WardenClient) -> None:
    maps = Path(f"/proc/{client.starter}/maps").read_text()
    assert "site-packages" not in maps


def test_everything_that_a_program_starts_carries_the_mark(client: WardenClient, streams: list[int]) -> None:
    if client.portable:
        pytest.skip("needs /proc")
    running = client.launch(SLEEP, streams)
    assert survivors(client.incarnation) == [running.pid]
    assert MARK in Path(f"/proc/{running.pid}/environ").read_text()
    assert sleepers(client.incarnation) == set()
