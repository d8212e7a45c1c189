"""Which limits are in force, how much of each is used, and who says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otpq.core.handlers import Handler
    from otpq.core.lanes import Queue
    from otpq.core.state import State

__all__ = ["limits"]

Facts: TypeAlias = dict[str, Any]

OPTIONS: Final = ("max_concurrency", "timeout", "soft_timeout", "memory")
"""The options of a handler that limit its tasks."""


def limits(state: State) -> list[Facts]:
    """A map a limit: of handlers, then of queues, then of nodes, by name.

    Keys: `of` (handler, queue or node), `name`, `limit` (max_concurrency, timeout, soft_timeout, memory or max_size), `value`
    (slots, seconds, MiB, tasks; None: no limit), `used` and `available` (None where nothing is counted), and `from`: who says so,
    be it that there is no limit: 'set' (an operator, at run time), 'file' (the leader's), 'app' (the decorator), 'default', or
    'node' (that node's own settings).
    """
    return [*_of_handlers(state), *_of_queues(state), *_of_nodes(state)]


def _of_handlers(state: State) -> Iterator[Facts]:
    for name, handler in sorted(state.handlers.items()):
        if name not in state.handlers.known and not handler.filed and not handler.settings.is_limit_set:
            continue  # somebody has submitted a task of this name
        filed, declared = _said(handler.filed), _said(handler.declared)
        for option in OPTIONS:
            source = "file" if option in filed else "app" if option in declared else "default"
            yield _of_handler(handler, option, source)


def _of_handler(handler: Handler, option: str, source: str) -> Facts:
    if option != "max_concurrency":
        return _fact("handler", handler.name, option, getattr(handler.defaults, option), source)
    source = "set" if handler.settings.is_limit_set else source
    used = None if handler.limit is None else handler.used
    return _fact("handler", handler.name, option, handler.limit, source, used)


def _said(packed: bytes) -> Facts:
    said: Facts = msgspec.msgpack.decode(packed) if packed else {}
    return said


def _of_queues(state: State) -> Iterator[Facts]:
    for name in sorted({*state.lanes.queues, *(queue for queue, _ in state.counts)}):
        queue = state.lanes.queues.get(name)
        limit = None if queue is None else queue.max_size
        yield _fact("queue", name, "max_size", limit, _source(queue), state.waiting(name))


def _source(queue: Queue | None) -> str:
    if queue is None:
        return "default"
    if queue.settings.max_size is not None or queue.settings.is_unlimited:
        return "set"
    return "default" if queue.size_of_file is None else "file"


def _of_nodes(state: State) -> Iterator[Facts]:
    bounds = {session.node[0]: session.memory for session in state.sessions.values()}
    for node, memory in sorted(bounds.items()):
        yield _fact("node", node, "memory", memory, "node", None if memory is None else state.reservations.of(node))


def _fact(of: str, name: str, limit: str, value: float | None, source: str, used: float | None = None) -> Facts:  # noqa: PLR0917
    available = None if value is None or used is None else max(0, value - used)
    return {
        "of": of,
        "name": name,
        "limit": limit,
        "value": value,
        "used": used,
        "available": available,
        "from": source,
    }
