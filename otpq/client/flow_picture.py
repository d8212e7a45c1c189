"""A workflow as text: a line a task, indented by how many stand before it; many that are alike are one line."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from otpq.task import TaskState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from otpq.client.flow_views import Member, WorkflowStatus

__all__ = ["ranges", "workflow_lines"]

MANY: Final = 8
"""Tasks that are alike and still have a line each."""
NAMED: Final = 3
"""Of many that are alike, those without success that have a line all the same; and ranges of places that are told."""
DEEP: Final = 20
"""Steps that are indented; what comes after them is not indented more."""
_UNWELL: Final = frozenset({TaskState.FAILED, TaskState.CANCELLED, TaskState.EXPIRED})


@dataclass(slots=True)
class Alike:
    """Tasks of one name that come after tasks that are alike."""

    depth: int
    after: tuple[int, ...]
    """The places that its first one comes after; of many, those that all of them do."""
    members: list[Member] = field(default_factory=list)


def workflow_lines(status: WorkflowStatus) -> list[str]:
    """How a workflow stands, and its tasks, as far as they were asked for."""
    rows = [row for alike in _alike(status.members) for row in _rows(alike)]
    if not rows:
        return [_plain(_head(status))]
    table = [("PLACE", "STATE", "ID", "NAME"), *rows]
    widths = [max(len(row[column]) for row in table) for column in range(3)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]) for row in table
    ]
    return [_plain(_head(status)), *map(_plain, lines)]


def _plain(line: str) -> str:
    """A line without what a terminal would obey: names and titles are other people's words."""
    return line if line.isprintable() else "".join(char if char.isprintable() else " " for char in line)


def _head(status: WorkflowStatus) -> str:
    title = "" if status.title is None else f" ({status.title})"
    failed = f", {status.failed:,} without success" if status.failed else ""
    return f"workflow {status.id}{title}: {status.state}, {status.progress[1]} ended{failed}, on_failure={status.on_failure}"


def _alike(members: Iterable[Member]) -> list[Alike]:
    """The members in bundles, in the order of their first ones."""
    bundles: dict[tuple[str, tuple[int, ...]], int] = {}
    found: list[Alike] = []
    of_place: dict[int, int] = {}
    afters: dict[tuple[int, ...], tuple[int, ...]] = {}  # all of a large group come after the same ones
    for member in members:
        if member.after not in afters:
            afters[member.after] = tuple(sorted({of_place[place] for place in member.after}))
        before = afters[member.after]
        number = bundles.setdefault((member.name, before), len(found))
        if number == len(found):
            found.append(Alike(1 + max((found[one].depth for one in before), default=-1), member.after))
        of_place[member.place] = number
        found[number].members.append(member)
    return found


def _rows(alike: Alike) -> Iterator[tuple[str, str, str, str]]:
    indent = "  " * min(alike.depth, DEEP)
    if len(alike.members) <= MANY:
        for member in alike.members:
            yield _row(member, indent)
        return
    places = ranges([member.place for member in alike.members])
    counts = Counter(str(member.state) for member in alike.members)
    told = ", ".join(f"{counts[state]:,} {state}" for state in TaskState if counts[state])
    after = {member.after for member in alike.members}
    name = f"{alike.members[0].name}, group of {len(alike.members):,}"
    yield places, "", "", f"{indent}{name}{_after(alike.after) if len(after) == 1 else ''}: {told}"
    unwell = [member for member in alike.members if member.state in _UNWELL]
    unwell.sort(key=lambda member: member.state is TaskState.CANCELLED)  # stable; these have their cause elsewhere
    for member in unwell[:NAMED]:
        yield _row(member, f"{indent}  ")


def _row(member: Member, indent: str) -> tuple[str, str, str, str]:
    title = "" if member.title is None else f" ({member.title})"
    state = str(member.state) + (f": {member.reason}" if member.reason else "")
    return str(member.place), state, member.id, f"{indent}{member.name}{title}{_after(member.after)}"


def _after(places: Sequence[int]) -> str:
    return f", after {ranges(places)}" if places else ""


def ranges(numbers: Iterable[int]) -> str:
    """Ascending numbers in a few words: '0, 2-5'; of what is more, only the last."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    words = [str(first) if first == last else f"{first}-{last}" for first, last in runs]
    return ", ".join(words if len(words) <= NAMED + 1 else [*words[:NAMED], "...", words[-1]])
