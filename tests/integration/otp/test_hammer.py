"""Calls that race deaths: each ends with an answer or with the reason, and none waits for ever."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections import Counter
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from otpq import otp
from otpq.otp import (
    CallFailed,
    CallTimeout,
    Crash,
    Failure,
    GenServer,
    Kill,
    Killed,
    NoProc,
    NoReply,
    Registry,
    Reply,
    Shutdown,
    Supervisor,
    attach,
)
from tests.integration.otp.support import HANG, MANY, Boom, Puppet, children

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from otpq.otp import Attached, Caller, Pid

CALLS = 10_000
CALLERS = 4


@pytest.fixture(autouse=True)
def many_switches() -> Iterator[None]:
    """Threads change places as often as they can, so that races are lost here and not elsewhere."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


class Echo(GenServer):
    """Answers at once, or later, or crashes, as it is asked."""

    def init(self) -> None:
        self.kept: list[Caller] = []

    def handle_call(self, request: Any, caller: Caller) -> Reply | NoReply:
        if request == "crash":
            raise Boom
        if request == "later":
            self.kept.append(caller)
            otp.cast(self.pid, "answer")
            return NoReply()
        return Reply(request)

    def handle_cast(self, request: Any) -> None:
        assert request == "answer"
        otp.reply(self.kept.pop(0), "later")


class Batching(Echo):
    """The same, a batch at a time."""

    def handle_batch(self, messages: list[Any]) -> None:
        for message in messages:
            if isinstance(message, otp.Call):
                if message.request == "crash":
                    raise Boom
                otp.reply(message.caller, message.request)


def outcome(server: otp.Server, request: str) -> str:
    """How one call ended, in a word; anything but an answer or a known reason is an error."""
    try:
        answer = otp.call(server, request, timeout=HANG)
    except CallTimeout:
        return "waited for ever"
    except CallFailed as error:
        match error.reason:
            case Killed() | NoProc() | Failure("fire") | Crash(Boom()):
                return type(error.reason).__name__
            case other:
                return repr(other)
    return "answered" if answer == request else repr(answer)


def hammer(ask: Callable[[int], str], registry: Registry | None = None) -> Counter[str]:
    """Let `CALLERS` threads make `CALLS` calls in all; the outcomes, counted."""
    outcomes: list[str] = []

    def make_calls(first: int) -> None:
        outcomes.extend(ask(number) for number in range(first, CALLS, CALLERS))

    def attached(first: int) -> None:
        with attach(registry=registry, trap_exit=True):
            make_calls(first)

    run = make_calls if registry is None else attached
    threads = [threading.Thread(target=run, args=(first,)) for first in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == CALLS
    return Counter(outcomes)


@pytest.fixture
def killing() -> Iterator[Callable[[Callable[[], None]], None]]:
    """Run a function over and over on a thread of its own, until the test is over."""
    stop = threading.Event()
    errors: list[BaseException] = []
    threads: list[threading.Thread] = []

    def start(function: Callable[[], None]) -> None:
        def run() -> None:
            try:
                while not stop.is_set():
                    function()
            except BaseException as error:  # noqa: BLE001 - the test's to see
                errors.append(error)

        threads.append(threading.Thread(target=run))
        threads[-1].start()

    yield start
    stop.set()
    for thread in threads:
        thread.join(HANG)
    assert errors == []


REQUESTS = ["echo"] * 20 + ["later"] * 5
KNOWN = {"answered", "Killed", "NoProc", "Failure", "Crash"}


@pytest.mark.parametrize("kind", [Echo, Batching])
def test_ten_thousand_calls_to_servers_that_are_killed_all_end(
    registry: Registry, killing: Callable[[Callable[[], None]], None], kind: type[Echo]
) -> None:
    target = [kind.start(registry=registry)]

    def replace() -> None:
        old, target[0] = target[0], kind.start(registry=registry)
        otp.exit(old, Kill())

    killing(replace)
    outcomes = hammer(lambda number: outcome(target[0], REQUESTS[number % len(REQUESTS)]))
    assert set(outcomes) <= KNOWN
    assert outcomes["answered"] > 0


def test_ten_thousand_calls_to_servers_that_crash_all_end(registry: Registry) -> None:
    target = [Echo.start(registry=registry)]
    requests = [*REQUESTS, "crash"]

    def ask(number: int) -> str:
        pid: Pid = target[0]
        if not otp.is_alive(pid):
            pid = target[0] = Echo.start(registry=registry)
        return outcome(pid, requests[number % len(requests)])

    outcomes = hammer(ask)
    assert set(outcomes) <= KNOWN
    assert outcomes["answered"] > 0
    assert outcomes["Crash"] > 0


def test_ten_thousand_calls_by_name_to_a_supervised_server_all_end(
    me: Attached, registry: Registry, killing: Callable[[Callable[[], None]], None]
) -> None:
    supervisor = Supervisor.start_link([Echo.child_spec(id="echo", name="echo")], max_restarts=MANY)

    def kill() -> None:
        pid = registry.whereis("echo")
        if pid is not None:
            otp.exit(pid, Failure("fire"))

    killing(kill)
    outcomes = hammer(lambda number: outcome("echo", REQUESTS[number % len(REQUESTS)]), registry)
    assert set(outcomes) <= KNOWN
    assert otp.is_alive(supervisor)
    assert len(children(supervisor)) == 1
    assert otp.is_alive(me.pid)


def test_a_stop_that_races_a_kill_ends(registry: Registry) -> None:
    def stop(_number: int) -> str:
        pid = Echo.start(registry=registry)
        killer = threading.Thread(target=otp.exit, args=(pid, Kill()))
        killer.start()
        try:
            otp.stop(pid, timeout=HANG)
        except CallTimeout:
            return "waited for ever"
        except CallFailed as error:
            return type(error.reason).__name__
        finally:
            killer.join(HANG)
        return "stopped"

    outcomes = Counter(stop(number) for number in range(300))
    assert set(outcomes) <= {"stopped", "Killed", "NoProc"}


def test_a_stop_that_races_nothing_stops(registry: Registry) -> None:
    for _ in range(3_000):
        otp.stop(Echo.start(registry=registry), timeout=HANG)


# --- a tree under fire -------------------------------------------------------------------------------------------------


def random_tree(random: Random, id: str, depth: int) -> otp.ChildSpec:
    """A supervisor over named workers, half of which trap exits, and other supervisors."""
    specs = []
    for number in range(random.randint(1, 3)):
        below = f"{id}.{number}"
        if depth and random.random() < 0.5:
            specs.append(random_tree(random, below, depth - 1))
        else:
            specs.append(Puppet.child_spec(below, id=below, name=below, traps=random.random() < 0.5))
    strategy = random.choice(["one_for_one", "one_for_all", "rest_for_one"])
    return Supervisor.child_spec(specs, id=id, strategy=strategy, max_restarts=MANY)


def all_of(node: otp.TreeNode) -> set[Pid]:
    """The pids of a tree in which all run; raises CallFailed if one does not."""
    if not isinstance(node.pid, otp.Pid) or not otp.is_alive(node.pid):
        raise CallFailed(node.id, NoProc())
    if node.type == "supervisor":
        children(node.pid)
    return {node.pid}.union(*(all_of(child) for child in node.children))


def comes_to_rest(root: Pid, me: Attached) -> bool:
    """Whether the living are those of the tree, and all of those, in the end."""
    give_up = time.monotonic() + HANG
    while time.monotonic() < give_up:
        with contextlib.suppress(CallFailed):
            if all_of(otp.tree(root)) | {me.pid} == set(me.registry.processes()):
                return True
    return False


@pytest.mark.parametrize("seed", range(10))
def test_a_tree_that_is_killed_at_from_all_sides_comes_to_rest_complete(me: Attached, seed: int) -> None:
    random = Random(seed)  # noqa: S311 - no secret
    specs = [random_tree(random, "a", 2), random_tree(random, "b", 2), Puppet.child_spec("c", id="c", name="c")]
    root = Supervisor.start_link(specs, strategy="rest_for_one", max_restarts=MANY)

    def kill_some(seed: int) -> None:
        random = Random(seed)  # noqa: S311 - no secret
        for _ in range(100):
            victims = [pid for pid in me.registry.processes() if pid not in (me.pid, root)]
            if victims:
                otp.exit(random.choice(victims), random.choice([Kill(), Failure("fire"), Shutdown()]))

    killers = [threading.Thread(target=kill_some, args=(number,)) for number in range(CALLERS)]
    for killer in killers:
        killer.start()
    for killer in killers:
        killer.join(HANG)
    assert comes_to_rest(root, me)
    names = {id for node in walk(otp.tree(root)) if node.type == "worker" and (id := node.id) is not None}
    assert me.registry.names().keys() == names
    otp.stop(root, timeout=HANG)
    assert me.registry.processes() == [me.pid]


def walk(node: otp.TreeNode) -> Iterator[otp.TreeNode]:
    yield node
    for child in node.children:
        yield from walk(child)
