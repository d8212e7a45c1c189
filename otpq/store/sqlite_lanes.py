"""The number of each lane in a SQLite store: given at its first task, and remembered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from otpq.store.queries import load_queries

if TYPE_CHECKING:
    from collections.abc import Iterable

    import apsw

    from otpq.core.records import TaskRow

__all__ = ["LaneNumbers"]

_SQL: Final = load_queries("sqlite")

MAX_KNOWN: Final = 50_000
"""Lanes that are remembered, in about 10 MB."""

_Key: TypeAlias = tuple[str, str, str, int]


class LaneNumbers:
    """Looks lanes up, and enters new ones, in the transaction that is open.

    After a transaction that came to nothing, `forget`: a number that it gave belongs to nobody.
    """

    def __init__(self) -> None:
        self._known: dict[_Key, int] = {}

    def of(self, db: apsw.Connection, tasks: Iterable[TaskRow]) -> list[int]:
        """The number of the lane that each of `tasks` stands in."""
        known = self._known.get
        return [
            known(key := (task.queue, task.name, task.partition, task.priority)) or self._find(db, key)
            for task in tasks
        ]

    def forget(self) -> None:
        """Look everything up anew."""
        self._known.clear()

    def _find(self, db: apsw.Connection, key: _Key) -> int:
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        number: int | None = db.execute(_SQL["lane_number"], key).get
        if number is None:
            number = db.execute(_SQL["insert_lane"], key).get
        self._known[key] = number
        return number
