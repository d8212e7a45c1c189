"""What may follow what is typed: names, attributes, parameters; in quotes what the node has of the kind that is meant there."""

from __future__ import annotations

import builtins
import inspect
import keyword
import re
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

__all__ = ["Candidate", "Place", "candidates", "place_of"]

_KINDS: Final = {
    "handler": "handler",
    "id": "task",
    "ids": "task",
    "name": "handler",
    "node": "node",
    "pid": "pid",
    "pool": "pool",
    "queue": "queue",
    "state": "state",
    "worker": "worker",
}
"""What is meant by a parameter of that name."""
_KINDS_OF: Final = {
    ("cancel", "what"): "task",
    ("connect", "node"): "node",
    ("schedules.disable", "name"): "schedule",
    ("schedules.enable", "name"): "schedule",
    ("schedules.remove", "name"): "schedule",
    ("schedules.run", "name"): "schedule",
    ("submit_task", "what"): "handler",
    ("trace", "what"): "task",
}
"""What is meant by one whose name does not say it."""

_TOKEN: Final = re.compile(
    r"""
      (?P<closed>'{3}.*?'{3} | "{3}.*?"{3} | '(?!'')(?:\\.|[^'\\\n])*' | "(?!"")(?:\\.|[^"\\\n])*")
    | (?P<quote>'{3} | "{3} | ['"])
    | (?P<comment>\#[^\n]*)
    | (?P<callee>[\w.]*)(?P<opening>[(\[{])
    | (?P<closing>[)\]}])
    | (?P<comma>,)
    | [\w.]+ | .
    """,
    re.VERBOSE | re.DOTALL,
)
_KEYWORD: Final = re.compile(r"\s*(\w+)\s*=\s*(\[.*)?$", re.DOTALL)
_JOB: Final = re.compile(r"""['"]job['"]\s*:\s*$""")


class Candidate(NamedTuple):
    """What may stand there."""

    text: str
    about: str = ""
    """A few words to be shown beside it."""


class Place(NamedTuple):
    """Where a text ends: in which argument of which call, and in quotes or not."""

    word: str
    """What it ends with: a name with its dots; in quotes, all that stands behind them."""
    callee: str
    position: int
    before: str
    """What stands before the word in the same argument."""
    is_quoted: bool = False

    @property
    def keyword(self) -> str:
        """The parameter that the argument says it is for."""
        found = _KEYWORD.match(self.before)
        return found[1] if found else ""


class _Call(NamedTuple):
    callee: str
    begins: int
    """Where the argument does that is being read."""
    position: int = 0
    is_list: bool = False
    """Whether it is a list in an argument: what stands in it is meant as the list is, as in `ids=['...`."""


def place_of(text: str) -> Place:
    """Where `text` ends."""
    calls = [_Call("", 0)]
    for token in _TOKEN.finditer(text):
        call = calls[-1]
        if token["quote"]:
            before = text[call.begins : token.start()]
            return Place(text[token.end() :], call.callee, call.position, before, is_quoted=True)
        if token["comment"] and token.end() == len(text):
            return Place("", "", 0, "", is_quoted=True)
        if token["opening"]:
            is_list = token["opening"] == "[" and not token["callee"]
            calls.append(call._replace(is_list=True) if is_list else _Call(token["callee"], token.end()))
        elif token["closing"]:
            calls[1:] = calls[1:-1]
        elif token["comma"] and not call.is_list:
            calls[-1] = call._replace(begins=token.end(), position=call.position + 1)
    word = "".join(re.findall(r"[\w.]+$", text))
    call = calls[-1]
    return Place(word, call.callee, call.position, text[call.begins : len(text) - len(word)])


def candidates(
    text: str, names: Mapping[str, Any], known: Callable[[str], Sequence[Candidate]]
) -> tuple[str, list[Candidate]]:
    """The end of `text` that is not finished, and what may stand in its place.

    Args:
        text: What stands before the cursor.
        names: All that can be named.
        known: What there is of a kind: queue, handler, schedule, task, node, pool, worker, pid or state. Not asked unless it is meant.
    """
    place = place_of(text)
    if place.is_quoted:
        return place.word, _beginning(place.word, known(kind) if (kind := _kind(place, names)) else ())
    base, dot, word = place.word.rpartition(".")
    if dot:
        return word, _beginning(word, map(Candidate, _attributes(_resolved(base, names), word)))
    parameters = (
        (Candidate(f"{name}=") for name in _parameters(place.callee, names)) if not place.before.strip() else ()
    )
    return word, [*_beginning(word, parameters), *_beginning(word, map(Candidate, _names(names, word)))]


def _beginning(word: str, found: Iterable[Candidate]) -> list[Candidate]:
    return [one for one in found if one.text.startswith(word)]


def _kind(place: Place, names: Mapping[str, Any]) -> str | None:
    """What is meant by the argument that the place is in."""
    if _JOB.search(place.before):
        return "handler"
    parameters = [*_parameters(place.callee, names)]
    positional = parameters[place.position] if place.position < len(parameters) else ""
    parameter = place.keyword or positional
    return _KINDS_OF.get((place.callee, parameter)) or _KINDS.get(parameter)


def _parameters(callee: str, names: Mapping[str, Any]) -> Iterator[str]:
    try:
        signature = inspect.signature(_resolved(callee, names))
    except (TypeError, ValueError):  # it cannot be called, or does not say how
        return
    for parameter in signature.parameters.values():
        if parameter.kind not in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}:
            yield parameter.name


def _resolved(dotted: str, names: Mapping[str, Any]) -> Any:
    """What a name with dots means, if to look is all that it takes: the properties of a handle ask the node."""
    first, *rest = dotted.split(".")
    found = names.get(first)
    for name in rest:
        there = inspect.getattr_static(found, name, None)
        found = None if there is None or isinstance(there, property | cached_property) else getattr(found, name)
    return found


def _attributes(found: Any, word: str) -> list[str]:
    return [] if found is None else [name for name in dir(found) if word.startswith("_") or not name.startswith("_")]


def _names(names: Mapping[str, Any], word: str) -> list[str]:
    """Names and keywords; those with an underscore, and Python's own, only if something is typed."""
    known = {name for name in names if word.startswith("_") or not name.startswith("_")}
    return sorted(known | {*keyword.kwlist} if word else known - {*dir(builtins)})
