"""What is done to many tasks: asked before it is done, and how far it is while it is done."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from otpq.cli.exits import FAILURE
from otpq.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from otpq.client.client import Client
    from otpq.client.questions import Selector

__all__ = ["Sure", "to_many"]


@dataclass(frozen=True, slots=True)
class Sure:
    """Whether whoever asks is sure."""

    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do it, and do not ask.")] = False


def to_many(client: Client, verb: str, chosen: Selector, sure: Sure, do: Callable[..., int]) -> int:
    """Do something to the tasks that a selector selects; to how many it was done.

    Tasks that are named by their ids are meant. Of all others it is said how many there are, and asked.

    Args:
        client: Whose `count` says how many there are.
        verb: As `count` knows it.
        chosen: Which tasks.
        sure: Whether not to ask.
        do: Is told `on_progress`.

    Raises:
        UsageError: Nobody is there to be asked.
        TaskNotFound: One that was named is not there; then nothing is done.
        typer.Exit: The answer was no.
    """
    total = None
    if chosen.ids is not None:
        _check_that_all_exist(client, chosen.ids)
    elif not sure.yes or _is_watched():  # for the question, and for the bar
        total = client.count(chosen, to=verb)
        if total and not sure.yes:
            _ask(f"{verb} {total:,} {'task' if total == 1 else 'tasks'}")
    with _bar(verb, total) as on_progress:
        return do(on_progress=on_progress)


def _check_that_all_exist(client: Client, ids: Sequence[str]) -> None:
    from otpq.client.errors import TaskNotFound
    from otpq.client.ids import id_bytes
    from otpq.client.questions import Selector

    found = {task.id for task in client.tasks(Selector(ids=ids), limit=len(ids))}
    for id in ids:
        if id_bytes(id).hex() not in found:
            raise TaskNotFound(id)


def _ask(what: str) -> None:
    if not _is_anyone_here():
        raise UsageError(f"this would {what}, and nobody is here to be asked; with --yes it is done")
    if not typer.confirm(f"{what}?", err=True):
        typer.echo("nothing is done", err=True)
        raise typer.Exit(FAILURE)


def _is_anyone_here() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def _is_watched() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


@contextmanager
def _bar(label: str, total: int | None) -> Iterator[Callable[[int], object] | None]:
    """What is to be told how many are done; on a terminal a bar, once it is known that the first part is not all."""
    if not total or not _is_watched():
        yield None
        return
    bar: Any = None

    def told(done: int) -> None:
        nonlocal bar
        if bar is None and done < total:
            bar = typer.progressbar(length=total, label=label, file=sys.stderr)
            bar.__enter__()
        if bar is not None:
            bar.update(min(done, total) - bar.pos)

    try:
        yield told
    finally:
        if bar is not None:
            bar.__exit__(None, None, None)
