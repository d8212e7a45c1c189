"""Options that several commands have, and how the words of a command line become values."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import typer

from otpq.cli import completion
from otpq.errors import BadOption, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from otpq.client.questions import Selector

__all__ = [
    "Ids",
    "Option",
    "Timeout",
    "Which",
    "meant",
    "moment",
    "pair",
    "pairs",
    "texts",
    "value",
]

Option: TypeAlias = Annotated[
    list[str] | None, typer.Option("--option", "-o", metavar="K=V", help="Such as priority=high or delay=60.")
]
Timeout: TypeAlias = Annotated[
    float | None, typer.Option("--timeout", metavar="SECONDS", help="How long to wait at most.")
]
Ids: TypeAlias = Annotated[
    list[str] | None, typer.Argument(metavar="[ID]...", help="Only these tasks.", autocompletion=completion.ids)
]


@dataclass(frozen=True, slots=True)
class Which:
    """Which tasks a command is about: those for which all that is given holds."""

    state: Annotated[
        str | None,
        typer.Option("--state", metavar="STATE", help="Only those in this state.", autocompletion=completion.states),
    ] = None
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            metavar="NAME",
            envvar="OTPQ_HANDLER",  # OTPQ_NAME is what `otpq node` is to be called
            help="Only those of this handler; 'email.*' is a pattern, and [*] the character itself.",
            autocompletion=completion.handlers,
        ),
    ] = None
    queue: Annotated[
        str | None,
        typer.Option("--queue", metavar="QUEUE", help="Only those of this queue.", autocompletion=completion.queues),
    ] = None
    tag: Annotated[str | None, typer.Option("--tag", metavar="TAG", help="Only those with this tag.")] = None
    before: Annotated[
        str | None,
        typer.Option(
            "--before", metavar="AGE|TIME", help="Only those made longer ago than 30s, 5m, 1h or 2d, or before a time."
        ),
    ] = None

    def selector(self, ids: Sequence[str] | None = None) -> Selector:
        """What the words mean.

        Raises:
            BadOption: `before` is neither an age nor a time.
        """
        from otpq.client.questions import Selector

        before = None if self.before is None else moment(self.before)
        return Selector(
            state=self.state,
            name=self.name,
            queue=self.queue,
            tag=self.tag,
            before=before,
            ids=list(ids) if ids else None,
        )


def meant(chosen: Selector, *, every: bool) -> Selector:
    """A selector that is not meant for all there are by a slip.

    Raises:
        UsageError: It selects all, and that was not said.
    """
    if chosen.is_empty and not every:
        raise UsageError("name tasks by their ids, or select some: --state, --name, --queue, --tag, --before; or --all")
    return chosen


def moment(text: str) -> datetime | timedelta:
    """An age, such as 1h, or a time, of this machine's clock if it has no zone.

    Raises:
        BadOption: It is neither.
    """
    age = _AGE.fullmatch(text)
    try:
        return timedelta(seconds=float(age[1]) * _UNITS[age[2]]) if age else datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        right = "an age such as 30s, 5m, 1h, 2d or 1w, or a time such as 2026-01-31 or 2026-01-31T12:00"
        raise BadOption("before", text, right) from None


_AGE: Final = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def value(text: str) -> Any:
    """A word of the command line as a value: JSON, and text where it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def pair(text: str) -> tuple[str, Any]:
    """'K=V' as a name and a value.

    Raises:
        UsageError: It has no '='.
    """
    name, word = _halves(text)
    return name, value(word)


def texts(pairs: Iterable[str]) -> dict[str, str]:
    """'K=V' of each as a name and a text.

    Raises:
        UsageError: One has no '='.
    """
    return dict(map(_halves, pairs))


def _halves(text: str) -> tuple[str, str]:
    name, equals, word = text.partition("=")
    if not equals or not name:
        raise UsageError(f"{text!r} is no K=V, such as html=true")
    return name, word


def pairs(texts: Iterable[str]) -> dict[str, Any]:
    """All of them."""
    return dict(map(pair, texts))
