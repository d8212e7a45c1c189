"""How transitions lie in a row: MessagePack maps, one after the other, so that one more is an append of bytes."""

from __future__ import annotations

from typing import Any

import msgpack

__all__ = ["decode_history"]


def decode_history(history: bytes) -> list[dict[str, Any]]:
    """The maps in `history`, oldest first.

    Raises:
        ValueError: It is not a row of whole MessagePack maps; the message says where it stops being one.
    """
    unpacker = msgpack.Unpacker(raw=False, strict_map_key=False)
    unpacker.feed(history)
    entries: list[dict[str, Any]] = []
    good = 0
    while good < len(history):
        try:
            entry = unpacker.unpack()
        except (msgpack.UnpackException, ValueError) as error:
            raise ValueError(f"byte {good} begins no whole MessagePack value") from error
        if not isinstance(entry, dict):
            raise ValueError(f"byte {good} begins a {type(entry).__name__}, not a map")  # noqa: TRY004 - bad data, not a bad call
        entries.append(entry)
        good = unpacker.tell()
    return entries
