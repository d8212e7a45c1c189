"""The commands about tasks."""

from __future__ import annotations

import re
import sys
from pathlib import Path  # noqa: TC003 - typer reads the annotation
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from typer.core import TyperCommand

from otpq.cli.options import (
    AsJson,
    Before,
    CookieFile,
    Every,
    Handler,
    Ids,
    NodeOption,
    Option,
    Queue,
    State,
    Tag,
    Timeout,
    open_client,
    pairs,
    selected,
    selector,
    texts,
    value,
)
from otpq.cli.printing import (
    counts_table,
    log_line,
    put,
    put_count,
    put_json,
    put_tasks,
    task_lines,
    warnings_as_lines,
    with_why,
)

if TYPE_CHECKING:
    from otpq.client.calls import Call

__all__ = [
    "Submit",
    "cancel",
    "counts",
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

TaskId = Annotated[str, typer.Argument(metavar="ID", help="The task's id, 32 hexadecimal digits.")]
Grace = Annotated[float, typer.Option(help="Seconds that it has to end by itself, if it runs.")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for the end and print the result.")]
Strict = Annotated[bool, typer.Option("--strict", help="Refuse a handler that no node has told of.")]


class Submit(TyperCommand):
    """`submit add 1 -2`: a negative number is an argument, not an option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words. A space in front makes a word no option, and a number no other one."""
        return super().parse_args(ctx, [f" {word}" if _NEGATIVE.fullmatch(word) else word for word in args])


def submit(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The handler's name.")],
    args: Annotated[list[str] | None, typer.Argument(metavar="[ARG]...", help="JSON; what is none is text.")] = None,
    *,
    kw: Annotated[list[str] | None, typer.Option(metavar="K=V", help="A keyword argument; again for more.")] = None,
    option: Option = None,
    wait: Wait = False,
    timeout: Timeout = None,
    strict: Strict = False,
    as_json: AsJson = False,
    node: NodeOption = None,
    cookie_file: CookieFile = None,
) -> None:
    """Submit a task and print its id."""
    from otpq.client.calls import Call

    call = Call(name, [value(arg) for arg in args or ()], pairs(kw or ()), **pairs(option or ()))
    _submit(call, node, cookie_file, wait=wait, timeout=timeout, strict=strict, as_json=as_json)


def submit_script(
    path: Annotated[str, typer.Argument(metavar="PATH", help="Absolute, as the node sees it.")],
    args: Annotated[list[str] | None, typer.Argument(metavar="[ARG]...", help="The script's own, as they are.")] = None,
    *,
    cwd: Annotated[str | None, typer.Option(metavar="DIR", help="Where it runs; else in its directory.")] = None,
    env: Annotated[list[str] | None, typer.Option(metavar="K=V", help="A variable for it; again for more.")] = None,
    option: Option = None,
    wait: Wait = False,
    timeout: Timeout = None,
    as_json: AsJson = False,
    node: NodeOption = None,
    cookie_file: CookieFile = None,
) -> None:
    """Submit a script and print its task's id; all behind PATH is the script's."""
    from otpq.client.calls import script_call

    call = script_call(path, args or (), cwd, texts(env or ()), pairs(option or ()))
    _submit(call, node, cookie_file, wait=wait, timeout=timeout, as_json=as_json)


def _submit(
    call: Call,
    node: str | None,
    cookie_file: Path | None,
    *,
    wait: bool,
    timeout: float | None,
    as_json: bool,
    strict: bool = False,
) -> None:
    with open_client(node, cookie_file) as client:
        with warnings_as_lines():
            handle = client.submit(call, strict=strict)
        if not wait:
            put_json({"id": handle.id}) if as_json else put(handle.id)
            return
        if sys.stderr is not None and sys.stderr.isatty():
            typer.echo(f"task {handle.id}; Ctrl-C ends the waiting, not the task", err=True)
        result = handle.get(timeout)
    put_json({"id": handle.id, "result": result}) if as_json else put(result)


def list_(
    *,
    state: State = None,
    name: Handler = None,
    queue: Queue = None,
    tag: Tag = None,
    before: Before = None,
    limit: Annotated[int, typer.Option(help="How many at most, up to 1000.")] = 20,
    after: Annotated[str | None, typer.Option(metavar="CURSOR", help="Go on where a page ended; it says so.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All of them, without a limit.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object a line, for programs.")] = False,
    node: NodeOption = None,
    cookie_file: CookieFile = None,
) -> None:
    """List tasks, the newest first."""
    from otpq.wire.verbs import MAX_PAGE

    chosen = selector(state=state, name=name, queue=queue, tag=tag, before=before)
    with open_client(node, cookie_file) as client:
        while True:
            page = client.tasks(chosen, limit=MAX_PAGE if every else limit, after=after)
            put_tasks(page, as_json=as_json)
            after = page.next
            if after is None or not every:
                break
    if after is not None:
        typer.echo(f"there are more: --after {after}, or --all", err=True)


def show(id: TaskId, *, as_json: AsJson = False, node: NodeOption = None, cookie_file: CookieFile = None) -> None:
    """Show all there is to know about a task, and why it is not at work."""
    with open_client(node, cookie_file) as client:
        task = client.get_task_status(id)
        why = client.why(id)
    put_json(with_why(task, why)) if as_json else put(task_lines(task, why))


def counts(
    *,
    queue: Annotated[str | None, typer.Option(help="Only this queue.")] = None,
    as_json: AsJson = False,
    node: NodeOption = None,
    cookie_file: CookieFile = None,
) -> None:
    """Count the tasks by queue and state."""
    with open_client(node, cookie_file) as client:
        found = client.counts(queue)
    put_json(found) if as_json else put(counts_table(found))


def why(id: TaskId, *, as_json: AsJson = False, node: NodeOption = None, cookie_file: CookieFile = None) -> None:
    """Say why a task is not at work."""
    from otpq.client.reasons import in_words

    with open_client(node, cookie_file) as client:
        found = client.why(id)
    if as_json:
        put_json(found)
    else:
        put("it has ended" if found is None else in_words(found))


def logs(
    id: TaskId,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for more, until the task has ended.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object a line, for programs.")] = False,
    node: NodeOption = None,
    cookie_file: CookieFile = None,
) -> None:
    """Print a task's log: what its runs wrote, and the steps of its life."""
    with open_client(node, cookie_file) as client:
        for line in client.logs(id, follow):
            put_json(line) if as_json else put(log_line(line))


def cancel(
    ids: Ids = None,
    *,
    grace: Grace = 5.0,
    state: State = None,
    name: Handler = None,
    queue: Queue = None,
    tag: Tag = None,
    before: Before = None,
    every: Every = False,
    as_json: AsJson = False,
    node: NodeOption = None,
    cookie_file: CookieFile = None,
) -> None:
    """End a task; prints 'cancelled', 'cancelling' or 'too_late'. Of several, prints how many."""
    chosen = selector(ids, state=state, name=name, queue=queue, tag=tag, before=before)
    with open_client(node, cookie_file) as client:
        if ids and chosen == selector(ids[:1]):
            answer = client.cancel(ids[0], grace)
            put_json({"id": ids[0], "answer": answer}) if as_json else put(answer)
        else:
            put_count("cancelled", client.cancel(selected(chosen, every=every), grace), as_json=as_json)


def retry(
    ids: Ids = None,
    *,
    state: State = None,
    name: Handler = None,
    queue: Queue = None,
    tag: Tag = None,
    before: Before = None,
    every: Every = False,
    as_json: AsJson = False,
    node: NodeOption = None,
    cookie_file: CookieFile = None,
) -> None:
    """Start ended tasks again, at attempt 1; prints how many."""
    chosen = selected(selector(ids, state=state, name=name, queue=queue, tag=tag, before=before), every=every)
    with open_client(node, cookie_file) as client:
        put_count("retried", client.retry(chosen), as_json=as_json)


def delete(
    ids: Ids = None,
    *,
    state: State = None,
    name: Handler = None,
    queue: Queue = None,
    tag: Tag = None,
    before: Before = None,
    every: Every = False,
    as_json: AsJson = False,
    node: NodeOption = None,
    cookie_file: CookieFile = None,
) -> None:
    """Remove tasks that have ended; prints how many."""
    chosen = selected(selector(ids, state=state, name=name, queue=queue, tag=tag, before=before), every=every)
    with open_client(node, cookie_file) as client:
        put_count("deleted", client.delete(chosen), as_json=as_json)
