"""Webhooks: who outside wants to be told of what, and the tasks that tell of what became of a task, made in the same commit.

A delivery is a task like any other: durable, retried, seen and cancelled. It is made even where its queue is full, and of
deliveries themselves nobody is told. What happens to the cluster is no commit of the core's; the queue server submits those
deliveries (`queue/announcing.py`).
"""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path  # noqa: TC003 - part of what a reader of the class sees at run time
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from otpq.core.history import error_line, retry_reason
from otpq.core.patterns import is_named
from otpq.core.records import TaskRow
from otpq.errors import BadOption, did_you_mean
from otpq.task import DEFAULTS, WEBHOOK_HANDLER, Options, TaskState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otpq.core.state import State

__all__ = ["EVENTS", "Marks", "Webhook", "announce", "delivery"]

OF_TASKS: Final = ("submitted", "succeeded", "failed", "retried", "cancelled", "expired")
OF_CLUSTER: Final = (
    "worker_offline",
    "node_up",
    "node_suspected",
    "node_down",
    "paused",
    "resumed",
    "scaled",
    "reloaded",
    "schedule_fired",
    "schedule_missed",
    "schedule_refused",
    "store_well",
)
EVENTS: Final = OF_TASKS + OF_CLUSTER
"""The kinds of events that a webhook can be told of: those of which something durable can follow."""

_encode: Final = msgspec.msgpack.Encoder().encode


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """Where to tell of which events.

    Raises:
        BadOption: Something in it cannot be right.
    """

    url: str
    events: tuple[str, ...]
    secret_file: Path
    """What deliveries are signed with stands there, on each node that may deliver them."""
    name: str | None = None
    """Of tasks of this handler alone, or of those of a pattern such as 'email.*'."""
    queue: str | None = None
    """Of tasks of this queue, and of the queue itself."""
    via: str = DEFAULTS.queue
    """The queue in which deliveries wait."""

    def __post_init__(self) -> None:
        if not _is_address(self.url):
            raise BadOption("url", self.url, "https://host/path")
        if "@" in urlsplit(self.url).netloc:
            raise BadOption("url", "one with a user", "one without; the receiver knows deliveries by their signature")
        if not self.events:
            raise BadOption("events", list(self.events), f"one or more of {', '.join(EVENTS)}")
        for event in self.events:
            if event not in EVENTS:
                raise BadOption("events", event, f"{', '.join(EVENTS)}{did_you_mean(event, EVENTS)}")
        try:
            Options.of(queue=self.via)
        except BadOption as error:
            raise BadOption("via", self.via, error.allowed) from None

    @property
    def key(self) -> str:
        """What it is called in a delivery: addresses are often secrets, and tasks are for everybody's eyes."""
        return blake2b(self.url.encode(), digest_size=6).hexdigest()

    @property
    def host(self) -> str:
        """Of its address."""
        return urlsplit(self.url).hostname or ""

    def wants(self, event: str, name: str | None, queue: str | None) -> bool:
        """Whether it is to be told of an event of this handler and this queue, if it is of any."""
        return (
            event in self.events
            and (self.name is None or (name is not None and is_named(name, self.name)))
            and self.queue in {None, queue}
        )


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return (
            url.isprintable()
            and " " not in url
            and parts.scheme in {"http", "https"}
            and bool(parts.hostname)
            and parts.port != 0
        )
    except ValueError:  # a port that is none
        return False


class Marks(NamedTuple):
    """How much of what a step has done so far has been told of."""

    inserts: int = 0
    ended: int = 0
    retried: int = 0


def delivery(webhook: Webhook, event: str, time: float, facts: dict[str, Any]) -> bytes:
    """The payload of the task that tells."""
    return _encode([[webhook.key, event, time, facts], {}])


def announce(state: State, since: Marks) -> Marks:
    """Queue what tells of that which this step has done since; gives what to go on from."""
    ledger = state.ledger
    inserts = ledger.inserts[since.inserts :]
    _tell(state, "submitted", [row for row in inserts if row.name != WEBHOOK_HANDLER])
    by_state: dict[str, list[TaskRow]] = {}
    for row in ledger.ended[since.ended :]:
        if row.name != WEBHOOK_HANDLER:
            by_state.setdefault(row.state, []).append(row)
    for event, rows in by_state.items():
        _tell(state, event, rows)
    _tell(state, "retried", [row for row in ledger.retried[since.retried :] if row.name != WEBHOOK_HANDLER])
    return Marks(len(ledger.inserts), len(ledger.ended), len(ledger.retried))


def _tell(state: State, event: str, rows: Sequence[TaskRow]) -> None:
    for webhook in state.config.webhooks:
        if event in webhook.events:
            for row in rows:
                if webhook.wants(event, row.name, row.queue):
                    _put(state, webhook, event, row)


def _put(state: State, webhook: Webhook, event: str, row: TaskRow) -> None:
    ledger, wall = state.ledger, state.now.wall
    told = TaskRow(
        seq=state.next_seq,
        id=_id(row.id, webhook, state.next_seq),
        name=WEBHOOK_HANDLER,
        queue=webhook.via,
        partition="",
        priority=DEFAULTS.priority,
        state=TaskState.QUEUED.value,
        due=wall,
        expires=None,
        created=wall,
        updated=wall,
        options=b"",
        payload=delivery(webhook, event, wall, _facts(event, row)),
        parent=row.id,
        title=f"{event} {row.name} to {webhook.host}",
    )
    state.next_seq += 1
    ledger.inserts.append(told)
    ledger.fresh[told.id] = told
    ledger.count(told.queue, told.state, 1)
    state.lanes.put(told)


def _id(task: bytes, webhook: Webhook, seq: int) -> bytes:
    """As a hook's, near its task's in the store. No two have the same number, which is never used again."""
    return task[:6] + blake2b(b"%b:%b:%d" % (task, webhook.key.encode(), seq), digest_size=10).digest()


def _facts(event: str, row: TaskRow) -> dict[str, Any]:
    facts: dict[str, Any] = {"id": row.id.hex(), "name": row.name, "queue": row.queue, "attempt": row.attempt}
    reason = retry_reason(row) if event == "retried" else row.reason
    if reason is not None:
        facts["reason"] = reason
    if event in {"retried", "failed"} and row.error is not None:
        facts["error"] = error_line(row.error)
    return facts
