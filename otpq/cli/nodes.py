"""The commands about nodes, pools and cookies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperOption

from otpq.cli import completion
from otpq.cli.asking import AsJson, Asking, CookieFile
from otpq.cli.exits import FAILURE
from otpq.cli.options import Timeout
from otpq.cli.printing import (
    answers_lines,
    event_line,
    facts_lines,
    put,
    put_json,
    stacks_text,
)

__all__ = [
    "Node",
    "check_config",
    "demo",
    "drain",
    "events",
    "new_cookie",
    "node",
    "reload",
    "scale",
    "show_cookie",
    "stacks",
    "up",
]


class Node(TyperCommand):
    """`otpq node`. Argparse reads its words; for a shell that completes them, typer has its options too."""

    def get_params(self, ctx: Any) -> list[Any]:
        """What is read of the words, or may follow on them."""
        if not ctx.resilient_parsing:  # as typer calls it when it only completes
            return super().get_params(ctx)
        from otpq.cli.node import arguments

        return [
            TyperOption(param_decls=each.words, help=each.meaning, is_flag=not each.metavar, multiple=each.is_repeated)
            for each in arguments()
        ]


def node(context: typer.Context) -> None:
    """Run a node until TERM or Ctrl-C."""
    from otpq.cli.node import run

    raise typer.Exit(run(context.args))


def up(
    *,
    config: Annotated[Path, typer.Option("--config", metavar="FILE", help="The cluster's file.")] = Path(
        "cluster.yaml"
    ),
) -> None:
    """Run the nodes of a cluster.yaml that live on this host, until TERM or Ctrl-C; a second one ends their grace."""
    import sys

    from otpq.cli.up import run

    raise typer.Exit(run(config, sys.stdout))


def check_config(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A cluster.yaml.")], *, as_json: AsJson = False
) -> None:
    """Say whether a cluster.yaml can be right, and where it cannot; starts nothing."""
    from otpq.node.cluster_file import ClusterFile

    found = ClusterFile.read(file)
    leader = None if found.leader is None else str(found.leader)
    if as_json:
        put_json({"file": str(found.path), "leader": leader, "nodes": [str(name) for name in found.names]})
    else:
        nodes = (f"{name} leads" if name == found.leader else str(name) for name in found.names)
        put(f"{file}: all is well: {', '.join(nodes)}")


def events(
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for more, until Ctrl-C.")] = False,
    after: Annotated[str | None, typer.Option(metavar="CURSOR", help="Go on behind this one; --json tells it.")] = None,
    kinds: Annotated[
        list[str] | None,
        typer.Option("--kind", "-k", metavar="KIND", help="These alone, such as failed; may be given several times."),
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="PATTERN", help="Of this handler, or such as 'email.*'.")] = None,
    queue: Annotated[str | None, typer.Option(metavar="QUEUE", help="Of this queue and its tasks.")] = None,
    ids: Annotated[
        list[str] | None, typer.Option("--id", metavar="ID", help="Of this task; may be given several times.")
    ] = None,
    of_node: Annotated[
        str | None, typer.Option("--of", metavar="NODE", help="Of this node, its workers and what runs there.")
    ] = None,
    to: Asking,
) -> None:
    """Print what happens in the cluster: to nodes, workers, queues, pools, the store, and while you look to tasks."""
    wanted: dict[str, Any] = {"kinds": kinds or None, "name": name, "queue": queue, "ids": ids or None, "node": of_node}
    with to.reader() as client:
        for event in client.events(after, follow, **wanted):
            to.put(event, event_line)


def stacks(
    worker: Annotated[
        str | None, typer.Argument(metavar="[WORKER]", help="Such as default/0, or a task's id; else the node itself.")
    ] = None,
    *,
    to: Asking,
) -> None:
    """Say what a worker's child runs now, or the node, as Python stacks; also of one that is stuck."""
    with to.reader() as client:
        found = client.stacks(worker, to.node)
    to.put(found, stacks_text)


def drain(
    name: Annotated[
        str, typer.Argument(metavar="NODE", help="The node that is to end.", autocompletion=completion.nodes)
    ],
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Return when it is down.")] = False,
    timeout: Timeout = None,
    to: Asking,
) -> None:
    """Have a node end what it runs within its grace, hand back the rest, and stop, as TERM does."""
    with to.client() as client:
        drained = client.drain(name, wait=wait, timeout=timeout)
    to.put(drained, facts_lines)


def scale(
    pool: Annotated[
        str,
        typer.Argument(metavar="POOL", help="The pool; of a plain node, 'default'.", autocompletion=completion.pools),
    ],
    n: Annotated[int, typer.Argument(metavar="N", help="How many workers it is to have.")],
    *,
    to: Asking,
) -> None:
    """Have a pool run so many workers from now on."""
    with to.client() as client:
        answers = client.scale(pool, n)
    to.put(answers, answers_lines)


def reload(
    pool: Annotated[
        str | None, typer.Argument(metavar="[POOL]", help="The pool; else all.", autocompletion=completion.pools)
    ] = None,
    *,
    timeout: Timeout = None,
    to: Asking,
) -> None:
    """Give a pool new children, which load the app anew; tasks end first, or hand over at a checkpoint."""
    with to.client() as client:
        answers = client.reload(pool, timeout=timeout)
    to.put(answers, answers_lines)


def demo(
    *,
    every_file: Annotated[
        bool,
        typer.Option("--all", envvar="OTPQ_ALL_FILES", help="Every file, its tests too: about 1,800, half a minute."),
    ] = False,
) -> None:
    """Read Python's own library with two workers, and kill a worker and the node on the way."""
    from otpq.demo.run import run

    raise typer.Exit(0 if run(every_file=every_file) else FAILURE)


def new_cookie() -> None:
    """Print a new cookie; keep it in a file of mode 0600 on each node of the cluster."""
    from otpq.wire.cookie import Cookie

    put(Cookie.new().text())


def show_cookie(
    *,
    secret: Annotated[
        bool, typer.Option("--secret", help="Print the cookie itself: who has it may do everything.")
    ] = False,
    as_json: AsJson = False,
    cookie_file: CookieFile = None,
) -> None:
    """Say where the cookie is, and its fingerprint: nodes with the same one can talk to each other."""
    from otpq.wire.cookie import Cookie, default_cookie_file

    path = (cookie_file or default_cookie_file()).absolute()
    cookie = Cookie.read(path)
    facts = {"file": str(path), "fingerprint": cookie.fingerprint(), **({"cookie": cookie.text()} if secret else {})}
    put_json(facts) if as_json else put(facts_lines(facts))
