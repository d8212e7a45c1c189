"""The proof that an incarnation of a node is over: a small file in the node's directory.

The warden writes it, when the node is gone or its lease has run out *and* no descendant of it is left. The next
incarnation of the same name shows it to the leader, which may then give the tasks to others at once.
Of the standard library alone.
"""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, NamedTuple

from otpq.worker.deadline import boottime_ns

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

__all__ = ["Tombstone", "find", "path_of", "read", "write"]

_PREFIX = "tombstone."


class Tombstone(NamedTuple):
    """Whose death is proven, why it was declared, and when."""

    node: str
    incarnation: str
    reason: str
    """`gone`: the node's socket was closed. `lease`: its deadline passed."""
    at: float
    """Wall clock."""
    boottime_ns: int


def path_of(directory: Path, incarnation: str) -> Path:
    """Where the tombstone of `incarnation` stands, or will."""
    return directory / f"{_PREFIX}{incarnation}"


def write(directory: Path, node: str, incarnation: str, reason: str) -> Path:
    """Leave the tombstone: whole or not at all, and on the disk when this returns."""
    stone = Tombstone(node, incarnation, reason, time.time(), boottime_ns())
    path = path_of(directory, incarnation)
    # Not of the stone's name: a half-written one must not be found. The pid: two may write at once, both right.
    draft = directory / f".draft.{os.getpid()}.{path.name}"
    with draft.open("w", encoding="utf-8") as file:
        json.dump(stone._asdict(), file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    _sync_directory(directory)
    return path


def _sync_directory(directory: Path) -> None:
    """A rename is durable when its directory is."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(path: Path) -> Tombstone:
    """What `path` says.

    Raises:
        OSError: It is not there, or cannot be read.
        ValueError: It is no tombstone.
    """
    try:
        return Tombstone(**json.loads(path.read_text(encoding="utf-8")))
    except TypeError as error:
        raise ValueError(f"{path} is no tombstone: {error}") from error


def find(directory: Path, node: str, known: Collection[str] = ()) -> list[Tombstone]:
    """The proven deaths of earlier incarnations of `node` in its directory, oldest first; those `known` are passed over."""
    paths = directory.glob(f"{_PREFIX}*")
    stones = [read(path) for path in paths if path.name.removeprefix(_PREFIX) not in known]
    return sorted((stone for stone in stones if stone.node == node), key=lambda stone: stone.at)
