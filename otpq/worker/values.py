"""Pack what handlers return and raise, so that it always arrives: exactly, or with an exact reason why not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgpack

from otpq.context import MAX_CHECKPOINT
from otpq.wire.plain import SCALARS, is_plain
from otpq.worker.soft_timeout import uninterrupted

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["UnpackableResult", "pack_checkpoint", "pack_error", "pack_value"]

MAX_MESSAGE = 10_000
"""Characters of an error's message, and `MAX_TRACEBACK` of its traceback, that are kept: the begin and the end."""
MAX_TRACEBACK = 60_000

_OUTSIDE = ("otpq.worker.", "asyncio.")
"""Modules between the child's loop and a handler, whose frames tell its author nothing."""

_LAST_RESORT: bytes = msgpack.packb(
    ["MemoryError", "no memory was left to record the error", "", ["MemoryError", "Exception", "BaseException"]]
)


class UnpackableResult(TypeError):
    """The handler returned what cannot be sent; the message names the place in the value, and what stands there."""


_SURE_BYTES = 1 << 20
"""Up to this size nobody need ask whether a result may be sent: `MAX_PAYLOAD` is larger."""

_packer = msgpack.Packer(datetime=True)


def pack_value(value: object) -> bytes:
    """What a handler returned, in MessagePack.

    Raises:
        UnpackableResult: A part of it has no form, or it is too large.
    """
    try:
        if type(value) in SCALARS or is_plain((value,)):
            packed = bytes(_packer.pack(value))
            if len(packed) <= _SURE_BYTES:
                return packed
    except Exception:  # noqa: BLE001 - an int of 65 bits, a list in itself: below it is said what and where
        _packer.reset()
    from otpq.wire.values import pack_result  # with msgspec 20 ms, and only a child with such a result pays them

    try:
        return pack_result(value)
    except Exception as error:  # noqa: BLE001 - whatever a user's __iter__ or property does; all is recorded
        raise UnpackableResult(_text_of(error)) from None  # its frames are ours, not the user's


def pack_checkpoint(value: object) -> bytes:
    """What a handler keeps for its next run, in MessagePack.

    Raises:
        BadValue: A part of it has no form, or it is too large.
    """
    with uninterrupted:  # the import system takes a SoftTimeout, an OSError, for a file that is not there, and goes on
        from otpq.wire.values import BadValue, pack_result  # as above

    try:
        packed = pack_result(value)
    except BadValue as error:
        raise BadValue(f"checkpoint{error.path.removeprefix('result')}", error.problem) from None
    if len(packed) > MAX_CHECKPOINT:
        raise BadValue(
            "checkpoint",
            f"{len(packed):,} bytes when packed, more than {MAX_CHECKPOINT:,}; "
            f"put the data into a file or a database and keep where it is",
        )
    return packed


def pack_error(error: BaseException) -> bytes:
    """`error` as MessagePack [type, message, traceback, [its class and those that it is of, by name], details].

    Whatever its class does; the outer frames, ours, left out. The details are left out unless it has some.
    """
    try:
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_globals.get("__name__", "").startswith(_OUTSIDE):
            trace = trace.tb_next
        fields = [_name(type(error)), _cut(_text_of(error), MAX_MESSAGE), _cut(_traceback(error, trace), MAX_TRACEBACK)]
        types = [_name(cls) for cls in type(error).__mro__ if cls is not object]
        packed = msgpack.packb([*map(_text, fields), list(map(_text, types)), *_details(error)])
        return bytes(packed)
    except MemoryError:
        return _LAST_RESORT


def _details(error: BaseException) -> list[object]:
    """What an error knows beside its words: a plain map in its `details`, if it is not too long."""
    try:
        details = getattr(error, "details", None)
        if type(details) is dict and is_plain((details,)) and len(msgpack.packb(details)) <= MAX_TRACEBACK:
            return [details]
    except BaseException:  # noqa: BLE001, S110 - `details` may be the user's code, and is a courtesy
        pass
    return []


def _text(text: str) -> str:
    """With lone surrogates, which have no UTF-8, shown and not refused."""
    return text.encode("utf-8", "backslashreplace").decode()


def _name(cls: type) -> str:
    """As `retry_on` names it: a program's own file, `__main__` to itself, has another name here, and so none."""
    module = cls.__module__
    return cls.__qualname__ if module == "builtins" or module.startswith("__") else f"{module}.{cls.__qualname__}"


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException as second:  # noqa: BLE001 - __str__ is the user's code
        return f"<its __str__ raised {_name(type(second))}>"


def _traceback(error: BaseException, trace: TracebackType | None) -> str:
    import traceback  # 5 ms, and a child that never fails never pays them

    try:
        return "".join(traceback.format_exception(type(error), error, trace))
    except BaseException as second:  # noqa: BLE001 - __notes__, __cause__ or a source line can be the user's code
        return f"<the traceback could not be written: {_name(type(second))}>"


def _cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"
