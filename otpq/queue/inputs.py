"""What members of workflows take from others, filled in as a batch is handed out: rows have but the places of those others.

What clients send of it is checked before it is submitted (`check`): what cannot be filled in must not come so far.

So results are kept once, however many take them, and a task that is handed out again takes them again. Nothing is opened: a
list of packed results is their bytes behind a header.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

from otpq.core import events as ev
from otpq.core.state import SUCCEEDED
from otpq.wire.messages import MAX_PAYLOAD
from otpq.wire.verbs import MAX_DEPTH

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from otpq.core.effects import Dispatch
    from otpq.core.records import Link, TaskRow
    from otpq.store.protocol import End, Reading
    from otpq.wire.verbs import NewMember

__all__ = ["check", "filled", "with_first"]

Takes: TypeAlias = "int | list[Takes]"

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder().decode
_NIL: Final = b"\xc0"
_PAIR: Final = b"\x92"
"""The header of [args, kwargs]."""


def check(member: NewMember) -> None:
    """Return if a member to be can be given what it takes.

    Raises:
        ValueError: It takes no shape of places, or of one that it does not wait for; or its payload is none.
    """
    if member.takes is None:
        return
    with_first(member.task.payload, _NIL)
    takes = msgspec.msgpack.decode(member.takes)  # its errors are ValueErrors
    others = set(_checked(takes, 0)).difference(member.after)
    if others:
        raise ValueError(f"it takes the result of member {min(others)}, and does not wait for it")


def _checked(takes: object, depth: int) -> Iterator[int]:
    """The places in a shape that may be anything yet."""
    if type(takes) is int:
        yield takes
        return
    if not isinstance(takes, list):
        raise ValueError(f"it takes {type(takes).__name__}; right is a place, or a list of these")  # noqa: TRY004 - in a message
    if depth == MAX_DEPTH:
        raise ValueError(f"what it takes is nested more than {MAX_DEPTH} deep")
    for one in takes:
        yield from _checked(one, depth + 1)


def filled(dispatch: Dispatch, reading: Reading, wall: float) -> tuple[Dispatch | None, ev.Results | None]:
    """A batch with what its members take as their first arguments, and what became of those whose inputs are too large.

    Args:
        dispatch: As the core has it.
        reading: Where the results are; all of them have been committed.
        wall: The time.

    Returns:
        None in place of a batch of which nothing is left; results for the core, or None.

    Raises:
        StoreError: The results cannot be read now.
    """
    members = [row.seq for row in dispatch.rows if row.workflow is not None]
    links = reading.links(min(members), max(members)) if members else {}
    rows: list[TaskRow] = []
    failed: list[ev.Result] = []
    for row in dispatch.rows:
        link = links.get(row.seq)
        if link is None or link.takes is None or row.workflow is None:
            rows.append(row)
            continue
        parts = _input(link, row.workflow, reading)
        size = sum(map(len, parts)) + len(row.payload)
        if size > MAX_PAYLOAD:  # looked at before they are put together: one result may be taken many times
            failed.append(ev.Discarded(row.seq, _too_large(size), wall, wall))
        else:
            rows.append(msgspec.structs.replace(row, payload=with_first(row.payload, b"".join(parts))))
    results = ev.Results(session=dispatch.session, lease=dispatch.lease, results=failed) if failed else None
    return (msgspec.structs.replace(dispatch, rows=rows) if rows else None), results


def with_first(payload: bytes, value: bytes) -> bytes:
    """`payload`, MessagePack of [args, kwargs], with one more packed value in front of its args.

    Raises:
        ValueError: It does not begin as such a payload does.
    """
    if not payload.startswith(_PAIR):
        raise ValueError("its payload is not [args, kwargs]")
    count, begin = _array(payload, 1)
    return b"".join((_PAIR, _header(count + 1), value, payload[begin:]))


def _array(packed: bytes, at: int) -> tuple[int, int]:
    """How many values the array at this place has, and where they begin."""
    kind = packed[at] if at < len(packed) else 0
    if kind & 0xF0 == 0x90:  # noqa: PLR2004 - fixarray
        return kind & 0x0F, at + 1
    size = {0xDC: 2, 0xDD: 4}.get(kind, 0)
    if not size or len(packed) < at + 1 + size:
        raise ValueError("its payload has no list of args")
    return int.from_bytes(packed[at + 1 : at + 1 + size], "big"), at + 1 + size


def _header(count: int) -> bytes:
    if count < 16:  # noqa: PLR2004 - a fixarray's most
        return bytes((0x90 | count,))
    return b"\xdc" + count.to_bytes(2, "big") if count < 1 << 16 else b"\xdd" + count.to_bytes(4, "big")


def _input(link: Link, workflow: int, reading: Reading) -> list[bytes]:
    takes: Takes = _decode(link.takes or _NIL)
    places = sorted(set(_places(takes)))
    ends: dict[int, End] = {}
    for first, last in _runs(places):
        ends |= reading.ends(workflow + first, workflow + last)
    is_collected = any(end.state != SUCCEEDED for end in ends.values()) and _collects(workflow, reading)
    packed = {end.seq - workflow: _value(end, is_collected=is_collected) for end in ends.values()}
    return list(_pack(takes, packed))


def _places(takes: Takes) -> Iterator[int]:
    if isinstance(takes, int):
        yield takes
    else:
        for one in takes:
            yield from _places(one)


def _runs(places: list[int]) -> Iterator[tuple[int, int]]:
    """The first and the last of each run of places that follow each other."""
    if not places:
        return
    first = places[0]
    for one, other in pairwise(places):
        if other != one + 1:
            yield first, one
            first = other
    yield first, places[-1]


def _collects(workflow: int, reading: Reading) -> bool:
    row = reading.workflow(workflow)
    return row is not None and row.on_failure == "collect"


def _value(end: End, *, is_collected: bool) -> bytes:
    if end.state == SUCCEEDED:
        return end.result or _NIL
    if not is_collected:
        return _NIL
    error: Any = None if end.error is None else _decode(end.error)[:2]
    return _encode({"error": error, "id": end.id.hex(), "name": end.name, "state": end.state})


def _pack(takes: Takes, packed: Mapping[int, bytes]) -> Iterable[bytes]:
    if isinstance(takes, int):
        yield packed.get(takes, _NIL)
    else:
        yield _header(len(takes))
        for one in takes:
            yield from _pack(one, packed)


def _too_large(size: int) -> bytes:
    text = f"the results that it takes are {size:,} bytes with its arguments; at most {MAX_PAYLOAD:,} may travel"
    return _encode(["InputTooLarge", text, ""])
