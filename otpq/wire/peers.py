"""What nodes say to each other, beside what clients say: the envelopes, and who sends which.

A node without a queue server dials the one that leads, at the address where clients dial too, and speaks on that connection:

    membership  = join (joined | rejected) *traffic [leave]
    N: join         32  who I am: name, incarnation, where I listen; which of my earlier incarnations are proven dead
    L: joined       33  you are in; who leads, and all members
    L: rejected      3  no, and why (`messages.py`); `not_leader` says where to go
    N: told         34  what a pool tells, as events of `core/events.py`
    L: wanted       35  what a pool is to do, as effects of `core/effects.py`
    N: beat         36  a node lives; answered by beaten
    L: beaten       37  that beat was heard, and so renewed the node's leases
    L: members      38  who is in the cluster from now on
    N, L: signal    39  what a process of one node has for one of another; the leader passes on what is not for it
    L: reached      40  another node can be reached from now on, or no longer
    N: leave        41  goodbye: nothing of mine runs any more

Events and effects travel as [kind, body] pairs: the kind is the name of the class, the body its fields as a map, decoded as
that class and nothing else. Tasks of a batch travel as arrays, payloads inside as bytes that nobody opens.

Rules that both sides keep:

- A node says nothing before it has been told `joined`; what it says on an earlier connection is dropped.
- The leader never sends before the commit. What is lost with a connection is made good by what is absolute: demand, held
  leases, results that are kept until they are committed.
- Fields are only added, at the end, with a default.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta

from otpq.core import effects as ef
from otpq.core import events as ev
from otpq.wire.messages import Text  # noqa: TC001 - msgspec reads the annotations

__all__ = [
    "Beat",
    "Beaten",
    "FromNode",
    "Job",
    "Join",
    "Joined",
    "Leave",
    "Member",
    "Members",
    "Order",
    "Ordered",
    "Reached",
    "Signal",
    "ToNode",
    "Told",
    "Wanted",
    "pack_effects",
    "pack_events",
    "unpack_effects",
    "unpack_events",
]

NO_BODY: Final = msgspec.Raw(b"\xc0")

Pair: TypeAlias = tuple[str, msgspec.Raw]


class Member(msgspec.Struct, array_like=True, frozen=True):
    """One node, as the leader knows it."""

    node: Text
    """`name@host`."""
    address: Text
    """Where it listens, `name@host:port`."""
    incarnation: Text
    state: Text = "up"
    """up, suspected or down."""
    leads: bool = False
    since: float = 0.0
    """Wall clock: since when it is in that state."""


class Join(msgspec.Struct, array_like=True, frozen=True, tag=32):
    """First on every connection of a node."""

    versions: Annotated[list[int], Meta(min_length=1, max_length=32)]
    node: Text
    address: Text
    incarnation: Text
    to: Text = ""
    """The name of the node that is meant."""
    deaths: list[Pair] = []
    """`NodeLost` events of earlier incarnations in the same directory, which are proven."""


class Joined(msgspec.Struct, array_like=True, frozen=True, tag=33):
    """The node is a member."""

    version: int
    leader: Text
    epoch: int
    incarnation: Text
    """The leader's."""
    members_version: int
    members: list[Member]
    lease: float = 30.0
    """Seconds that leases last after the sending of the last acknowledged beat."""


class Told(msgspec.Struct, array_like=True, frozen=True, tag=34):
    """What a pool tells the queue server, in order."""

    session: Text
    events: list[Pair]
    workers: list[dict[str, Any]] | None = None
    """Facts of its workers, now and then, for whoever asks."""


class Wanted(msgspec.Struct, array_like=True, frozen=True, tag=35):
    """What a pool is to do, in order."""

    session: Text
    effects: list[Pair]


class Beat(msgspec.Struct, array_like=True, frozen=True, tag=36):
    """A sign of life, sent at `sent_ns` of the node's own clock."""

    sent_ns: int
    incarnation: Text
    """Whose: a node whose leases ran out goes on under a new one."""


class Beaten(msgspec.Struct, array_like=True, frozen=True, tag=37):
    """That beat was heard."""

    sent_ns: int


class Members(msgspec.Struct, array_like=True, frozen=True, tag=38):
    """All members; a lower version than one has seen is old."""

    version: int
    members: list[Member]


class Signal(msgspec.Struct, array_like=True, frozen=True, tag=39):
    """What a process of one node has for a process of another: `Signal` of `otp/distribution.py`."""

    to: Text
    """A node."""
    source: Text
    """The node that it is from. The leader puts in whom it has it from."""
    kind: Literal["call", "cast", "info", "watch", "unwatch", "reply", "down"]
    number: Annotated[int, Meta(ge=0)] = 0
    name: Text = ""
    body: msgspec.Raw = NO_BODY
    """Plain values; of `down` a reason as [kind, detail]."""


class Reached(msgspec.Struct, array_like=True, frozen=True, tag=40):
    """Signals reach that node from now on; or no longer, and those under way may be lost."""

    node: Text
    is_up: bool


class Leave(msgspec.Struct, array_like=True, frozen=True, tag=41):
    """The node ends, and nothing of it runs any more."""


FromNode: TypeAlias = Join | Told | Beat | Signal | Leave
ToNode: TypeAlias = Joined | Wanted | Beaten | Members | Signal | Reached


class Job(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Of a task what a pool and its children need: attributes of `TaskRow`, by the same names."""

    seq: int
    id: bytes
    name: str
    attempt: int
    options: bytes
    payload: bytes
    checkpoint: bytes | None = None


class Batch(msgspec.Struct, kw_only=True):
    """`Dispatch` as it travels."""

    session: str
    lease: int
    number: int
    rows: list[Job]
    packet: int = 1
    declared: dict[str, bytes] = {}
    alone: bool = False


class Order(msgspec.Struct):
    """What an operator wants of a pool."""

    number: int
    verb: str
    """scale or reload."""
    workers: int = 0


class Ordered(msgspec.Struct, kw_only=True):
    """What became of an `Order`."""

    session: str
    number: int
    facts: dict[str, Any]


_EVENTS: Final[dict[str, type]] = {
    each.__name__: each
    for each in (
        ev.SessionOpened,
        ev.SessionClosed,
        ev.Demand,
        ev.Results,
        ev.HandedBack,
        ev.Cancelling,
        ev.Progressed,
        ev.Checkpointed,
        ev.Logged,
        ev.Running,
        ev.NodeLost,
        Ordered,
    )
}
_EFFECTS: Final[dict[str, type]] = {
    each.__name__: each
    for each in (ef.Committed, ef.Kept, ef.Stale, ef.TakeBack, ef.CancelRunning, ef.UnknownSession, Order)
} | {"Dispatch": Batch}

_encode: Final = msgspec.msgpack.Encoder().encode
_decoders: Final[dict[str, msgspec.msgpack.Decoder[Any]]] = {
    kind: msgspec.msgpack.Decoder(cls) for kind, cls in (_EVENTS | _EFFECTS).items()
}


def pack_events(events: list[Any]) -> list[Pair]:
    """Events as they travel. What is none of a pool's raises KeyError: a bug."""
    return [(_kind(event, _EVENTS), msgspec.Raw(_encode(event))) for event in events]


def unpack_events(pairs: list[Pair]) -> list[Any]:
    """The events of a peer.

    Raises:
        msgspec.MsgspecError: One is none that a pool may tell; the message has its place.
    """
    return [_unpack(pair, _EVENTS) for pair in pairs]


def pack_effects(effects: tuple[Any, ...]) -> list[Pair]:
    """Effects as they travel."""
    return [(_kind(effect, _EFFECTS), msgspec.Raw(_encode(_as_batch(effect)))) for effect in effects]


def unpack_effects(pairs: list[Pair]) -> tuple[Any, ...]:
    """The effects of the leader; a `Dispatch` has `Job`s in the place of rows.

    Raises:
        msgspec.MsgspecError: One is none that a pool may be told.
    """
    return tuple(_as_dispatch(_unpack(pair, _EFFECTS)) for pair in pairs)


def _kind(value: object, kinds: dict[str, type]) -> str:
    kind = type(value).__name__
    if kind not in kinds:
        raise KeyError(f"{kind} does not travel between nodes")
    return kind


def _unpack(pair: Pair, kinds: dict[str, type]) -> Any:
    kind, body = pair
    if kind not in kinds:
        raise msgspec.ValidationError(f"unknown kind {kind[:40]!r}")
    return _decoders[kind].decode(body)


def _as_batch(effect: object) -> object:
    if not isinstance(effect, ef.Dispatch):
        return effect
    rows = [
        Job(row.seq, row.id, row.name, row.attempt, row.options, row.payload, row.checkpoint) for row in effect.rows
    ]
    return Batch(
        session=effect.session,
        lease=effect.lease,
        number=effect.number,
        rows=rows,
        packet=effect.packet,
        declared=effect.declared,
        alone=effect.alone,
    )


def _as_dispatch(effect: object) -> object:
    if not isinstance(effect, Batch):
        return effect
    rows: Any = effect.rows
    return ef.Dispatch(
        session=effect.session,
        lease=effect.lease,
        number=effect.number,
        rows=rows,
        packet=effect.packet,
        declared=effect.declared,
        alone=effect.alone,
    )
