"""One call for each of many things, a bounded number of them under way."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from otpq.client.calls import Call
from otpq.errors import BadOption, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["calls_in_chunks"]

T = TypeVar("T")


def calls_in_chunks(what: str | Callable[[Any], Call], items: Iterable[Any], chunk: int) -> Iterator[list[Call]]:
    """A call for each item, which is its one argument, in lists of at most `chunk`.

    Raises:
        UsageError: `chunk` is no number of them, or `items` cannot be walked.
    """
    if isinstance(chunk, bool) or not isinstance(chunk, int) or chunk < 1:
        raise BadOption("chunk", chunk, "a whole number, 1 or more")
    make = _by_name(what) if isinstance(what, str) else what
    try:
        walk = iter(items)
    except TypeError:
        raise UsageError(f"{items!r} cannot be walked; give a list, a generator, ...") from None
    return iter(lambda: [make(item) for item in islice(walk, chunk)], [])


def _by_name(name: str) -> Callable[[Any], Call]:
    return lambda item: Call(name, (item,))
