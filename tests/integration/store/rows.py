"""Rows for the tests of stores."""

from typing import Any

from otpq.core.records import TaskRow


def make_row(seq: int, **columns: Any) -> TaskRow:
    """A queued task with all that must be there; keywords change it."""
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
