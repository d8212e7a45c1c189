"""What the core wants done, in the order of the list: first the one `Persist`, then what may be sent once it is durable.

If the commit is refused or its fate unknown, nothing of the step is sent, and the core is discarded and rebuilt.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from otpq.core.records import Changes, TaskRow  # noqa: TC001 - msgspec reads the annotations

__all__ = [
    "Accepted",
    "CancelRunning",
    "Committed",
    "Dispatch",
    "Effect",
    "Kept",
    "Outcome",
    "Persist",
    "Refusal",
    "Refused",
    "Reply",
    "Stale",
    "TakeBack",
    "Told",
    "UnknownSession",
    "WorkflowMade",
    "WorkflowRefused",
]


class Persist(msgspec.Struct):
    """Make these changes durable before anything else of this step is done."""

    changes: Changes


class Accepted(msgspec.Struct, kw_only=True):
    """The tasks of a `Submit` are in the store."""

    client: str
    request: int
    ids: list[bytes]
    """In the order of the submission; where one is in `duplicates`, the id of the task that was there before."""
    duplicates: tuple[int, ...] = ()
    """The places in the submission that made no new task: re-sent, or their idempotency key was taken."""
    warnings: list[Refusal] = msgspec.field(default_factory=list)
    """Names that no handler is known for, each at the first task that has it."""


class Refusal(msgspec.Struct, frozen=True):
    """What is wrong with one task of a submission."""

    index: int
    code: str
    """bad_id, bad_name, bad_queue, bad_partition, bad_priority, bad_time, bad_key, bad_options, bad_after, queue_full or
    unknown_handler."""
    message: str


class Refused(msgspec.Struct, kw_only=True):
    """None of the tasks of a `Submit` was accepted."""

    client: str
    request: int
    refusals: list[Refusal]


class WorkflowMade(msgspec.Struct, kw_only=True):
    """The tasks of a `SubmitWorkflow` are in the store."""

    client: str
    request: int
    duplicate: bool = False
    """Whether they were before."""
    warnings: list[Refusal] = msgspec.field(default_factory=list)


class WorkflowRefused(msgspec.Struct, kw_only=True):
    """None of the tasks of a `SubmitWorkflow` was accepted."""

    client: str
    request: int
    refusals: list[Refusal]


class Reply(msgspec.Struct, kw_only=True):
    """The answer to a request, once for each of its ids; see the event for the words."""

    client: str
    request: int
    id: bytes | None
    answer: str


class Dispatch(msgspec.Struct, kw_only=True):
    """A batch for a pool.

    It may be sent twice, as the first may have been lost: the pool runs nothing of a lease id that it has seen before.
    """

    session: str
    lease: int
    number: int
    """Counts the batches of the session, from 1."""
    rows: list[TaskRow]
    packet: int = 1
    """How many of the tasks are about a millisecond of work: what a child is given at a time, and cannot be taken back."""
    declared: dict[str, bytes] = msgspec.field(default_factory=dict)
    """What is declared of their handlers, as `Options.pack` gives it; those of which nothing is are left out."""
    alone: bool = False
    """Whether nothing else may run in the same child meanwhile: the task was interrupted, and is to be judged by itself."""


class Committed(msgspec.Struct, kw_only=True):
    """These results, or hand-backs, are durable; the pool may forget them."""

    session: str
    lease: int
    seqs: tuple[int, ...]


class Kept(msgspec.Struct, kw_only=True):
    """The checkpoint is durable."""

    session: str
    lease: int
    seq: int
    number: int


class Stale(msgspec.Struct, kw_only=True):
    """The lease is not, or no longer, open to the pool for these tasks.

    It forgets what it kept of them; what still runs, it ends (a zombie). With no seqs: the lease as a whole.
    """

    session: str
    lease: int
    seqs: tuple[int, ...] = ()


class TakeBack(msgspec.Struct, kw_only=True):
    """Hand back what of these tasks has not been started; a `HandedBack` is the answer."""

    session: str
    lease: int
    seqs: tuple[int, ...]


class CancelRunning(msgspec.Struct, kw_only=True):
    """Take the task back (`HandedBack` is the answer) or, if it has been started, say `Cancelling` and end it."""

    session: str
    lease: int
    seq: int
    grace: float


class UnknownSession(msgspec.Struct, kw_only=True):
    """The pool is to open its session again: this core has not heard of it, or gave its node up."""

    session: str


class Outcome(msgspec.Struct):
    """These tasks have ended; for clients that wait for them."""

    tasks: list[TaskRow]
    retried: list[TaskRow] = []
    """These had a run that failed, and will have another; for whoever looks on."""


Told: TypeAlias = (
    Accepted
    | Refused
    | WorkflowMade
    | WorkflowRefused
    | Reply
    | Dispatch
    | Committed
    | Kept
    | Stale
    | TakeBack
    | CancelRunning
    | UnknownSession
    | Outcome
)
"""What may be sent once it is durable."""

Effect: TypeAlias = Persist | Told
"""All that can be wanted."""
