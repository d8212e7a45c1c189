"""What passes between a node and a child: the grammar, and how each side packs its part. MessagePack throughout.

To the child, one *packet* for each task or millisecond of work (`task_pipe.py` carries it):

    packet  = [lease, [item, ...]]                      no item: finish what you have and end
    item    = [seq, id, name, attempt, options, payload, checkpoint]
              int, 16 bytes, str, int, bytes (MessagePack map), bytes (MessagePack [args, kwargs]), bytes or nil
              the options are those that the caller named; under them lies what the child's own app declares

Arguments and options are bytes inside, passed on as they came; only the child opens them.

On a stream of frames (`frames.py`), first one frame to the child, `Greeting`, then frames from it:

    ["ready", pid, {handler name: options, ...}]        the app is loaded; what it declares, as `Options.pack` gives it
    ["refused", error]                                  it could not be; the child ends
    ["results", lease, [result, ...]]
    result  = [seq, outcome, value, started, finished, delay]
              int, Outcome, bytes, float, float (wall clock; both 0 for what was not run), float or nil (may be left out)
    value   = the packed result (SUCCEEDED), or an error
    error   = MessagePack [type, message, traceback, [name, ...], details] as bytes: the names of its class and of that one's
              bases; details is a map with more (of a script: exit_code, signal, lines), nil or left out
    ["progress", lease, seq, fraction, message]
    ["checkpoint", lease, seq, number, value]           the number is new for each; answered by "kept"

and more frames to it, which it reads when it can:

    ["cancel", lease, seq]                              this task is to end by itself, if it can
    ["drain"]                                           so is all that runs, with a checkpoint if it keeps one
    ["kept", seq, number]                               that checkpoint is durable

and one signal, `HURRY`: results that wait behind a run which takes long are to be sent, in the middle of it. By default it is
ignored, so it does no harm to a child, or whoever has its pid, that does not know it.

Values stay packed on their way to the store. New fields go at the end; whoever reads must allow for more than it knows.
This side of the file imports msgpack alone, as every child does; the node reads the frames with `reports.py`.
"""

from __future__ import annotations

import signal
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgpack

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "FINISH",
    "HURRY",
    "Greeting",
    "Item",
    "Outcome",
    "Packet",
    "pack_packet",
    "pack_results",
    "unpack_packet",
]


class Outcome(IntEnum):
    """What became of a task, as the child saw it."""

    SUCCEEDED = 0
    FAILED = 1
    """It was run and ended by an exception, sys.exit included, or its result cannot be packed."""
    NO_HANDLER = 2
    """The app has no handler of that name. It was not run."""
    RETURNED = 3
    """Handed back: the child was asked to finish before the task's turn came. It was not run."""
    DISCARDED = 4
    """It failed, and would at a second run: it raised `Discard`, or its arguments are not those of the handler."""
    LATER = 5
    """It raised `Retry`: a failed attempt, to be followed by another after `delay` seconds, if there is one."""
    SNOOZED = 6
    """It raised `Snooze`: to be run again after `delay` seconds, and this run does not count."""
    CANCELLED = 7
    """It raised `Cancel`; or it was cancelled, before its handler was called or so that it let `CancelledError` out."""
    TIMED_OUT = 8
    """It was told that its soft timeout was over, and did not catch that."""
    HANDED_OVER = 9
    """It was asked to end, had kept a checkpoint, and left: to be run again from there, and this run does not count."""
    OUT_OF_MEMORY = 10
    """It had a limit of memory, and was refused more."""


class Item(NamedTuple):
    """One task on its way to a child."""

    seq: int
    id: bytes
    name: str
    attempt: int
    options: bytes
    payload: bytes
    checkpoint: bytes | None = None


class Packet(NamedTuple):
    """A few tasks under one lease, as the child reads them."""

    lease: int
    items: list[Item]


class Greeting(NamedTuple):
    """The first that a child hears."""

    app: str
    """`package.module:attribute`, or `/path/of/file.py:attribute`."""
    blackboard: str
    slot: int
    path: list[str]
    """What `sys.path` is to be."""
    portable: bool = False
    executor: str = "process"
    """process, thread, async or script."""
    parallel: int = 1
    """How many tasks it may run at a time, in the slots from `slot` on. Behind them an async child has one for its pulse."""
    script_dirs: list[str] = []  # noqa: RUF012 - msgpack gives a list, and nobody changes it
    """Directories of whose scripts it may run any."""
    webhooks: dict[str, list[str]] = {}  # noqa: RUF012 - as above
    """By key, the address of a webhook that it may tell of events, and the file of its secret."""

    def pack(self) -> bytes:
        """As a map, so that fields can be added."""
        return bytes(msgpack.packb(self._asdict()))

    @classmethod
    def unpack(cls, content: bytes) -> Greeting:
        """What `pack` packed; fields that this version does not know are left out."""
        fields: dict[str, Any] = msgpack.unpackb(content)
        return cls(**{name: value for name, value in fields.items() if name in cls._fields})


def pack_packet(lease: int, items: Sequence[Sequence[Any]]) -> bytes:
    """A packet of items."""
    return bytes(msgpack.packb((lease, items)))


_ITEM = len(Item._fields)
_item = tuple.__new__  # half the time of Item(...), every task

FINISH = pack_packet(0, [])
"""The packet that asks a child to end when it has done what came before."""

HURRY: Final = signal.SIGURG
"""Asks a child to send the results that it holds back."""


def unpack_packet(content: bytes | bytearray | memoryview) -> Packet:
    """The child's reading of a packet."""
    lease, items = msgpack.unpackb(content)
    return Packet(lease, [_item(Item, fields) if len(fields) == _ITEM else Item(*fields[:_ITEM]) for fields in items])


def pack_results(lease: int, results: Iterable[bytes], count: int) -> bytes:
    """The frame's content for `count` results, each packed already."""
    packer = msgpack.Packer()
    head = (packer.pack_array_header(3), packer.pack("results"), packer.pack(lease), packer.pack_array_header(count))
    return b"".join((*head, *results))
