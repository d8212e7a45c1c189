"""The child's program: what handlers may do to it, and what its worker gets to know."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgpack
import pytest

from otpq.worker.blackboard import Blackboard
from otpq.worker.child_link import ChildLink, ChildSettings
from otpq.worker.errors import ChildRefused
from otpq.worker.kernel import is_portable
from otpq.worker.packets import Outcome, pack_packet, unpack_packet
from otpq.worker.reports import Results
from tests.integration.worker.rounds import eventually, is_running, sleepers, survivors
from tests.integration.worker.support import StartChild, item

if TYPE_CHECKING:
    from otpq.worker.warden_client import WardenClient

WriteApp = Callable[[str], str]

with_both_means = pytest.mark.parametrize("portable", ["linux", "portable"], indirect=True)
"""For what the pipe, the warden or the child's own watch have a part in; what handlers do is the same with either."""


@pytest.fixture
def portable(request: pytest.FixtureRequest) -> bool:
    """Whether to do without Linux's means; as everywhere in this run, unless the test asks for both."""
    means = getattr(request, "param", None)
    if means == "linux" and is_portable():
        pytest.skip("needs a subreaper")
    return means == "portable" or is_portable()


def error_of(value: bytes) -> tuple[str, str, str]:
    kind, message, trace, *_ = msgpack.unpackb(value)
    return kind, message, trace


# --- results --------------------------------------------------------------------------------------------------------


@with_both_means
def test_a_task_runs_and_its_result_comes_back_under_its_lease(start_child: StartChild) -> None:
    hand = start_child()
    seq = hand.give("echo", {"a": [1, None, "ü", b"x", 2.5]}, lease=77)
    (report,) = hand.link.read(5)
    assert isinstance(report, Results)
    assert report.lease == 77
    (result,) = report.results
    assert (result.seq, result.outcome) == (seq, Outcome.SUCCEEDED)
    assert msgpack.unpackb(result.value) == {"a": [1, None, "ü", b"x", 2.5]}
    assert 0 < result.started <= result.finished


def test_results_of_quick_tasks_come_in_batches(start_child: StartChild) -> None:
    hand = start_child()
    hand.run("stop_clock")
    hand.run("echo", 0)
    packet = pack_packet(5, [item(seq, "echo", seq) for seq in range(1000, 1100)])
    hand.link.send(packet)
    reports = 0
    seen: list[int] = []
    while len(seen) < 100:
        for report in hand.link.read(5):
            assert isinstance(report, Results)
            reports += 1
            seen += [result.seq for result in report.results]
    assert seen == list(range(1000, 1100))
    assert reports < 20


@with_both_means
def test_results_of_two_leases_come_back_under_their_own(start_child: StartChild) -> None:
    hand = start_child()
    hand.run("echo", 0)
    os.kill(hand.link.pid, signal.SIGSTOP)  # so that both packets wait when it looks
    sent = {(lease, hand.give("echo", lease, lease=lease)) for lease in (5, 6, 5)}
    os.kill(hand.link.pid, signal.SIGCONT)
    seen: set[tuple[int, int]] = set()
    while len(seen) < len(sent):
        for report in hand.link.read(5):
            assert isinstance(report, Results)
            seen |= {(report.lease, result.seq) for result in report.results}
    assert seen == sent


def test_a_result_does_not_wait_behind_a_slow_task(start_child: StartChild, write_app: WriteApp) -> None:
    hand = start_child(write_app("import time\ndef quick(): pass\ndef slow(): time.sleep(60)"))
    hand.run("quick")
    hand.link.send(pack_packet(1, [item(8, "quick"), item(9, "slow")]))
    (result,) = hand.results(1, timeout=5)
    assert result.seq == 8


@with_both_means
@pytest.mark.parametrize("size", [0, 100_000, 200_000, 3_000_000])
def test_large_arguments_and_results_arrive(start_child: StartChild, size: int) -> None:
    hand = start_child()
    assert hand.value("echo", b"x" * size) == b"x" * size


def test_an_async_handler_is_run_in_one_loop(start_child: StartChild, write_app: WriteApp) -> None:
    hand = start_child(
        write_app(
            "import asyncio\nasync def loop(x):\n await asyncio.sleep(0)\n return [x, id(asyncio.get_running_loop())]"
        )
    )
    first, second = hand.value("loop", 1), hand.value("loop", 2)
    assert (first[0], second[0], first[1] == second[1]) == (1, 2, True)


# --- what handlers do ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        ("raise ValueError('no')", "ValueError", "no"),
        ("import sys; sys.exit(3)", "SystemExit", "3"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt", ""),
        ("import asyncio; raise asyncio.CancelledError", "asyncio.exceptions.CancelledError", ""),
        ("raise type('Mute', (Exception,), {'__str__': lambda s: 1 / 0})", "Mute", "ZeroDivisionError"),
        ("raise ValueError('\\ud800')", "ValueError", "\\ud800"),
        ("raise ValueError('x' * 10**6)", "ValueError", "characters left out"),
        ("handler()", "RecursionError", "recursion"),
        ("return [1, {'k': object()}]", "otpq.worker.values.UnpackableResult", "result[1]['k']: object is not allowed"),
        (
            "return {(1, 2): 3, 'k': {object: 1}}",
            "otpq.worker.values.UnpackableResult",
            "result: the key (1, 2) is of type tuple",
        ),
        ("return 2 ** 64", "otpq.worker.values.UnpackableResult", "result: an int of more than 64 bits"),
        ("a = []; a.append(a); return a", "otpq.worker.values.UnpackableResult", "result"),
    ],
)
def test_whatever_a_handler_raises_or_returns_is_an_outcome_and_the_child_lives_on(
    start_child: StartChild, write_app: WriteApp, body: str, kind: str, message: str
) -> None:
    source = f"def handler():\n {body}\nasync def coroutine():\n {body}\nimport os\ndef pid():\n return os.getpid()"
    hand = start_child(write_app(source))
    for name in ("handler", "coroutine"):
        result = hand.run(name)
        assert result.outcome is Outcome.FAILED
        got, text, trace = error_of(result.value)
        assert got == kind
        assert message in text
        assert "otpq/worker" not in trace
    assert hand.value("pid") == hand.link.pid


def test_an_unknown_handler_is_said_to_be_unknown(start_child: StartChild) -> None:
    result = start_child().run("no such")
    assert result.outcome is Outcome.NO_HANDLER
    assert "no handler 'no such'" in error_of(result.value)[1]


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("typed", (["1"], {}), "argument 'a': Expected `int`, got `str`"),
        ("typed", ([1], {"b": "x"}), "argument 'b': Invalid UUID"),
        (
            "typed",
            ([], {}),
            "typed cannot be called with these arguments: typed() missing 1 required positional argument: 'a'",
        ),
        ("typed", ([1], {"c": 1}), "typed() got an unexpected keyword argument 'c'"),
        ("bare", ([1, 2], {}), "bare() takes 1 positional argument but 2 were given"),
        ("bare_async", ([], {}), "bare_async() missing 1 required positional argument: 'a'"),
    ],
)
def test_arguments_that_are_not_the_handlers_end_the_task_for_good(
    start_child: StartChild, write_app: WriteApp, name: str, given: tuple[list[Any], dict[str, Any]], message: str
) -> None:
    source = "from uuid import UUID\ndef typed(a: int, b: UUID = None):\n return b\ndef bare(a):\n return None\n"
    hand = start_child(write_app(f"{source}async def bare_async(a):\n return None"))
    result = hand.run(name, *given[0], **given[1])
    kind, text, _ = error_of(result.value)
    assert (result.outcome, kind) == (Outcome.DISCARDED, "otpq.worker.conversion.BadArgument")
    assert message in text
    assert hand.run("bare", 1).outcome is Outcome.SUCCEEDED


def test_a_type_error_of_the_handlers_own_is_an_error_like_others(start_child: StartChild, write_app: WriteApp) -> None:
    source = "def inner(a): pass\ndef handler(a):\n inner()\nasync def coroutine(a):\n inner()\ndef raises(a):\n raise TypeError('x')"
    hand = start_child(write_app(source))
    for name in ("handler", "coroutine", "raises"):
        assert hand.run(name, 1).outcome is Outcome.FAILED


def test_values_become_what_they_were_and_travel_back(start_child: StartChild, write_app: WriteApp) -> None:
    hand = start_child(write_app("from uuid import UUID\ndef handler(a: UUID):\n return [type(a).__name__, a]"))
    text = "00000000-0000-0000-0000-000000000005"
    assert hand.value("handler", text) == ["UUID", text]


def test_memory_has_its_limit_and_its_lack_is_an_outcome(start_child: StartChild, write_app: WriteApp) -> None:
    hand = start_child(write_app("def eat():\n return len(bytearray(1 << 30))"), data_limit=1 << 28)
    assert error_of(hand.run("eat").value)[0] == "MemoryError"
    assert hand.run("eat").outcome is Outcome.FAILED


@with_both_means
def test_what_a_handler_prints_is_in_the_nodes_hands_although_the_child_dies(
    start_child: StartChild, write_app: WriteApp
) -> None:
    hand = start_child(write_app("import os\ndef last():\n print('last words')\n os.kill(os.getpid(), 9)"))
    seq = hand.give("last", lease=7)
    assert hand.link.running.wait(5) is not None
    (record,) = map(msgpack.unpackb, hand.link.ring.take())
    assert (record[:3], record[4:]) == ([seq, 7, 1], ["out", "info", "last words", None])


@with_both_means
def test_a_fork_that_comes_back_from_the_handler_is_no_second_child(
    start_child: StartChild, write_app: WriteApp
) -> None:
    source = (
        "import os, sys\ndef fork(how):\n pid = os.fork()\n if pid == 0:\n  if how == 'raise': sys.exit(7)\n  return 'copy'\n"
        " return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])"
    )
    hand = start_child(write_app(source))
    assert [hand.value("fork", how) for how in ("return", "raise", "return")] == [0, 7, 0]
    assert hand.link.read(0.05) == []
    assert hand.board.read(hand.slot).begun == 3


def test_the_fork_bombs_first_children_are_gone_with_the_child(start_child: StartChild, client: WardenClient) -> None:
    if client.portable:
        pytest.skip("daemons get away without a subreaper")
    hand = start_child()
    assert hand.value("bomb", 50, client.incarnation) == 50
    eventually(lambda: len(sleepers(client.incarnation)) >= 50)
    assert hand.link.kill() is not None
    assert survivors(client.incarnation) == []


@with_both_means
def test_a_crash_tells_its_signal_and_the_blackboard_whom_to_blame(
    start_child: StartChild, write_app: WriteApp, tmp_path: Path
) -> None:
    hand = start_child(write_app("import ctypes\ndef ok(): pass\ndef crash():\n ctypes.string_at(0)\n"))
    hand.link.send(pack_packet(4, [item(1, "ok"), item(2, "crash"), item(3, "ok")]))
    end = hand.link.running.wait(10)
    assert end is not None
    assert end.code == -signal.SIGSEGV
    entry = hand.board.read(hand.slot).running
    assert entry is not None
    assert (entry.seq, entry.lease, entry.attempt, entry.pid) == (2, 4, 1, hand.link.pid)
    assert [result.seq for result in hand.results(1)] == [1]
    assert "string_at" in (tmp_path / "log0").read_text()
    hand.board.clear(hand.slot)
    assert hand.board.read(hand.slot).running is None


# --- taking back, ending ---------------------------------------------------------------------------------------------


@with_both_means
def test_what_waits_in_front_of_a_child_stuck_in_c_can_be_taken_back(start_child: StartChild) -> None:
    hand = start_child()
    hand.give("hang_in_c")
    eventually(lambda: hand.board.read(hand.slot).running)
    sent = [hand.packet("echo", "x" * size)[1] for size in (10, 1000, 300_000, 10)]
    for packet in sent:
        assert hand.link.send(packet)
    assert hand.link.take_back() == sent
    assert hand.link.take_back() == []
    entry = hand.board.read(hand.slot).running
    assert entry is not None
    assert entry.seq == 1
    assert hand.link.kill() is not None


@with_both_means
def test_each_packet_is_either_run_or_taken_back(start_child: StartChild) -> None:
    hand = start_child()
    sent: set[int] = set()
    back: set[int] = set()
    for _ in range(300):
        sent |= {hand.give("echo", 1) for _ in range(3)}
        back |= {unpack_packet(packet).items[0].seq for packet in hand.link.take_back()}
    run = [result.seq for result in hand.results(len(sent - back))] if sent - back else []
    assert len(run) == len(set(run))
    assert set(run) | back == sent
    assert not set(run) & back


@with_both_means
def test_a_full_pipe_is_said_to_be_full_and_a_dead_child_to_take_nothing(start_child: StartChild) -> None:
    hand = start_child()
    os.kill(hand.link.pid, signal.SIGSTOP)
    packet = hand.packet("echo", "x" * 100_000)[1]
    count = 0
    while hand.link.send(packet):
        count += 1
        assert count < 100
    assert count >= 1
    assert len(hand.link.take_back()) == count
    assert hand.link.kill() is not None


@with_both_means
def test_asked_to_finish_a_child_runs_what_it_was_sent_and_ends(start_child: StartChild) -> None:
    hand = start_child()
    for number in range(50):
        hand.give("echo", number)
    assert hand.link.finish()
    assert [msgpack.unpackb(result.value) for result in hand.results(50)] == list(range(50))
    end = hand.link.running.wait(5)
    assert end is not None
    assert end.code == 0


@with_both_means
def test_term_lets_the_task_end_and_hands_the_others_back(start_child: StartChild, write_app: WriteApp) -> None:
    hand = start_child(
        write_app("import os, signal\ndef term():\n os.kill(os.getpid(), signal.SIGTERM)\n return 'done'")
    )
    hand.link.send(pack_packet(1, [item(1, "term"), item(2, "term"), item(3, "term")]))
    outcomes = [(result.seq, result.outcome) for result in hand.results(3)]
    assert outcomes == [(1, Outcome.SUCCEEDED), (2, Outcome.RETURNED), (3, Outcome.RETURNED)]
    end = hand.link.running.wait(5)
    assert end is not None
    assert end.code == 0
    assert hand.board.read(hand.slot).begun == 1


@with_both_means
def test_term_ends_an_idle_child_and_int_does_nothing(start_child: StartChild) -> None:
    hand = start_child()
    os.kill(hand.link.pid, signal.SIGINT)
    assert hand.value("echo", 1) == 1
    hand.link.running.signal(signal.SIGTERM)
    end = hand.link.running.wait(5)
    assert end is not None
    assert end.code == 0


@with_both_means
def test_a_child_whose_worker_lets_go_of_it_ends(start_child: StartChild) -> None:
    hand = start_child()
    hand.link.close()
    assert hand.link.running.wait(5) is not None


@pytest.mark.parametrize("portable", ["portable"], indirect=True)  # else the warden does it
def test_a_portable_child_ends_with_its_node_though_a_handler_is_busy(
    start_child: StartChild, write_app: WriteApp
) -> None:
    hand = start_child(write_app("def busy():\n while True: pass"))
    hand.give("busy")
    eventually(lambda: hand.board.read(hand.slot).running)
    hand.link.close()
    assert hand.link.running.wait(5) is not None


# --- the app --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise ValueError('not today')", "ValueError: not today"),
        ("import sys; sys.exit(1)", "SystemExit: 1"),
        ("import no_such_module", "ModuleNotFoundError"),
        ("application = 1", "has no 'app'"),
        ("app = 1", "is int, no app"),
    ],
)
def test_an_app_that_cannot_be_loaded_is_refused_with_its_own_words(
    client: WardenClient, tmp_path: Path, source: str, reason: str
) -> None:
    path = tmp_path / "broken.py"
    path.write_text(source)
    board = Blackboard.create(tmp_path / "board", 1)
    link = ChildLink.start(client, ChildSettings(f"{path}:app"), board, 0)
    with pytest.raises(ChildRefused, match=reason):
        link.wait_ready()
    end = link.running.wait(5)
    assert end is not None
    assert end.code == 3
    link.close()


def test_a_module_is_imported_by_name_and_main_files_under_another(start_child: StartChild, tmp_path: Path) -> None:
    (tmp_path / "my_module.py").write_text(
        "from types import SimpleNamespace as N\nname = __name__\n"
        "if __name__ == '__main__': raise SystemExit('run as a program')\n"
        "class Box: app = N(tasks={'name': N(handler=lambda: name, declaration=b'')})\n"
    )
    by_name = start_child("my_module:Box.app", path=(str(tmp_path), *sys.path))
    by_path = start_child(f"{tmp_path / 'my_module.py'}:Box.app")
    assert (by_name.value("name"), by_path.value("name")) == ("my_module", "__otpq_main__")


def test_a_child_imports_little(start_child: StartChild, write_app: WriteApp) -> None:
    hand = start_child(
        write_app(
            "import sys\ndef loaded(a: int, b: list, c):\n return sorted({name.split('.')[0] for name in sys.modules})"
        )
    )
    heavy = {
        "zmq",
        "apsw",
        "msgspec",
        "pykka",
        "asyncio",
        "json",
        "logging",
        "threading",
        "ctypes",
        "typing_extensions",
    }
    loaded = set(hand.value("loaded", 1, [], {}))
    assert loaded & heavy <= {"threading"}  # by the standard library's own imports


@with_both_means
def test_a_dead_childs_slot_is_taken_over_by_the_next(start_child: StartChild, client: WardenClient) -> None:
    hand = start_child()
    hand.give("hang_in_c")
    eventually(lambda: hand.board.read(hand.slot).running)
    turn = hand.board.read(hand.slot).turn
    hand.link.kill()
    link = ChildLink.start(
        client, ChildSettings("busy_app:app", path=(str(Path(__file__).parent), *sys.path)), hand.board, hand.slot
    )
    link.wait_ready()
    assert hand.board.read(hand.slot) == (turn + 1, None)
    assert not is_running(hand.link.pid)
    link.kill()
    link.close()
