"""What cannot be right about a task that is new, whoever makes it: a store would refuse it, and with it a whole commit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from otpq.core.events import NewTask

__all__ = ["ID_BYTES", "flaw_of"]

ID_BYTES: Final = 16
MAX_NAME: Final = 255


def flaw_of(new: NewTask) -> tuple[str, str] | None:
    """The first thing about a task that cannot be right, as a refusal's code and message; None: nothing is wrong."""
    return next(((code, what) for code, is_right, what in _RULES if not is_right(new)), None)


def _is_text(text: str) -> bool:
    return bool(text) and text.isprintable() and len(text.encode("utf-8", "surrogatepass")) <= MAX_NAME


_RULES: Final[tuple[tuple[str, Callable[[NewTask], bool], str], ...]] = (
    ("bad_id", lambda new: len(new.id) == ID_BYTES, "an id has 16 bytes"),
    ("bad_name", lambda new: _is_text(new.name), "a handler's name is 1 to 255 bytes of printable text"),
    (
        "bad_queue",
        lambda new: new.queue is None or _is_text(new.queue),
        "a queue's name is 1 to 255 bytes of printable text",
    ),
    (
        "bad_partition",
        lambda new: not new.partition or _is_text(new.partition),
        "a partition is at most 255 bytes of printable text",
    ),
    ("bad_priority", lambda new: new.priority is None or 0 <= new.priority <= 9, "a priority is 0 to 9"),  # noqa: PLR2004 - as it says
    ("bad_key", lambda new: new.key is None or _is_text(new.key), "a key is 1 to 255 bytes of printable text"),
)
