"""What processes hold and tell each other, as plain values for eyes elsewhere: bounded, and without secrets.

What is shown is a part: a few things of each collection, the beginning of each text, so many levels deep. What may be secret is
named and not shown: by its type (a cookie), by the name under which it stands (a password, an environment), by its look (a
cookie's text, the password in a URL).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from datetime import date, timedelta
from enum import Enum
from itertools import islice
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

import msgspec

from otpq.otp import Pid, Reason
from otpq.wire.cookie import Cookie, KeyPair

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["LONGEST", "line", "plain"]

LONGEST: Final = 100
"""Characters of a text, or of what stands for bytes."""
NOT_SHOWN: Final = "(not shown)"
IS: Final = "is"
"""The key under which an object's class stands, among its fields."""

_INT_BITS: Final = 64
"""A longer number does not travel."""

_SECRET_NAME = re.compile(r"cookie$|key$|keys$|secret|passw|token|credential|private|environ|^_?env$", re.IGNORECASE)
_SECRET_TEXT = re.compile(r"otpq-[a-zA-Z2-7]{56}|(?<=://)[^/@\s]*:[^/@\s]*(?=@)")
_SAID_BY_THEMSELVES = (Pid, Reason, Enum, date, timedelta, PurePath, BaseException, type)
_OURS: Final = "otpq."


def plain(value: object, *, depth: int = 5, most: int = 20, budget: int = 2_000) -> Any:
    """A plain value that shows `value`, an object as a map of its class and fields.

    Args:
        value: Anything; it may change meanwhile.
        depth: How many levels of collections and objects are opened.
        most: How many things of a collection are shown; one more tells how many are not.
        budget: How many things are shown in all.
    """
    return _Shown(most, budget).show(value, depth)


def line(value: object, *, longest: int = 500) -> str:
    """A line that shows `value`, of bounded length; cheap enough to be made for each message of a busy process."""
    text = _written(plain(value, depth=5, most=5, budget=60))
    return text if len(text) <= longest else f"{text[:longest]}..."


class _Shown:
    def __init__(self, most: int, budget: int) -> None:
        self._most = most
        self._left = budget

    def show(self, value: object, depth: int) -> Any:
        self._left -= 1
        if isinstance(value, Cookie | KeyPair):
            return f"<{type(value).__name__} {NOT_SHOWN}>"
        if isinstance(value, _SAID_BY_THEMSELVES):
            return _of_text(str(value) if isinstance(value, PurePath) else repr(value))
        if value is None or isinstance(value, int | float):
            return value if not isinstance(value, int) or value.bit_length() < _INT_BITS else _outside(value)
        if isinstance(value, str):
            return _of_text(value)
        if isinstance(value, bytes | bytearray | memoryview):
            return _cut(repr(bytes(value[:LONGEST])), len(value))
        return self._open(value, depth)

    def _open(self, value: object, depth: int) -> Any:
        """A collection or an object."""
        if depth == 0 or self._left <= 0:
            return _outside(value)
        if isinstance(value, Mapping):
            pairs = [(self._name(key, depth), each) for key, each in self._some(value.items())]
            shown = {name: self._field(name, each, depth) for name, each in pairs}
            return shown if len(value) <= len(pairs) else {**shown, "...": _more(len(value) - len(pairs))}
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return self._object(value, zip(value._fields, value, strict=True), depth)
        if isinstance(value, Sequence | AbstractSet):
            some = [self.show(each, depth - 1) for each in self._some(value)]
            return some if len(value) <= len(some) else [*some, _more(len(value) - len(some))]
        found = _fields_of(value)
        return _outside(value) if found is None else self._object(value, found, depth)

    def _object(self, value: object, found: Iterable[tuple[str, object]], depth: int) -> dict[str, Any]:
        return {IS: type(value).__name__, **{name: self._field(name, each, depth) for name, each in found}}

    def _field(self, name: str, value: object, depth: int) -> Any:
        return NOT_SHOWN if _SECRET_NAME.search(name) else self.show(value, depth - 1)

    def _name(self, key: object, depth: int) -> str:
        return key if isinstance(key, str) else _written(self.show(key, min(depth, 1)))

    def _some(self, values: Iterable[Any]) -> Sequence[Any]:
        """The first ones, taken in one go: nobody else's thread changes a collection between two of them."""
        return tuple(islice(values, max(1, min(self._most, self._left))))


def _fields_of(value: object) -> Iterable[tuple[str, object]] | None:
    """The names and values of what an object is made of, if it is one of ours; never a property, which may do something."""
    if is_dataclass(value) and not isinstance(value, type):
        return [(each.name, getattr(value, each.name, None)) for each in fields(value)]
    if isinstance(value, msgspec.Struct):
        return [(name, getattr(value, name)) for name in value.__struct_fields__]
    if not type(value).__module__.startswith(_OURS):
        return None
    slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
    there = [(name, getattr(value, name)) for name in slots if hasattr(value, name)]
    return [*there, *getattr(value, "__dict__", {}).copy().items()]


def _outside(value: object) -> str:
    """What can be said of something without looking into it."""
    of = f" of {len(value)}" if isinstance(value, Mapping | Sequence | AbstractSet) else ""
    return f"<{type(value).__name__}{of}>"


def _of_text(value: str) -> str:
    return _cut(_SECRET_TEXT.sub(NOT_SHOWN, value[: 4 * LONGEST]), len(value))


def _cut(text: str, whole: int) -> str:
    return text if len(text) <= LONGEST and whole <= 4 * LONGEST else f"{text[:LONGEST]}... ({whole:,} in all)"


def _more(count: int) -> str:
    return f"... {count:,} more"


def _written(shown: Any) -> str:
    """A value of `plain` as a program would write it."""
    if isinstance(shown, dict) and IS in shown:
        inside = ", ".join(f"{name}={_written(each)}" for name, each in shown.items() if name != IS)
        return f"{shown[IS]}({inside})"
    if isinstance(shown, dict):
        return f"{{{', '.join(f'{name}: {_written(each)}' for name, each in shown.items())}}}"
    if isinstance(shown, list):
        return f"[{', '.join(map(_written, shown))}]"
    return str(shown)
