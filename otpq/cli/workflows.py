"""The commands about workflows, and what those about tasks do with a workflow's id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from otpq.cli.asking import Asking
from otpq.cli.printing import columns, moment_of, put, put_json, table, task_lines, with_why

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from otpq.client.client import Client
    from otpq.client.flow_views import WorkflowStatus

__all__ = ["or_of_workflow", "put_answer", "put_shown", "workflows"]

T = TypeVar("T")


def workflows(
    *,
    limit: Annotated[int, typer.Option(metavar="N", help="How many at most, up to 1000.")] = 20,
    after: Annotated[
        int | None,
        typer.Option("--after", metavar="CURSOR", help="Go on where a page ended; it says so."),
    ] = None,
    to: Asking,
) -> None:
    """List workflows, the newest first; as JSON, one object a line."""
    with to.reader() as client:
        page = client.workflows(limit=limit, after=after)
    if to.as_json:
        for one in page:
            put_json(one)
    else:
        put(_table(page))
    if page.next is not None:
        typer.echo(f"there are more: --after {page.next}", err=True)


def _table(page: Sequence[WorkflowStatus]) -> str:
    if not page:
        return "no workflows"
    rows = [
        (
            one.id,
            one.state,
            f"{one.ended:,}/{one.total:,}",
            f"{one.failed:,}",
            moment_of(one.created_at),
            one.title or "",
        )
        for one in page
    ]
    head = ("ID", "STATE", "ENDED", "FAILED", "CREATED", "TITLE")
    return table(head, rows, width=columns(), least=("CREATED", "TITLE", "FAILED"))


def put_shown(client: Client, id: str, *, as_json: bool) -> None:
    """Print a task, and behind it the workflow that it is a member of; or a workflow, by its own id.

    Raises:
        TaskNotFound: There is neither with this id.
    """
    from otpq.client.errors import TaskNotFound

    try:
        task = client.get_task_status(id)
    except TaskNotFound:
        status = client.workflow(id)
        put_json(status) if as_json else put(status.picture())
        return
    why = client.why(id)
    if as_json:
        put_json(with_why(task, why))
        return
    put(task_lines(task, why))
    if task.workflow is not None:
        put(f"\n{client.workflow(task.workflow).picture()}")


def or_of_workflow(of_task: Callable[[], T], of_workflow: Callable[[], str]) -> T | str:
    """What `of_task` gives; if there is no such task, what is answered for the workflow of that id.

    Raises:
        TaskNotFound: There is neither with this id.
    """
    from otpq.client.errors import TaskNotFound

    try:
        return of_task()
    except TaskNotFound:
        return of_workflow()


def put_answer(id: str, answer: str, *, as_json: bool) -> None:
    """Print what was answered for one task, or one workflow."""
    put_json({"id": id, "answer": answer}) if as_json else put(answer)
