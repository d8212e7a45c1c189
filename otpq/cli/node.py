"""The command `otpq node`: its words, read by argparse, and what it takes from the environment and from a cluster.yaml.

What a word says counts most, then OTPQ_NAME and so on, of each option one, then the file.

A node lives long and must be small and there at once. typer, which reads the words of all other commands, would keep 12 MiB
of it and cost 0.1 s at its start.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from otpq.cli.exits import DEBUG
from otpq.errors import UnknownOption, UsageError
from otpq.reference import check_module
from otpq.task import Options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from otpq.node.cluster_file import ClusterFile
    from otpq.node.pools import PoolSettings

__all__ = ["Argument", "arguments", "run"]


def run(words: Sequence[str]) -> int:
    """Run the node that the words describe until it is told to end; gives the exit code.

    Raises:
        OtpqError: The words cannot be right, or the node cannot start.
        SystemExit: They ask for help, or cannot even be read.
    """
    if sys.platform == "win32":
        raise UsageError("a node does not run on Windows; client, CLI and shell do, and reach nodes elsewhere")
    given = {**_environment(os.environ), **_given(words)}
    if "debug" in given:
        os.environ[DEBUG] = "1"
    file = _file(given.get("config"))
    from otpq import logs
    from otpq.cli.console import write_lines
    from otpq.node.config import NodeConfig
    from otpq.node.node import run_node

    config = NodeConfig(**_settings(given, file))
    level = os.environ.get("OTPQ_LOG_LEVEL") or (file and file.log_level) or "info"
    logs.configure(level.upper(), form=file.log_format if file else None)
    is_watched = sys.stdout is not None and sys.stdout.isatty() and "quiet" not in given
    return run_node(config, announce=_announce, say=write_lines if is_watched else None)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="otpq node",
        description="Run a node until TERM or Ctrl-C.",
        epilog="An option that is not given is taken from the environment, --script-dir from OTPQ_SCRIPT_DIR and so on (several "
        "with ':' between them, pools with ';'), else from the file of --config.",
        argument_default=argparse.SUPPRESS,  # what is not said is the node's own default
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "--config",
        metavar="FILE",
        type=Path,
        help="A cluster.yaml; the node of it that --name says. `otpq up` starts all.",
    )
    add("--name", metavar="NAME@HOST", help="Else otpq@127.0.0.1.")
    add("--app", metavar="M:A", help="Where the app is: package.module:app or file.py:app.")
    add("--workers", metavar="N | MIN..MAX", help="How many; of a range as many as work needs. Else 1..CPUS.")
    add("--queues", metavar="A,B", help="What the workers serve; else 'default'.")
    add(
        "--pool",
        metavar="NAME:K=V,...",
        action="append",
        help="Another pool, or more about 'default': queues=a|b, executor=process|thread|async|script, parallel=N (tasks at a "
        "time in a child), min=N, max=N, tags=x|y, recycle=TASKS|none, recycle_memory=SIZE|none. Again for more.",
    )
    add(
        "--join",
        metavar="NODE,...",
        help="Nodes of a cluster to join; with --store this one leads, without it never does.",
    )
    add("--bind", metavar="ADDRESS", help="Where to listen; else at the host of the name. 0.0.0.0: everywhere.")
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
    add("--no-scheduler", action="store_true", help="Schedules make no tasks, in the whole cluster if this node leads.")
    add("--quiet", "-q", action="store_true", help="On a terminal: no lines about tasks.")
    add("--cookie-file", metavar="FILE", type=Path, help="Else ~/.otpq/cookie.")
    add("--debug", action="store_true", help="Show where an error was raised.")
    add("--path", type=Path, action="append", help=argparse.SUPPRESS)  # what `otpq.start` says
    return parser


class Argument(NamedTuple):
    """What is told of an option."""

    words: list[str]
    """The longest first."""
    variable: str
    metavar: str
    """What stands for its value; empty: it has none."""
    meaning: str
    is_repeated: bool


def arguments() -> Iterator[Argument]:
    """All options."""
    for action in _parser()._actions:  # noqa: SLF001 - argparse tells in no other way
        if action.dest in _VARIABLES and action.help is not argparse.SUPPRESS:
            words = sorted(action.option_strings, key=len, reverse=True)
            several, _ = _VARIABLES[action.dest]
            variable = f"OTPQ_{action.dest.upper()}"
            yield Argument(words, variable, str(action.metavar or ""), str(action.help), several is not None)


def _given(words: Sequence[str]) -> dict[str, Any]:
    """What the words say, by option."""
    parser = _parser()
    found, unknown = parser.parse_known_args(words)
    if unknown:
        raise UnknownOption(unknown[0], [option for action in parser._actions for option in action.option_strings])  # noqa: SLF001
    return vars(found)


def _environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """What the environment says, by option, as the words would have said it.

    Raises:
        UsageError: A variable has a value that its option cannot have.
    """
    said: dict[str, Any] = {}
    for option, (several, read) in _VARIABLES.items():
        name = f"OTPQ_{option.upper()}"
        text = environment.get(name)
        if not text:  # as if it were not there: so do shells and containers take away what they inherit
            continue
        try:
            said[option] = [read(part) for part in text.split(several) if part] if several else read(text)
        except ValueError:
            raise UsageError(f"{name}={text!r} is not allowed: {_RIGHT.get(read, 'a text')}") from None
    return {option: value for option, value in said.items() if value is not False}  # as a word that is not said


def _is_yes(text: str) -> bool:
    if text.lower() not in {"0", "1", "true", "false"}:
        raise ValueError(text)
    return text.lower() in {"1", "true"}


_VARIABLES: Final[dict[str, tuple[str | None, Callable[[str], Any]]]] = {
    "config": (None, Path),
    "name": (None, str),
    "app": (None, str),
    "workers": (None, str),
    "queues": (None, str),
    "pool": (";", str),
    "join": (None, str),
    "bind": (None, str),
    "script_dir": (os.pathsep, Path),
    "memory": (None, str),
    "store": (None, str),
    "dir": (None, Path),
    "grace": (None, float),
    "lease": (None, float),
    "retention": (None, str),
    "no_scheduler": (None, _is_yes),
    "quiet": (None, _is_yes),
    "cookie_file": (None, Path),
    "debug": (None, _is_yes),
}
"""By option: what stands between several values, if there may be several, and how one is read."""
_RIGHT: Final[dict[Any, str]] = {float: "seconds, as a number", _is_yes: "0 or 1"}


def _file(path: Path | None) -> ClusterFile | None:
    if path is None:
        return None
    from otpq.node.cluster_file import ClusterFile  # with it comes PyYAML, which a node without a file need not hold

    return ClusterFile.read(path)


def _settings(given: dict[str, Any], file: ClusterFile | None) -> dict[str, Any]:
    """The settings of `NodeConfig` that were given."""
    from otpq.queue.retention import Retention
    from otpq.wire.node_name import NodeName

    directory = given["dir"].expanduser().absolute() if "dir" in given else None
    settings: dict[str, Any] = {} if file is None else file.settings(file.name(given.get("name")), directory)
    settings |= {name: given[name] for name in ("store", "grace", "lease", "bind") if name in given}
    if "name" in given and (file is None or ":" in given["name"]):  # the file may know a port
        settings["name"] = NodeName.parse(given["name"])
    if "pools" not in settings or not given.keys().isdisjoint({"workers", "queues", "pool"}):
        settings["pools"] = _pools(given, settings.get("pools"))
    if "join" in given:
        settings["join"] = tuple(NodeName.parse(word.strip()) for word in given["join"].split(","))
    if "script_dir" in given:
        settings["script_dirs"] = tuple(directory.expanduser().absolute() for directory in given["script_dir"])
    if "memory" in given:
        settings["memory"] = None if given["memory"] == "none" else Options.of(memory=given["memory"]).memory
    if "retention" in given:
        settings["retention"] = Retention.parse(given["retention"])
    if "no_scheduler" in given:
        settings["scheduler"] = False
    if "dir" in given:
        settings["directory"] = directory
    if "cookie_file" in given:
        settings["cookie_file"] = given["cookie_file"]
    return _with_app(settings, given)


def _with_app(settings: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """The settings with the app's place, and where children import from: what is given goes before what the file says."""
    if "path" not in settings or not given.keys().isdisjoint({"app", "path"}):
        settings["path"] = _paths(given.get("app"), given.get("path", ()))
    app = given.get("app", settings.get("app"))
    if app is not None:
        settings["app"] = _app(app, settings["path"])
    return settings


def _pools(given: dict[str, Any], filed: Sequence[PoolSettings] | None) -> tuple[PoolSettings, ...]:
    """The pools of the file, or the default one, with what is said of the default one, and what is said of each by its name."""
    from otpq.node.pools import PoolSettings, workers_of

    pools = {pool.name: pool for pool in filed or (PoolSettings(most=os.cpu_count() or 1),)}
    if not given.keys().isdisjoint({"workers", "queues"}):
        default = pools.get("default", PoolSettings(most=os.cpu_count() or 1))
        if "workers" in given:
            least, most = workers_of(given["workers"])
            default = replace(default, least=least, most=most)
        if "queues" in given:
            default = replace(default, queues=tuple(queue.strip() for queue in given["queues"].split(",")))
        pools["default"] = default
    for text in given.get("pool", ()):
        name, _, words = text.partition(":")
        pools[name] = pools[name].with_words(words) if name in pools else PoolSettings.parse(text)
    return tuple(pools.values())


def _announce(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - what the program is to print


def _app(reference: str, path: Sequence[str]) -> str:
    """The reference with its file's path made absolute: children may stand elsewhere."""
    where, colon, attribute = reference.rpartition(":")
    if not colon or not where or not attribute:
        raise UsageError(f"--app {reference!r} is no reference to an app; package.module:app or file.py:app would be")
    if not where.endswith(".py"):
        check_module(where, (*path, str(Path.cwd())))
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
