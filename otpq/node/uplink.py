"""Uplink: what stands for the queue server on a node that has none. It has its name, and passes on to the node that leads.

Pools talk to it as they would to the queue server itself: what they tell goes over the wire, what the core wants of them
comes back. It keeps nothing: a pool keeps its results until they are committed, and says all again when it is asked to open its
session anew, which the uplink asks of it after each new connection.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from otpq.client.errors import CookieRefused
from otpq.client.link import Change
from otpq.core import effects as ef
from otpq.core import events as ev
from otpq.node.joining import IS_IN, LEAVE, Fatal, JoinedCluster, JoinRefused, NodeNameTaken
from otpq.node.line import Line
from otpq.otp import (
    Call,
    Caller,
    Cast,
    Down,
    GenServer,
    NoConnection,
    NoReply,
    Ok,
    Pid,
    Response,
    Signal,
    cast,
    monitor,
    reply,
    send,
    send_request,
)
from otpq.queue.afar import unpacked
from otpq.queue.inbox import Arrived, PolledInbox
from otpq.queue.messages import (
    AreYouAlive,
    Beat,
    Beaten,
    IAmAlive,
    OpenPool,
    PoolAnswer,
    PoolFacts,
    PoolOrder,
    Reload,
    Scale,
)
from otpq.queue.roster import changed
from otpq.wire import messages as wire
from otpq.wire import peers
from otpq.wire.codec import Fault
from otpq.wire.node_name import BadNodeName, NodeName
from otpq.wire.peer_codec import decode_from_leader
from otpq.wire.peers import pack_events, unpack_effects

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from otpq.otp import MonitorRef
    from otpq.wire.cookie import Cookie

__all__ = ["Uplink", "UplinkSettings"]

logger = logging.getLogger("otpq.node")

_TEND: Final = 0.02
"""Seconds between looks at a connection that is being made."""
_JOIN_TIMEOUT: Final = 5.0
"""Seconds that a leader may take to answer a `Join`; one that takes longer is stopped, or busy beyond use."""
_SAY_EVERY: Final = 10.0
"""Seconds between two lines of the log about a leader that is not reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UplinkSettings:
    """What an uplink is to be."""

    me: peers.Member
    seeds: Sequence[NodeName]
    """Nodes of the cluster, of which one leads or knows who does."""
    cookie: Cookie
    cookie_file: str
    """Where it is, for messages."""
    lease: float
    """Seconds that this node runs on without an answer; not more than the leader waits."""
    owner: Pid
    """Hears `JoinedCluster` and `Fatal`."""
    deaths: Callable[[], Sequence[ev.NodeLost]]
    """Earlier incarnations of this node that are proven dead."""
    joined: Callable[[NodeName], None]
    """Called with the leader's name after each `Joined`."""


class Uplink(GenServer):
    """The connection to the leader, and what passes over it."""

    trap_exit = True  # its supervisor's word to end finds it between two batches, never inside a send

    def make_inbox(self) -> PolledInbox:
        """One wait for messages and for the connection."""
        self._inbox = PolledInbox()
        return self._inbox

    def init(self, settings: UplinkSettings) -> Ok:
        """Begin to dial, at once."""
        self._me = settings.me
        self._settings = settings
        self._line = Line(settings.seeds, settings.cookie)
        self._inbox.attend(self._line)
        self.own(self._inbox.close)
        self._has_left = False
        self._out()  # an earlier uplink's connection ended with it, and whatever was under way on it
        self._join_at = 0.0
        self._said_at = 0.0
        self._states: dict[str, str] = {}
        """Of each node of the cluster, as the leader says."""
        self._version = 0
        self._leader: str | None = None
        self._pools: dict[str, Pid] = {}
        self._refs: dict[MonitorRef, str] = {}
        return Ok(0.0)

    # --- waking up --------------------------------------------------------------------------------------------------

    def handle_batch(self, messages: list[Any]) -> NoReply:
        """Take in what has come from both sides, and look after the connection."""
        for message in messages:
            match message:
                case Arrived(_, data):
                    self._arrived(data)
                case Cast(told):
                    self._take(told)
                case Call(request, caller) if request == IS_IN:
                    reply(caller, self._is_in)
                case Call(request, caller) if request == LEAVE:
                    self._leave()
                    reply(caller, None)
                case Call(("holders",) as request, caller):
                    self._ask_on(request, caller)
                case Response(caller, value):
                    assert isinstance(caller, Caller)  # noqa: S101 - nothing else is asked on
                    reply(caller, value)  # None where there was no answer, which means: not now
                case AreYouAlive(asker):
                    send(asker, IAmAlive())
                case Down(ref=ref):
                    self._pools.pop(self._refs.pop(ref, ""), None)
                case _:
                    logger.warning("%r drops %r", self.pid, message)
        return self._tend()

    def handle_info(self, message: Any) -> NoReply:  # noqa: ARG002 - TIMEOUT alone comes here
        """Nothing came, but time has passed."""
        return self._tend()

    def _tend(self) -> NoReply:
        line, now = self._line, time.monotonic()
        change = line.tend()
        if self._has_left:  # what the leader says of a beat that came too late is no reason to come again
            return NoReply(1.0)
        if change is Change.UP:
            self._join(now)
        elif change is Change.DOWN:
            self._out()
            logger.warning("the connection to %s is lost (%s); dialling again, what runs goes on", line.to, line.down)
        if line.is_refused:
            send(self._settings.owner, Fatal(CookieRefused(str(line.to), self._settings.cookie_file)))
            return NoReply(3600.0)
        if line.is_up and not self._is_in and now - self._join_at > _JOIN_TIMEOUT:
            line.drop(f"no answer for {_JOIN_TIMEOUT:g} s")
        if not self._is_in and line.down is not None and now - self._said_at > _SAY_EVERY:
            self._said_at = now
            logger.warning("%s is not reached: %s; trying on", line.to, line.down)
        return NoReply(1.0 if self._is_in else _TEND)

    def _join(self, now: float) -> None:
        self._join_at = now
        me = self._me
        join = peers.Join(
            [wire.VERSION],
            me.node,
            me.address,
            me.incarnation,
            self._line.to.plain,
            pack_events(list(self._settings.deaths())),
        )
        self._line.send(join)

    # --- what pools tell --------------------------------------------------------------------------------------------

    def _take(self, told: tuple[Any, ...]) -> None:
        events: list[Any] = []
        workers: list[dict[str, Any]] | None = None
        session = ""
        for each in told:
            match each:
                case OpenPool(pid, event):
                    self._open(pid, event)
                    events.append(event)
                case Beat(_, event, sent_ns):
                    self._line.send(peers.Beat(sent_ns, event.incarnation)) if self._is_in else None
                case peers.Signal():
                    self._send_signal(each)
                case PoolFacts(session=session, workers=workers):
                    pass
                case PoolAnswer(number, session, facts):
                    events.append(peers.Ordered(session=session, number=number, facts=facts))
                case _:
                    events.append(each)
        session = next((each.session for each in events if hasattr(each, "session")), session)
        if self._is_in and (events or workers is not None):
            self._line.send(peers.Told(session, pack_events(events), workers))

    def _leave(self) -> None:
        if self._is_in:
            self._line.send(peers.Leave())
            self._has_left = True
            self._out()

    def _open(self, pid: Pid, event: ev.SessionOpened) -> None:
        if self._pools.get(event.session) is not pid:
            self._pools[event.session] = pid
            self._refs[monitor(pid)] = event.session

    # --- what the leader says ---------------------------------------------------------------------------------------

    def _arrived(self, data: bytes) -> None:
        message = decode_from_leader(data)
        if isinstance(message, Fault):
            logger.warning("a message of %s was dropped: %s: %s", self._line.to, message.kind, message.text)
            return
        match message:
            case peers.Joined():
                self._welcome(message)
            case peers.Wanted(session, effects):
                self._pass_on(session, effects)
            case peers.Beaten(sent_ns):
                for pool in self._pools.values():
                    cast(pool, Beaten(sent_ns))
            case peers.Members(version, members):
                self._learn(version, members)
            case peers.Signal():
                self._deliver(message)
            case peers.Reached(node, is_up):
                self._reached(node, is_up=is_up)
            case wire.Rejected():
                self._turned(message)

    def _welcome(self, joined: peers.Joined) -> None:
        mine = self._settings.lease
        if mine > joined.lease:
            # It would run on what the leader gives to others.
            words = f"the leases of {joined.leader} last {joined.lease:g} s and those of this node {mine:g} s"
            send(self._settings.owner, Fatal(JoinRefused(f"{words}; start it with --lease {joined.lease:g}")))
            return
        self._is_in = True
        self._leader = NodeName.parse(joined.leader).plain
        self._reached(self._leader, is_up=True)
        self._said_at = 0.0
        self._version = 0  # of an earlier leader's term
        self._learn(joined.members_version, joined.members)
        logger.info("joined the cluster that %s leads (epoch %d)", joined.leader, joined.epoch)
        self._settings.joined(NodeName.parse(joined.leader))
        send(self._settings.owner, JoinedCluster(joined.leader))
        for session, pool in self._pools.items():
            # The leader may have forgotten the session, or missed what was on the way: it is opened, and all said, again.
            cast(pool, (ef.UnknownSession(session=session),))

    def _pass_on(self, session: str, effects: list[peers.Pair]) -> None:
        pool = self._pools.get(session)
        try:
            if pool is not None:
                for told in _as_pools_hear(unpack_effects(effects)):
                    cast(pool, told)
        except msgspec.MsgspecError as error:
            logger.warning("effects of %s make no sense and are dropped: %s", self._line.to, error)

    def _learn(self, version: int, members: list[peers.Member]) -> None:
        if version > self._version:
            for member in changed(members, self._states):
                if member.node != self._me.node:
                    logger.info("node %s is %s, as %s says", member.node, member.state, self._line.to)
            self._version, self._states = version, {member.node: member.state for member in members}

    def _ask_on(self, request: object, caller: Caller) -> None:
        """Have the queue server itself answer."""
        if self._leader is None:
            reply(caller, None)
        else:
            send_request(("queue_server", self._leader), request, caller)

    # --- signals between processes ----------------------------------------------------------------------------------

    def _send_signal(self, signal: peers.Signal) -> None:
        """On its way over the leader; without a connection it is answered for here, if somebody waits for an answer."""
        if self._is_in:
            self._line.send(signal)
        elif signal.kind in {"call", "watch"} and self.registry.distribution is not None:
            gone = Signal("down", signal.number, body=NoConnection())
            self.registry.distribution.deliver(signal.to, gone)

    def _deliver(self, signal: peers.Signal) -> None:
        try:
            if self.registry.distribution is not None:
                self.registry.distribution.deliver(signal.source, unpacked(signal))
        except msgspec.MsgspecError as error:
            logger.warning("a signal of %s makes no sense and is dropped: %s", signal.source, error)

    def _reached(self, node: str, *, is_up: bool) -> None:
        distribution = self.registry.distribution
        if distribution is None:
            return
        if is_up:
            distribution.node_up(node)
        else:
            distribution.node_down(node)

    def _out(self) -> None:
        """Not a member any more, for now: what was under way to other nodes may be lost."""
        self._is_in = False
        if self.registry.distribution is not None:
            self.registry.distribution.all_down()

    # --- being turned away ------------------------------------------------------------------------------------------

    def _turned(self, rejected: wire.Rejected) -> None:
        if rejected.code == "not_leader" and rejected.leader:
            try:
                self._line.turn_to(NodeName.parse(rejected.leader))
            except BadNodeName as error:
                logger.warning("%s names a leader that cannot be: %s", self._line.to, error)
            return
        if rejected.code == "not_member":
            if self._is_in and not self._has_left:
                logger.warning("%s; joining again", rejected.message)
                self._out()
                self._join(time.monotonic())
            return
        kind = NodeNameTaken if rejected.code == "name" else JoinRefused
        send(self._settings.owner, Fatal(kind(rejected.message)))


def _as_pools_hear(effects: tuple[Any, ...]) -> Iterator[Any]:
    """Operators' orders one by one, and all else that came together."""
    for effect in effects:
        if isinstance(effect, peers.Order):
            yield PoolOrder(effect.number, Scale(effect.workers) if effect.verb == "scale" else Reload())
    others = tuple(effect for effect in effects if not isinstance(effect, peers.Order))
    if others:
        yield others
