"""How values look on a terminal. Pure functions from values to text, and what writes it."""

from __future__ import annotations

import sys
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from otpq.client.events import Event
    from otpq.task import HistoryEntry, LogLine, Task

__all__ = [
    "answers_lines",
    "columns",
    "counts_table",
    "cut",
    "event_line",
    "facts_lines",
    "handlers_table",
    "limits_table",
    "log_line",
    "moment_of",
    "nodes_table",
    "put",
    "put_count",
    "put_json",
    "put_tasks",
    "queues_table",
    "seconds",
    "stacks_text",
    "table",
    "task_lines",
    "tasks_table",
    "warnings_as_lines",
    "with_why",
    "workers_table",
]


def put(value: object) -> None:
    """Print a text as it is, and any other value as a program would write it."""
    _write(value if isinstance(value, str) else _json(value).decode())


def put_json(value: object) -> None:
    """Print a value as JSON."""
    _write(_json(value).decode())


def put_count(what: str, count: int, *, as_json: bool) -> None:
    """Print how many tasks something was done to."""
    put_json({what: count}) if as_json else put(f"{what} {count} {'task' if count == 1 else 'tasks'}")


def put_tasks(tasks: Sequence[Task], *, as_json: bool) -> None:
    """Print tasks as a table, or as JSON with one object a line."""
    if not as_json:
        put(tasks_table(tasks))
    elif tasks:
        put("\n".join(_json(task).decode() for task in tasks))


@contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Print what is warned of meanwhile as errors are: a line on standard error."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for each in caught:
        sys.stderr.write(f"otpq: {each.message}\n")


def _write(text: str) -> None:
    """Print a text, and have it leave at once, so that a reader who is gone is told of here (`BrokenPipeError`)."""
    if "\x1b" in text or not (text.isascii() or _takes_all(sys.stdout)):
        import typer  # it takes colours away where no terminal is, and mends an ASCII stream; few need it, and it takes 40 ms

        typer.echo(text)
    elif sys.stdout is not None:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


def _takes_all(stream: TextIO | None) -> bool:
    return stream is not None and stream.encoding.lower() in {"utf-8", "utf8"}


def _json(value: object) -> bytes:
    import msgspec

    return msgspec.json.encode(value)


def table(
    head: Sequence[str], rows: Iterable[Sequence[object]], *, width: int | None = None, least: Sequence[str] = ()
) -> str:
    """Columns as wide as their widest word; where they would be wider than `width` together, the less useful are cut.

    A row is one line: a column that is cut ends in an ellipsis, and where that is not enough it is left out.

    Args:
        head: The columns' names.
        rows: A cell a column.
        width: Of the terminal; None: there is none.
        least: Columns, the least useful first.
    """
    lines = [[_cell(cell) for cell in row] for row in (head, *rows)]
    widths = _widths([max(len(line[i]) for line in lines) for i in range(len(head))], head, width, least)
    shown = (
        "  ".join(cut(cell, wide).ljust(wide) for cell, wide in zip(line, widths, strict=True) if wide).rstrip()
        for line in lines
    )
    return "\n".join(line if width is None else cut(line, width) for line in shown)


def _widths(natural: Sequence[int], head: Sequence[str], most: int | None, least: Sequence[str]) -> list[int]:
    """How wide each column is to be; 0: it is left out."""
    order = [head.index(name) for name in least]
    widths = list(natural)
    for left_out in range(len(order) + 1 if most is not None else 0):
        widths = [0 if column in order[:left_out] else width for column, width in enumerate(natural)]
        over = sum(widths) + 2 * (sum(map(bool, widths)) - 1) - (most or 0)
        for column in order[left_out:]:
            smallest = min(widths[column], max(_LEGIBLE, len(head[column])))
            less = min(max(0, over), widths[column] - smallest)
            widths[column] -= less
            over -= less
        if over <= 0:
            break
    return widths


_LEGIBLE: Final = 8
"""Characters to which a column is cut before it is left out."""


def cut(text: str, width: int) -> str:
    """The text, with an ellipsis for what is too much."""
    return text if len(text) <= width else text[: max(0, width - 1)] + "…" if width > 0 else ""


def _cell(value: object) -> str:
    """A value in one line: a name may have been given any characters."""
    text = str(value)
    return text if text.isprintable() else "".join(char if char.isprintable() else " " for char in text)


def columns() -> int | None:
    """How wide the terminal is; None: standard output is none, and nothing says that it has a width."""
    import os
    from shutil import get_terminal_size

    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    return get_terminal_size().columns if is_terminal or os.environ.get("COLUMNS", "").isdecimal() else None


def tasks_table(tasks: Sequence[Task]) -> str:
    """A line a task."""
    if not tasks:
        return "no tasks"
    rows = [
        (task.id, task.state, task.attempt, task.queue, moment_of(task.created_at), _shown_name(task)) for task in tasks
    ]
    head = ("ID", "STATE", "ATTEMPT", "QUEUE", "CREATED", "NAME")
    return table(head, rows, width=columns(), least=("CREATED", "QUEUE", "NAME", "ATTEMPT"))


def with_why(task: Task, why: Mapping[str, Any] | None) -> dict[str, Any]:
    """A task's fields, and beside them why it is not at work."""
    return {**{name: getattr(task, name) for name in task.__struct_fields__}, "why": why}


def task_lines(task: Task, why: Mapping[str, Any] | None = None) -> str:
    """Everything about one task, and why it is not at work."""
    from otpq.client.reasons import in_words

    facts: dict[str, object] = {
        "id": task.id,
        "name": _shown_name(task),
        "state": task.state + (f" ({task.reason})" if task.reason else ""),
        "why": "" if why is None else in_words(why),
        "queue": f"{task.queue}, priority {task.priority}",
        "attempt": f"{task.attempt}" + (f", interrupted {task.interruptions} times" if task.interruptions else ""),
        "arguments": _call(task),
        "tags": ", ".join(task.tags),
        "progress": "" if task.progress is None else f"{task.progress[0]:.0%} {task.progress[1]}".rstrip(),
        "result": "" if task.result is None else _json(task.result).decode(),
        "error": "" if task.error is None else f"{task.error.type}: {task.error.message}",
        "parent": task.parent or "",
        "workflow": (task.workflow or "") + (f", waits for {task.waits:,} of its tasks" if task.waits else ""),
        "created": moment_of(task.created_at),
        "due": moment_of(task.due_at),
        "started": moment_of(task.started_at),
        "finished": moment_of(task.finished_at),
    }
    lines = [f"{name + ':':<12}{fact}" for name, fact in facts.items() if fact]
    if task.options:
        lines += ["options:", *(f"  {name}: {_json(value).decode()}" for name, value in task.options.items())]
    if task.history:
        lines += ["history:", *(f"  {_step(entry)}" for entry in task.history)]
    if task.error is not None and task.error.traceback:
        lines += ["", task.error.traceback.rstrip()]
    return "\n".join(lines)


def counts_table(counts: Mapping[str, Mapping[str, int]]) -> str:
    """A line a queue, a column a state."""
    if not counts:
        return "no tasks"
    states = list(next(iter(counts.values())))
    return table(
        ("QUEUE", *map(str.upper, states)),
        [(queue, *(of[state] for state in states)) for queue, of in sorted(counts.items())],
        width=columns(),
        least=_LEAST_OF_QUEUES[:-1],
    )


_LEAST_OF_QUEUES: Final = ("EXPIRED", "CANCELLED", "SUCCEEDED", "QUEUE", "RETRYING", "PENDING", "PAUSED")


def queues_table(queues: Sequence[Mapping[str, Any]]) -> str:
    """A line a queue."""
    if not queues:
        return "no queues"
    states = ("pending", "queued", "running", "retrying", "succeeded", "failed", "cancelled", "expired")
    return table(
        ("QUEUE", *map(str.upper, states), "PAUSED"),
        [(of["queue"], *(of[state] for state in states), _pause(of)) for of in queues],
        width=columns(),
        least=_LEAST_OF_QUEUES,
    )


def handlers_table(handlers: Sequence[Mapping[str, Any]]) -> str:
    """A line a handler."""
    if not handlers:
        return "no handlers"
    return table(
        ("HANDLER", "RUNS", "FAILED", "MEAN", "MAX", "SLOTS", "PAUSED"),
        [
            (
                of["handler"],
                of["runs"],
                of.get("failed", ""),
                seconds(of["mean"]),
                seconds(of.get("max")),
                "" if of["limit"] is None else f"{of['used']} of {of['limit']}",
                _pause(of),
            )
            for of in handlers
        ],
        width=columns(),
        least=("PAUSED", "HANDLER", "MAX", "MEAN", "SLOTS"),
    )


_SOURCES = {"set": "run time", "file": "leader's file", "app": "decorator"}
_UNITS = {"timeout": " s", "soft_timeout": " s", "memory": " MiB"}


def limits_table(limits: Sequence[Mapping[str, Any]]) -> str:
    """A line a limit. Where there is none and nobody has said so, nothing."""
    shown = [of for of in limits if of["value"] is not None or of["from"] not in {"default", "node"}]
    if not shown:
        return "no limits"
    return table(
        ("OF", "NAME", "LIMIT", "VALUE", "USED", "FREE", "FROM"),
        [
            (
                of["of"],
                of["name"],
                of["limit"],
                *(_amount(of, key) for key in ("value", "used", "available")),
                _SOURCES.get(of["from"], of["from"]),
            )
            for of in shown
        ],
    )


def _amount(of: Mapping[str, Any], key: str) -> str:
    number = of[key]
    if number is None:
        return "none" if key == "value" else ""
    unit = " s" if of["of"] == "retention" else _UNITS.get(of["limit"], "")
    return f"{int(number) if number == int(number) else round(number, 3):,}" + (unit if key == "value" else "")


def workers_table(workers: Sequence[Mapping[str, Any]]) -> str:
    """A line a worker."""
    if not workers:
        return "no workers"
    return table(
        ("NODE", "POOL", "WORKER", "STATE", "CHILD", "DONE", "FAILED", "RESTARTS", "MEAN", "TASK"),
        [
            (
                *(
                    _word(of.get(key))
                    for key in ("node", "pool", "worker", "state", "child", "done", "failed", "restarts")
                ),
                seconds(of.get("mean")),
                of.get("error") or _at_work(of),
            )
            for of in workers
        ],
        width=columns(),
        least=("TASK", "NODE", "RESTARTS", "CHILD", "MEAN", "POOL", "FAILED"),
    )


def nodes_table(nodes: Sequence[Mapping[str, Any]]) -> str:
    """A line a node."""
    from datetime import UTC, datetime

    return table(
        ("NODE", "STATE", "LEADS", "SINCE", "INCARNATION", "ADDRESS"),
        [
            (
                of["node"],
                of["state"],
                "yes" if of["leads"] else "",
                moment_of(datetime.fromtimestamp(of["since"], UTC)),
                of["incarnation"],
                of["address"],
            )
            for of in nodes
        ],
        width=columns(),
        least=("INCARNATION", "SINCE", "ADDRESS", "NODE"),
    )


def stacks_text(stacks: Mapping[str, str]) -> str:
    """Each thread's stack under its name."""
    return "\n\n".join(f"{thread}:\n{stack.rstrip()}" for thread, stack in stacks.items())


def answers_lines(answers: Iterable[Mapping[str, Any]]) -> str:
    """What each pool has answered, a line each."""
    return "\n".join(", ".join(f"{name} {_word(fact)}" for name, fact in of.items()) for of in answers)


def log_line(line: LogLine) -> str:
    """A line of a task's log; before it, if lines are missing there, one that says so."""
    fields = " ".join(f"{name}={_word(value)}" for name, value in line.fields.items())
    mark = "" if line.level == "info" else f"{line.level}: "
    shown = f"{moment_of(line.time)}  {line.stream:<4}  {mark}{line.text}{'  ' if fields else ''}{fields}"
    return f"... {line.dropped} lines are missing ...\n{shown}" if line.dropped else shown


def event_line(event: Event) -> str:
    """An event in a line. Of a task what one looks for stands first; of a gap, why there is one."""
    facts = dict(event.facts)
    words = [str(facts.pop(key)) for key in ("id", "name", "node") if key in facts]
    words += [f"{name}={_word(fact)}" for name, fact in facts.items() if fact is not None and fact != ""]
    if event.kind == "gap" and facts.get("why") in _GAPS:
        words = [_GAPS[facts["why"]].format_map(facts)]
    return f"{moment_of(event.time)}  {event.kind:<14}  {' '.join(words)}".rstrip()


_GAPS = {
    "unwatched": "of tasks nothing is kept that happened before: nobody had asked",
    "overrun": "{missed} events are missing: more came than are kept",
    "restarted": "what was kept is gone: there is a new queue server",
}


def _pause(of: Mapping[str, Any]) -> str:
    """Whether a queue or a handler is paused, by whom and why."""
    if not of.get("paused"):
        return ""
    by = f" by {of['by']}" if of.get("by") else ""
    return f"paused{by}" + (f": {of['why']}" if of.get("why") else "")


def _at_work(of: Mapping[str, Any]) -> str:
    return "" if of.get("task") is None else f"{of['task']} for {seconds(of.get('seconds'))}"


def seconds(value: float | None) -> str:
    """A duration in three digits."""
    return "" if value is None else f"{value:.3g} s"


def _word(value: object) -> str:
    return "" if value is None else value if isinstance(value, str) else _json(value).decode()


def facts_lines(facts: Mapping[str, Any]) -> str:
    """A line a fact; of several texts, a line each."""
    return "\n".join(f"{name}: {one}" for name, fact in facts.items() for one in _facts(fact))


def _facts(fact: Any) -> list[str]:
    if isinstance(fact, list) and all(isinstance(one, str) for one in fact):
        return fact or ["none"]
    return [fact if isinstance(fact, str) else _json(fact).decode()]


def _shown_name(task: Task) -> str:
    return task.name if task.title is None else f"{task.name} ({task.title})"


def _call(task: Task) -> str:
    words = [_json(arg).decode() for arg in task.args]
    words += [f"{name}={_json(arg).decode()}" for name, arg in task.kwargs.items()]
    return ", ".join(words)


def _step(entry: HistoryEntry) -> str:
    from datetime import UTC, datetime

    place = " ".join(str(part) for part in (entry.node, entry.worker, entry.pid) if part is not None)
    source = "" if entry.source is None else f"{entry.source} -> "
    parts = [f"{moment_of(datetime.fromtimestamp(entry.time, UTC))}  {source}{entry.target}"]
    parts += [f"({entry.reason})"] if entry.reason else []
    parts += [f"on {place}"] if place else []
    return " ".join(parts)


def moment_of(time: datetime | None) -> str:
    """A time by this machine's clock; None: nothing."""
    return "" if time is None else time.astimezone().isoformat(sep=" ", timespec="milliseconds")
