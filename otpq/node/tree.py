"""The supervision tree of a node, as docs/architecture.md draws it."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from otpq.errors import OtpqError
from otpq.node.console import Console
from otpq.node.doorman import Doorman, Leader
from otpq.node.functions import Functions
from otpq.node.obituary import leave_word
from otpq.node.past import deaths_in, new_incarnation, remove_leftovers
from otpq.node.rpc import Rpc
from otpq.node.sweeper import FIRST, Sweeper
from otpq.node.undertaker import Undertaker
from otpq.otp import (
    Cast,
    ChildSpec,
    Crash,
    Distribution,
    FailedToStartChild,
    Reason,
    Shutdown,
    StartFailed,
    Supervisor,
    cast,
    self_pid,
)
from otpq.queue.afar import packed
from otpq.queue.onlooker import CONSOLE
from otpq.queue.pruner import Pruner
from otpq.queue.queue_server import QueueServer
from otpq.queue.reader import Reader
from otpq.store.url import open_store, parse_url
from otpq.task import normalized, pack_said
from otpq.wire.listener import Listener
from otpq.wire.peers import Member
from otpq.worker import tombstone
from otpq.worker.pool_config import PoolConfig
from otpq.worker.pool_tree import pool_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from otpq.node.config import NodeConfig
    from otpq.node.console_lines import Line
    from otpq.node.pools import PoolSettings
    from otpq.otp import Pid, Registry, Signal
    from otpq.wire.cookie import Cookie
    from otpq.wire.node_name import NodeName

__all__ = ["carrier", "start_tree"]

logger = logging.getLogger("otpq.node")


def start_tree(config: NodeConfig, cookie: Cookie, say: Callable[[Sequence[Line]], None] | None) -> Pid:
    """Start all of a node; its supervisor, linked to the current process.

    Args:
        config: What it is to be; its directory is there.
        cookie: Who may talk to it.
        say: As of `run_node`.

    Raises:
        BaseException: What the first process that could not start has said.
    """
    incarnation = new_incarnation()
    name = config.name.plain
    registry = self_pid().process.registry
    Distribution(name, registry, carrier(registry, name))
    undertaker = partial(Undertaker.start_link, config.place, name, "queue_server")
    head = _queue_tree(config, cookie, name, incarnation) if config.leads else _federation(config, cookie, incarnation)
    functions = Functions(config, incarnation, registry)
    remove = partial(remove_leftovers, config.place, incarnation)
    first = min(FIRST, config.retention.shortest / 4)
    sweeper = partial(Sweeper.start_link, "queue_server", remove, first, name="sweeper")
    specs = [
        ChildSpec(id="rpc", start=partial(Rpc.start_link, functions, name="rpc")),
        head,
        ChildSpec(id="undertaker", start=undertaker, restart="transient"),
        ChildSpec(id="sweeper", start=sweeper),
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


def carrier(registry: Registry, me: str) -> Callable[[str, Signal], bool]:
    """What gives signals for other nodes to whoever has the connection: the queue server, or the uplink in its place."""

    def carry(node: str, signal: Signal) -> bool:
        message = packed(me, node, signal)
        server = registry.whereis("queue_server")
        if server is None:
            return False
        # Past `cast`, since a dying process's own thread may be the one that has to tell of its death.
        server.process.put(Cast((message,)))
        return True

    return carry


def _queue_tree(config: NodeConfig, cookie: Cookie, name: str, incarnation: str) -> ChildSpec:
    has_reader = parse_url(config.store_url) is not None  # nobody else can look into this process's memory
    children = [
        ChildSpec(
            id="queue_server",
            start=partial(
                QueueServer.start_link,
                partial(open_store, config.store_url),
                partial(Listener, config.listens_at, cookie),
                name,
                incarnation,
                deaths_in(config.place, name),
                has_reader=has_reader,
                lease=config.lease,
                address=str(config.name),
                handlers={name: pack_said(normalized(said)) for name, said in config.handler_options.items() if said},
                queues=config.queue_sizes,
                schedules={name: msgspec.msgpack.encode(each) for name, each in config.schedules.items()},
                scheduler=config.scheduler,
                retention=config.retention,
                webhooks=config.webhooks,
                name="queue_server",
            ),
            shutdown=10.0,
        )
    ]
    pruner = partial(Pruner.start_link, "queue_server", config.retention, name="pruner")
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


def _federation(config: NodeConfig, cookie: Cookie, incarnation: str) -> ChildSpec:
    """What stands in the queue tree's place on a node that does not lead."""
    from otpq.node.uplink import Uplink, UplinkSettings  # it dials, which a node that leads never does: 4 MiB

    me = Member(config.name.plain, str(config.name), incarnation)
    settings = UplinkSettings(
        me=me,
        seeds=config.seeds,
        cookie=cookie,
        cookie_file=str(config.cookie),
        lease=config.lease,
        owner=self_pid(),
        deaths=partial(deaths_in, config.place, me.node),
        joined=partial(_note_leader, config, incarnation),
    )
    doorman = partial(
        Doorman.start_link, partial(Listener, config.listens_at, cookie), config.name.plain, name="doorman"
    )
    children = [
        ChildSpec(id="doorman", start=doorman),
        ChildSpec(id="uplink", start=partial(Uplink.start_link, settings, name="queue_server"), shutdown=10.0),
    ]
    # The uplink tells the doorman who leads.
    start = partial(
        Supervisor.start_link, children, strategy="rest_for_one", max_restarts=5, max_seconds=10.0, name="federation"
    )
    return ChildSpec(id="federation", start=start, type="supervisor")


def _note_leader(config: NodeConfig, incarnation: str, leader: NodeName) -> None:
    """Say it at the door, and to the warden, whose last act may be to tell of our death there."""
    cast("doorman", Leader(str(leader)))
    leave_word(config.place, incarnation, config.name.plain, str(leader), config.cookie.absolute())


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
        recycle_tasks=pool.recycle_tasks,
        recycle_memory=pool.recycle_memory,
        memory=config.memory,
        script_dirs=tuple(map(str, config.script_dirs)),
        webhooks={each.key: (each.url, str(each.secret_file)) for each in config.webhooks},
        app=config.app or "",
        path=config.path,
        # What a handler submits goes to its own node, whatever the shell that started the node talks to.
        environment={"OTPQ_NODE": str(config.name), "OTPQ_COOKIE_FILE": str(config.cookie.absolute())},
        grace=config.grace,
        is_fenced_at_once=config.leads,
        lease=config.lease,
        beat=min(config.heartbeat, config.lease / 5),
    )


def _root(reason: Reason, fallback: BaseException) -> BaseException:
    """The error at the bottom of a failed start."""
    while isinstance(reason, Shutdown) and isinstance(reason.detail, FailedToStartChild):
        reason = reason.detail.reason
    return reason.error if isinstance(reason, Crash) else OtpqError(f"{fallback}")
