"""Pools: which ones have a session here, and what operators have ordered of them and wait to hear. A value; it sends nothing.

An order goes to every pool that it means, and is answered when each has answered. A pool that ends before ends the order:
nobody can tell then what became of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

from otpq.queue.messages import PoolOrder
from otpq.queue.queries import BadQuery

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otpq.core.events import SessionOpened
    from otpq.otp import Pid
    from otpq.queue.federation import RemotePool
    from otpq.queue.messages import PoolAnswer, Reload, Scale

__all__ = ["Ordered", "Pools"]


@dataclass(slots=True)
class _Pool:
    pid: Pid | RemotePool
    name: str
    node: str
    script_dirs: tuple[str, ...]


@dataclass(slots=True)
class Ordered:
    """One order under way, or at its end."""

    client: bytes
    """The session of who gave it."""
    request: int
    missing: set[str]
    """Sessions of the pools that have yet to answer."""
    facts: list[dict[str, Any]] = field(default_factory=list)
    """What the others have answered."""
    failure: BadQuery | None = None
    """Why it came to nothing, if it did."""


class Pools:
    """The open sessions, and the orders under way."""

    def __init__(self) -> None:
        self._pools: dict[str, _Pool] = {}
        self._orders: dict[int, Ordered] = {}
        self._numbers = count(1)

    def __iter__(self) -> Iterator[str]:
        """Their sessions."""
        return iter(self._pools)

    # --- sessions ----------------------------------------------------------------------------------------------------

    def opened(self, event: SessionOpened, pid: Pid | RemotePool) -> bool:
        """Note a session; whether `pid` is new in it."""
        before = self._pools.get(event.session)
        self._pools[event.session] = _Pool(pid, event.pool, event.node, event.script_dirs)
        return before is None or before.pid != pid

    def closed(self, session: str) -> None:
        """A pool asks for nothing more: no script will run in it."""
        if session in self._pools:
            self._pools[session].script_dirs = ()

    def gone(self, session: str) -> list[Ordered]:
        """A pool has ended; the orders that end with it."""
        pool = self._pools.pop(session, None)
        name = session if pool is None else f"{pool.name!r} on {pool.node}"
        return [
            self._end(number, BadQuery("pool_gone", f"pool {name} ended before it had answered; ask again"))
            for number, ordered in list(self._orders.items())
            if session in ordered.missing
        ]

    def pid_of(self, session: str) -> Pid | RemotePool | None:
        """Who has opened a session."""
        pool = self._pools.get(session)
        return None if pool is None else pool.pid

    def node_of(self, session: str) -> str | None:
        """Where it is."""
        pool = self._pools.get(session)
        return None if pool is None else pool.node

    @property
    def items(self) -> list[tuple[str, Pid | RemotePool]]:
        """Each session with who has opened it."""
        return [(session, pool.pid) for session, pool in self._pools.items()]

    @property
    def script_dirs(self) -> dict[str, set[str]]:
        """Of each node that runs scripts, the directories of those that it runs."""
        found: dict[str, set[str]] = {}
        for pool in self._pools.values():
            if pool.script_dirs:
                found.setdefault(pool.node, set()).update(pool.script_dirs)
        return found

    # --- orders ------------------------------------------------------------------------------------------------------

    def order(
        self, client: bytes, request: int, name: str | None, order: Scale | Reload
    ) -> list[tuple[Pid | RemotePool, PoolOrder]]:
        """What to send to whom. Nothing where the same request is under way already: a client sends it again after a reconnect.

        Args:
            client: The session of who orders.
            request: Its number for this.
            name: The pools of that name; None: all.
            order: What they are to do.

        Raises:
            BadQuery: There is no such pool.
        """
        if any((each.client, each.request) == (client, request) for each in self._orders.values()):
            return []
        meant = {session: pool for session, pool in self._pools.items() if name in {None, pool.name}}
        if not meant:
            names = ", ".join(sorted({pool.name for pool in self._pools.values()}))
            what = "no pool" if name is None else f"no pool {name!r}"
            raise BadQuery("no_pool", f"there is {what}" + (f"; there are: {names}" if names else ""))
        number = next(self._numbers)
        self._orders[number] = Ordered(client, request, set(meant))
        return [(pool.pid, PoolOrder(number, order)) for pool in meant.values()]

    def answered(self, answer: PoolAnswer) -> Ordered | None:
        """A pool has answered; the order, if that was the last answer, or one that ends it: a pool that does not obey."""
        ordered = self._orders.get(answer.number)
        if ordered is None or answer.session not in ordered.missing:
            return None
        if answer.facts.get("error"):
            return self._end(
                answer.number, BadQuery("refused", f"pool {answer.facts.get('pool')!r}: {answer.facts['error']}")
            )
        ordered.missing.discard(answer.session)
        ordered.facts.append(answer.facts)
        return None if ordered.missing else self._end(answer.number)

    def _end(self, number: int, failure: BadQuery | None = None) -> Ordered:
        ordered = self._orders.pop(number)
        ordered.failure = failure
        return ordered
