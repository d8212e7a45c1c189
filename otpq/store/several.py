"""One statement for many rows: what a driver and SQLite do for each statement, and the interpreter lock at each, once for all."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["several"]

_SIZES: Final = (50, 10, 1)
"""Rows of a statement. With 50 instead of one each, a commit of 400 new tasks and 400 ends takes 3.6 us a task instead of
4.7; with more nothing is gained."""

_ONE: Final = re.compile(r"\((?:\?, )*\?\)")


def several(query: str, values: Sequence[Any], width: int) -> Iterator[tuple[str, Sequence[Any]]]:
    """Statements, with their values, that do for all rows what `query` does for one.

    Args:
        query: It has one group of `width` question marks, which is repeated.
        values: Those of all rows, in one line.
        width: How many values a row has.
    """
    begin = 0
    for size in _SIZES:
        step = size * width
        statement = _repeated(query, size)
        while len(values) - begin >= step:
            yield statement, values[begin : begin + step]
            begin += step


@lru_cache(maxsize=32)
def _repeated(query: str, size: int) -> str:
    return _ONE.sub(lambda group: ", ".join([group[0]] * size), query, count=1)
