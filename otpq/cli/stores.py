"""The commands about stores, which need no node; `migrate` wants none."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from otpq.cli.asking import AsJson
from otpq.cli.exits import STORE
from otpq.cli.printing import put, put_json
from otpq.errors import UsageError

__all__ = ["backup", "check", "migrate"]

StoreUrl = Annotated[str, typer.Argument(metavar="STORE", help="A store URL, or the path of its file.")]


def check(store: StoreUrl, *, as_json: AsJson = False) -> None:
    """Verify a store's invariants, without a node; exit code 3 if something is wrong."""
    from otpq.store.check import check as problems_of

    path = _file(store)
    problems = [str(problem) for problem in problems_of(path)]
    if as_json:
        put_json({"store": str(path), "problems": problems})
    else:
        put("\n".join(problems) or f"{path}: all is well")
    if problems:
        raise typer.Exit(STORE)


def backup(
    store: StoreUrl,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The copy; there may be no such file yet.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Copy a store as it is at one moment, also while its node works, and check the copy."""
    from otpq.store.backup import back_up

    tasks = back_up(_file(store), file.absolute())
    if as_json:
        put_json({"file": str(file.absolute()), "tasks": tasks})
    else:
        put(f"{file}: {tasks} tasks, all is well")


def migrate(store: StoreUrl, *, as_json: AsJson = False) -> None:
    """Bring a store's schema to the version of this otpq, as a node would at its start; copy the store before."""
    from otpq.store.upgrade import upgrade

    path = _file(store)
    before, after = upgrade(path)
    if as_json:
        put_json({"store": str(path), "from": before, "to": after})
    elif before == after:
        put(f"{path}: the schema has version {after} already")
    else:
        put(f"{path}: the schema had version {before}, and has version {after} now")


def _file(store: str) -> Path:
    from otpq.store.url import parse_url

    path = parse_url(store)
    if path is None:
        raise UsageError("memory: is gone when its node is; only a store in a file can be checked, copied or migrated")
    return path
