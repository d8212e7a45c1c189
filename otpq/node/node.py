"""run_node: a node in this process, from its supervision tree to its last child's end.

Its tree is built in `tree.py`.
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
from otpq.faults import arm
from otpq.node.config import BadDirectory
from otpq.node.joining import DRAIN, Fatal, JoinedCluster, is_in, leave
from otpq.node.tree import start_tree
from otpq.otp import (
    CallFailed,
    Exit,
    Pid,
    Shutdown,
    attach,
    cast,
    is_alive,
    send,
    stop,
)
from otpq.queue.messages import PoolOrder, Reload
from otpq.wire.cookie import Cookie
from otpq.worker.pool import Pool
from otpq.worker.warden_server import Warden

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from otpq.errors import OtpqError
    from otpq.node.config import NodeConfig
    from otpq.node.console_lines import Line
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

_HURRY, _END, _RELOAD = "hurry", "end", "reload"


def run_node(
    config: NodeConfig, *, announce: Callable[[str], None], say: Callable[[Sequence[Line]], None] | None = None
) -> int:
    """Run a node until it is told to end (TERM, INT, the end of its parent); gives its exit code.

    The first signal drains: nothing new starts, what runs has `config.grace` seconds, the rest is handed back uncharged. A
    second one takes back the grace. After a third, nobody waits for anything: what ran is charged, and nothing is lost. HUP
    reloads the app.

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
    if config.leads and config.seeds:
        from otpq.node.rivals import check_alone  # it dials, which a node that is alone never does

        check_alone(config.name, config.seeds, cookie)
    with attach("node", trap_exit=True) as me, _signals(me.pid):
        file = config.place / ADDRESS_FILE
        with _writing_in(config.place):
            tree = start_tree(config, cookie, say)
            file.write_text(f"{config.name} {os.getpid()}", encoding="utf-8")
        ready = partial(announce, f"ready {config.name} {config.name.address}")
        try:
            return _Life(config, me, tree, ready).live()
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


class _Life:
    """From the tree's start to its end, by the messages that come meanwhile."""

    def __init__(self, config: NodeConfig, me: Attached, tree: Pid, ready: Callable[[], None]) -> None:
        self._config = config
        self._me = me
        self._tree = tree
        self._ready = ready
        self._is_ready = False
        self._is_draining = False
        self._until = math.inf

    def live(self) -> int:
        """The exit code, when it is over."""
        if self._config.leads:
            self._serve()
        while time.monotonic() < self._until:
            try:
                message = self._me.receive(timeout=min(3600.0, self._until - time.monotonic()))
            except TimeoutError:
                continue
            code = self._hear(message)
            if code is not None:
                return code
        logger.warning("what runs did not end within %s s; the warden ends it", AT_ONCE)
        return 0

    def _serve(self) -> None:
        if not self._is_ready:
            self._is_ready = True
            self._ready()

    def _hear(self, message: Any) -> int | None:
        match message:
            case Exit(pid, reason) if pid is self._tree:
                if self._is_draining:
                    return 0
                logger.error("the node gives up: %r", reason)
                return 1
            case JoinedCluster():
                self._serve()
            case Fatal(error):
                self._turned(error)
            case str() if message in _ORDERS:
                _ORDERS[message](self)
            case _ if message == _END:
                return 0
            case _:
                logger.warning("the node drops %r", message)
        return None

    def _turned(self, error: OtpqError) -> None:
        if not self._is_ready:
            stop(self._tree, Shutdown())
            raise error
        # What runs goes on until its lease is over; an operator may mend it meanwhile.
        logger.error("the cluster does not let this node in again: %s", error)

    def _begin_drain(self) -> None:
        if self._is_draining:  # by a call from elsewhere, and by a signal
            return
        logger.info("draining: nothing new starts; %s s for what runs", self._config.grace)
        self._is_draining = True
        threading.Thread(target=self._drain, name="otpq-drain", daemon=True).start()

    def _drain(self) -> None:
        try:
            pools = self._pools()
            for pool in pools:
                Pool.begin_drain(pool, self._config.grace)
            for pool in pools:
                Pool.drain(pool, self._config.grace)
            uplink = self._uplink()
            if pools:
                self._bury()
            if uplink is not None:
                leave(uplink)
            stop(self._tree, Shutdown())
        except CallFailed as gone:
            logger.warning("drain: %s", gone)
            send(self._me.pid, _END)

    def _bury(self) -> None:
        """Have the tombstone written: no child is left, and whoever reads it gives out at once what we had."""
        warden = self._me.registry.whereis("warden")
        try:
            if warden is not None:
                Warden.bury(warden)
        except CallFailed as failed:  # the node's own exit writes it
            logger.warning("the warden was not there to be closed: %s", failed)

    def _uplink(self) -> Pid | None:
        """Where goodbye can be said; then nobody else is to tell of our end."""
        uplink = None if self._config.leads else self._me.registry.whereis("queue_server")
        if uplink is None or not is_in(uplink):
            return None
        from otpq.node.obituary import take_back_words

        take_back_words(self._config.place)
        return uplink

    def _hurry(self) -> None:
        logger.warning("ending at once: what runs is handed back")
        self._until = time.monotonic() + AT_ONCE
        for pool in self._pools():
            Pool.hurry(pool)

    def _reload(self) -> None:
        logger.info("reloading: new children load the app, the old ones end what they run")
        for pool in self._pools():
            cast(pool, PoolOrder(0, Reload()))

    def _pools(self) -> list[Pid]:
        found = (self._me.registry.whereis(f"pool {pool.name}") for pool in self._config.staffed)
        return [pool for pool in found if pool is not None]


_ORDERS: Final[dict[str, Callable[[_Life], None]]] = {
    DRAIN: _Life._begin_drain,  # noqa: SLF001 - a table of its own methods
    _HURRY: _Life._hurry,  # noqa: SLF001
    _RELOAD: _Life._reload,  # noqa: SLF001
}


@contextmanager
def _signals(node: Pid) -> Iterator[None]:
    """TERM, INT and HUP, and the end of the parent that gave OTPQ_PARENT_FD, as messages to the node.

    HUP reloads, as daemons do; on a terminal it says that this is gone, and means TERM.
    """
    told = iter([DRAIN, _HURRY])

    def put(message: str) -> None:
        if is_alive(node):
            node.process.put(message)  # a SimpleQueue's put may be interrupted by itself

    def tell(*_: Any) -> None:
        put(next(told, _END))

    def reload(*_: Any) -> None:
        put(_RELOAD)

    on_hangup = tell if sys.stdout is not None and sys.stdout.isatty() else reload
    before = {which: signal.signal(which, tell) for which in (signal.SIGTERM, signal.SIGINT)}
    before[signal.SIGHUP] = signal.signal(signal.SIGHUP, on_hangup)
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
