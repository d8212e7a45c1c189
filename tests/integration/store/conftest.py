"""What these tests share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import pytest

from otpq.core.records import TaskRow

MakeRow: TypeAlias = Callable[..., TaskRow]


@pytest.fixture
def row() -> MakeRow:
    """A queued task with all that must be there; keywords change it."""

    def make(seq: int, **columns: Any) -> TaskRow:
        required: dict[str, Any] = {
            "seq": seq,
            "id": seq.to_bytes(16, "big"),
            "name": "mail",
            "queue": "default",
            "partition": "",
            "priority": 5,
            "state": "queued",
            "due": 1000.0 + seq,
            "expires": None,
            "created": 1000.0 + seq,
            "updated": 1000.0 + seq,
            "options": b"\x80",
            "payload": b"\x92\x90\x80",
        }
        return TaskRow(**required | columns)

    return make
