"""ClusterFile: what a cluster.yaml says, checked as a whole, and the settings of each of its nodes.

All nodes read the same file, so it is checked wholly on each of them; what only its own machine can know, such as whether a
directory is there, each node checks when it starts.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from otpq.client.calls import Call
from otpq.client.schedules import definition_of
from otpq.core.schedule import check as check_schedule
from otpq.errors import BadOption, UsageError, did_you_mean
from otpq.node.config import (
    HANDLER_OPTIONS,
    SECONDS,
    check_handler_options,
    check_queue_size,
    check_seconds,
    default_directory,
)
from otpq.node.pools import PoolSettings
from otpq.node.webhooks import webhooks_of
from otpq.node.yaml_spots import BadFile, read_yaml
from otpq.queue.retention import Retention, seconds_of
from otpq.store.url import parse_url
from otpq.task import ENDED, Options
from otpq.wire.node_name import NodeName

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otpq.core.schedule import Definition
    from otpq.node.yaml_spots import Spot

__all__ = ["LOG_FORMATS", "LOG_LEVELS", "ClusterFile"]

LOG_LEVELS: Final = ("debug", "info", "warning", "error")
LOG_FORMATS: Final = ("console", "json")

_OF_ALL: Final = ("app", "script_dirs", "memory")
"""What may be said for all nodes, and otherwise for one."""
_OF_NODE: Final = ("pools", "store", *_OF_ALL)
_OF_POOL: Final = ("queues", "executor", "parallel", "min", "max", "tags")
_OF_CALL: Final = ("task", "args", "kwargs", "options")
_OF_SCHEDULE: Final = (
    *_OF_CALL,
    "cron",
    "every",
    "timezone",
    "enabled",
    "misfire",
    "misfire_grace",
    "max_catch_up",
    "overlap",
    "jitter",
)
_TOP: Final = (
    "nodes",
    "join",
    "cookie_file",
    *_OF_ALL,
    "handlers",
    "queues",
    "schedules",
    "scheduler",
    "retention",
    "webhooks",
    *SECONDS,
    "log",
)
_KEY_OF_OPTION: Final = {"workers": "min", "queue": "queues"}
"""Where `PoolSettings` calls a thing otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterFile:
    """The nodes of a cluster, and what is said of them."""

    path: Path
    names: tuple[NodeName, ...]
    """Its nodes, in the file's order."""
    leader: NodeName | None
    """The node that leads: the one with a store, else the first; None: one that the file joins and does not have."""
    log_level: str | None
    log_format: str | None
    _common: Mapping[str, Any]
    _nodes: Mapping[str, Mapping[str, Any]]

    @classmethod
    def read(cls, path: Path) -> Self:
        """The file at `path`.

        Raises:
            BadFile: It cannot be read, or something in it cannot be right; the message says where, and what would be.
        """
        path = path.expanduser().absolute()
        top = read_yaml(path)
        _refuse_store(top)
        said = top.entries(_TOP)
        if "nodes" not in said or said["nodes"].is_empty:
            raise top.wrong("it has no nodes; right would be nodes: {a@127.0.0.1: {}, b@127.0.0.2: {}}")
        names = _names(said["nodes"])
        nodes = {name.plain: _node(spot, path.parent) for name, spot in names.items()}
        join = _join(said.get("join"))
        leader = _leader(names, nodes, join)
        served = None if leader is None else _served(nodes)
        webhooks = {"webhooks": webhooks_of(said["webhooks"], path.parent, served)} if "webhooks" in said else {}
        log = said["log"].entries(("level", "format")) if "log" in said else {}
        return cls(
            path=path,
            names=tuple(names),
            leader=leader,
            log_level=_one_of(log.get("level"), LOG_LEVELS),
            log_format=_one_of(log.get("format"), LOG_FORMATS),
            _common={**_common(said, path.parent), "join": join or tuple(names), **webhooks},
            _nodes=nodes,
        )

    def name(self, name: str | None) -> NodeName:
        """A node of the file, by its name, with or without its port; the only one there is need not be named.

        Raises:
            BadFile: There is none of that name, or it was not said which one is meant.
        """
        known = [str(each) for each in self.names]
        if name is None:
            if len(known) == 1:
                return self.names[0]
            raise BadFile(f"which of the nodes in {self.path.name} is meant? --name is one of {', '.join(known)}")
        plain = NodeName.parse(name).plain
        for each in self.names:
            if each.plain == plain:
                return each
        near = did_you_mean(name, known) or f"; it has {', '.join(known)}"
        raise BadFile(f"{self.path.name} has no node {name!r}{near}")

    def settings(self, name: NodeName, directory: Path | None = None) -> dict[str, Any]:
        """What the file says of a node: arguments of `NodeConfig`, those alone that it says.

        Args:
            name: One of `names`.
            directory: The node's, if it is another than the usual one.
        """
        said = {"name": name, **self._common, **self._nodes[name.plain]}
        if name == self.leader and "store" not in said:
            said["store"] = str((directory or default_directory(name)) / "store.db")
        # Names in the file are seen from where it is; so is a module.
        app = said.get("app", "")
        where = app.rpartition(":")[0]
        said["path"] = (str(Path(where).parent if where.endswith(".py") else self.path.parent),)
        return said


# --------------------------------------------------------------- nodes


def _refuse_store(top: Spot) -> None:
    for key, spot in top.entries().items() if top.is_map else ():
        if key == "store":
            raise spot.wrong("a store stands under the one node that leads, as in nodes: {a@127.0.0.1: {store: ...}}")


def _names(nodes: Spot) -> dict[NodeName, Spot]:
    found: dict[NodeName, Spot] = {}
    lines: dict[str, int] = {}
    for text, spot in nodes.entries().items():
        with spot.blamed():
            name = NodeName.parse(text)
        if name.plain in lines:
            raise spot.wrong(f"node {name.plain} stands in line {lines[name.plain]} already")
        lines[name.plain] = spot.line
        found[name] = spot
    return found


def _node(spot: Spot, base: Path) -> dict[str, Any]:
    said = spot.entries(_OF_NODE)
    settings = _of_all(said, base)
    if "pools" in said:
        settings["pools"] = tuple(_pool(name, pool) for name, pool in said["pools"].entries().items())
    if "store" in said:
        settings["store"] = _store(said["store"], base)
    return settings


def _of_all(said: Mapping[str, Spot], base: Path) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    if "app" in said:
        settings["app"] = _app(said["app"], base)
    if "script_dirs" in said:
        settings["script_dirs"] = tuple(_path(text, base) for text in said["script_dirs"].texts())
    if "memory" in said:
        settings["memory"] = _memory(said["memory"])
    return settings


def _pool(name: str, spot: Spot) -> PoolSettings:
    said = spot.entries(_OF_POOL)
    settings: dict[str, Any] = {"name": name}
    for key in ("queues", "tags"):
        if key in said:
            settings[key] = said[key].texts()
    if "executor" in said:
        settings["executor"] = said["executor"].text()
    if "parallel" in said:
        settings["parallel"] = said["parallel"].value()
    if "min" in said:
        settings["least"] = _workers(said["min"])
    if "max" in said:
        settings["most"] = _workers(said["max"])
    if name == "default" and not {"min", "max"} & said.keys():
        settings["most"] = os.cpu_count() or 1  # as without a file
    try:
        return PoolSettings(**settings)
    except BadOption as error:
        where = said.get(_KEY_OF_OPTION.get(error.option, error.option))
        raise (spot.wrong(str(error)) if where is None else where.refused(error.allowed)) from None


def _workers(spot: Spot) -> Any:
    value = spot.value()
    return (os.cpu_count() or 1) if value == "CPUS" else value


def _store(spot: Spot, base: Path) -> str:
    url = spot.text("a store's URL, such as sqlite:///path, a path, or memory:")
    with spot.blamed():
        parse_url(url)
    return url if ":" in url else str(_path(url, base))


def _leader(
    names: Mapping[NodeName, Spot], nodes: Mapping[str, Mapping[str, Any]], join: tuple[NodeName, ...]
) -> NodeName | None:
    with_store = [name for name in names if "store" in nodes[name.plain]]
    if len(with_store) > 1:
        first, second = with_store[:2]
        raise names[second].wrong(
            f"{second} has a store, and so has {first} (line {names[first].line}); one node of a cluster has"
        )
    if with_store:
        return with_store[0]
    plain = {name.plain for name in names}
    return None if any(seed.plain not in plain for seed in join) else next(iter(names))


def _served(nodes: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """The queues that the nodes' pools serve."""
    pools = [pool for node in nodes.values() for pool in node.get("pools", (PoolSettings(),))]
    return {queue for pool in pools for queue in pool.queues}


def _join(spot: Spot | None) -> tuple[NodeName, ...]:
    found: list[NodeName] = []
    for item in spot.items() if spot is not None and not spot.is_empty else ():
        with item.blamed():
            found.append(NodeName.parse(item.text("a node's name, such as a@127.0.0.1")))
    return tuple(found)


# --------------------------------------------------------------- what is said for all


def _common(said: Mapping[str, Spot], base: Path) -> dict[str, Any]:
    settings = _of_all(said, base)
    if "cookie_file" in said:
        settings["cookie_file"] = _path(said["cookie_file"].text("a file's path"), base)
    for key in SECONDS:
        if key in said:
            settings[key] = _number(key, said[key])
    if "handlers" in said:
        settings["handler_options"] = {name: _handler(spot) for name, spot in said["handlers"].entries().items()}
    if "queues" in said:
        settings["queue_sizes"] = _queues(said["queues"])
    if "retention" in said:
        settings["retention"] = _retention(said["retention"])
    if "scheduler" in said:
        scheduler = said["scheduler"].entries(("enabled",))
        if "enabled" in scheduler:
            settings["scheduler"] = scheduler["enabled"].flag()
    if "schedules" in said:
        settings["schedules"] = {name: _schedule(name, spot) for name, spot in said["schedules"].entries().items()}
    return settings


def _number(key: str, spot: Spot) -> float:
    value = spot.value()
    with spot.blamed():
        check_seconds(key, value)
    return float(value)


def _handler(spot: Spot) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for name, value in spot.entries(Options.__struct_fields__).items():
        if name not in HANDLER_OPTIONS:
            raise value.wrong(f"it is said in the decorator or at submit; here stand {', '.join(HANDLER_OPTIONS)}")
        with value.blamed():
            check_handler_options({name: value.value()})
        options[name] = value.value()
    return options


def _queues(spot: Spot) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for name, queue in spot.entries().items():
        size = queue.entries(("max_size",)).get("max_size")
        if size is not None and not size.is_empty:
            with size.blamed():
                check_queue_size(name, size.value())
            sizes[name] = size.value()
    return sizes


def _retention(spot: Spot) -> Retention:
    states: dict[str, float | None] = {}
    handlers: dict[str, dict[str, float | None]] = {}
    for name, value in spot.entries().items():
        if value.is_map:
            handlers[name] = {state: _time(time) for state, time in value.entries(_STATES).items()}
        else:
            if name not in _STATES:
                raise value.wrong(
                    f"it is one of {', '.join(_STATES)}{did_you_mean(name, _STATES)}, or a handler with a map"
                )
            states[name] = _time(value)
    return Retention(states, handlers)


_STATES: Final = tuple(sorted(state.value for state in ENDED))


def _time(spot: Spot) -> float | None:
    value = spot.value()
    if isinstance(value, str):
        with spot.blamed():
            return seconds_of(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        raise spot.refused("a time such as 30d (units s, m, h, d, w), seconds, or forever")
    return float(value)


def _schedule(name: str, spot: Spot) -> Definition:
    said = spot.entries(_OF_SCHEDULE)
    if "task" not in said:
        raise spot.wrong("it has no task; right would be task: the handler's name")
    call = Call(said["task"].text("the handler's name"))
    args = said["args"].plain() if "args" in said else []
    kwargs = said["kwargs"].plain() if "kwargs" in said else {}
    if not isinstance(args, list):
        raise said["args"].refused("a list of arguments, as in [1, b]")
    if not isinstance(kwargs, dict):
        raise said["kwargs"].refused("a map of arguments by name, as in {to: a@b.c}")
    with said.get("options", spot).blamed():
        call = Call(call.name, args, kwargs, **(said["options"].plain() if "options" in said else {}))
    options = {key: value.value() for key, value in said.items() if key not in _OF_CALL}
    try:
        definition = definition_of(call, options)
        check_schedule(name, definition)
    except BadOption as error:
        where = said.get(error.option)
        raise (spot.wrong(str(error)) if where is None else where.refused(error.allowed)) from None
    except UsageError as error:  # an argument that cannot travel
        raise spot.wrong(str(error)) from None
    return definition


def _one_of(spot: Spot | None, words: tuple[str, ...]) -> str | None:
    if spot is None or spot.is_empty:
        return None
    word = spot.value()
    if word not in words:
        raise spot.refused(", ".join(words) + did_you_mean(str(word), words))
    return str(word)


def _memory(spot: Spot) -> float | None:
    value = spot.value()
    if value == "none" or spot.is_empty:
        return None
    with spot.blamed():
        return Options.of(memory=value).memory


def _app(spot: Spot, base: Path) -> str:
    reference = spot.text("package.module:app or file.py:app")
    where, colon, attribute = reference.rpartition(":")
    if not colon or not where or not attribute:
        raise spot.refused("package.module:app or file.py:app")
    return f"{_path(where, base)}:{attribute}" if where.endswith(".py") else reference


def _path(text: str, base: Path) -> Path:
    return base / Path(text).expanduser()
