"""The commands about nodes, pools, stores and cookies."""

from __future__ import annotations

from typing import Annotated

import typer

from otpq.cli.exits import FAILURE, STORE
from otpq.cli.options import AsJson, CookieFile, NodeOption, Timeout, open_client
from otpq.cli.printing import answers_lines, facts_lines, put, put_json, workers_table
from otpq.errors import UsageError

__all__ = ["check", "demo", "health", "new_cookie", "node", "reload", "scale", "workers"]


def node(context: typer.Context) -> None:
    """Run a node until TERM or Ctrl-C."""
    from otpq.cli.node import run

    raise typer.Exit(run(context.args))


def health(*, as_json: AsJson = False, node: NodeOption = None, cookie_file: CookieFile = None) -> None:
    """Say whether the node serves, and what is wrong if it does not (then the exit code is 1)."""
    with open_client(node, cookie_file) as client:
        facts = client.health()
    put_json(facts) if as_json else put(facts_lines(facts))
    if facts.get("ok") is False:
        raise typer.Exit(FAILURE)


def workers(*, as_json: AsJson = False, node: NodeOption = None, cookie_file: CookieFile = None) -> None:
    """Say what each worker does."""
    with open_client(node, cookie_file) as client:
        found = client.workers()
    put_json(found) if as_json else put(workers_table(found))


def scale(
    pool: Annotated[str, typer.Argument(metavar="POOL", help="The pool; of a plain node, 'default'.")],
    n: Annotated[int, typer.Argument(metavar="N", help="How many workers it is to have.")],
    *,
    as_json: AsJson = False,
    node: NodeOption = None,
    cookie_file: CookieFile = None,
) -> None:
    """Have a pool run so many workers from now on."""
    with open_client(node, cookie_file) as client:
        answers = client.scale(pool, n)
    put_json(answers) if as_json else put(answers_lines(answers))


def reload(
    pool: Annotated[str | None, typer.Argument(metavar="[POOL]", help="The pool; else all.")] = None,
    *,
    timeout: Timeout = None,
    as_json: AsJson = False,
    node: NodeOption = None,
    cookie_file: CookieFile = None,
) -> None:
    """Give a pool new children, which load the app anew; tasks end first, or hand over at a checkpoint."""
    with open_client(node, cookie_file) as client:
        answers = client.reload(pool, timeout=timeout)
    put_json(answers) if as_json else put(answers_lines(answers))


def check(
    store: Annotated[str, typer.Argument(help="A store URL, or the path of its file.")], *, as_json: AsJson = False
) -> None:
    """Verify a store's invariants, without a node; exit code 3 if something is wrong."""
    from otpq.store.check import check as problems_of
    from otpq.store.url import parse_url

    path = parse_url(store)
    if path is None:
        raise UsageError("memory: is gone when its node is; only a store in a file can be checked")
    problems = [str(problem) for problem in problems_of(path)]
    if as_json:
        put_json({"store": str(path), "problems": problems})
    else:
        put("\n".join(problems) or f"{path}: all is well")
    if problems:
        raise typer.Exit(STORE)


def demo(
    *,
    every_file: Annotated[
        bool, typer.Option("--all", help="Every file, its tests too: about 1,800, half a minute.")
    ] = False,
) -> None:
    """Read Python's own library with two workers, and kill a worker and the node on the way."""
    from otpq.demo.run import run

    raise typer.Exit(0 if run(every_file=every_file) else FAILURE)


def new_cookie() -> None:
    """Print a new cookie; keep it in a file of mode 0600 on each node of the cluster."""
    from otpq.wire.cookie import Cookie

    put(Cookie.new().text())
