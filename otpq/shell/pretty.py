"""Values as text for eyes: tables, trees, records, lines of a stream; whatever is none of these as its `repr`.

Names of tasks, tags and log lines are other people's words, so what a terminal would obey is shown and not sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields as fields_of_dataclass
from dataclasses import is_dataclass
from datetime import UTC, datetime
from pprint import pformat
from typing import TYPE_CHECKING, Any, Final, TypeGuard

import msgspec

from otpq.client.flow_views import WorkflowStatus
from otpq.client.picture import tree_lines
from otpq.task import LogLine, Task

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Lines", "Text", "line", "shown"]

Fields = Mapping[str, Any]

_NARROWEST: Final = 8
"""Characters that a column keeps when a table is made to fit; if that does not do, its rows become records."""
_MOMENTS: Final = frozenset({"time", "since", "at"})
"""Fields whose numbers are seconds since the epoch."""

_LONG_AGO: Final = 1e9
"""Seconds since the epoch, below which such a number is none (2001)."""


class Text(str):
    """A text that is shown as it is, and not as its `repr`."""

    __slots__ = ()


class Lines(list[Any]):
    """Items that are shown as those of a stream are, a line each."""


def shown(value: Any, width: int | None = None) -> str:
    """A value as text.

    Args:
        value: Anything.
        width: Characters of a line of the terminal, into which a table is made to fit; None: there is none, so nothing is cut,
            and the same value always gives the same text.
    """
    if isinstance(value, Text):
        return value
    block = _block(value, width)
    if block is not None:
        return "\n".join(block)
    if width is None or not isinstance(value, Mapping | list | tuple | set):
        return repr(value)
    return pformat(value, width=width, sort_dicts=False)


def line(value: Any) -> str:
    """An item of a stream (of a log, of events, of a trace) in a line."""
    if isinstance(value, LogLine):
        return _log_line(value)
    fields = _fields(value)
    if fields is None:
        return _clean(value) if isinstance(value, str) else repr(value)
    words = [_word(name, fact) for name, fact in fields.items() if not isinstance(fact, Mapping) and name != "cursor"]
    words += [
        f"{key}={_word(key, one)}" for fact in fields.values() if isinstance(fact, Mapping) for key, one in fact.items()
    ]
    return "  ".join(word for word in words if word)


def _block(value: Any, width: int | None) -> list[str] | None:
    """The lines of a value that is more than a word or a container of plain values; None: it is not."""
    if isinstance(value, Lines) and value:
        return [*map(line, value)]
    if isinstance(value, WorkflowStatus):
        return value.picture().split("\n")
    if isinstance(value, Mapping):
        return _mapping(value, width)
    if _are_fields(value):
        return _table(map(_row, value), width)
    fields = None if isinstance(value, type) else _fields(value)
    return None if fields is None else _record(fields, width, of_object=True)


def _mapping(value: Fields, width: int | None) -> list[str] | None:
    """A tree; a table of rows that have names; or sections, if a value wants many lines. None: a plain dict."""
    if isinstance(value.get("children"), Sequence) and "id" in value:
        return [_clean(line) for line in tree_lines(value)]
    rows = [*value.values()]
    if rows and all(isinstance(row, Mapping) and row and [*row] == [*rows[0]] for row in rows):
        return _table(({"": name, **row} for name, row in value.items()), width)
    return _record(value, width) if any(_below(part, width) is not None for part in rows) else None


def _are_fields(value: Any) -> TypeGuard[Sequence[Any]]:
    """Whether it is a list of maps, or of objects with fields."""
    if not isinstance(value, list | tuple) or not value:
        return False
    return all(not isinstance(one, type) and bool(_fields(one)) for one in value)


def _are_maps(value: Any) -> bool:
    return isinstance(value, list | tuple) and any(isinstance(one, Mapping) for one in value)


def _fields(value: Any) -> Fields | None:
    """The fields of a map, a Struct or a dataclass."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, msgspec.Struct):
        return {name: getattr(value, name) for name in value.__struct_fields__}
    if is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in fields_of_dataclass(value)}
    return None


def _row(value: Any) -> Fields:
    """What a table tells of one of many."""
    if isinstance(value, Task):
        name = value.name if value.title is None else f"{value.name} ({value.title})"
        told = ("id", "state", "reason", "attempt", "queue", "created_at")
        return {**{field: getattr(value, field) for field in told}, "name": name}
    if isinstance(value, WorkflowStatus):
        fields = ("id", "title", "state", "total", "ended", "failed", "created_at")
        return {field: getattr(value, field) for field in fields}
    return _fields(value) or {}


def _is_long(value: Any) -> bool:
    return isinstance(value, str) and "\n" in value


# ------------------------------------------------------------ tables and records


def _table(rows: Iterable[Fields], width: int | None) -> list[str]:
    """A line a row, a column each name that one of them has; records, where the terminal is too narrow for that."""
    rows = [*rows]
    names = [*dict.fromkeys(name for row in rows for name in row)]
    columns = [_Column(name, [row.get(name) for row in rows]) for name in names]
    if width is not None:
        columns = [column for column in columns if any(column.words)]
        if _narrowest(columns) > width:
            columns = [column for column in columns if column.says_something]
        if _narrowest(columns) > width:
            return [line for row in rows for line in (*_record(row, width), "")][:-1]
        _fit(columns, width)
    return ["  ".join(column.cell(i) for column in columns).rstrip() for i in range(-1, len(rows))]


class _Column:
    """A column of a table."""

    def __init__(self, name: str, values: Sequence[Any]) -> None:
        self.head = _clean(str(name)).upper()
        self.words = [_word(name, value) for value in values]
        self.says_something = any(values)
        """Whether it has more than zeros, False and nothing."""
        self.width = max(len(word) for word in (self.head, *self.words))
        self.least = self.width if name == "id" else min(self.width, _NARROWEST)

    def cell(self, row: int) -> str:
        """The word of a row, as wide as the column; of row -1, its head."""
        word = self.head if row < 0 else self.words[row]
        return (word if len(word) <= self.width else f"{word[: self.width - 1]}…").ljust(self.width)


def _narrowest(columns: Sequence[_Column]) -> int:
    return sum(column.least + 2 for column in columns) - 2


def _fit(columns: Sequence[_Column], width: int) -> None:
    """Make the widest columns narrower until all fit. An id is left whole: it is there to be used."""
    while sum(column.width + 2 for column in columns) - 2 > width:
        max((column for column in columns if column.width > column.least), key=lambda column: column.width).width -= 1


def _record(fields: Fields, width: int | None, *, of_object: bool = False) -> list[str]:
    """A line a field; what wants many stands below its name. What is empty is left out.

    The maps that an object has, a task's arguments for one, are somebody's values, and stay as they are.
    """
    told = {str(name): value for name, value in fields.items() if not _is_empty(value)}
    left = max(map(len, told), default=0) + 2
    lines, long = [], []
    for name, value in told.items():
        is_value = of_object and (isinstance(value, Mapping) or _are_maps(value))
        below = None if is_value else _below(value, None if width is None else width - 2)
        if below is None:
            lines.append(f"{_clean(name) + ':':<{left}}{_word(name, value)}")
        else:
            long += [f"{_clean(name)}:", *(f"  {line}".rstrip() for line in below)]
    return lines + long


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, str | Mapping | Sequence) and not value)


def _below(value: Any, width: int | None) -> list[str] | None:
    return [*map(_clean, value.splitlines())] if _is_long(value) else _block(value, width)


# ------------------------------------------------------------ words


def _log_line(line: LogLine) -> str:
    fields = "".join(f"  {name}={_word(name, value)}" for name, value in line.fields.items())
    level = "" if line.level == "info" else f"{line.level}: "
    shown = f"{_word('time', line.time)}  {line.stream:<4}  {level}{_clean(line.text)}{fields}"
    return f"... {line.dropped} lines are missing ...\n{shown}" if line.dropped else shown


def _word(name: object, value: Any) -> str:
    """A value in a line. A text is bare, since it stands in a column or behind its name."""
    if value is None:
        return ""
    if isinstance(value, float):
        if name in _MOMENTS and value > _LONG_AGO:
            return _moment(datetime.fromtimestamp(value, UTC))
        return f"{value:.0f}" if value.is_integer() else f"{value:.6g}"
    if isinstance(value, datetime):
        return _moment(value)
    return _clean(value if isinstance(value, str) else repr(value))


def _moment(time: datetime) -> str:
    return time.astimezone().isoformat(sep=" ", timespec="milliseconds")


def _clean(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
