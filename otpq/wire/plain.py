"""Plain values: those of exactly the types that MessagePack knows. Of the standard library alone, as children import it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["KEYS", "MAX_DEPTH", "SCALARS", "is_plain"]

MAX_DEPTH: Final = 100
"""Values nest this deep at most; beyond it they are taken to contain themselves."""

SCALARS: Final = frozenset({type(None), bool, int, float, str, bytes})
KEYS: Final = frozenset({str})
_CONTAINERS: Final = frozenset({list, tuple, dict})


def is_plain(values: Iterable[Any], depth: int = 0) -> bool:
    """Whether `values`, and all inside them, are of exactly the types that MessagePack knows.

    The types of a container's elements are gathered in C; Python code runs once for each container, not for each element.
    """
    kinds = set(map(type, values))
    if kinds <= SCALARS:
        return True
    rest = kinds - SCALARS
    if not rest <= _CONTAINERS or depth > MAX_DEPTH:
        return False
    for value in values:
        kind = type(value)
        if kind is dict:
            if not (KEYS.issuperset(map(type, value)) and is_plain(value.values(), depth + 1)):
                return False
        elif kind in _CONTAINERS and not is_plain(value, depth + 1):
            return False
    return True
