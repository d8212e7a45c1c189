"""Arguments and results: which values may travel, and their packed form.

None, bool, int of 64 bits, float, str, bytes, list, tuple (arrives as list), dict with str keys and aware datetime travel as
they are. UUID, Decimal, date, time, timedelta, Enum, dataclasses and msgspec Structs travel in their plain form, which is
the one that `msgspec.convert` turns back by a handler's annotations. All else is refused, with the path of the value.

Packing tries the plain values first (`plain.py`) and looks closer only if there are others.
"""

from __future__ import annotations

import dataclasses
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import msgpack
import msgspec

from otpq.errors import UsageError
from otpq.wire.messages import MAX_PAYLOAD
from otpq.wire.plain import KEYS, MAX_DEPTH, SCALARS, is_plain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["BadValue", "pack_arguments", "pack_result", "unpack"]

_LEAVES: Final = (UUID, Decimal, date, time, timedelta)
_LEAST_INT: Final = -(2**63)
_MOST_INT: Final = 2**64 - 1

_ADVICE: Final[dict[str, str]] = {
    "set": "use a list",
    "frozenset": "use a list",
    "complex": "use a list of two floats",
    "bytearray": "use bytes",
    "memoryview": "use bytes",
    "range": "use a list",
    "generator": "use a list",
    "PosixPath": "use str(path)",
    "WindowsPath": "use str(path)",
    "function": "pass the name of what is meant",
    "method": "pass the name of what is meant",
    "ndarray": "use .tolist()",
    "coroutine": "await it first",
    "TaskHandle": "pass its id",
    "AsyncTaskHandle": "pass its id",
}

# One for the process: `pack` of plain values runs no Python code, so the GIL keeps two threads apart.
_pack: Final[Callable[[Any], bytes]] = msgpack.Packer(use_bin_type=True, datetime=True).pack

_NOTHING: Final = _pack(((), {}))


class BadValue(UsageError, TypeError):
    """A value cannot travel.

    Attributes:
        path: Where it is, as in `args[0]['user'].x`.
        problem: What is wrong, and what would be right.
    """

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem


def pack_arguments(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
    """The packed form of a call's arguments: [args, kwargs].

    Raises:
        BadValue: A value among them cannot travel, or all together are larger than `MAX_PAYLOAD`.
    """
    if not args and not kwargs:
        return _NOTHING
    try:
        if is_plain(args) and (not kwargs or (KEYS.issuperset(map(type, kwargs)) and is_plain(kwargs.values()))):
            return _checked_size("args", _pack((args, kwargs)))
    except (OverflowError, ValueError, TypeError, RecursionError):
        pass  # an int too long, a lone surrogate, a list in itself: the slow way below says where
    plain = [_plain(list(args), "args", 0), _plain(dict(kwargs), "kwargs", 0)]
    return _checked_size("args", _pack(plain))


def pack_result(value: object) -> bytes:
    """The packed form of what a handler returned.

    Raises:
        BadValue: It cannot travel.
    """
    try:
        if type(value) in SCALARS or is_plain((value,)):
            return _checked_size("result", _pack(value))
    except (OverflowError, ValueError, TypeError, RecursionError):
        pass
    return _checked_size("result", _pack(_plain(value, "result", 0)))


def unpack(packed: bytes) -> Any:
    """The value that was packed; datetimes are aware and in UTC."""
    return msgpack.unpackb(packed, timestamp=3, strict_map_key=True)


def _checked_size(path: str, packed: bytes) -> bytes:
    if len(packed) > MAX_PAYLOAD:
        raise BadValue(
            path,
            f"{len(packed):,} bytes when packed, more than {MAX_PAYLOAD:,}; "
            f"put the data into a file or a database and pass where it is",
        )
    return packed


def _plain(value: Any, path: str, depth: int) -> Any:
    """`value` in its plain form, or `BadValue` with the place of what has none."""
    if depth > MAX_DEPTH:
        raise BadValue(path, f"nested more than {MAX_DEPTH} deep (or it contains itself); pass a flatter value")
    if isinstance(value, Enum):  # before int and str: an IntEnum is an int too
        return _plain(value.value, path, depth + 1)
    if isinstance(value, str | bool | int | float | bytes | None):
        return _scalar(value, path)
    if isinstance(value, datetime):  # before date, which it is too
        return _aware(value, path)
    if isinstance(value, _LEAVES):
        return msgspec.to_builtins(value)  # msgspec's form, since msgspec turns it back in the child
    return _container(value, path, depth)


def _scalar(value: str | float | bytes | None, path: str) -> object:
    """The value as its exact base type; what MessagePack cannot hold is refused."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if not _LEAST_INT <= value <= _MOST_INT:  # a range would walk through itself for a subclass of int
            raise BadValue(path, "an int of more than 64 bits; use str(value)")
        return int(value)
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise BadValue(path, f"a str that is no Unicode text ({error.reason}); use bytes") from None
        return str(value)
    return float(value) if isinstance(value, float) else bytes(value)


def _aware(value: datetime, path: str) -> datetime:
    if value.utcoffset() is None:
        raise BadValue(path, "a datetime without a time zone; use datetime.now(UTC), or .replace(tzinfo=...)")
    return value


def _container(value: Any, path: str, depth: int) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(one, f"{path}[{i}]", depth + 1) for i, one in enumerate(value)]
    if isinstance(value, dict):
        return {_key(key, path): _plain(one, f"{path}[{key!r}]", depth + 1) for key, one in value.items()}
    if isinstance(value, msgspec.Struct):
        return _struct(value, path, depth)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return {name: _plain(getattr(value, name), f"{path}.{name}", depth + 1) for name in names}
    raise _refused(value, path)


def _key(key: object, path: str) -> str:
    if isinstance(key, str):
        return str(_scalar(key.value if isinstance(key, Enum) else key, f"{path}: a key"))
    raise BadValue(path, f"the key {key!r} is of type {type(key).__name__}; keys are str, use str(key)")


def _struct(value: msgspec.Struct, path: str, depth: int) -> Any:
    """As msgspec writes it: its encoded names, its tag, and an array if it is `array_like`."""
    config = value.__struct_config__
    names = zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True)
    fields = {to: _plain(getattr(value, name), f"{path}.{name}", depth + 1) for name, to in names}
    if config.array_like:
        return [*([] if config.tag is None else [config.tag]), *fields.values()]
    return fields if config.tag is None else {config.tag_field: config.tag, **fields}


def _refused(value: object, path: str) -> BadValue:
    kind = type(value)
    shown = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    advice = _ADVICE.get(kind.__name__)
    if advice is None and kind.__module__.partition(".")[0] == "numpy":
        advice = "use .item()"
    return BadValue(path, f"{shown} is not allowed; {advice or 'pass its id, or make it a dataclass'}")
