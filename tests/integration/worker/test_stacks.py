"""What a child writes about itself when it is asked, whatever it is doing, and what is said when it cannot."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from otpq.worker.stacks import NoStacks, threads_of
from tests.integration.worker.rounds import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.worker.support import Hand, StartChild

WriteApp = Callable[[str], str]

SOURCE = """
import ctypes, faulthandler, hashlib, os, re, signal, threading, time

def begun(path): open(path, "w").close()

def loops_for_ever(path):
    begun(path)
    while True:
        pass

def backtracks(path):
    begun(path)
    re.match(r"(a+)+b", "a" * 64)

def hashes(path):
    begun(path)
    hashlib.pbkdf2_hmac("sha256", b"x", b"y", 2_000_000_000)

def holds_the_lock(path):
    begun(path)
    while True:
        ctypes.PyDLL(None).sleep(60)  # a signal ends it early

def sleeps(path, seconds=60):
    begun(path)
    time.sleep(seconds)

def has_a_thread(path):
    def in_the_thread(): sleeps(path)
    threading.Thread(target=in_the_thread, daemon=True).start()
    loops_for_ever(path)

def closes_all(path):
    os.closerange(3, 64)
    sleeps(path)

def opens_its_own(path):
    os.closerange(3, 64)
    kept = [open(f"{path}.{each}", "wb") for each in range(8)]
    sleeps(path)

def takes_the_signals(path, number):
    for each in (number, number + 1):
        signal.signal(each, lambda *_: None)
    sleeps(path)

def gives_the_signals_up(path, number):
    faulthandler.unregister(number + 1)
    sleeps(path)

def holds_the_signals_back(path, number):
    signal.pthread_sigmask(signal.SIG_BLOCK, [number, number + 1])
    sleeps(path)

def becomes_another(path):
    os.execvp("sh", ["sh", "-c", f"touch {path}; sleep 60"])

def echo(value): return value
"""
NUMBER = signal.SIGRTMIN + 7 if hasattr(signal, "SIGRTMIN") else 0


def _said(hand: Hand) -> str:
    """What it says; nothing if what it was asked before, when it was stopped, is answered just as the file is emptied."""
    try:
        return str(hand.link.stacks())
    except NoStacks:
        return ""


@pytest.fixture
def stuck(start_child: StartChild, write_app: WriteApp, tmp_path: Path) -> Callable[..., Hand]:
    """A function that has a child begin a handler, and waits until it is in it."""

    def start(name: str, *args: object, **settings: object) -> Hand:
        hand = start_child(write_app(SOURCE), **settings)
        path = tmp_path / f"{name}.begun"
        hand.give(name, str(path), *args)
        assert eventually(path.exists)
        return hand

    return start


def _is_out_of_reach(name: str, executor: str) -> bool:
    """Whether the main thread cannot come to the signal: it is in C code, or another thread keeps the lock there."""
    return name == "hashes" if executor == "process" else name in {"backtracks", "holds_the_lock"}


@pytest.mark.parametrize("name", ["loops_for_ever", "backtracks", "hashes", "holds_the_lock", "sleeps"])
@pytest.mark.parametrize("executor", ["process", "thread", "async"])
def test_a_child_says_what_it_runs(stuck: Callable[..., Hand], name: str, executor: str, *, portable: bool) -> None:
    hand = stuck(name, executor=executor, parallel=1 if executor == "process" else 2)
    if portable and _is_out_of_reach(name, executor):
        with pytest.raises(NoStacks, match="does not write them: it may be in C code"):
            hand.link.stacks()
        return
    for _ in range(3):
        threads = threads_of(hand.link.stacks())
        (stack,) = [stack for stack in threads.values() if f"in {name}" in stack]
        assert stack.index("in call") < stack.index(f"in {name}")  # the most recent call last


def test_every_thread_is_shown(stuck: Callable[..., Hand]) -> None:
    stacks = list(threads_of(stuck("has_a_thread").link.stacks()).values())
    assert [sum(word in stack for stack in stacks) for word in ("in in_the_thread", "in has_a_thread")] == [1, 1]


def test_a_child_that_was_asked_goes_on(start_child: StartChild, write_app: WriteApp, tmp_path: Path) -> None:
    hand = start_child(write_app(SOURCE))
    hand.give("sleeps", str(tmp_path / "begun"), 0.2)
    while not (tmp_path / "begun").exists():
        hand.link.stacks()
    (result,) = hand.results(1)
    assert result.finished - result.started >= 0.2
    assert "serve" in hand.link.stacks()  # idle
    assert hand.value("echo", 5) == 5


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("closes_all", r"has closed the descriptor for it \(6\)"),
        ("opens_its_own", r"has closed the descriptor for it \(6\)"),
        ("takes_the_signals", "does not write them: other handlers take the signals for it"),
        ("gives_the_signals_up", "has taken the signals for it away"),
        ("holds_the_signals_back", "does not write them: it holds the signals for it back"),
        ("becomes_another", "has taken the signals for it away"),
    ],
)
@pytest.mark.parametrize("portable", ["linux"], indirect=True)
def test_a_child_that_cannot_say_it_is_left_alone(stuck: Callable[..., Hand], name: str, words: str) -> None:
    hand = stuck(name, *([NUMBER] if "signals" in name else []))
    with pytest.raises(NoStacks, match=rf"^its child \(pid {hand.link.pid}\).*{words}$"):
        hand.link.stacks()
    assert hand.link.running.wait(0.05) is None


@pytest.mark.parametrize(
    "portable", ["linux"], indirect=True
)  # else a signal, any, is noted where the wake-up pipe was
def test_nothing_is_written_into_what_a_handler_has_opened(stuck: Callable[..., Hand], tmp_path: Path) -> None:
    hand = stuck("opens_its_own")
    for _ in range(2):
        with pytest.raises(NoStacks):
            hand.link.stacks()
    assert hand.link.running.exit is None
    files = list(tmp_path.glob("*.begun.*"))
    assert len(files) == 8
    assert [each.read_bytes() for each in files] == [b""] * 8


def test_a_stopped_child_is_said_to_be(stuck: Callable[..., Hand], portable: bool) -> None:  # noqa: FBT001 - a fixture
    hand = stuck("sleeps")
    os.kill(hand.link.pid, signal.SIGSTOP)
    why = "it may be in C code" if portable else "its state is T"
    with pytest.raises(NoStacks, match=f"does not write them: {why}"):
        hand.link.stacks()
    os.kill(hand.link.pid, signal.SIGCONT)
    assert eventually(lambda: "in sleeps" in _said(hand))


def test_a_child_that_has_ended_has_no_stacks(start_child: StartChild) -> None:
    link = start_child().link
    link.kill()
    with pytest.raises(NoStacks, match="its child has ended"):
        link.stacks()
    link.close()
    with pytest.raises(NoStacks, match="its child has ended"):
        link.stacks()
