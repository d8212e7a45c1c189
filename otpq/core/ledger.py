"""What one step changes: gathered while its events are handled, handed over as one `Persist` and what follows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otpq.core.effects import Effect, Outcome, Persist
from otpq.core.records import Changes, Success, TaskUpdate

if TYPE_CHECKING:
    from otpq.core.leases import Lease
    from otpq.core.records import Link, LogChunk, TaskRow, WorkflowRow

__all__ = ["Ledger"]


class Ledger:
    """The changes and messages of one step. All that touches one task is merged into one insert or update."""

    __slots__ = (
        "acks",
        "counts",
        "deletes",
        "ended",
        "fresh",
        "hooked",
        "inserts",
        "keys",
        "leases",
        "links",
        "logs",
        "lost",
        "members",
        "retried",
        "sends",
        "settings",
        "succeeded",
        "touched",
        "workflows",
    )

    def __init__(self) -> None:
        self.inserts: list[TaskRow] = []
        self.fresh: dict[bytes, TaskRow] = {}
        """The inserts by id."""
        self.keys: dict[str, TaskRow] = {}
        """The inserts by idempotency key."""
        self.members: dict[int, TaskRow] = {}
        """The inserts that are members of workflows, by seq."""
        self.links: dict[int, Link] = {}
        """Theirs."""
        self.workflows: dict[int, WorkflowRow | None] = {}
        """Those that are new or different now; None: forgotten."""
        self.touched: dict[int, TaskRow] = {}
        """Rows that were in the store before and are different now."""
        self.succeeded: dict[int, TaskRow] = {}
        """Rows that ended well and are not among the touched."""
        self.leases: dict[int, Lease] = {}
        self.lost: dict[int, Lease] = {}
        """Leases whose batch is to be sent again."""
        self.counts: dict[tuple[str, str], int] = {}
        self.settings: dict[str, bytes | None] = {}
        self.deletes: list[int] = []
        self.logs: list[LogChunk] = []
        self.ended: list[TaskRow] = []
        self.retried: list[TaskRow] = []
        self.hooked: list[tuple[TaskRow, str, bytes | None, str | None]] = []
        """What is to be followed by a hook: the task, the hook's name, the result or error, the reason."""
        self.acks: list[Effect] = []
        """Answers, in the order of their events."""
        self.sends: list[Effect] = []
        """Work: given out after the answers."""

    def count(self, queue: str, state: str, difference: int) -> None:
        """Note that a queue has more, or fewer, tasks in a state."""
        key = (queue, state)
        self.counts[key] = self.counts.get(key, 0) + difference

    def succeed(self, rows: list[TaskRow]) -> None:
        """Note that these ended well; of those already touched in this step, other columns have changed too."""
        touched = self.touched
        self.succeeded.update({row.seq: row for row in rows if row.seq not in touched})

    def forget(self, seq: int) -> None:
        """Have nothing of a task made durable but its deletion."""
        self.touched.pop(seq, None)
        self.succeeded.pop(seq, None)

    def effects(self) -> list[Effect]:
        """All that is to be done, in order: the commit, the answers, the outcomes, the work."""
        changes = Changes(
            inserts=self.inserts,
            updates=[_update(row) for row in self.touched.values()],
            successes=[_success(row) for row in self.succeeded.values()],
            leases=[lease.row() for lease in self.leases.values()],
            counts={key: difference for key, difference in self.counts.items() if difference},
            deletes=self.deletes,
            settings=self.settings,
            logs=[chunk for chunk in self.logs if chunk.seq not in self.deletes] if self.logs else self.logs,
            workflows=self.workflows,
            links=list(self.links.values()),
        )
        effects: list[Effect] = [Persist(changes)] if changes else []
        effects += self.acks
        if self.ended or self.retried:
            effects.append(Outcome(self.ended, self.retried))
        effects += self.sends
        return effects


def _update(row: TaskRow) -> TaskUpdate:
    return TaskUpdate(
        row.seq,
        row.state,
        row.due,
        row.updated,
        row.attempt,
        row.interruptions,
        row.started,
        row.finished,
        row.result,
        row.error,
        row.reason,
        row.ran,
        row.history,
        row.expires,
        row.progress,
        row.checkpoint,
        row.waits,
        row.told,
    )


def _success(row: TaskRow) -> Success:
    # positional: the keywords would double it
    return Success(row.seq, row.updated, row.attempt, row.started, row.finished, row.result, row.ran)
