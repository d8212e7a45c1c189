"""run_node: a node in this process, from its supervision tree to its last child's end.

The tree is drawn in docs/architecture.md; `_start` builds it.
"""

from __future__ import annotations

import gc
import logging
import math
import os
import signal
import sys
import threading
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from otpq.client.address import ADDRESS_FILE
from otpq.errors import OtpqError
from otpq.faults import arm
from otpq.node.config import BadDirectory
from otpq.node.console import Console
from otpq.node.past import deaths_in, new_incarnation, remove_leftovers
from otpq.node.undertaker import Undertaker
from otpq.otp import (
    CallFailed,
    ChildSpec,
    Crash,
    Exit,
    FailedToStartChild,
    Pid,
    Reason,
    Shutdown,
    StartFailed,
    Supervisor,
    attach,
    cast,
    is_alive,
    send,
    stop,
)
from otpq.queue.onlooker import CONSOLE
from otpq.queue.pruner import Pruner
from otpq.queue.queue_server import QueueServer
from otpq.queue.reader import Reader
from otpq.store.url import open_store, parse_url
from otpq.wire.cookie import Cookie
from otpq.wire.listener import Listener
from otpq.worker import tombstone
from otpq.worker.pool import Pool
from otpq.worker.pool_config import PoolConfig
from otpq.worker.pool_tree import pool_tree
from otpq.worker.warden_server import Warden

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from otpq.node.config import NodeConfig
    from otpq.node.console_lines import Line
    from otpq.node.pools import PoolSettings
    from otpq.otp import Attached

__all__ = ["run_node"]

logger = logging.getLogger("otpq.node")

SWITCH_INTERVAL: Final = 0.0005
"""Seconds after which a Python thread lets another run: at the default, 5 ms, a busy one would starve the queue server."""

AT_ONCE: Final = 5.0
"""Seconds that a node which is to end at once has to kill what runs and hand it back: milliseconds, unless a disk hangs."""

YOUNG: Final = 10_000
"""Objects made until the garbage collector looks at them. A step makes thousands, which end with it; at the default, 700,
looking at them took 3 % of the node's CPU."""

_DRAIN, _HURRY, _END = "drain", "hurry", "end"


def run_node(
    config: NodeConfig, *, announce: Callable[[str], None], say: Callable[[Sequence[Line]], None] | None = None
) -> int:
    """Run a node until it is told to end (TERM, INT, the end of its parent); gives its exit code.

    The first signal drains: nothing new starts, what runs has `config.grace` seconds, the rest is handed back uncharged. A
    second one takes back the grace. After a third, nobody waits for anything: what ran is charged, and nothing is lost.

    Args:
        config: What it is to be.
        announce: Called once, when it serves, with the line `ready NAME ADDRESS`.
        say: Prints lines about tasks, in a thread of its own; None: nobody looks.
    """
    arm(os.environ.get("OTPQ_FAULT", ""))
    sys.setswitchinterval(SWITCH_INTERVAL)
    gc.set_threshold(YOUNG)
    with _writing_in(config.place):
        config.place.mkdir(mode=0o700, parents=True, exist_ok=True)
    cookie = Cookie.ensure(config.cookie)
    with attach("node", trap_exit=True) as me, _signals(me.pid):
        file = config.place / ADDRESS_FILE
        with _writing_in(config.place):
            tree = _start(config, cookie, say)
            file.write_text(f"{config.name} {os.getpid()}", encoding="utf-8")
        try:
            announce(f"ready {config.name} {config.name.address}")
            return _live(config, me, tree)
        finally:
            file.unlink(missing_ok=True)


@contextmanager
def _writing_in(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.filename is None:
            raise
        raise BadDirectory(directory, error) from error


def _start(config: NodeConfig, cookie: Cookie, say: Callable[[Sequence[Line]], None] | None) -> Pid:
    incarnation = new_incarnation()
    name = config.name.plain
    undertaker = partial(Undertaker.start_link, config.place, name, "queue_server")
    specs = [
        _queue_tree(config, cookie, name, incarnation),
        ChildSpec(id="undertaker", start=undertaker, restart="transient"),
    ]
    if say is not None:
        # First up and last down, so that it tells of all; never restarted, since a display must not bring a node down.
        console = partial(Console.start_link, say, name=CONSOLE)
        specs.insert(0, ChildSpec(id="console", start=console, restart="temporary", shutdown=1.0))
    if config.staffed:
        start = partial(_start_pools, config, name, incarnation)
        specs.append(ChildSpec(id="pool tree", start=start, type="supervisor"))
    # Five restarts in ten seconds: a store or a socket that is broken for a moment is worth some tries, and what does
    # not mend in that time is for the operator, or for whoever restarts the program.
    try:
        return Supervisor.start_link(specs, max_restarts=5, max_seconds=10.0, name="node")
    except StartFailed as failed:
        raise _root(failed.reason, failed) from None


def _queue_tree(config: NodeConfig, cookie: Cookie, name: str, incarnation: str) -> ChildSpec:
    has_reader = parse_url(config.store_url) is not None  # nobody else can look into this process's memory
    children = [
        ChildSpec(
            id="queue_server",
            start=partial(
                QueueServer.start_link,
                partial(open_store, config.store_url),
                partial(Listener, config.name.address, cookie),
                name,
                incarnation,
                deaths_in(config.place, name),
                has_reader=has_reader,
                lease=config.lease,
                name="queue_server",
            ),
            shutdown=10.0,
        )
    ]
    pruner = partial(
        Pruner.start_link,
        "queue_server",
        config.retention,
        partial(remove_leftovers, config.place, incarnation),
        name="pruner",
    )
    children.append(ChildSpec(id="pruner", start=pruner))
    if has_reader:
        reader = partial(Reader.start_link, config.store_url, "queue_server", name="reader")
        children.append(ChildSpec(id="reader", start=reader))
    # Rest for one: what looks or prunes for a queue server that is gone has nobody to tell. The numbers are the node's:
    # what does not mend here does not mend above.
    start = partial(
        Supervisor.start_link, children, strategy="rest_for_one", max_restarts=5, max_seconds=10.0, name="queue tree"
    )
    return ChildSpec(id="queue tree", start=start, type="supervisor")


def _start_pools(config: NodeConfig, name: str, incarnation: str) -> Pid:
    """Start the pools' tree, as another incarnation if this one is over.

    The warden ends an incarnation whose lease has run out, because the node was stopped or its queue server gone, and a
    tombstone is for good. The node lives on all the same; it tells the queue server of the death, which ends the leases.
    """
    if tombstone.path_of(config.place, incarnation).exists():
        for death in deaths_in(config.place, name):
            cast("queue_server", (death,))
        incarnation = new_incarnation()
        logger.warning("the lease ran out and the warden ended what ran; going on as incarnation %s", incarnation)
    return pool_tree(*(_pool_config(config, pool, name, incarnation) for pool in config.staffed)).start()


def _pool_config(config: NodeConfig, pool: PoolSettings, name: str, incarnation: str) -> PoolConfig:
    return PoolConfig(
        node=name,
        incarnation=incarnation,
        directory=config.place,
        name=pool.name,
        queues=pool.queues,
        tags=pool.tags,
        executor=pool.executor,
        parallel=pool.at_a_time,
        size=pool.least,
        most=pool.most,
        memory=config.memory,
        script_dirs=tuple(map(str, config.script_dirs)),
        app=config.app or "",
        path=config.path,
        # What a handler submits goes to its own node, whatever the shell that started the node talks to.
        environment={"OTPQ_NODE": str(config.name), "OTPQ_COOKIE_FILE": str(config.cookie.absolute())},
        grace=config.grace,
        lease=config.lease,
        beat=min(1.0, config.lease / 5),
    )


def _live(config: NodeConfig, me: Attached, tree: Pid) -> int:
    is_draining, until = False, math.inf
    while time.monotonic() < until:
        try:
            message = me.receive(timeout=min(3600.0, until - time.monotonic()))
        except TimeoutError:
            continue
        match message:
            case Exit(pid, reason) if pid is tree:
                if is_draining:
                    return 0
                logger.error("the node gives up: %r", reason)
                return 1
            case _ if message == _DRAIN:
                logger.info("draining: nothing new starts; %s s for what runs", config.grace)
                is_draining = True
                threading.Thread(target=_drain, args=(config, me, tree), name="otpq-drain", daemon=True).start()
            case _ if message == _HURRY:
                logger.warning("ending at once: what runs is handed back")
                until = time.monotonic() + AT_ONCE
                for pool in _pools(config, me):
                    Pool.hurry(pool)
            case _ if message == _END:
                return 0
            case _:
                logger.warning("the node drops %r", message)
    logger.warning("what runs did not end within %s s; the warden ends it", AT_ONCE)
    return 0


def _drain(config: NodeConfig, me: Attached, tree: Pid) -> None:
    try:
        pools = _pools(config, me)
        for pool in pools:
            Pool.begin_drain(pool, config.grace)
        for pool in pools:
            Pool.drain(pool, config.grace)
        if pools:
            _bury(me)
        stop(tree, Shutdown())
    except CallFailed as gone:
        logger.warning("drain: %s", gone)
        send(me.pid, _END)


def _pools(config: NodeConfig, me: Attached) -> list[Pid]:
    found = (me.registry.whereis(f"pool {pool.name}") for pool in config.staffed)
    return [pool for pool in found if pool is not None]


def _bury(me: Attached) -> None:
    """Have the tombstone written: no child is left, and whoever reads it gives out at once what we had."""
    warden = me.registry.whereis("warden")
    try:
        if warden is not None:
            Warden.bury(warden)
    except CallFailed as failed:  # the node's own exit writes it
        logger.warning("the warden was not there to be closed: %s", failed)


@contextmanager
def _signals(node: Pid) -> Iterator[None]:
    """TERM and INT, and the end of the parent that gave OTPQ_PARENT_FD, as messages to the node."""
    told = iter([_DRAIN, _HURRY])

    def tell(*_: Any) -> None:
        if is_alive(node):
            node.process.put(next(told, _END))  # a SimpleQueue's put may be interrupted by itself

    before = {which: signal.signal(which, tell) for which in (signal.SIGTERM, signal.SIGINT)}
    parent = os.environ.pop("OTPQ_PARENT_FD", None)
    if parent is not None:
        threading.Thread(target=_watch_parent, args=(int(parent), tell), name="otpq-parent", daemon=True).start()
    try:
        yield
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)


def _watch_parent(descriptor: int, tell: Callable[[], None]) -> None:
    while os.read(descriptor, 1):
        pass
    tell()


def _root(reason: Reason, fallback: BaseException) -> BaseException:
    """The error at the bottom of a failed start."""
    while isinstance(reason, Shutdown) and isinstance(reason.detail, FailedToStartChild):
        reason = reason.detail.reason
    return reason.error if isinstance(reason, Crash) else OtpqError(f"{fallback}")
