"""The commands about nodes, stores and cookies."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from otpq.cli.exits import FAILURE, STORE
from otpq.cli.options import AsJson, CookieFile, NodeOption, open_client
from otpq.cli.printing import facts_lines, put, put_json
from otpq.errors import UsageError
from otpq.reference import check_module

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otpq.node.config import NodeConfig

__all__ = ["check", "demo", "health", "new_cookie", "node"]


def node(
    *,
    name: Annotated[str | None, typer.Option(metavar="NAME@HOST", help="Else otpq@127.0.0.1.")] = None,
    app: Annotated[
        str | None, typer.Option(metavar="M:A", help="Where the app is: package.module:app or file.py:app.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="How many; else one a processor.")] = None,
    queues: Annotated[str | None, typer.Option(metavar="A,B", help="What the workers serve; else 'default'.")] = None,
    store: Annotated[
        str | None, typer.Option(metavar="URL", help="sqlite:///path, a path, or memory:; else in the directory.")
    ] = None,
    dir: Annotated[Path | None, typer.Option(help="Where the node keeps its things; else ~/.otpq/NAME.")] = None,  # noqa: A002 - its name
    grace: Annotated[float | None, typer.Option(help="Seconds that running tasks have after TERM; else 30.")] = None,
    cookie_file: CookieFile = None,
    path: Annotated[list[Path] | None, typer.Option(hidden=True)] = None,
) -> None:
    """Run a node until TERM or Ctrl-C."""
    if sys.platform == "win32":
        raise UsageError("a node does not run on Windows; client, CLI and shell do, and reach nodes elsewhere")
    settings: dict[str, Any] = {
        "name": name,
        "app": None if app is None else _app(app, path or ()),
        "workers": workers,
        "queues": None if queues is None else tuple(queue.strip() for queue in queues.split(",")),
        "store": store,
        "directory": None if dir is None else dir.absolute(),
        "grace": grace,
        "cookie_file": cookie_file,
        "path": _paths(app, path or ()),
    }
    config = _config({key: setting for key, setting in settings.items() if setting is not None})
    from otpq import logs
    from otpq.node.node import run_node

    logs.configure(os.environ.get("OTPQ_LOG_LEVEL", "INFO"))
    raise typer.Exit(run_node(config, announce=_announce))


def health(*, as_json: AsJson = False, node: NodeOption = None, cookie_file: CookieFile = None) -> None:
    """Say whether the node serves, and what is wrong if it does not (then the exit code is 1)."""
    with open_client(node, cookie_file) as client:
        facts = client.health()
    put_json(facts) if as_json else put(facts_lines(facts))
    if facts.get("ok") is False:
        raise typer.Exit(FAILURE)


def check(store: Annotated[str, typer.Argument(help="A store URL, or the path of its file.")]) -> None:
    """Verify a store's invariants, without a node; exit code 3 if something is wrong."""
    from otpq.store.check import check as problems_of
    from otpq.store.url import parse_url

    path = parse_url(store)
    if path is None:
        raise UsageError("memory: is gone when its node is; only a store in a file can be checked")
    problems = problems_of(path)
    for problem in problems:
        put(str(problem))
    if problems:
        raise typer.Exit(STORE)
    put(f"{path}: all is well")


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


def _config(settings: dict[str, Any]) -> NodeConfig:
    from otpq.node.config import NodeConfig
    from otpq.wire.node_name import NodeName

    if "name" in settings:
        settings["name"] = NodeName.parse(settings["name"])
    return NodeConfig(**settings)


def _announce(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - what the program is to print


def _app(reference: str, path: Sequence[Path]) -> str:
    """The reference with its file's path made absolute: children may stand elsewhere."""
    where, colon, attribute = reference.rpartition(":")
    if not colon or not where or not attribute:
        raise UsageError(f"--app {reference!r} is no reference to an app; package.module:app or file.py:app would be")
    if not where.endswith(".py"):
        check_module(where, (*map(str, path), str(Path.cwd())))
        return reference
    file = Path(where).expanduser().absolute()
    if not file.is_file():
        raise UsageError(f"--app {reference!r}: there is no file {file}")
    return f"{file}:{attribute}"


def _paths(app: str | None, given: list[Path] | tuple[()]) -> tuple[str, ...]:
    """What children import from first: what `otpq.start` says, else what `python` would: the app's folder, or this one."""
    if given:
        return tuple(str(path) for path in given)
    where = "" if app is None else app.rpartition(":")[0]
    return (str(Path(where).expanduser().absolute().parent if where.endswith(".py") else Path.cwd()),)
