"""What other nodes say, as events of the core, and what they are owed."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import msgspec

from otpq.core import effects as ef
from otpq.core import events as ev
from otpq.queue.messages import PoolOrder, Reload, Scale
from otpq.queue.nodes import Nodes
from otpq.wire import messages as wire
from otpq.wire import peers
from otpq.wire.peers import Member, pack_events, unpack_effects

if TYPE_CHECKING:
    import pytest

NOW = ev.Now(1000.0, 50.0)
SESSION = "b@h/b1/default"


def nodes() -> Nodes:
    return Nodes(Member("a@h", "a@h:1", "a1", leads=True), 7, 30.0)


def joined(*, deaths: tuple[ev.NodeLost, ...] = ()) -> Nodes:
    them = nodes()
    them.join(b"p", peers.Join([wire.VERSION], "b@h", "b@h:1", "b1", "a@h", pack_events(list(deaths))), NOW)
    them.outbox.clear()
    return them


def opened(session: str = SESSION) -> ev.SessionOpened:
    return ev.SessionOpened(session=session, node="b@h", incarnation="b1", queues=("q",))


def told(them: Nodes, *events: Any, session: str = SESSION, peer: bytes = b"p") -> list[Any]:
    return list(them.told(peer, peers.Told(session, pack_events(list(events)))))


def test_a_node_is_told_who_leads_and_who_else_is_there() -> None:
    them = nodes()
    assert them.join(b"p", peers.Join([wire.VERSION], "b@h", "b@h:1", "b1"), NOW) == []
    ((peer, answer),) = them.outbox
    assert isinstance(answer, peers.Joined)
    assert (peer, answer.leader, answer.epoch, answer.lease) == (b"p", "a@h:1", 7, 30.0)
    assert [member.node for member in answer.members] == ["a@h", "b@h"]


def test_who_may_not_join_hears_why() -> None:
    them = joined()
    for join, code in (
        (peers.Join([99], "c@h", "c@h:1", "c1"), "version"),
        (peers.Join([wire.VERSION], "c@h", "c@h:1", "c1", "x@h"), "node"),
        (peers.Join([wire.VERSION], "b@h", "b@h:1", "b2"), "name"),
    ):
        them.join(b"q", join, NOW)
        ((_, answer),) = them.outbox
        assert isinstance(answer, wire.Rejected)
        assert answer.code == code
        them.outbox.clear()


def test_it_tells_of_its_own_earlier_deaths_alone() -> None:
    own = ev.NodeLost(node="b@h", incarnation="b0", started=frozenset({1}))
    other = ev.NodeLost(node="c@h", incarnation="c0", started=None)
    them = nodes()
    join = peers.Join([wire.VERSION], "b@h", "b@h:1", "b1", "a@h", pack_events([own, other]))
    assert them.join(b"p", join, NOW) == [own]
    assert told(them, own, other, session="") == [own]


def test_nothing_is_heard_of_who_has_not_joined_nor_in_another_s_name() -> None:
    them = joined()
    assert told(them, opened(), peer=b"stranger") == []
    ((peer, answer),) = them.outbox
    assert peer == b"stranger"
    assert isinstance(answer, wire.Rejected)
    assert answer.code == "not_member"
    assert told(them, opened("a@h/a1/default"), session="a@h/a1/default") == []
    assert told(them, opened(), session="b@h/b1/other") == []
    assert them.faults == 2
    assert told(them, opened()) == [opened()]
    assert them.has(SESSION)


def test_what_makes_no_sense_is_counted_and_dropped() -> None:
    them = joined()
    assert them.told(b"p", peers.Told(SESSION, [("Submit", msgspec.Raw(b"\x80"))])) == []
    assert them.told(b"p", peers.Told(SESSION, [("Demand", msgspec.Raw(b"\x81\xa7session\x01"))])) == []
    assert them.faults == 2


def test_effects_go_to_the_node_of_their_session_and_nowhere_without_one() -> None:
    them = joined()
    told(them, opened())
    effects = (ef.Committed(session=SESSION, lease=3, seqs=(1, 2)), PoolOrder(4, Scale(2)), PoolOrder(5, Reload()))
    assert them.tell(SESSION, effects) == b"p"  # type: ignore[arg-type]
    ((_, wanted),) = them.outbox
    assert isinstance(wanted, peers.Wanted)
    assert unpack_effects(wanted.effects) == (effects[0], peers.Order(4, "scale", 2), peers.Order(5, "reload"))
    assert them.tell("c@h/c1/default", effects[:1]) is None


def test_a_beat_renews_and_is_answered_with_its_own_time() -> None:
    them = joined()
    assert them.beat(b"p", peers.Beat(123, "b1"), NOW) == [ev.Heartbeat(node="b@h", incarnation="b1")]
    assert them.outbox == [(b"p", peers.Beaten(123))]
    assert them.beat(b"stranger", peers.Beat(1, "x"), NOW) == []


def test_a_goodbye_is_a_death_of_which_nothing_was_running() -> None:
    them = joined()
    told(them, opened())
    (death,) = them.leave(b"p", NOW)
    assert death == ev.NodeLost(node="b@h", incarnation="b1", started=frozenset(), fenced=True)
    assert them.closed() == [SESSION]
    assert them.closed() == []


def test_members_are_published_when_they_change() -> None:
    them = joined()
    them.look(NOW)
    ((peer, members),) = them.outbox
    assert isinstance(members, peers.Members)
    assert (peer, members.version) == (b"p", 2)
    them.outbox.clear()
    them.look(NOW)
    assert them.outbox == []


def reached(them: Nodes) -> list[tuple[bytes, str, bool]]:
    return [(peer, each.node, each.is_up) for peer, each in them.outbox if isinstance(each, peers.Reached)]


def test_all_hear_which_nodes_can_be_reached_the_new_one_of_the_others_too() -> None:
    them = joined()
    assert them.links() == [peers.Reached("b@h", is_up=True)]
    assert reached(them) == []
    them.join(b"q", peers.Join([wire.VERSION], "c@h", "c@h:1", "c1"), NOW)
    assert them.links() == [peers.Reached("c@h", is_up=True)]
    assert reached(them) == [(b"p", "c@h", True), (b"q", "b@h", True)]
    assert them.reaches("c@h")
    assert them.links() == []
    them.outbox.clear()
    them.lost(ev.NodeLost(node="c@h", incarnation="c1", started=frozenset(), fenced=True), NOW)
    assert them.links() == [peers.Reached("c@h", is_up=False)]
    assert reached(them) == [(b"p", "c@h", False)]
    assert not them.reaches("c@h")


def test_a_node_that_comes_back_over_another_connection_has_gone_and_come() -> None:
    them = joined()
    them.links()
    them.join(b"p2", peers.Join([wire.VERSION], "b@h", "b@h:1", "b1"), NOW)
    assert them.links() == [peers.Reached("b@h", is_up=False), peers.Reached("b@h", is_up=True)]


def test_a_signal_is_passed_on_to_a_node_that_is_in() -> None:
    them = joined()
    them.links()
    signal = peers.Signal("b@h", "c@h", "cast", 0, "x")
    assert them.pass_on(signal)
    assert them.outbox == [(b"p", signal)]
    assert not them.pass_on(peers.Signal("d@h", "c@h", "cast", 0, "x"))
    assert them.source_of(b"p") == "b@h"
    assert them.source_of(b"stranger") is None


def test_each_change_of_a_node_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "otpq.queue")
    them = joined()
    for mono in (50.0, 52.0, 54.0, 56.0, 500.0, 501.0):
        them.look(ev.Now(1000.0, mono))
    told = [record.getMessage() for record in caplog.records]
    assert told == ["node b@h (incarnation b1) is up", "node b@h is suspected", "node b@h is down"]
    caplog.clear()
    them = joined()
    them.leave(b"p", NOW)
    them.look(NOW)
    assert [record.getMessage() for record in caplog.records][1:] == ["node b@h has left"]
