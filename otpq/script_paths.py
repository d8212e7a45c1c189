"""Which files are scripts that may be run: those in the directories that a node was told of, and in those below.

Asked where the files are: by the child before it runs one, and at submission, so that a wrong path is told at once.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["locate"]


def locate(path: str, script_dirs: Iterable[str]) -> str | None:
    """What is wrong with a path, in words, and which directories are allowed; None: it may be run.

    Links are followed first, those of the directories too: what a link leads to must itself lie in one.
    """
    allowed = sorted(set(script_dirs))
    if not allowed:
        return f"{path!r} cannot be run: no node was told of a directory of scripts (--script-dir)"
    within = f"scripts may lie in {', '.join(allowed)}"
    if "\0" in path or not os.path.isabs(path):  # noqa: PTH117 - a child need not load pathlib for this
        return f"{path!r} is no absolute path; {within}"
    real = os.path.realpath(path)
    if not any(_lies_in(real, os.path.realpath(directory)) for directory in allowed):
        return f"{path!r} lies in no directory of scripts; {within}"
    try:
        is_file = stat.S_ISREG(os.stat(real).st_mode)  # noqa: PTH116 - as above
    except OSError as error:
        return f"{path!r} cannot be read: {error.strerror}; {within}"
    return None if is_file else f"{path!r} is no file; {within}"


def _lies_in(real: str, directory: str) -> bool:
    return real.startswith(directory if directory.endswith(os.sep) else directory + os.sep)
