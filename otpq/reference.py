"""Where an app lives, as a child can find it again: the names of modules, and 'module:attribute' or '/file.py:attribute'.

A program's own file is the module `__main__` in the program itself, and `MAIN_ALIAS` in a child that loads the file. In both
its tasks must have the same names, so these come from the file.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from otpq.errors import UsageError
from otpq.worker.loading import MAIN_ALIAS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

__all__ = ["BadApp", "check_module", "public_name", "reference_to"]


class BadApp(UsageError):
    """No child could find this app; the message says why, and what to do."""


def public_name(module: str) -> str:
    """The name of a module that tasks carry: its own, but a program's is that of its file."""
    if module not in {"__main__", MAIN_ALIAS}:
        return module
    found = sys.modules.get(module)
    run_as = _run_as(found)
    if run_as is not None:
        return run_as
    file = getattr(found, "__file__", None)
    return module if file is None else Path(file).stem


def reference_to(app: object, module: str) -> str:
    """What a child is told to find `app`, which was made in `module`.

    Raises:
        BadApp: It was typed into a prompt, or has no name in its module.
    """
    found = sys.modules.get(module)
    attribute = next((name for name, value in vars(found).items() if value is app), None) if found else None
    where = (_run_as(found) or _file(found)) if module in {"__main__", MAIN_ALIAS} else module
    if attribute is None:
        raise BadApp(
            f"the app made in {where} has no name there, so no child can find it; "
            "keep it in a variable of the module, as in `app = otpq.App()`"
        )
    return f"{where}:{attribute}"


def check_module(module: str, path: Iterable[str]) -> None:
    """Look whether there is such a module, in `path` or where this program imports from, without importing it.

    Raises:
        BadApp: There is none, so no child could import it.
    """
    import importlib.util
    from importlib.machinery import PathFinder

    top, *below = module.split(".")
    spec = PathFinder.find_spec(top, [*path]) or importlib.util.find_spec(top) if top else None
    name = top
    while spec is not None and below:
        name = f"{name}.{below.pop(0)}"
        spec = PathFinder.find_spec(name, spec.submodule_search_locations or [])
    if spec is None:
        raise BadApp(
            f"there is no module {name!r} to import the app from; package.module:app or file.py:app would be right"
        )


def _run_as(module: ModuleType | None) -> str | None:
    """The name that follows `python -m`; None if the program was not run so."""
    spec = getattr(module, "__spec__", None)
    return None if spec is None or spec.name in {"__main__", MAIN_ALIAS} else str(spec.name)


def _file(module: ModuleType | None) -> str:
    file = getattr(module, "__file__", None)
    path = None if file is None else Path(file).absolute()
    if path is None or path.suffix != ".py" or not path.is_file():
        raise BadApp(
            "this app was typed into a prompt (or came with -c or through a pipe), so no child can load it; "
            "write it into a file, such as tasks.py, and import it: `from tasks import app`"
        )
    return str(path)
