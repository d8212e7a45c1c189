"""Processes of real nodes, called and monitored by name from a node of the test's own: its uplink joins like any other."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from otpq.node.past import new_incarnation
from otpq.node.rpc import Rpc
from otpq.node.tree import carrier
from otpq.node.uplink import Uplink, UplinkSettings
from otpq.otp import (
    Attached,
    CallFailed,
    Distribution,
    Down,
    Kill,
    NoConnection,
    NodeDown,
    NodeUp,
    attach,
    call,
    exit,
    monitor,
    monitor_nodes,
    nodes,
)
from otpq.wire.cookie import Cookie
from otpq.wire.node_name import NodeName
from otpq.wire.peers import Member
from tests.acceptance.cluster import Cluster
from tests.acceptance.conftest import LONG

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.acceptance.conftest import Stage


@pytest.fixture
def cluster(stage: Stage) -> Iterator[Cluster]:
    made = Cluster(stage)
    yield made
    made.close()


@pytest.fixture
def me(cluster: Cluster) -> Iterator[Attached]:
    """This thread, a process of the node on 127.0.0.4, which has no pools."""
    cluster.start(1, "--lease", "6")
    cluster.start(2, "--lease", "6")
    mine = cluster.name(4)
    with attach("probe", trap_exit=True) as me:
        Distribution(mine, me.registry, carrier(me.registry, mine))
        monitor_nodes()
        cookie_file = cluster.stage.home / ".otpq" / "cookie"
        settings = UplinkSettings(
            me=Member(mine, mine, new_incarnation()),
            seeds=[NodeName.parse(cluster.leader)],
            cookie=Cookie.read(cookie_file),
            cookie_file=str(cookie_file),
            lease=6.0,
            owner=me.pid,
            deaths=tuple,
            joined=lambda _leader: None,
        )
        uplink = Uplink.start(settings, name="queue_server", registry=me.registry)
        yield me
        exit(uplink, Kill())


def heard(me: Attached, kind: type) -> object:
    """The next message of that kind."""
    while True:
        message = me.receive(LONG)
        if isinstance(message, kind):
            return message


def test_processes_of_other_nodes_are_called_and_monitored_by_name(cluster: Cluster, me: Attached) -> None:
    a, b = cluster.name(1), cluster.name(2)
    assert {heard(me, NodeUp), heard(me, NodeUp)} == {NodeUp(a), NodeUp(b)}
    assert nodes() == [a, b]
    assert call(("queue_server", a), ("status",))["open_leases"] == 0
    assert Rpc.call(b, "status")["node"] == b, "over the one that leads"
    with pytest.raises(CallFailed, match="nobody"):
        call(("nobody", b), ("status",))
    with pytest.raises(CallFailed, match="from_afar"):
        call(("pool default", b), ("status",))
    ref = monitor(("pool default", b))
    os.kill(cluster.nodes[b].process.pid, signal.SIGKILL)
    assert heard(me, Down) == Down(ref, ("pool default", b), NoConnection())
    assert heard(me, NodeDown) == NodeDown(b)
    with pytest.raises(CallFailed) as caught:
        Rpc.call(b, "status")
    assert caught.value.reason == NoConnection()


def test_nodes_that_come_back_are_reached_again(cluster: Cluster, me: Attached) -> None:
    a, b = cluster.name(1), cluster.name(2)
    while nodes() != [a, b]:
        heard(me, NodeUp)
    ref = monitor(("sweeper", b))
    cluster.nodes[b].terminate()
    down = heard(me, Down)
    assert isinstance(down, Down)
    assert down.ref is ref, "because it ended, or because its node had left"
    cluster.start(2, "--lease", "6")
    assert heard(me, NodeUp) == NodeUp(b)
    assert Rpc.call(b, "status")["node"] == b
    ref = monitor(("queue_server", a))
    cluster.nodes[a].kill()
    assert heard(me, Down) == Down(ref, ("queue_server", a), NoConnection())
    cluster.start(1, "--lease", "6")
    while a not in nodes():
        heard(me, NodeUp)
    assert call(("queue_server", a), ("holders",)) == ()
