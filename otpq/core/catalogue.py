"""What apps declare of their handlers: pools tell it, the store keeps it, and what others say lies over it.

First what the cluster's file says, which is read anew at each start and kept nowhere; over both, what a caller says.

A declaration stays when no pool has its handler any more: the handler is then known, and its tasks wait for it. Where and
when a task is to run is decided as it is submitted, by what is known then; everything else at the moment it is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from otpq.core.handlers import hook_of
from otpq.core.pauses import paused
from otpq.task import DEFAULT_HANDLER, DEFAULTS, Options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otpq.core.events import NewTask
    from otpq.core.handlers import Handler
    from otpq.core.lanes import LaneKey
    from otpq.core.state import State

__all__ = ["PREFIX", "NotKnown", "completed", "declare", "facts", "file", "line_of", "note_served", "queues", "restore"]

PREFIX = "declared"
"""Of the settings that keep declarations: 'declared:NAME'."""


class NotKnown(LookupError):
    """Nobody has declared a handler of this name; the message has the nearest that somebody has."""


def restore(state: State, name: str, packed: bytes) -> None:
    """Know what an earlier queue server was told."""
    handler = state.handlers[name]
    handler.declared = packed
    _lay(handler)
    state.handlers.know(name)
    hook = hook_of(name)
    if hook is not None:
        followed, kind = hook
        state.handlers[followed].hooks[kind] = name


def file(state: State, told: Mapping[str, bytes]) -> None:
    """Lay what the cluster's file says over what apps declare, have declared or will. It makes no handler known."""
    for name, packed in told.items():
        handler = state.handlers[name]
        handler.filed = packed
        handler.is_limit_filed = "max_concurrency" in msgspec.msgpack.decode(packed)
        _lay(handler)


def _lay(handler: Handler) -> None:
    """Put the two layers together."""
    handler.defaults = Options.unpack(handler.declared, handler.filed)
    handler.in_force = handler.defaults.pack() if handler.filed else handler.declared
    handler.default_limit = handler.defaults.max_concurrency
    handler.is_special = handler.defaults.at_most_once or handler.defaults.memory is not None


def declare(state: State, told: Mapping[str, bytes]) -> None:
    """Take in what a pool's app declares; the latest word counts."""
    has_new_limit = has_new_memory = False
    for name, packed in told.items():
        handler = state.handlers[name]
        _forget_hooks(state, name, told)
        if name in state.handlers.known and handler.declared == packed and not _is_loose(state, name):
            continue
        limit, memory = handler.limit, handler.defaults.memory
        restore(state, name, packed)
        has_new_limit |= handler.limit != limit
        has_new_memory |= handler.defaults.memory != memory
        state.ledger.settings[f"{PREFIX}:{name}"] = packed
    if has_new_limit:
        for lease in state.leases.open.values():
            state.take_slots(lease)
    if has_new_memory:
        state.lanes.look_again()
        for lease in state.leases.open.values():
            if lease.reserved or state.is_bounded(lease.node[0]):
                state.reserve(lease)


def _forget_hooks(state: State, name: str, told: Mapping[str, bytes]) -> None:
    """Have no hooks follow that the handler's app has no more: nobody would run them."""
    hooks = state.handlers[name].hooks
    for kind, hook in list(hooks.items()):
        if hook not in told:
            del hooks[kind]
            state.ledger.settings[f"{PREFIX}:{hook}"] = None


def _is_loose(state: State, name: str) -> bool:
    """Whether this is a hook that has been forgotten."""
    hook = hook_of(name)
    return hook is not None and hook[1] not in state.handlers[hook[0]].hooks


def note_served(state: State) -> None:
    """Keep in mind which handlers the open sessions have."""
    told = [session.handlers for session in state.sessions.values() if session.handlers is not None]
    state.handlers.served = frozenset[str]().union(*told) if told else None
    state.handlers.is_all_told = len(told) == len(state.sessions)


def facts(state: State) -> list[dict[str, Any]]:
    """What is known of each handler, by name.

    Keys: `handler`, `known` (whether an app has declared it), `options` (those in force, the file's over
    the app's, in so far as they differ from the defaults), `limit`, `limit_from` (who says so, be it that there is none: 'set',
    'file' or 'app') and `used` (slots; counted only where there is a limit), `paused`, and if it is, `by`, `why` and `since`;
    since this core's start `runs` (those that a child told of), `succeeded`, `failed` (tasks, for good), `retried` (runs that were
    followed by another), `mean` (seconds a run, of late) and `max`; `pools` (the sessions that have it).
    """
    return [
        {
            "handler": name,
            "known": name in state.handlers.known,
            "options": msgspec.to_builtins(handler.defaults),
            "limit": handler.limit,
            "limit_from": handler.limit_from,
            "used": handler.used,
            **paused(handler.settings),
            "runs": handler.runs,
            "succeeded": handler.succeeded,
            "failed": handler.failed,
            "retried": handler.retried,
            "mean": handler.mean,
            "max": handler.longest,
            "pools": [session.id for session in state.sessions.values() if name in (session.handlers or ())],
        }
        for name, handler in sorted(state.handlers.items())
    ]


def queues(state: State) -> list[dict[str, Any]]:
    """What operators have set of each queue, by name.

    Keys: `queue`, `paused`, and if it is, `by`, `why` and `since`; `max_size` (None: no limit).
    """
    return [
        {"queue": name, **paused(queue.settings), "max_size": queue.max_size}
        for name, queue in sorted(state.lanes.queues.items())
    ]


# --------------------------------------------------------------- a task that is new


def line_of(state: State, new: NewTask) -> tuple[LaneKey, bool]:
    """The line that a new task is to stand in, and whether there is more to say of it: then it must be `completed`."""
    handlers = state.handlers
    if new.name not in handlers.known:
        return _line(new, DEFAULTS), True
    defaults = handlers[new.name].defaults
    return _line(new, defaults), defaults is not DEFAULTS and _says_more(defaults)


def completed(state: State, new: NewTask) -> tuple[NewTask, LaneKey]:
    """A new task with what its handler declares of it, and its line.

    A map whose job nobody knows goes to the app's default handler, if there is one.

    Raises:
        NotKnown: Its client wants it only if its handler is known.
    """
    known = state.handlers.known
    if new.name not in known and new.whole is not None and DEFAULT_HANDLER in known:
        new = msgspec.structs.replace(new, name=DEFAULT_HANDLER, payload=new.whole)
    if new.name in known:
        defaults = state.handlers[new.name].defaults
        return msgspec.structs.replace(new, **_unsaid(new, defaults)), _line(new, defaults)
    if new.strict:
        raise NotKnown(state.handlers.unknown(new.name))
    return new, _line(new, DEFAULTS)


def _line(new: NewTask, defaults: Options) -> LaneKey:
    return (
        defaults.queue if new.queue is None else new.queue,
        new.name,
        defaults.partition if new.partition is None else new.partition,
        defaults.priority if new.priority is None else new.priority,
    )


def _says_more(defaults: Options) -> bool:
    """Whether a handler declares of its tasks what is no matter of their lines."""
    return bool(
        defaults.delay or defaults.eta or defaults.expires is not None or defaults.tags or defaults.title is not None
    )


def _unsaid(new: NewTask, defaults: Options) -> dict[str, Any]:
    """What a handler declares of that which the caller has not said."""
    fields: dict[str, Any] = {}
    if new.delay is None and new.eta is None:
        fields["delay"] = defaults.delay
        fields["eta"] = None if defaults.eta is None else defaults.eta.timestamp()
    if new.expires_in is None and new.expires_at is None and defaults.expires is not None:
        if isinstance(defaults.expires, float | int):
            fields["expires_in"] = float(defaults.expires)
        else:
            fields["expires_at"] = defaults.expires.timestamp()
    if new.tags is None and defaults.tags:
        fields["tags"] = f",{','.join(defaults.tags)},"
    if new.title is None:
        fields["title"] = defaults.title
    return fields
