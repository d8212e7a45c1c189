"""Clients: who is connected, what each waits for, and what is owed to it. A value; it sends nothing itself.

A session is a client's and outlives its connections; a peer is one connection. What is to be sent is gathered in `outbox`
until the queue server, after its commit, takes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from otpq.core import events as ev
from otpq.task import ENDED
from otpq.wire import messages as wire

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from otpq.core import effects as ef
    from otpq.core.records import TaskRow

__all__ = ["Clients", "Submission", "outcome_of", "session_of"]

_OUTCOMES: Final = 1_000
"""Outcomes in one message."""


class _Session:
    """One client."""

    __slots__ = ("connection", "dropped", "key", "peer")

    def __init__(self, key: bytes, peer: bytes, connection: int) -> None:
        self.key = key
        self.peer = peer
        self.connection = connection
        self.dropped = 0


class Submission:
    """A `Submit` on its way through the core: which of its tasks are still in it, and what was refused."""

    __slots__ = ("left", "message", "refused", "session")

    def __init__(self, session: bytes, message: wire.Submit) -> None:
        self.session = session
        self.message = message
        self.left = list(range(len(message.tasks)))
        self.refused: list[wire.Refusal] = []

    def event(self) -> ev.Submit:
        """What the core is to decide, all or none."""
        tasks = self.message.tasks
        chosen = tasks if len(self.left) == len(tasks) else [tasks[place] for place in self.left]
        return ev.Submit(
            client=_client(self.session),
            request=self.message.number,
            # The wire's tasks have the fields of the core's, checked on arrival; to copy them would cost 1 us each.
            tasks=cast("list[ev.NewTask]", chosen),
            resent=self.message.resent,
        )

    def drop(self, refusals: Sequence[ef.Refusal]) -> None:
        """Take the groups at fault out; the others are to be submitted again."""
        at_fault = {self.left[refusal.index]: refusal for refusal in refusals}
        self.refused.extend(
            wire.Refusal(place, refusal.code, refusal.message, _field(refusal.code))
            for place, refusal in at_fault.items()
        )
        out = {place for group in self._groups() if at_fault.keys() & set(group) for place in group}
        self.left = [place for place in self.left if place not in out]

    def refuse_all(self, code: str, text: str) -> None:
        """Refuse what is left, for a cause that is not the tasks'."""
        self.refused.extend(wire.Refusal(place, code, text) for place in self.left)
        self.left = []

    def _groups(self) -> Iterable[range]:
        begin = 0
        for size in self.message.groups or [1] * len(self.message.tasks):
            yield range(begin, begin + size)
            begin += size


class Clients:
    """All sessions, what they watch, and the messages owed to them."""

    def __init__(self, node: str, incarnation: str, epoch: int) -> None:
        self._node = node
        self._incarnation = incarnation
        self._epoch = epoch
        self._sessions: dict[bytes, _Session] = {}
        self._by_peer: dict[bytes, _Session] = {}
        self._watchers: dict[bytes, list[bytes]] = {}
        self._submissions: dict[tuple[str, int], Submission] = {}
        self.outbox: list[tuple[bytes, wire.FromServer]] = []
        """(peer, message), in the order to send."""

    def __len__(self) -> int:
        """How many sessions there are."""
        return len(self._sessions)

    # --- connections -------------------------------------------------------------------------------------------------

    def hello(self, peer: bytes, message: wire.Hello) -> None:
        """Welcome a client, new or returning, or say why not."""
        if wire.VERSION not in message.versions:
            self._reject(peer, "version", f"this node speaks version {wire.VERSION} of the protocol")
            return
        if message.node and message.node != self._node:
            self._reject(peer, "node", f"this is {self._node}, not {message.node}")
            return
        session = self._sessions.get(message.session)
        if session is None:
            session = self._sessions[message.session] = _Session(message.session, peer, message.connection)
        elif message.connection < session.connection:
            return  # a late echo of an earlier connection
        self._by_peer.pop(session.peer, None)
        session.peer, session.connection, session.dropped = peer, message.connection, 0
        self._by_peer[peer] = session
        welcome = wire.Welcome(
            wire.VERSION, message.session, message.connection, self._node, self._incarnation, self._epoch
        )
        self.outbox.append((peer, welcome))

    def session_of(self, peer: bytes) -> bytes | None:
        """The session that speaks through `peer`; None before its `Hello`."""
        session = self._by_peer.get(peer)
        return None if session is None else session.key

    def goodbye(self, peer: bytes) -> None:
        """Forget a client."""
        session = self._by_peer.pop(peer, None)
        if session is not None:
            del self._sessions[session.key]

    def pong(self, peer: bytes, number: int) -> None:
        """Answer a ping, with the count of what could not be sent."""
        session = self._by_peer.get(peer)
        if session is not None:
            self.outbox.append((peer, wire.Pong(number, session.dropped)))

    def count_dropped(self, peer: bytes) -> None:
        """A message to `peer` could not be sent: its session will hear of that in a pong."""
        session = self._by_peer.get(peer)
        if session is not None:
            session.dropped += 1

    def tell(self, session: bytes, message: wire.FromServer) -> None:
        """Owe `message` to a session; nothing happens if it is gone."""
        found = self._sessions.get(session)
        if found is not None:
            self.outbox.append((found.peer, message))

    def _reject(self, peer: bytes, code: str, text: str) -> None:
        self.outbox.append((peer, wire.Rejected(code, text, [wire.VERSION], self._node)))

    # --- submissions -------------------------------------------------------------------------------------------------

    def submit(self, session: bytes, message: wire.Submit) -> Submission:
        """Note a submission, and whom to tell of its tasks' ends: before the core hears of it, so that none is missed."""
        submission = Submission(session, message)
        self._submissions[_client(session), message.number] = submission
        watchers = self._watchers
        for task in message.tasks:
            if task.watch:
                watchers.setdefault(task.id, []).append(session)
        return submission

    def submission(self, client: str, request: int) -> Submission | None:
        """The submission behind a request of the core's, if it is still under way."""
        return self._submissions.get((client, request))

    def accepted(self, effect: ef.Accepted) -> list[bytes]:
        """Acknowledge a submission; gives the ids that were there before and are watched: they may have ended."""
        submission = self._submissions.pop((effect.client, effect.request), None)
        if submission is None:
            return []
        tasks, duplicates, known = submission.message.tasks, [], []
        for index in effect.duplicates:
            place, there = submission.left[index], effect.ids[index]
            if there != tasks[place].id:
                duplicates.append(wire.Duplicate(place, there))
                self._move_watch(submission.session, tasks[place].id, there)
            if tasks[place].watch:
                known.append(there)
        warnings = [wire.Refusal(submission.left[each.index], each.code, each.message) for each in effect.warnings]
        self._acknowledge(submission, duplicates, warnings)
        return known

    def refused(self, effect: ef.Refused) -> Submission | None:
        """What is left of a submission of which groups are at fault, to be submitted again; None if that is nothing."""
        submission = self._submissions.get((effect.client, effect.request))
        if submission is None:
            return None
        submission.drop(effect.refusals)
        if submission.left:
            return submission
        self._give_up(submission)
        return None

    def refuse(self, submissions: Iterable[Submission], code: str, text: str) -> None:
        """Answer submissions that the store did not take."""
        for submission in submissions:
            submission.refuse_all(code, text)
            self._give_up(submission)

    def _give_up(self, submission: Submission) -> None:
        self._submissions.pop((_client(submission.session), submission.message.number), None)
        self._acknowledge(submission)

    def _acknowledge(
        self, submission: Submission, duplicates: Sequence[wire.Duplicate] = (), warnings: Sequence[wire.Refusal] = ()
    ) -> None:
        if submission.refused:
            left = set(submission.left)
            out = [task.id for place, task in enumerate(submission.message.tasks) if place not in left]
            self.unwatch(submission.session, out)
        accepted = wire.Accepted(submission.message.number, submission.refused, list(duplicates), list(warnings))
        self.tell(submission.session, accepted)

    # --- watches -----------------------------------------------------------------------------------------------------

    def watch(self, session: bytes, ids: Iterable[bytes]) -> None:
        """Remember who wants to know how these tasks end."""
        for id_ in ids:
            sessions = self._watchers.setdefault(id_, [])
            if session not in sessions:
                sessions.append(session)

    def unwatch(self, session: bytes, ids: Iterable[bytes]) -> None:
        """Forget it."""
        for id_ in ids:
            sessions = self._watchers.get(id_)
            if sessions is not None and session in sessions:
                sessions.remove(session)
                if not sessions:
                    del self._watchers[id_]

    def _move_watch(self, session: bytes, id_: bytes, there: bytes) -> None:
        self.unwatch(session, [id_])
        self.watch(session, [there])

    def ended(self, rows: Iterable[TaskRow]) -> None:
        """Owe the outcomes of these tasks to whoever watches them; with it the watches are over."""
        by_session: dict[bytes, list[wire.Outcome]] = {}
        for row in rows:
            sessions = self._watchers.pop(row.id, None)
            if sessions is not None:
                outcome = outcome_of(row)
                for session in sessions:
                    by_session.setdefault(session, []).append(outcome)
        for session, outcomes in by_session.items():
            for begin in range(0, len(outcomes), _OUTCOMES):
                self.tell(session, wire.Outcomes(outcomes[begin : begin + _OUTCOMES]))

    def looked_up(self, session: bytes, ids: Iterable[bytes], found: dict[bytes, TaskRow]) -> None:
        """Tell a session of those among `ids` that have ended already, or do not exist."""
        outcomes = []
        for id_ in ids:
            row = found.get(id_)
            if row is None:
                outcomes.append(wire.Outcome(id_, wire.UNKNOWN))
            elif row.state in ENDED:
                outcomes.append(outcome_of(row))
        if outcomes:
            self.unwatch(session, [outcome.id for outcome in outcomes])
            self.tell(session, wire.Outcomes(outcomes))


def outcome_of(row: TaskRow) -> wire.Outcome:
    """How the ended task of `row` ended, with its result unless that is to be fetched."""
    large = row.result is not None and len(row.result) > wire.FETCH_ABOVE
    result = None if large else row.result
    return wire.Outcome(row.id, row.state, result, large, row.reason, row.error, row.name)


def _field(code: str) -> str:
    """The field of a task that a code blames, if it blames one."""
    return code.removeprefix("bad_") if code.startswith("bad_") else ""


def _client(session: bytes) -> str:
    return session.decode("latin-1")  # the core's names are text; this is its cheapest form of 16 bytes


def session_of(client: str) -> bytes:
    """The session behind the core's name of a client."""
    return client.encode("latin-1")
