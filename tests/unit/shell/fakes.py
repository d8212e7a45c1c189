"""A client of no node."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from otpq.client.errors import TaskNotFound
from otpq.task import LogLine, Task

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class FakeClient:
    """Answers as a client of a node does, and writes down what it is told."""

    def __init__(self, node: str = "a@host") -> None:
        self.node = node
        self.why_away: str | None = None
        self.told: list[tuple[Any, ...]] = []

    def queues(self) -> list[dict[str, Any]]:
        return [{"queue": "mail", "queued": 2, "paused": False}]

    def handlers(self) -> list[dict[str, Any]]:
        return [{"handler": "mail.send", "runs": 0}]

    @property
    def schedules(self) -> Any:
        return SimpleNamespace(list=lambda: [SimpleNamespace(name="nightly", task="tidy")])

    def nodes(self) -> list[dict[str, Any]]:
        return [{"node": self.node, "state": "up"}]

    def workers(self) -> list[dict[str, Any]]:
        return [{"node": self.node, "pool": "default", "worker": n, "state": "idle"} for n in range(2)]

    def tasks(self, *, limit: int = 100) -> list[Task]:
        self.told.append(("tasks", limit))
        return [Task(id="0" * 32, name="mail.send", created_at=NOW, due_at=NOW, updated_at=NOW)]

    def stats(self) -> dict[str, Any]:
        child = {"id": "queue_server", "pid": "<queue_server#2>", "children": []}
        return {"commits": 1, "tree": {"id": None, "pid": "<node#1>", "children": [child]}}

    def why(self, id: str) -> dict[str, Any]:
        raise TaskNotFound(id)

    def pause(self, queue: str | None = None, *, handler: str | None = None, why: str = "") -> None:
        self.told.append(("pause", queue, handler, why))

    def logs(self, id: str, follow: bool = False) -> Iterator[LogLine]:  # noqa: FBT001, FBT002 - as the real one
        self.told.append(("logs", id, follow))
        for number in (1, 2):
            yield LogLine(time=NOW, stream="out", level="info", text=f"line {number}", run=1, number=number)
        if follow:
            raise KeyboardInterrupt
