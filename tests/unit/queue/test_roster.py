"""Who is in the cluster, as a value."""

from __future__ import annotations

from otpq.queue.roster import SUSPECT_AFTER, Roster
from otpq.wire.peers import Join, Member

ME = Member("a@h", "a@h:1", "a1", leads=True)
LEASE = 30.0


def roster() -> Roster:
    return Roster(ME, LEASE)


def join(roster: Roster, node: str, incarnation: str, peer: bytes, at: float) -> str:
    return roster.join(Join([1], node, f"{node}:1", incarnation), peer, wall=1000 + at, mono=at)


def states(roster: Roster) -> dict[str, tuple[str, str]]:
    return {member.node: (member.incarnation, member.state) for member in roster.members()}


def test_a_node_that_joins_is_up_and_each_change_has_a_version() -> None:
    them = roster()
    assert join(them, "b@h", "b1", b"p", 0.0) == ""
    assert states(them) == {"a@h": ("a1", "up"), "b@h": ("b1", "up")}
    assert them.version == 2
    assert them.peer_of("b@h") == b"p"


def test_the_same_life_on_another_connection_is_no_change() -> None:
    them = roster()
    join(them, "b@h", "b1", b"p", 0.0)
    assert join(them, "b@h", "b1", b"q", 1.0) == ""
    assert them.version == 2
    assert them.peer_of("b@h") == b"q"
    assert them.node_of(b"p") is None


def test_a_name_that_is_up_is_refused_and_so_is_the_leader_s() -> None:
    them = roster()
    join(them, "b@h", "b1", b"p", 0.0)
    assert "is up already" in join(them, "b@h", "b2", b"q", 1.0)
    assert "is the name of the node that leads" in join(them, "a@h", "a2", b"q", 1.0)
    assert states(them)["b@h"] == ("b1", "up")


def test_a_silent_node_is_suspected_then_down_and_up_again_at_its_next_word() -> None:
    them = roster()
    join(them, "b@h", "b1", b"p", 0.0)
    them.look(wall=1001, mono=SUSPECT_AFTER - 0.1)
    assert states(them)["b@h"][1] == "up"
    them.look(wall=1004, mono=SUSPECT_AFTER)
    assert states(them)["b@h"][1] == "suspected"
    them.heard(b"p", wall=1005, mono=5.0)
    assert states(them)["b@h"][1] == "up"
    them.look(wall=1034, mono=5.0 + LEASE - 0.1)
    assert states(them)["b@h"][1] == "suspected"
    them.look(wall=1035, mono=5.0 + LEASE)
    assert states(them)["b@h"][1] == "down"
    assert them.peer_of("b@h") is None
    them.heard(b"p", wall=1036, mono=36.0)
    assert states(them)["b@h"][1] == "down", "it has to join again"


def test_a_newcomer_takes_the_name_of_one_that_is_suspected() -> None:
    them = roster()
    join(them, "b@h", "b1", b"p", 0.0)
    them.look(wall=1004, mono=4.0)
    assert join(them, "b@h", "b2", b"q", 5.0) == ""
    assert states(them)["b@h"] == ("b2", "up")


def test_a_goodbye_and_a_proof_end_a_life_and_no_other() -> None:
    them = roster()
    join(them, "b@h", "b2", b"p", 0.0)
    them.lost("b@h", "b1", 1001)
    assert states(them)["b@h"] == ("b2", "up"), "an earlier life's death is not this one's"
    them.lost("b@h", "b2", 1001)
    assert states(them)["b@h"] == ("b2", "down")
    join(them, "c@h", "c1", b"q", 0.0)
    left = them.left(b"q", 1002)
    assert left is not None
    assert left.node == "c@h"
    assert states(them)["c@h"] == ("c1", "down")
    assert them.left(b"q", 1003) is None
    assert them.peers() == []
