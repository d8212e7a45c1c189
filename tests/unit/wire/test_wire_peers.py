"""Messages between nodes, to bytes and back."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from otpq.core import effects as ef
from otpq.core import events as ev
from otpq.core.records import TaskRow
from otpq.wire import messages as wire
from otpq.wire import peers
from otpq.wire.codec import Fault, encode
from otpq.wire.peer_codec import decode_at_leader, decode_from_leader
from otpq.wire.peers import pack_effects, pack_events, unpack_effects, unpack_events

EVENTS: list[Any] = [
    ev.SessionOpened(session="s", node="n", incarnation="i", queues=("q",), handlers={"h": b"x"}, memory=5.0),
    ev.SessionClosed(session="s"),
    ev.Demand(session="s", asked=3, received=1, held=(4, 5)),
    ev.Results(
        session="s",
        lease=1,
        results=[
            ev.Succeeded(1, b"r", 1.0, 2.0, b"ran"),
            ev.Failed(2, "error", b"e", 1.0, 2.0, None, ("ValueError",)),
            ev.RetryLater(3, 5.0, None, 1.0, 2.0),
            ev.Snoozed(4, 1.0, 1.0, 2.0),
            ev.Cancelled(5, 1.0, 2.0),
            ev.Discarded(6, None, 1.0, 2.0),
            ev.HandedOver(7, 1.0, 2.0),
        ],
    ),
    ev.HandedBack(session="s", lease=1, seqs=(1, 2)),
    ev.Cancelling(session="s", lease=1, seq=2),
    ev.Progressed(session="s", lease=1, seq=2, fraction=0.5, message="m"),
    ev.Checkpointed(session="s", lease=1, seq=2, number=3, value=b"v"),
    ev.Logged(session="s", lease=1, seq=2, first=1, last=2, lines=b"l", forget=(3, 4)),
    ev.Running(session="s", seqs=frozenset({1, 2})),
    ev.NodeLost(node="n", incarnation="i", started=frozenset({3}), fenced=True, is_complete=False),
]


def test_events_come_as_they_went() -> None:
    assert unpack_events(pack_events(EVENTS)) == EVENTS


def test_effects_come_as_they_went_and_rows_with_what_a_pool_needs() -> None:
    row = TaskRow(1, b"i" * 16, "h", "q", "", 5, "queued", 0.0, None, 0.0, 0.0, b"o", b"p", attempt=2, checkpoint=b"c")
    effects = (
        ef.Committed(session="s", lease=1, seqs=(1,)),
        ef.Kept(session="s", lease=1, seq=2, number=3),
        ef.Stale(session="s", lease=1),
        ef.TakeBack(session="s", lease=1, seqs=(1,)),
        ef.CancelRunning(session="s", lease=1, seq=2, grace=1.0),
        ef.UnknownSession(session="s"),
        ef.Dispatch(session="s", lease=1, number=2, rows=[row], packet=3, declared={"h": b"d"}, alone=True),
    )
    *others, batch = unpack_effects(pack_effects(effects))
    assert tuple(others) == effects[:-1]
    assert batch.rows == [peers.Job(1, b"i" * 16, "h", 2, b"o", b"p", b"c")]
    assert (batch.lease, batch.number, batch.packet, batch.declared, batch.alone) == (1, 2, 3, {"h": b"d"}, True)


@pytest.mark.parametrize(
    "pair",
    [("Submit", b"\x80"), ("Dispatch", b"\x80"), ("Demand", b"\x80"), ("Demand", b"\xc1"), ("x" * 300, b"\x80")],
)
def test_what_no_pool_may_tell_is_refused(pair: tuple[str, bytes]) -> None:
    with pytest.raises(msgspec.MsgspecError):
        unpack_events([(pair[0], msgspec.Raw(pair[1]))])


def test_each_side_reads_what_the_other_may_send_and_nothing_else() -> None:
    join = peers.Join([1], "b@h", "b@h:1", "i")
    assert decode_at_leader(encode(join)) == join
    assert decode_at_leader(encode(wire.Ping(1))) == wire.Ping(1)
    assert decode_from_leader(encode(peers.Beaten(5))) == peers.Beaten(5)
    for data in (
        encode(peers.Beaten(5)),
        b"",
        b"\xc1",
        b"\x91\xcc\xff",
        encode(wire.Welcome(1, b"s" * 16, 1, "", "", 1)),
    ):
        assert isinstance(decode_at_leader(data), Fault)
    assert isinstance(decode_from_leader(encode(join)), Fault)


def test_a_reader_passes_over_fields_that_it_does_not_know() -> None:
    known = msgspec.msgpack.decode(encode(peers.Beat(5, "i")))
    assert decode_at_leader(msgspec.msgpack.encode([*known, "newer"])) == peers.Beat(5, "i")
