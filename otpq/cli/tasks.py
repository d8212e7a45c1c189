"""The commands about tasks."""

from __future__ import annotations

import re
import sys
from datetime import datetime  # noqa: TC003 - typer reads the annotation
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand

from otpq.cli.options import AsJson, CookieFile, NodeOption, open_client, pairs, value
from otpq.cli.printing import counts_table, put, put_json, put_tasks, task_lines, warnings_as_lines, with_why

__all__ = ["Submit", "cancel", "counts", "list_", "show", "submit"]

_NEGATIVE: Final = re.compile(r"-\d[\d.eE+-]*")

TaskId = Annotated[str, typer.Argument(metavar="ID", help="The task's id, 32 hexadecimal digits.")]


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
    option: Annotated[
        list[str] | None, typer.Option("--option", "-o", metavar="K=V", help="Such as priority=high or delay=60.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end and print the result.")] = False,
    timeout: Annotated[float | None, typer.Option(help="Seconds to wait at most.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse a handler that no node has told of.")] = False,
    as_json: AsJson = False,
    node: NodeOption = None,
    cookie_file: CookieFile = None,
) -> None:
    """Submit a task and print its id."""
    from otpq.client.calls import Call

    call = Call(name, [value(arg) for arg in args or ()], pairs(kw or ()), **pairs(option or ()))
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
    state: Annotated[str | None, typer.Option(help="Only those in this state.")] = None,
    name: Annotated[str | None, typer.Option(help="Only those of this handler.")] = None,
    queue: Annotated[str | None, typer.Option(help="Only those of this queue.")] = None,
    tag: Annotated[str | None, typer.Option(help="Only those with this tag.")] = None,
    before: Annotated[
        datetime | None, typer.Option(help="Only those made before this time, of this machine's clock.")
    ] = None,
    limit: Annotated[int, typer.Option(help="How many at most, up to 1000.")] = 20,
    after: Annotated[str | None, typer.Option(metavar="CURSOR", help="Go on where a page ended; it says so.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All of them, without a limit.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object a line, for programs.")] = False,
    node: NodeOption = None,
    cookie_file: CookieFile = None,
) -> None:
    """List tasks, the newest first."""
    from otpq.client.questions import Selector
    from otpq.wire.verbs import MAX_PAGE

    aware = None if before is None else before.astimezone()
    selector = Selector(state=state, name=name, queue=queue, tag=tag, before=aware)
    with open_client(node, cookie_file) as client:
        while True:
            page = client.tasks(selector, limit=MAX_PAGE if every else limit, after=after)
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


def cancel(
    id: TaskId,
    *,
    grace: Annotated[float, typer.Option(help="Seconds that it has to end by itself, if it runs.")] = 5.0,
    as_json: AsJson = False,
    node: NodeOption = None,
    cookie_file: CookieFile = None,
) -> None:
    """End a task; prints 'cancelled', 'cancelling' or 'too_late'."""
    with open_client(node, cookie_file) as client:
        answer = client.cancel(id, grace)
    put_json({"id": id, "answer": answer}) if as_json else put(answer)
