"""Tell the node that leads of the death of this one, as soon as it is proven: a program of its own, the warden's last act.

A node that was killed can say nothing any more. Its warden has ended what it ran and left the tombstone; then it becomes this
program, which shows the tombstone to the leader, with what the blackboards name as running. So the tasks of a killed
node run elsewhere after a fraction of a second, and not after its lease.

    python -c BOOT SYS_PATH DIRECTORY NAME LEADER COOKIE_FILE
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["leave_word", "main", "take_back_words", "word_of"]

BOOT: Final = "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); from otpq.node.obituary import main; main(sys.argv[1:])"
_PATIENCE: Final = 30.0
"""Seconds in which the leader must be reached: after them the leases are over anyway."""


def word_of(directory: Path, incarnation: str) -> Path:
    """The file that says which program is to be run when that incarnation has ended."""
    return directory / f"obituary.{incarnation}"


def leave_word(directory: Path, incarnation: str, name: str, leader: str, cookie_file: Path) -> None:
    """Have the leader told when this node is dead; again when another leads."""
    words = [sys.executable, "-P", "-c", BOOT, json.dumps(sys.path), str(directory), name, leader, str(cookie_file)]
    path = word_of(directory, incarnation)
    draft = path.with_name(f".draft.{path.name}")
    draft.write_text(json.dumps(words), encoding="utf-8")
    draft.replace(path)


def take_back_words(directory: Path) -> None:
    """Have nobody told: the node will say goodbye itself, when nothing of it runs any more."""
    for path in directory.glob("obituary.*"):
        path.unlink(missing_ok=True)


def main(words: Sequence[str]) -> None:
    """Tell the leader; the exit code says whether it was reached."""
    from otpq.client.client import connect
    from otpq.errors import OtpqError
    from otpq.node.past import deaths_in

    _let_go_of_output()
    directory, name, leader, cookie_file = words
    try:
        with connect(leader, _PATIENCE, cookie_file=cookie_file) as client:
            for death in deaths_in(Path(directory), name):
                client.node_lost(death)
    except OtpqError:
        sys.exit(1)  # nobody is left to be told; the lease will end


def _let_go_of_output() -> None:
    """Whoever waits for the last of what the node has printed is not to wait for this, which may take its `_PATIENCE`."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
