"""The commands that say how things stand, which people and programs run often: `quick.py` runs them without typer."""

from __future__ import annotations

from typing import Annotated

from otpq.cli.asking import Asking
from otpq.cli.declared import Option
from otpq.cli.exits import FAILURE
from otpq.cli.printing import (
    counts_table,
    facts_lines,
    handlers_table,
    limits_table,
    nodes_table,
    queues_table,
    workers_table,
)

__all__ = ["counts", "handlers", "health", "limits", "nodes", "queues", "tree", "workers"]


def queues(*, to: Asking) -> None:
    """Say how each queue stands, and whether it is paused."""
    with to.reader() as client:
        found = client.queues()
    to.put(found, queues_table)


def handlers(*, to: Asking) -> None:
    """Say what is known of each handler, and whether it is paused."""
    with to.reader() as client:
        found = client.handlers()
    to.put(found, handlers_table)


def limits(*, to: Asking) -> None:
    """Say which limits are in force, how much of each is used, and who says so."""
    with to.reader() as client:
        found = client.limits()
    to.put(found, limits_table)


def counts(
    *,
    queue: Annotated[str | None, Option("--queue", "Only this queue.", "QUEUE", complete="queues")] = None,
    to: Asking,
) -> None:
    """Count the tasks by queue and state."""
    with to.reader() as client:
        found = client.counts(queue)
    to.put(found, counts_table)


def nodes(*, to: Asking) -> None:
    """Say which nodes are in the cluster: up, suspected or down, and which one leads."""
    with to.reader() as client:
        found = client.nodes()
    to.put(found, nodes_table)


def workers(*, to: Asking) -> None:
    """Say what each worker does."""
    with to.reader() as client:
        found = client.workers()
    to.put(found, workers_table)


def tree(*, to: Asking) -> None:
    """Draw the supervision tree of the node: its processes, their restarts, what waits for them, what they are busy with."""
    from otpq.client.picture import tree_lines

    with to.reader() as client:
        found = client.tree(to.node)
    to.put(found, lambda top: "\n".join(tree_lines(top)))


def health(
    *,
    alive: Annotated[
        bool, Option("--alive", "Only whether it answers, whatever is wrong with it, or with the node that leads.")
    ] = False,
    timeout: Annotated[float, Option("--timeout", "What it has to answer in.", "SECONDS")] = 10.0,
    to: Asking,
) -> None:
    """Say whether a node serves, and what is wrong if it does not, or does not answer (then the exit code is 1)."""
    from time import monotonic

    from otpq.client.address import target

    until = monotonic() + timeout
    place = target(to.node, to.cookie_file)
    if alive:
        from otpq.client.greeting import greet

        facts = {"alive": True, "node": place.node, "leader": greet(place, timeout) or None}
    else:
        with to.reader(timeout) as client:
            facts = client.health(place.node, timeout=max(0.0, until - monotonic()))
    to.put(facts, facts_lines)
    if facts.get("ok") is False:
        raise SystemExit(FAILURE)
