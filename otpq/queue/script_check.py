"""Whether the scripts among submitted tasks may run: told at once, and not by a task that fails hours later.

The files are looked for here, in the queue server's process: all nodes of a machine see the same.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

import msgspec

from otpq.core.effects import Refusal
from otpq.script_paths import locate
from otpq.task import SCRIPT_HANDLER

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

    from otpq.wire.messages import NewTask

__all__ = ["has_scripts", "wrong_scripts"]

_name: Final = attrgetter("name")


def has_scripts(tasks: Iterable[NewTask]) -> bool:
    """Whether any of the tasks is a script. Some 50 ns a task, since all tasks are asked."""
    return SCRIPT_HANDLER in map(_name, tasks)


def wrong_scripts(
    tasks: Sequence[NewTask], script_dirs: Iterable[str], there: Container[bytes] = frozenset()
) -> list[Refusal]:
    """What is wrong with the scripts among the tasks, but for those in `there`, which were accepted once."""
    dirs = tuple(script_dirs)
    return [
        Refusal(index, "bad_path", wrong)
        for index, task in enumerate(tasks)
        if task.name == SCRIPT_HANDLER and task.id not in there and (wrong := _wrong(task.payload, dirs)) is not None
    ]


def _wrong(payload: bytes, script_dirs: tuple[str, ...]) -> str | None:
    try:
        args, _ = msgspec.msgpack.decode(payload, type=tuple[list[Any], dict[str, Any]])
    except msgspec.MsgspecError:
        args = []
    if len(args) != 1 or not isinstance(args[0], str):
        return "a script's one argument is its path, a text"
    return locate(args[0], script_dirs)
