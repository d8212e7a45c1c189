"""PoolSettings: what a user says of one pool of a node, as words (`io:executor=thread,parallel=8`) or as a value."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from otpq.errors import BadOption, UnknownOption
from otpq.task import Options

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["EXECUTORS", "PoolSettings", "workers_of"]

EXECUTORS: Final = ("process", "thread", "async", "script")
_SEVERAL: Final = frozenset({"thread", "async"})
"""Executors that run several tasks at a time."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
_MOST_PARALLEL: Final = 1_000
_PARALLEL: Final = {"thread": 8, "async": 100}
"""Tasks at a time, unless said otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """One pool: which queues its workers serve, how many there are, and how a worker's child runs tasks.

    Raises:
        BadOption: A setting cannot be right.
    """

    name: str = "default"
    queues: tuple[str, ...] = ("default",)
    executor: str = "process"
    parallel: int | None = None
    """Tasks that a child runs at a time; None: 1 or, with the executor thread, 8, with async 100."""
    least: int = 1
    most: int | None = None
    """How many workers there may be while work waits; None: `least`, always."""
    tags: tuple[str, ...] = ()
    recycle_tasks: int | None = 1_000_000
    """Tasks after which a child is replaced; None: never for that."""
    recycle_memory: float | None = 1024.0
    """MiB that a child may have at the end of a task before it is replaced; None: never for that."""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise BadOption("pool", self.name, "a name of letters, digits, '-' and '_', at most 32")
        if self.executor not in EXECUTORS:
            raise BadOption("executor", self.executor, ", ".join(EXECUTORS))
        if not _is_whole(self.least, 0):
            raise BadOption("workers", self.least, "a whole number, 0 or more")
        if self.most is not None and not (_is_whole(self.most, 1) and self.most >= self.least):
            raise BadOption("max", self.most, f"a whole number, 1 or more and not below min ({self.least})")
        if self.parallel is not None and not _is_whole(self.parallel, 1, _MOST_PARALLEL):
            raise BadOption("parallel", self.parallel, f"a whole number, 1 to {_MOST_PARALLEL}")
        if self.executor not in _SEVERAL and self.parallel not in {None, 1}:
            raise BadOption("parallel", self.parallel, f"1: the executor {self.executor!r} runs one task at a time")
        self._check_recycling()
        for queue in self.queues:
            Options.of(queue=queue)
        if not self.queues or len(set(self.queues)) < len(self.queues):
            raise BadOption("queues", self.queues, "one or more names, each once")
        Options.of(tags=self.tags)

    def _check_recycling(self) -> None:
        if self.recycle_tasks is not None and not _is_whole(self.recycle_tasks, 1):
            raise BadOption("recycle", self.recycle_tasks, "a whole number of tasks, 1 or more, or none")
        if self.recycle_memory is not None:
            Options.of(memory=self.recycle_memory)

    @property
    def at_a_time(self) -> int:
        """Tasks that a child runs at a time."""
        return self.parallel or _PARALLEL.get(self.executor, 1)

    def with_words(self, words: str) -> PoolSettings:
        """These settings, but for what the words say: 'queues=a|b,executor=thread,parallel=8,min=1,max=4,tags=x|y'.

        Raises:
            UnknownOption: There is no such word; the message has the nearest.
            BadOption: A value cannot be right.
        """
        said: dict[str, Any] = {}
        for word in filter(None, (word.strip() for word in words.split(","))):
            key, equals, value = word.partition("=")
            if key not in _WORDS:
                raise UnknownOption(key, _WORDS)
            if not equals:
                raise BadOption(key, word, f"{key}=VALUE")
            field, read = _WORDS[key]
            said.update(read(value) if field is None else {field: read(value)})
        return replace(self, **said)

    @classmethod
    def parse(cls, text: str) -> PoolSettings:
        """A pool from 'NAME:WORDS', as `with_words` reads them."""
        name, _, words = text.partition(":")
        return cls(name=name).with_words(words)


def _is_whole(value: object, least: int, most: float = float("inf")) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _several(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split("|"))


def _number(text: str) -> int:
    if text.upper() == "CPUS":
        return os.cpu_count() or 1
    return int(text) if text.isdecimal() else -1


def _workers(text: str) -> dict[str, int | None]:
    least, most = workers_of(text)
    return {"least": least, "most": most}


_WORDS: Final[dict[str, tuple[str | None, Callable[[str], Any]]]] = {
    "queues": ("queues", _several),
    "executor": ("executor", str),
    "parallel": ("parallel", _number),
    "min": ("least", _number),
    "max": ("most", _number),
    "workers": (None, _workers),
    "tags": ("tags", _several),
    "recycle": ("recycle_tasks", lambda text: None if text == "none" else _number(text)),
    "recycle_memory": ("recycle_memory", lambda text: None if text == "none" else Options.of(memory=text).memory),
}


def workers_of(text: str) -> tuple[int, int | None]:
    """The fewest and the most workers that 'N' or 'MIN..MAX' means; each may be CPUS, the number of processors.

    Raises:
        BadOption: It is neither.
    """
    bounds = [_number(word.strip()) for word in text.split("..", 1)]
    if min(bounds) < 0 or bounds[0] > bounds[-1]:
        raise BadOption("workers", text, "a number of workers such as 4, or a range such as 1..CPUS")
    return (bounds[0], None) if bounds[0] == bounds[-1] else (bounds[0], bounds[1])
