"""The command `otpq node`: its words, read by argparse.

A node lives long and must be small and there at once. typer, which reads the words of all other commands, would keep 12 MiB
of it and cost 0.1 s at its start.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otpq.errors import UnknownOption, UsageError
from otpq.reference import check_module
from otpq.task import Options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otpq.node.config import NodeConfig
    from otpq.node.pools import PoolSettings

__all__ = ["run"]


def run(words: Sequence[str]) -> int:
    """Run the node that the words describe until it is told to end; gives the exit code.

    Raises:
        OtpqError: The words cannot be right, or the node cannot start.
        SystemExit: They ask for help, or cannot even be read.
    """
    if sys.platform == "win32":
        raise UsageError("a node does not run on Windows; client, CLI and shell do, and reach nodes elsewhere")
    given = _given(words)
    config = _config(_settings(given))
    from otpq import logs
    from otpq.cli.console import write_lines
    from otpq.node.node import run_node

    logs.configure(os.environ.get("OTPQ_LOG_LEVEL", "INFO"))
    is_watched = sys.stdout is not None and sys.stdout.isatty() and "quiet" not in given
    return run_node(config, announce=_announce, say=write_lines if is_watched else None)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="otpq node",
        description="Run a node until TERM or Ctrl-C.",
        argument_default=argparse.SUPPRESS,  # what is not said is the node's own default
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--name", metavar="NAME@HOST", help="Else otpq@127.0.0.1.")
    add("--app", metavar="M:A", help="Where the app is: package.module:app or file.py:app.")
    add("--workers", metavar="N | MIN..MAX", help="How many; of a range as many as work needs. Else 1..CPUS.")
    add("--queues", metavar="A,B", help="What the workers serve; else 'default'.")
    add(
        "--pool",
        metavar="NAME:K=V,...",
        action="append",
        help="Another pool, or more about 'default': queues=a|b, executor=process|thread|async|script, parallel=N (tasks at a "
        "time in a child), min=N, max=N, tags=x|y. Again for more.",
    )
    add("--script-dir", metavar="DIR", type=Path, action="append", help="Scripts in it may be run. Again for more.")
    add(
        "--memory",
        metavar="SIZE",
        help="What tasks may have reserved together: MiB, or 8G, or 'none'; else the machine's.",
    )
    add("--store", metavar="URL", help="sqlite:///path, a path, or memory:; else in the directory.")
    add("--dir", metavar="DIR", type=Path, help="Where the node keeps its things; else ~/.otpq/NAME.")
    add("--grace", metavar="SECONDS", type=float, help="What running tasks have after TERM; else 30.")
    add(
        "--lease", metavar="SECONDS", type=float, help="What tasks run on when the node gives no sign of life; else 30."
    )
    add(
        "--retention",
        metavar="STATE=TIME,...",
        help="How long ended tasks are kept, as in succeeded=1d,failed=30d,mail.send:failed=forever; units s, m, h, d, w.",
    )
    add("--quiet", "-q", action="store_true", help="On a terminal: no lines about tasks.")
    add("--cookie-file", metavar="FILE", type=Path, help="Else OTPQ_COOKIE_FILE, else ~/.otpq/cookie.")
    add("--path", type=Path, action="append", help=argparse.SUPPRESS)  # what `otpq.start` says
    return parser


def _given(words: Sequence[str]) -> dict[str, Any]:
    """What the words say, by option."""
    parser = _parser()
    found, unknown = parser.parse_known_args(words)
    if unknown:
        raise UnknownOption(unknown[0], [option for action in parser._actions for option in action.option_strings])  # noqa: SLF001
    return vars(found)


def _settings(given: dict[str, Any]) -> dict[str, Any]:
    """The settings of `NodeConfig` that were given."""
    from otpq.queue.retention import Retention

    settings: dict[str, Any] = {name: given[name] for name in ("name", "store", "grace", "lease") if name in given}
    settings["pools"] = _pools(given)
    if "script_dir" in given:
        settings["script_dirs"] = tuple(directory.expanduser().absolute() for directory in given["script_dir"])
    if "memory" in given:
        settings["memory"] = None if given["memory"] == "none" else Options.of(memory=given["memory"]).memory
    settings["path"] = _paths(given.get("app"), given.get("path", ()))
    if "app" in given:
        settings["app"] = _app(given["app"], given.get("path", ()))
    if "retention" in given:
        settings["retention"] = Retention.parse(given["retention"])
    if "dir" in given:
        settings["directory"] = given["dir"].absolute()
    cookie_file = given.get("cookie_file", os.environ.get("OTPQ_COOKIE_FILE"))
    if cookie_file:
        settings["cookie_file"] = Path(cookie_file)
    return settings


def _pools(given: dict[str, Any]) -> tuple[PoolSettings, ...]:
    """The default pool, and those that are named."""
    from otpq.node.pools import PoolSettings, workers_of

    least, most = workers_of(given.get("workers", "1..CPUS"))
    queues = tuple(queue.strip() for queue in given.get("queues", "default").split(","))
    pools = {"default": PoolSettings(queues=queues, least=least, most=most)}
    for text in given.get("pool", ()):
        name, _, words = text.partition(":")
        pools[name] = pools[name].with_words(words) if name == "default" else PoolSettings.parse(text)
    return tuple(pools.values())


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


def _paths(app: str | None, given: Sequence[Path]) -> tuple[str, ...]:
    """What children import from first: what `otpq.start` says, else what `python` would: the app's folder, or this one."""
    if given:
        return tuple(str(path) for path in given)
    where = "" if app is None else app.rpartition(":")[0]
    return (str(Path(where).expanduser().absolute().parent if where.endswith(".py") else Path.cwd()),)
