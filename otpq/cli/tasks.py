"""The commands about tasks."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from typer.core import TyperCommand

from otpq.cli import completion
from otpq.cli.asking import Asking
from otpq.cli.bulks import Sure, to_many
from otpq.cli.options import (
    Ids,
    Option,
    Timeout,
    Which,
    meant,
    pairs,
    texts,
    value,
)
from otpq.cli.printing import (
    log_line,
    put,
    put_count,
    put_json,
    put_tasks,
    warnings_as_lines,
)
from otpq.cli.workflows import or_of_workflow, put_answer, put_shown

if TYPE_CHECKING:
    from otpq.client.calls import Call

__all__ = [
    "Submit",
    "cancel",
    "delete",
    "list_",
    "logs",
    "retry",
    "show",
    "submit",
    "submit_script",
    "why",
]

_NEGATIVE: Final = re.compile(r"-\d[\d.eE+-]*")

TaskId = Annotated[
    str,
    typer.Argument(metavar="ID", help="The task's id, 32 hexadecimal digits.", autocompletion=completion.ids),
]
Every = Annotated[bool, typer.Option("--all", help="All there are.")]
Strict = Annotated[bool, typer.Option("--strict", help="Refuse a handler that no node has told of.")]


class Submit(TyperCommand):
    """`submit add 1 -2`: a negative number is an argument, not an option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words. A space in front makes a word no option, and a number no other one."""
        return super().parse_args(ctx, [f" {word}" if _NEGATIVE.fullmatch(word) else word for word in args])


@dataclass(frozen=True, slots=True)
class Submitting:
    """How a task is submitted, and whether its end is waited for."""

    option: Option = None
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end and print the result.")] = False
    timeout: Timeout = None


def submit(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The handler's name.", autocompletion=completion.handlers)
    ],
    args: Annotated[list[str] | None, typer.Argument(metavar="[ARG]...", help="JSON; what is none is text.")] = None,
    *,
    kw: Annotated[list[str] | None, typer.Option(metavar="K=V", help="A keyword argument; again for more.")] = None,
    how: Submitting,
    strict: Strict = False,
    to: Asking,
) -> None:
    """Submit a task and print its id."""
    from otpq.client.calls import Call

    call = Call(name, [value(arg) for arg in args or ()], pairs(kw or ()), **pairs(how.option or ()))
    _submit(call, how, to, strict=strict)


def submit_script(
    path: Annotated[str, typer.Argument(metavar="PATH", help="Absolute, as the node sees it.")],
    args: Annotated[list[str] | None, typer.Argument(metavar="[ARG]...", help="The script's own, as they are.")] = None,
    *,
    cwd: Annotated[str | None, typer.Option(metavar="DIR", help="Where it runs; else in its directory.")] = None,
    env: Annotated[list[str] | None, typer.Option(metavar="K=V", help="A variable for it; again for more.")] = None,
    how: Submitting,
    to: Asking,
) -> None:
    """Submit a script and print its task's id; all behind PATH is the script's."""
    from otpq.client.calls import script_call

    _submit(script_call(path, args or (), cwd, texts(env or ()), pairs(how.option or ())), how, to)


def _submit(call: Call, how: Submitting, to: Asking, *, strict: bool = False) -> None:
    with to.client() as client:
        with warnings_as_lines():
            handle = client.submit(call, strict=strict)
        if not how.wait:
            put_json({"id": handle.id}) if to.as_json else put(handle.id)
            return
        if sys.stderr is not None and sys.stderr.isatty():
            typer.echo(f"task {handle.id}; Ctrl-C ends the waiting, not the task", err=True)
        result = handle.get(how.timeout)
    put_json({"id": handle.id, "result": result}) if to.as_json else put(result)


def list_(
    *,
    which: Which,
    limit: Annotated[int, typer.Option(metavar="N", help="How many at most, up to 1000.")] = 20,
    after: Annotated[str | None, typer.Option(metavar="CURSOR", help="Go on where a page ended; it says so.")] = None,
    every: Annotated[
        bool, typer.Option("--all", envvar="OTPQ_ALL_PAGES", help="All of them, without a limit.")
    ] = False,
    to: Asking,
) -> None:
    """List tasks, the newest first; as JSON, one object a line."""
    from otpq.wire.verbs import MAX_PAGE

    chosen = which.selector()
    with to.reader() as client:
        while True:
            page = client.tasks(chosen, limit=MAX_PAGE if every else limit, after=after)
            put_tasks(page, as_json=to.as_json)
            after = page.next
            if after is None or not every:
                break
    if after is not None:
        typer.echo(f"there are more: --after {after}, or --all", err=True)


def show(id: TaskId, *, to: Asking) -> None:
    """Show all there is to know about a task, and why it is not at work; of a workflow, its tasks and how they stand."""
    with to.reader() as client:
        put_shown(client, id, as_json=to.as_json)


def why(id: TaskId, *, to: Asking) -> None:
    """Say why a task is not at work."""
    from otpq.client.reasons import in_words

    with to.reader() as client:
        found = client.why(id)
    to.put(found, lambda why: "it has ended" if why is None else in_words(why))


def logs(
    id: TaskId,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for more, until the task has ended.")] = False,
    to: Asking,
) -> None:
    """Print a task's log: what its runs wrote, and the steps of its life; as JSON, one object a line."""
    with to.reader() as client:
        for line in client.logs(id, follow):
            to.put(line, log_line)


def cancel(
    ids: Ids = None,
    *,
    grace: Annotated[float, typer.Option(metavar="SECONDS", help="What it has to end by itself, if it runs.")] = 5.0,
    which: Which,
    every: Every = False,
    sure: Sure,
    to: Asking,
) -> None:
    """End a task or a workflow; prints 'cancelled', 'cancelling' or 'too_late'. Of several tasks, asks first, and prints how many."""
    chosen = which.selector(ids)
    with to.client() as client:
        if ids and len(ids) == 1 and which == Which():
            id = ids[0]
            answer = or_of_workflow(lambda: client.cancel(id, grace), lambda: client.cancel_workflow(id, grace))
            put_answer(id, answer, as_json=to.as_json)
            return
        do: Any = partial(client.cancel, chosen, grace)
        done = to_many(client, "cancel", meant(chosen, every=every), sure, do)
        put_count("cancelled", done, as_json=to.as_json)


def retry(ids: Ids = None, *, which: Which, every: Every = False, sure: Sure, to: Asking) -> None:
    """Start ended tasks, or a workflow, again, at attempt 1; asks first, unless they are named, and prints how many.

    Of a workflow all tasks that did not succeed; prints 'retried', 'too_early' (it has not ended) or 'too_late' (it has succeeded).
    """
    chosen = meant(which.selector(ids), every=every)
    with to.client() as client:
        do = partial(to_many, client, "retry", chosen, sure, partial(client.retry, chosen))
        if not ids or len(ids) > 1:
            put_count("retried", do(), as_json=to.as_json)
            return
        done = or_of_workflow(do, lambda: client.retry_workflow(ids[0]))
        if isinstance(done, str):
            put_answer(ids[0], done, as_json=to.as_json)
        else:
            put_count("retried", done, as_json=to.as_json)


def delete(ids: Ids = None, *, which: Which, every: Every = False, sure: Sure, to: Asking) -> None:
    """Remove tasks that have ended; asks first, unless they are named, and prints how many."""
    chosen = meant(which.selector(ids), every=every)
    with to.client() as client:
        done = to_many(client, "delete", chosen, sure, partial(client.delete, chosen))
        put_count("deleted", done, as_json=to.as_json)
